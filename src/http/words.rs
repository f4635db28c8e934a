//! Texts of the API that have a form: what they look like stands here, and nowhere else.

use schemars::JsonSchema;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::playback::PresentationId;
use crate::quantities::{FlowLabel, MediaKind};
use crate::steering::{HomeAddress, Spi};

/// RFC 3339, UTC.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(extend("format" = "date-time"))]
pub struct Instant(String);

impl Instant {
    /// To the second; `None` for a time that is never reached.
    pub fn at(unix_seconds: u64) -> Option<Self> {
        let seconds = i64::try_from(unix_seconds).ok()?;
        OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(&Rfc3339).ok().map(Self)
    }
}

/// A home address.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(extend("format" = "ipv6"))]
pub struct Address(String);

impl From<HomeAddress> for Address {
    fn from(home: HomeAddress) -> Self {
        Self(home.to_string())
    }
}

/// An IPv6 flow label.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(extend("pattern" = "^0x[0-9a-f]{5}$"))]
pub struct Label(String);

impl From<FlowLabel> for Label {
    fn from(label: FlowLabel) -> Self {
        Self(label.to_string())
    }
}

/// Names a presentation; no secret.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(extend("pattern" = "^[0-9a-f]{16}$"))]
pub struct SessionId(String);

impl From<PresentationId> for SessionId {
    fn from(id: PresentationId) -> Self {
        Self(id.to_string())
    }
}

/// The index of a key.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Spi", extend("pattern" = "^0x[0-9a-f]{8}$"))]
pub struct KeyIndex(String);

impl From<Spi> for KeyIndex {
    fn from(spi: Spi) -> Self {
        Self(spi.to_string())
    }
}

/// An address with a port: `192.0.2.1:5000`, `[2001:db8::1]:5000`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(extend("pattern" = ENDPOINT))]
pub struct Endpoint(String);

impl From<std::net::SocketAddr> for Endpoint {
    fn from(at: std::net::SocketAddr) -> Self {
        Self(at.to_string())
    }
}

/// IPv4 as RFC 3986 section 3.2.2 has it, or IPv6 as RFC 4291 section 2.2 writes it, with the zone of RFC 4007 section 11 as a number, and a port.
pub(super) const ENDPOINT: &str = concat!(
    r"^(((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])",
    r"|\[(([0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}|([0-9a-fA-F]{1,4}:){1,7}:|([0-9a-fA-F]{1,4}:){1,6}:[0-9a-fA-F]{1,4}",
    r"|([0-9a-fA-F]{1,4}:){1,5}(:[0-9a-fA-F]{1,4}){1,2}|([0-9a-fA-F]{1,4}:){1,4}(:[0-9a-fA-F]{1,4}){1,3}",
    r"|([0-9a-fA-F]{1,4}:){1,3}(:[0-9a-fA-F]{1,4}){1,4}|([0-9a-fA-F]{1,4}:){1,2}(:[0-9a-fA-F]{1,4}){1,5}",
    r"|[0-9a-fA-F]{1,4}:(:[0-9a-fA-F]{1,4}){1,6}|:((:[0-9a-fA-F]{1,4}){1,7}|:)",
    r"|::([fF]{4}:)?((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9]))(%[0-9]{1,9})?\])",
    r":([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$",
);

/// What a track carries.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Subtitles.
    Text,
}

impl From<MediaKind> for Kind {
    fn from(kind: MediaKind) -> Self {
        match kind {
            MediaKind::Video => Self::Video,
            MediaKind::Audio => Self::Audio,
            MediaKind::Text => Self::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_is_described_can_be_read_and_one_that_is_not_cannot() {
        let schema = serde_json::json!({ "type": "string", "pattern": ENDPOINT });
        let described = jsonschema::draft202012::options().build(&schema).expect("a schema");
        for (text, expected) in [
            ("192.0.2.1:5000", true),
            ("0.0.0.0:0", true),
            ("255.255.255.255:65535", true),
            ("192.0.2.256:1", false),
            ("192.0.02.1:1", false),
            ("192.0.2.1:65536", false),
            ("192.0.2.1:", false),
            ("192.0.2.1", false),
            ("[::]:5000", true),
            ("[::1]:5000", true),
            ("[2001:db8::1]:5000", true),
            ("[2001:db8:0:1:2:3:4:5]:5000", true),
            ("[1::]:1", true),
            ("[1:2:3:4:5:6:7::]:1", true),
            ("[::2:3:4:5:6:7:8]:1", true),
            ("[1:2:3:4:5:6:7:8:9]:1", false),
            ("[1::2::3]:1", false),
            ("[::ffff:192.0.2.1]:1", true),
            ("[fe80::1%3]:1", true),
            ("[12345::]:1", false),
            ("2001:db8::1:5000", false),
        ] {
            assert_eq!(described.is_valid(&text.into()), expected, "{text}");
            assert_eq!(text.parse::<std::net::SocketAddr>().is_ok(), expected, "{text}");
        }
    }
}
