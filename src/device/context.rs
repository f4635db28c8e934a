//! The stream context that one device hands to the next (`docs/signalling.md` section 11), as `docs/context.schema.json` has it.
//!
//! Pure: text comes in, text goes out. What the schema accepts is accepted and nothing else; members that are unknown here are
//! kept. It holds keys: they are erased when dropped and never shown. A context can be split into one without keys and a file of
//! keys, that travel apart, and be joined again.

use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::device::member::{Bounded, Digits, Fraction, Instant, KeyText, Label, MediaName, Named, RtspState, RtspVersion, Whole, present};
use crate::quantities::FlowLabel;
use crate::steering::{BindingId, HomeAddress, Key, Spi};

/// Members that are not known here.
type Others = Map<String, Value>;

/// 1 to 65535: a port, or an identifier of a binding or a flow.
pub type Number16 = Bounded<1, 65_535>;

/// All that the next device needs to take flows over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamContext {
    version: Bounded<1, 1>,
    transfer_id: Digits,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    application: Option<Application>,
    media_source: MediaSource,
    protocol: Protocol,
    flows: Vec<Flow>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    sdp: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    position: Option<Position>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    presentation: Option<Appearance>,
    #[serde(flatten)]
    others: Others,
}

/// What the viewer's application was doing.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Application {
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    presentation_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    cookies: Option<Vec<Cookie>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    history: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    bookmarks: Option<Vec<String>>,
    #[serde(flatten)]
    others: Others,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Cookie {
    name: String,
    value: String,
    #[serde(flatten)]
    others: Others,
}

/// Where the media come from.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct MediaSource {
    address: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    rtsp_uri: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    signalling: Option<Signalling>,
    #[serde(flatten)]
    others: Others,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Signalling {
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    udp_port: Option<Number16>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    native: Option<bool>,
    #[serde(flatten)]
    others: Others,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Protocol {
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    rtsp: Option<RtspSession>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    rtp: Option<Vec<RtpState>>,
    #[serde(flatten)]
    others: Others,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct RtspSession {
    version: RtspVersion,
    session: Named,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    session_timeout_s: Option<Whole<1>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    cseq: Option<Whole<0>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    state: Option<RtspState>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    transport: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    accept_ranges: Option<Vec<String>>,
    #[serde(flatten)]
    others: Others,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct RtpState {
    media: String,
    ssrc: Digits,
    payload_type: Bounded<0, 127>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    clock_rate: Option<Whole<1>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    last_sequence: Option<Bounded<0, 65_535>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    last_timestamp: Option<Bounded<0, 4_294_967_295>>,
    #[serde(flatten)]
    others: Others,
}

/// A flow that is handed over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flow {
    media: MediaName,
    home_address: Ipv6Addr,
    flow_label: Label,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    fid: Option<Number16>,
    bid: BindingIds,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    window_ms: Option<Bounded<0, 4_294_967_295>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    ports: Option<Ports>,
    authorization: Authorization,
    #[serde(flatten)]
    others: Others,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct BindingIds {
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    previous: Option<Number16>,
    yours: Number16,
    #[serde(flatten)]
    others: Others,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ports {
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    source: Option<PortPair>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    previous: Option<PortPair>,
    #[serde(flatten)]
    others: Others,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct PortPair {
    rtp: Number16,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    rtcp: Option<Number16>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    mux: Option<bool>,
    #[serde(flatten)]
    others: Others,
}

/// The session key, and what it is bound to.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Authorization {
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    session_key: Option<KeyText>,
    spi: Digits,
    parent_spi: Digits,
    validity_end: Whole<0>,
    media_source: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    identity: Option<Option<String>>,
    #[serde(flatten)]
    others: Others,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Position {
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    npt_s: Option<Fraction<0, { i64::MAX }>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    wallclock: Option<Instant>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    rate: Option<Fraction<{ i64::MIN }, { i64::MAX }>>,
    #[serde(flatten)]
    others: Others,
}

/// How it was shown and heard.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Appearance {
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    volume: Option<Fraction<0, 1>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    muted: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    bass_boost_db: Option<Fraction<{ i64::MIN }, { i64::MAX }>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    window: Option<WindowShape>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    subtitle: Option<Subtitle>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    audio: Option<Sound>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    effects: Option<Vec<Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    capabilities: Option<Vec<String>>,
    #[serde(flatten)]
    others: Others,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct WindowShape {
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    width: Option<Whole<{ i64::MIN }>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    height: Option<Whole<{ i64::MIN }>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    fullscreen: Option<bool>,
    #[serde(flatten)]
    others: Others,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Subtitle {
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    language: Option<String>,
    #[serde(flatten)]
    others: Others,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sound {
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    language: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    channels: Option<Whole<{ i64::MIN }>>,
    #[serde(flatten)]
    others: Others,
}

/// What the API answers around a context.
#[derive(Deserialize)]
struct Envelope {
    context: StreamContext,
}

/// Tells a context from an answer of the API.
#[derive(Deserialize)]
struct Probe {
    version: Option<serde::de::IgnoredAny>,
    context: Option<serde::de::IgnoredAny>,
}

/// The keys of a context, apart from it.
#[derive(Debug, Serialize, Deserialize)]
struct KeysFile {
    version: Bounded<1, 1>,
    transfer_id: Digits,
    keys: Vec<KeyEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeyEntry {
    home_address: Ipv6Addr,
    spi: Digits,
    session_key: KeyText,
}

/// Why a text is no context that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// It is no JSON, or not of the form.
    #[error("no stream context: {0}")]
    Form(#[from] serde_json::Error),
    /// It has no flow.
    #[error("no stream context: it has no flow")]
    NoFlow,
    /// The index of a session key has no top bit.
    #[error("no stream context: {0} is no session key's index")]
    Index(Spi),
    /// A flow has no key: it was split off.
    #[error("the key for {0} is not in it: its keys are in a file of their own")]
    KeyMissing(Ipv6Addr),
    /// The keys are of another context.
    #[error("the keys are of transfer {keys}, the context is transfer {context}")]
    OtherTransfer {
        /// Of the keys.
        keys: Digits,
        /// Of the context.
        context: Digits,
    },
}

/// What a session key is, and what it is bound to.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Names it.
    pub spi: Spi,
    /// Its octets.
    pub key: Key,
    /// The key it was derived from.
    pub parent: Spi,
    /// When it ends, in seconds since 1970.
    pub validity_end: u64,
    /// Where the flow comes from, as the key has it.
    pub media_source: Ipv6Addr,
    /// Whom it is bound to, if to somebody.
    pub identity: Option<String>,
}

impl StreamContext {
    /// A context, also out of the answer of the API that it stands in.
    ///
    /// # Errors
    /// What keeps it from being one; a context without its keys is none.
    pub fn read(text: &str) -> Result<Self, ContextError> {
        let context = Self::read_keyless(text)?;
        match context.flows.iter().find(|flow| flow.authorization.session_key.is_none()) {
            Some(flow) => Err(ContextError::KeyMissing(flow.home_address)),
            None => Ok(context),
        }
    }

    /// A context and the keys that were split off from it.
    ///
    /// # Errors
    /// What keeps it from being one, or the keys from being its.
    pub fn read_with_keys(text: &str, keys: &str) -> Result<Self, ContextError> {
        let mut context = Self::read_keyless(text)?;
        let file: KeysFile = serde_json::from_str(keys)?;
        if file.transfer_id != context.transfer_id {
            return Err(ContextError::OtherTransfer { keys: file.transfer_id, context: context.transfer_id });
        }
        for flow in &mut context.flows {
            let entry = file.keys.iter().find(|entry| entry.home_address == flow.home_address && entry.spi == flow.authorization.spi);
            match entry {
                Some(entry) => flow.authorization.session_key = Some(entry.session_key.clone()),
                None if flow.authorization.session_key.is_none() => return Err(ContextError::KeyMissing(flow.home_address)),
                None => {}
            }
        }
        Ok(context)
    }

    fn read_keyless(text: &str) -> Result<Self, ContextError> {
        let probe: Probe = serde_json::from_str(text)?;
        let context = match probe {
            Probe { version: None, context: Some(_) } => serde_json::from_str::<Envelope>(text)?.context,
            _ => serde_json::from_str(text)?,
        };
        if context.flows.is_empty() {
            return Err(ContextError::NoFlow);
        }
        let plain = context.flows.iter().map(|flow| flow.authorization.spi.spi()).find(|spi| spi.0 <= Spi::LAST);
        plain.map_or(Ok(context), |spi| Err(ContextError::Index(spi)))
    }

    /// The context as text, keys and all.
    ///
    /// # Errors
    /// None that is known: all of it is text and numbers.
    pub fn write(&self) -> Result<Zeroizing<String>, ContextError> {
        Ok(Zeroizing::new(serde_json::to_string_pretty(self)?))
    }

    /// The context without its keys, and a file of them.
    ///
    /// # Errors
    /// As [`StreamContext::write`].
    pub fn write_split(&self) -> Result<(String, Zeroizing<String>), ContextError> {
        let mut keyless = self.clone();
        let take = |flow: &mut Flow| {
            let session_key = flow.authorization.session_key.take()?;
            Some(KeyEntry { home_address: flow.home_address, spi: flow.authorization.spi, session_key })
        };
        let keys = keyless.flows.iter_mut().filter_map(take).collect();
        let file = KeysFile { version: self.version, transfer_id: self.transfer_id, keys };
        Ok((serde_json::to_string_pretty(&keyless)?, Zeroizing::new(serde_json::to_string_pretty(&file)?)))
    }

    /// Names the transfer.
    pub const fn transfer_id(&self) -> u32 {
        self.transfer_id.0
    }

    /// The flows, at least one.
    pub fn flows(&self) -> &[Flow] {
        &self.flows
    }

    /// The description of the media, if there is one.
    pub fn sdp(&self) -> Option<&str> {
        self.sdp.as_deref()
    }

    /// Where the media come from.
    pub fn media_source(&self) -> IpAddr {
        self.media_source.address.to_canonical()
    }

    /// The URL of what plays, if it is told.
    pub fn rtsp_uri(&self) -> Option<&str> {
        self.media_source.rtsp_uri.as_deref()
    }

    /// The UDP port of the signalling, if it is told.
    pub fn signalling_port(&self) -> Option<u16> {
        self.media_source.signalling.as_ref()?.udp_port.map(Bounded::small)
    }
}

impl Flow {
    /// `video`, `audio`, …
    pub const fn media(&self) -> &'static str {
        self.media.as_str()
    }

    /// Whose packets.
    pub const fn home(&self) -> HomeAddress {
        HomeAddress(self.home_address)
    }

    /// Its label.
    pub const fn label(&self) -> FlowLabel {
        self.flow_label.0
    }

    /// Its identifier, if it is told.
    pub fn flow_id(&self) -> Option<u16> {
        self.fid.map(Bounded::small)
    }

    /// The binding that has it, if it is told.
    pub fn previous(&self) -> Option<BindingId> {
        self.bid.previous.map(|id| BindingId(id.small()))
    }

    /// The binding that the next device is to make.
    pub const fn yours(&self) -> BindingId {
        BindingId(self.bid.yours.small())
    }

    /// The transition window in milliseconds, if it is told.
    pub fn window_ms(&self) -> Option<u32> {
        self.window_ms.map(|window| u32::try_from(window.get()).unwrap_or(u32::MAX))
    }

    /// Its session key; `None` where that was split off.
    pub fn grant(&self) -> Option<Grant> {
        let authorization = &self.authorization;
        Some(Grant {
            spi: authorization.spi.spi(),
            key: authorization.session_key.as_ref()?.0.clone(),
            parent: authorization.parent_spi.spi(),
            validity_end: authorization.validity_end.get(),
            media_source: match authorization.media_source {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            },
            identity: authorization.identity.clone().flatten(),
        })
    }
}

#[cfg(test)]
#[path = "context_tests.rs"]
mod tests;
