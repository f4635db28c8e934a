//! A device and the server's side of the signalling, both without sockets, under one clock that steps to the next deadline: with loss,
//! delay and reordering on the way, with every status that has a remedy, and with messages that are not authentic.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use flowsteer::device::event::{Event, Outgoing};
use flowsteer::device::exchange::Ask;
use flowsteer::device::node::{Node, REFRESH, Random};
use flowsteer::device::{AskId, Credential, FlowAsk, Grant, Proof};
use flowsteer::mobility::wire::{
    AskedParty, BindingAck, BindingError, CareOfTest, FlowStatus, HomeNetworkPrefix, Lifetime, Message, Options, RefreshRequest, Status,
};
use flowsteer::mobility::{Carriage, Provisioned, Received, Responder, ResponderSettings};
use flowsteer::now::{Mono, Now, Utc};
use flowsteer::quantities::FlowLabel;
use flowsteer::steering::consent::Became;
use flowsteer::steering::keys::{KeyParameters, session_key};
use flowsteer::steering::{
    BindingCache, BindingId, CareOf, ConsentRules, EndReason, HomeAddress, Key, KeygenToken, Policy, Spi, SteeringSettings,
};
use proptest::prelude::*;

const A: &str = "2001:db8::a";
const B: &str = "2001:db8::b";
const LABEL: u32 = 0x12345;
const SECOND: Duration = Duration::from_secs(1);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn source() -> Ipv6Addr {
    "2001:db8::1".parse().expect("an address")
}

fn provisioned() -> Provisioned {
    Provisioned { spi: Spi(0x200), nai: "tv@home".into(), key: Key::new([7; 32]) }
}

fn randomly(seed: u64) -> Random {
    let mut state = seed | 1;
    Box::new(move |octets| {
        for octet in octets {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *octet = (state >> 56) as u8;
        }
    })
}

fn origin() -> Now {
    Now { mono: Mono::from_nanos(1_000_000_000), utc: Utc::from_unix_seconds(1_800_000_000) }
}

fn label() -> FlowLabel {
    FlowLabel::new(LABEL).expect("20 bits")
}

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Lost,
    Arrives { after_ms: u16 },
    Twice { after_ms: u16, again_ms: u16 },
}

/// A server, and any number of devices, each at an address.
struct World {
    steering: Arc<BindingCache>,
    responder: Responder,
    nodes: BTreeMap<IpAddr, Node>,
    now: Now,
    /// By arrival, then by order of sending.
    flying: BTreeMap<(Mono, u64), (IpAddr, bool, Vec<u8>)>,
    count: u64,
    fates: Vec<Fate>,
    events: Vec<(IpAddr, Event)>,
    /// When which device sent an update.
    sent: Vec<(IpAddr, Mono, Vec<u8>)>,
    is_down: bool,
}

impl World {
    fn new() -> Self {
        let (steering, responder) = server(1);
        let nodes = [A, B].into_iter().enumerate().map(|(index, at)| (ip(at), Node::new(randomly(index as u64 + 10)))).collect();
        Self {
            steering,
            responder,
            nodes,
            now: origin(),
            flying: BTreeMap::new(),
            count: 0,
            fates: Vec::new(),
            events: Vec::new(),
            sent: Vec::new(),
            is_down: false,
        }
    }

    fn node(&mut self, at: &str) -> &mut Node {
        self.nodes.get_mut(&ip(at)).expect("a device")
    }

    fn ask(&mut self, at: &str, ask: Ask) -> AskId {
        let now = self.now;
        self.node(at).ask(ask, now)
    }

    fn put(&mut self, at: IpAddr, to_server: bool, octets: Vec<u8>) {
        let flights: Vec<u16> = match self.fates.pop().unwrap_or(Fate::Arrives { after_ms: 10 }) {
            Fate::Lost => vec![],
            Fate::Arrives { after_ms } => vec![after_ms],
            Fate::Twice { after_ms, again_ms } => vec![after_ms, again_ms],
        };
        for after in flights {
            self.count += 1;
            let arrival = self.now.mono + Duration::from_millis(after.into());
            self.flying.insert((arrival, self.count), (at, to_server, octets.clone()));
        }
    }

    fn drain(&mut self) {
        let mut out: Vec<(IpAddr, Outgoing)> = Vec::new();
        for (at, node) in &mut self.nodes {
            out.extend(std::iter::from_fn(|| node.poll_transmit()).map(|outgoing| (*at, outgoing)));
            self.events.extend(std::iter::from_fn(|| node.poll_event()).map(|event| (*at, event)));
        }
        for (at, outgoing) in out {
            assert!(outgoing.from.is_none_or(|from| from == at), "it sends from where it is");
            if matches!(Message::parse(&outgoing.octets), Ok(Message::BindingUpdate(_))) {
                self.sent.push((at, self.now.mono, outgoing.octets.clone()));
            }
            self.put(at, true, outgoing.octets);
        }
        while let Some(transmit) = self.responder.poll_transmit() {
            self.put(transmit.to.ip(), false, transmit.octets);
        }
    }

    /// Steps to the next deadline, at most to `limit`.
    fn step(&mut self, limit: Mono) {
        self.drain();
        let nodes = self.nodes.values().filter_map(Node::poll_timeout);
        let flying = self.flying.keys().next().map(|(arrival, _)| *arrival);
        let due = nodes.chain(self.responder.poll_timeout()).chain(self.steering.poll_timeout()).chain(flying).min();
        let to = due.unwrap_or(limit).min(limit).max(self.now.mono);
        self.now = self.now.after(to.since(self.now.mono));
        let now = self.now;
        while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= now.mono) {
            let (at, to_server, octets) = entry.remove();
            if !to_server {
                if let Some(node) = self.nodes.get_mut(&at) {
                    node.handle_datagram(&octets, now);
                }
            } else if !self.is_down {
                let received =
                    Received { octets: &octets, source: SocketAddr::new(at, 40_000), local: source().into(), carriage: Carriage::Udp };
                if let Some(answer) = self.responder.handle_datagram(received, now) {
                    self.put(answer.to.ip(), false, answer.octets);
                }
            }
        }
        self.nodes
            .values_mut()
            .filter(|node| node.poll_timeout().is_some_and(|due| due <= now.mono))
            .for_each(|node| node.handle_timeout(now));
        if self.responder.poll_timeout().is_some_and(|due| due <= now.mono) {
            self.responder.handle_timeout(now);
        }
        if self.steering.poll_timeout().is_some_and(|due| due <= now.mono) {
            self.steering.handle_timeout(now);
        }
        self.drain();
    }

    fn run_for(&mut self, span: Duration) {
        let limit = self.now.mono + span;
        while self.now.mono < limit {
            self.step(limit);
        }
    }

    #[track_caller]
    fn wait_for<T>(&mut self, what: &str, limit: Duration, probe: impl Fn(&(IpAddr, Event)) -> Option<T>) -> T {
        let end = self.now.mono + limit;
        loop {
            if let Some(found) = self.events.iter().find_map(&probe) {
                return found;
            }
            assert!(self.now.mono < end, "waited in vain for {what}; {:?}", self.events);
            self.step(end);
        }
    }

    #[track_caller]
    fn reserve(&mut self, at: &str) -> (HomeAddress, Credential) {
        let id = self.ask(at, Ask::reserve(provisioned(), None, Duration::from_secs(600), ip(at)));
        self.wait_for("a reservation", SECOND * 1500, |(_, event)| match event {
            Event::Reserved { id: Some(done), home, spi, key, .. } if *done == id => {
                Some((*home, Credential::Home { spi: *spi, key: key.clone() }))
            }
            _ => None,
        })
    }

    #[track_caller]
    fn wait_for_binding(&mut self, id: AskId) -> (Duration, Option<FlowStatus>) {
        self.wait_for("a binding", SECOND * 1500, |(_, event)| match event {
            Event::Bound { id: Some(done), lifetime, flow, .. } if *done == id => Some((*lifetime, *flow)),
            _ => None,
        })
    }

    #[track_caller]
    fn wait_for_refusal(&mut self, id: AskId) -> Status {
        self.wait_for("a refusal", SECOND * 1500, |(_, event)| match event {
            Event::Refused { id: Some(done), status, .. } if *done == id => Some(*status),
            _ => None,
        })
    }

    /// Where the packets of a home address go, with those that are leaving.
    fn places(&self, home: HomeAddress) -> Vec<(IpAddr, bool)> {
        let view = self.steering.home_view(home, self.now).expect("a home address");
        view.branches.iter().map(|shown| (shown.branch.care_of.ip(), shown.branch.leaving)).collect()
    }

    fn updates_of(&self, at: &str) -> Vec<(Mono, u16)> {
        let of = |(from, at_time, octets): &(IpAddr, Mono, Vec<u8>)| {
            let Ok(Message::BindingUpdate(update)) = Message::parse(octets) else { return None };
            (*from == ip(at)).then_some((*at_time, update.sequence))
        };
        self.sent.iter().filter_map(of).collect()
    }

    /// Hands a message to a device, as anybody could.
    fn spoof(&mut self, at: &str, message: &Message) {
        let (octets, now) = (message.to_vec().expect("short enough"), self.now);
        self.node(at).handle_datagram(&octets, now);
        self.drain();
    }
}

fn server(seed: u64) -> (Arc<BindingCache>, Responder) {
    let settings = SteeringSettings::new("fd00:f10::/64".parse().expect("a prefix"));
    let steering = Arc::new(BindingCache::new(settings, randomly(seed), Box::new(|_, _| ())));
    let settings = ResponderSettings { keys: vec![provisioned()], media_source: Some(source()), ..ResponderSettings::default() };
    let mut responder = Responder::new(Arc::clone(&steering), settings);
    responder.handle_timeout(origin());
    (steering, responder)
}

fn bind(credential: &Credential, home: HomeAddress, binding: u16, at: &str) -> Ask {
    Ask { ports: Some((5000, 5001)), ..Ask::bind(credential.clone(), home, BindingId(binding), ip(at), Duration::from_secs(600)) }
}

/// K2 of a home address, as node 1 or the server derives it.
fn session(first: &Credential, home: HomeAddress, validity_end: u64) -> Credential {
    let Credential::Home { spi: parent, key } = first else { panic!("K2 is derived from K1") };
    let parameters = KeyParameters { home, label: label(), validity_end, media_source: source(), transfer_id: 0x0bad_cafe, identity: None };
    let (spi, derived) = session_key(key, &parameters);
    let grant = Grant { spi, key: derived, parent: *parent, validity_end, media_source: source(), identity: None };
    Credential::Session { grant, transfer_id: 0x0bad_cafe, label: label() }
}

fn later(world: &World, span: u64) -> u64 {
    world.now.utc.unix_seconds() + span
}

fn take(second: &Credential, home: HomeAddress, bindings: &[u16]) -> Ask {
    let flow = FlowAsk {
        id: 1,
        label: Some(label()),
        source: Some(source()),
        bindings: bindings.iter().map(|binding| BindingId(*binding)).collect(),
    };
    Ask { window_ms: Some(3000), flow: Some(flow), ..bind(second, home, 2, B) }
}

#[test]
fn a_device_reserves_binds_and_is_taken_over_with_a_window() {
    let mut world = World::new();
    let (home, first) = world.reserve(A);
    let id = world.ask(A, bind(&first, home, 1, A));
    assert_eq!(world.wait_for_binding(id), (Duration::from_secs(600), None));
    assert_eq!(world.places(home), [(ip(A), false)]);
    let second = session(&first, home, later(&world, 600));
    let id = world.ask(B, take(&second, home, &[2]));
    let (_, flow) = world.wait_for_binding(id);
    assert_eq!(flow, Some(FlowStatus::DONE));
    let mut places = world.places(home);
    places.sort_unstable();
    assert_eq!(places, [(ip(A), true), (ip(B), false)], "the window runs");
    let view = world.steering.home_view(home, world.now).expect("a home address");
    let care_of = view.branches.iter().map(|shown| shown.branch.care_of).find(|care_of| care_of.ip() == ip(B)).expect("B's branch");
    assert!(matches!(care_of, CareOf::Udp { rtp, rtcp, .. } if (rtp.port(), rtcp.port()) == (5000, 5001)));
    let removal = Ask::remove(second, home, Some(BindingId(2)), ip(B));
    let id = world.ask(B, removal);
    world.wait_for("the end of it", SECOND, |(_, event)| (*event == Event::Removed { id }).then_some(()));
    // Two updates and a removal of B, each answered at once.
    assert_eq!(world.updates_of(B).len(), 2);
}

#[test]
fn all_flows_are_taken_with_one_test_and_in_one_round_trip() {
    let mut world = World::new();
    let homes: Vec<(HomeAddress, Credential)> = (0..3).map(|_| world.reserve(A)).collect();
    world.events.clear();
    let start = world.now.mono;
    let end = later(&world, 600);
    let ids: Vec<AskId> = homes.iter().map(|(home, first)| world.ask(B, take(&session(first, *home, end), *home, &[2]))).collect();
    for id in ids {
        world.wait_for_binding(id);
    }
    // There and back for the test, there for the updates: each way takes 10 ms.
    let sent: Vec<u128> = world.updates_of(B).iter().map(|(at, _)| at.since(start).as_millis()).collect();
    assert_eq!(sent, [20, 20, 20]);
    assert_eq!(world.now.mono.since(start), Duration::from_millis(40));
    assert_eq!(world.events.iter().filter(|(_, event)| matches!(event, Event::Tested { .. })).count(), 1);
}

#[test]
fn a_fork_names_both_bindings_and_both_stay() {
    let mut world = World::new();
    let (home, first) = world.reserve(A);
    let id = world.ask(A, Ask { keep: true, ..bind(&first, home, 1, A) });
    world.wait_for_binding(id);
    let second = session(&first, home, later(&world, 600));
    let id = world.ask(B, Ask { keep: true, ..take(&second, home, &[1, 2]) });
    assert_eq!(world.wait_for_binding(id).1, Some(FlowStatus::DONE));
    world.run_for(SECOND * 20);
    let mut places = world.places(home);
    places.sort_unstable();
    assert_eq!(places, [(ip(A), false), (ip(B), false)]);
}

#[test]
fn silence_is_met_by_new_numbers_after_one_two_and_four_seconds_up_to_thirty_two() {
    let mut world = World::new();
    let (home, first) = world.reserve(A);
    let id = world.ask(A, bind(&first, home, 1, A));
    world.wait_for_binding(id);
    world.is_down = true;
    world.sent.clear();
    let start = world.now.mono;
    world.ask(A, Ask { proof: Proof::Unneeded, patience: None, ..bind(&first, home, 1, A) });
    world.run_for(SECOND * 130);
    let sent = world.updates_of(A);
    let after: Vec<u64> = sent.iter().map(|(at, _)| at.since(start).as_secs()).collect();
    assert_eq!(after, [0, 1, 3, 7, 15, 31, 63, 95, 127]);
    let numbers: Vec<u16> = sent.iter().map(|(_, number)| *number).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "{numbers:?}");
    // The server is there again. It has not heard of the device for so long that it asks for a test.
    world.is_down = false;
    world.run_for(SECOND * 33);
    assert_eq!(world.updates_of(A).len(), 11);
    assert_eq!(world.places(home), [(ip(A), false)]);
}

#[test]
fn patience_ends_and_tells_so() {
    let mut world = World::new();
    world.is_down = true;
    let id = world.ask(A, Ask { patience: Some(SECOND * 5), ..Ask::reserve(provisioned(), None, SECOND * 60, ip(A)) });
    world.wait_for("an end", SECOND * 6, |(_, event)| (*event == Event::NoAnswer { id }).then_some(()));
    assert!(world.node(A).is_idle());
    // The care-of test has its part of it.
    let (home, key) = ("fd00:f10::1".parse().expect("an address"), Key::new([1; 32]));
    let id = world.ask(A, bind(&Credential::Home { spi: Spi(0x300), key }, HomeAddress(home), 1, A));
    world.wait_for("an end", SECOND * 20, |(_, event)| (*event == Event::NoAnswer { id }).then_some(()));
    world.run_for(SECOND * 20);
    assert!(world.node(A).is_idle(), "nor does the test go on");
}

#[test]
fn an_acknowledgement_that_fails_its_mac_or_repeats_no_number_is_ignored() {
    let mut world = World::new();
    let (home, first) = world.reserve(A);
    world.is_down = true;
    let id = world.ask(A, Ask { proof: Proof::Unneeded, ..bind(&first, home, 1, A) });
    world.drain();
    let (_, number) = *world.updates_of(A).last().expect("it was sent");
    let Credential::Home { spi, key } = &first else { panic!("K1") };
    let ack = |status: Status, sequence: u16| {
        let mut options = Options::default();
        options.push(HomeNetworkPrefix::of(home.0));
        Message::BindingAck(BindingAck { status, flags: Default::default(), sequence, lifetime: Lifetime(10), options })
    };
    let care_of = A.parse::<Ipv6Addr>().expect("an address").octets();
    let signed = |mut message: Message, spi: Spi, key: &Key| {
        message.authenticate(spi, |covered| key.authenticate(&[&care_of, &home.0.octets(), &[0; 8], covered])).expect("short enough");
        message
    };
    for wrong in [
        ack(Status::ACCEPTED, number),
        ack(Status::NOT_PERMITTED, number),
        ack(Status::CARE_OF_NONCE, number),
        signed(ack(Status::ACCEPTED, number), *spi, &Key::new([9; 32])),
        signed(ack(Status::ACCEPTED, number), Spi(spi.0 ^ 1), key),
        signed(ack(Status::ACCEPTED, number.wrapping_sub(3)), *spi, key),
        signed(ack(Status::AUTHENTICATION_FAILED, number.wrapping_add(1)), *spi, key),
    ] {
        world.spoof(A, &wrong);
        assert!(!world.events.iter().any(|(_, event)| matches!(event, Event::Bound { .. } | Event::Refused { .. })), "{wrong:?}");
    }
    assert!(world.flying.values().all(|(_, _, octets)| !matches!(Message::parse(octets), Ok(Message::CareOfTestInit(_)))));
    world.spoof(A, &signed(ack(Status::ACCEPTED, number), *spi, key));
    world.wait_for_binding(id);
}

#[test]
fn a_request_for_a_new_test_without_a_mac_costs_one_test_and_nothing_else() {
    let mut world = World::new();
    let (home, first) = world.reserve(A);
    let id = world.ask(A, bind(&first, home, 1, A));
    // The test is made, the update is on its way.
    while world.updates_of(A).len() < 2 {
        let limit = world.now.mono + SECOND;
        world.step(limit);
    }
    world.flying.clear();
    let (_, number) = *world.updates_of(A).last().expect("it was sent");
    let ack = BindingAck {
        status: Status::CARE_OF_NONCE,
        flags: Default::default(),
        sequence: number,
        lifetime: Lifetime::ZERO,
        options: Options::default(),
    };
    let ack = Message::BindingAck(ack);
    for _ in 0..5 {
        world.spoof(A, &ack);
    }
    let tests = world.flying.values().filter(|(_, _, octets)| matches!(Message::parse(octets), Ok(Message::CareOfTestInit(_))));
    assert_eq!(tests.count(), 1);
    world.wait_for_binding(id);
}

#[test]
fn an_expired_nonce_is_replaced_and_tokens_are_used_for_three_and_a_half_minutes() {
    let mut world = World::new();
    let (home, first) = world.reserve(A);
    let now = world.now;
    world.node(A).test(ip(A), None, now);
    world.wait_for("a token", SECOND, |(_, event)| matches!(event, Event::Tested { .. }).then_some(()));
    world.run_for(SECOND * 209);
    let now = world.now;
    assert!(world.node(A).token(ip(A), now).is_some());
    world.run_for(SECOND * 2);
    let now = world.now;
    assert_eq!(world.node(A).token(ip(A), now), None);
    let tests = |world: &World| world.events.iter().filter(|(_, event)| matches!(event, Event::Tested { .. })).count();
    let id = world.ask(A, bind(&first, home, 1, A));
    world.wait_for_binding(id);
    assert_eq!(tests(&world), 2, "an old token is not shown");

    // A server that has other nonces than it had.
    let (home, first) = world.reserve(B);
    let now = world.now;
    world.node(B).test(ip(B), None, now);
    world.run_for(SECOND);
    world.steering.rotate_nonces(world.now.after(SECOND * 300));
    let before = world.updates_of(B).len();
    world.events.clear();
    let id = world.ask(B, bind(&first, home, 1, B));
    world.wait_for_binding(id);
    assert_eq!(world.updates_of(B).len() - before, 2, "137, a test, and once more");
}

#[test]
fn a_token_of_somebody_else_that_has_expired_is_told() {
    let mut world = World::new();
    let (home, first) = world.reserve(A);
    let made = world.steering.routability(|routability| routability.care_of_token(ip(B)));
    let shown = |index| Proof::Shown(KeygenToken { index, token: made.token });
    let id = world.ask(A, Ask { proof: shown(made.index.wrapping_add(7)), ..bind(&first, home, 2, B) });
    assert_eq!(world.wait_for_refusal(id), Status::CARE_OF_NONCE);
    let id = world.ask(A, Ask { proof: shown(made.index), ..bind(&first, home, 2, B) });
    world.wait_for_binding(id);
    assert_eq!(world.places(home), [(ip(B), false)]);
}

#[test]
fn a_sequence_number_out_of_window_is_followed_by_the_next_one() {
    let mut world = World::new();
    let (home, first) = world.reserve(A);
    let id = world.ask(A, bind(&first, home, 1, A));
    world.wait_for_binding(id);
    let last = world.node(A).number(first.spi()).expect("one was used");
    world.node(A).set_number(first.spi(), last.wrapping_sub(500));
    let id = world.ask(A, bind(&first, home, 1, A));
    world.wait_for_binding(id);
    assert_eq!(world.node(A).number(first.spi()), Some(last.wrapping_add(1)));
}

#[test]
fn a_clock_that_is_wrong_is_set_by_the_returned_time() {
    for wrong in [-90_000_i64, -3600, -8, 8, 3600, 90_000] {
        let mut world = World::new();
        let now = Now { utc: Utc::from_unix_seconds(world.now.utc.unix_seconds().wrapping_add_signed(wrong)), ..world.now };
        let mut node = Node::new(randomly(3));
        node.ask(Ask::reserve(provisioned(), None, SECOND * 60, ip(A)), now);
        let mut reserved = false;
        for round in 0..4 {
            let (now, here) = (now.after(SECOND * round), world.now.after(SECOND * round));
            while let Some(outgoing) = node.poll_transmit() {
                let source = SocketAddr::new(ip(A), 1);
                let received = Received { octets: &outgoing.octets, source, local: source_ip(), carriage: Carriage::Udp };
                if let Some(answer) = world.responder.handle_datagram(received, here) {
                    node.handle_datagram(&answer.octets, now);
                }
            }
            reserved |= std::iter::from_fn(|| node.poll_event()).any(|event| matches!(event, Event::Reserved { .. }));
            node.handle_timeout(now);
        }
        assert!(reserved, "{wrong} s");
    }
}

fn source_ip() -> IpAddr {
    source().into()
}

#[test]
fn what_has_no_remedy_stops_and_is_told() {
    let mut world = World::new();
    let (home, first) = world.reserve(A);
    let id = world.ask(A, bind(&first, home, 1, A));
    world.wait_for_binding(id);
    let Credential::Home { spi, .. } = &first else { panic!("K1") };
    let forged = Credential::Home { spi: *spi, key: Key::new([9; 32]) };
    let expired = session(&first, home, later(&world, 2));
    let id = world.ask(A, bind(&first, HomeAddress("fd00:f10::9999".parse().expect("an address")), 1, A));
    assert_eq!(world.wait_for_refusal(id), Status::NOT_THIS_HOME);
    world.run_for(SECOND * 3);
    let id = world.ask(B, take(&expired, home, &[2]));
    assert_eq!(world.wait_for_refusal(id), Status::KEY_NOT_USABLE);
    let second = session(&first, home, later(&world, 600));
    let id = world.ask(B, Ask { binding: Some(BindingId(1)), flow: None, ..take(&second, home, &[1]) });
    assert_eq!(world.wait_for_refusal(id), Status::NOT_PERMITTED);
    let id = world.ask(A, Ask::remove(first.clone(), home, Some(BindingId(9)), ip(A)));
    assert_eq!(world.wait_for_refusal(id), Status::NOT_THIS_HOME);
    // A refusal that says so itself under a key that is not ours cannot be checked, and is not believed.
    let id = world.ask(A, bind(&forged, home, 1, A));
    world.wait_for("an end", SECOND * 20, |(_, event)| (*event == Event::NoAnswer { id }).then_some(()));
}

/// A plays, B asks for it under that policy; the ask.
#[track_caller]
fn asked_for(world: &mut World, policy: Policy) -> (HomeAddress, AskId) {
    let (home, first) = world.reserve(A);
    let id = world.ask(A, bind(&first, home, 1, A));
    world.wait_for_binding(id);
    world.steering.set_consent_rules(ConsentRules { default: policy, ..ConsentRules::default() });
    let second = session(&first, home, later(world, 600));
    (home, world.ask(B, take(&second, home, &[2])))
}

/// Answers the only question.
#[track_caller]
fn answer(world: &World, yes: bool) {
    let open = world.steering.open_questions(world.now);
    assert_eq!(open.len(), 1, "{open:?}");
    world.steering.answer_question(open[0].id, yes, world.now).expect("it is open");
}

/// Which questions B was told of.
fn told_of_questions(world: &World) -> Vec<(AskedParty, Duration)> {
    let told = |(_, event): &(IpAddr, Event)| match event {
        Event::Asked { id: Some(_), asked, left, .. } => Some((*asked, *left)),
        _ => None,
    };
    world.events.iter().filter_map(told).collect()
}

#[test]
fn a_device_waits_for_a_yes_and_has_the_flow_within_a_second_of_it() {
    for (seconds, lost) in [(0_u32, 0), (7, 0), (18, 0), (12, 3)] {
        let mut world = World::new();
        let (home, id) = asked_for(&mut world, Policy::AskHolder);
        world.run_for(SECOND * seconds + Duration::from_millis(300));
        assert_eq!(told_of_questions(&world), [(AskedParty::HOLDER, SECOND * 20)], "it is told once");
        let sent = world.updates_of(B).len();
        assert!((seconds as usize..=seconds as usize + 1).contains(&sent), "one a second, not {sent} in {seconds} s");
        assert_eq!(world.places(home), [(ip(A), false)], "nothing has changed");
        answer(&world, true);
        let (answered, slower) = (world.now.mono, if lost == 0 { SECOND } else { SECOND * 8 });
        world.fates = vec![Fate::Lost; lost];
        world.wait_for_binding(id);
        assert!(world.now.mono.since(answered) <= slower + Duration::from_millis(50), "{:?}", world.now.mono.since(answered));
        assert!(world.places(home).contains(&(ip(B), false)));
    }
}

#[test]
fn a_no_ends_the_wait_and_so_does_silence_before_another_question_is_asked() {
    let mut world = World::new();
    let (_, id) = asked_for(&mut world, Policy::AskHolder);
    world.run_for(SECOND * 3);
    answer(&world, false);
    let answered = world.now.mono;
    assert_eq!(world.wait_for_refusal(id), Status::NOT_PERMITTED);
    assert!(world.now.mono.since(answered) <= SECOND + Duration::from_millis(50));

    // Nobody answers, and nobody hears of it after a while.
    for last_answers_are_lost in [false, true] {
        let mut world = World::new();
        let (home, id) = asked_for(&mut world, Policy::AskHolder);
        let began = world.now.mono;
        world.run_for(Duration::from_millis(16_500));
        world.is_down = last_answers_are_lost;
        assert_eq!(world.wait_for_refusal(id), Status::NOT_PERMITTED);
        let waited = world.now.mono.since(began);
        assert!((SECOND * 19..SECOND * 22).contains(&waited), "{waited:?}");
        world.is_down = false;
        world.run_for(SECOND * 30);
        assert_eq!(told_of_questions(&world).len(), 1);
        let became = std::iter::from_fn(|| world.steering.poll_consent_event()).map(|event| event.became);
        assert_eq!(became.collect::<Vec<_>>(), [Became::Asked, Became::Lapsed], "nobody is asked again");
        assert_eq!((world.places(home), world.node(B).is_idle()), (vec![(ip(A), false)], true));
    }
}

#[test]
fn where_nobody_is_asked_a_device_does_not_wait() {
    let mut world = World::new();
    let (_, id) = asked_for(&mut world, Policy::Never);
    let began = world.now.mono;
    assert_eq!(world.wait_for_refusal(id), Status::NOT_PERMITTED);
    assert!(world.now.mono.since(began) < SECOND && told_of_questions(&world).is_empty());
}

#[test]
fn a_kept_binding_is_refreshed_every_half_minute_and_earlier_when_the_server_asks() {
    let mut world = World::new();
    let (home, first) = world.reserve(A);
    let id = world.ask(A, Ask { keep: true, ..bind(&first, home, 1, A) });
    world.wait_for_binding(id);
    world.sent.clear();
    let start = world.now.mono;
    world.run_for(SECOND * 301);
    let after: Vec<u64> = world.updates_of(A).iter().map(|(at, _)| at.since(start).as_secs()).collect();
    assert_eq!(after, (1..=10).map(|count| count * REFRESH.as_secs()).collect::<Vec<_>>());
    let mut options = Options::default();
    options.push(HomeNetworkPrefix::of(home.0));
    let request = Message::RefreshRequest(RefreshRequest { options });
    let before = world.updates_of(A).len();
    for _ in 0..10 {
        world.spoof(A, &request);
    }
    assert_eq!(world.updates_of(A).len(), before + 1, "a hint is followed, and not as often as it comes");
    let now = world.now;
    let id = world.node(A).let_go(home, BindingId(1), SECOND * 3, now).expect("it is kept");
    world.wait_for("the end of it", SECOND, |(_, event)| (*event == Event::Removed { id }).then_some(()));
    assert_eq!(world.places(home), []);
    assert!(world.node(A).is_idle());
}

#[test]
fn a_refresh_takes_nothing_back_from_another_device() {
    let mut world = World::new();
    let (home, first) = world.reserve(A);
    let id = world.ask(A, Ask { keep: true, ..bind(&first, home, 1, A) });
    world.wait_for_binding(id);
    let second = session(&first, home, later(&world, 600));
    let id = world.ask(B, Ask { keep: true, ..take(&second, home, &[2]) });
    world.wait_for_binding(id);
    world.run_for(SECOND * 100);
    assert_eq!(world.places(home), [(ip(B), false)]);
    // Nor where the server has lost the old binding.
    let now = world.now;
    world.steering.remove_binding(home, BindingId(1), EndReason::Expired, now).expect("it is there");
    world.run_for(SECOND * 100);
    assert_eq!(world.places(home), [(ip(B), false)]);
    // What nobody has is had again.
    let now = world.now;
    world.steering.remove_binding(home, BindingId(2), EndReason::Expired, now).expect("it is there");
    world.run_for(SECOND * 40);
    assert_eq!(world.places(home).len(), 1);
}

#[test]
fn short_lifetimes_are_refreshed_in_time() {
    let mut world = World::new();
    let (home, first) = world.reserve(A);
    let id = world.ask(A, Ask { keep: true, lifetime: SECOND * 8, ..bind(&first, home, 1, A) });
    assert_eq!(world.wait_for_binding(id).0, SECOND * 8);
    for _ in 0..100 {
        world.run_for(SECOND);
        assert_eq!(world.places(home), [(ip(A), false)]);
    }
}

#[test]
fn what_the_server_has_lost_is_reserved_again_with_the_provisioned_key_and_bound_again() {
    let mut world = World::new();
    let (home, first) = world.reserve(A);
    world.node(A).provision(provisioned());
    let id = world.ask(A, Ask { keep: true, ..bind(&first, home, 1, A) });
    world.wait_for_binding(id);
    (world.steering, world.responder) = server(2);
    world.events.clear();
    world.wait_for("a hint", REFRESH * 2, |(_, event)| (*event == Event::HomeUnknown { home, again: true }).then_some(()));
    world.run_for(SECOND * 2);
    assert_eq!(world.places(home), [(ip(A), false)]);
    let renewed = world.events.iter().find_map(|(_, event)| match event {
        Event::Reserved { id: None, home: again, spi, .. } => Some((*again, *spi)),
        _ => None,
    });
    let (again, spi) = renewed.expect("it was reserved again");
    assert!(again == home && spi != first.spi());
    world.events.clear();
    world.run_for(SECOND * 120);
    assert_eq!(world.places(home), [(ip(A), false)], "and it stays");
    assert!(!world.events.iter().any(|(_, event)| matches!(event, Event::Refused { .. } | Event::HomeUnknown { .. })));
}

#[test]
fn errors_and_requests_that_anybody_may_send_end_nothing() {
    let mut world = World::new();
    let (home, first) = world.reserve(A);
    let id = world.ask(A, Ask { keep: true, ..bind(&first, home, 1, A) });
    let error = Message::BindingError(BindingError::unknown_home(home.0));
    world.spoof(A, &error);
    world.wait_for_binding(id);
    for message in [
        error.clone(),
        Message::BindingError(BindingError::unknown_type()),
        Message::RefreshRequest(RefreshRequest::default()),
        Message::CareOfTest(CareOfTest::default()),
    ] {
        world.spoof(A, &message);
    }
    let now = world.now;
    world.node(A).handle_datagram(&[59, 0, 6], now);
    world.run_for(SECOND * 100);
    assert_eq!(world.places(home), [(ip(A), false)]);
    let hints = world.events.iter().filter(|(_, event)| *event == Event::HomeUnknown { home, again: false }).count();
    assert_eq!(hints, 1, "told while something was asked, and once");
}

/// What only who has the key can say.
fn authentic(credential: &Credential, home: HomeAddress, at: &str, ack: BindingAck) -> Message {
    let (IpAddr::V6(care_of), home) = (ip(at), home.0.octets()) else { panic!("{at}") };
    let key = match credential {
        Credential::Home { key, .. } => key,
        Credential::Provisioned(provisioned) => &provisioned.key,
        Credential::Session { grant, .. } => &grant.key,
    };
    let mut message = Message::BindingAck(ack);
    let sign = |covered: &[u8]| key.authenticate(&[&care_of.octets(), &home, &[0; 8], covered]);
    message.authenticate(credential.spi(), sign).expect("short enough");
    message
}

#[test]
fn a_refusal_of_a_number_that_is_older_than_what_was_sent_ends_nothing() {
    let mut world = World::new();
    let (home, first) = world.reserve(A);
    let id = world.ask(A, Ask { keep: true, ..bind(&first, home, 1, A) });
    world.wait_for_binding(id);
    let sent = world.updates_of(A);
    let (_, last) = *sent.last().expect("updates");
    let mut options = Options::default();
    options.push(HomeNetworkPrefix::of(home.0));
    let refusal = |sequence| BindingAck {
        status: Status::SEQUENCE,
        flags: Default::default(),
        sequence,
        lifetime: Lifetime::ZERO,
        options: options.clone(),
    };
    world.is_down = true;
    world.run_for(REFRESH + SECOND * 2);
    assert!(world.updates_of(A).len() > sent.len(), "a refresh is under way");
    let (old, so_far) = (authentic(&first, home, A, refusal(last)), world.updates_of(A).len());
    for _ in 0..20 {
        world.spoof(A, &old);
    }
    assert_eq!(world.updates_of(A).len(), so_far, "nothing is sent for it");
    let (_, newest) = *world.updates_of(A).last().expect("updates");
    world.is_down = false;
    world.spoof(A, &authentic(&first, home, A, refusal(newest.wrapping_add(50))));
    world.run_for(SECOND);
    assert_eq!(world.updates_of(A).last().map(|(_, number)| *number), Some(newest.wrapping_add(51)), "a number that was not late enough");
    world.run_for(REFRESH * 3);
    assert_eq!(world.places(home), [(ip(A), false)], "the binding is kept");
    assert!(!world.events.iter().any(|(_, event)| matches!(event, Event::Refused { .. })), "{:?}", world.events);
}

#[test]
fn an_acceptance_without_a_key_ends_no_reservation() {
    let mut world = World::new();
    world.is_down = true;
    let id = world.ask(A, Ask::reserve(provisioned(), None, Duration::from_secs(600), ip(A)));
    world.run_for(SECOND / 2);
    let (_, sequence) = *world.updates_of(A).last().expect("it asks");
    let home = HomeAddress("fd00:f10::1".parse().expect("an address"));
    let mut options = Options::default();
    options.push(HomeNetworkPrefix::of(home.0));
    let ack = BindingAck { status: Status::ACCEPTED, flags: Default::default(), sequence, lifetime: Lifetime::from_seconds(60), options };
    let message = authentic(&Credential::Provisioned(provisioned()), home, A, ack);
    world.spoof(A, &message);
    assert!(world.events.is_empty(), "{:?}", world.events);
    world.wait_for("the end of its patience", SECOND * 20, |(_, event)| {
        matches!(event, Event::NoAnswer { id: done, .. } if *done == id).then_some(())
    });
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        2 => Just(Fate::Lost),
        5 => (1_u16..400).prop_map(|after_ms| Fate::Arrives { after_ms }),
        1 => (400_u16..2500).prop_map(|after_ms| Fate::Arrives { after_ms }),
        1 => ((1_u16..400), (1_u16..2500)).prop_map(|(after_ms, again_ms)| Fate::Twice { after_ms, again_ms }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_lost_late_or_doubled_the_flow_ends_up_where_it_was_asked_to(fates in prop::collection::vec(fate(), 0..40)) {
        let mut world = World::new();
        world.fates = fates;
        let patient = |ask: Ask| Ask { patience: None, ..ask };
        let id = world.ask(A, patient(Ask::reserve(provisioned(), None, SECOND * 600, ip(A))));
        let (home, first) = world.wait_for("a reservation", SECOND * 1500, |(_, event)| match event {
            Event::Reserved { id: Some(done), home, spi, key, .. } if *done == id => {
                Some((*home, Credential::Home { spi: *spi, key: key.clone() }))
            }
            _ => None,
        });
        let id = world.ask(A, patient(Ask { keep: true, ..bind(&first, home, 1, A) }));
        world.wait_for_binding(id);
        let second = session(&first, home, later(&world, 7000));
        let id = world.ask(B, patient(Ask { keep: true, ..take(&second, home, &[2]) }));
        world.wait_for_binding(id);
        world.run_for(SECOND * 200);
        prop_assert_eq!(world.places(home), [(ip(B), false)]);
        prop_assert!(!world.events.iter().any(|(_, event)| matches!(event, Event::Refused { .. })), "{:?}", world.events);
        for device in [A, B] {
            let sent = world.updates_of(device);
            let by_time: Vec<Mono> = sent.iter().map(|(at, _)| *at).collect();
            // Per binding and key three a second; A has one of each.
            prop_assert!(by_time.windows(5).all(|five| five[4].since(five[0]) >= SECOND), "{:?}", by_time);
        }
        let now = world.now;
        let id = world.node(B).let_go(home, BindingId(2), SECOND * 1500, now).expect("it is kept");
        world.wait_for("the end of it", SECOND * 1501, |(_, event)| matches!(event, Event::Removed { id: done } if *done == id).then_some(()));
        prop_assert_eq!(world.places(home), []);
    }
}
