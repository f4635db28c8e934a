//! Walking a box's children, which lie in memory.

use mp4_atom::Atom;

/// The boxes in a body, in order; ends at the first whose length does not fit.
pub struct Boxes<'a> {
    rest: &'a [u8],
}

impl<'a> Boxes<'a> {
    /// The children of a box whose body is `body`.
    pub const fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }
}

impl<'a> Iterator for Boxes<'a> {
    type Item = ([u8; 4], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let size = u32::from_be_bytes(*self.rest.first_chunk()?);
        let kind = *self.rest.get(4..8)?.first_chunk()?;
        let (header, len) = match size {
            0 => (8, self.rest.len()),
            1 => (16, usize::try_from(u64::from_be_bytes(*self.rest.get(8..16)?.first_chunk()?)).ok()?),
            small => (8, usize::try_from(small).ok()?),
        };
        if len < header || len > self.rest.len() {
            return None;
        }
        let (this, behind) = self.rest.split_at(len);
        self.rest = behind;
        Some((kind, &this[header..]))
    }
}

/// The body of the first child of that kind.
pub fn find<'a>(body: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    Boxes::new(body).find(|(found, _)| found == kind).map(|(_, body)| body)
}

/// Decodes a leaf; `None` where it is malformed.
pub fn decode<T: Atom>(body: &[u8]) -> Option<T> {
    T::decode_body(&mut &body[..]).ok()
}
