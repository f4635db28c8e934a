//! A binding cache with its own clock and seeded randomness, for tests of steering. Not every test uses all of it.
#![allow(dead_code)]

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flowsteer::now::{Mono, Now, Utc};
use flowsteer::quantities::{FlowLabel, PayloadType};
use flowsteer::steering::{
    Authority, BindingCache, BindingId, BranchSerial, CareOf, DropReason, Event, EventKind, Expectation, Gate, GrantOptions, Holder,
    HomeAddress, Join, Mode, Owner, PacketFacts, Payload, Proof, Reserve, SteeringError, SteeringSettings, Update, token,
};

pub const LABEL: FlowLabel = FlowLabel::new(0x5a3c7).expect("20 bits");
pub const OTHER_LABEL: FlowLabel = FlowLabel::new(0x13579).expect("20 bits");
pub const OWNER: Owner = Owner::Presentation(7);

pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;

/// Repeatable octets (xorshift64*).
pub fn random(seed: u64) -> Random {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    Box::new(move |octets| {
        for octet in octets {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            *octet = (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8;
        }
    })
}

pub fn source() -> Ipv6Addr {
    "2001:db8:5::1".parse().expect("an address")
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub fn udp(text: &str) -> CareOf {
    let rtp: SocketAddr = text.parse().expect("an endpoint");
    CareOf::Udp { rtp, rtcp: SocketAddr::new(rtp.ip(), rtp.port() + 1), source: None }
}

/// Devices A, B and C.
pub fn a() -> CareOf {
    udp("[2001:db8:c1::130]:5004")
}

pub fn b() -> CareOf {
    udp("[2001:db8:c2::140]:6000")
}

pub fn c() -> CareOf {
    udp("192.0.2.140:7000")
}

pub struct World {
    pub cache: Arc<BindingCache>,
    pub now: Now,
    pub changes: Arc<AtomicUsize>,
}

impl World {
    pub fn new() -> Self {
        Self::with(SteeringSettings::new("2001:db8:f::/64".parse().expect("a prefix")))
    }

    pub fn with(settings: SteeringSettings) -> Self {
        let changes = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&changes);
        let changed = Box::new(move |_, _| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let now = Now { mono: Mono::from_nanos(1_000_000_000), utc: Utc::from_unix_seconds(1_767_225_600) };
        Self { cache: Arc::new(BindingCache::new(settings, random(1), changed)), now, changes }
    }

    /// Lets time pass, with the timer running.
    pub fn pass(&mut self, millis: u64) {
        self.skip(millis);
        self.cache.handle_timeout(self.now);
    }

    /// Lets time pass; the timer is late.
    pub fn skip(&mut self, millis: u64) {
        self.now = self.now.after(Duration::from_millis(millis));
    }

    pub fn reserve(&self) -> HomeAddress {
        self.try_reserve(OWNER, None, None).expect("reserved")
    }

    pub fn try_reserve(&self, owner: Owner, address: Option<HomeAddress>, lifetime: Option<u64>) -> Result<HomeAddress, SteeringError> {
        let lifetime = lifetime.map(Duration::from_secs);
        self.cache.reserve(&Reserve { owner, address, lifetime, media_source: source() }, self.now).map(|reserved| reserved.home)
    }

    /// A home address whose label is authorised.
    pub fn flow(&self) -> HomeAddress {
        let home = self.reserve();
        self.cache.authorise(home, LABEL, Expectation::default()).expect("authorised");
        home
    }

    /// A home address whose flow goes to A, with its branch started.
    pub fn playing(&self) -> (HomeAddress, BranchSerial) {
        let home = self.flow();
        let (_, serial) = self.bind(&update(home, a(), 1));
        self.cache.branch_started(home, serial, self.now);
        (home, serial)
    }

    pub fn bind(&self, update: &Update) -> (BindingId, BranchSerial) {
        let receipt = self.cache.update(std::slice::from_ref(update), self.now).expect("accepted");
        assert_eq!(receipt.bindings.len(), 1);
        let (home, id, serial) = receipt.bindings[0];
        assert_eq!(home, update.home);
        (id, serial)
    }

    /// Binds, and sends the branch its first packet at once.
    pub fn bind_started(&self, update: &Update) -> (BindingId, BranchSerial) {
        let (id, serial) = self.bind(update);
        self.cache.branch_started(update.home, serial, self.now);
        (id, serial)
    }

    pub fn refusal(&self, update: &Update) -> SteeringError {
        let before = self.cache.home_view(update.home, self.now);
        let changes = self.changes.load(Ordering::Relaxed);
        let error = self.cache.update(std::slice::from_ref(update), self.now).expect_err("refused");
        assert_eq!(self.cache.home_view(update.home, self.now), before, "a refusal changes nothing");
        assert_eq!(self.changes.load(Ordering::Relaxed), changes, "a refusal wakes nobody");
        error
    }

    /// Sends one packet of the authorised label.
    pub fn send(&self, home: HomeAddress) -> Result<Vec<CareOf>, DropReason> {
        let mut gate = self.cache.gate(home).ok_or(DropReason::NoHome)?;
        self.send_through(&mut gate, home)
    }

    pub fn send_through(&self, gate: &mut Gate, home: HomeAddress) -> Result<Vec<CareOf>, DropReason> {
        gate.pass(&facts(home), 1, self.now).map(|route| route.branches.iter().map(|branch| branch.care_of).collect())
    }

    pub fn events(&self) -> Vec<Event> {
        std::iter::from_fn(|| self.cache.poll_event()).collect()
    }

    pub fn kinds(&self) -> Vec<EventKind> {
        self.events().into_iter().map(|event| event.kind).collect()
    }

    pub fn token(&self, home: HomeAddress, options: &GrantOptions) -> String {
        token(&[self.cache.issue_grant(home, options, self.now).expect("issued")])
    }

    pub fn grant(&self, text: &str, peer: &str) -> Authority {
        Authority::Grant(self.cache.verify_token(text, Some(ip(peer)), self.now).expect("good").remove(0))
    }
}

/// A move by the owner, with the peer's own address.
pub fn update(home: HomeAddress, care_of: CareOf, holder: u64) -> Update {
    Update {
        home,
        authority: Authority::Owner(OWNER),
        binding: None,
        care_of,
        proof: Proof::RequestPeer(care_of.ip()),
        lifetime: None,
        mode: Mode::Move,
        window: None,
        join: Join::default(),
        holder: Holder(holder),
    }
}

pub fn facts(home: HomeAddress) -> PacketFacts {
    let payload = Payload::Rtp(PayloadType::new(96).expect("seven bits"));
    PacketFacts { source: source(), home, label: LABEL.bits(), destination_port: 5004, payload, media: None }
}
