//! The configuration: a TOML file, environment variables over it, flags over both, checked once.
//!
//! Pure: text comes in; a [`Config`] that knows where each value is from, or all errors with their places, go out.
//! `layers` puts the sources together, `rules` holds what one value alone cannot tell, `shown` writes it out.

mod camera;
mod changes;
mod consent;
mod device;
mod entries;
mod error;
mod joining;
mod layers;
mod mdns;
mod mobility;
mod publish;
mod reference;
mod rules;
mod serve;
mod shown;
#[cfg(test)]
mod tests;
mod tls;
mod users;

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::access::Hashing;

pub use camera::{CameraConfig, CameraTransport, Password};
pub use changes::Changes;
pub use consent::Consent;
pub use device::DeviceConfig;
pub use error::{ConfigError, ConfigErrors, Fault, Origin, Warning};
pub use joining::{JoinDefault, PrimeRate};
pub use layers::{Flag, Layers, Loaded};
pub use mdns::MdnsConfig;
pub use mobility::{CareOfTest, KeyError, MobilityConfig, ProvisionedKey, SecretKey};
pub use publish::PublishConfig;
pub use reference::{KeyFacts, ListFacts, key_facts, list_facts};
pub use serve::{LogConfig, LogFormat, ServeConfig};
pub use tls::{TlsConfig, TlsListen};
pub use users::{AccessConfig, UserConfig};

/// Everything that can be set. Each field is a key of the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The library.
    pub library: LibraryConfig,
    /// RTSP.
    pub rtsp: RtspConfig,
    /// RTP and RTCP.
    pub rtp: RtpConfig,
    /// The API.
    pub http: HttpConfig,
    /// Who the server is, over TLS.
    pub tls: TlsConfig,
    /// Home addresses, filter and map.
    pub steering: SteeringConfig,
    /// The mobility signalling.
    pub mobility: MobilityConfig,
    /// Whether it is announced.
    pub mdns: MdnsConfig,
    /// What is kept.
    pub state: StateConfig,
    /// Logs.
    pub log: LogConfig,
    /// The data plane.
    pub data: DataConfig,
    /// How the server runs.
    pub serve: ServeConfig,
    /// Home addresses that are kept under names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub home: Vec<HomeConfig>,
    /// Devices that have a name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device: Vec<DeviceConfig>,
    /// Who may publish.
    #[serde(skip)]
    pub publish: Vec<PublishConfig>,
    /// Sources that are pulled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub camera: Vec<CameraConfig>,
    /// Who may play, and publish.
    #[serde(skip)]
    pub users: Vec<UserConfig>,
    /// Who may play what.
    #[serde(skip)]
    pub access: Vec<AccessConfig>,
}

/// `[library]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LibraryConfig {
    /// The folder that is served.
    pub path: PathBuf,
}

impl Default for LibraryConfig {
    fn default() -> Self {
        Self { path: "./media".into() }
    }
}

/// `[rtsp]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RtspConfig {
    /// Where RTSP is served; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where RTSP is served over TLS; unset is port 8322 where there is a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_listen: Option<TlsListen>,
    /// Connections in all.
    pub connections: usize,
    /// Connections from one address.
    pub connections_per_address: usize,
    /// Sessions made over one connection.
    pub sessions_per_connection: usize,
    /// Octets of request line and headers.
    pub header_bytes: usize,
    /// Octets of a request's body.
    pub body_bytes: usize,
    /// Seconds a request may take to arrive.
    pub request_timeout_s: u64,
    /// Seconds after which a session that says nothing ends.
    pub session_timeout_s: u64,
    /// Octets of media that wait for an interleaved connection.
    pub interleaved_queue: usize,
    /// How passwords are hashed where they are asked for; few players know anything but `md5`.
    pub digest: Hashing,
    /// Take passwords that are sent as they are (Basic) also without TLS.
    pub basic: bool,
}

impl Default for RtspConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8554)),
            tls_listen: None,
            connections: 10_000,
            connections_per_address: 4096,
            sessions_per_connection: 16,
            header_bytes: 16 * 1024,
            body_bytes: 64 * 1024,
            request_timeout_s: 10,
            session_timeout_s: 75,
            interleaved_queue: 1 << 20,
            digest: Hashing::Md5,
            basic: false,
        }
    }
}

/// `[rtp]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RtpConfig {
    /// The RTP port, RTCP is the next one; 0 takes a free even one.
    pub port: u16,
    /// Octets of an RTP packet.
    pub mtu: usize,
    /// Packets of a picture that leave at once at least; the others follow, as many again each millisecond.
    pub burst: usize,
    /// Milliseconds that the packets of a large picture may take at most; never more than half of its duration.
    pub spread_ms: u64,
    /// Milliseconds for which a packet can be sent again to who asks for that; 0 sends none again.
    pub rtx_ms: u64,
    /// DSCP of video packets, 0 to 63.
    pub dscp_video: u8,
    /// DSCP of audio packets, 0 to 63.
    pub dscp_audio: u8,
}

impl Default for RtpConfig {
    fn default() -> Self {
        Self { port: 8000, mtu: 1400, burst: 16, spread_ms: 2, rtx_ms: 2000, dscp_video: 0, dscp_audio: 0 }
    }
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Where the API is served; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the API is served over TLS; unset is port 8443 where there is a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_listen: Option<TlsListen>,
    /// Give the keys of home addresses, and take operators' passwords and logins, also without TLS from another machine.
    pub insecure_keys: bool,
    /// Bearer tokens of operators; where there are neither such nor users with the role `operator`, operators are who come from this machine.
    #[serde(skip_serializing)]
    pub tokens: Vec<String>,
    /// Where operators may ask from: this machine alone (`loopback`), or anywhere (`network`), which needs tokens or users with the role
    /// `operator`; unset is anywhere where there are such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operators: Option<OperatorsFrom>,
    /// Seconds after which a login that is not used ends.
    pub session_s: u64,
    /// Seconds after which a login ends.
    pub session_max_s: u64,
    /// Host names, beside `localhost` and loopback addresses, under which operators reach this machine.
    pub hosts: Vec<String>,
    /// Connections in all.
    pub connections: usize,
    /// Connections of one address, or of one /64 of IPv6.
    pub connections_per_address: usize,
    /// Seconds after which who takes nothing of what waits for it is cut off.
    pub write_timeout_s: u64,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8080)),
            tls_listen: None,
            insecure_keys: false,
            tokens: Vec::new(),
            operators: None,
            session_s: 3600,
            session_max_s: 86_400,
            hosts: Vec::new(),
            connections: 2048,
            connections_per_address: 256,
            write_timeout_s: 20,
        }
    }
}

/// Where operators may ask from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperatorsFrom {
    /// This machine.
    Loopback,
    /// Anywhere.
    Network,
}

/// `[steering]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SteeringConfig {
    /// Where home addresses are drawn from; else a prefix drawn once and kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home_prefix: Option<Ipv6Net>,
    /// Milliseconds for which the old care-of is served beside the new one.
    pub transition_ms: u64,
    /// Milliseconds for which it is served at most while the new one has had no packet, and how far ahead an aligned one may begin.
    pub max_window_ms: u64,
    /// Seconds a presentation waits for a device when the last one is gone.
    pub linger_s: u64,
    /// Milliseconds a new branch is primed back at most.
    pub max_prime_ms: u64,
    /// How a device joins a flow that runs, unless it says.
    pub join: JoinDefault,
    /// How fast a new branch is caught up.
    pub prime_rate: PrimeRate,
    /// Seconds for which a take-over token is good.
    pub context_s: u64,
    /// The address that packets to home addresses are to come from; else the one a player came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_source: Option<Ipv6Addr>,
    /// Care-ofs that operators may name without proof.
    pub trusted_care_of: Vec<IpNet>,
    /// What becomes of a flow to a home address while nobody is bound there.
    pub unbound: Unbound,
    /// Home addresses that are routed to their devices, for `unbound = "home"`.
    pub unbound_prefixes: Vec<Ipv6Net>,
    /// Who must say yes before a flow goes to another device, where a home address says nothing else.
    pub consent: Consent,
    /// The service that decides where consent is `webhook`: an http:// or https:// URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consent_webhook: Option<String>,
    /// A file in PEM with the certificates that vouch for services at https:// URLs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consent_ca: Option<PathBuf>,
}

/// What becomes of a flow to a home address while nobody is bound there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unbound {
    /// It waits.
    #[default]
    Pause,
    /// It goes out to the home address itself.
    Home,
}

impl Default for SteeringConfig {
    fn default() -> Self {
        Self {
            home_prefix: None,
            transition_ms: 2000,
            max_window_ms: 15_000,
            linger_s: 60,
            max_prime_ms: 20_000,
            join: JoinDefault::Primed,
            prime_rate: PrimeRate::Auto,
            context_s: 600,
            media_source: None,
            trusted_care_of: vec!["127.0.0.0/8".parse().expect("a prefix"), "::1/128".parse().expect("a prefix")],
            unbound: Unbound::Pause,
            unbound_prefixes: Vec::new(),
            consent: Consent::AnyoneWithKey,
            consent_webhook: None,
            consent_ca: None,
        }
    }
}

/// `[state]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StateConfig {
    /// The folder in which what must survive is kept; `none` keeps nothing; unset is the user's state folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
}

/// `[data]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Threads that send media; 0 leaves one processor to everything else.
    pub shards: usize,
    /// Presentations in all.
    pub presentations: usize,
    /// Presentations opened from one address, or one /64 of IPv6; those of this machine and of operators are not counted.
    pub presentations_per_address: usize,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self { shards: 0, presentations: 10_000, presentations_per_address: 2048 }
    }
}

/// `[[home]]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HomeConfig {
    /// The name in URLs.
    pub name: String,
    /// The title that starts there when nothing plays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Who must say yes before its flow goes to another device; else `steering.consent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consent: Option<Consent>,
    /// The PIN of `consent = "pin"`.
    #[serde(skip)]
    pub pin: Option<Password>,
    /// The service of `consent = "webhook"`; else `steering.consent_webhook`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
}
