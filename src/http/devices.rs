//! Devices that a flow can be sent to: those of the configuration, and those that flows went to since the server started.
//!
//! Which of them a flow may go to is decided by steering and not here: to have been seen proves nothing of where a device is now.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::http::words::{Address, Endpoint, Kind};
use crate::now::Mono;
use crate::playback::{FlowSnapshot, PresentationId, PresentationSnapshot};
use crate::quantities::MediaKind;
use crate::steering::{BindingId, CareOf, HomeAddress};

/// So many are remembered …
const MAX_SEEN: usize = 64;
/// … and of one host so many.
const MAX_OF_HOST: usize = 4;
/// One that was not seen for so long is forgotten.
const REMEMBERED: Duration = Duration::from_secs(86_400);
/// Branches of different flows that began so close together are one device's: it may bind them one after the other.
const TOGETHER: Duration = Duration::from_secs(1);

/// A device of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedDevice {
    /// Its name.
    pub name: String,
    /// Where the first flow goes; each next one goes two ports higher.
    pub care_of: SocketAddr,
}

/// Where one kind of media went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    kind: MediaKind,
    care_of: SocketAddr,
    home: HomeAddress,
    binding: BindingId,
}

/// A device that flows can be sent to.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct Device {
    /// Of the configuration; one that was only seen has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[schemars(length(min = 1))]
    places: Vec<DevicePlace>,
    /// Since a flow was last sent there anew; null for one of the configuration.
    seen_seconds_ago: Option<u64>,
    /// Whether an operator may name these care-ofs without proof.
    accepted: bool,
}

/// Where one flow goes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields, inline)]
struct DevicePlace {
    /// What went there; else the first flow is to, each next one two ports higher.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    care_of: Endpoint,
    #[serde(skip_serializing_if = "Option::is_none")]
    home_address: Option<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binding_id: Option<u16>,
}

impl From<&Place> for DevicePlace {
    fn from(place: &Place) -> Self {
        Self {
            kind: Some(place.kind.into()),
            care_of: place.care_of.into(),
            home_address: Some(place.home.into()),
            binding_id: Some(place.binding.0),
        }
    }
}

#[derive(Clone, Debug)]
struct Seen {
    host: IpAddr,
    places: Vec<Place>,
    /// When the first of its branches began.
    since: Mono,
    at: Mono,
}

impl Seen {
    fn shares_a_place(&self, other: &Self) -> bool {
        self.places.iter().any(|place| other.places.iter().any(|known| known.care_of == place.care_of))
    }
}

/// What is known of devices.
#[derive(Debug, Default)]
pub struct Devices {
    /// The last that was seen comes last.
    seen: Mutex<VecDeque<Seen>>,
    /// Presentations whose branches have changed, which are to be looked at.
    changed: Mutex<BTreeSet<PresentationId>>,
}

impl Devices {
    /// Tells that there is a new branch. Of more presentations than devices are remembered it is not: they would push each other out.
    pub fn changed(&self, presentation: PresentationId) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        if changed.len() < MAX_SEEN {
            changed.insert(presentation);
        }
    }

    /// Which presentations [`Devices::note`] wants to see.
    pub fn take_changed(&self) -> BTreeSet<PresentationId> {
        std::mem::take(&mut self.changed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Remembers where a presentation's flows go by UDP.
    pub fn note(&self, snapshot: &PresentationSnapshot, now: Mono) {
        let mut found: Vec<Seen> = Vec::new();
        // What stays before what is being left: that may be of another device on the same host.
        let of_all = |leaving: bool| snapshot.flows.iter().flat_map(move |flow| places(flow, leaving));
        for (place, since) in of_all(false).chain(of_all(true)) {
            let together = |seen: &&mut Seen| {
                let apart = since.since(seen.since).max(seen.since.since(since));
                seen.host == place.care_of.ip() && apart < TOGETHER && seen.places.iter().all(|known| known.kind != place.kind)
            };
            match found.iter_mut().find(together) {
                Some(seen) => seen.places.push(place),
                None => found.push(Seen { host: place.care_of.ip(), places: vec![place], since, at: now }),
            }
        }
        let mut seen = self.seen();
        // The current one is the last that was seen.
        for device in found.into_iter().rev() {
            // The same one, or a part of it, or what has its ports now.
            seen.retain(|known| !known.shares_a_place(&device));
            if seen.iter().filter(|known| known.host == device.host).count() >= MAX_OF_HOST
                && let Some(oldest) = seen.iter().position(|known| known.host == device.host)
            {
                seen.remove(oldest);
            }
            if seen.len() >= MAX_SEEN {
                seen.pop_front();
            }
            seen.push_back(device);
        }
    }

    /// All of them: first those of the configuration, then those that were seen, the last one first. `accepts` tells where an
    /// operator may send a flow without more.
    pub fn shown(&self, named: &[NamedDevice], accepts: impl Fn(SocketAddr) -> bool, now: Mono) -> Vec<Device> {
        let mut seen = self.seen();
        seen.retain(|device| now.since(device.at) < REMEMBERED);
        let named = named.iter().map(|device| Device {
            name: Some(device.name.clone()),
            places: vec![DevicePlace { kind: None, care_of: device.care_of.into(), home_address: None, binding_id: None }],
            seen_seconds_ago: None,
            accepted: accepts(device.care_of),
        });
        let seen = seen.iter().rev().map(|device| Device {
            name: None,
            places: device.places.iter().map(DevicePlace::from).collect(),
            seen_seconds_ago: Some(now.since(device.at).as_secs()),
            accepted: device.places.iter().all(|place| accepts(place.care_of)),
        });
        named.chain(seen).collect()
    }

    fn seen(&self) -> MutexGuard<'_, VecDeque<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a flow goes by UDP, to stay or until a window ends, with when each branch began. A binding without an identifier cannot be named by the API.
fn places(flow: &FlowSnapshot, leaving: bool) -> impl Iterator<Item = (Place, Mono)> + '_ {
    flow.branches.iter().map(|state| &state.branch).filter_map(move |branch| {
        let CareOf::Udp { rtp, .. } = branch.care_of else { return None };
        let home = flow.facts.home;
        let is_device = branch.leaving == leaving && branch.binding != BindingId::PLAIN && !branch.is_at_home(home);
        let place = Place { kind: flow.kind, care_of: rtp, home, binding: branch.binding };
        is_device.then_some((place, branch.since))
    })
}
