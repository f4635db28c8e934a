//! A home address as a plain value: to be shown, compared, written down and made again.
//!
//! Bindings that live by an RTSP session or an interleaved connection are no part of what can be made again.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use smallvec::SmallVec;

use crate::now::Now;
use crate::quantities::FlowLabel;
use crate::steering::cache::BindingCache;
use crate::steering::care_of::{BindingId, HomeAddress};
use crate::steering::command::{Expectation, Holder, Owner};
use crate::steering::flow::{FlowBinding, FlowId, FlowPorts, Leaving};
use crate::steering::home::{Binding, Origin, Shown, Stated};
use crate::steering::keys::{Key, KeyParameters, ReplayWindow, Spi};
use crate::steering::route::{BranchSerial, EndReason, Join, UpdateId};
use crate::steering::session_keys::SessionKey;

/// A home address that somebody reserved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HomeRecord {
    /// The address.
    pub home: HomeAddress,
    /// Who reserved it (NAI), where a Binding Update did.
    pub identity: Option<String>,
    /// Where its packets come from.
    pub media_source: Ipv6Addr,
    /// When K1 ends, in seconds since 1970.
    pub validity_end: u64,
    /// The authorised label.
    pub label: Option<FlowLabel>,
    /// What is expected of the first packet.
    pub expectation: Expectation,
    /// Its bindings, in the order of their identifiers; zero is the one without an identifier.
    pub bindings: Vec<BindingRecord>,
    /// Its flows, in the order of their identifiers.
    pub flows: Vec<FlowRecord>,
    /// Its keys: K1, where it has one, and the session keys that were used.
    pub keys: Vec<KeyRecord>,
}

/// One care-of of a home address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindingRecord {
    /// Its identifier.
    pub id: BindingId,
    /// Its name in the data plane, the last one that it had; of no meaning for one that is made again.
    pub serial: BranchSerial,
    /// Where it is.
    pub care_of: IpAddr,
    /// Its priority.
    pub priority: u8,
    /// The key under which it was made.
    pub maker: Option<Spi>,
    /// What is left of its lifetime; `None` lives by its session.
    pub left: Option<Duration>,
    /// The ports that were stated for it.
    pub ports: Vec<FlowPorts>,
}

/// One flow of a home address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowRecord {
    /// Its identifier.
    pub id: FlowId,
    /// Its priority.
    pub priority: u16,
    /// Its label, once stated or learned.
    pub label: Option<FlowLabel>,
    /// Where it comes from, if that was stated.
    pub source: Option<Ipv6Addr>,
    /// The bindings that have it for good.
    pub members: Vec<BindingId>,
    /// Those that have it until the window ends.
    pub leaving: Vec<BindingId>,
    /// What is left of the window.
    pub window: Duration,
}

/// One key of a home address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyRecord {
    /// Its name.
    pub spi: Spi,
    /// Its octets.
    pub key: Key,
    /// What it was derived from, if it is a session key.
    pub derived: Option<(Spi, KeyParameters)>,
    /// When it ends, in seconds since 1970.
    pub validity_end: u64,
    /// The sequence number last accepted under it.
    pub last: Option<u16>,
}

impl BindingCache {
    /// A home address as it is now; `None` where it is not reserved.
    pub fn record(&self, home: HomeAddress, now: Now) -> Option<HomeRecord> {
        let found = self.find(home)?;
        self.expire_if_due(&found, now);
        let state = found.state();
        if state.released {
            return None;
        }
        let binding = |binding: &Binding| BindingRecord {
            id: binding.id,
            serial: binding.serial,
            care_of: binding.care_of.ip(),
            priority: binding.stated.as_ref().map_or(0, |stated| stated.priority),
            maker: binding.maker,
            left: binding.expires.map(|expires| expires.since(now.mono)),
            ports: binding.stated.as_ref().map(|stated| stated.ports.to_vec()).unwrap_or_default(),
        };
        let mut bindings: Vec<BindingRecord> = state.bindings.iter().map(binding).collect();
        bindings.sort_by_key(|binding| binding.id);
        let exists = |id: &BindingId| state.binding(*id).is_some();
        let flow = |flow: &FlowBinding| {
            // One whose window is over waits for a first packet only.
            let in_window = |leaving: &&Leaving| leaving.until > now.mono;
            let mut members: Vec<BindingId> = flow.members.iter().copied().filter(exists).collect();
            members.sort_unstable();
            let mut leaving: Vec<BindingId> = flow.leaving.iter().filter(in_window).map(|leaving| leaving.binding).collect();
            leaving.sort_unstable();
            FlowRecord {
                id: flow.id,
                priority: flow.priority,
                label: flow.label,
                source: flow.source,
                members,
                leaving,
                window: flow.leaving.iter().map(|leaving| leaving.until.since(now.mono)).max().unwrap_or_default(),
            }
        };
        let first = state.foreign.is_none().then(|| KeyRecord {
            spi: state.spi,
            key: state.key.clone(),
            derived: None,
            validity_end: state.validity_end,
            last: state.replay.last(),
        });
        let derived = state.session_keys.iter().map(|known| KeyRecord {
            spi: known.spi,
            key: known.key.clone(),
            derived: Some((known.parent, known.parameters.clone())),
            validity_end: known.validity_end,
            last: known.replay.last(),
        });
        Some(HomeRecord {
            home,
            identity: state.identity.clone(),
            media_source: state.media_source,
            validity_end: state.validity_end,
            label: state.label,
            expectation: state.expectation,
            bindings,
            flows: state.flows.iter().map(flow).collect(),
            keys: first.into_iter().chain(derived).collect(),
        })
    }

    /// Makes a home address that was written down, as it was. Its first key is K1. `false` where there is none, or the home
    /// address is reserved already.
    pub fn restore(&self, record: &HomeRecord, now: Now) -> bool {
        let Some((first, derived)) = record.keys.split_first() else { return false };
        if self.is_reserved(record.home) || first.derived.is_some() {
            return false;
        }
        let left = Duration::from_secs(record.validity_end.saturating_sub(now.utc.unix_seconds()));
        let origin = Origin {
            owner: Owner::KeyHolder,
            spi: first.spi,
            key: first.key.clone(),
            media_source: record.media_source,
            validity_end: record.validity_end,
            expires: Some(now.mono + left),
            liveness: self.settings().liveness,
            identity: record.identity.clone(),
            foreign: None,
        };
        self.note_spi(first.spi, record.home);
        let home = self.install(record.home, origin);
        let mut state = home.state();
        state.label = record.label;
        state.expectation = record.expectation;
        state.replay = first.last.map_or_else(ReplayWindow::default, ReplayWindow::starting_at);
        for known in derived {
            let Some((parent, parameters)) = &known.derived else { continue };
            let replay = known.last.map_or_else(ReplayWindow::default, ReplayWindow::starting_at);
            let (spi, key, validity_end) = (known.spi, known.key.clone(), known.validity_end);
            let kept = SessionKey { spi, key, parent: *parent, validity_end, parameters: parameters.clone(), replay };
            state.session_keys.keep(kept, usize::MAX);
        }
        for bound in &record.bindings {
            let stated =
                Stated { address: bound.care_of, source: None, priority: bound.priority, ports: SmallVec::from_slice(&bound.ports) };
            state.bindings.push(Binding {
                id: bound.id,
                serial: self.draw_serial(),
                care_of: stated.care_of(None, (5004, 5005)),
                update: UpdateId(0),
                together: 1,
                join: Join::default(),
                holder: Holder(bound.maker.map_or(0, |spi| u64::from(spi.0) | 1 << 61)),
                since: now.mono,
                heard: now.mono,
                expires: bound.left.map(|left| now.mono + left),
                started: false,
                shown: Shown::New,
                maker: bound.maker,
                taken_under: None,
                stated: Some(stated),
            });
        }
        for flow in &record.flows {
            let successor: Option<BranchSerial> = flow.members.first().and_then(|id| state.binding(*id)).map(|binding| binding.serial);
            let until = now.mono + flow.window;
            let leaving = |binding: &BindingId| Leaving {
                binding: *binding,
                until,
                at_latest: now.mono + flow.window.max(self.settings().max_window),
                successor,
                reason: EndReason::Moved,
            };
            state.flows.push(FlowBinding {
                id: flow.id,
                priority: flow.priority,
                label: flow.label,
                source: flow.source,
                members: SmallVec::from_slice(&flow.members),
                leaving: flow.leaving.iter().map(leaving).collect(),
            });
        }
        state.flows.sort_by_key(|flow| flow.id);
        home.publish(&mut state);
        self.schedule(&home, &mut state);
        true
    }
}
