//! What the end-to-end tests stand on: a network of namespaces with a server and two devices in it, real players, an RTSP client and RTP
//! receivers of our own, and an independent reader of the library's files.
//!
//! Nothing here uses the crate under test: the server is the built binary, reached over the wire. Everything waits by probing, up to a
//! limit after which the test fails with what it saw.

// Each test binary uses its own part of this.
#![allow(dead_code)]
// setns, the receive option for flow labels: tests only.
#![allow(unsafe_code)]

pub mod elementary;
pub mod film;
pub mod http;
pub mod namespaces;
pub mod players;
pub mod recording;
pub mod rtsp;
pub mod scene;
pub mod server;
pub mod sound;
pub mod transcript;
pub mod viewer;
pub mod wire;

use std::io::Write as _;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

/// How soon something must happen that needs no media time.
pub const SOON: Duration = Duration::from_secs(10);

/// A process that is killed when dropped.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Puts a text in the place of a file, at once: a configuration that is watched is never read half written.
#[track_caller]
pub fn replace(file: &Path, text: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, text).expect("written");
    std::fs::rename(next, file).expect("renamed");
}

/// Asks again every few milliseconds until there is an answer.
///
/// # Panics
/// When there is none within `limit`, naming `what` was waited for.
#[track_caller]
pub fn wait_for<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a missing tool or privilege is a failure (`FLOWSTEER_REQUIRE_TOOLS`) and not a reason to skip.
pub fn tools_are_required() -> bool {
    std::env::var("FLOWSTEER_REQUIRE_TOOLS").is_ok_and(|value| !value.is_empty() && value != "0")
}

/// Skips the running test by name, or fails it where skipping is not allowed.
#[track_caller]
pub fn skip(reason: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(!tools_are_required(), "{test}: {reason}, and FLOWSTEER_REQUIRE_TOOLS is set");
    say_skipped(&test, reason);
}

/// Says that a test is skipped where who runs it reads that: what a test that passes prints is captured, but for what goes here itself.
pub fn say_skipped(test: &str, reason: &str) {
    // Nobody may be there to read it.
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {reason}");
}
