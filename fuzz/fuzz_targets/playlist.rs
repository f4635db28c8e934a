//! Noise as playlists of both forms; what one names must lie in the library, and be bounded.

#![no_main]

use flowsteer::library::TitlePath;
use flowsteer::library::playlist::{MAX_ITEMS, Playlist, is_list};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|list: &[u8]| {
    for name in ["folder/fuzz.m3u8", "folder/fuzz.toml"] {
        let path = TitlePath::new(name).expect("a path");
        let Ok(read) = Playlist::parse(list, &path) else { continue };
        assert!(!read.items().is_empty() && read.items().len() + read.left_out().len() <= MAX_ITEMS);
        for item in read.items() {
            assert!(TitlePath::new(item.path.as_str()).is_some() && !is_list(&item.path));
            assert!(item.end.is_none_or(|end| end > item.start.unwrap_or_default()));
        }
    }
});
