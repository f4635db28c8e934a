//! Binding Reference (RFC 6089 section 4.2.5.2), sub-option 2: to which bindings a flow goes.
//!
//! ```text
//! +---------------+---------------+-------------------------------+
//! |   Type = 2    |    Length     |              BID              |
//! +---------------+---------------+-------------------------------+
//! |              BID ...
//! ```

use smallvec::SmallVec;

use crate::mobility::wire::field;
use crate::mobility::wire::option::flow_identification::{FlowFault, FlowSubOption};
use crate::steering::BindingId;

/// Its type.
pub const KIND: u8 = 2;

/// Octets of an identifier.
const BINDING: usize = 2;
/// Identifiers that fit into one flow identification.
const MOST: usize = 123;

/// The bindings of a flow: 1 to 123, none of them zero. One that is named twice counts once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindingReference(SmallVec<[BindingId; 4]>);

impl BindingReference {
    /// `None` for none, for too many, and if one is zero.
    pub fn new(bindings: impl IntoIterator<Item = BindingId>) -> Option<Self> {
        let bindings: SmallVec<[BindingId; 4]> = bindings.into_iter().take(MOST + 1).collect();
        ((1..=MOST).contains(&bindings.len()) && bindings.iter().all(|binding| binding.0 != 0)).then_some(Self(bindings))
    }

    /// The bindings, in order.
    pub fn bindings(&self) -> &[BindingId] {
        &self.0
    }

    pub(super) fn parse(data: &[u8]) -> Result<Self, FlowFault> {
        if data.is_empty() || !data.len().is_multiple_of(BINDING) {
            return Err(FlowFault::ReferenceLength(data.len()));
        }
        Self::new(data.chunks_exact(BINDING).map(|binding| BindingId(field::u16(binding, 0..BINDING)))).ok_or(FlowFault::ReferenceToZero)
    }

    pub(super) fn data_len(&self) -> usize {
        BINDING * self.0.len()
    }

    pub(super) fn emit(&self, data: &mut [u8]) {
        for (room, binding) in data.chunks_exact_mut(BINDING).zip(&self.0) {
            field::put(room, 0..BINDING, &binding.0.to_be_bytes());
        }
    }
}

impl From<BindingReference> for FlowSubOption {
    fn from(sub: BindingReference) -> Self {
        Self::BindingReference(sub)
    }
}
