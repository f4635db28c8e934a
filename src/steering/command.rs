//! What carriages may ask of steering, what they get back, and what steering goes by. Plain values; the work is done in
//! `cache` and `update`.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv6Net};

use crate::quantities::{FlowLabel, MediaKind, PayloadType};
use crate::steering::care_of::{BindingId, CareOf, HomeAddress};
use crate::steering::keys::{Key, Spi};
use crate::steering::route::{BranchSerial, Join, UpdateId};
use crate::steering::token::VerifiedGrant;

/// What steering goes by.
#[derive(Clone, Debug)]
pub struct SteeringSettings {
    /// Where home addresses are drawn from.
    pub home_prefix: Ipv6Net,
    /// How long the old care-of is served beside the new one, unless the update says.
    pub default_window: Duration,
    /// The longest such time.
    pub max_window: Duration,
    /// Care-ofs a home address may have.
    pub max_bindings: usize,
    /// The longest lifetime of a binding that has one.
    pub max_lifetime: Duration,
    /// A binding that has a lifetime ends when nothing was heard from it for so long.
    pub liveness: Duration,
    /// The longest life of a home address reserved for a time.
    pub max_reservation: Duration,
    /// Care-ofs that operators may name without proof.
    pub trusted_care_of: Vec<IpNet>,
    /// The greatest label that is drawn, all bits below it set.
    pub max_label: u32,
    /// Home addresses that packets go out to as they are while nobody is bound.
    pub unbound_prefixes: Vec<Ipv6Net>,
    /// What may change while it runs, as it is at first.
    pub rules: Rules,
    /// The home addresses that may be given out, in this order; `None` any of the prefix.
    pub home_addresses: Option<Vec<HomeAddress>>,
}

impl SteeringSettings {
    /// The defaults, over a prefix.
    pub fn new(home_prefix: Ipv6Net) -> Self {
        Self {
            home_prefix,
            default_window: Duration::from_millis(2000),
            max_window: Duration::from_millis(15_000),
            max_bindings: 8,
            max_lifetime: Duration::from_secs(600),
            liveness: Duration::from_secs(75),
            max_reservation: Duration::from_secs(7200),
            trusted_care_of: vec!["127.0.0.0/8".parse().expect("a prefix"), "::1/128".parse().expect("a prefix")],
            max_label: FlowLabel::MAX,
            unbound_prefixes: Vec::new(),
            rules: Rules::default(),
            home_addresses: None,
        }
    }
}

/// What of the settings may change while the cache is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Care-ofs that are never taken.
    pub denied_care_of: Vec<IpNet>,
    /// Keys that a home address may have, K1 among them.
    pub max_keys: usize,
    /// Home addresses that one identity may have.
    pub max_homes_per_identity: usize,
    /// Whether a home address has one flow only.
    pub one_flow_per_home: bool,
    /// Whether the peer of a session's RTSP connection is proven for signalling too.
    pub rtsp_peers_are_proven: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { denied_care_of: Vec::new(), max_keys: 8, max_homes_per_identity: 16, one_flow_per_home: true, rtsp_peers_are_proven: true }
    }
}

/// Who reserved a home address, and whose end is its end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Owner {
    /// A presentation, by its number.
    Presentation(u64),
    /// Whoever holds its key. No single owner: it gives no authority, and is not released as one.
    KeyHolder,
}

/// The device behind a binding: the RTSP session, or the key, that made it. One that binds again elsewhere has roamed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Holder(pub u64);

/// A request for a home address.
#[derive(Clone, Debug)]
pub struct Reserve {
    /// Whose it will be.
    pub owner: Owner,
    /// A certain address (one kept by name), else any.
    pub address: Option<HomeAddress>,
    /// How long; `None` as long as its owner, or the longest time where that is whoever holds the key.
    pub lifetime: Option<Duration>,
    /// The address that its packets are to come from.
    pub media_source: Ipv6Addr,
}

/// A home address that was reserved.
#[derive(Clone, Debug)]
pub struct Reservation {
    /// The address.
    pub home: HomeAddress,
    /// Names K1.
    pub spi: Spi,
    /// K1.
    pub key: Key,
    /// When both end, in seconds since 1970; `u64::MAX` with their owner.
    pub validity_end: u64,
}

/// What a home address expects of the first packet to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Expectation {
    /// The payload type; `None` any.
    pub payload_type: Option<PayloadType>,
    /// The lowest and the highest destination port; `None` any.
    pub ports: Option<(u16, u16)>,
    /// The kind of media; `None` any.
    pub media: Option<ExpectedMedia>,
}

/// A kind of media that is expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExpectedMedia {
    /// One that can be played.
    Kind(MediaKind),
    /// One that nothing here is of.
    Other,
}

impl ExpectedMedia {
    /// Whether media may be of that kind; where their kind is not known they may be of any that can be played.
    pub fn admits(self, media: Option<MediaKind>) -> bool {
        matches!(self, Self::Kind(kind) if media.is_none_or(|media| media == kind))
    }
}

/// By what right an update is asked for.
#[derive(Clone, Debug)]
pub enum Authority {
    /// The owner's: the presentation set up its own flow.
    Owner(Owner),
    /// An operator's.
    Operator,
    /// The home key K1 was shown.
    HomeKey,
    /// A take-over token was shown.
    Grant(VerifiedGrant),
}

/// Why a care-of may be sent to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// It is the peer of the TCP connection that carries the request.
    RequestPeer(IpAddr),
    /// It is one that operators may name.
    Trusted,
    /// A care-of test was passed from there (`docs/signalling.md` section 9).
    Tested,
    /// It is where that branch is served now, unchanged.
    Served(BranchSerial),
    /// None was given; only a care-of address that is bound to this home address already passes.
    Missing,
}

/// What becomes of the care-ofs that had the flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// They end with the transition window.
    Move,
    /// They stay.
    Fork,
    /// Nothing: only the care-of, its ports and its lifetime change, of a binding that exists. A binding that is leaving
    /// goes on leaving, so that the old device's refresh does not take the flow back.
    Refresh,
}

/// A binding update, whichever carriage brought it.
#[derive(Clone, Debug)]
pub struct Update {
    /// Whose packets.
    pub home: HomeAddress,
    /// By what right.
    pub authority: Authority,
    /// Which binding; `None` draws an identifier for a new one.
    pub binding: Option<BindingId>,
    /// Where to.
    pub care_of: CareOf,
    /// Why there.
    pub proof: Proof,
    /// For how long; `None` as long as the session that made it.
    pub lifetime: Option<Duration>,
    /// What becomes of the others.
    pub mode: Mode,
    /// The transition window; `None` the default.
    pub window: Option<Duration>,
    /// How the new branch enters.
    pub join: Join,
    /// The device. An operator is none: what an operator moves is told BYE.
    pub holder: Holder,
}

/// What an update came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Its name.
    pub update: UpdateId,
    /// The bindings it made or changed, in its order.
    pub bindings: Vec<(HomeAddress, BindingId, BranchSerial)>,
}

/// Why a command changed nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SteeringError {
    /// The home address is not reserved.
    #[error("the home address is not reserved")]
    UnknownHome,
    /// It has no such binding.
    #[error("the home address has no such binding")]
    UnknownBinding,
    /// It is somebody else's.
    #[error("the home address is held by another")]
    HeldByAnother,
    /// No address is left.
    #[error("no home address is left")]
    PoolEmpty,
    /// The right shown does not reach that far.
    #[error("not permitted")]
    NotPermitted,
    /// The care-of is not proven.
    #[error("the care-of address is not proven")]
    CareOfUnproven,
    /// Packets cannot go there.
    #[error("the care-of address is not acceptable")]
    CareOfUnacceptable,
    /// Binding identifiers are not zero.
    #[error("a binding identifier is not zero")]
    BindingIdZero,
    /// It has as many as it may have.
    #[error("the home address has as many bindings as it may have")]
    TooManyBindings,
    /// A presentation plays there already.
    #[error("the home address is occupied")]
    Occupied,
    /// Another label is authorised.
    #[error("another flow label is authorised")]
    OtherLabel,
}
