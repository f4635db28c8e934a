//! Flow bindings: which bindings of a home address a flow goes to, and which it is about to leave (RFC 6089;
//! `docs/signalling.md` sections 6 and 7).

use std::net::Ipv6Addr;
use std::time::Duration;

use smallvec::SmallVec;

use crate::now::Mono;
use crate::quantities::FlowLabel;
use crate::steering::care_of::BindingId;
use crate::steering::route::{BranchSerial, EndReason};

/// Names a flow of a home address (FID, RFC 6089 section 4.2), never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FlowId(pub u16);

impl FlowId {
    /// The flow that is made where none was named.
    pub const DEFAULT: Self = Self(1);
}

/// The priority of a flow that was made where none was named.
pub(crate) const DEFAULT_PRIORITY: u16 = 10;

/// A binding that has the flow until its transition window ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Leaving {
    pub(crate) binding: BindingId,
    /// The window's end.
    pub(crate) until: Mono,
    /// It ends then even if its successor has not had a packet.
    pub(crate) at_latest: Mono,
    /// The branch that takes its place, if there is one.
    pub(crate) successor: Option<BranchSerial>,
    pub(crate) reason: EndReason,
}

/// One flow of a home address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FlowBinding {
    pub(crate) id: FlowId,
    pub(crate) priority: u16,
    /// `None` until it is learned.
    pub(crate) label: Option<FlowLabel>,
    pub(crate) source: Option<Ipv6Addr>,
    /// The final set. Identifiers that name no binding (any more) are passed over.
    pub(crate) members: SmallVec<[BindingId; 4]>,
    pub(crate) leaving: Vec<Leaving>,
}

impl FlowBinding {
    pub(crate) fn new(id: FlowId, priority: u16, label: Option<FlowLabel>) -> Self {
        Self { id, priority, label, source: None, members: SmallVec::new(), leaving: Vec::new() }
    }

    /// Whether packets with the label that is authorised are this flow's.
    pub(crate) fn is_in_force(&self, authorised: Option<FlowLabel>) -> bool {
        self.label.is_none() || authorised.is_none() || self.label == authorised
    }
}

/// Flows of one home address at most.
pub(crate) const MAX_FLOWS: usize = 16;

/// Ports of a care-of for one flow, or for all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowPorts {
    /// Which flow; `None` all.
    pub flow: Option<FlowId>,
    /// The port of RTP.
    pub rtp: u16,
    /// The port of RTCP.
    pub rtcp: u16,
    /// Both on the port of RTP (RFC 5761).
    pub multiplexed: bool,
}

/// How a flow passes from some bindings to others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handing {
    /// The transition window.
    pub(crate) window: Duration,
    /// How long those who lose the flow keep it at most while its new branch has had no packet.
    pub(crate) max_window: Duration,
    /// The branch whose first packet is waited for.
    pub(crate) successor: Option<BranchSerial>,
}

/// What became of a flow by an update.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Passage {
    /// Nobody lost it.
    Set,
    /// Who had it has lost it.
    Moved,
    /// Who had it loses it when that window is over.
    Moving(Duration),
    /// Who had it keeps it.
    Forked,
}
