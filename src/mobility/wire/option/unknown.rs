//! Options of types that are unknown here: they are skipped, and covered by the authenticator.

use crate::mobility::wire::field;
use crate::mobility::wire::option::{Alignment, Body, MobilityOption, OptionData, is_known};

/// An option of an unknown type, as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownOption {
    kind: u8,
    data: OptionData,
}

impl UnknownOption {
    /// `None` if the type is known, or if the data are more than 255 octets.
    pub fn new(kind: u8, data: &[u8]) -> Option<Self> {
        (!is_known(kind) && data.len() <= usize::from(u8::MAX)).then(|| Self::parse(kind, data))
    }

    pub(super) fn parse(kind: u8, data: &[u8]) -> Self {
        Self { kind, data: data.into() }
    }

    /// Its type.
    pub const fn kind(&self) -> u8 {
        self.kind
    }

    /// Its data.
    pub fn data(&self) -> &[u8] {
        &self.data
    }
}

impl Body for UnknownOption {
    fn kind(&self) -> u8 {
        self.kind
    }

    fn alignment(&self) -> Alignment {
        Alignment::NONE
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }

    fn emit(&self, data: &mut [u8]) {
        field::put(data, 0..self.data.len(), &self.data);
    }
}

impl From<UnknownOption> for MobilityOption {
    fn from(option: UnknownOption) -> Self {
        Self::Unknown(option)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_option_is_of_an_unknown_type() {
        for known in [0, 1, 3, 4, 5, 8, 9, 10, 19, 22, 32, 35, 45] {
            assert!(UnknownOption::new(known, &[]).is_none(), "{known}");
        }
        assert!(UnknownOption::new(2, &[0; 255]).is_some());
        assert!(UnknownOption::new(2, &[0; 256]).is_none());
    }
}
