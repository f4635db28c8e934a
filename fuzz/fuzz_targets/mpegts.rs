//! A transport stream of noise into an index, and into one of it as a whole; what they say must hold.

#![no_main]

mod title;

use std::sync::Arc;

use flowsteer::library::{TitlePath, container};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let file = file.to_vec();
    let path = TitlePath::new("fuzz.mpegts").expect("a path");
    if let Ok(title) = container::mpegts::parse(Arc::new(file.clone()), path) {
        title::check(&title, &file, false);
        if let Ok(whole) = container::mpegts::transport(&title) {
            title::check(&whole, &file, false);
        }
    }
});
