//! The `Transport` header: one offer is chosen, or a reason is given.

#![no_main]

use flowsteer::rtsp::header::transport::{self, Offered};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    match transport::choose(input, true) {
        Ok(Offered::Udp { rtp, rtcp, .. }) => assert!(rtp != 0 && rtcp != 0),
        Ok(Offered::Home { ports, .. }) => assert!(ports.is_none_or(|(rtp, rtcp)| rtp != 0 && rtcp != 0)),
        Ok(Offered::Interleaved { channels: Some((rtp, rtcp)), .. }) => assert_eq!(rtp.checked_add(1), Some(rtcp)),
        Ok(Offered::Interleaved { channels: None, .. }) | Err(_) => {}
    }
});
