//! Mobility Headers: what can be read is written as something that reads the same, and an authenticator covers what is before it.

#![no_main]

use flowsteer::mobility::wire::{Authenticated, EmitError, MAX_LEN, Message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let Ok(message) = Message::parse(octets) else { return };
    assert!(message.kind().is_known() || message.options().is_none());
    match message.to_vec() {
        Ok(written) => {
            assert_eq!(written.len(), message.buffer_len());
            assert_eq!(Message::parse(&written).as_ref(), Ok(&message));
        }
        // Aligning takes room that a full header does not have.
        Err(error) => assert!(matches!(error, EmitError::TooLong(needed) if needed > MAX_LEN)),
    }
    if let Some(authenticated) = Authenticated::by_key(&message, octets) {
        assert_eq!(authenticated.covered.iter().map(|part| part.len()).sum::<usize>(), octets.len() - 16);
    }
    if let Some(authenticated) = Authenticated::by_tokens(&message, octets) {
        assert_eq!(authenticated.covered.iter().map(|part| part.len()).sum::<usize>(), octets.len() - 12);
    }
    for flow in message.options().into_iter().flat_map(|options| options.flow_identifications()) {
        let fault = flow.map_or_else(|malformed| Some(malformed.fault()), |flow| flow.fault());
        assert!(fault.is_none_or(|fault| fault.status().is_refused()));
    }
});
