//! Transition Window, vendor sub-type 1: for how long a flow goes to the binding it leaves as well.
//!
//! ```text
//! +---------------------------------------------------------------+
//! |                       Vendor ID = 32473                       |
//! +---------------+---------------+-------------------------------+
//! | Sub-Type = 1  |     Flags     |           Reserved            |
//! +---------------+---------------+-------------------------------+
//! |                          Window (ms)                          |
//! +-------------------------------+-------------------------------+
//! |              Zero             |
//! +-------------------------------+
//! ```

use crate::mobility::wire::error::Malformed;
use crate::mobility::wire::field::{self, Field};
use crate::mobility::wire::option::vendor::{VendorBody, VendorOption, exactly};

/// Its sub-type.
pub const SUBTYPE: u8 = 1;

const LEN: usize = 14;
const WINDOW: Field = 8..12;

/// How long a flow has two sets of bindings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransitionWindow {
    /// Milliseconds: 0 for not at all, [`TransitionWindow::FOR_EVER`] for as long as the old binding lives.
    pub window_ms: u32,
}

impl TransitionWindow {
    /// As long as the old binding lives: a fork.
    pub const FOR_EVER: u32 = u32::MAX;

    /// Out of an option's data, vendor and sub-type included.
    pub(super) fn parse(data: &[u8]) -> Result<Self, Malformed> {
        exactly(SUBTYPE, data, LEN)?;
        Ok(Self { window_ms: field::u32(data, WINDOW) })
    }
}

impl VendorBody for TransitionWindow {
    fn subtype(&self) -> u8 {
        SUBTYPE
    }

    fn data_len(&self) -> usize {
        LEN
    }

    fn emit(&self, data: &mut [u8]) {
        field::put(data, WINDOW, &self.window_ms.to_be_bytes());
    }
}

impl From<TransitionWindow> for VendorOption {
    fn from(option: TransitionWindow) -> Self {
        Self::TransitionWindow(option)
    }
}
