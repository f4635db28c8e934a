//! Noise behind a whole seal as what was kept of a library; what is read of it must hold.

#![no_main]

mod title;

use std::sync::Arc;

use flowsteer::library::file::Stamp;
use flowsteer::library::record::{self, Wanted};
use flowsteer::library::{ReadAt, TitlePath};
use libfuzzer_sys::fuzz_target;

/// Octets of the file that a kept index is of.
const SIZE: usize = 64 << 10;

fuzz_target!(|noise: &[u8]| {
    let _ = record::read_facts("", noise);
    let Ok(sealed) = record::seal([&[0], noise].concat()) else { return };
    for known in record::read_facts("", &sealed).unwrap_or_default() {
        assert!(TitlePath::new(&known.path).is_some());
        assert!(known.outcome.is_err() || known.outcome.is_ok_and(|facts| !facts.tracks.is_empty()));
    }
    // The head that is asked for, and noise for the rest.
    let (path, stamp) = (TitlePath::new("a").expect("a path"), Stamp { size: SIZE as u64, ..Stamp::default() });
    let Ok(sealed) = record::seal([&[0, 1, b'a', 0, 0, 0x80, 0x80, 4, 0, 0][..], noise].concat()) else { return };
    let file = vec![0; SIZE];
    let wanted = Wanted { made_by: "", path: &path, stamp: &stamp, restore: &|_, _| None };
    if let Ok(title) = record::read_index(&wanted, &sealed, Arc::new(file.clone()) as Arc<dyn ReadAt>) {
        title::check(&title, &file, true);
    }
});
