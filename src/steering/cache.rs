//! The binding cache: home addresses, their labels and keys, and where their packets go.
//!
//! One lock protects one home address; an update of several locks them in the order of their addresses, checks all,
//! then changes all (see `update`). The data plane reads routes without a lock (see `gate`). Deadlines are data: call
//! [`BindingCache::handle_timeout`] at [`BindingCache::poll_timeout`], which any command may move; a timer that is late
//! delays events, but lets no packet through to a care-of whose time is over.
//!
//! Locks are taken in this order: the register, a home address (several by address), the deadlines, randomness, events,
//! consents.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::Ipv6Addr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use dashmap::DashMap;

use crate::now::{Mono, Now};
use crate::quantities::FlowLabel;
use crate::steering::care_of::{BindingId, HomeAddress};
use crate::steering::consent::Consents;
use crate::steering::consenting::ConsentRules;
use crate::steering::counters::{Counters, count};
use crate::steering::event::{Event, EventKind};
use crate::steering::gate::Gate;
use crate::steering::home::{Binding, Home, HomeState, Origin};
use crate::steering::keys::{Key, Spi, home_key};
use crate::steering::passage::HandOver;
use crate::steering::pool::Pool;
use crate::steering::proof::{KeygenToken, ReturnRoutability};
use crate::steering::route::{BranchSerial, EndReason};
use crate::steering::session_keys::SessionKeys;

pub use crate::steering::command::{
    Authority, Expectation, Holder, Mode, Owner, Proof, Receipt, Reservation, Reserve, Rules, SteeringError, SteeringSettings, Update,
};

/// Events that wait to be taken at most; older ones are lost first.
const MAX_EVENTS: usize = 4096;

/// How often an unused label or index is looked for by chance.
const DRAWS: usize = 64;

/// The label where randomness fails.
const LAST_LABEL: FlowLabel = FlowLabel::new(FlowLabel::MAX).expect("20 bits, not zero");

/// The shortest life of a home address that is reserved for a time.
const LEAST_RESERVATION: Duration = Duration::from_secs(4);

type Random = Box<dyn FnMut(&mut [u8]) + Send>;
type Changed = Box<dyn Fn(HomeAddress, Option<u64>) + Send + Sync>;

/// What is given out only once.
struct Register {
    pool: Pool,
    /// Those of K1, and whose they are.
    spis: HashMap<Spi, HomeAddress>,
    /// Those of keys that were provisioned: not to be drawn.
    provisioned: HashSet<Spi>,
}

/// The address map and the keys, shared by all carriages and shards.
pub struct BindingCache {
    settings: SteeringSettings,
    homes: DashMap<HomeAddress, Arc<Home>>,
    /// Also, under a presentation, those that it plays to.
    pub(crate) owners: DashMap<Owner, Vec<HomeAddress>>,
    names: Mutex<HashMap<String, HomeAddress>>,
    register: Mutex<Register>,
    random: Mutex<Random>,
    routability: Mutex<ReturnRoutability>,
    rules: ArcSwap<Rules>,
    /// The transfers of which a flow has moved lately: the others of the same hand-over join where it did.
    pub(crate) hand_overs: Mutex<VecDeque<HandOver>>,
    pub(crate) next_serial: AtomicU64,
    pub(crate) next_update: AtomicU64,
    /// One for each home address at which something ends by itself.
    deadlines: Mutex<BTreeSet<(Mono, HomeAddress)>>,
    events: Mutex<VecDeque<Event>>,
    pub(crate) consents: Mutex<Consents>,
    pub(crate) consent_rules: ArcSwap<ConsentRules>,
    /// What keys of questions are made from, drawn with the first of them.
    pub(crate) question_secret: OnceLock<Key>,
    counters: Arc<Counters>,
    pub(crate) changed: Changed,
}

impl BindingCache {
    /// An empty cache. `random` fills octets unpredictably; `changed` is told after each change of a route or of the next
    /// deadline, with the presentation that plays there, and with no lock held.
    pub fn new(settings: SteeringSettings, random: Random, changed: Changed) -> Self {
        let mut pool = Pool::new(settings.home_prefix);
        if let Some(addresses) = &settings.home_addresses {
            pool.only(addresses.clone());
        }
        let register = Register { pool, spis: HashMap::new(), provisioned: HashSet::new() };
        let mut random = random;
        let routability = ReturnRoutability::new(&mut random);
        Self {
            routability: Mutex::new(routability),
            rules: ArcSwap::from_pointee(settings.rules.clone()),
            hand_overs: Mutex::default(),
            settings,
            homes: DashMap::new(),
            owners: DashMap::new(),
            names: Mutex::default(),
            register: Mutex::new(register),
            random: Mutex::new(random),
            next_serial: AtomicU64::new(1),
            next_update: AtomicU64::new(1),
            deadlines: Mutex::default(),
            events: Mutex::default(),
            consents: Mutex::default(),
            consent_rules: ArcSwap::default(),
            question_secret: OnceLock::new(),
            counters: Arc::default(),
            changed,
        }
    }

    /// What it goes by.
    pub const fn settings(&self) -> &SteeringSettings {
        &self.settings
    }

    /// What it goes by now.
    pub fn rules(&self) -> arc_swap::Guard<Arc<Rules>> {
        self.rules.load()
    }

    /// Goes by other rules from now on; what is bound stays bound.
    pub fn set_rules(&self, rules: Rules) {
        self.rules.store(Arc::new(rules));
    }

    /// What has been done so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether an address lies in the home prefix.
    pub fn is_home(&self, address: Ipv6Addr) -> bool {
        self.settings.home_prefix.contains(&address)
    }

    /// The shard's view of a home address.
    pub fn gate(&self, home: HomeAddress) -> Option<Gate> {
        self.find(home).map(Gate::new)
    }

    /// The home addresses of an owner, and those that a presentation plays to, in the order in which they came to it.
    pub fn homes_of(&self, owner: Owner) -> Vec<HomeAddress> {
        self.owners.get(&owner).map(|homes| homes.clone()).unwrap_or_default()
    }

    /// The owner of a home address.
    pub fn owner(&self, home: HomeAddress) -> Option<Owner> {
        self.find(home).map(|home| home.state().owner)
    }

    /// The home address kept under a name.
    pub fn named(&self, name: &str) -> Option<HomeAddress> {
        lock(&self.names).get(name).copied()
    }

    /// The name under which a home address is kept.
    pub fn name_of(&self, home: HomeAddress) -> Option<String> {
        lock(&self.names).iter().find(|(_, kept)| **kept == home).map(|(name, _)| name.clone())
    }

    /// When a branch was last heard of; `None` where it is no more.
    pub fn last_heard(&self, home: HomeAddress, branch: BranchSerial) -> Option<Mono> {
        let home = self.find(home)?;
        let state = home.state();
        state.bindings.iter().find(|binding| binding.serial == branch).map(|binding| binding.heard)
    }

    pub(crate) fn find(&self, home: HomeAddress) -> Option<Arc<Home>> {
        self.homes.get(&home).map(|home| Arc::clone(&home))
    }

    pub(crate) fn all(&self) -> Vec<Arc<Home>> {
        let mut all: Vec<_> = self.homes.iter().map(|home| Arc::clone(&home)).collect();
        all.sort_by_key(|home| home.address());
        all
    }

    pub(crate) fn random<const N: usize>(&self) -> [u8; N] {
        let mut octets = [0; N];
        (lock(&self.random))(&mut octets);
        octets
    }

    /// Keeps a home address under a name: it is given out for that name only.
    pub fn keep(&self, name: &str, home: HomeAddress) {
        lock(&self.register).pool.set_aside(home);
        lock(&self.names).insert(name.to_owned(), home);
    }

    /// Forgets a name. Its home address stays set aside for it, and what plays there plays on.
    pub fn forget_name(&self, name: &str) {
        lock(&self.names).remove(name);
    }

    /// Keeps a home address under each of these names: the one that it had (`kept`) where that is still of this pool and
    /// nobody else's, else a fresh one. Gives what is to be written down.
    ///
    /// # Errors
    /// `PoolEmpty`.
    pub fn keep_all<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
        kept: &BTreeMap<String, Ipv6Addr>,
        now: Now,
    ) -> Result<BTreeMap<String, Ipv6Addr>, SteeringError> {
        let mut given: BTreeMap<String, Ipv6Addr> = BTreeMap::new();
        let mut without = BTreeSet::new();
        for name in names {
            let had = kept.get(name).copied().map(HomeAddress).filter(|home| lock(&self.register).pool.holds(*home));
            match had.filter(|home| !given.iter().any(|(other, taken)| *taken == home.0 && other != name)) {
                Some(home) => {
                    self.keep(name, home);
                    given.insert(name.to_owned(), home.0);
                }
                None => {
                    without.insert(name);
                }
            }
        }
        for name in without {
            let home = self.draw(now).ok_or(SteeringError::PoolEmpty)?;
            self.keep(name, home);
            given.insert(name.to_owned(), home.0);
        }
        Ok(given)
    }

    /// Draws an address without reserving it, to keep it under a name.
    pub fn draw(&self, now: Now) -> Option<HomeAddress> {
        self.draw_from(&mut lock(&self.register), now)
    }

    fn draw_from(&self, register: &mut Register, now: Now) -> Option<HomeAddress> {
        register.pool.draw(|| u128::from_be_bytes(self.random()), |home| self.homes.contains_key(&home), now.mono)
    }

    /// Reserves a home address, with a fresh K1.
    ///
    /// # Errors
    /// `PoolEmpty`. Where a certain address is asked for: `HeldByAnother`, also while it rests; `NotPermitted` outside of
    /// the pool.
    pub fn reserve(&self, request: &Reserve, now: Now) -> Result<Reservation, SteeringError> {
        self.reserve_as(request, None, now)
    }

    /// Reserves a home address for who proved an identity by its provisioned key, if for somebody: K1 is derived from that.
    pub(crate) fn reserve_as(&self, request: &Reserve, identity: Option<(&str, &Key)>, now: Now) -> Result<Reservation, SteeringError> {
        let endless = matches!(request.owner, Owner::Presentation(_));
        let asked = request.lifetime.or((!endless).then_some(self.settings.max_reservation));
        let lifetime = asked.map(|lifetime| lifetime.min(self.settings.max_reservation).max(LEAST_RESERVATION));
        let validity_end = lifetime.map_or(u64::MAX, |lifetime| (now.utc + lifetime).unix_seconds());
        let expires = lifetime.map(|lifetime| now.mono + lifetime);
        let random = Key::new(self.random());
        if let Some(held) = request.address.and_then(|address| self.find(address)) {
            self.expire_if_due(&held, now);
        }
        let (address, spi, key) = {
            let mut register = lock(&self.register);
            let address = match request.address {
                Some(address) if !register.pool.holds(address) => return Err(SteeringError::NotPermitted),
                Some(address) if self.homes.contains_key(&address) || !register.pool.may_give(address, now.mono) => {
                    return Err(SteeringError::HeldByAnother);
                }
                Some(address) => address,
                None => self.draw_from(&mut register, now).ok_or(SteeringError::PoolEmpty)?,
            };
            let unused = |spi: &Spi| !register.spis.contains_key(spi) && !register.provisioned.contains(spi);
            let spi = (0..DRAWS).map(|_| self.draw_spi()).find(unused).ok_or(SteeringError::PoolEmpty)?;
            register.spis.insert(spi, address);
            let key = identity.map_or(random, |(nai, provisioned)| home_key(provisioned, address, spi, nai));
            let origin = Origin {
                owner: request.owner,
                spi,
                key: key.clone(),
                media_source: request.media_source,
                validity_end,
                expires,
                liveness: self.settings.liveness,
                identity: identity.map(|(nai, _)| nai.to_owned()),
                foreign: None,
            };
            self.install(address, origin);
            (address, spi, key)
        };
        count(&self.counters.reserved);
        let player = match request.owner {
            Owner::Presentation(id) => Some(id),
            Owner::KeyHolder => None,
        };
        (self.changed)(address, player);
        Ok(Reservation { home: address, spi, key, validity_end })
    }

    /// Makes a home address known.
    pub(crate) fn install(&self, address: HomeAddress, origin: Origin) -> Arc<Home> {
        let owner = origin.owner;
        let home = Arc::new(Home::new(address, HomeState::new(origin), Arc::clone(&self.counters)));
        self.schedule(&home, &mut home.state());
        self.owners.entry(owner).or_default().push(address);
        self.homes.insert(address, Arc::clone(&home));
        home
    }

    fn draw_spi(&self) -> Spi {
        Spi(u32::from_be_bytes(self.random()) % (Spi::LAST - Spi::FIRST + 1) + Spi::FIRST)
    }

    /// Names of provisioned keys, which K1 does not get.
    pub fn keep_free(&self, provisioned: impl IntoIterator<Item = Spi>) {
        lock(&self.register).provisioned = provisioned.into_iter().collect();
    }

    /// The home address of a K1.
    pub(crate) fn home_of(&self, spi: Spi) -> Option<HomeAddress> {
        lock(&self.register).spis.get(&spi).copied()
    }

    /// A K1 has that name.
    pub(crate) fn note_spi(&self, spi: Spi, home: HomeAddress) {
        lock(&self.register).spis.insert(spi, home);
    }

    /// Makes a care-of test the one that was there before: with secrets that are known.
    pub fn set_routability(&self, routability: ReturnRoutability) {
        *lock(&self.routability) = routability;
    }

    /// Asks the care-of test something.
    pub fn routability<T>(&self, ask: impl FnOnce(&ReturnRoutability) -> T) -> T {
        ask(&lock(&self.routability))
    }

    /// Takes a new nonce when it is time; gives the time of the next one.
    pub fn rotate_nonces(&self, now: Now) -> Option<Mono> {
        let mut routability = lock(&self.routability);
        routability.rotate(|octets| (lock(&self.random))(octets), now.mono);
        routability.poll_timeout()
    }

    /// Whether a care-of test was passed: that token is the one which was sent to that address not long ago.
    pub fn is_proven_by(&self, address: std::net::IpAddr, token: &KeygenToken) -> bool {
        lock(&self.routability).proves(address, token)
    }

    /// Draws a flow label that no live home address has: uniform, unpredictable, not zero (RFC 6437 section 3).
    pub fn draw_label(&self) -> FlowLabel {
        let drawn = || FlowLabel::new(u32::from_be_bytes(self.random()) & self.settings.max_label & FlowLabel::MAX);
        let used = |label: FlowLabel| self.homes.iter().any(|home| home.shared().route.load().label == Some(label));
        let free = (0..DRAWS).filter_map(|_| drawn()).find(|label| !used(*label));
        // With that many labels in use the last resort is one of another home address: the pairs still differ.
        free.or_else(|| (0..DRAWS).find_map(|_| drawn())).unwrap_or(LAST_LABEL)
    }

    /// States the label of a home address, and what is expected there.
    ///
    /// # Errors
    /// `UnknownHome`, `OtherLabel`.
    pub fn authorise(&self, home: HomeAddress, label: FlowLabel, expectation: Expectation) -> Result<(), SteeringError> {
        self.set_label(home, label, Some(expectation))
    }

    /// States the label of a home address, and leaves what is expected there as it is.
    ///
    /// # Errors
    /// `UnknownHome`, `OtherLabel`.
    pub fn state_label(&self, home: HomeAddress, label: FlowLabel) -> Result<(), SteeringError> {
        self.set_label(home, label, None)
    }

    fn set_label(&self, home: HomeAddress, label: FlowLabel, expectation: Option<Expectation>) -> Result<(), SteeringError> {
        let found = self.find(home).ok_or(SteeringError::UnknownHome)?;
        let player = {
            let mut state = found.state();
            if state.released {
                return Err(SteeringError::UnknownHome);
            }
            if state.label.is_some_and(|authorised| authorised != label) {
                return Err(SteeringError::OtherLabel);
            }
            state.set_label(label);
            if let Some(expectation) = expectation {
                state.expectation = expectation;
            }
            found.publish(&mut state);
            state.player()
        };
        count(&self.counters.flow_set);
        (self.changed)(home, player);
        Ok(())
    }

    /// States what is expected of the first packet to a home address, whose label is then learned.
    ///
    /// # Errors
    /// `UnknownHome`.
    pub fn expect(&self, home: HomeAddress, expectation: Expectation) -> Result<(), SteeringError> {
        self.find(home).ok_or(SteeringError::UnknownHome)?.state().expectation = expectation;
        Ok(())
    }

    /// Ends a branch.
    ///
    /// # Errors
    /// `UnknownHome`, `UnknownBinding`.
    pub fn remove(&self, home: HomeAddress, branch: BranchSerial, reason: EndReason, now: Now) -> Result<(), SteeringError> {
        self.remove_where(home, reason, |state, binding| binding.serial == branch && state.carries(binding.id), now)
    }

    /// Ends a binding.
    ///
    /// # Errors
    /// `UnknownHome`, `UnknownBinding`.
    pub fn remove_binding(&self, home: HomeAddress, id: BindingId, reason: EndReason, now: Now) -> Result<(), SteeringError> {
        self.remove_where(home, reason, |_, binding| binding.id == id, now)
    }

    fn remove_where(
        &self,
        home: HomeAddress,
        reason: EndReason,
        is_it: impl Fn(&HomeState, &Binding) -> bool,
        now: Now,
    ) -> Result<(), SteeringError> {
        let home = self.find(home).ok_or(SteeringError::UnknownHome)?;
        self.expire_if_due(&home, now);
        let event = {
            let mut state = home.state();
            if state.released {
                return Err(SteeringError::UnknownHome);
            }
            let position = state.bindings.iter().position(|binding| is_it(&state, binding)).ok_or(SteeringError::UnknownBinding)?;
            remove_at(&home, &mut state, position, reason)
        };
        self.tell(event);
        // What waited for that branch, and a home address that only lived for it, may end with it.
        self.expire(&home, now);
        Ok(())
    }

    /// Lets the home addresses of a presentation go. Those of others that it plays to stay as they are, without it.
    pub fn release_owner(&self, owner: Owner, now: Now) {
        let Owner::Presentation(presentation) = owner else { return };
        for home in self.homes_of(owner) {
            if self.owner(home) == Some(Owner::KeyHolder) {
                self.leave(home, presentation, now);
                continue;
            }
            // One that went away meanwhile is gone all the same.
            let _ = self.release(home, now);
        }
    }

    /// Lets a home address go; it rests before it is given out again.
    ///
    /// # Errors
    /// `UnknownHome`.
    pub fn release(&self, home: HomeAddress, now: Now) -> Result<(), SteeringError> {
        let found = self.find(home).ok_or(SteeringError::UnknownHome)?;
        // What has ended before is told before.
        self.expire_if_due(&found, now);
        if self.free(&found, now) { Ok(()) } else { Err(SteeringError::UnknownHome) }
    }

    /// Frees this very home address; not one that was given out again meanwhile.
    fn free(&self, home: &Arc<Home>, now: Now) -> bool {
        let address = home.address();
        let player = {
            let mut register = lock(&self.register);
            if self.homes.remove_if(&address, |_, found| Arc::ptr_eq(found, home)).is_none() {
                return false;
            }
            let mut state = home.state();
            state.released = true;
            let (with_flow, _): (Vec<_>, Vec<_>) =
                std::mem::take(&mut state.bindings).into_iter().partition(|binding| state.carries(binding.id));
            for binding in with_flow {
                state.note_end(&binding, EndReason::Released);
            }
            state.flows.clear();
            state.session_keys = SessionKeys::default();
            state.untold.clear();
            home.publish(&mut state);
            self.schedule(home, &mut state);
            register.spis.remove(&state.spi);
            register.pool.rest(address, now.mono);
            self.disown(state.owner, address);
            if let Some(guest) = state.guest {
                self.disown(Owner::Presentation(guest), address);
            }
            state.player()
        };
        self.tell(Event { home: address, player, binding: BindingId(0), kind: EventKind::Released });
        true
    }

    pub(crate) fn disown(&self, owner: Owner, home: HomeAddress) {
        if let Some(mut homes) = self.owners.get_mut(&owner) {
            homes.retain(|other| *other != home);
        }
        self.owners.remove_if(&owner, |_, homes| homes.is_empty());
    }

    /// When [`BindingCache::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let first = lock(&self.deadlines).first().map(|(deadline, _)| *deadline);
        first.into_iter().chain(lock(&self.consents).poll_timeout()).min()
    }

    /// Ends what has come to its end: windows, lifetimes, silence, reservations, questions.
    pub fn handle_timeout(&self, now: Now) {
        lock(&self.consents).handle_timeout(now.mono);
        let due: Vec<HomeAddress> =
            lock(&self.deadlines).iter().take_while(|(deadline, _)| *deadline <= now.mono).map(|(_, home)| *home).collect();
        for home in due.into_iter().filter_map(|home| self.find(home)) {
            self.expire(&home, now);
        }
    }

    pub(crate) fn expire_if_due(&self, home: &Arc<Home>, now: Now) {
        let untold = home.shared().is_due(now.mono) || !home.state().untold.is_empty();
        if untold {
            self.expire(home, now);
        }
    }

    /// Ends what has come to its end at one home address, and tells it, also what the data plane saw end before.
    pub(crate) fn expire(&self, home: &Arc<Home>, now: Now) {
        home.settle(now.mono);
        let mut told = Vec::new();
        let over = {
            let mut state = home.state();
            if state.released {
                return;
            }
            let (address, player) = (home.address(), state.player());
            let untold = std::mem::take(&mut state.untold);
            let left = untold.iter().any(|end| end.reason != EndReason::Expired);
            told.extend(untold.iter().map(|end| {
                let kind = if end.reason == EndReason::Expired { EventKind::Expired } else { EventKind::Left { reason: end.reason } };
                Event { home: address, player, binding: end.binding, kind }
            }));
            if left && state.flows.iter().all(|flow| flow.leaving.is_empty()) {
                // The newest is where it went.
                let current = state.bindings.iter().filter(|binding| state.stays(binding.id)).max_by_key(|binding| binding.update);
                told.extend(current.map(|current| Event {
                    home: address,
                    player,
                    binding: current.id,
                    kind: EventKind::Moved { update: current.update },
                }));
            }
            self.schedule(home, &mut state);
            state.is_over(now.mono)
        };
        for event in told {
            self.tell(event);
        }
        if over {
            self.free(home, now);
        }
    }

    /// Puts the next deadline of a home address in the place of the last.
    pub(crate) fn schedule(&self, home: &Home, state: &mut HomeState) {
        // What has ended and is not told yet is due.
        let next = if state.untold.is_empty() { state.next_deadline() } else { Some(state.scheduled.unwrap_or_default()) };
        let mut deadlines = lock(&self.deadlines);
        if let Some(last) = state.scheduled {
            deadlines.remove(&(last, home.address()));
        }
        if let Some(next) = next {
            deadlines.insert((next, home.address()));
        }
        state.scheduled = next;
    }

    /// The oldest event that was not taken yet.
    pub fn poll_event(&self) -> Option<Event> {
        lock(&self.events).pop_front()
    }

    pub(crate) fn tell(&self, event: Event) {
        self.counters.note_event(&event.kind);
        {
            let mut events = lock(&self.events);
            if events.len() >= MAX_EVENTS {
                events.pop_front();
            }
            events.push_back(event);
        }
        (self.changed)(event.home, event.player);
    }
}

/// Takes a binding out; what is to be told of it.
pub(crate) fn remove_at(home: &Home, state: &mut HomeState, position: usize, reason: EndReason) -> Event {
    let carried = state.carries(state.bindings[position].id);
    let binding = state.take_out(position);
    if carried {
        state.note_end(&binding, reason);
    }
    home.publish(state);
    Event { home: home.address(), player: state.player(), binding: binding.id, kind: EventKind::Removed { reason } }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
