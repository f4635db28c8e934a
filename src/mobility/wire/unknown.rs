//! Messages of types that are unknown here; they are answered with a Binding Error.

use crate::mobility::wire::field::{self, Field};
use crate::mobility::wire::header::{self, MAX_LEN, MessageType, UNIT};

/// A message of an unknown type: what follows the header's first six octets, as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownMessage {
    kind: MessageType,
    octets: Vec<u8>,
}

impl UnknownMessage {
    /// `None` if the type is known, or if `octets`, which follow the checksum, do not end at a multiple of 8 octets of a header
    /// of at most [`MAX_LEN`].
    pub fn new(kind: MessageType, octets: Vec<u8>) -> Option<Self> {
        let len = header::LEN + octets.len();
        (!kind.is_known() && len.is_multiple_of(UNIT) && len <= MAX_LEN).then_some(Self { kind, octets })
    }

    /// Its type.
    pub const fn kind(&self) -> MessageType {
        self.kind
    }

    /// What follows the checksum.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Out of a header whose length is checked.
    pub(super) fn parse(kind: MessageType, octets: &[u8]) -> Self {
        Self { kind, octets: octets.get(header::LEN..).unwrap_or_default().to_vec() }
    }

    pub(super) fn buffer_len(&self) -> usize {
        header::LEN + self.octets.len()
    }

    pub(super) fn emit(&self, octets: &mut [u8]) {
        let all: Field = header::LEN..self.buffer_len();
        field::put(octets, all, &self.octets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_message_is_of_an_unknown_type_and_fills_its_header() {
        assert!(UnknownMessage::new(MessageType(8), vec![1, 2]).is_some());
        assert!(UnknownMessage::new(MessageType(255), vec![0; MAX_LEN - 6]).is_some());
        assert!(UnknownMessage::new(MessageType(7), vec![1, 2]).is_none());
        assert!(UnknownMessage::new(MessageType(8), vec![1, 2, 3]).is_none());
        assert!(UnknownMessage::new(MessageType(8), vec![0; MAX_LEN + 2]).is_none());
    }
}
