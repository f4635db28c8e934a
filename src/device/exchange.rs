//! One Binding Update: what it asks, the message that says so, and which answers are its own.
//!
//! Pure. The rules of what may be believed are those of `docs/signalling.md` section 5: an acknowledgement counts if its authenticator is
//! right and it repeats a number that was sent; one that asks for a care-of test may lack the authenticator and costs a test.
//!
//! Read RFC 6275 sections 6.1.7, 6.1.8 and 11.7, RFC 4285 section 5 and RFC 5648 first.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use smallvec::SmallVec;

use crate::device::context::Grant;
use crate::mobility::Provisioned;
use crate::mobility::wire::{
    AlternateCareOf, Authenticated, BindingAck, BindingIdentifier, BindingReference, BindingUpdate, ConsentQuestion, EmitError,
    FlowIdentification, FlowStatus, HomeNetworkPrefix, Ipv4CareOf, Ipv6Selector, KeyParameters, Lifetime, MediaClass, MediaExpectation,
    MediaPorts, Message, MessageAuthentication, MessageId, MobileNodeId, NonceIndices, Options, Status, TransitionWindow, UpdateFlags,
};
use crate::quantities::{FlowLabel, MediaKind, PayloadType};
use crate::steering::{BindingId, FlowId, HomeAddress, Key, KeygenToken, Spi};

/// UDP, as a traffic selector names it.
const UDP: u8 = 17;

/// What an update is authenticated with.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A key that was agreed on beforehand: it reserves.
    Provisioned(Provisioned),
    /// The home key K1.
    Home {
        /// Names it.
        spi: Spi,
        /// Its octets.
        key: Key,
    },
    /// A session key K2.
    Session {
        /// The key, and what it is bound to.
        grant: Grant,
        /// Names the transfer.
        transfer_id: u32,
        /// The flow's label.
        label: FlowLabel,
    },
}

impl Credential {
    /// Names the key.
    pub const fn spi(&self) -> Spi {
        match self {
            Self::Provisioned(provisioned) => provisioned.spi,
            Self::Home { spi, .. } => *spi,
            Self::Session { grant, .. } => grant.spi,
        }
    }

    const fn key(&self) -> &Key {
        match self {
            Self::Provisioned(provisioned) => &provisioned.key,
            Self::Home { key, .. } => key,
            Self::Session { grant, .. } => &grant.key,
        }
    }
}

/// How a care-of is proven.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// By a test, which is made first.
    Test,
    /// By a token that somebody else was given at that address.
    Shown(KeygenToken),
    /// Not, unless the server asks: it is bound already, or nothing is bound.
    Unneeded,
}

/// What is asked for a flow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowAsk {
    /// Names it.
    pub id: u16,
    /// Its label, where it is known.
    pub label: Option<FlowLabel>,
    /// Where it comes from, where that is known.
    pub source: Option<Ipv6Addr>,
    /// The bindings that are to have it in the end; none leaves it to those that have it.
    pub bindings: Vec<BindingId>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    /// With which key.
    pub credential: Credential,
    /// Whose packets; `None` asks for any home address.
    pub home: Option<HomeAddress>,
    /// For how long; zero removes a binding, or without one releases the home address.
    pub lifetime: Duration,
    /// Which binding.
    pub binding: Option<BindingId>,
    /// Where packets are to go; of a reservation, where it is sent from.
    pub care_of: IpAddr,
    /// How that is proven.
    pub proof: Proof,
    /// The RTP and RTCP ports.
    pub ports: Option<(u16, u16)>,
    /// The transition window in milliseconds.
    pub window_ms: Option<u32>,
    /// What becomes of the flow, where the update says so.
    pub flow: Option<FlowAsk>,
    /// What is expected on the flow.
    pub expects: Option<(MediaKind, Option<PayloadType>)>,
    /// How long an answer is waited for; `None` as long as it takes.
    pub patience: Option<Duration>,
    /// Whether the binding is to be kept alive once it is there.
    pub keep: bool,
}

impl Ask {
    /// Asks for a home address, a certain one or any.
    pub const fn reserve(provisioned: Provisioned, home: Option<HomeAddress>, lifetime: Duration, from: IpAddr) -> Self {
        Self::new(Credential::Provisioned(provisioned), home, None, from, lifetime, Proof::Unneeded)
    }

    /// Asks that packets go to a care-of, which is tested first.
    pub const fn bind(credential: Credential, home: HomeAddress, binding: BindingId, care_of: IpAddr, lifetime: Duration) -> Self {
        Self::new(credential, Some(home), Some(binding), care_of, lifetime, Proof::Test)
    }

    /// Asks that a binding ends; `None` releases the home address.
    pub const fn remove(credential: Credential, home: HomeAddress, binding: Option<BindingId>, care_of: IpAddr) -> Self {
        Self::new(credential, Some(home), binding, care_of, Duration::ZERO, Proof::Unneeded)
    }

    const fn new(
        credential: Credential,
        home: Option<HomeAddress>,
        binding: Option<BindingId>,
        care_of: IpAddr,
        lifetime: Duration,
        proof: Proof,
    ) -> Self {
        Self {
            credential,
            home,
            lifetime,
            binding,
            care_of,
            proof,
            ports: None,
            window_ms: None,
            flow: None,
            expects: None,
            patience: Some(PATIENCE),
            keep: false,
        }
    }

    /// What keeps the binding that this ask has made: its place and its ports.
    ///
    /// The flow is named without bindings, which leaves it to those that have it. An update that names none would take it where the
    /// server has lost the binding, also from a device that has taken it meanwhile.
    pub fn refresh(&self) -> Self {
        let known = self.flow.as_ref();
        let flow = FlowAsk {
            id: known.map_or(FlowId::DEFAULT.0, |flow| flow.id),
            label: known.and_then(|flow| flow.label),
            source: known.and_then(|flow| flow.source),
            bindings: Vec::new(),
        };
        Self { proof: Proof::Unneeded, window_ms: None, flow: Some(flow), expects: None, patience: None, keep: true, ..self.clone() }
    }

    /// Whether something is to end.
    pub const fn removes(&self) -> bool {
        self.lifetime.is_zero()
    }

    /// The message, with its authenticator.
    ///
    /// # Errors
    /// It is longer than a header can be.
    pub(super) fn write(&self, sequence: u16, token: Option<&KeygenToken>, ntp: u64) -> Result<Vec<u8>, EmitError> {
        let mut options = Options::default();
        options.push(self.home.map_or(HomeNetworkPrefix::ANY, |home| HomeNetworkPrefix::of(home.0)));
        match self.binding {
            Some(binding) => {
                let care_of = (!self.removes()).then_some(self.care_of);
                options.push(BindingIdentifier { binding, status: 0, priority: Default::default(), care_of });
            }
            None if self.removes() => {}
            None => match self.care_of {
                IpAddr::V6(address) => options.push(AlternateCareOf { address }),
                IpAddr::V4(address) => options.push(Ipv4CareOf { address }),
            },
        }
        if let Some(flow) = &self.flow {
            options.push(flow.option());
        }
        if let Some(window_ms) = self.window_ms {
            options.push(TransitionWindow { window_ms });
        }
        if let Some((rtp, rtcp)) = self.ports {
            let ports = MediaPorts { multiplexed: rtp == rtcp, binding: BindingId::PLAIN, flow: 0, rtp, rtcp };
            options.push(ports);
        }
        if let Some((kind, payload_type)) = self.expects {
            let media = match kind {
                MediaKind::Video => MediaClass::VIDEO,
                MediaKind::Audio => MediaClass::AUDIO,
                MediaKind::Text => MediaClass::TEXT,
            };
            let payload_type = payload_type.map_or(MediaExpectation::ANY_PAYLOAD_TYPE, PayloadType::bits);
            options.push(MediaExpectation { flow: 0, media, payload_type });
        }
        match &self.credential {
            Credential::Provisioned(provisioned) => {
                if let Some(identity) = MobileNodeId::new(&provisioned.nai) {
                    options.push(identity);
                }
                options.push(MessageId { ntp });
            }
            Credential::Home { .. } => {}
            Credential::Session { grant, transfer_id, label } => {
                options.push(KeyParameters {
                    identity_bound: grant.identity.is_some(),
                    parent: grant.parent,
                    transfer_id: *transfer_id,
                    label: label.bits(),
                    validity_end: grant.validity_end,
                    media_source: grant.media_source,
                });
                if let Some(identity) = grant.identity.as_deref().and_then(MobileNodeId::new) {
                    options.push(identity);
                }
            }
        }
        let token = token.filter(|_| !self.removes());
        if let Some(token) = token {
            options.push(NonceIndices { home: 0, care_of: token.index });
        }
        let update = BindingUpdate {
            sequence,
            flags: UpdateFlags::ACKNOWLEDGE | UpdateFlags::HOME_REGISTRATION,
            lifetime: if self.removes() { Lifetime::ZERO } else { Lifetime(Lifetime::from_seconds(self.lifetime.as_secs()).0.max(1)) },
            options,
        };
        let (care_of, home) = (self.care_of_octets(), self.home.map_or([0; 16], |home| home.0.octets()));
        let token = token.map_or([0; 8], |token| token.token);
        let key = self.credential.key();
        Message::BindingUpdate(update).authenticate(self.credential.spi(), |covered| key.authenticate(&[&care_of, &home, &token, covered]))
    }

    /// The care-of as the authenticator counts it: the home address where something ends (RFC 6275 section 6.2.7).
    fn care_of_octets(&self) -> [u8; 16] {
        match self.care_of {
            _ if self.removes() => self.home.map_or([0; 16], |home| home.0.octets()),
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        }
    }

    /// What an acknowledgement is to this ask, of which `numbers` were sent; `None` where it is to be ignored.
    pub(super) fn judge(&self, octets: &[u8], message: &Message, ack: &BindingAck, numbers: &[u16]) -> Option<Judged> {
        let home = ack.options.home_network_prefix().map(|prefix| HomeAddress(prefix.address));
        if self.home.is_some_and(|asked| home.is_some_and(|home| home != asked)) {
            return None;
        }
        let echoes = numbers.contains(&ack.sequence);
        let Some(authenticated) = Authenticated::<MessageAuthentication>::by_key(message, octets) else {
            return (ack.status == Status::CARE_OF_NONCE && echoes).then_some(Judged::TestAsked);
        };
        // One that refuses a number has the last that was taken: what was sent is not later than that, or the answer is an old one.
        let refuses = |number: &u16| !(1..0x8000).contains(&number.wrapping_sub(ack.sequence));
        let is_answer = if ack.status == Status::SEQUENCE { numbers.iter().any(refuses) } else { echoes };
        if authenticated.option.spi != self.credential.spi() || !is_answer {
            return None;
        }
        let [before, zeros, after] = authenticated.covered;
        let home_octets = home.map_or([0; 16], |home| home.0.octets());
        let parts: [&[u8]; 6] = [&self.care_of_octets(), &home_octets, &[0; 8], before, zeros, after];
        if !self.credential.key().verify(&parts, &authenticated.option.data) {
            return None;
        }
        Some(Judged::Answered(Answer {
            status: ack.status,
            sequence: ack.sequence,
            lifetime: ack.lifetime.as_duration(),
            home: home.filter(|home| !home.0.is_unspecified()),
            granted: ack.options.key_grant().map(|grant| (grant.spi, grant.validity_end)),
            time: ack.options.message_id().map(|id| id.ntp),
            question: ack.options.consent_question().copied(),
            flow: ack.options.flow_identifications().find_map(Result::ok).map(|flow| flow.status),
        }))
    }
}

/// How long a command waits for an answer.
pub const PATIENCE: Duration = Duration::from_secs(15);

impl FlowAsk {
    fn option(&self) -> FlowIdentification {
        let selector =
            Ipv6Selector { source: self.source, label: self.label.map(Into::into), next_header: Some(UDP), ..Ipv6Selector::default() };
        let option = FlowIdentification::new(self.id, 1, FlowStatus::DONE);
        let option = match BindingReference::new(self.bindings.iter().copied()) {
            Some(reference) => option.with(reference),
            None => option,
        };
        option.with(selector)
    }
}

/// What an acknowledgement is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Judged {
    /// The answer, authentic.
    Answered(Answer),
    /// It says that the care-of test has expired, and nothing proves it.
    TestAsked,
}

/// An authentic answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    pub(super) status: Status,
    pub(super) sequence: u16,
    pub(super) lifetime: Duration,
    pub(super) home: Option<HomeAddress>,
    pub(super) granted: Option<(Spi, u64)>,
    pub(super) time: Option<u64>,
    /// What has to be answered before.
    pub(super) question: Option<ConsentQuestion>,
    pub(super) flow: Option<FlowStatus>,
}

/// Retransmission: after one second, then after twice as long each time, up to 32 (RFC 6275 section 11.8).
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_secs(1);
    const LAST: Duration = Duration::from_secs(32);

    /// How long to wait from now on.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(Self::LAST);
        pause
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self(Self::FIRST)
    }
}

/// The numbers of an ask that may still be answered, newest last; old ones make room.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers(SmallVec<[u16; 8]>);

impl Numbers {
    pub(super) fn add(&mut self, number: u16) {
        if self.0.len() == self.0.inline_size() {
            self.0.remove(0);
        }
        self.0.push(number);
    }

    pub(super) fn as_slice(&self) -> &[u16] {
        &self.0
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
