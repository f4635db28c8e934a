//! The reference: what steering is to do, written naively with vectors and loops, without caches, deadlines or locks.
//!
//! It is told what the real one drew by chance (addresses, identifiers, serials) and computes all else by itself.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use flowsteer::steering::{BindingId, BranchSerial, CareOf, DropReason, FlowStatus, HomeAddress, Mode, Owner, SteeringError};

pub const SECOND: u64 = 1_000_000_000;
/// Fewer than the default, so that the table is full at times.
pub const MOST_BINDINGS: usize = 4;
const WINDOW: u64 = 2 * SECOND;
const LONGEST_WINDOW: u64 = 15 * SECOND;
const LIVENESS: u64 = 75 * SECOND;
const REST: u64 = 30 * SECOND;

#[derive(Clone, Debug)]
pub struct Leaving {
    pub until: u64,
    pub latest: u64,
    pub successor: Option<BranchSerial>,
    pub roamed: bool,
}

#[derive(Clone, Debug)]
pub struct Binding {
    pub id: BindingId,
    pub serial: BranchSerial,
    pub place: CareOf,
    pub holder: u64,
    pub ends: Option<u64>,
    pub heard: u64,
    pub started: bool,
    pub leaving: Option<Leaving>,
    /// The key that made it, if a Binding Update did.
    pub maker: Option<u32>,
}

#[derive(Clone, Debug)]
pub struct Home {
    pub address: HomeAddress,
    pub owner: Owner,
    /// The presentation that plays to it without owning it.
    pub guest: Option<u64>,
    /// Whether its packets go to itself while nobody is bound.
    pub at_home: bool,
    pub label: Option<u32>,
    pub ports: Option<(u16, u16)>,
    /// When the reservation ends, and the second in which its key does.
    pub until: Option<u64>,
    pub validity: u64,
    pub bindings: Vec<Binding>,
    /// The final set of the flow, once there is one; it may name bindings that are no more.
    pub flow: Option<Vec<BindingId>>,
    /// The last number under each key.
    pub numbers: Vec<(u32, u16)>,
    pub dropped: [u64; 5],
    /// Every address that somebody has proven to be at, for this home address.
    pub proven: Vec<IpAddr>,
}

/// What a test asks for in an update, after everything that is drawn.
#[derive(Clone, Debug)]
pub struct Asked {
    pub home: HomeAddress,
    pub right: Right,
    pub binding: Option<BindingId>,
    pub place: CareOf,
    pub proof: Shown,
    pub lifetime: Option<u64>,
    pub mode: Mode,
    pub window: Option<u64>,
    pub holder: u64,
}

impl Home {
    /// It has the flow for good. The binding without an identifier has it always, unless it is leaving.
    pub fn stays(&self, binding: &Binding) -> bool {
        let named = self.flow.as_ref().is_some_and(|members| members.contains(&binding.id));
        binding.leaving.is_none() && (named || binding.id == BindingId(0))
    }

    /// It has left, or never had the flow, and is registered still.
    pub fn idle(&self, binding: &Binding) -> bool {
        binding.leaving.is_none() && !self.stays(binding)
    }

    fn take_out(&mut self, serial: BranchSerial) -> Binding {
        let position = self.bindings.iter().position(|binding| binding.serial == serial).expect("it is there");
        let gone = self.bindings.remove(position);
        if gone.maker.is_none() {
            self.flow.iter_mut().for_each(|members| members.retain(|member| *member != gone.id));
        }
        gone
    }
}

/// A Binding Update, after everything that is drawn.
#[derive(Clone, Debug)]
pub struct Registers {
    pub home: HomeAddress,
    pub key: KeyOf,
    pub number: u16,
    pub seconds: u64,
    /// `None`: the whole home address.
    pub binding: Option<BindingId>,
    pub place: IpAddr,
    pub with_care_of: bool,
    pub tested: bool,
    pub sender: IpAddr,
    pub window: Option<u64>,
    /// The selector's label, if there is a selector, and the final set, if there is one.
    pub flow: Option<(Option<u32>, Option<Vec<BindingId>>)>,
}

/// By which key.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum KeyOf {
    Home { spi: u32 },
    Session { spi: u32, label: u32, until: u64 },
}

impl KeyOf {
    pub fn spi(self) -> u32 {
        match self {
            Self::Home { spi } | Self::Session { spi, .. } => spi,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Right {
    Owner(Owner),
    Operator,
    HomeKey,
    /// Until that second.
    Grant(u64),
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Shown {
    Peer(IpAddr),
    Trusted,
    Missing,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum What {
    Moved,
    Roamed,
    Expired,
    Removed,
    Released,
}

pub struct Packet {
    pub home: HomeAddress,
    pub label: u32,
    pub port: u16,
    pub from_source: bool,
}

/// A branch whose name is not known here yet.
pub const NOT_DRAWN: BranchSerial = BranchSerial(u64::MAX - 7);

/// Why a Binding Update is refused.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Refused {
    UnknownHome,
    Key,
    Sequence(u16),
    NotPermitted,
    NotThisHome,
    Whole,
    NoCareOf,
    Malformed,
    Unacceptable,
    Unproven,
    Full,
}

/// Where packets go that an update without ports names.
pub fn udp_at(address: IpAddr) -> CareOf {
    CareOf::Udp { rtp: SocketAddr::new(address, 5004), rtcp: SocketAddr::new(address, 5005), source: None }
}

#[derive(Default)]
pub struct Reference {
    pub homes: Vec<Home>,
    pub resting: Vec<(HomeAddress, u64)>,
    pub kept: Vec<HomeAddress>,
    /// What has ended and was not compared yet.
    pub told: Vec<(HomeAddress, BindingId, What)>,
    /// Whose first packet is waited for by what has just begun to leave.
    pub successor: Option<(HomeAddress, BindingId)>,
    pub mono: u64,
    pub utc: u64,
}

impl Reference {
    pub fn home(&mut self, address: HomeAddress) -> Option<&mut Home> {
        self.homes.iter_mut().find(|home| home.address == address)
    }

    fn second(&self) -> u64 {
        self.utc / SECOND
    }

    fn end_of(home: &Home, binding: &Binding) -> Option<u64> {
        let mut ends = Vec::new();
        if let Some(leaving) = &binding.leaving {
            let mut waits = false;
            for other in &home.bindings {
                if Some(other.serial) == leaving.successor && !other.started && !home.idle(other) {
                    waits = true;
                }
            }
            waits &= home.guest.is_some() || home.owner != Owner::KeyHolder;
            ends.push(if waits { leaving.latest } else { leaving.until });
        }
        if let Some(lifetime) = binding.ends {
            ends.push(lifetime);
            ends.push(binding.heard + LIVENESS);
        }
        ends.into_iter().min()
    }

    /// Ends bindings whose time is over, always the one that ended first, until none is left.
    pub fn end_bindings(&mut self) {
        for home in &mut self.homes {
            loop {
                let mut first: Option<(u64, Binding)> = None;
                for binding in &home.bindings {
                    let end = Self::end_of(home, binding).filter(|end| *end <= self.mono);
                    if let Some(end) = end.filter(|end| first.as_ref().is_none_or(|(earliest, _)| end < earliest)) {
                        first = Some((end, binding.clone()));
                    }
                }
                let Some((_, gone)) = first else { break };
                let lifetime = gone.ends.map(|ends| ends.min(gone.heard + LIVENESS));
                let window = Self::end_of(home, &Binding { ends: None, ..gone.clone() });
                // Of two ends the earlier counts, the window's where they fall together.
                let left = window.is_some_and(|window| lifetime.is_none_or(|lifetime| window <= lifetime));
                let what = match &gone.leaving {
                    Some(leaving) if left && leaving.roamed => What::Roamed,
                    Some(_) if left => What::Moved,
                    _ => What::Expired,
                };
                self.told.push((home.address, gone.id, what));
                if what != What::Expired && gone.ends.is_some() && gone.id != BindingId(0) {
                    for other in &mut home.bindings {
                        if other.serial == gone.serial {
                            other.started = false;
                            other.leaving = None;
                        }
                    }
                } else {
                    home.take_out(gone.serial);
                }
            }
        }
    }

    /// Frees home addresses whose reservation is over: with the timer, or when a command concerns them.
    pub fn free_over(&mut self, only: Option<HomeAddress>) {
        for home in self.homes.clone() {
            let over = home.until.is_some_and(|until| until <= self.mono) && home.bindings.is_empty();
            if over && only.is_none_or(|only| only == home.address) {
                self.free(home.address);
            }
        }
    }

    fn free(&mut self, address: HomeAddress) {
        self.homes.retain(|home| home.address != address);
        self.resting.retain(|(resting, _)| *resting != address);
        self.resting.push((address, self.mono + REST));
        self.told.push((address, BindingId(0), What::Released));
    }

    pub fn may_give(&self, address: HomeAddress) -> bool {
        let rests = self.resting.iter().any(|(resting, until)| *resting == address && *until > self.mono);
        !self.homes.iter().any(|home| home.address == address) && (self.kept.contains(&address) || !rests)
    }

    pub fn reserved(&mut self, address: HomeAddress, owner: Owner, lifetime: Option<u64>) {
        let lifetime = match (lifetime, owner) {
            (Some(seconds), _) => Some(seconds.clamp(4, 7200)),
            (None, Owner::KeyHolder) => Some(7200),
            (None, Owner::Presentation(_)) => None,
        };
        self.homes.push(Home {
            address,
            owner,
            guest: None,
            at_home: false,
            label: None,
            ports: None,
            until: lifetime.map(|seconds| self.mono + seconds * SECOND),
            validity: lifetime.map_or(u64::MAX, |seconds| (self.utc + seconds * SECOND) / SECOND),
            bindings: Vec::new(),
            flow: None,
            numbers: Vec::new(),
            dropped: [0; 5],
            proven: Vec::new(),
        });
    }

    pub fn release(&mut self, address: HomeAddress) -> Result<(), SteeringError> {
        self.free_over(Some(address));
        if self.home(address).is_none() {
            return Err(SteeringError::UnknownHome);
        }
        self.free(address);
        Ok(())
    }

    /// The label that the flow has; `drawn` is the one that the real one drew, if it did.
    pub fn play_to(
        &mut self,
        address: HomeAddress,
        presentation: u64,
        ports: Option<(u16, u16)>,
        drawn: u32,
    ) -> Result<u32, SteeringError> {
        self.free_over(Some(address));
        let home = self.home(address).ok_or(SteeringError::UnknownHome)?;
        if home.owner != Owner::KeyHolder || home.guest.is_some() {
            return Err(SteeringError::Occupied);
        }
        home.guest = Some(presentation);
        if home.label.is_none() && home.ports.is_none() {
            home.label = Some(drawn);
            home.ports = ports;
        }
        Ok(home.label.unwrap_or(drawn))
    }

    pub fn serve_at_home(&mut self, address: HomeAddress, presentation: u64) -> bool {
        let Some(home) = self.home(address) else { return false };
        let begins = home.guest == Some(presentation) && !home.at_home;
        home.at_home |= begins;
        begins
    }

    /// The presentation is no more a guest of that home address, or of any.
    pub fn leave(&mut self, only: Option<HomeAddress>, presentation: u64) {
        // A reservation that is over ends before the presentation leaves.
        for home in self.homes.clone() {
            if only.map_or(home.guest == Some(presentation), |only| only == home.address) {
                self.free_over(Some(home.address));
            }
        }
        for home in &mut self.homes {
            if only.is_none_or(|only| only == home.address) && home.guest == Some(presentation) {
                home.guest = None;
                home.at_home = false;
            }
        }
        // Without a presentation no first packet is waited for.
        self.end_bindings();
    }

    /// The presentations that play, by the home address they play to.
    pub fn played(&self, presentation: u64) -> Vec<HomeAddress> {
        let plays = |home: &&Home| home.owner == Owner::Presentation(presentation) || home.guest == Some(presentation);
        self.homes.iter().filter(plays).map(|home| home.address).collect()
    }

    pub fn authorise(&mut self, address: HomeAddress, label: u32, ports: Option<(u16, u16)>) -> Result<(), SteeringError> {
        let home = self.home(address).ok_or(SteeringError::UnknownHome)?;
        match home.label {
            Some(authorised) if authorised != label => Err(SteeringError::OtherLabel),
            _ => {
                home.label = Some(label);
                home.ports = ports;
                Ok(())
            }
        }
    }

    /// Whether an update is accepted; nothing changes but what is over anyway.
    pub fn check(&mut self, updates: &[Asked]) -> Result<(), SteeringError> {
        for (index, one) in updates.iter().enumerate() {
            if updates[..index].iter().any(|other| other.home == one.home) {
                return Err(SteeringError::NotPermitted);
            }
        }
        let mut ordered: Vec<&Asked> = updates.iter().collect();
        ordered.sort_by_key(|asked| asked.home);
        if ordered.iter().any(|asked| self.home(asked.home).is_none()) {
            return Err(SteeringError::UnknownHome);
        }
        for asked in &ordered {
            self.free_over(Some(asked.home));
        }
        let second = self.second();
        for asked in ordered {
            let home = self.home(asked.home).ok_or(SteeringError::UnknownHome)?;
            let existing = home.bindings.iter().find(|binding| Some(binding.id) == asked.binding);
            let permitted = match asked.right {
                Right::Owner(owner) => owner == home.owner && owner != Owner::KeyHolder,
                Right::Operator => true,
                Right::HomeKey => second < home.validity,
                Right::Grant(until) => {
                    second < home.validity && second < until && existing.is_none_or(|binding| binding.holder == asked.holder)
                }
            };
            if !permitted {
                return Err(SteeringError::NotPermitted);
            }
            if asked.mode == Mode::Refresh && existing.is_none() {
                return Err(SteeringError::UnknownBinding);
            }
            let address = asked.place.ip();
            let proven = match asked.proof {
                Shown::Peer(peer) => peer == address,
                Shown::Trusted => asked.right == Right::Operator && address.is_loopback(),
                Shown::Missing => home.bindings.iter().any(|binding| binding.place.ip() == address),
            };
            if !proven {
                return Err(SteeringError::CareOfUnproven);
            }
            if existing.is_none() && home.bindings.len() == MOST_BINDINGS && home.bindings.iter().all(|binding| !home.idle(binding)) {
                return Err(SteeringError::TooManyBindings);
            }
        }
        Ok(())
    }

    /// Carries out what was checked, with the identifier and serial that the real one drew.
    pub fn apply(&mut self, asked: &Asked, id: BindingId, serial: BranchSerial) {
        let (mono, second) = (self.mono, self.second());
        let home = self.home(asked.home).expect("checked");
        if asked.proof != Shown::Missing {
            home.proven.push(asked.place.ip());
        }
        let key_end = match asked.right {
            Right::Grant(until) => until.min(home.validity),
            _ => home.validity,
        };
        let ends = asked.lifetime.map(|seconds| {
            let granted = seconds.min(600).min(key_end.saturating_sub(second)).max(4);
            mono + granted * SECOND
        });
        let known = home.bindings.iter().find(|binding| Some(binding.id) == asked.binding);
        let (idle, stays) = known.map_or((false, false), |known| (home.idle(known), home.stays(known)));
        match home.bindings.iter_mut().find(|binding| Some(binding.id) == asked.binding) {
            Some(existing) => {
                let rises = idle && asked.mode != Mode::Refresh;
                assert_eq!(existing.id, id);
                assert_eq!(existing.serial != serial, rises, "a binding that has the flow keeps its branch");
                existing.place = asked.place;
                existing.ends = ends;
                existing.heard = mono;
                if asked.mode == Mode::Refresh || (asked.mode == Mode::Fork && stays) {
                    return;
                }
                if rises {
                    existing.serial = serial;
                    existing.holder = asked.holder;
                }
                existing.leaving = None;
            }
            None => {
                if home.bindings.len() == MOST_BINDINGS {
                    let oldest = home.bindings.iter().find(|binding| home.idle(binding)).expect("checked").serial;
                    home.take_out(oldest);
                }
                assert!(home.bindings.iter().all(|binding| binding.id != id && binding.serial != serial), "drawn anew");
                home.bindings.push(Binding {
                    id,
                    serial,
                    place: asked.place,
                    holder: asked.holder,
                    ends,
                    heard: mono,
                    started: false,
                    leaving: None,
                    maker: None,
                });
            }
        }
        let idle: Vec<BranchSerial> = home.bindings.iter().filter(|binding| home.idle(binding)).map(|binding| binding.serial).collect();
        let mut members = home.flow.take().filter(|_| asked.mode == Mode::Fork).unwrap_or_default();
        for other in &mut home.bindings {
            if other.serial == serial || idle.contains(&other.serial) {
                continue;
            }
            let roamed = other.holder == asked.holder && asked.right != Right::Operator;
            let forever = asked.window == Some(u64::from(u32::MAX) * 1_000_000);
            let goes = match asked.mode {
                Mode::Move => !forever,
                Mode::Fork => roamed && asked.binding.is_none() && other.id != BindingId(0),
                Mode::Refresh => unreachable!("returned above"),
            };
            if goes {
                let window = asked.window.unwrap_or(WINDOW);
                let latest = mono + window.max(LONGEST_WINDOW);
                other.leaving = Some(Leaving { until: mono + window, latest, successor: Some(serial), roamed });
                members.retain(|member| *member != other.id);
            } else if asked.mode == Mode::Move {
                other.leaving = None;
                members.push(other.id);
            }
        }
        members.push(id);
        home.flow = Some(members);
    }

    /// What becomes of a Binding Update. What was drawn is told afterwards by [`Reference::drawn`].
    pub fn register(&mut self, asked: &Registers) -> Result<Option<FlowStatus>, Refused> {
        let (mono, second) = (self.mono, self.second());
        self.free_over(Some(asked.home));
        let home = self.home(asked.home).ok_or(Refused::UnknownHome)?;
        let spi = asked.key.spi();
        let refused = match asked.key {
            KeyOf::Home { .. } => home.validity <= second,
            KeyOf::Session { label, until, .. } => {
                until.min(home.validity) <= second || home.label.is_some_and(|authorised| authorised != label)
            }
        };
        let is_session = matches!(asked.key, KeyOf::Session { .. });
        let last = home.numbers.iter().find(|(known, _)| *known == spi).map(|(_, last)| *last);
        if is_session && last.is_none() && refused {
            return Err(Refused::Key);
        }
        if !is_new(last, asked.number) {
            return Err(Refused::Sequence(last.expect("any first one is new")));
        }
        home.numbers.retain(|(known, _)| *known != spi);
        home.numbers.push((spi, asked.number));
        if refused {
            return Err(Refused::Key);
        }
        let known = home.bindings.iter().find(|binding| Some(binding.id) == asked.binding).cloned();
        let removes = asked.seconds == 0;
        match asked.binding {
            None if is_session => return Err(Refused::NotPermitted),
            None => {}
            Some(_) if removes && known.is_none() => return Err(Refused::NotThisHome),
            Some(_) if home.bindings.iter().any(|binding| binding.id == BindingId(0)) => return Err(Refused::Whole),
            Some(_) if !asked.with_care_of && known.is_none() => return Err(Refused::NoCareOf),
            Some(_) if is_session && known.as_ref().is_some_and(|known| known.maker != Some(spi)) => return Err(Refused::NotPermitted),
            Some(_) => {}
        }
        if removes {
            match known {
                Some(known) => {
                    let gone = home.take_out(known.serial);
                    self.told.push((asked.home, gone.id, What::Removed));
                    self.end_bindings();
                    self.free_over(Some(asked.home));
                }
                None => self.free(asked.home),
            }
            return Ok(None);
        }
        if asked.place.is_loopback() && !asked.sender.is_loopback() {
            let in_binding = asked.binding.is_some() && asked.with_care_of;
            return Err(if in_binding { Refused::Malformed } else { Refused::Unacceptable });
        }
        if !asked.tested && !home.bindings.iter().any(|binding| binding.place.ip() == asked.place) {
            return Err(Refused::Unproven);
        }
        if asked.binding.is_some() && known.is_none() && home.bindings.len() >= MOST_BINDINGS {
            return Err(Refused::Full);
        }
        home.proven.push(asked.place);
        let key_end = match asked.key {
            KeyOf::Home { .. } => home.validity,
            KeyOf::Session { until, .. } => until.min(home.validity),
        };
        let granted = (asked.seconds.min(600).min(key_end - second) / 4).max(1) * 4;
        let ends = Some(mono + granted * SECOND);
        let place = udp_at(asked.place);
        let speaks_for_itself = asked.sender == asked.place;
        let id = asked.binding.unwrap_or(BindingId(0));
        let holder = if speaks_for_itself { u64::from(spi) | 1 << 61 } else { u64::from(spi) | u64::from(id.0) << 32 | 1 << 60 };
        if asked.binding.is_none() {
            let plain = home.bindings.iter().find(|binding| binding.id == id).cloned();
            for other in std::mem::take(&mut home.bindings) {
                if other.maker.is_none() {
                    home.flow.iter_mut().for_each(|members| members.retain(|member| *member != other.id));
                }
            }
            home.bindings.extend(plain.map(|plain| Binding { leaving: None, ..plain }));
        }
        match home.bindings.iter_mut().find(|binding| binding.id == id) {
            Some(existing) => {
                existing.place = place;
                existing.ends = ends;
                existing.heard = mono;
                existing.maker = existing.maker.or(Some(spi)).filter(|_| asked.binding.is_some()).or(existing.maker);
            }
            None => home.bindings.push(Binding {
                id,
                serial: NOT_DRAWN,
                place,
                holder,
                ends,
                heard: mono,
                started: false,
                leaving: None,
                maker: Some(spi),
            }),
        }
        let own_label = match asked.key {
            KeyOf::Home { .. } => None,
            KeyOf::Session { label, .. } => Some(label),
        };
        let members = match &asked.flow {
            None if known.is_some() || asked.binding.is_none() => None,
            None => {
                home.label = home.label.or(own_label);
                Some(vec![id])
            }
            Some((selector, named)) => {
                if home.flow.is_none() && selector.is_none() {
                    return Ok(Some(FlowStatus::UnknownFlow));
                }
                let exists = |id: &BindingId| home.bindings.iter().any(|binding| binding.id == *id);
                if named.iter().flatten().any(|id| !exists(id)) {
                    return Ok(Some(FlowStatus::UnknownBinding));
                }
                let label = selector.or(own_label.filter(|_| selector.is_some()));
                let foreign = own_label.is_some_and(|own| label.is_some_and(|label| label != own));
                let second_label = home.label.is_some_and(|authorised| label.is_some_and(|label| label != authorised));
                if foreign || second_label {
                    return Ok(Some(FlowStatus::Prohibited));
                }
                home.label = home.label.or(label);
                match (named, &home.flow) {
                    (Some(named), _) => {
                        let mut once = named.clone();
                        once.dedup();
                        Some(once)
                    }
                    (None, Some(kept)) if !kept.is_empty() || home.bindings.iter().any(|binding| binding.leaving.is_some()) => {
                        Some(kept.clone())
                    }
                    (None, _) => Some(vec![id]),
                }
            }
        };
        let status = asked.flow.as_ref().map(|_| FlowStatus::Done);
        if let Some(members) = members {
            self.pass_on(asked, members, id);
        }
        Ok(status)
    }

    fn pass_on(&mut self, asked: &Registers, members: Vec<BindingId>, id: BindingId) {
        let mono = self.mono;
        let home = self.home(asked.home).expect("it is there");
        let before: Vec<(BindingId, bool)> = home.bindings.iter().map(|binding| (binding.id, home.idle(binding))).collect();
        for binding in &mut home.bindings {
            let was_idle = before.iter().any(|(id, idle)| *id == binding.id && *idle);
            if members.contains(&binding.id) {
                if was_idle {
                    binding.serial = NOT_DRAWN;
                    binding.started = false;
                }
                binding.leaving = None;
            }
        }
        let exists = |id: &BindingId| home.bindings.iter().any(|binding| binding.id == *id);
        let first = if members.contains(&id) { Some(id) } else { members.first().copied().filter(exists) };
        let device = home.bindings.iter().find(|binding| Some(binding.id) == first).map(|binding| binding.holder);
        let window = asked.window.unwrap_or(WINDOW);
        let forever = asked.window == Some(u64::from(u32::MAX) * 1_000_000);
        let mut kept = members.clone();
        for binding in &mut home.bindings {
            let was_idle = before.iter().any(|(id, idle)| *id == binding.id && *idle);
            // Nobody but the binding of the whole home address is there.
            let alone = before.len() == 1 && binding.id == BindingId(0);
            if was_idle || alone || members.contains(&binding.id) {
                continue;
            }
            if forever {
                binding.leaving = None;
                kept.push(binding.id);
            } else {
                let roamed = Some(binding.holder) == device;
                let latest = mono + window.max(LONGEST_WINDOW);
                binding.leaving = Some(Leaving { until: mono + window, latest, successor: None, roamed });
            }
        }
        home.flow = Some(kept);
        self.successor = first.map(|first| (asked.home, first));
    }

    /// Takes over what the real one drew for branches that are new.
    pub fn drawn(&mut self, address: HomeAddress, serials: &[(BindingId, BranchSerial)]) {
        let first = self.successor.take().filter(|(home, _)| *home == address).map(|(_, first)| first);
        let Some(home) = self.home(address) else { return };
        for binding in &mut home.bindings {
            let Some((_, serial)) = serials.iter().find(|(id, _)| *id == binding.id).copied() else {
                // Its window had no length: it is gone already, and is found to be gone below.
                assert!(binding.leaving.is_some() && binding.serial != NOT_DRAWN, "both have it");
                continue;
            };
            assert!(binding.serial == NOT_DRAWN || binding.serial == serial, "a branch keeps its name");
            binding.serial = serial;
        }
        let first = home.bindings.iter().find(|binding| Some(binding.id) == first).map(|binding| binding.serial);
        for leaving in home.bindings.iter_mut().filter_map(|binding| binding.leaving.as_mut()) {
            if first.is_some() && leaving.successor.is_none() {
                leaving.successor = first;
            }
        }
        self.end_bindings();
    }

    pub fn remove(&mut self, address: HomeAddress, serial: BranchSerial) -> Result<(), SteeringError> {
        if self.home(address).is_none() {
            return Err(SteeringError::UnknownHome);
        }
        self.free_over(Some(address));
        let home = self.home(address).ok_or(SteeringError::UnknownHome)?;
        let position = home
            .bindings
            .iter()
            .position(|binding| binding.serial == serial && !home.idle(binding))
            .ok_or(SteeringError::UnknownBinding)?;
        let removed = home.take_out(home.bindings[position].serial);
        self.told.push((address, removed.id, What::Removed));
        self.end_bindings();
        self.free_over(Some(address));
        Ok(())
    }

    pub fn started(&mut self, address: HomeAddress, serial: BranchSerial) {
        self.free_over(Some(address));
        if let Some(home) = self.home(address) {
            let position = home.bindings.iter().position(|binding| binding.serial == serial && !home.idle(binding));
            if let Some(position) = position {
                home.bindings[position].started = true;
            }
        }
        self.end_bindings();
    }

    pub fn heard(&mut self, address: HomeAddress, serial: BranchSerial) {
        let mono = self.mono;
        if let Some(home) = self.home(address) {
            for binding in &mut home.bindings {
                if binding.serial == serial {
                    binding.heard = mono;
                }
            }
        }
    }

    /// Where a home address's packets go: each place once, by one that stays if there is one.
    pub fn visible(home: &Home) -> Vec<Binding> {
        let mut visible: Vec<Binding> = Vec::new();
        for staying in [true, false] {
            for binding in &home.bindings {
                if !home.idle(binding) && binding.leaving.is_none() == staying && !visible.iter().any(|other| other.place == binding.place)
                {
                    visible.push(binding.clone());
                }
            }
        }
        visible.sort_by_key(|binding| binding.serial);
        visible
    }

    /// The verdict on a packet; a drop is counted, a label learned. One that goes to the home address itself has no branch here.
    pub fn send(&mut self, packet: &Packet) -> Result<Vec<BranchSerial>, DropReason> {
        let Some(home) = self.home(packet.home) else { return Err(DropReason::NoHome) };
        let refused = if Self::visible(home).is_empty() && !home.at_home {
            Some(DropReason::NoBinding)
        } else if packet.label == 0 {
            Some(DropReason::LabelZero)
        } else if home.label.is_some_and(|label| label != packet.label) {
            Some(DropReason::Label)
        } else if home.label.is_none() {
            let expected = packet.from_source && home.ports.is_none_or(|(low, high)| low <= packet.port && packet.port <= high);
            if expected { None } else { Some(DropReason::NotExpected) }
        } else {
            None
        };
        match refused {
            Some(reason) => {
                home.dropped[reason as usize] += 1;
                Err(reason)
            }
            None => {
                home.label = Some(packet.label);
                Ok(Self::visible(home).iter().map(|binding| binding.serial).collect())
            }
        }
    }

    /// When something ends next.
    pub fn next_end(&self) -> Option<u64> {
        let mut ends = Vec::new();
        for home in &self.homes {
            ends.extend(home.bindings.iter().filter_map(|binding| Self::end_of(home, binding)));
            if home.bindings.is_empty() {
                ends.extend(home.until);
            }
        }
        ends.into_iter().min()
    }
}

/// The rule for sequence numbers, by counting: a number is new iff it comes within the next 32,767.
pub fn is_new(last: Option<u16>, number: u16) -> bool {
    let Some(mut at) = last else { return true };
    for _ in 1..32_768 {
        at = if at == u16::MAX { 0 } else { at + 1 };
        if at == number {
            return true;
        }
    }
    false
}

pub fn media_source() -> Ipv6Addr {
    "2001:db8:5::1".parse().expect("an address")
}
