//! The whole of the signalling's server, by datagrams of noise and by well-authenticated updates of noise, as time passes.
//!
//! The input is a script: an octet says how the next piece is sent, an octet how long it is. A piece may be a datagram as it is,
//! or the body of a Binding Update that is signed with the home key, a session key or a provisioned key. After each step: no
//! answer is longer than what was asked, unless it is an accepted one; and what is shown of the home address holds together.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use flowsteer::mobility::wire::{
    BindingUpdate, HomeNetworkPrefix, KeyParameters, Lifetime, Message, NonceIndices, Options, UpdateFlags, checksum,
};
use flowsteer::mobility::{Carriage, Provisioned, Received, Responder, ResponderSettings};
use flowsteer::now::{Mono, Now, Utc};
use flowsteer::quantities::{FlowLabel, PayloadType};
use flowsteer::steering::keys::{self, session_key};
use flowsteer::steering::{BindingCache, HomeAddress, Key, PacketFacts, Payload, Spi, SteeringSettings};
use hmac::{Hmac, KeyInit, Mac};
use libfuzzer_sys::fuzz_target;
use sha1::{Digest, Sha1};

const SOURCE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, 1);
const DEVICES: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xc1, 0, 0, 0, 0, 0x130)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xc2, 0, 0, 0, 0, 0x140)),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 140)),
];
/// A home address of another server.
const FOREIGN: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xee, 0, 0, 0, 0, 0x77);
const HOME: HomeAddress = HomeAddress(Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x1a2b));
const LABEL: FlowLabel = FlowLabel::new(0x5a3c7).expect("20 bits");
const PROVISIONED: Spi = Spi(0x1000);

fuzz_target!(|input: &[u8]| {
    let mut fill = 0_u8;
    let random = Box::new(move |octets: &mut [u8]| {
        for octet in octets {
            fill = fill.wrapping_mul(101).wrapping_add(37);
            *octet = fill;
        }
    });
    let mut settings = SteeringSettings::new("2001:db8:f::/64".parse().expect("a prefix"));
    settings.home_addresses = Some(vec![HOME, HomeAddress(Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 2))]);
    let steering = Arc::new(BindingCache::new(settings, random, Box::new(|_, _| ())));
    let mut now = Now { mono: Mono::from_nanos(1_000_000_000), utc: Utc::from_unix_seconds(1_767_225_600) };
    let key = Key::new([7; 32]);
    let provisioned = Provisioned { spi: PROVISIONED, nai: "a@example".into(), key: key.clone() };
    let settings = ResponderSettings { keys: vec![provisioned], remote_homes: true, ..ResponderSettings::default() };
    let mut responder = Responder::new(Arc::clone(&steering), settings);
    responder.handle_timeout(now);
    let granted = steering.reserve_for("a@example", &key, Some(HOME), SOURCE, now).expect("free");
    let first = keys::home_key(&key, HOME, granted.spi, "a@example");

    let mut rest = input;
    while let Some(([how, length], after)) = rest.split_first_chunk::<2>() {
        let (piece, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        let source = DEVICES[usize::from(how >> 6) % DEVICES.len()];
        let octets = match how & 7 {
            0 if how & 8 != 0 => foreign(&steering, piece, source).unwrap_or_default(),
            0 => piece.to_vec(),
            1 | 2 => update(&steering, piece, source, granted.spi, &first).unwrap_or_default(),
            3 | 4 => {
                let mut parameters = keys::KeyParameters {
                    home: HOME,
                    label: LABEL,
                    validity_end: now.utc.unix_seconds() + 100,
                    media_source: SOURCE,
                    transfer_id: u32::from(how & 1),
                    identity: None,
                };
                // One key for a while.
                parameters.validity_end -= parameters.validity_end % 1000;
                parameters.validity_end += 1000;
                let (spi, second) = session_key(&first, &parameters);
                let claim = KeyParameters {
                    identity_bound: false,
                    parent: granted.spi,
                    transfer_id: parameters.transfer_id,
                    label: LABEL.bits(),
                    validity_end: parameters.validity_end,
                    media_source: SOURCE,
                };
                update_with(&steering, piece, source, spi, &second, Some(claim)).unwrap_or_default()
            }
            5 => update(&steering, piece, source, PROVISIONED, &key).unwrap_or_default(),
            6 => {
                now = now.after(Duration::from_millis(u64::from(*length) * 157));
                steering.handle_timeout(now);
                responder.handle_timeout(now);
                while let Some(sent) = responder.poll_transmit() {
                    assert!(sent.octets.len() <= 40);
                }
                continue;
            }
            _ => {
                let facts = PacketFacts {
                    source: SOURCE,
                    home: HOME,
                    label: LABEL.bits() ^ u32::from(*length & 1),
                    destination_port: 5004,
                    payload: Payload::Rtp(PayloadType::new(96).expect("seven bits")),
                    media: None,
                };
                if let Some(mut gate) = steering.gate(HOME)
                    && let Ok(route) = gate.pass(&facts, 1, now)
                {
                    let places: Vec<_> = route.branches.iter().map(|branch| branch.care_of).collect();
                    assert!(!places.is_empty() && places.len() <= 8);
                    for (at, place) in places.iter().enumerate() {
                        assert!(!places[..at].contains(place), "each place once");
                    }
                }
                continue;
            }
        };
        let (local, mut octets) = (if source.is_ipv4() { IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)) } else { IpAddr::V6(SOURCE) }, octets);
        let mut carriage = Carriage::Udp;
        if let (IpAddr::V6(source), IpAddr::V6(local), true) = (source, local, how & 16 != 0) {
            carriage = Carriage::Native;
            checksum::set(source, local, &mut octets);
        }
        let received = Received { octets: &octets, source: SocketAddr::new(source, 40_000), local, carriage };
        if let Some(answer) = responder.handle_datagram(received, now) {
            let accepted = matches!(Message::parse(&answer.octets), Ok(Message::BindingAck(ack)) if ack.status.is_accepted());
            assert!(accepted || answer.octets.len() <= octets.len().max(24), "an answer is no amplification");
        }
        if let Some(record) = steering.record(HOME, now) {
            assert!(record.bindings.len() <= 8 && record.keys.len() <= 8 && record.flows.len() <= 1);
            for flow in &record.flows {
                assert!(flow.members.iter().all(|id| record.bindings.iter().any(|binding| binding.id == *id)));
                assert!(flow.leaving.iter().all(|id| !flow.members.contains(id)), "none both stays and leaves");
            }
        }
    }
});

/// An update for a home address of another server, authenticated by the tokens of both tests.
fn foreign(steering: &BindingCache, piece: &[u8], source: IpAddr) -> Option<Vec<u8>> {
    let [lifetime, sequence, ..] = *piece else { return None };
    let (home, there) = steering.routability(|tests| (tests.home_token(FOREIGN.into()), tests.care_of_token(source)));
    let mut options = Options::default();
    options.push(HomeNetworkPrefix::of(FOREIGN));
    options.push(NonceIndices { home: home.index, care_of: there.index });
    let lifetime = Lifetime(u16::from(lifetime));
    let removes = lifetime.is_zero();
    let update = BindingUpdate { sequence: u16::from(sequence), flags: UpdateFlags::ACKNOWLEDGE, lifetime, options };
    let mut key = Sha1::new();
    key.update(home.token);
    if !removes {
        key.update(there.token);
    }
    let care_of = if removes { FOREIGN } else { mapped(source) };
    let server = if source.is_ipv4() { Ipv4Addr::new(198, 51, 100, 1).to_ipv6_mapped() } else { SOURCE };
    Message::BindingUpdate(update)
        .authorize(|covered| {
            let mut mac = Hmac::<Sha1>::new_from_slice(&key.finalize()).expect("any length");
            mac.update(&care_of.octets());
            mac.update(&server.octets());
            mac.update(covered);
            let mut tag = [0; 12];
            tag.copy_from_slice(&mac.finalize().into_bytes()[..12]);
            tag
        })
        .ok()
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

fn update(steering: &BindingCache, piece: &[u8], source: IpAddr, spi: Spi, key: &Key) -> Option<Vec<u8>> {
    update_with(steering, piece, source, spi, key, None)
}

/// A Binding Update whose options are those of the piece as far as they can be read, signed.
fn update_with(
    steering: &BindingCache,
    piece: &[u8],
    source: IpAddr,
    spi: Spi,
    key: &Key,
    claim: Option<KeyParameters>,
) -> Option<Vec<u8>> {
    let mut octets = vec![59, 0, 5, 0, 0, 0];
    octets.extend_from_slice(piece);
    octets.resize(octets.len().max(16).next_multiple_of(8), 0);
    octets[1] = u8::try_from(octets.len() / 8 - 1).ok()?;
    // Both flags that are asked for, mostly.
    octets[8] |= 0xc0;
    let mut update = match Message::parse(&octets) {
        Ok(Message::BindingUpdate(update)) => update,
        _ => BindingUpdate { sequence: 1, flags: Default::default(), lifetime: Default::default(), options: Options::default() },
    };
    if let Some(claim) = claim {
        update.options.push(flowsteer::mobility::wire::VendorOption::KeyParameters(claim));
    }
    let options = &update.options;
    let home = options.home_network_prefix().map(|prefix| prefix.address).filter(|home| !home.is_unspecified());
    let named = options.binding_identifiers().next().and_then(Result::ok).copied();
    let care_of = named
        .and_then(|named| named.care_of)
        .or_else(|| steering.stored_care_of(HomeAddress(home?), named?.binding))
        .or_else(|| options.alternate_care_of().map(|option| IpAddr::V6(option.address)))
        .or_else(|| options.ipv4_care_of().map(|option| IpAddr::V4(option.address)))
        .unwrap_or(source);
    let care_of = if update.lifetime.is_zero() { IpAddr::V6(home.unwrap_or(Ipv6Addr::UNSPECIFIED)) } else { care_of };
    let token = match options.nonce_indices() {
        None => [0; 8],
        Some(indices) => steering.routability(|tests| tests.care_of_token_at(care_of, indices.care_of))?,
    };
    let as_v6 = mapped(care_of);
    let home = home.unwrap_or(Ipv6Addr::UNSPECIFIED).octets();
    let mut message = Message::BindingUpdate(update);
    message.authenticate(spi, |covered| key.authenticate(&[&as_v6.octets(), &home, &token, covered])).ok()
}
