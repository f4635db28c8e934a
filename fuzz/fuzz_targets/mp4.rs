//! A file of noise into an index; what the index says must hold.

#![no_main]

use std::sync::Arc;

use flowsteer::library::{TitlePath, container};
use flowsteer::quantities::MediaTime;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let size = file.len() as u64;
    let path = TitlePath::new("fuzz.mp4").expect("a path");
    let Ok(title) = container::parse(Arc::new(file.to_vec()), path) else { return };
    assert!(!title.tracks.is_empty());
    for track in &title.tracks {
        assert!(track.len() as u64 <= 2 * size + 1_024);
        let mut last = i64::MIN;
        let mut any = false;
        for position in 0..track.len() {
            let unit = track.access_unit(position).expect("within the index");
            assert!(unit.offset + u64::from(unit.size) <= size);
            assert!(unit.decode_time >= last);
            last = unit.decode_time;
            any |= unit.random_access;
            let _ = (track.decode_time(&unit), track.presentation_time(&unit));
        }
        assert!(any);
        for nanos in [i64::MIN, -1, 0, 1, 1_000_000_000, i64::MAX] {
            let at = MediaTime::from_nanos(nanos);
            let start = track.random_access_at_or_before(at).expect("there is one");
            assert!(track.access_unit(start).expect("within the index").random_access);
            assert!(track.first_shown_at(at) <= track.len());
        }
        let _ = track.bitrate();
    }
});
