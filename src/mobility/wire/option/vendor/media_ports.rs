//! Media Ports, vendor sub-type 2: to which ports of a care-of address a flow goes.
//!
//! ```text
//! +---------------------------------------------------------------+
//! |                       Vendor ID = 32473                       |
//! +---------------+---------------+-------------------------------+
//! | Sub-Type = 2  |             |M|          Binding ID           |
//! +---------------+-------------+-+-------------------------------+
//! |            Flow ID            |           RTP port            |
//! +-------------------------------+-------------------------------+
//! |           RTCP port           |             Zero              |
//! +-------------------------------+-------------------------------+
//! ```

use crate::mobility::wire::error::Malformed;
use crate::mobility::wire::field::{self, Field};
use crate::mobility::wire::option::vendor::{VendorBody, VendorOption, exactly};
use crate::steering::BindingId;

/// Its sub-type.
pub const SUBTYPE: u8 = 2;

const LEN: usize = 16;
const FLAGS: usize = 5;
const BINDING: Field = 6..8;
const FLOW: Field = 8..10;
const RTP: Field = 10..12;
const RTCP: Field = 12..14;

const MULTIPLEXED: u8 = 1;

/// The ports of a care-of address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MediaPorts {
    /// Whether RTP and RTCP share the RTP port.
    pub multiplexed: bool,
    /// Whose care-of address; zero for that of this update.
    pub binding: BindingId,
    /// Which flow; zero for all.
    pub flow: u16,
    /// The RTP port.
    pub rtp: u16,
    /// The RTCP port.
    pub rtcp: u16,
}

impl MediaPorts {
    /// Out of an option's data, vendor and sub-type included.
    pub(super) fn parse(data: &[u8]) -> Result<Self, Malformed> {
        exactly(SUBTYPE, data, LEN)?;
        Ok(Self {
            multiplexed: field::octet(data, FLAGS) & MULTIPLEXED != 0,
            binding: BindingId(field::u16(data, BINDING)),
            flow: field::u16(data, FLOW),
            rtp: field::u16(data, RTP),
            rtcp: field::u16(data, RTCP),
        })
    }
}

impl VendorBody for MediaPorts {
    fn subtype(&self) -> u8 {
        SUBTYPE
    }

    fn data_len(&self) -> usize {
        LEN
    }

    fn emit(&self, data: &mut [u8]) {
        field::put_octet(data, FLAGS, if self.multiplexed { MULTIPLEXED } else { 0 });
        field::put(data, BINDING, &self.binding.0.to_be_bytes());
        field::put(data, FLOW, &self.flow.to_be_bytes());
        field::put(data, RTP, &self.rtp.to_be_bytes());
        field::put(data, RTCP, &self.rtcp.to_be_bytes());
    }
}

impl From<MediaPorts> for VendorOption {
    fn from(option: MediaPorts) -> Self {
        Self::MediaPorts(option)
    }
}
