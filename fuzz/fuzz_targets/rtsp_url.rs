//! URLs: no path leads out of the library, and what is remembered of a URL is its beginning, without the query and without the one
//! track suffix that named a track.

#![no_main]

use flowsteer::rtsp::url::{self, Target};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let Ok(url) = url::parse(input, |name| name == "wall") else { return };
    if let Target::Title(path) = &url.target {
        let parts: Vec<&str> = path.as_str().split('/').collect();
        assert!(parts.iter().all(|part| !part.is_empty() && !part.starts_with('.') && !part.contains(['\0', '\\'])));
    }
    assert!(!url.base.contains('?'));
});
