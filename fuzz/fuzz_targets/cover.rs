//! The picture that a file of noise carries of itself: it is a piece of the file, and one of the two kinds.

#![no_main]

use flowsteer::library::cover::{MAX_OCTETS, cover};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let file = file.to_vec();
    if let Some(found) = cover(&file) {
        assert!(["image/jpeg", "image/png"].contains(&found.kind));
        assert!(found.octets.len() as u64 <= MAX_OCTETS);
        assert!(file.windows(found.octets.len()).any(|part| part == found.octets));
    }
});
