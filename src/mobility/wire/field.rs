//! Reading and writing named octet ranges.
//!
//! Lengths are checked before; a range that the octets do not have reads as zero and is not written.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// A named octet range.
pub type Field = Range<usize>;

/// The octets of a range.
pub fn array<const N: usize>(octets: &[u8], field: Field) -> [u8; N] {
    octets.get(field).and_then(|part| part.try_into().ok()).unwrap_or([0; N])
}

/// One octet.
pub fn octet(octets: &[u8], at: usize) -> u8 {
    octets.get(at).copied().unwrap_or(0)
}

/// A 16-bit integer.
pub fn u16(octets: &[u8], field: Field) -> u16 {
    u16::from_be_bytes(array(octets, field))
}

/// A 32-bit integer.
pub fn u32(octets: &[u8], field: Field) -> u32 {
    u32::from_be_bytes(array(octets, field))
}

/// A 64-bit integer.
pub fn u64(octets: &[u8], field: Field) -> u64 {
    u64::from_be_bytes(array(octets, field))
}

/// An IPv4 address.
pub fn ipv4(octets: &[u8], field: Field) -> Ipv4Addr {
    Ipv4Addr::from(array::<4>(octets, field))
}

/// An IPv6 address.
pub fn ipv6(octets: &[u8], field: Field) -> Ipv6Addr {
    Ipv6Addr::from(array::<16>(octets, field))
}

/// Writes a range; `value` is as long as it.
pub fn put(octets: &mut [u8], field: Field, value: &[u8]) {
    if let Some(room) = octets.get_mut(field)
        && room.len() == value.len()
    {
        room.copy_from_slice(value);
    }
}

/// Writes one octet.
pub fn put_octet(octets: &mut [u8], at: usize, value: u8) {
    if let Some(room) = octets.get_mut(at) {
        *room = value;
    }
}
