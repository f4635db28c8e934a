//! Feedback of receivers (RFC 4585): which packets they have not got.
//!
//! Read here by hand, out of compound packets only: whatever the octets are, no more than [`MAX_ASKED`] numbers come out of
//! them.

use smallvec::SmallVec;

use crate::playback::report;
use crate::quantities::Ssrc;

/// Transport layer feedback (RFC 4585 section 6.2).
const TRANSPORT_FEEDBACK: u8 = 205;
/// The format of the generic NACK among it.
const GENERIC_NACK: u8 = 1;
/// Octets before the first entry: the header, who asks, and about whom.
const ENTRIES: usize = 12;

/// Numbers that are taken out of one compound packet at most.
pub const MAX_ASKED: usize = 512;

/// The sequence numbers that a compound packet says have not come of a source (RFC 4585 section 6.2.1), as they stand there.
pub fn not_received(compound: &[u8], ssrc: Ssrc) -> SmallVec<[u16; 32]> {
    let nacks = report::packets(compound).filter_map(|(kind, packet)| {
        let about = packet.get(8..ENTRIES)?;
        let is_nack = kind == TRANSPORT_FEEDBACK && packet[0] & 0x1f == GENERIC_NACK && *about == ssrc.0.to_be_bytes();
        if is_nack { entries(packet) } else { None }
    });
    let asked = nacks.flatten().flat_map(|(first, following)| {
        let later = (0..16).filter(move |bit| following >> bit & 1 == 1).map(move |bit| first.wrapping_add(bit + 1));
        std::iter::once(first).chain(later)
    });
    asked.take(MAX_ASKED).collect()
}

/// The entries of a NACK: a number, and which of the sixteen after it.
fn entries(packet: &[u8]) -> Option<impl Iterator<Item = (u16, u16)> + '_> {
    let padding = if packet[0] & 0x20 == 0 { 0 } else { usize::from(*packet.last()?) };
    let entries = packet.get(ENTRIES..packet.len().checked_sub(padding)?)?;
    Some(entries.as_chunks::<4>().0.iter().map(|&[a, b, c, d]| (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EMPTY_REPORT: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 1];

    fn nack(ssrc: u32, entries: &[(u16, u16)]) -> Vec<u8> {
        let words = u16::try_from(2 + entries.len()).expect("short").to_be_bytes();
        let mut packet = vec![0x81, TRANSPORT_FEEDBACK, words[0], words[1], 0, 0, 0, 1];
        packet.extend(ssrc.to_be_bytes());
        packet.extend(entries.iter().flat_map(|(first, following)| [first.to_be_bytes(), following.to_be_bytes()].concat()));
        packet
    }

    fn asked(packets: &[&[u8]]) -> Vec<u16> {
        not_received(&packets.concat(), Ssrc(7)).to_vec()
    }

    #[test]
    fn a_nack_names_a_number_and_some_of_the_sixteen_after_it() {
        assert_eq!(asked(&[&EMPTY_REPORT, &nack(7, &[(100, 0)])]), [100]);
        assert_eq!(asked(&[&EMPTY_REPORT, &nack(7, &[(100, 0b1000_0000_0000_0101), (5, 0)])]), [100, 101, 103, 116, 5]);
        assert_eq!(asked(&[&EMPTY_REPORT, &nack(7, &[(65_534, 0b111)])]), [65_534, 65_535, 0, 1]);
        assert_eq!(asked(&[&EMPTY_REPORT, &nack(7, &[(1, 0)]), &nack(7, &[(2, 0)])]), [1, 2], "two in one compound");
    }

    #[test]
    fn what_is_about_others_or_is_no_nack_asks_for_nothing() {
        assert_eq!(asked(&[&EMPTY_REPORT, &nack(8, &[(100, 0)])]), [0; 0]);
        let mut other_format = nack(7, &[(100, 0)]);
        other_format[0] = 0x8f;
        assert_eq!(asked(&[&EMPTY_REPORT, &other_format]), [0; 0]);
        let mut picture_loss = nack(7, &[(100, 0)]);
        picture_loss[1] = 206;
        assert_eq!(asked(&[&EMPTY_REPORT, &picture_loss]), [0; 0]);
        assert_eq!(asked(&[&EMPTY_REPORT, &nack(7, &[])]), [0; 0]);
        assert_eq!(asked(&[&EMPTY_REPORT, &[0x81, TRANSPORT_FEEDBACK, 0, 1, 0, 0, 0, 7]]), [0; 0], "too short for a source");
    }

    #[test]
    fn padding_is_no_entry() {
        let mut padded = nack(7, &[(100, 0), (0, 4)]);
        padded[0] |= 0x20;
        assert_eq!(asked(&[&EMPTY_REPORT, &padded]), [100]);
        *padded.last_mut().expect("octets") = 200;
        assert_eq!(asked(&[&EMPTY_REPORT, &padded]), [0; 0], "more padding than packet");
    }

    #[test]
    fn no_packet_asks_for_more_than_the_limit() {
        let everything: Vec<(u16, u16)> = (0..400).map(|entry| (entry * 17, u16::MAX)).collect();
        assert_eq!(asked(&[&EMPTY_REPORT, &nack(7, &everything)]), (0..MAX_ASKED as u16).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn arbitrary_octets_are_read_without_panic(mut octets in proptest::collection::vec(any::<u8>(), 0..200), kind in 200u8..208) {
            let _ = not_received(&octets, Ssrc(7));
            // Something that is a packet by its length, too.
            let words = (octets.len() / 4).saturating_sub(1);
            if let [first, second, third, fourth, ..] = &mut octets[..] {
                (*first, *second, *third, *fourth) = (0x80 | *first & 0x3f, kind, (words >> 8) as u8, words as u8);
            }
            prop_assert!(not_received(&octets, Ssrc(7)).len() <= MAX_ASKED);
        }

        #[test]
        fn what_is_asked_is_what_comes_out(entries in proptest::collection::vec(any::<(u16, u16)>(), 0..20)) {
            let mut expected = Vec::new();
            for (first, following) in &entries {
                expected.push(*first);
                expected.extend((0..16u16).filter(|bit| following & (1 << bit) != 0).map(|bit| first.wrapping_add(bit).wrapping_add(1)));
            }
            prop_assert_eq!(asked(&[&EMPTY_REPORT, &nack(7, &entries)]), expected);
        }
    }
}
