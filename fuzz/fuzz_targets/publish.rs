//! What a publisher sends: its description, then datagrams, each with two octets before it: how many octets it has, and in the
//! second one the track, whether it is RTCP, and how much later it comes.

#![no_main]

use flowsteer::now::Mono;
use flowsteer::publish::announced::Announced;
use flowsteer::publish::publication::{Output, Publication};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((length, rest)) = input.split_first_chunk::<2>() else { return };
    let Some((description, mut rest)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))) else { return };
    let Ok(announced) = Announced::parse(description) else { return };
    let tracks = announced.tracks.len();
    let mut publication = Publication::new(announced.tracks, 1);
    let (mut now, mut begun) = (1_000_000_000, None);
    while let &[size, what, ref behind @ ..] = rest {
        let Some((datagram, behind)) = behind.split_at_checked(usize::from(size)) else { return };
        rest = behind;
        now += u64::from(what >> 4) * 100_000_000;
        let (track, at) = (usize::from(what & 7) % tracks, Mono::from_nanos(now));
        if what & 8 == 0 {
            let _ = publication.handle_rtp(track, datagram, at);
        } else {
            publication.handle_rtcp(track, datagram, at);
        }
        while let Some(output) = publication.poll(at) {
            match output {
                Output::Begin(tracks, _) => assert!(begun.replace(tracks.len()).is_none()),
                Output::Unit(unit) => assert!(begun.is_some_and(|tracks| unit.track < tracks) && !unit.octets.is_empty()),
                Output::Nothing => assert!(begun.is_none()),
            }
        }
        while publication.poll_report(at).is_some() {}
    }
});
