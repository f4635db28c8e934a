//! The picture that a file of noise carries of itself: it is a piece of the file, as it is or without the zeros that ID3v2
//! has put behind octets of ones, and one of the two kinds.

#![no_main]

use flowsteer::library::cover::{MAX_OCTETS, cover};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let file = file.to_vec();
    if let Some(found) = cover(&file) {
        assert!(["image/jpeg", "image/png"].contains(&found.kind));
        assert!(found.octets.len() as u64 <= MAX_OCTETS);
        let is_in = |file: &[u8]| file.windows(found.octets.len()).any(|part| part == found.octets);
        assert!(is_in(&file) || is_in(&resynchronised(&file)));
    }
});

fn resynchronised(file: &[u8]) -> Vec<u8> {
    let before = [0].iter().chain(file);
    file.iter().zip(before).filter(|(octet, before)| (**before, **octet) != (0xff, 0)).map(|(octet, _)| *octet).collect()
}
