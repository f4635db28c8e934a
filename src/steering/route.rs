//! Where a flow's packets go now, as the data plane sees it: an immutable [`Route`] per home address, replaced as a
//! whole on every change and recognised by its epoch.

use std::net::Ipv6Addr;
use std::time::Duration;

use crate::now::Mono;
use crate::quantities::{FlowLabel, MediaKind, PayloadType};
use crate::steering::care_of::{BindingId, CareOf, HomeAddress};

/// One accepted update. Branches of several flows that were bound in one step carry the same one, so that they join
/// from the same media time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UpdateId(pub u64);

/// Names a branch as long as the process lives; a binding that moves to another care-of as the same device roams keeps
/// it, a binding that is removed and made again does not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BranchSerial(pub u64);

/// How a new branch enters a running flow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Join {
    /// From where.
    pub way: JoinWay,
    /// How fast the way to the live position is made up, in thousandths of real time; with 1000 it is not.
    pub rate_milli: u16,
    /// Whether that rate was asked for: then it holds also where the way is long.
    pub fixed: bool,
    /// Whether its player, where it is served over its connection, reads what comes right behind the response to PLAY.
    pub eager: bool,
    /// Whether its receiver asked for retransmission (RFC 4588): then it is sent again what it says it has not got.
    pub rtx: bool,
}

impl Default for Join {
    fn default() -> Self {
        Self { way: JoinWay::Primed, rate_milli: 2000, fixed: false, eager: false, rtx: false }
    }
}

/// From where a new branch enters a running flow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum JoinWay {
    /// From the last random access point, made up faster than real time.
    Primed,
    /// From the next random access point.
    Aligned,
    /// From the next packet.
    AtOnce,
}

/// How a branch has entered a running flow: what became of its [`JoinWay`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Entered {
    /// From the last random access point, made up faster than real time.
    Primed,
    /// From the last random access point, which lies so far back that the branch stays behind.
    Delayed,
    /// From the next random access point.
    Aligned,
    /// With the next packet.
    AtOnce,
}

impl Entered {
    /// The name in logs and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primed => "primed",
            Self::Delayed => "delayed",
            Self::Aligned => "aligned",
            Self::AtOnce => "at-once",
        }
    }
}

/// What a hand-over of one flow came to, in media time; known with the first packet of the new branch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HandedOver {
    /// How the new branch entered.
    pub entered: Entered,
    /// How far it is behind the live position.
    pub lag: Duration,
    /// By how much the newest access unit that the old branch had is newer than the new one's first.
    pub repeated: Duration,
    /// What lies between the two and was sent to neither.
    pub missing: Duration,
}

/// One care-of that a flow goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Branch {
    /// Its name in the data plane.
    pub serial: BranchSerial,
    /// Its name in signalling.
    pub binding: BindingId,
    /// Where its packets go.
    pub care_of: CareOf,
    /// The update that made it.
    pub update: UpdateId,
    /// How many home addresses of its owner that update bound: their branches enter together.
    pub together: usize,
    /// How it enters.
    pub join: Join,
    /// Whether it is only served until its transition window ends.
    pub leaving: bool,
    /// When that window ends, where it is leaving.
    pub until: Option<Mono>,
    /// Since when it has been bound.
    pub since: Mono,
}

impl Branch {
    /// Whether it goes to the home address itself, for want of a care-of.
    pub fn is_at_home(&self, home: HomeAddress) -> bool {
        self.care_of.ip() == home.0
    }
}

/// Why a branch is no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndReason {
    /// Its transition window is over: the flow has moved to another device.
    Moved,
    /// The same device is served at another care-of now.
    Roamed,
    /// Its holder, or an operator, removed it.
    Removed,
    /// Its lifetime ended, or nothing was heard from it.
    Expired,
    /// The home address was released.
    Released,
}

impl EndReason {
    /// Whether the device is told by RTCP BYE.
    pub const fn says_bye(self) -> bool {
        !matches!(self, Self::Roamed)
    }
}

/// A branch that is no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    /// The branch as it was.
    pub branch: Branch,
    /// Why it ended.
    pub reason: EndReason,
}

/// Where the packets of a home address go. `epoch` rises with every change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Rises with every change of this home address.
    pub epoch: u64,
    /// The home address.
    pub home: HomeAddress,
    /// The authorised label, once stated or learned.
    pub label: Option<FlowLabel>,
    /// Its care-ofs for the authorised label, each once.
    pub branches: Vec<Branch>,
    /// The branches that ended last, newest last, at most [`Route::ENDED_KEPT`].
    pub ended: Vec<Ended>,
    /// Whether the home address still exists.
    pub reserved: bool,
    /// The ports of RTP and RTCP that its packets are addressed to at the home address.
    pub ports: (u16, u16),
}

impl Route {
    /// How many ended branches a route remembers.
    pub const ENDED_KEPT: usize = 16;
}

/// What the filter and the map look at in a packet (or in each packet of a run, which do not differ in it).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PacketFacts {
    /// The media source: the address the packet pretends to come from.
    pub source: Ipv6Addr,
    /// Its destination.
    pub home: HomeAddress,
    /// Its flow label, as it stands in the packet; zero is "no label".
    pub label: u32,
    /// Its destination port.
    pub destination_port: u16,
    /// What it carries.
    pub payload: Payload,
    /// Of what kind the media is, where that is known.
    pub media: Option<MediaKind>,
}

/// What a datagram carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Payload {
    /// RTP version 2, with that payload type.
    Rtp(PayloadType),
    /// RTCP.
    Rtcp,
    /// Neither.
    Other,
}

impl Payload {
    /// What a datagram carries, by its first two octets (RFC 3550 section 5.1, RFC 5761 section 4).
    pub fn of(datagram: &[u8]) -> Self {
        match *datagram {
            [first, second, ..] if first >> 6 == 2 => match second {
                192..=223 => Self::Rtcp,
                _ => PayloadType::new(second & 0x7f).map_or(Self::Other, Self::Rtp),
            },
            _ => Self::Other,
        }
    }
}

/// Why a packet is not sent: one for each packet that does not leave.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum DropReason {
    /// The home address is not reserved.
    NoHome,
    /// It has no care-of.
    NoBinding,
    /// The packet has no flow label.
    LabelZero,
    /// The packet has another label than the authorised one.
    Label,
    /// No label is authorised yet, and the packet is not what is expected.
    NotExpected,
}

impl DropReason {
    /// All of them, in the order of the filter's steps.
    pub const ALL: [Self; 5] = [Self::NoHome, Self::NoBinding, Self::LabelZero, Self::Label, Self::NotExpected];

    /// The name in metrics, events and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoHome => "drop_no_home",
            Self::NoBinding => "drop_no_binding",
            Self::LabelZero => "drop_label_zero",
            Self::Label => "drop_label",
            Self::NotExpected => "drop_not_expected",
        }
    }
}

/// A transition window (how long the old care-of is served beside the new one).
pub const DEFAULT_WINDOW: Duration = Duration::from_millis(2000);
