//! A presentation as its shard holds it: with its file, and what turns its flows' access units into packets.

use std::sync::Arc;
use std::time::Duration;

use rtp::header::Header;
use smallvec::SmallVec;

use crate::dataplane::ahead::Ahead;
use crate::dataplane::endpoints::Endpoints;
use crate::dataplane::near::Place;
use crate::dataplane::resend::Resends;
use crate::dataplane::units::{Near, Unit, Units};
use crate::dataplane::unreachable::Unreachable;
use crate::dataplane::ways::Ways;
use crate::library::AccessUnit;
use crate::net::admission;
use crate::net::connection::{Connection, Connections};
use crate::now::{Mono, Now};
use crate::payload::Payloader;
use crate::playback::presentation::{Audience, Presentation};
use crate::playback::{FlowFacts, PlaybackError, PresentationState, ReportOrigin, flow, report};
use crate::quantities::{MediaKind, MediaTime, Ssrc};
use crate::steering::{BindingCache, BranchSerial, CareOf, Gate, Holder, HomeAddress, Route};

/// A presentation and what the shard holds for it.
pub(super) struct Slot {
    pub(super) presentation: Presentation,
    /// Its place among all of them.
    pub(super) _place: admission::Place,
    pub(super) source: Arc<Ahead>,
    /// What is due is not read yet: it is asked for again then.
    pub(super) waits: Option<Mono>,
    pub(super) opened: Mono,
    /// In the order of the flows.
    pub(super) senders: Vec<Sender>,
    /// Failed reads in a row.
    pub(super) failures: u32,
    /// Where its datagrams come from.
    pub(super) ways: Ways,
    /// Of which branches datagrams come back.
    pub(super) unreachable: Unreachable,
    /// What branches may be sent again.
    pub(super) resends: Resends,
    /// Who plays the same title close to it.
    pub(super) near: Near,
    /// What is left of access units that do not leave all at once.
    pub(super) rests: Vec<Rest>,
}

/// What turns one flow's access units into packets.
pub(super) struct Sender {
    pub(super) gate: Gate,
    pub(super) payloader: Payloader,
    pub(super) header: Header,
    pub(super) facts: FlowFacts,
    pub(super) kind: MediaKind,
    pub(super) traffic_class: u8,
    pub(super) cname: String,
    /// The connections of its interleaved branches.
    pub(super) connections: Vec<(u64, Arc<Connection>)>,
    /// Branches that lost an access unit: they are served again from the next random access point on.
    pub(super) broken: Vec<BranchSerial>,
}

/// What is left of an access unit: a large one leaves in pieces, so as not to be one burst.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) flow: usize,
    pub(super) unit: Arc<Unit>,
    /// The next packet to leave.
    pub(super) next: usize,
    /// How many leave at once.
    pub(super) piece: usize,
    /// The sequence number of the unit's first packet.
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) random_access: bool,
    /// Counts the access units.
    pub(super) number: u64,
    /// Who got the beginning.
    pub(super) branches: SmallVec<[BranchSerial; 4]>,
    pub(super) due: Mono,
}

impl Rest {
    /// Whether it has to leave before what is next for an audience.
    pub(super) fn goes_before(&self, flow: usize, audience: Audience) -> bool {
        self.flow == flow
            && match audience {
                Audience::Live => true,
                Audience::Priming(serial) => self.branches.contains(&serial),
            }
    }
}

impl Slot {
    /// Takes over what the address map says.
    pub(super) fn sync(&mut self, now: Now) {
        let routes: Vec<Arc<Route>> = self.senders.iter_mut().map(|sender| Arc::clone(sender.gate.route())).collect();
        self.presentation.sync(&routes, now);
        for (sender, route) in self.senders.iter_mut().zip(&routes) {
            let bound = |id: u64| {
                let of = |branch: &crate::steering::Branch| matches!(branch.care_of, CareOf::Interleaved { connection, .. } if connection.0 == id);
                route.branches.iter().any(of)
            };
            sender.connections.retain(|(id, _)| bound(*id));
            sender.broken.retain(|serial| route.branches.iter().any(|branch| branch.serial == *serial));
        }
        self.resends.retain(&routes);
        self.unreachable.retain(|serial| routes.iter().any(|route| route.branches.iter().any(|branch| branch.serial == serial)));
    }

    /// Forgets media that connections hold back until a response is out: they are of the position before.
    pub(super) fn discard_held(&mut self) {
        for (sender, flow) in self.senders.iter_mut().zip(self.presentation.flows()) {
            for state in &flow.branches {
                if let CareOf::Interleaved { connection, rtp_channel, .. } = state.branch.care_of
                    && let Some((_, connection)) = sender.connections.iter().find(|(id, _)| *id == connection.0)
                {
                    connection.discard_held(rtp_channel);
                }
            }
        }
    }

    /// Notes what a SETUP told.
    pub(super) fn await_datagrams(
        &mut self,
        endpoints: &Endpoints,
        home: HomeAddress,
        holder: Holder,
        care_of: CareOf,
        now: Now,
    ) -> Result<(), PlaybackError> {
        let sender = self.senders.iter().find(|sender| sender.facts.home == home).ok_or(PlaybackError::Unknown)?;
        self.ways.expect(endpoints, self.presentation.id(), &sender.facts, holder, care_of, now);
        Ok(())
    }

    /// Makes known where its branches are, and moves those that turned out to be behind another port.
    pub(super) fn follow_datagrams(&mut self, endpoints: &Endpoints, steering: &BindingCache, now: Now) {
        if self.ways.correct(endpoints, &self.presentation, steering, now) {
            self.sync(now);
        }
        self.ways.note(endpoints, &self.presentation, now);
    }

    /// Notes that a datagram of a branch has come back; whether it is one too many. One that quotes no packet of the flow
    /// was made up.
    pub(super) fn is_gone(&mut self, origin: ReportOrigin, quoted: &[u8], now: Now) -> bool {
        let Some(sender) = self.senders.iter().find(|sender| sender.facts.home == origin.home) else { return false };
        quoted_source(quoted) == Some(sender.facts.ssrc) && self.unreachable.note(origin.branch, now.mono)
    }

    pub(super) fn reported(&mut self, origin: ReportOrigin, packet: &[u8], now: Now) {
        self.unreachable.heard(origin.branch);
        let Some(index) = self.senders.iter().position(|sender| sender.facts.home == origin.home) else { return };
        self.senders[index].gate.heard(origin.branch, now.mono);
        let facts = self.senders[index].facts;
        if let Some(state) = self.presentation.flow_mut(index).and_then(|flow| flow.branch_mut(origin.branch))
            && let Some(mut reception) = report::read_reception(packet, facts.ssrc, facts.clock_rate, state.last_report, now.mono)
        {
            reception.round_trip = reception.round_trip.or(state.reception.round_trip);
            state.reception = reception;
        }
    }

    /// Where it plays, as those who play the same title see it.
    pub(super) fn place(&self, now: Now) -> Option<Place> {
        // Who plays at another scale or speed is near nobody for long.
        let runs = self.presentation.state() == PresentationState::Playing
            && self.presentation.scale().is_normal()
            && self.presentation.speed().is_real_time();
        let position = self.presentation.position(now);
        let origin = || i64::try_from(now.mono.as_nanos()).unwrap_or(i64::MAX).saturating_sub(MediaTime::as_nanos(position));
        // What runs keeps its origin but for rounding.
        let title = self.presentation.title();
        let close = || u64::try_from(Units::closeness(title).as_nanos()).unwrap_or(u64::MAX);
        runs.then(|| Place { title: Arc::as_ptr(title) as usize, origin: origin(), close: close() })
    }

    /// For how long the packets of an access unit may be under way.
    pub(super) fn spread(&self, flow: usize, unit: &AccessUnit, audience: Audience) -> Duration {
        let Some(playing) = self.presentation.flows().get(flow) else { return Duration::ZERO };
        let Some(track) = self.presentation.title().tracks.get(playing.facts.track) else { return Duration::ZERO };
        let half = self.presentation.speed().time_for(flow::duration(track, unit)) / 2;
        match audience {
            Audience::Live => half,
            Audience::Priming(serial) => {
                let state = playing.branches.iter().find(|state| state.branch.serial == serial);
                let rate = state.and_then(|state| state.priming).map_or(1000, |priming| priming.rate_milli.max(1000));
                half * 1000 / u32::from(rate)
            }
        }
    }

    /// When it wants to be served next.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        let rests = self.rests.iter().map(|rest| rest.due).min();
        let next = self.presentation.next_deadline().map(|next| self.waits.map_or(next, |waits| next.max(waits)));
        [rests, next].into_iter().flatten().min()
    }

    pub(super) fn snapshot(&self, now: Now) -> crate::playback::PresentationSnapshot {
        let mut snapshot = self.presentation.snapshot(now);
        for (flow, sender) in snapshot.flows.iter_mut().zip(&self.senders) {
            flow.dropped = sender.gate.dropped();
        }
        snapshot
    }
}

impl Sender {
    pub(super) fn connection(&mut self, id: u64, connections: &Connections) -> Option<Arc<Connection>> {
        if let Some((_, connection)) = self.connections.iter().find(|(known, _)| *known == id) {
            return Some(Arc::clone(connection));
        }
        let connection = connections.get(id)?;
        self.connections.push((id, Arc::clone(&connection)));
        Some(connection)
    }
}
/// The source of an RTP packet, of which only the beginning is there.
fn quoted_source(packet: &[u8]) -> Option<Ssrc> {
    match packet {
        &[first, _, _, _, _, _, _, _, a, b, c, d, ..] if first >> 6 == 2 => Some(Ssrc(u32::from_be_bytes([a, b, c, d]))),
        _ => None,
    }
}
