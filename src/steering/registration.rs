//! Binding Updates as standard messages bring them: what they ask, what they are answered, and by which keys
//! (`docs/signalling.md` sections 5 and 6). Plain values; the work is done in `register` and `passage`.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use smallvec::SmallVec;

use crate::quantities::{FlowLabel, PayloadType};
use crate::steering::care_of::{BindingId, HomeAddress};
use crate::steering::command::ExpectedMedia;
use crate::steering::consent::Withheld;
use crate::steering::flow::{FlowId, FlowPorts};
use crate::steering::keys::{Key, Spi};
use crate::steering::route::Join;
use crate::steering::session_keys::SessionKey;

/// What a message says of the session key that it is authenticated with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyClaim<'a> {
    /// The key that it was derived from.
    pub parent: Spi,
    /// The flow's label.
    pub label: FlowLabel,
    /// When it ends, in seconds since 1970.
    pub validity_end: u64,
    /// Where the flow comes from.
    pub media_source: Ipv6Addr,
    /// Names the transfer.
    pub transfer_id: u32,
    /// Whom it is bound to, if to somebody.
    pub identity: Option<&'a str>,
}

/// A key that a Binding Update is authenticated with. It does not show.
#[derive(Clone, Debug)]
pub struct UpdateKey {
    /// Its name.
    pub spi: Spi,
    /// Its octets.
    pub key: Key,
    pub(crate) kind: KeyKind,
}

#[derive(Clone, Debug)]
pub(crate) enum KeyKind {
    /// K1 of that home address.
    Home(HomeAddress),
    /// A session key that was used before.
    Known,
    /// One that was derived just now: it is kept once an update under it is accepted.
    Derived(Box<SessionKey>),
}

/// The identifier that an update names, as far as it could be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NamedBinding {
    /// None: the whole home address.
    Whole,
    /// One.
    One {
        /// Which.
        id: BindingId,
        /// Its priority; the lower, the better.
        priority: u8,
        /// Whether the care-of stands beside it.
        with_care_of: bool,
    },
    /// One, in a form that is none.
    Malformed,
    /// More than one.
    Several,
}

/// Ports of a care-of, as an update states them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StatedPorts {
    /// Of which binding; `None` of the one that the update is about.
    pub binding: Option<BindingId>,
    /// The ports.
    pub ports: FlowPorts,
}

/// What is expected of the first packet of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StatedExpectation {
    /// The kind of media; `None` any.
    pub media: Option<ExpectedMedia>,
    /// The payload type; `None` any.
    pub payload_type: Option<PayloadType>,
}

/// What an update asks for one flow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowRequest {
    /// Names the flow.
    pub id: u16,
    /// Its priority.
    pub priority: u16,
    /// How the flow is recognised, and where it goes; or why that cannot be read.
    pub body: Result<FlowBody, FlowStatus>,
}

/// How a flow is recognised, and where it goes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FlowBody {
    /// How its packets look.
    pub selector: Option<FlowSelector>,
    /// The final set.
    pub bindings: Option<SmallVec<[BindingId; 4]>>,
}

/// How the packets of a flow look, as addressed to the home address (RFC 6088).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowSelector {
    /// Where they come from.
    pub source: Option<Ipv6Addr>,
    /// Their label.
    pub label: Option<FlowLabel>,
    /// The lowest and the highest destination port.
    pub ports: Option<(u16, u16)>,
}

/// The status of one flow in the answer (RFC 6089 section 4.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlowStatus {
    /// Done.
    Done,
    /// Not by that key, not from that source, or a second flow.
    Prohibited,
    /// Not readable.
    Malformed,
    /// It names a binding that does not exist.
    UnknownBinding,
    /// No such flow, and nothing that says how it looks.
    UnknownFlow,
    /// Recognised in a form that is not served.
    UnknownSelector,
}

/// A Binding Update whose authentication has been checked.
#[derive(Clone, Debug)]
pub struct Registration<'a> {
    /// Whose packets; `None` where the message names none.
    pub home: Option<HomeAddress>,
    /// By which key.
    pub key: &'a UpdateKey,
    /// Its number.
    pub sequence: u16,
    /// Whether the home address is given in a form that is served.
    pub whole_prefix: bool,
    /// For how long; zero to remove.
    pub lifetime: Duration,
    /// Which binding.
    pub binding: NamedBinding,
    /// Where to.
    pub care_of: IpAddr,
    /// Whether a care-of test was passed from there.
    pub tested: bool,
    /// Where the message came from.
    pub sender: IpAddr,
    /// Our own address that it was sent to.
    pub asked: Option<IpAddr>,
    /// The transition window; `None` the default.
    pub window: Option<Duration>,
    /// How a new branch enters.
    pub join: Join,
    /// The ports.
    pub ports: SmallVec<[StatedPorts; 2]>,
    /// What is expected, by flow; `None` all.
    pub expectations: SmallVec<[(Option<FlowId>, StatedExpectation); 1]>,
    /// The flows.
    pub flows: SmallVec<[FlowRequest; 1]>,
}

/// What became of each flow: its identifier, its priority, its status.
pub type FlowStatuses = SmallVec<[(u16, u16, FlowStatus); 1]>;

/// What an update came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registered {
    /// For how long it was granted; zero for a removal.
    pub lifetime: Duration,
    /// What became of each flow that was named, in the update's order.
    pub flows: FlowStatuses,
}

/// Why an update under a home key or a session key is refused (`docs/signalling.md` section 10).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The number is not later than the last one.
    #[error("the sequence number is not later than {last}")]
    Sequence {
        /// The last one.
        last: u16,
    },
    /// The key has ended, was revoked, or is for another flow or media source.
    #[error("the key has ended, or is for another flow or media source")]
    KeyRefused,
    /// No room for another key or binding.
    #[error("the home address has as many keys or bindings as it may have")]
    Full,
    /// The prefix is no single address.
    #[error("the home network prefix is not a single address")]
    Prefix,
    /// The key is another home address's, or the binding to remove does not exist.
    #[error("the key is not this home address's, or it has no such binding")]
    NotThisHome,
    /// Several bindings are named.
    #[error("more than one binding identifier")]
    SeveralBindings,
    /// The binding identifier, or the care-of in it, is malformed.
    #[error("the binding identifier is malformed")]
    BindingMalformed,
    /// A binding without an identifier exists.
    #[error("a binding without an identifier exists")]
    WholeIsBound,
    /// The binding is unknown, and no care-of is given.
    #[error("the binding is unknown and no care-of is given")]
    NoCareOf,
    /// The key does not reach that far.
    #[error("not permitted")]
    NotPermitted,
    /// Packets cannot go there.
    #[error("the care-of address is not acceptable")]
    CareOfUnacceptable,
    /// The care-of is not proven.
    #[error("the care-of address is not proven")]
    CareOfUnproven,
    /// Somebody has to say yes first, or has said no.
    #[error("{0}")]
    Withheld(Withheld),
    /// The home address went away meanwhile.
    #[error("the home address is not reserved")]
    UnknownHome,
}

/// A home address that was reserved for an identity, or for longer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Granted {
    /// The address.
    pub home: HomeAddress,
    /// Names K1.
    pub spi: Spi,
    /// When it ends, in seconds since 1970.
    pub validity_end: u64,
}

/// Why a reservation by a provisioned key is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GrantError {
    /// No address is left, or the identity has as many as it may have.
    #[error("no home address is left, or the identity has as many as it may have")]
    Resources,
    /// The address is not one that can be had here.
    #[error("the address is not of the pool, or not free")]
    NotOfPool,
    /// Somebody else has it.
    #[error("the address is held by another")]
    HeldByAnother,
}

/// A Binding Update for a home address of another server, whose authentication has been checked.
#[derive(Clone, Copy, Debug)]
pub struct ForeignRegistration {
    /// Whose packets.
    pub home: HomeAddress,
    /// Its number.
    pub sequence: u16,
    /// For how long; zero to remove.
    pub lifetime: Duration,
    /// Where to.
    pub care_of: IpAddr,
    /// Where the message came from.
    pub sender: IpAddr,
    /// Our own address that it was sent to.
    pub asked: Option<IpAddr>,
    /// How a new branch enters.
    pub join: Join,
    /// Where the home address's packets come from.
    pub media_source: Ipv6Addr,
}
