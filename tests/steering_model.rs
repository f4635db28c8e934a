//! The binding cache stepped beside a naive reference, by random commands and random time, with a timer that is sometimes
//! late. After every step both agree on every home address, and:
//! nothing leaves for an expired or unproven care-of; an old sequence number changes nothing; each packet leaves exactly
//! once per branch or has exactly one drop reason.
//!
//! A restart keeps what the store keeps today, the named home addresses; all else is gone, and every token refused.

mod steering_fixture;
mod steering_reference;

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use flowsteer::quantities::{FlowLabel, PayloadType};
use flowsteer::steering::keys::{KeyParameters, session_key};
use flowsteer::steering::{
    Authority, BindingCache, BindingId, Branch, BranchSerial, CareOf, ConnectionId, DropReason, EndReason, EventKind, Expectation,
    FlowBody, FlowRequest, FlowSelector, Gate, GrantOptions, Holder, HomeAddress, Join, Key, KeyClaim, Mode, NamedBinding, Owner,
    PacketFacts, Payload, Proof, Registration, RegistrationError, ReplayWindow, Reservation, Reserve, Spi, SteeringSettings, Update, token,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use steering_fixture::{LABEL, OTHER_LABEL, World, random};
use steering_reference::{
    Asked, KeyOf, MOST_BINDINGS, Packet, Reference, Refused, Registers, Right, SECOND, Shown, What, is_new, media_source,
};

const NAMES: [&str; 2] = ["wall", "wall.audio"];

/// A place: UDP or interleaved at one of four addresses, one of them loopback.
#[derive(Clone, Copy, Debug)]
struct Place(u8);

impl Place {
    fn care_of(self) -> CareOf {
        let address = ["2001:db8:c1::130", "2001:db8:c2::140", "192.0.2.140", "::1"][usize::from(self.0 % 4)].parse().expect("an address");
        let port = 5000 + 2 * u16::from(self.0 / 4 % 2);
        if self.0 >= 8 {
            let peer = SocketAddr::new(address, port);
            CareOf::Interleaved { connection: ConnectionId(u64::from(self.0)), peer, rtp_channel: 0, rtcp_channel: 1 }
        } else {
            CareOf::Udp { rtp: SocketAddr::new(address, port), rtcp: SocketAddr::new(address, port + 1), source: None }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Owner(u64),
    Operator,
    HomeKey,
    Token { lives: u64 },
}

#[derive(Clone, Debug)]
struct Ask {
    home: usize,
    kind: Kind,
    binding: Option<u16>,
    place: Place,
    /// 0 to 5: the peer's own address; 6: another's; 7: none; 8: a trusted one.
    proof: u8,
    lifetime: Option<u64>,
    mode: Mode,
    window: Option<u64>,
    holder: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Wait { millis: u64, timer: bool },
    UtcSkip { seconds: u64 },
    Reserve { owner: Option<u64>, lifetime: Option<u64>, name: Option<usize> },
    Again { home: usize },
    Release { home: usize },
    ReleaseOwner { owner: u64 },
    PlayTo { home: usize, presentation: u64, ports: bool },
    AtHome { home: usize, presentation: u64 },
    Leave { home: usize, presentation: u64 },
    Authorise { home: usize, label: bool, ports: bool },
    Expect { home: usize, ports: bool },
    Update { asks: Vec<Ask> },
    Signalled { key: usize, number: u16, ask: Ask },
    Registers(Register),
    Remove { home: usize, branch: usize },
    Started { home: usize, branch: usize },
    Heard { home: usize, branch: usize },
    Send { home: usize, label: u8, port: u16, from_source: bool },
    Restart,
}

/// A Binding Update by one of two devices, or by who reserved the home address.
#[derive(Clone, Debug)]
struct Register {
    home: usize,
    /// 0: the home key; 1 and 2: two devices' session keys.
    key: u8,
    lives: u64,
    /// How far ahead of the last one.
    ahead: u16,
    seconds: u64,
    binding: Option<u16>,
    place: u8,
    with_care_of: bool,
    tested: bool,
    /// Sent from where it points to.
    from_there: bool,
    window: Option<u64>,
    flow: Option<(Option<bool>, Option<Vec<u16>>)>,
}

fn register() -> impl Strategy<Value = Register> {
    let forever = u64::from(u32::MAX) * 1_000_000;
    let window = prop_oneof![4 => Just(None), 2 => Just(Some(0)), 2 => Just(Some(5 * SECOND)), 1 => Just(Some(forever))];
    let named = prop::option::weighted(0.6, prop::collection::vec(1..4_u16, 1..3));
    let flow = prop::option::weighted(0.4, (prop::option::weighted(0.7, prop::bool::weighted(0.8)), named));
    let ahead = prop_oneof![8 => Just(1_u16), 1 => Just(0), 1 => Just(0x8000), 1 => any::<u16>()];
    let seconds = prop_oneof![1 => Just(0), 2 => Just(8), 2 => Just(100), 3 => Just(600), 1 => Just(9_000)];
    let key = (0..7_usize, 0..3_u8, prop_oneof![Just(3_u64), Just(60), Just(600)], ahead, seconds);
    let often = || prop::bool::weighted(0.8);
    let place = (prop::option::weighted(0.9, 1..4_u16), 0..4_u8, often(), often(), often());
    let made = |((home, key, lives, ahead, seconds), (binding, place, with_care_of, tested, from_there), window, flow)| Register {
        home,
        key,
        lives,
        ahead,
        seconds,
        binding,
        place,
        with_care_of,
        tested,
        from_there,
        window,
        flow,
    };
    (key, place, window, flow).prop_map(made)
}

fn ask() -> impl Strategy<Value = Ask> {
    let kind = prop_oneof![
        4 => (0..2_u64).prop_map(Kind::Owner),
        3 => Just(Kind::Operator),
        2 => Just(Kind::HomeKey),
        3 => prop_oneof![Just(3), Just(60), Just(600)].prop_map(|lives| Kind::Token { lives }),
    ];
    let binding = prop_oneof![3 => Just(None), 4 => (1..4_u16).prop_map(Some)];
    let lifetime = prop_oneof![2 => Just(None), 3 => prop_oneof![Just(0), Just(10), Just(100), Just(9_000)].prop_map(Some)];
    let mode = prop_oneof![5 => Just(Mode::Move), 3 => Just(Mode::Fork), 1 => Just(Mode::Refresh)];
    let forever = u64::from(u32::MAX) * 1_000_000;
    let window = prop_oneof![
        4 => Just(None),
        1 => Just(Some(0)),
        1 => Just(Some(5 * SECOND)),
        1 => Just(Some(3_600 * SECOND)),
        1 => Just(Some(forever)),
    ];
    (0..7_usize, kind, binding, (0..10_u8).prop_map(Place), 0..9_u8, lifetime, mode, window, 0..4_u64).prop_map(
        |(home, kind, binding, place, proof, lifetime, mode, window, holder)| Ask {
            home,
            kind,
            binding,
            place,
            proof,
            lifetime,
            mode,
            window,
            holder,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let millis =
        prop_oneof![1..300_u64, prop::sample::select(vec![0, 1, 999, 1_000, 1_999, 2_000, 3_000, 4_000, 14_999, 15_000, 30_000, 75_000]),];
    prop_oneof![
        12 => (millis, prop::bool::weighted(0.6)).prop_map(|(millis, timer)| Step::Wait { millis, timer }),
        1 => (0..40_u64).prop_map(|seconds| Step::UtcSkip { seconds }),
        6 => (prop::option::weighted(0.65, 0..2_u64), prop::option::weighted(0.3, 0..200_u64), prop::option::weighted(0.3, 0..2_usize))
            .prop_map(|(owner, lifetime, name)| Step::Reserve { owner, lifetime, name }),
        1 => (0..7_usize).prop_map(|home| Step::Again { home }),
        1 => (0..7_usize).prop_map(|home| Step::Release { home }),
        1 => (0..3_u64).prop_map(|owner| Step::ReleaseOwner { owner }),
        6 => (0..7_usize, 0..3_u64, any::<bool>()).prop_map(|(home, presentation, ports)| Step::PlayTo { home, presentation, ports }),
        3 => (0..7_usize, 0..3_u64).prop_map(|(home, presentation)| Step::AtHome { home, presentation }),
        1 => (0..7_usize, 0..3_u64).prop_map(|(home, presentation)| Step::Leave { home, presentation }),
        4 => (0..7_usize, prop::bool::weighted(0.9), any::<bool>())
            .prop_map(|(home, label, ports)| Step::Authorise { home, label, ports }),
        1 => (0..7_usize, any::<bool>()).prop_map(|(home, ports)| Step::Expect { home, ports }),
        24 => prop::collection::vec(ask(), 1..3).prop_map(|asks| Step::Update { asks }),
        8 => (0..3_usize, prop_oneof![any::<u16>(), 0..4_u16, 65_533..=u16::MAX], ask())
            .prop_map(|(key, number, ask)| Step::Signalled { key, number, ask }),
        20 => register().prop_map(Step::Registers),
        3 => (0..7_usize, 0..8_usize).prop_map(|(home, branch)| Step::Remove { home, branch }),
        12 => (0..7_usize, 0..8_usize).prop_map(|(home, branch)| Step::Started { home, branch }),
        3 => (0..7_usize, 0..8_usize).prop_map(|(home, branch)| Step::Heard { home, branch }),
        10 => (0..8_usize, 0..3_u8, prop_oneof![Just(5_004), Just(5_005), Just(6_000)], prop::bool::weighted(0.8))
            .prop_map(|(home, label, port, from_source)| Step::Send { home, label, port, from_source }),
        1 => Just(Step::Restart),
    ]
}

/// The real one and the reference, side by side.
struct Pair {
    world: World,
    model: Reference,
    /// The data plane's own views, kept as long as it would keep them.
    gates: HashMap<HomeAddress, Gate>,
    kept: BTreeMap<String, Ipv6Addr>,
    windows: [ReplayWindow; 3],
    last_numbers: [Option<u16>; 3],
    /// Serials that were ever given: none twice.
    serials: Vec<BranchSerial>,
    drops: [u64; 5],
    restarts: u64,
    /// K1 of each home address, and its name.
    firsts: HashMap<HomeAddress, (Spi, Key)>,
    /// The session key of each device, once it has one: its label and its end.
    claims: HashMap<(HomeAddress, u8), (FlowLabel, u64)>,
    /// Binding Updates by what they came to.
    registered: BTreeMap<&'static str, usize>,
}

impl Pair {
    fn new() -> Self {
        let world = World::new();
        let mono = world.now.mono.as_nanos();
        let mut pair = Self {
            model: Reference { mono, utc: world.now.utc.unix_nanos(), ..Reference::default() },
            world,
            gates: HashMap::new(),
            kept: BTreeMap::new(),
            windows: Default::default(),
            last_numbers: [None; 3],
            serials: Vec::new(),
            drops: [0; 5],
            restarts: 0,
            firsts: HashMap::new(),
            claims: HashMap::new(),
            registered: BTreeMap::new(),
        };
        pair.restart();
        pair
    }

    fn cache(&self) -> &BindingCache {
        &self.world.cache
    }

    /// One of the home addresses (6 and above: one that nobody has).
    fn pick(&self, index: usize) -> HomeAddress {
        self.pick_home(index).map_or(HomeAddress("2001:db8:f::dead".parse().expect("an address")), |home| home.address)
    }

    fn pick_home(&self, index: usize) -> Option<&steering_reference::Home> {
        let homes = &self.model.homes;
        if index < 6 && !homes.is_empty() { homes.get(index % homes.len()) } else { None }
    }

    /// Mostly the presentation that is a guest there, sometimes another.
    fn guest_or(&self, home: usize, drawn: u64) -> u64 {
        self.pick_home(home).and_then(|home| home.guest).filter(|_| drawn < 2).unwrap_or(drawn)
    }

    fn pick_branch(&self, home: usize, branch: usize) -> (HomeAddress, BranchSerial) {
        let bindings = self.pick_home(home).map(|home| home.bindings.as_slice()).unwrap_or_default();
        // The last choice is a branch that may be no more.
        let gone = self.serials.get(self.serials.len().wrapping_sub(2)).filter(|_| branch == 7).copied();
        let serial = gone.or_else(|| bindings.get(branch % bindings.len().max(1)).map(|binding| binding.serial));
        (self.pick(home), serial.unwrap_or(BranchSerial(u64::MAX)))
    }

    /// Both carry it out; whether both have settled since time passed, so that they may be compared.
    fn step(&mut self, step: &Step) -> bool {
        match step {
            Step::Wait { millis, timer } => {
                self.world.skip(*millis);
                self.model.mono = self.world.now.mono.as_nanos();
                self.model.utc = self.world.now.utc.unix_nanos();
                self.model.end_bindings();
                if *timer {
                    self.cache().handle_timeout(self.world.now);
                    self.model.free_over(None);
                    assert!(self.cache().poll_timeout().is_none_or(|next| next > self.world.now.mono), "nothing due is left");
                    self.compare_told();
                }
                return *timer;
            }
            Step::UtcSkip { seconds } => {
                self.world.now.utc = self.world.now.utc + Duration::from_secs(*seconds);
                self.model.utc = self.world.now.utc.unix_nanos();
            }
            Step::Reserve { owner, lifetime, name } => self.reserve(*owner, *lifetime, *name),
            Step::Again { home } => {
                let (address, gone) = (self.pick(*home), self.model.resting.first().map(|(gone, _)| *gone));
                self.reserve_certain(gone.unwrap_or(address), Owner::Presentation(1), None);
            }
            Step::Release { home } => {
                let address = self.pick(*home);
                assert_eq!(self.cache().release(address, self.world.now), self.model.release(address));
            }
            Step::ReleaseOwner { owner } => {
                self.model.leave(None, *owner);
                let owner = Owner::Presentation(*owner);
                self.cache().release_owner(owner, self.world.now);
                let owned: Vec<_> = self.model.homes.iter().filter(|home| home.owner == owner).map(|home| home.address).collect();
                for address in owned {
                    // Over already or released now: gone.
                    let _ = self.model.release(address);
                }
            }
            Step::PlayTo { home, presentation, ports } => {
                let (address, ports) = (self.pick(*home), ports.then_some((5_004, 5_005)));
                let expectation = Expectation { payload_type: PayloadType::new(96), ports, media: None };
                let real = self.cache().play_to(address, *presentation, expectation, None, self.world.now).map(FlowLabel::bits);
                assert_eq!(real, self.model.play_to(address, *presentation, ports, real.unwrap_or_default()));
            }
            Step::AtHome { home, presentation } => {
                let address = self.pick(*home);
                let presentation = self.guest_or(*home, *presentation);
                let real = self.cache().serve_at_home(address, presentation, (5_004, 5_005), None, self.world.now);
                assert_eq!(real, self.model.serve_at_home(address, presentation));
            }
            Step::Leave { home, presentation } => {
                let address = self.pick(*home);
                let presentation = self.guest_or(*home, *presentation);
                self.cache().leave(address, presentation, self.world.now);
                self.model.leave(Some(address), presentation);
            }
            Step::Authorise { home, label, ports } => {
                let (address, label) = (self.pick(*home), if *label { LABEL } else { OTHER_LABEL });
                let ports = ports.then_some((5_004, 5_005));
                let expectation = Expectation { payload_type: PayloadType::new(96), ports, media: None };
                let real = self.cache().authorise(address, label, expectation);
                assert_eq!(real, self.model.authorise(address, label.bits(), ports));
            }
            Step::Expect { home, ports } => {
                let (address, ports) = (self.pick(*home), ports.then_some((5_004, 5_005)));
                let real = self.cache().expect(address, Expectation { payload_type: None, ports, media: None });
                assert_eq!(real.is_ok(), self.model.home(address).map(|home| home.ports = ports).is_some());
            }
            Step::Update { asks } => self.update(asks),
            Step::Signalled { key, number, ask } => {
                let (key, number) = (*key, *number);
                let last = self.last_numbers[key];
                match self.windows[key].accept(number) {
                    Ok(()) => {
                        assert!(is_new(last, number), "{last:?} then {number}");
                        self.last_numbers[key] = Some(number);
                        self.update(std::slice::from_ref(ask));
                    }
                    Err(refused_after) => {
                        assert!(!is_new(last, number), "{last:?} then {number}");
                        assert_eq!((Some(refused_after), self.windows[key].last()), (last, last), "an old number changes nothing");
                    }
                }
            }
            Step::Registers(register) => self.register(register),
            Step::Remove { home, branch } => {
                let (address, serial) = self.pick_branch(*home, *branch);
                let real = self.cache().remove(address, serial, EndReason::Removed, self.world.now);
                assert_eq!(real, self.model.remove(address, serial));
            }
            Step::Started { home, branch } => {
                let (address, serial) = self.pick_branch(*home, *branch);
                self.cache().branch_started(address, serial, self.world.now);
                self.model.started(address, serial);
            }
            Step::Heard { home, branch } => {
                let (address, serial) = self.pick_branch(*home, *branch);
                if let Some(gate) = self.gates.get(&address) {
                    gate.heard(serial, self.world.now.mono);
                }
                self.model.heard(address, serial);
            }
            Step::Send { home, label, port, from_source } => {
                let label = [0, LABEL.bits(), OTHER_LABEL.bits()][usize::from(*label)];
                self.send(&Packet { home: self.pick(*home), label, port: *port, from_source: *from_source });
            }
            Step::Restart => self.restart(),
        }
        true
    }

    fn reserve(&mut self, owner: Option<u64>, lifetime: Option<u64>, name: Option<usize>) {
        let owner = owner.map_or(Owner::KeyHolder, Owner::Presentation);
        if let Some(name) = name {
            return self.reserve_certain(HomeAddress(self.kept[NAMES[name]]), owner, lifetime);
        }
        if self.model.homes.len() >= 6 {
            return;
        }
        let request = Reserve { owner, address: None, lifetime: lifetime.map(Duration::from_secs), media_source: media_source() };
        let reserved = self.cache().reserve(&request, self.world.now).expect("a /64 is not exhausted");
        assert!(self.model.may_give(reserved.home) && !self.model.kept.contains(&reserved.home));
        self.model.reserved(reserved.home, owner, lifetime);
        self.hold(&reserved);
    }

    fn reserve_certain(&mut self, address: HomeAddress, owner: Owner, lifetime: Option<u64>) {
        self.model.free_over(Some(address));
        let free = self.model.may_give(address);
        let request = Reserve { owner, address: Some(address), lifetime: lifetime.map(Duration::from_secs), media_source: media_source() };
        let real = self.cache().reserve(&request, self.world.now);
        assert_eq!(real.is_ok(), free, "{address}: {real:?}");
        if let Ok(reserved) = real {
            self.model.reserved(address, owner, lifetime);
            self.hold(&reserved);
        }
    }

    fn hold(&mut self, reserved: &Reservation) {
        let home = self.model.home(reserved.home).expect("just reserved");
        assert_eq!(home.validity, reserved.validity_end);
        self.gates.insert(reserved.home, self.world.cache.gate(reserved.home).expect("just reserved"));
        self.firsts.insert(reserved.home, (reserved.spi, reserved.key.clone()));
        self.claims.retain(|(home, _), _| *home != reserved.home);
    }

    fn register(&mut self, ask: &Register) {
        let (home, now) = (self.pick(ask.home), self.world.now);
        let Some((first, first_key)) = self.firsts.get(&home).cloned() else { return };
        let address: IpAddr = Place(ask.place).care_of().ip();
        let sender = if ask.from_there { address } else { "2001:db8:c9::9".parse().expect("an address") };
        let label = self.model.home(home).and_then(|home| home.label).and_then(FlowLabel::new).unwrap_or(LABEL);
        let (label, until) = *self.claims.entry((home, ask.key)).or_insert((label, now.utc.unix_seconds() + ask.lives));
        let (media_source, transfer_id) = (media_source(), u32::from(ask.key));
        let parameters = KeyParameters { home, label, validity_end: until, media_source, transfer_id, identity: None };
        let (spi, key_of) = match ask.key {
            0 => (first, KeyOf::Home { spi: first.0 }),
            _ => {
                let spi = session_key(&first_key, &parameters).0;
                (spi, KeyOf::Session { spi: spi.0, label: label.bits(), until })
            }
        };
        let claim = KeyClaim { parent: first, label, validity_end: until, media_source, transfer_id, identity: None };
        let Some(key) = self.cache().update_key(Some(home), spi, Some(claim), || true) else {
            assert!(self.model.home(home).is_none(), "a home address that is reserved knows its keys");
            return;
        };
        let last = self.model.home(home).and_then(|home| home.numbers.iter().find(|(known, _)| *known == spi.0).map(|(_, last)| *last));
        let sequence = last.unwrap_or(65_530).wrapping_add(ask.ahead);
        // An identifier with a stored care-of, or a place of its own.
        let stored = ask.binding.and_then(|id| self.cache().stored_care_of(home, BindingId(id)));
        let care_of = if ask.with_care_of { address } else { stored.unwrap_or(address) };
        let flow = ask.flow.as_ref().map(|(selector, named)| {
            let selector = selector.map(|own| if own { label } else { OTHER_LABEL });
            let mut named = named.as_ref().map(|named| named.iter().map(|id| BindingId(*id)).collect::<Vec<_>>());
            named.iter_mut().for_each(Vec::dedup);
            (selector, named)
        });
        let request = |(selector, named): &(Option<FlowLabel>, Option<Vec<BindingId>>)| FlowRequest {
            id: 1,
            priority: 10,
            body: Ok(FlowBody {
                selector: selector.map(|label| FlowSelector { label: Some(label), ..FlowSelector::default() }),
                bindings: named.clone().map(Into::into),
            }),
        };
        let registration = Registration {
            home: Some(home),
            key: &key,
            sequence,
            whole_prefix: true,
            lifetime: Duration::from_secs(ask.seconds),
            binding: match ask.binding {
                None => NamedBinding::Whole,
                Some(id) => NamedBinding::One { id: BindingId(id), priority: 0, with_care_of: ask.with_care_of },
            },
            care_of,
            tested: ask.tested,
            sender,
            asked: None,
            window: ask.window.map(Duration::from_nanos),
            join: Join::default(),
            ports: Default::default(),
            expectations: Default::default(),
            flows: flow.iter().map(request).collect(),
        };
        let real = self.cache().register(&registration, now);
        let expected = self.model.register(&Registers {
            home,
            key: key_of,
            number: sequence,
            seconds: ask.seconds,
            binding: ask.binding.map(BindingId),
            place: care_of,
            with_care_of: ask.with_care_of,
            tested: ask.tested,
            sender,
            window: ask.window,
            flow: flow.map(|(selector, named)| (selector.map(FlowLabel::bits), named)),
        });
        let (name, real) = match real {
            Ok(done) => ("accepted", Ok(done.flows.first().map(|(_, _, status)| *status))),
            Err(error) => {
                let refused = match error {
                    RegistrationError::UnknownHome => ("unknown", Refused::UnknownHome),
                    RegistrationError::Sequence { last } => ("sequence", Refused::Sequence(last)),
                    RegistrationError::KeyRefused => ("key", Refused::Key),
                    RegistrationError::NotPermitted => ("not permitted", Refused::NotPermitted),
                    RegistrationError::NotThisHome => ("not this home", Refused::NotThisHome),
                    RegistrationError::WholeIsBound => ("whole", Refused::Whole),
                    RegistrationError::NoCareOf => ("no care-of", Refused::NoCareOf),
                    RegistrationError::BindingMalformed => ("malformed", Refused::Malformed),
                    RegistrationError::CareOfUnacceptable => ("unacceptable", Refused::Unacceptable),
                    RegistrationError::CareOfUnproven => ("unproven", Refused::Unproven),
                    RegistrationError::Full => ("full", Refused::Full),
                    RegistrationError::Prefix | RegistrationError::SeveralBindings | RegistrationError::Withheld(_) => panic!("{error}"),
                };
                (refused.0, Err(refused.1))
            }
        };
        assert_eq!(real, expected, "{ask:?}");
        *self.registered.entry(name).or_default() += 1;
        let serial = |binding: &flowsteer::steering::BindingRecord| (binding.id, binding.serial);
        let record = self.cache().record(home, now);
        let drawn: Vec<_> = record.iter().flat_map(|record| record.bindings.iter().map(serial)).collect();
        self.model.drawn(home, &drawn);
        self.serials.extend(drawn.iter().map(|(_, serial)| *serial));
    }

    fn update(&mut self, asks: &[Ask]) {
        let mut real = Vec::new();
        let mut asked = Vec::new();
        for ask in asks {
            let (home, care_of, now) = (self.pick(ask.home), ask.place.care_of(), self.world.now);
            let grant = match ask.kind {
                Kind::Token { lives } => {
                    let options = GrantOptions { lifetime: Some(Duration::from_secs(lives)), ..Default::default() };
                    let issued = self.cache().issue_grant(home, &options, now).ok();
                    issued.map(|grant| self.cache().verify_token(&token(&[grant]), None, now).expect("just issued").remove(0))
                }
                _ => None,
            };
            let (authority, right) = match (ask.kind, grant) {
                (_, Some(grant)) => (Authority::Grant(grant.clone()), Right::Grant(grant.validity_end)),
                (Kind::Owner(owner), _) => {
                    let owner = Owner::Presentation(owner);
                    (Authority::Owner(owner), Right::Owner(owner))
                }
                (Kind::Operator, _) => (Authority::Operator, Right::Operator),
                (Kind::HomeKey | Kind::Token { .. }, _) => (Authority::HomeKey, Right::HomeKey),
            };
            let elsewhere = Place(ask.place.0 + 1).care_of().ip();
            let (proof, shown) = match ask.proof {
                0..=5 => (Proof::RequestPeer(care_of.ip()), Shown::Peer(care_of.ip())),
                6 => (Proof::RequestPeer(elsewhere), Shown::Peer(elsewhere)),
                7 => (Proof::Missing, Shown::Missing),
                _ => (Proof::Trusted, Shown::Trusted),
            };
            real.push(Update {
                home,
                authority,
                binding: ask.binding.map(BindingId),
                care_of,
                proof,
                lifetime: ask.lifetime.map(Duration::from_secs),
                mode: ask.mode,
                window: ask.window.map(Duration::from_nanos),
                join: Join::default(),
                holder: Holder(ask.holder),
            });
            asked.push(Asked {
                home,
                right,
                binding: ask.binding.map(BindingId),
                place: care_of,
                proof: shown,
                lifetime: ask.lifetime,
                mode: ask.mode,
                window: ask.window,
                holder: ask.holder,
            });
        }
        let receipt = self.cache().update(&real, self.world.now);
        assert_eq!(receipt.as_ref().map(|_| ()).map_err(|error| *error), self.model.check(&asked));
        let Ok(receipt) = receipt else { return };
        assert_eq!(receipt.bindings.len(), asked.len());
        for (asked, (home, id, serial)) in asked.iter().zip(receipt.bindings) {
            assert_eq!(home, asked.home);
            assert!(asked.binding.map_or(id.0 >= BindingId::FIRST_DRAWN, |given| given == id));
            let known = self.model.home(home).is_some_and(|home| home.bindings.iter().any(|binding| binding.serial == serial));
            assert!(known || !self.serials.contains(&serial), "a serial is given once");
            self.serials.push(serial);
            self.model.apply(asked, id, serial);
        }
        self.model.end_bindings();
    }

    fn send(&mut self, packet: &Packet) {
        let facts = PacketFacts {
            source: if packet.from_source { media_source() } else { "2001:db8:c3::150".parse().expect("an address") },
            home: packet.home,
            label: packet.label,
            destination_port: packet.port,
            payload: Payload::Rtp(PayloadType::new(96).expect("seven bits")),
            media: None,
        };
        let before: u64 = self.world.cache.dropped().iter().map(|(_, count)| count).sum();
        let now = self.world.now;
        let proven = self.model.home(packet.home).map(|home| home.proven.clone()).unwrap_or_default();
        let expected = self.model.send(packet);
        let Some(gate) = self.gates.get_mut(&packet.home) else {
            assert_eq!(expected, Err(DropReason::NoHome));
            return;
        };
        let verdict = gate.pass(&facts, 1, now).map(|route| route.branches.clone());
        if let Ok(branches) = &verdict {
            for (index, branch) in branches.iter().enumerate() {
                assert!(branches[..index].iter().all(|other| other.care_of != branch.care_of), "each place once");
                let at_home = branch.is_at_home(packet.home) && branches.len() == 1;
                assert!(at_home || proven.contains(&branch.care_of.ip()), "nothing leaves for an unproven care-of");
            }
        }
        let away = |branch: &&Branch| !branch.is_at_home(packet.home);
        let mut serials = verdict.map(|branches| branches.iter().filter(away).map(|branch| branch.serial).collect::<Vec<_>>());
        if let Ok(serials) = &mut serials {
            serials.sort_unstable();
        }
        assert_eq!(serials, expected, "to {}", packet.home);
        let after: u64 = self.world.cache.dropped().iter().map(|(_, count)| count).sum();
        assert_eq!(after - before, u64::from(serials.is_err()), "one reason for a packet that does not leave, none else");
        if let Err(reason) = serials {
            self.drops[reason as usize] += 1;
        }
    }

    fn restart(&mut self) {
        let tokens: Vec<String> = self
            .model
            .homes
            .iter()
            .filter_map(|home| self.world.cache.issue_grant(home.address, &GrantOptions::default(), self.world.now).ok())
            .map(|grant| token(&[grant]))
            .collect();
        self.restarts += 1;
        let mut settings = SteeringSettings::new("2001:db8:f::/64".parse().expect("a prefix"));
        settings.max_bindings = MOST_BINDINGS;
        settings.unbound_prefixes = vec![settings.home_prefix];
        let random = random(self.restarts);
        self.world.cache = std::sync::Arc::new(BindingCache::new(settings, random, Box::new(|_, _| ())));
        let kept = self.cache().keep_all(NAMES, &self.kept, self.world.now).expect("a /64 is not exhausted");
        assert!(self.kept.is_empty() || self.kept == kept, "named home addresses stay the same");
        self.kept = kept;
        self.model = Reference {
            kept: self.kept.values().copied().map(HomeAddress).collect(),
            mono: self.model.mono,
            utc: self.model.utc,
            ..Reference::default()
        };
        // Serials and counters are the process's.
        self.gates.clear();
        self.serials.clear();
        self.firsts.clear();
        self.claims.clear();
        self.drops = [0; 5];
        for text in tokens {
            assert!(self.cache().verify_token(&text, None, self.world.now).is_err(), "a token does not outlive its key");
        }
    }

    /// What ended by itself or was removed was told once, and nothing else.
    fn compare_told(&mut self) {
        let mut real: Vec<_> = std::iter::from_fn(|| self.world.cache.poll_event())
            .filter_map(|event| {
                let what = match event.kind {
                    EventKind::Left { reason: EndReason::Roamed } => What::Roamed,
                    EventKind::Left { .. } => What::Moved,
                    EventKind::Expired => What::Expired,
                    EventKind::Removed { .. } => What::Removed,
                    EventKind::Released => What::Released,
                    _ => return None,
                };
                Some((event.home, event.binding, what))
            })
            .collect();
        let mut expected = std::mem::take(&mut self.model.told);
        real.sort_unstable();
        expected.sort_unstable();
        assert_eq!(real, expected, "what has ended is told once");
    }

    /// Sends a packet to every home address, and compares all that is shown of them.
    fn compare(&mut self) {
        let homes: Vec<(HomeAddress, Option<u32>)> = self.model.homes.iter().map(|home| (home.address, home.label)).collect();
        for (home, label) in homes {
            // One that is without a label stays so.
            let label = label.unwrap_or(0);
            self.send(&Packet { home, label, port: 5_004, from_source: true });
        }
        let now = self.world.now;
        let mut addresses: Vec<_> = self.model.homes.iter().map(|home| home.address).collect();
        addresses.sort_unstable();
        let views = self.cache().home_views(now);
        assert_eq!(views.iter().map(|view| view.home).collect::<Vec<_>>(), addresses);
        for view in views {
            let home = self.model.home(view.home).expect("compared above");
            let (own, mut shown): (Vec<_>, Vec<_>) =
                view.branches.iter().map(|shown| (shown.branch, shown.lifetime)).partition(|(branch, _)| branch.is_at_home(view.home));
            assert_eq!(own.len(), usize::from(home.at_home && Reference::visible(home).is_empty()), "to itself while nobody is bound");
            shown.sort_unstable_by_key(|(branch, _)| branch.serial);
            let visible = Reference::visible(home);
            assert_eq!(shown.len(), visible.len());
            for ((branch, lifetime), binding) in shown.iter().zip(&visible) {
                assert_eq!(
                    (branch.serial, branch.binding, branch.care_of, branch.leaving),
                    (binding.serial, binding.id, binding.place, binding.leaving.is_some())
                );
                let left = binding.ends.map(|ends| Duration::from_nanos(ends - now.mono.as_nanos()));
                assert_eq!(*lifetime, left);
                assert!(left.is_none_or(|left| !left.is_zero()), "nothing is kept for an expired care-of");
            }
            assert_eq!((view.owner, view.label.map(FlowLabel::bits)), (home.owner, home.label));
            let player = match home.owner {
                Owner::Presentation(id) => Some(id),
                Owner::KeyHolder => home.guest,
            };
            assert_eq!(view.player, player);
            let expected: Vec<_> =
                DropReason::ALL.into_iter().map(|reason| (reason, home.dropped[reason as usize])).filter(|(_, n)| *n > 0).collect();
            assert_eq!(view.dropped, expected);
        }
        for presentation in 0..3 {
            let mut real = self.cache().homes_of(Owner::Presentation(presentation));
            real.sort_unstable();
            let mut expected = self.model.played(presentation);
            expected.sort_unstable();
            assert_eq!(real, expected, "what presentation {presentation} plays to");
        }
        assert_eq!(self.cache().dropped(), DropReason::ALL.map(|reason| (reason, self.drops[reason as usize])));
        let real = self.cache().poll_timeout().map(|next| next.as_nanos());
        // What is due already may be due by any earlier deadline.
        let expected = self.model.next_end().map(|next| next.max(now.mono.as_nanos()));
        assert!(expected.is_none_or(|expected| real.is_some_and(|real| real <= expected)), "{real:?} is not too late for {expected:?}");
    }
}

#[test]
fn the_binding_cache_does_what_the_reference_does() {
    let config = Config { cases: 1000, failure_persistence: None, max_shrink_iters: 4_000, ..Config::default() };
    let (steps, sent, dropped, longest) = (Cell::new(0), Cell::new(0), Cell::new([0; 5]), Cell::new(0));
    let registered = std::cell::RefCell::new(BTreeMap::<&'static str, usize>::new());
    let strategy = prop::collection::vec(step(), 60..140);
    // While a failing case is made smaller every try panics: only the last one is worth reading.
    let (runner, loud) = (std::thread::current().id(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().id() != runner {
            loud(panic)
        }
    }));
    let result = TestRunner::new(config).run(&strategy, |commands| {
        let mut pair = Pair::new();
        for command in &commands {
            if pair.step(command) {
                pair.compare();
            }
            steps.set(steps.get() + 1);
            let branches = pair.model.homes.iter().map(|home| home.bindings.len()).max().unwrap_or_default();
            longest.set(longest.get().max(branches));
            sent.set(sent.get() + usize::from(branches > 0));
            let mut all = dropped.get();
            all.iter_mut().zip(pair.drops).for_each(|(all, of)| *all = (*all).max(of));
            dropped.set(all);
        }
        for (name, count) in &pair.registered {
            *registered.borrow_mut().entry(name).or_default() += count;
        }
        Ok(())
    });
    drop(std::panic::take_hook());
    if let Err(error) = result {
        panic!("{error}");
    }
    assert!(steps.get() >= 10_000, "{} steps", steps.get());
    assert!(sent.get() * 3 > steps.get(), "many steps have somebody bound: {} of {}", sent.get(), steps.get());
    assert_eq!(longest.get(), MOST_BINDINGS, "the table of bindings was full at times");
    let registered = registered.into_inner();
    for name in ["accepted", "sequence", "key", "not permitted", "not this home", "whole", "no care-of", "malformed", "unproven", "full"] {
        assert!(registered.get(name).is_some_and(|count| *count > 10), "{name} was met: {registered:?}");
    }
    let home_is_always_held_or_unknown = DropReason::NoHome as usize;
    for (reason, most) in DropReason::ALL.iter().zip(dropped.get()) {
        assert!(most > 0 || *reason as usize == home_is_always_held_or_unknown, "{reason:?} was met");
    }
}

/// How far a number is ahead of the last one: anything, or where the rule turns.
fn ahead() -> impl Strategy<Value = u16> {
    prop_oneof![any::<u16>(), prop::sample::select(vec![0, 1, 0x7fff, 0x8000, 0x8001, 0xffff])]
}

proptest! {
    #![proptest_config(Config { cases: 64, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_sequence_number_is_new_iff_it_comes_within_half_the_circle(steps in prop::collection::vec(ahead(), 1..40)) {
        let (mut window, mut last) = (ReplayWindow::default(), None);
        for ahead in steps {
            let number = last.unwrap_or(0_u16).wrapping_add(ahead);
            prop_assert_eq!(window.accept(number).is_ok(), is_new(last, number));
            if is_new(last, number) {
                last = Some(number);
            }
            prop_assert_eq!(window.last(), last);
            prop_assert!(window.accept(number).is_err(), "a replay is refused");
        }
    }
}
