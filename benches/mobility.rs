//! What a signalling datagram costs, from its octets to the changed route and the answer.
//!
//! `cargo bench --bench mobility`

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use flowsteer::mobility::wire::{
    BindingIdentifier, BindingUpdate, CareOfTestInit, HomeNetworkPrefix, KeyParameters, Lifetime, MediaPorts, Message, NonceIndices,
    Options, UpdateFlags, VendorOption,
};
use flowsteer::mobility::{Carriage, Received, Responder, ResponderSettings, Transmit};
use flowsteer::now::{Mono, Now, Utc};
use flowsteer::quantities::FlowLabel;
use flowsteer::steering::keys::{self, session_key};
use flowsteer::steering::{BindingCache, BindingId, Expectation, Gate, HomeAddress, Key, Owner, Reserve, Spi, SteeringSettings};

const LABEL: FlowLabel = FlowLabel::new(0x5a3c7).expect("20 bits");
const SERVER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, 1);
const DEVICE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc2, 0, 0, 0, 0, 0x140);

fn main() {
    divan::main();
}

/// Where a Binding Acknowledgement has its status (RFC 6275 section 6.1.8).
const STATUS: usize = 6;

struct Setting {
    responder: Responder,
    steering: Arc<BindingCache>,
    home: HomeAddress,
    first: (Spi, Key),
    now: Now,
}

/// A server with a flow, beside `neighbours` other home addresses.
fn setting(neighbours: usize) -> Setting {
    let mut counter = 0_u64;
    let random = Box::new(move |octets: &mut [u8]| {
        for octet in octets {
            counter = counter.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *octet = (counter >> 56) as u8;
        }
    });
    let settings = SteeringSettings::new("2001:db8:f::/64".parse().expect("a prefix"));
    let steering = Arc::new(BindingCache::new(settings, random, Box::new(|_, _| ())));
    let now = Now { mono: Mono::from_nanos(1), utc: Utc::from_unix_seconds(1_767_225_600) };
    let lifetime = Some(Duration::from_secs(7_200));
    let request = Reserve { owner: Owner::KeyHolder, address: None, lifetime, media_source: SERVER };
    let reserve = || steering.reserve(&request, now).expect("a /64 is not exhausted");
    let reserved = reserve();
    for _ in 0..neighbours {
        steering.authorise(reserve().home, LABEL, Expectation::default()).expect("reserved");
    }
    steering.authorise(reserved.home, LABEL, Expectation::default()).expect("reserved");
    let mut responder = Responder::new(Arc::clone(&steering), ResponderSettings::default());
    responder.handle_timeout(now);
    Setting { responder, steering, home: reserved.home, first: (reserved.spi, reserved.key), now }
}

impl Setting {
    fn update(&self, sequence: u16, port: u16, spi: Spi, key: &Key, claim: Option<KeyParameters>) -> Vec<u8> {
        let token = self.steering.routability(|tests| tests.care_of_token(DEVICE.into()));
        let mut options = Options::default();
        options.push(HomeNetworkPrefix::of(self.home.0));
        options.push(BindingIdentifier { binding: BindingId(2), status: 0, priority: Default::default(), care_of: Some(DEVICE.into()) });
        options.push(VendorOption::MediaPorts(MediaPorts {
            multiplexed: false,
            binding: BindingId(0),
            flow: 0,
            rtp: port,
            rtcp: port + 1,
        }));
        if let Some(claim) = claim {
            options.push(VendorOption::KeyParameters(claim));
        }
        options.push(NonceIndices { home: 0, care_of: token.index });
        let flags = UpdateFlags(UpdateFlags::ACKNOWLEDGE.0 | UpdateFlags::HOME_REGISTRATION.0);
        let mut message = Message::BindingUpdate(BindingUpdate { sequence, flags, lifetime: Lifetime::from_seconds(300), options });
        let home = self.home.0.octets();
        message.authenticate(spi, |covered| key.authenticate(&[&DEVICE.octets(), &home, &token.token, covered])).expect("fits")
    }

    fn take(&mut self, octets: &[u8]) -> Option<Transmit> {
        let source = SocketAddr::new(IpAddr::V6(DEVICE), 40_000);
        let received = Received { octets, source, local: IpAddr::V6(SERVER), carriage: Carriage::Udp };
        self.responder.handle_datagram(received, self.now)
    }
}

/// An update that changes where a flow goes: parsed, authenticated, checked, carried out, answered, and seen in the route.
#[divan::bench(args = [0, 3_000])]
fn update_to_changed_route(bencher: Bencher<'_, '_>, neighbours: usize) {
    let mut setting = setting(neighbours);
    let mut gate: Gate = setting.steering.gate(setting.home).expect("reserved");
    let (spi, key) = setting.first.clone();
    // As many as a run takes, each with its number, made beforehand.
    let updates: Vec<Vec<u8>> = (1..=32_000_u16).map(|number| setting.update(number, 6_000 + 2 * (number % 8), spi, &key, None)).collect();
    let (mut next, mut before) = (updates.iter(), 0);
    bencher.bench_local(|| {
        let update = next.next().expect("a run takes no more than were made");
        let answer = setting.take(update).expect("an answer");
        let place = gate.route().branches[0].care_of.endpoint().port();
        // What was asked for is so, each time.
        assert!(answer.octets[STATUS] == 0 && place != before, "it is accepted, and the route is another");
        before = place;
    });
}

/// The first update of another device: its key is derived as well.
#[divan::bench]
fn first_update_under_a_session_key(bencher: Bencher<'_, '_>) {
    bencher
        .with_inputs(|| {
            let setting = setting(0);
            let validity_end = setting.now.utc.unix_seconds() + 600;
            let parameters = keys::KeyParameters {
                home: setting.home,
                label: LABEL,
                validity_end,
                media_source: SERVER,
                transfer_id: 7,
                identity: None,
            };
            let (spi, key) = session_key(&setting.first.1, &parameters);
            let (parent, label) = (setting.first.0, LABEL.bits());
            let claim = KeyParameters { identity_bound: false, parent, transfer_id: 7, label, validity_end, media_source: SERVER };
            let update = setting.update(1, 6_000, spi, &key, Some(claim));
            (setting, update)
        })
        .bench_local_values(|(mut setting, update)| {
            let answer = setting.take(&update).expect("an answer");
            assert_eq!(answer.octets[STATUS], 0, "accepted");
            answer
        });
}

/// An update with a wrong authenticator.
#[divan::bench]
fn badly_signed(bencher: Bencher<'_, '_>) {
    let mut setting = setting(0);
    let (spi, _) = setting.first.clone();
    let update = setting.update(1, 6_000, spi, &Key::new([0; 32]), None);
    bencher.bench_local(|| setting.take(&update));
}

/// The authenticator of an update alone: HMAC-SHA-256 over addresses, token and message, compared in constant time.
#[divan::bench]
fn authenticator(bencher: Bencher<'_, '_>) {
    let key = Key::new([7; 32]);
    let (home, message) = (Ipv6Addr::from([1; 16]).octets(), [0x5a; 110]);
    let parts = [&DEVICE.octets()[..], &home, &[3; 8], &message];
    let tag = key.authenticate(&parts);
    bencher.bench_local(|| {
        assert!(key.verify(std::hint::black_box(&parts), &tag), "it is right");
    });
}

/// Noise of the length of an update.
#[divan::bench]
fn garbage(bencher: Bencher<'_, '_>) {
    let mut setting = setting(0);
    let noise: Vec<u8> = (0..128_u8).map(|octet| octet.wrapping_mul(73)).collect();
    bencher.bench_local(|| setting.take(&noise));
}

/// A care-of test.
#[divan::bench]
fn care_of_test(bencher: Bencher<'_, '_>) {
    let mut setting = setting(0);
    let test = Message::CareOfTestInit(CareOfTestInit { cookie: [1; 8], options: Options::default() }).to_vec().expect("fits");
    bencher.bench_local(|| {
        // So that no limit is met.
        setting.now = setting.now.after(Duration::from_millis(200));
        setting.take(&test)
    });
}
