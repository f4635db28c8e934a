//! What must hold of a title's index, whatever the file.

use flowsteer::library::{ReadAt, Title};
use flowsteer::quantities::MediaTime;

/// Octets of access units that are read at most: an index may name the same ones again and again.
const READ: usize = 4 << 20;

/// Panics where something does not hold of a title out of `file`; `is_plain` where access units are pieces of the file.
pub fn check(title: &Title, file: &Vec<u8>, is_plain: bool) {
    let size = file.len() as u64;
    assert!(!title.tracks.is_empty());
    let mut left = READ;
    for track in &title.tracks {
        assert!(track.len() as u64 <= 2 * size + 1_024);
        let mut last = i64::MIN;
        let mut any = false;
        for position in 0..track.len() {
            let unit = track.access_unit(position).expect("within the index");
            assert!(!is_plain || unit.offset + u64::from(unit.size) <= size);
            assert!(unit.decode_time >= last);
            last = unit.decode_time;
            any |= unit.random_access;
            let _ = (track.decode_time(&unit), track.presentation_time(&unit));
            if let Some(rest) = left.checked_sub(unit.size as usize) {
                left = rest;
                let read = track.read(file as &dyn ReadAt, &[unit], &mut vec![0; unit.size as usize]);
                assert!(!is_plain || read.is_ok());
            }
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
}
