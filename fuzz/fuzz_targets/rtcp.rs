//! RTCP of receivers.

#![no_main]

use flowsteer::now::Mono;
use flowsteer::playback::feedback::{MAX_ASKED, not_received};
use flowsteer::playback::report::{is_compound, read_reception};
use flowsteer::quantities::{ClockRate, Ssrc};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((head, compound)) = input.split_first_chunk::<8>() else { return };
    let [a, b, c, d, e, f, g, h] = *head;
    let sent = Some((u32::from_be_bytes([e, f, g, h]), Mono::from_nanos(1_000_000_000)));
    let now = Mono::from_nanos(u64::from(u32::from_be_bytes([a, b, c, d])) << 4);
    let read = read_reception(compound, Ssrc(u32::from_be_bytes([a, b, c, d])), ClockRate::VIDEO, sent, now);
    if let Some(reception) = read {
        assert!(reception.loss_fraction.is_none_or(|fraction| (0.0..1.0).contains(&fraction)));
    }
    let _ = is_compound(compound);
    assert!(not_received(compound, Ssrc(u32::from_be_bytes([a, b, c, d]))).len() <= MAX_ASKED);
});
