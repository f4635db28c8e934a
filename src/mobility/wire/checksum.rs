//! The checksum of a Mobility Header that is carried by IPv6 itself (RFC 6275 section 6.1.1).
//!
//! It covers the header and a pseudo-header of source, destination, length and next header 135 (RFC 8200 section 8.1). Over UDP
//! it is zero.

use std::net::Ipv6Addr;

use crate::mobility::wire::field;
use crate::mobility::wire::header::CHECKSUM;

/// The protocol number of the Mobility Header.
pub const NEXT_HEADER: u8 = 135;

/// The checksum that a header is to have; what stands in its place now does not count.
pub fn compute(source: Ipv6Addr, destination: Ipv6Addr, octets: &[u8]) -> u16 {
    let stated = u64::from(field::u16(octets, CHECKSUM));
    let pseudo = sum(&source.octets()) + sum(&destination.octets()) + octets.len() as u64 + u64::from(NEXT_HEADER);
    let mut folded = pseudo + sum(octets) - stated;
    while folded > 0xffff {
        folded = (folded & 0xffff) + (folded >> 16);
    }
    !(folded as u16)
}

/// Writes it.
pub fn set(source: Ipv6Addr, destination: Ipv6Addr, octets: &mut [u8]) {
    let checksum = compute(source, destination, octets);
    field::put(octets, CHECKSUM, &checksum.to_be_bytes());
}

/// Whether a received header has the right one. Its two forms of zero are the same.
pub fn verify(source: Ipv6Addr, destination: Ipv6Addr, octets: &[u8]) -> bool {
    let (stated, right) = (field::u16(octets, CHECKSUM), compute(source, destination, octets));
    octets.len() >= CHECKSUM.end && (stated == right || (is_zero(stated) && is_zero(right)))
}

const fn is_zero(checksum: u16) -> bool {
    checksum == 0 || checksum == 0xffff
}

/// The sum of 16-bit words.
fn sum(octets: &[u8]) -> u64 {
    octets.chunks(2).map(|word| (u64::from(field::octet(word, 0)) << 8) | u64::from(field::octet(word, 1))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc2, 0, 0, 0, 0, 0x140);
    const DESTINATION: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, 1);

    #[test]
    fn a_checksum_that_was_set_is_verified_and_a_changed_bit_is_seen() {
        let mut octets = [59, 1, 2, 0, 0xff, 0xff, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        set(SOURCE, DESTINATION, &mut octets);
        assert!(verify(SOURCE, DESTINATION, &octets));
        for at in 0..octets.len() {
            let mut changed = octets;
            changed[at] ^= 0x10;
            assert!(!verify(SOURCE, DESTINATION, &changed), "octet {at}");
        }
        assert!(!verify(SOURCE, DESTINATION, &octets[..8]));
        assert!(!verify(SOURCE, DESTINATION, &[]));
    }
}
