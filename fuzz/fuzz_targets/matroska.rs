//! A file of noise into an index; what the index says must hold.

#![no_main]

mod title;

use std::sync::Arc;

use flowsteer::library::{TitlePath, container};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let file = file.to_vec();
    let path = TitlePath::new("fuzz.mkv").expect("a path");
    if let Ok(title) = container::matroska::parse(Arc::new(file.clone()), path) {
        // Frames whose common beginning is stored once are longer than what lies at their offset.
        title::check(&title, &file, false);
    }
});
