//! The signalling's rules, one by one, where no vector shows them: every status, silence and limit (`docs/signalling.md`
//! sections 2 to 10), by a device that signs its own updates.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use flowsteer::mobility::wire::{
    AlternateCareOf, BindingAck, BindingIdentifier, BindingPriority, BindingReference, BindingUpdate, CareOfTestInit, FlowIdentification,
    FlowStatus, HomeNetworkPrefix, HomeTestInit, Ipv6Selector, KeyParameters, Lifetime, MediaClass, MediaExpectation, MediaPorts, Message,
    MessageId, MobileNodeId, MobilityOption, NonceIndices, Options, SelectorLabel, Status, TransitionWindow, UpdateFlags, VendorOption,
    checksum,
};
use flowsteer::mobility::{Carriage, Counted, Provisioned, Received, Responder, ResponderSettings, Transmit};
use flowsteer::now::{Mono, Now, Utc};
use flowsteer::quantities::{FlowLabel, MediaKind, PayloadType};
use flowsteer::steering::keys::{self, home_key, session_key};
use flowsteer::steering::{
    BindingCache, BindingId, DropReason, HomeAddress, HomeStatus, Key, PacketFacts, Payload, ReturnRoutability, Rules, Spi,
    SteeringSettings,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::{Digest as _, Sha1};

const SERVER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, 1);
const ONE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc1, 0, 0, 0, 0, 0x130);
const TWO: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc2, 0, 0, 0, 0, 0x140);
const LABEL: FlowLabel = FlowLabel::new(0x5a3c7).expect("20 bits");
const PROVISIONED: Spi = Spi(0x1000);
const NAI: &str = "alice@example.net";

/// A server, and what its devices know.
struct World {
    responder: Responder,
    steering: Arc<BindingCache>,
    now: Now,
}

/// A home address with its key, as the device that reserved it has it.
#[derive(Clone)]
struct Held {
    home: HomeAddress,
    spi: Spi,
    key: Key,
}

/// An update before it is signed.
#[derive(Clone)]
struct Draft {
    sequence: u16,
    flags: u16,
    seconds: u64,
    source: Ipv6Addr,
    home: Option<HomeAddress>,
    prefix_length: u8,
    options: Vec<MobilityOption>,
    /// Whether a care-of test is made for it.
    tested: bool,
    /// … with that nonce.
    nonce: Option<u16>,
}

impl Draft {
    fn new(home: HomeAddress, sequence: u16) -> Self {
        let flags = UpdateFlags::ACKNOWLEDGE.0 | UpdateFlags::HOME_REGISTRATION.0;
        let (source, home, options) = (TWO, Some(home), Vec::new());
        Self { sequence, flags, seconds: 300, source, home, prefix_length: 128, options, tested: true, nonce: None }
    }

    fn with(mut self, option: impl Into<MobilityOption>) -> Self {
        self.options.push(option.into());
        self
    }

    fn bid(self, id: u16, care_of: impl Into<Option<Ipv6Addr>>) -> Self {
        let care_of = care_of.into().map(IpAddr::V6);
        self.with(BindingIdentifier { binding: BindingId(id), status: 0, priority: BindingPriority(1), care_of })
    }

    fn from(self, source: Ipv6Addr) -> Self {
        Self { source, ..self }
    }

    fn lasting(self, seconds: u64) -> Self {
        Self { seconds, ..self }
    }

    fn untested(self) -> Self {
        Self { tested: false, ..self }
    }

    fn care_of(&self) -> IpAddr {
        let named = self.options.iter().find_map(|option| match option {
            MobilityOption::BindingIdentifier(option) => option.care_of,
            MobilityOption::AlternateCareOf(option) => Some(IpAddr::V6(option.address)),
            _ => None,
        });
        match self.home {
            Some(home) if self.seconds == 0 => IpAddr::V6(home.0),
            _ => named.unwrap_or(IpAddr::V6(self.source)),
        }
    }
}

fn octets_of(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn vendor(option: VendorOption) -> MobilityOption {
    MobilityOption::Vendor(option)
}

impl World {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut SteeringSettings)) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let random = Box::new(move |octets: &mut [u8]| {
            for octet in octets {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *octet = (state >> 56) as u8;
            }
        });
        let mut settings = SteeringSettings::new("2001:db8:f::/64".parse().expect("a prefix"));
        change(&mut settings);
        let steering = Arc::new(BindingCache::new(settings, random, Box::new(|_, _| ())));
        let keys = vec![
            Provisioned { spi: PROVISIONED, nai: NAI.into(), key: Key::new([1; 32]) },
            Provisioned { spi: Spi(0x1001), nai: "bob@example.net".into(), key: Key::new([2; 32]) },
        ];
        let settings = ResponderSettings { keys, ..ResponderSettings::default() };
        let mut responder = Responder::new(Arc::clone(&steering), settings);
        let now = Now { mono: Mono::from_nanos(1_000_000_000), utc: Utc::from_unix_seconds(1_767_225_600) };
        responder.handle_timeout(now);
        Self { responder, steering, now }
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now.after(Duration::from_millis(millis));
        self.steering.handle_timeout(self.now);
        self.responder.handle_timeout(self.now);
    }

    fn send(&mut self, octets: &[u8], source: Ipv6Addr) -> Option<Transmit> {
        let received = Received { octets, source: SocketAddr::from((source, 40_000)), local: SERVER.into(), carriage: Carriage::Udp };
        self.responder.handle_datagram(received, self.now)
    }

    /// Signs a draft.
    fn signed(&self, draft: &Draft, spi: Spi, key: &Key) -> Vec<u8> {
        let care_of = draft.care_of();
        let mut options = Options::default();
        if let Some(home) = draft.home {
            options.push(HomeNetworkPrefix { prefix_length: draft.prefix_length, address: home.0 });
        }
        draft.options.iter().for_each(|option| options.push(option.clone()));
        let mut token = [0; 8];
        if draft.tested && draft.seconds > 0 {
            let made = self.steering.routability(|tests| tests.care_of_token(care_of));
            let index = draft.nonce.unwrap_or(made.index);
            token = self.steering.routability(|tests| tests.care_of_token_at(care_of, index)).unwrap_or_default();
            options.push(NonceIndices { home: 0, care_of: index });
        }
        let update = BindingUpdate {
            sequence: draft.sequence,
            flags: UpdateFlags(draft.flags),
            lifetime: Lifetime::from_seconds(draft.seconds),
            options,
        };
        let home = draft.home.map_or([0; 16], |home| home.0.octets());
        let mut message = Message::BindingUpdate(update);
        message.authenticate(spi, |covered| key.authenticate(&[&octets_of(care_of), &home, &token, covered])).expect("fits")
    }

    /// Sends a draft, and gives the acknowledgement, whose authenticator is checked.
    fn update(&mut self, draft: &Draft, spi: Spi, key: &Key) -> Option<BindingAck> {
        let octets = self.signed(draft, spi, key);
        let answer = self.send(&octets, draft.source)?;
        assert_eq!((answer.to, answer.from), (SocketAddr::from((draft.source, 40_000)), IpAddr::V6(SERVER)));
        let message = Message::parse(&answer.octets).expect("well-formed");
        let Message::BindingAck(ack) = &message else { panic!("{message:?}") };
        if let Some(found) =
            flowsteer::mobility::wire::Authenticated::<flowsteer::mobility::wire::MessageAuthentication>::by_key(&message, &answer.octets)
        {
            let home = ack.options.home_network_prefix().map_or([0; 16], |prefix| prefix.address.octets());
            let [a, b, c] = found.covered;
            assert!(key.verify(&[&octets_of(draft.care_of()), &home, &[0; 8], a, b, c], &found.option.data), "{ack:?} is authentic");
        } else {
            assert_eq!(ack.status, Status::CARE_OF_NONCE, "only that one is sent without an authenticator");
        }
        if !ack.status.is_accepted() {
            assert!(ack.lifetime.is_zero() && answer.octets.len() <= octets.len(), "{ack:?}");
        }
        Some(ack.clone())
    }

    #[track_caller]
    fn status(&mut self, draft: &Draft, held: &Held) -> Status {
        self.update(draft, held.spi, &held.key).expect("an answer").status
    }

    /// A reservation by the provisioned key of alice.
    fn reserve_as(&mut self, home: Option<HomeAddress>, nai: &str, spi: Spi, key: &Key) -> BindingAck {
        self.now = self.now.after(Duration::from_millis(1));
        let mut draft = Draft::new(HomeAddress(home.map_or(Ipv6Addr::UNSPECIFIED, |home| home.0)), 1).from(ONE).untested();
        draft.prefix_length = if home.is_some() { 128 } else { 0 };
        let draft = draft.with(MobileNodeId::new(nai).expect("an identifier")).with(MessageId { ntp: self.now.utc.ntp64() });
        // The acknowledgement is authenticated for the address that it gives.
        self.update(&draft, spi, key).expect("an answer")
    }

    fn reserve(&mut self) -> Held {
        let key = Key::new([1; 32]);
        let ack = self.reserve_as(None, NAI, PROVISIONED, &key);
        assert_eq!(ack.status, Status::ACCEPTED);
        let home = HomeAddress(ack.options.home_network_prefix().expect("an address").address);
        let spi = ack.options.key_grant().expect("a grant").spi;
        Held { home, spi, key: home_key(&key, home, spi, NAI) }
    }

    /// What a device is given to take the flow over: its key, and what it says of it.
    fn second(&self, parent: &Held, transfer_id: u32, lives: u64) -> (Held, MobilityOption) {
        let validity_end = self.now.utc.unix_seconds() + lives;
        let parameters =
            keys::KeyParameters { home: parent.home, label: LABEL, validity_end, media_source: SERVER, transfer_id, identity: None };
        let (spi, key) = session_key(&parent.key, &parameters);
        let (label, media_source) = (LABEL.bits(), SERVER);
        let claim = KeyParameters { identity_bound: false, parent: parent.spi, transfer_id, label, validity_end, media_source };
        (Held { home: parent.home, spi, key }, vendor(VendorOption::KeyParameters(claim)))
    }

    fn facts(&self, home: HomeAddress) -> PacketFacts {
        let payload = Payload::Rtp(PayloadType::new(96).expect("seven bits"));
        PacketFacts { source: SERVER, home, label: LABEL.bits(), destination_port: 5004, payload, media: Some(MediaKind::Video) }
    }

    fn sent_to(&self, home: HomeAddress) -> Result<Vec<String>, DropReason> {
        let mut gate = self.steering.gate(home).ok_or(DropReason::NoHome)?;
        gate.pass(&self.facts(home), 1, self.now)
            .map(|route| route.branches.iter().map(|branch| branch.care_of.endpoint().to_string()).collect())
    }

    fn counted(&self, what: Counted) -> u64 {
        self.responder.counters().of(what)
    }
}

fn selector(label: Option<u32>) -> Ipv6Selector {
    Ipv6Selector { source: Some(SERVER), label: label.map(SelectorLabel::new), ..Ipv6Selector::default() }
}

fn flow(id: u16, priority: u16) -> FlowIdentification {
    FlowIdentification::new(id, priority, FlowStatus::DONE)
}

fn bids(ids: &[u16]) -> BindingReference {
    BindingReference::new(ids.iter().map(|id| BindingId(*id))).expect("not zero")
}

#[test]
fn a_reservation_is_given_renewed_and_refused() {
    let mut world = World::with(|settings| settings.rules.max_homes_per_identity = 2);
    let alice = Key::new([1; 32]);
    let held = world.reserve();
    assert_eq!(world.steering.home_view(held.home, world.now).map(|view| view.status), Some(HomeStatus::Reserved));
    world.pass(3_000);
    let ack = world.reserve_as(Some(held.home), NAI, PROVISIONED, &alice);
    assert_eq!(
        (ack.status, ack.options.key_grant().map(|grant| grant.spi)),
        (Status::ACCEPTED, Some(held.spi)),
        "renewed, by the same name"
    );
    let view = world.steering.home_view(held.home, world.now).expect("reserved");
    assert_eq!(view.validity_end, world.now.utc.unix_seconds() + 7_200, "and lasts longer");
    let bob = Key::new([2; 32]);
    let refused = |world: &mut World, home, nai: &str| world.reserve_as(home, nai, Spi(0x1001), &bob).status;
    assert_eq!(refused(&mut world, Some(held.home), "bob@example.net"), Status::ADDRESS_HELD);
    assert_eq!(refused(&mut world, None, NAI), Status::NOT_PERMITTED, "an identity that is not the key's");
    let outside = HomeAddress("2001:db8:e::1".parse().expect("an address"));
    assert_eq!(refused(&mut world, Some(outside), "bob@example.net"), Status::NOT_OF_POOL);
    world.reserve();
    assert_eq!(world.reserve_as(None, NAI, PROVISIONED, &alice).status, Status::RESOURCES, "two are enough");
    assert_eq!(world.reserve_as(Some(held.home), NAI, PROVISIONED, &alice).status, Status::ACCEPTED, "one that is held can be renewed");
    // It rests after its release.
    assert_eq!(world.status(&Draft::new(held.home, 1).lasting(0), &held), Status::ACCEPTED);
    assert_eq!(refused(&mut world, Some(held.home), "bob@example.net"), Status::NOT_OF_POOL);
    world.pass(30_000);
    assert_eq!(refused(&mut world, Some(held.home), "bob@example.net"), Status::ACCEPTED);
}

#[test]
fn a_provisioned_keys_time_must_be_close_and_later() {
    let mut world = World::new();
    let alice = Key::new([1; 32]);
    let draft = |ntp| {
        let mut draft = Draft::new(HomeAddress(Ipv6Addr::UNSPECIFIED), 1).from(ONE).untested();
        draft.prefix_length = 0;
        draft.with(MobileNodeId::new(NAI).expect("an identifier")).with(MessageId { ntp })
    };
    let here = world.now.utc.ntp64();
    for (ntp, expected) in [
        (here - (8 << 32), Status::TIMESTAMP_MISMATCH),
        (here + (8 << 32), Status::TIMESTAMP_MISMATCH),
        (here - (6 << 32), Status::ACCEPTED),
        (here - (6 << 32), Status::TIMESTAMP_MISMATCH),
        (here - (7 << 32), Status::TIMESTAMP_MISMATCH),
        (here + (6 << 32), Status::ACCEPTED),
    ] {
        let ack = world.update(&draft(ntp), PROVISIONED, &alice).expect("an answer");
        assert_eq!(ack.status, expected);
        let returned = ack.options.message_id().expect("a time").ntp;
        let expected = if expected == Status::ACCEPTED { ntp } else { here >> 32 << 32 | ntp & 0xffff_ffff };
        assert_eq!(returned, expected, "the low half as it came, the high half our own");
    }
    assert_eq!(world.counted(Counted::Replay), 4);
    let without = Draft { options: vec![MobileNodeId::new(NAI).expect("an identifier").into()], ..draft(here) };
    assert_eq!(world.update(&without, PROVISIONED, &alice).expect("an answer").status, Status::TIMESTAMP_REQUIRED);
}

#[test]
fn what_is_wrong_with_an_update_is_said() {
    let mut world = World::new();
    let held = world.reserve();
    let other = world.reserve();
    let mut number = 0;
    let mut draft = |home| {
        number += 1;
        Draft::new(home, number)
    };
    let one = draft(held.home).bid(1, TWO);
    assert_eq!(world.status(&Draft { flags: UpdateFlags::ACKNOWLEDGE.0, ..one.clone() }, &held), Status::REGISTRATION_TYPE);
    assert_eq!(world.status(&Draft { home: None, ..one.clone() }, &held), Status::PREFIX_MISSING);
    assert_eq!(world.status(&one, &held), Status::ACCEPTED, "these refusals take no number");
    assert_eq!(world.status(&Draft { prefix_length: 64, ..draft(held.home).bid(1, TWO) }, &held), Status::PREFIX_LENGTH);
    assert_eq!(world.status(&draft(other.home).bid(1, TWO), &held), Status::NOT_THIS_HOME, "another home address's key");
    assert_eq!(world.status(&draft(held.home).bid(1, TWO).bid(2, TWO), &held), Status::BINDING_IDS);
    assert_eq!(world.status(&draft(held.home).bid(0, TWO), &held), Status::BINDING_ID_MALFORMED);
    assert_eq!(world.status(&draft(held.home).bid(9, None).lasting(0), &held), Status::NOT_THIS_HOME, "nothing to remove");
    assert_eq!(world.status(&draft(held.home).bid(9, None), &held), Status::BINDING_ID_UNKNOWN);
    for (care_of, status) in [
        ("ff0e::1", Status::BINDING_ID_MALFORMED),
        ("::", Status::BINDING_ID_MALFORMED),
        ("fe80::1", Status::BINDING_ID_MALFORMED),
        ("::ffff:192.0.2.1", Status::BINDING_ID_MALFORMED),
        ("::1", Status::BINDING_ID_MALFORMED),
        ("2001:db8:f::5", Status::CARE_OF_NOT_ACCEPTABLE),
    ] {
        let care_of: Ipv6Addr = care_of.parse().expect("an address");
        assert_eq!(world.status(&draft(held.home).bid(2, care_of), &held), status, "{care_of}");
    }
    let alternate = |care_of: &str| AlternateCareOf { address: care_of.parse().expect("an address") };
    assert_eq!(world.status(&draft(held.home).with(alternate("ff0e::1")), &held), Status::CARE_OF_NOT_ACCEPTABLE);
    assert_eq!(world.status(&draft(held.home).bid(2, ONE).untested(), &held), Status::CARE_OF_NONCE);
    world.steering.set_rules(Rules { denied_care_of: vec!["2001:db8:c1::/48".parse().expect("a prefix")], ..Rules::default() });
    assert_eq!(world.status(&draft(held.home).bid(2, ONE), &held), Status::CARE_OF_NOT_ACCEPTABLE, "denied by the settings");
    assert_eq!(world.sent_to(held.home), Ok(vec![format!("[{TWO}]:5004")]), "all of it changed nothing");
}

#[test]
fn a_plain_binding_and_bindings_with_identifiers_exclude_each_other() {
    let mut world = World::new();
    let held = world.reserve();
    assert_eq!(world.status(&Draft::new(held.home, 1).bid(1, ONE), &held), Status::ACCEPTED);
    let plain = Draft::new(held.home, 2).with(AlternateCareOf { address: TWO });
    assert_eq!(world.status(&plain, &held), Status::ACCEPTED);
    let record = world.steering.record(held.home, world.now).expect("reserved");
    assert_eq!(record.bindings.iter().map(|binding| binding.id).collect::<Vec<_>>(), [BindingId::PLAIN], "it took the place of all");
    assert_eq!(world.sent_to(held.home), Ok(vec![format!("[{TWO}]:5004")]));
    assert_eq!(world.status(&Draft::new(held.home, 3).bid(1, ONE), &held), Status::PLAIN_BINDING_EXISTS);
    assert_eq!(world.status(&Draft::new(held.home, 4).lasting(0), &held), Status::ACCEPTED, "released");
    assert_eq!(world.sent_to(held.home), Err(DropReason::NoHome));
}

#[test]
fn a_table_that_is_full_takes_no_more() {
    let mut world = World::with(|settings| {
        settings.max_bindings = 2;
        settings.rules.max_keys = 3;
    });
    let held = world.reserve();
    assert_eq!(world.status(&Draft::new(held.home, 1).bid(1, ONE).from(ONE), &held), Status::ACCEPTED);
    let mut last = None;
    for (transfer, expected) in [(1, Status::ACCEPTED), (2, Status::RESOURCES), (3, Status::RESOURCES)] {
        let (second, claim) = world.second(&held, transfer, 100);
        // The second finds two bindings, the third three keys.
        let id = 1 + u16::try_from(transfer).expect("small");
        assert_eq!(world.status(&Draft::new(held.home, 1).bid(id, TWO).with(claim), &second), expected, "{transfer}");
        last = Some(second);
    }
    let kept = world.steering.record(held.home, world.now).expect("reserved").keys;
    assert_eq!((kept.len(), kept.iter().any(|key| Some(key.spi) == last.as_ref().map(|held| held.spi))), (3, false));
    world.pass(100_000);
    let (fourth, claim) = world.second(&held, 4, 100);
    assert_eq!(world.status(&Draft::new(held.home, 1).bid(2, TWO).with(claim), &fourth), Status::ACCEPTED, "what has ended makes room");
}

#[test]
fn a_session_key_reaches_its_own_bindings_and_flow_only() {
    let mut world = World::new();
    let held = world.reserve();
    let with_label = flow(1, 10).with(selector(Some(LABEL.bits()))).with(bids(&[1]));
    assert_eq!(world.status(&Draft::new(held.home, 1).bid(1, ONE).from(ONE).with(with_label), &held), Status::ACCEPTED);
    let (second, claim) = world.second(&held, 7, 100);
    let draft = |number| Draft::new(held.home, number).with(claim.clone());
    assert_eq!(world.status(&draft(1).bid(1, TWO), &second), Status::NOT_PERMITTED, "another's binding");
    assert_eq!(world.status(&draft(2).with(AlternateCareOf { address: TWO }), &second), Status::NOT_PERMITTED, "the whole home address");
    assert_eq!(world.status(&draft(3).lasting(0), &second), Status::NOT_PERMITTED, "its release");
    assert_eq!(world.status(&draft(4).bid(1, None).lasting(0), &second), Status::NOT_PERMITTED);
    assert_eq!(world.status(&draft(5).bid(2, TWO), &second), Status::ACCEPTED);
    assert_eq!(world.status(&draft(6).bid(2, None).lasting(0), &second), Status::ACCEPTED, "its own");
    assert_eq!(world.sent_to(held.home), Ok(vec![format!("[{ONE}]:5004")]), "who was left is there until the window ends");
    let (foreign, _) = world.second(&Held { home: held.home, spi: held.spi, key: Key::new([9; 32]) }, 7, 100);
    assert!(world.update(&draft(1).bid(3, TWO), foreign.spi, &foreign.key).is_none(), "a key that nobody derives is met with silence");
    assert_eq!(world.counted(Counted::UnknownSpi), 1);
}

#[test]
fn a_session_key_is_the_parent_of_the_next_and_falls_with_it() {
    let mut world = World::new();
    let held = world.reserve();
    let (second, claim) = world.second(&held, 1, 100);
    let (third, third_claim) = world.second(&second, 2, 9_000);
    let from_third = |number| Draft::new(held.home, number).bid(3, ONE).with(third_claim.clone());
    assert!(world.update(&from_third(1), third.spi, &third.key).is_none(), "its parent is not known yet");
    assert_eq!(world.status(&Draft::new(held.home, 1).bid(2, TWO).with(claim), &second), Status::ACCEPTED);
    let ack = world.update(&from_third(1), third.spi, &third.key).expect("an answer");
    assert_eq!((ack.status, ack.lifetime.seconds()), (Status::ACCEPTED, 100), "no longer than its parent");
    world.steering.revoke(held.home, Some(second.spi)).expect("reserved");
    assert_eq!(world.status(&from_third(2), &third), Status::KEY_NOT_USABLE, "its parent was revoked");
    assert_eq!(world.status(&Draft::new(held.home, 2).bid(2, TWO), &second), Status::KEY_NOT_USABLE);
}

#[test]
fn revoked_ended_and_foreign_keys_are_151() {
    let mut world = World::new();
    let held = world.reserve();
    let (second, claim) = world.second(&held, 1, 100);
    let draft = |number| Draft::new(held.home, number).bid(2, TWO).with(claim.clone());
    assert_eq!(world.status(&draft(1), &second), Status::ACCEPTED);
    world.pass(100_000);
    assert_eq!(world.status(&draft(2), &second), Status::KEY_NOT_USABLE, "its time is over");
    let (revoked, claim) = world.second(&held, 2, 100);
    world.steering.revoke(held.home, None).expect("reserved");
    let ack = world.update(&Draft::new(held.home, 1).bid(3, TWO).with(claim), revoked.spi, &revoked.key).expect("an answer");
    assert_eq!(ack.status, Status::KEY_NOT_USABLE, "all were revoked");
    let kept = world.steering.record(held.home, world.now).expect("reserved").keys;
    assert!(kept.iter().all(|key| key.spi != revoked.spi), "a new key that is refused leaves nothing");
}

#[test]
fn a_nonce_that_is_known_no_more_costs_a_care_of_test() {
    let mut world = World::new();
    let held = world.reserve();
    let index = world.steering.routability(|tests| tests.care_of_token(TWO.into())).index;
    let draft = Draft { nonce: Some(index), ..Draft::new(held.home, 1).bid(1, TWO) };
    let octets = world.signed(&draft, held.spi, &held.key);
    for _ in 0..8 {
        world.pass(30_000);
    }
    let answer = world.send(&octets, TWO).expect("an answer");
    let Ok(Message::BindingAck(ack)) = Message::parse(&answer.octets) else { panic!("an acknowledgement") };
    assert_eq!((ack.status, ack.options.message_authentication()), (Status::CARE_OF_NONCE, None));
    let test = Message::CareOfTestInit(CareOfTestInit { cookie: [5; 8], options: Options::default() }).to_vec().expect("fits");
    let answer = world.send(&test, TWO).expect("an answer");
    let Ok(Message::CareOfTest(told)) = Message::parse(&answer.octets) else { panic!("a care-of test") };
    assert_eq!((told.cookie, answer.octets.len()), ([5; 8], 24));
    assert_eq!(world.status(&Draft { nonce: Some(told.nonce_index), ..draft }, &held), Status::ACCEPTED);
}

#[test]
fn flows_are_set_moved_forked_and_refused_one_by_one() {
    let mut world = World::new();
    let held = world.reserve();
    let status = |world: &mut World, draft: Draft| {
        let ack = world.update(&draft, held.spi, &held.key).expect("an answer");
        assert_eq!(ack.status, Status::ACCEPTED);
        ack.options.flow_identifications().map(|flow| flow.expect("readable").status).collect::<Vec<_>>()
    };
    let draft = |number| Draft::new(held.home, number).from(ONE);
    let unknown = flow(1, 10).with(bids(&[1]));
    assert_eq!(status(&mut world, draft(1).bid(1, ONE).with(unknown)), [FlowStatus::UNKNOWN_FLOW]);
    assert_eq!(world.sent_to(held.home), Err(DropReason::NoBinding), "the binding is there, without the flow");
    let learned = flow(1, 10).with(selector(None));
    assert_eq!(status(&mut world, draft(2).bid(1, ONE).with(learned)), [FlowStatus::DONE]);
    assert_eq!(world.sent_to(held.home), Ok(vec![format!("[{ONE}]:5004")]));
    let label = world.steering.home_view(held.home, world.now).and_then(|view| view.label);
    assert_eq!(label, Some(LABEL), "learned from the first packet");
    let foreign = PacketFacts { label: 1, ..world.facts(held.home) };
    let mut gate = world.steering.gate(held.home).expect("reserved");
    assert_eq!(gate.pass(&foreign, 3, world.now).map(|_| ()), Err(DropReason::Label));
    assert_eq!(gate.dropped(), [(DropReason::NoBinding, 1), (DropReason::Label, 3)]);
    for (asked, expected) in [
        (flow(0, 10).with(selector(None)), FlowStatus::MALFORMED),
        (flow(1, 0).with(selector(None)), FlowStatus::MALFORMED),
        (flow(1, 10).with(selector(Some(0))), FlowStatus::MALFORMED),
        (flow(1, 10).with(bids(&[7])), FlowStatus::UNKNOWN_BINDING),
        (flow(1, 10).with(selector(Some(0x13579))), FlowStatus::PROHIBITED),
        (flow(2, 10).with(selector(None)), FlowStatus::PROHIBITED),
    ] {
        let number = 3 + world.steering.record(held.home, world.now).expect("reserved").keys[0].last.expect("one");
        assert_eq!(status(&mut world, draft(number).bid(1, ONE).with(asked.clone())), [expected], "{asked:?}");
    }
    let record = world.steering.record(held.home, world.now).expect("reserved");
    assert_eq!((record.flows.len(), record.flows[0].members.as_slice()), (1, &[BindingId(1)][..]), "it stayed as it was");
    // Two in one update: each has its status.
    let two = draft(100).bid(2, TWO).with(flow(1, 20).with(bids(&[1, 2]))).with(flow(9, 1).with(bids(&[2])));
    assert_eq!(status(&mut world, two), [FlowStatus::DONE, FlowStatus::UNKNOWN_FLOW]);
    assert_eq!(world.sent_to(held.home).map(|to| to.len()), Ok(2), "forked");
    assert_eq!(world.steering.home_view(held.home, world.now).map(|view| view.status), Some(HomeStatus::Forked));
    let window = |window_ms| vendor(VendorOption::TransitionWindow(TransitionWindow { window_ms }));
    assert_eq!(status(&mut world, draft(101).bid(2, TWO).with(flow(1, 20).with(bids(&[2]))).with(window(700))), [FlowStatus::DONE]);
    assert_eq!(world.steering.home_view(held.home, world.now).map(|view| view.status), Some(HomeStatus::Moving));
    world.pass(699);
    assert_eq!(world.sent_to(held.home).map(|to| to.len()), Ok(2));
    world.pass(1);
    assert_eq!(world.sent_to(held.home), Ok(vec![format!("[{TWO}]:5004")]));
    assert_eq!(status(&mut world, draft(102).bid(1, ONE)), [], "a refresh of the one that was left");
    assert_eq!(world.sent_to(held.home), Ok(vec![format!("[{TWO}]:5004")]), "does not take the flow back");
    let forever = draft(103).bid(1, ONE).with(flow(1, 20).with(bids(&[1]))).with(window(u32::MAX));
    assert_eq!(status(&mut world, forever), [FlowStatus::DONE]);
    world.pass(20_000);
    assert_eq!(world.sent_to(held.home).map(|to| to.len()), Ok(2), "for as long as both live");
}

#[test]
fn ports_are_those_of_the_update_or_those_agreed_on() {
    let mut world = World::new();
    let held = world.reserve();
    let ports = |flow, rtp, multiplexed| {
        vendor(VendorOption::MediaPorts(MediaPorts { multiplexed, binding: BindingId(0), flow, rtp, rtcp: rtp + 1 }))
    };
    assert_eq!(world.status(&Draft::new(held.home, 1).bid(1, TWO).with(ports(0, 6000, false)), &held), Status::ACCEPTED);
    assert_eq!(world.sent_to(held.home), Ok(vec![format!("[{TWO}]:6000")]));
    let both = Draft::new(held.home, 2).bid(1, TWO).with(ports(0, 6000, false)).with(ports(1, 7000, true));
    assert_eq!(world.status(&both, &held), Status::ACCEPTED);
    assert_eq!(world.sent_to(held.home), Ok(vec![format!("[{TWO}]:7000")]), "the flow's own go first");
    assert_eq!(world.status(&Draft::new(held.home, 3).bid(1, TWO), &held), Status::ACCEPTED);
    assert_eq!(world.sent_to(held.home), Ok(vec![format!("[{TWO}]:5004")]), "an update without ports goes back to those agreed on");
    world.steering.play_to(held.home, 7, Default::default(), Some((9000, 9001)), world.now).expect("free");
    assert_eq!(world.sent_to(held.home), Ok(vec![format!("[{TWO}]:9000")]));
}

#[test]
fn flows_that_one_device_gives_to_one_address_join_together() {
    let mut world = World::new();
    let held = [world.reserve(), world.reserve(), world.reserve()];
    for (held, presentation) in held.iter().zip([7, 7, 8]) {
        world.steering.play_to(held.home, presentation, Default::default(), None, world.now).expect("free");
    }
    let mut give = |held: &Held, number: u16, to| {
        assert_eq!(world.status(&Draft::new(held.home, number).bid(number, to), held), Status::ACCEPTED);
        let mut gate = world.steering.gate(held.home).expect("reserved");
        let update = gate.route().branches.iter().find(|branch| branch.care_of.ip() == IpAddr::V6(to)).expect("a branch").update;
        world.now = world.now.after(Duration::from_millis(300));
        update
    };
    let [picture, sound, other] = &held;
    let first = give(picture, 1, TWO);
    assert_eq!(give(sound, 1, TWO), first, "both flows of a film");
    assert_ne!(give(other, 1, TWO), first, "another film");
    assert_ne!(give(sound, 2, ONE), first, "another address");
}

#[test]
fn flows_that_go_back_and_forth_within_a_second_join_anew_each_time_and_together() {
    let mut world = World::new();
    let held = [world.reserve(), world.reserve()];
    for held in &held {
        world.steering.play_to(held.home, 7, Default::default(), None, world.now).expect("free");
    }
    let mut give = |held: &Held, number: u16, to| {
        assert_eq!(world.status(&Draft::new(held.home, number).bid(number, to), held), Status::ACCEPTED);
        let mut gate = world.steering.gate(held.home).expect("reserved");
        world.now = world.now.after(Duration::from_millis(50));
        gate.route().branches.iter().filter(|branch| branch.care_of.ip() == IpAddr::V6(to)).map(|branch| branch.update).max()
    };
    let mut last = None;
    for (number, to) in [(1, TWO), (2, ONE), (3, TWO), (4, ONE)] {
        let update = give(&held[0], number, to);
        assert!(update > last, "{number}: newer than the one before");
        assert_eq!(give(&held[1], number, to), update, "{number}: both flows");
        last = update;
    }
}

#[test]
fn the_first_label_is_learned_from_what_is_expected_only() {
    let mut world = World::new();
    let held = world.reserve();
    let expected = MediaExpectation { flow: 1, media: MediaClass::VIDEO, payload_type: 96 };
    let ports =
        Ipv6Selector { destination_port: Some(5004), destination_port_end: Some(5005), next_header: Some(17), ..Ipv6Selector::default() };
    let draft = Draft::new(held.home, 1).bid(1, TWO).with(flow(1, 10).with(ports)).with(vendor(VendorOption::MediaExpectation(expected)));
    assert_eq!(world.status(&draft, &held), Status::ACCEPTED);
    // What plays there takes a label of its own to its first packet.
    let label = world.steering.play_to(held.home, 7, Default::default(), None, world.now).expect("free");
    assert_eq!(world.steering.home_view(held.home, world.now).and_then(|view| view.label), None, "nothing is authorised yet");
    let good = PacketFacts { label: label.bits(), ..world.facts(held.home) };
    let audio = Payload::Rtp(PayloadType::new(97).expect("seven bits"));
    let mut gate = world.steering.gate(held.home).expect("reserved");
    for wrong in [
        PacketFacts { payload: audio, ..good },
        PacketFacts { media: Some(MediaKind::Audio), ..good },
        PacketFacts { destination_port: 6000, ..good },
        PacketFacts { source: ONE, ..good },
        PacketFacts { payload: Payload::Other, ..good },
    ] {
        assert_eq!(gate.pass(&wrong, 1, world.now).map(|_| ()), Err(DropReason::NotExpected), "{wrong:?}");
    }
    assert!(gate.pass(&good, 1, world.now).is_ok());
    assert_eq!(world.steering.home_view(held.home, world.now).and_then(|view| view.label), Some(label));
}

#[test]
fn updates_that_want_no_answer_get_one_only_if_they_are_refused() {
    let mut world = World::new();
    let held = world.reserve();
    let quiet = |draft: Draft| Draft { flags: UpdateFlags::HOME_REGISTRATION.0, ..draft };
    assert!(world.update(&quiet(Draft::new(held.home, 1).bid(1, TWO)), held.spi, &held.key).is_none());
    assert_eq!(world.sent_to(held.home), Ok(vec![format!("[{TWO}]:5004")]), "it is done all the same");
    assert_eq!(world.status(&quiet(Draft::new(held.home, 1).bid(1, TWO)), &held), Status::SEQUENCE);
}

#[test]
fn answers_that_strangers_can_provoke_are_limited() {
    let mut world = World::new();
    let held = world.reserve();
    assert_eq!(world.status(&Draft::new(held.home, 5).bid(1, TWO), &held), Status::ACCEPTED);
    let forged = Draft::new(held.home, 6).bid(1, TWO);
    let mut answered = 0;
    for _ in 0..10 {
        let octets = world.signed(&forged, held.spi, &Key::new([0; 32]));
        answered += usize::from(world.send(&octets, TWO).is_some());
    }
    assert_eq!((answered, world.counted(Counted::RateLimited), world.counted(Counted::AuthenticationFailed)), (3, 7, 10));
    world.pass(1_000);
    assert_eq!(world.status(&Draft::new(held.home, 5).bid(1, TWO), &held), Status::SEQUENCE, "a second later there is room again");
    let stale = Draft { nonce: Some(0x7777), ..forged };
    let octets = world.signed(&stale, held.spi, &held.key);
    assert_eq!((0..10).filter(|_| world.send(&octets, TWO).is_some()).count(), 2, "137 and 135 share the three");

    let unknown = [59, 0, 200, 0, 0, 0, 0, 0];
    let errors = (0..5).filter(|_| world.send(&unknown, TWO).is_some()).count();
    assert_eq!(errors, 1, "one Binding Error a second for one source");
    let from = |index: u16| Ipv6Addr::new(0x2001, 0xdb8, 0xaa, index, 0, 0, 0, 1);
    let errors = (0..50).filter(|index| world.send(&unknown, from(*index)).is_some()).count();
    assert_eq!(errors, 9, "and ten for all");
    let test = Message::CareOfTestInit(CareOfTestInit { cookie: [5; 8], options: Options::default() }).to_vec().expect("fits");
    assert_eq!((0..30).filter(|_| world.send(&test, TWO).is_some()).count(), 10);
    assert!(world.send(&test, ONE).is_some(), "another source has its own");
    let (second, claim) = world.second(&held, 1, 100);
    let wrong = Spi(second.spi.0 ^ 1);
    let before = world.counted(Counted::UnknownSpi);
    for _ in 0..30 {
        let octets = world.signed(&Draft::new(held.home, 1).bid(2, ONE).with(claim.clone()).from(ONE), wrong, &second.key);
        assert!(world.send(&octets, ONE).is_none());
    }
    assert_eq!(world.counted(Counted::UnknownSpi) - before, 20, "so many keys are derived for one source");
}

#[test]
fn messages_of_servers_and_noise_are_met_with_silence() {
    let mut world = World::new();
    for kind in [0, 3, 4, 6, 7] {
        let mut octets = vec![59, 2, kind, 0, 0, 0];
        octets.resize(24, 0);
        assert!(world.send(&octets, TWO).is_none(), "type {kind}");
    }
    assert_eq!(world.counted(Counted::Unexpected), 5);
    for noise in [&[][..], &[59], &[59, 0, 2, 0, 0, 0, 0], &[58, 0, 200, 0, 0, 0, 0, 0], &[59, 1, 200, 0, 0, 0, 0, 0]] {
        assert!(world.send(noise, TWO).is_none(), "{noise:?}");
    }
    assert_eq!(world.counted(Counted::Malformed), 5);
}

#[test]
fn a_bad_checksum_in_native_carriage_is_dropped() {
    let mut world = World::new();
    let mut octets = Message::CareOfTestInit(CareOfTestInit { cookie: [5; 8], options: Options::default() }).to_vec().expect("fits");
    let source = SocketAddr::from((TWO, 0));
    let take = |world: &mut World, octets: &[u8]| {
        world.responder.handle_datagram(Received { octets, source, local: SERVER.into(), carriage: Carriage::Native }, world.now)
    };
    assert!(take(&mut world, &octets).is_none(), "none");
    checksum::set(TWO, SERVER, &mut octets);
    let answer = take(&mut world, &octets).expect("an answer");
    assert!(checksum::verify(SERVER, TWO, &answer.octets));
    octets[9] ^= 1;
    assert!(take(&mut world, &octets).is_none(), "a wrong one");
    assert_eq!(world.counted(Counted::Malformed), 2);
}

#[test]
fn only_who_is_served_is_asked_for_a_refresh() {
    let mut world = World::new();
    let held = world.reserve();
    assert_eq!(world.status(&Draft::new(held.home, 1).bid(1, ONE).from(ONE).lasting(60), &held), Status::ACCEPTED);
    assert_eq!(world.status(&Draft::new(held.home, 2).bid(2, TWO).lasting(60), &held), Status::ACCEPTED);
    let mut asked = Vec::new();
    for _ in 0..60 {
        world.pass(1_000);
        asked.extend(std::iter::from_fn(|| world.responder.poll_transmit()).map(|sent| sent.to.ip()));
    }
    assert_eq!(asked, [IpAddr::V6(TWO)], "the one that has the flow, once");
    let silent = world.steering.record(held.home, world.now).expect("reserved").bindings;
    assert!(silent.is_empty(), "both lifetimes are over: {silent:?}");
}

#[test]
fn the_peer_of_an_rtsp_connection_needs_no_test_while_it_is_connected() {
    let mut world = World::new();
    let held = world.reserve();
    let session = flowsteer::steering::Holder(3);
    world.steering.note_peer(held.home, session, TWO.into());
    world.steering.set_rules(Rules { rtsp_peers_are_proven: false, ..Rules::default() });
    assert_eq!(world.status(&Draft::new(held.home, 1).bid(1, TWO).untested(), &held), Status::CARE_OF_NONCE, "each care-of is tested");
    world.steering.set_rules(Rules::default());
    assert_eq!(world.status(&Draft::new(held.home, 2).bid(1, TWO).untested(), &held), Status::ACCEPTED);
    assert_eq!(world.status(&Draft::new(held.home, 3).bid(1, None).lasting(0), &held), Status::ACCEPTED);
    world.steering.forget_peer(held.home, session);
    assert_eq!(world.status(&Draft::new(held.home, 4).bid(1, TWO).untested(), &held), Status::CARE_OF_NONCE);
}

#[test]
fn new_provisioned_keys_leave_bindings_alone() {
    let mut world = World::new();
    let held = world.reserve();
    assert_eq!(world.status(&Draft::new(held.home, 1).bid(1, TWO), &held), Status::ACCEPTED);
    let keys = vec![Provisioned { spi: Spi(0x2000), nai: "carol@example.net".into(), key: Key::new([3; 32]) }];
    world.responder.set(ResponderSettings { keys, ..ResponderSettings::default() });
    assert_eq!(world.status(&Draft::new(held.home, 2).bid(1, TWO), &held), Status::ACCEPTED, "K1 is what it was");
    assert_eq!(world.sent_to(held.home), Ok(vec![format!("[{TWO}]:5004")]));
    let ack = world.reserve_as(None, "carol@example.net", Spi(0x2000), &Key::new([3; 32]));
    assert_eq!(ack.status, Status::ACCEPTED);
    let octets = world.signed(&Draft::new(HomeAddress(Ipv6Addr::UNSPECIFIED), 1).untested(), PROVISIONED, &Key::new([1; 32]));
    assert!(world.send(&octets, ONE).is_none(), "a key that is configured no more is unknown");
}

#[test]
fn tokens_are_the_address_s_own() {
    let tests = ReturnRoutability::with([7; 20], vec![(1, [1; 16]), (2, [2; 16])]).expect("a nonce");
    let token = tests.care_of_token(TWO.into());
    assert_eq!(token.index, 2);
    assert!(tests.proves(TWO.into(), &token) && !tests.proves(ONE.into(), &token));
    assert_eq!(tests.care_of_token_at(TWO.into(), 3), None);
    assert_ne!(tests.care_of_token_at(TWO.into(), 1), Some(token.token));
}

#[test]
fn a_home_address_has_no_more_flows_and_ports_than_are_served() {
    let mut world = World::with(|settings| settings.rules.one_flow_per_home = false);
    let held = world.reserve();
    let mut number = 0;
    let mut list = |world: &mut World, id: u16| {
        number += 1;
        let ports = MediaPorts { multiplexed: false, binding: BindingId(1), flow: id, rtp: 6_000, rtcp: 6_001 };
        let draft =
            Draft::new(held.home, number).bid(1, TWO).with(flow(id, 1).with(selector(None))).with(vendor(VendorOption::MediaPorts(ports)));
        let ack = world.update(&draft, held.spi, &held.key).expect("an answer");
        assert_eq!(ack.status, Status::ACCEPTED);
        ack.options.flow_identifications().find_map(Result::ok).map(|flow| flow.status)
    };
    for id in 1..=16 {
        assert_eq!(list(&mut world, id), Some(FlowStatus::DONE), "{id}");
    }
    for id in 17..=200 {
        assert_eq!(list(&mut world, id), Some(FlowStatus::PROHIBITED), "{id}");
    }
    assert_eq!(list(&mut world, 16), Some(FlowStatus::DONE), "one that is there can be changed");
    // Ports of a binding that the update is not about are kept from one update to the next.
    for id in 1..=200 {
        let ports = MediaPorts { multiplexed: false, binding: BindingId(1), flow: id, rtp: 7_000, rtcp: 7_001 };
        let draft = Draft::new(held.home, 1_000 + id).bid(2, ONE).from(ONE).with(vendor(VendorOption::MediaPorts(ports)));
        assert_eq!(world.status(&draft, &held), Status::ACCEPTED);
    }
    let record = world.steering.record(held.home, world.now).expect("reserved");
    assert_eq!(record.flows.len(), 16);
    assert!(record.bindings.iter().all(|binding| binding.ports.len() <= 17), "{:?}", record.bindings);
}

/// A home address that another server gave out.
const FOREIGN: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xee, 0, 0, 0, 0, 0x77);

/// An update for it, before it is authenticated by the tokens of both tests.
#[derive(Clone, Copy)]
struct ByTokens {
    sequence: u16,
    seconds: u64,
    flags: u16,
    /// The nonces that it names, where it names any.
    nonces: Option<(u16, u16)>,
    /// Whether the authenticator is that of other tokens.
    forged: bool,
}

impl World {
    fn by_tokens(&mut self, draft: ByTokens) -> Option<BindingAck> {
        let removes = draft.seconds == 0;
        let mut options = Options::default();
        options.push(HomeNetworkPrefix::of(FOREIGN));
        let (home, care_of) = self.steering.routability(|tests| (tests.home_token(FOREIGN.into()), tests.care_of_token(TWO.into())));
        if let Some((of_home, of_care_of)) = draft.nonces {
            options.push(NonceIndices { home: of_home, care_of: of_care_of });
        }
        // RFC 6275 section 5.2.5: Kbm out of both tokens, to remove a binding out of the home token alone.
        let mut hash = Sha1::new();
        hash.update(home.token);
        if !removes {
            hash.update(care_of.token);
        }
        let mut key: [u8; 20] = hash.finalize().into();
        key[0] ^= u8::from(draft.forged);
        let lifetime = if removes { Lifetime::ZERO } else { Lifetime::from_seconds(draft.seconds) };
        let update = BindingUpdate { sequence: draft.sequence, flags: UpdateFlags(draft.flags), lifetime, options };
        let named = if removes { FOREIGN } else { TWO };
        let tag = |covered: &[u8]| {
            let mut mac = Hmac::<Sha1>::new_from_slice(&key).expect("a key of any length");
            [&named.octets()[..], &SERVER.octets(), covered].iter().for_each(|part| mac.update(part));
            mac.finalize().into_bytes()[..12].try_into().expect("96 bits")
        };
        let octets = Message::BindingUpdate(update).authorize(tag).expect("fits");
        let answer = self.send(&octets, TWO)?;
        assert_eq!(answer.to, SocketAddr::from((TWO, 40_000)));
        let message = Message::parse(&answer.octets).expect("well-formed");
        let Message::BindingAck(ack) = message else { panic!("{message:?}") };
        Some(ack)
    }

    fn home_test(&mut self) -> Option<Transmit> {
        let mut options = Options::default();
        options.push(HomeNetworkPrefix::of(FOREIGN));
        let octets = Message::HomeTestInit(HomeTestInit { cookie: [6; 8], options }).to_vec().expect("fits");
        self.send(&octets, TWO)
    }
}

#[test]
fn home_addresses_of_other_servers_are_met_with_silence_unless_they_are_wanted() {
    let mut world = World::new();
    let nonce = world.steering.routability(|tests| tests.care_of_token(TWO.into()).index);
    let flags = UpdateFlags::ACKNOWLEDGE.0;
    let draft = ByTokens { sequence: 1, seconds: 100, flags, nonces: Some((nonce, nonce)), forged: false };
    assert!(world.home_test().is_none() && world.by_tokens(draft).is_none());
    assert_eq!((world.counted(Counted::HomeTestIgnored), world.counted(Counted::Unauthenticated)), (1, 1));
    assert_eq!(world.steering.record(HomeAddress(FOREIGN), world.now), None);

    world.responder.set(ResponderSettings { remote_homes: true, ..ResponderSettings::default() });
    let test = world.home_test().expect("an answer");
    assert_eq!(test.to.ip(), IpAddr::V6(FOREIGN), "it proves the home address since it goes there");
    let Ok(Message::HomeTest(test)) = Message::parse(&test.octets) else { panic!("a Home Test") };
    assert_eq!((test.cookie, test.nonce_index), ([6; 8], nonce));
    for (what, silent) in [
        ("a wrong authenticator", ByTokens { forged: true, ..draft }),
        ("a home registration", ByTokens { flags: flags | UpdateFlags::HOME_REGISTRATION.0, ..draft }),
        ("no nonces", ByTokens { nonces: None, ..draft }),
    ] {
        let before = world.counted(Counted::AuthenticationFailed);
        assert!(world.by_tokens(silent).is_none(), "{what}");
        assert_eq!(world.counted(Counted::AuthenticationFailed) - before, 1, "{what}");
        assert_eq!(world.steering.record(HomeAddress(FOREIGN), world.now), None, "{what}");
    }
    let unknown = nonce.wrapping_add(100);
    for (nonces, seconds, status) in [
        ((unknown, nonce), 100, Status::HOME_NONCE),
        ((nonce, unknown), 100, Status::CARE_OF_NONCE),
        ((unknown, unknown), 100, Status::NONCES),
    ] {
        let ack = world.by_tokens(ByTokens { nonces: Some(nonces), seconds, ..draft }).expect("an answer");
        assert_eq!(ack.status, status);
    }
    let refused = ByTokens { nonces: Some((unknown, 0)), seconds: 0, ..draft };
    assert!(world.by_tokens(refused).is_none(), "three a second for one source");
    world.pass(1_000);
    assert_eq!(world.by_tokens(refused).expect("an answer").status, Status::HOME_NONCE);

    let ack = world.by_tokens(draft).expect("an answer");
    assert_eq!((ack.status, ack.lifetime.as_duration()), (Status::ACCEPTED, Duration::from_secs(100)));
    let bound = |world: &World| {
        let record = world.steering.record(HomeAddress(FOREIGN), world.now).expect("known");
        record.bindings.iter().map(|binding| binding.care_of).collect::<Vec<_>>()
    };
    assert_eq!(bound(&world), [IpAddr::V6(TWO)]);
    assert_eq!(world.by_tokens(draft).expect("an answer").status, Status::SEQUENCE);
    let removal = ByTokens { sequence: 2, seconds: 0, nonces: Some((nonce, 0)), ..draft };
    assert!(world.by_tokens(ByTokens { forged: true, ..removal }).is_none());
    assert_eq!(bound(&world), [IpAddr::V6(TWO)]);
    assert_eq!(world.by_tokens(removal).expect("an answer").status, Status::ACCEPTED);
    assert!(bound(&world).is_empty());
}
