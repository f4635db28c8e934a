//! Octets of a connection, in pieces: the same messages come out however they are cut, and each is answered in one piece.

#![no_main]

use flowsteer::access::{Hashing, PasswordHash};
use flowsteer::rtsp::decoder::{Decoder, Item};
use flowsteer::rtsp::header::authorization::{self, Shown};
use flowsteer::rtsp::header::{range, session::SessionId};
use flowsteer::rtsp::message::MessageLimits;
use libfuzzer_sys::fuzz_target;

const LIMITS: MessageLimits = MessageLimits { header: 2048, body: 512 };

fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Item>, bool) {
    let mut decoder = Decoder::new(LIMITS);
    let mut items = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next_item() {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(_) => return (items, true),
            }
        }
    }
    (items, false)
}

fuzz_target!(|input: &[u8]| {
    let Some((&size, octets)) = input.split_first() else { return };
    let whole = decode(std::iter::once(octets));
    assert_eq!(whole, decode(octets.chunks(usize::from(size).max(1))));
    for item in &whole.0 {
        let Item::Request(request) = item else { continue };
        let _ = request.sequence();
        let _ = request.header("Range").map(range::parse);
        let _ = request.header("Session").map(SessionId::parse);
        for hashing in [Hashing::Md5, Hashing::Sha256] {
            if let Some(Shown::Digest(shown)) = request.header("Authorization").and_then(|text| authorization::parse(text, hashing)) {
                let _ = shown.prove(&request.method, &PasswordHash::of(hashing, &shown.username, "x"));
            }
        }
        assert!(!format!("{request:?}").contains('\n'));
    }
});
