//! What steering costs on the data's way, and how long an update takes to be seen there.
//!
//! `cargo bench --bench steering`

use std::hint::black_box;
use std::sync::Arc;

use divan::Bencher;
use flowsteer::dataplane::Lateness;
use flowsteer::now::{Mono, Now, Utc};
use flowsteer::quantities::{FlowLabel, PayloadType};
use flowsteer::steering::{
    Authority, BindingCache, BindingId, CareOf, Expectation, Holder, HomeAddress, Join, Mode, Owner, PacketFacts, Payload, Proof, Reserve,
    SteeringSettings, Update,
};

const OWNER: Owner = Owner::Presentation(1);
const LABEL: FlowLabel = FlowLabel::new(0x5a3c7).expect("20 bits");

fn main() {
    divan::main();
}

/// Other home addresses that live beside the one that is measured.
const NEIGHBOURS: [usize; 2] = [0, 3_000];

struct Setting {
    cache: Arc<BindingCache>,
    home: HomeAddress,
    now: Now,
}

fn setting(neighbours: usize) -> Setting {
    let mut counter = 0_u64;
    let random = Box::new(move |octets: &mut [u8]| {
        for octet in octets {
            counter = counter.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *octet = (counter >> 56) as u8;
        }
    });
    let settings = SteeringSettings::new("2001:db8:f::/64".parse().expect("a prefix"));
    let cache = Arc::new(BindingCache::new(settings, random, Box::new(|_, _| ())));
    let now = Now { mono: Mono::from_nanos(1), utc: Utc::from_unix_seconds(1_767_225_600) };
    let media_source = "2001:db8:5::1".parse().expect("an address");
    let request = Reserve { owner: OWNER, address: None, lifetime: None, media_source };
    let reserve = || cache.reserve(&request, now).expect("a /64 is not exhausted").home;
    let home = reserve();
    for _ in 0..neighbours {
        cache.authorise(reserve(), LABEL, Expectation::default()).expect("reserved");
    }
    cache.authorise(home, LABEL, Expectation::default()).expect("reserved");
    cache.update(&[update(home, 0)], now).expect("accepted");
    Setting { cache, home, now }
}

fn update(home: HomeAddress, port: u16) -> Update {
    let rtp = format!("192.0.2.1:{}", 5_000 + 2 * port).parse::<std::net::SocketAddr>().expect("an endpoint");
    let rtcp = std::net::SocketAddr::new(rtp.ip(), rtp.port() + 1);
    Update {
        home,
        authority: Authority::Owner(OWNER),
        binding: Some(BindingId(1)),
        care_of: CareOf::Udp { rtp, rtcp, source: None },
        proof: Proof::RequestPeer(rtp.ip()),
        lifetime: None,
        mode: Mode::Move,
        window: None,
        join: Join::default(),
        holder: Holder(1),
    }
}

/// The filter and the map, once per run of packets.
#[divan::bench(args = NEIGHBOURS)]
fn pass(bencher: Bencher<'_, '_>, neighbours: usize) {
    let Setting { cache, home, now } = setting(neighbours);
    let mut gate = cache.gate(home).expect("reserved");
    let media_source = "2001:db8:5::1".parse().expect("an address");
    let payload = Payload::Rtp(PayloadType::new(96).expect("seven bits"));
    let facts = PacketFacts { source: media_source, home, label: LABEL.bits(), destination_port: 5_004, payload, media: None };
    bencher.bench_local(|| gate.pass(black_box(&facts), 20, now).expect("bound").branches.len());
}

/// The same for a flow that goes to so many places.
#[divan::bench(args = [2, 4])]
fn pass_to_branches(bencher: Bencher<'_, '_>, branches: u16) {
    let Setting { cache, home, now } = setting(0);
    for branch in 2..=branches {
        let fork = Update { binding: Some(BindingId(branch)), mode: Mode::Fork, ..update(home, branch) };
        cache.update(&[fork], now).expect("accepted");
    }
    let mut gate = cache.gate(home).expect("reserved");
    let media_source = "2001:db8:5::1".parse().expect("an address");
    let payload = Payload::Rtp(PayloadType::new(96).expect("seven bits"));
    let facts = PacketFacts { source: media_source, home, label: LABEL.bits(), destination_port: 5_004, payload, media: None };
    assert_eq!(gate.pass(&facts, 20, now).expect("bound").branches.len(), usize::from(branches));
    bencher.bench_local(|| gate.pass(black_box(&facts), 20, now).expect("bound").branches.len());
}

/// What is counted of each access unit that leaves: how late it was.
#[divan::bench]
fn note_lateness(bencher: Bencher<'_, '_>) {
    let lateness = Lateness::default();
    let mut micros = 0;
    bencher.bench_local(|| {
        micros = (micros * 31 + 17) % 3_000;
        lateness.note(std::time::Duration::from_micros(black_box(micros)));
    });
}

/// From an update to the route that the data plane has then.
#[divan::bench(args = NEIGHBOURS)]
fn update_to_route(bencher: Bencher<'_, '_>, neighbours: usize) {
    let Setting { cache, home, now } = setting(neighbours);
    let mut gate = cache.gate(home).expect("reserved");
    let updates = [update(home, 1), update(home, 2)];
    let mut next = 0;
    bencher.bench_local(|| {
        next = 1 - next;
        cache.update(&updates[next..=next], now).expect("accepted");
        while cache.poll_event().is_some() {}
        gate.route().branches[0].care_of
    });
}

/// An unused flow label.
#[divan::bench(args = NEIGHBOURS)]
fn draw_label(bencher: Bencher<'_, '_>, neighbours: usize) {
    let Setting { cache, .. } = setting(neighbours);
    bencher.bench_local(|| cache.draw_label());
}
