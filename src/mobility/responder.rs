//! The server's side of the signalling: a datagram and the time come in, at most one answer goes out, and what an accepted
//! update asks is done by steering (`docs/signalling.md` sections 2 to 9, in their order).
//!
//! Pure. Call [`Responder::handle_datagram`] for each datagram and send what it gives; call [`Responder::handle_timeout`] at
//! [`Responder::poll_timeout`], which any datagram may move, and drain [`Responder::poll_transmit`] after it. Nothing is kept
//! of who is not authenticated.
//!
//! Read RFC 6275 sections 5.2, 9.5 and 11.7, RFC 4285, RFC 5648 and RFC 6089 first.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::mobility::counters::{Counted, Counters};
use crate::mobility::limits::{Limits, source_key};
use crate::mobility::request;
use crate::mobility::wire::{
    Authenticated, BindingAck, BindingError, BindingIdentifier, BindingUpdate, CareOfTest, CareOfTestInit, FlowIdentification,
    HomeNetworkPrefix, HomeTest, HomeTestInit, KeyGrant, Lifetime, Message, MessageAuthentication, MessageId, NonceIndices, Options,
    RefreshRequest, Status, UpdateFlags, checksum,
};
use crate::now::{Mono, Now};
use crate::steering::{
    BindingCache, BindingId, GrantError, HomeAddress, Join, Key, Registered, RegistrationError, Spi, UpdateKey, Withheld,
};

/// Refresh requests that are planned at most.
const MAX_PLANNED: usize = 100_000;

/// How a message travels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Carriage {
    /// As a UDP datagram; its checksum field is zero.
    Udp,
    /// As IPv6 next header 135, with a checksum over the pseudo-header.
    Native,
}

/// A datagram that came in. Addresses are canonical.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The Mobility Header, all of it.
    pub octets: &'a [u8],
    /// Where it came from; the port is 0 where there are none.
    pub source: SocketAddr,
    /// Our own address that it was sent to.
    pub local: IpAddr,
    /// How.
    pub carriage: Carriage,
}

/// A datagram to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// The Mobility Header.
    pub octets: Vec<u8>,
    /// Where to.
    pub to: SocketAddr,
    /// From which of our own addresses.
    pub from: IpAddr,
    /// How.
    pub carriage: Carriage,
}

/// A key that was agreed on beforehand.
#[derive(Clone, Debug)]
pub struct Provisioned {
    /// Its index.
    pub spi: Spi,
    /// Whose it is.
    pub nai: String,
    /// Its octets.
    pub key: Key,
}

/// What the signalling goes by.
#[derive(Clone, Debug)]
pub struct ResponderSettings {
    /// The provisioned keys.
    pub keys: Vec<Provisioned>,
    /// By how much the clock of a message may differ.
    pub close_enough: Duration,
    /// Whether home addresses of other servers are served.
    pub remote_homes: bool,
    /// The longest lifetime of a binding.
    pub max_lifetime: Duration,
    /// How a new branch enters.
    pub join: Join,
    /// Where packets to home addresses come from; `None` the address that was asked.
    pub media_source: Option<Ipv6Addr>,
    /// The same where a loopback address was asked: one that other devices reach.
    pub media_source_for_loopback: Option<Ipv6Addr>,
}

impl Default for ResponderSettings {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            close_enough: Duration::from_secs(7),
            remote_homes: false,
            max_lifetime: Duration::from_secs(600),
            join: Join::default(),
            media_source: None,
            media_source_for_loopback: None,
        }
    }
}

/// Where a device is asked to refresh a binding.
#[derive(Clone, Copy, Debug)]
struct Planned {
    to: SocketAddr,
    from: IpAddr,
    carriage: Carriage,
    at: Mono,
    lifetime: Duration,
}

/// What an update was authenticated with, and what its answer repeats.
pub(super) struct Asked<'a> {
    pub(super) received: Received<'a>,
    pub(super) update: &'a BindingUpdate,
    /// Where to; the home address where it is a removal.
    pub(super) care_of: IpAddr,
    pub(super) home: Option<HomeAddress>,
}

/// The server's side of the signalling.
pub struct Responder {
    pub(super) steering: Arc<BindingCache>,
    pub(super) settings: ResponderSettings,
    pub(super) counters: Counters,
    pub(super) limits: Limits,
    /// The time last accepted under each provisioned key.
    times: HashMap<Spi, u64>,
    planned: BTreeMap<(HomeAddress, BindingId), Planned>,
    due: std::collections::BTreeSet<(Mono, HomeAddress, BindingId)>,
    waiting: VecDeque<Transmit>,
}

impl Responder {
    /// Over an address map.
    pub fn new(steering: Arc<BindingCache>, settings: ResponderSettings) -> Self {
        let mut responder = Self {
            steering,
            settings: ResponderSettings::default(),
            counters: Counters::default(),
            limits: Limits::default(),
            times: HashMap::new(),
            planned: BTreeMap::new(),
            due: std::collections::BTreeSet::new(),
            waiting: VecDeque::new(),
        };
        responder.set(settings);
        responder
    }

    /// What has been done so far.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Goes by other settings from now on. Bindings and home addresses stay as they are.
    pub fn set(&mut self, settings: ResponderSettings) {
        self.steering.keep_free(settings.keys.iter().map(|key| key.spi));
        self.times.retain(|spi, _| settings.keys.iter().any(|key| key.spi == *spi));
        self.settings = settings;
    }

    /// Takes a datagram, and gives the answer, if there is one.
    pub fn handle_datagram(&mut self, received: Received<'_>, now: Now) -> Option<Transmit> {
        if received.carriage == Carriage::Native && !is_sound(&received) {
            self.counters.count(Counted::Malformed);
            return None;
        }
        let Ok(message) = Message::parse(received.octets) else {
            self.counters.count(Counted::Malformed);
            return None;
        };
        match &message {
            Message::HomeTestInit(test) => self.home_test(&received, test, now),
            Message::CareOfTestInit(test) => self.care_of_test(&received, test, now),
            Message::BindingUpdate(update) => self.update(received, &message, update, now),
            Message::RefreshRequest(_)
            | Message::HomeTest(_)
            | Message::CareOfTest(_)
            | Message::BindingAck(_)
            | Message::BindingError(_) => {
                self.counters.count(Counted::Unexpected);
                None
            }
            Message::Unknown(_) => self.binding_error(&received, BindingError::unknown_type(), now),
        }
    }

    /// When [`Responder::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let nonce = self.steering.routability(|routability| routability.poll_timeout());
        let refresh = self.due.first().map(|(at, ..)| *at);
        nonce.into_iter().chain(refresh).min()
    }

    /// Takes a new nonce, and asks devices to refresh bindings whose time runs out.
    pub fn handle_timeout(&mut self, now: Now) {
        self.steering.rotate_nonces(now);
        while let Some(&(at, home, binding)) = self.due.first().filter(|(at, ..)| *at <= now.mono) {
            self.due.remove(&(at, home, binding));
            let Some(planned) = self.planned.remove(&(home, binding)) else { continue };
            // One that has lost the flow is not in use; one that was refreshed otherwise has time.
            match self.steering.time_left(home, binding, now) {
                Some(left) if left <= planned.lifetime / 4 => {
                    let mut options = Options::default();
                    options.push(HomeNetworkPrefix::of(home.0));
                    let request = Message::RefreshRequest(RefreshRequest { options });
                    if let Some(transmit) = transmit(&request, planned.to, planned.from, planned.carriage) {
                        self.counters.count(Counted::RefreshRequest);
                        self.waiting.push_back(transmit);
                    }
                }
                Some(left) => self.plan((home, binding), Planned { at: now.mono + left - planned.lifetime / 4, ..planned }),
                None => {}
            }
        }
    }

    /// What is to be sent without having been asked for.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.waiting.pop_front()
    }

    fn plan(&mut self, key: (HomeAddress, BindingId), planned: Planned) {
        if let Some(before) = self.planned.remove(&key) {
            self.due.remove(&(before.at, key.0, key.1));
        }
        if self.planned.len() < MAX_PLANNED {
            self.due.insert((planned.at, key.0, key.1));
            self.planned.insert(key, planned);
        }
    }

    fn forget(&mut self, key: (HomeAddress, BindingId)) {
        if let Some(before) = self.planned.remove(&key) {
            self.due.remove(&(before.at, key.0, key.1));
        }
    }

    fn care_of_test(&mut self, received: &Received<'_>, test: &CareOfTestInit, now: Now) -> Option<Transmit> {
        if !self.limits.tests.admits(source_key(received.source.ip()), now.mono) {
            self.counters.count(Counted::RateLimited);
            return None;
        }
        let made = self.steering.routability(|routability| routability.care_of_token(received.source.ip()));
        self.counters.count(Counted::CareOfTest);
        let answer = CareOfTest { nonce_index: made.index, cookie: test.cookie, token: made.token, options: Options::default() };
        reply(received, &Message::CareOfTest(answer))
    }

    /// Home tests are for home addresses of other servers: this one hosts its own, and would only ask itself.
    fn home_test(&mut self, received: &Received<'_>, test: &HomeTestInit, now: Now) -> Option<Transmit> {
        let home = test.options.home_network_prefix().map(|prefix| prefix.address);
        let foreign = home.filter(|home| self.settings.remote_homes && self.is_foreign(*home));
        let Some(home) = foreign else {
            self.counters.count(Counted::HomeTestIgnored);
            return None;
        };
        if !self.limits.tests.admits(source_key(received.source.ip()), now.mono) {
            self.counters.count(Counted::RateLimited);
            return None;
        }
        let made = self.steering.routability(|routability| routability.home_token(home.into()));
        self.counters.count(Counted::HomeTest);
        let answer = HomeTest { nonce_index: made.index, cookie: test.cookie, token: made.token, options: Options::default() };
        // It proves the home address only if it goes there.
        let to = SocketAddr::new(home.into(), received.source.port());
        transmit(&Message::HomeTest(answer), to, received.local, received.carriage)
    }

    /// Whether an address may be a home address of another server: one host, and none of ours.
    pub(super) fn is_foreign(&self, home: Ipv6Addr) -> bool {
        let is_host = !(home.is_unspecified() || home.is_multicast() || home.is_loopback() || home.is_unicast_link_local());
        is_host && home.to_ipv4_mapped().is_none() && !self.steering.is_home(home)
    }

    pub(super) fn binding_error(&mut self, received: &Received<'_>, error: BindingError, now: Now) -> Option<Transmit> {
        let source = source_key(received.source.ip());
        if !self.limits.errors.admits(source, now.mono) || !self.limits.all_errors.admits(0, now.mono) {
            self.counters.count(Counted::RateLimited);
            return None;
        }
        self.counters.count(Counted::BindingError);
        reply(received, &Message::BindingError(error))
    }

    fn update(&mut self, received: Received<'_>, message: &Message, update: &BindingUpdate, now: Now) -> Option<Transmit> {
        let options = &update.options;
        let home = options.home_network_prefix().map(|prefix| HomeAddress(prefix.address)).filter(|home| !home.0.is_unspecified());
        let Some(authenticated) = Authenticated::<MessageAuthentication>::by_key(message, received.octets) else {
            if self.settings.remote_homes && home.is_some_and(|home| self.is_foreign(home.0)) {
                return self.foreign_update(received, message, update, now);
            }
            self.counters.count(Counted::Unauthenticated);
            return None;
        };
        let stored = |id| home.and_then(|home| self.steering.stored_care_of(home, id));
        let care_of = match home {
            // RFC 6275 section 6.2.7.
            _ if update.lifetime.is_zero() => IpAddr::V6(home.map_or(Ipv6Addr::UNSPECIFIED, |home| home.0)),
            _ => request::care_of(options, stored, received.source.ip()),
        };
        let asked = Asked { received, update, care_of, home };
        let spi = authenticated.option.spi;
        let provisioned = self.settings.keys.iter().find(|key| key.spi == spi).cloned();
        let limited = Cell::new(false);
        let found = match &provisioned {
            Some(_) => None,
            None => {
                let identity = options.mobile_node_id().and_then(|id| id.nai());
                let claim = options.key_parameters().and_then(|parameters| request::claim(parameters, identity));
                let limits = &mut self.limits.derivations;
                let may_derive = || {
                    let admitted = limits.admits(source_key(received.source.ip()), now.mono);
                    limited.set(!admitted);
                    admitted
                };
                self.steering.update_key(home, spi, claim, may_derive)
            }
        };
        let key = match (&provisioned, &found) {
            (Some(provisioned), _) => &provisioned.key,
            (None, Some(found)) => &found.key,
            (None, None) => {
                let unreserved = home.filter(|home| self.steering.is_home(home.0) && !self.steering.is_reserved(*home));
                if let Some(home) = unreserved {
                    return self.binding_error(&received, BindingError::unknown_home(home.0), now);
                }
                self.counters.count(if limited.get() { Counted::RateLimited } else { Counted::UnknownSpi });
                return None;
            }
        };
        let token = match options.nonce_indices() {
            None => Some([0; 8]),
            Some(NonceIndices { care_of: index, .. }) => {
                self.steering.routability(|routability| routability.care_of_token_at(care_of, *index))
            }
        };
        let Some(token) = token else {
            // Nothing can be said of the authenticator, and the answer has none.
            return self.refuse(&asked, None, spi, Status::CARE_OF_NONCE, now);
        };
        let [before, zeros, after] = authenticated.covered;
        let (care_of_octets, home_octets) = (octets_of(care_of), home.map_or([0; 16], |home| home.0.octets()));
        if !key.verify(&[&care_of_octets, &home_octets, &token, before, zeros, after], &authenticated.option.data) {
            self.counters.count(Counted::AuthenticationFailed);
            return self.refuse(&asked, Some(key), spi, Status::AUTHENTICATION_FAILED, now);
        }
        if !update.flags.contains(UpdateFlags::HOME_REGISTRATION) {
            return self.refuse(&asked, Some(key), spi, Status::REGISTRATION_TYPE, now);
        }
        if options.home_network_prefix().is_none() {
            return self.refuse(&asked, Some(key), spi, Status::PREFIX_MISSING, now);
        }
        match (&provisioned, &found) {
            (Some(provisioned), _) => self.reserve(&asked, provisioned, now),
            (None, Some(found)) => self.register(&asked, found, options.nonce_indices().is_some(), now),
            (None, None) => None,
        }
    }

    /// An update under a provisioned key reserves a home address, or prolongs its reservation.
    fn reserve(&mut self, asked: &Asked<'_>, provisioned: &Provisioned, now: Now) -> Option<Transmit> {
        let (options, key, spi) = (&asked.update.options, &provisioned.key, provisioned.spi);
        let Some(&MessageId { ntp }) = options.message_id() else {
            return self.refuse(asked, Some(key), spi, Status::TIMESTAMP_REQUIRED, now);
        };
        let (here, tolerance) = (now.utc.ntp64(), (self.settings.close_enough.as_secs() << 32));
        let is_new = self.times.get(&spi).is_none_or(|last| ntp > *last);
        if here.abs_diff(ntp) > tolerance || !is_new {
            self.counters.count(Counted::Replay);
            return self.refuse(asked, Some(key), spi, Status::TIMESTAMP_MISMATCH, now);
        }
        self.times.insert(spi, ntp);
        if !has_whole_prefix(options) {
            return self.refuse(asked, Some(key), spi, Status::PREFIX_LENGTH, now);
        }
        let Some(identity) = options.mobile_node_id() else {
            return self.refuse(asked, Some(key), spi, Status::IDENTITY_MISSING, now);
        };
        if identity.nai() != Some(provisioned.nai.as_str()) || asked.update.lifetime.is_zero() {
            return self.refuse(asked, Some(key), spi, Status::NOT_PERMITTED, now);
        }
        let media_source = self.media_source(asked.received.local);
        let granted = match self.steering.reserve_for(&provisioned.nai, key, asked.home, media_source, now) {
            Ok(granted) => granted,
            Err(error) => return self.refuse(asked, Some(key), spi, error.into(), now),
        };
        let left = Duration::from_secs(granted.validity_end.saturating_sub(now.utc.unix_seconds()));
        let lifetime = asked.update.lifetime.as_duration().min(self.settings.max_lifetime).min(left);
        let mut answer = self.answer(asked, Status::ACCEPTED, Some(granted.home));
        answer.lifetime = Lifetime::from_seconds(lifetime.as_secs().max(4));
        answer.options.push(KeyGrant { spi: granted.spi, validity_end: granted.validity_end });
        answer.options.push(MessageId { ntp });
        self.acknowledge(asked, answer, Some((spi, key)), Some(granted.home))
    }

    fn register(&mut self, asked: &Asked<'_>, key: &UpdateKey, tested: bool, now: Now) -> Option<Transmit> {
        let registration = request::registration(asked, key, tested, self.settings.join);
        let outcome = self.steering.register(&registration, now);
        match outcome {
            Ok(done) => {
                self.plan_refresh(asked, &done, now);
                let mut answer = self.answer(asked, Status::ACCEPTED, asked.home);
                answer.lifetime = Lifetime::from_seconds(done.lifetime.as_secs());
                if let Some(Ok(named)) = asked.update.options.binding_identifiers().next() {
                    answer.options.push(BindingIdentifier { status: 0, priority: Default::default(), care_of: None, ..*named });
                }
                for (flow, priority, status) in &done.flows {
                    answer.options.push(FlowIdentification::new(*flow, *priority, request::flow_status(*status)));
                }
                if let Some(id) = asked.update.options.message_id() {
                    answer.options.push(*id);
                }
                self.acknowledge(asked, answer, Some((key.spi, &key.key)), asked.home)
            }
            Err(RegistrationError::UnknownHome) => {
                // It went away between the key and the update.
                let home = asked.home?;
                self.binding_error(&asked.received, BindingError::unknown_home(home.0), now)
            }
            Err(error) => {
                if let RegistrationError::Sequence { .. } = error {
                    self.counters.count(Counted::Replay);
                }
                self.refuse_with(asked, Some(&key.key), key.spi, error.into(), error, now)
            }
        }
    }

    /// When the device is to be asked for a refresh.
    fn plan_refresh(&mut self, asked: &Asked<'_>, done: &Registered, now: Now) {
        let Some(home) = asked.home else { return };
        let binding = match asked.update.options.binding_identifiers().next() {
            Some(Ok(named)) => named.binding,
            _ => BindingId::PLAIN,
        };
        if done.lifetime.is_zero() {
            if binding == BindingId::PLAIN {
                // Released: of none of its bindings.
                let of_home: Vec<_> =
                    self.planned.range((home, BindingId::PLAIN)..).map(|(key, _)| *key).take_while(|key| key.0 == home).collect();
                of_home.into_iter().for_each(|key| self.forget(key));
            }
            self.forget((home, binding));
            return;
        }
        let planned = Planned {
            to: asked.received.source,
            from: asked.received.local,
            carriage: asked.received.carriage,
            at: now.mono + done.lifetime * 3 / 4,
            lifetime: done.lifetime,
        };
        self.plan((home, binding), planned);
    }

    pub(super) fn media_source(&self, local: IpAddr) -> Ipv6Addr {
        let for_loopback = self.settings.media_source_for_loopback.filter(|_| local.is_loopback());
        self.settings.media_source.or(for_loopback).unwrap_or(match local {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        })
    }

    fn answer(&self, asked: &Asked<'_>, status: Status, home: Option<HomeAddress>) -> BindingAck {
        let mut options = Options::default();
        if asked.update.options.home_network_prefix().is_some() {
            options.push(HomeNetworkPrefix::of(home.map_or(Ipv6Addr::UNSPECIFIED, |home| home.0)));
        }
        BindingAck { status, flags: Default::default(), sequence: asked.update.sequence, lifetime: Lifetime::ZERO, options }
    }

    fn refuse(&mut self, asked: &Asked<'_>, key: Option<&Key>, spi: Spi, status: Status, now: Now) -> Option<Transmit> {
        self.refuse_with(asked, key, spi, status, RegistrationError::NotPermitted, now)
    }

    fn refuse_with(
        &mut self,
        asked: &Asked<'_>,
        key: Option<&Key>,
        spi: Spi,
        status: Status,
        error: RegistrationError,
        now: Now,
    ) -> Option<Transmit> {
        let provoked = matches!(status, Status::SEQUENCE | Status::CARE_OF_NONCE | Status::AUTHENTICATION_FAILED);
        if provoked && !self.limits.refusals.admits(u64::from(spi.0), now.mono) {
            self.counters.count(Counted::RateLimited);
            return None;
        }
        let mut answer = self.answer(asked, status, asked.home);
        if let RegistrationError::Sequence { last } = error {
            answer.sequence = last;
        }
        if let RegistrationError::Withheld(Withheld::Asked(id)) = error
            && let Some(question) = self.steering.open_question(id, now)
        {
            answer.options.push(request::question(&question, now.mono));
        }
        if let (Some(id), Some(_)) = (asked.update.options.message_id(), key) {
            let ntp = match status {
                // RFC 4285 section 5.3: the low half as it came, the high half by our own clock.
                Status::TIMESTAMP_MISMATCH => now.utc.ntp64() & !0xffff_ffff | id.ntp & 0xffff_ffff,
                _ => id.ntp,
            };
            answer.options.push(MessageId { ntp });
        }
        self.acknowledge(asked, answer, key.map(|key| (spi, key)), asked.home)
    }

    /// Sends an acknowledgement, authenticated where there is a key to do it with.
    fn acknowledge(
        &mut self,
        asked: &Asked<'_>,
        answer: BindingAck,
        key: Option<(Spi, &Key)>,
        home: Option<HomeAddress>,
    ) -> Option<Transmit> {
        let status = answer.status;
        if status.is_accepted() && !asked.update.flags.contains(UpdateFlags::ACKNOWLEDGE) {
            return None;
        }
        self.counters.count_status(status);
        let mut message = Message::BindingAck(answer);
        let octets = match key {
            None => message.to_vec().ok()?,
            Some((spi, key)) => {
                let (care_of, home) = (octets_of(asked.care_of), home.map_or([0; 16], |home| home.0.octets()));
                message.authenticate(spi, |covered| key.authenticate(&[&care_of, &home, &[0; 8], covered])).ok()?
            }
        };
        Some(sealed(octets, asked.received.source, asked.received.local, asked.received.carriage))
    }
}

/// Whether the checksum of a message in native carriage is right.
fn is_sound(received: &Received<'_>) -> bool {
    match (received.source.ip(), received.local) {
        (IpAddr::V6(source), IpAddr::V6(local)) => checksum::verify(source, local, received.octets),
        _ => false,
    }
}

/// An address as the authenticator counts it.
pub(super) fn octets_of(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// A single address, or the request for any.
pub(super) fn has_whole_prefix(options: &Options) -> bool {
    options
        .home_network_prefix()
        .is_some_and(|prefix| prefix.prefix_length == 128 || (prefix.prefix_length == 0 && prefix.address.is_unspecified()))
}

pub(super) fn reply(received: &Received<'_>, message: &Message) -> Option<Transmit> {
    transmit(message, received.source, received.local, received.carriage)
}

pub(super) fn transmit(message: &Message, to: SocketAddr, from: IpAddr, carriage: Carriage) -> Option<Transmit> {
    Some(sealed(message.to_vec().ok()?, to, from, carriage))
}

/// With the checksum that its carriage wants.
pub(super) fn sealed(mut octets: Vec<u8>, to: SocketAddr, from: IpAddr, carriage: Carriage) -> Transmit {
    if let (Carriage::Native, IpAddr::V6(source), IpAddr::V6(destination)) = (carriage, from, to.ip()) {
        checksum::set(source, destination, &mut octets);
    }
    Transmit { octets, to, from, carriage }
}

impl From<RegistrationError> for Status {
    fn from(error: RegistrationError) -> Self {
        match error {
            RegistrationError::Sequence { .. } => Self::SEQUENCE,
            RegistrationError::KeyRefused => Self::KEY_NOT_USABLE,
            RegistrationError::Full => Self::RESOURCES,
            RegistrationError::Prefix => Self::PREFIX_LENGTH,
            RegistrationError::NotThisHome => Self::NOT_THIS_HOME,
            RegistrationError::SeveralBindings => Self::BINDING_IDS,
            RegistrationError::BindingMalformed => Self::BINDING_ID_MALFORMED,
            RegistrationError::WholeIsBound => Self::PLAIN_BINDING_EXISTS,
            RegistrationError::NoCareOf => Self::BINDING_ID_UNKNOWN,
            RegistrationError::NotPermitted | RegistrationError::Withheld(_) => Self::NOT_PERMITTED,
            RegistrationError::CareOfUnacceptable => Self::CARE_OF_NOT_ACCEPTABLE,
            RegistrationError::CareOfUnproven => Self::CARE_OF_NONCE,
            RegistrationError::UnknownHome => Self::INTERNAL_ERROR,
        }
    }
}

impl From<GrantError> for Status {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::Resources => Self::RESOURCES,
            GrantError::NotOfPool => Self::NOT_OF_POOL,
            GrantError::HeldByAnother => Self::ADDRESS_HELD,
        }
    }
}
