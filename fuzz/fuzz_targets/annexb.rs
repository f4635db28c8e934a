//! A raw stream of noise into an index, its first octet telling the coding; what the index says must hold.

#![no_main]

mod title;

use std::sync::Arc;

use flowsteer::library::{TitlePath, container};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let Some((first, file)) = file.split_first() else { return };
    let coding = if first & 1 == 0 { container::annexb::RawCoding::H264 } else { container::annexb::RawCoding::H265 };
    let file = file.to_vec();
    container::annexb::sniff(&file);
    let path = TitlePath::new("fuzz.annexb").expect("a path");
    if let Ok(title) = container::annexb::parse(Arc::new(file.clone()), path, coding) {
        title::check(&title, &file, true);
    }
});
