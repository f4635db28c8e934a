//! What calls bring in their bodies, and answers that are no more than a few values. The description of the API is made from these types.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::http::authority::octets_of_hex;
use crate::http::object::Object;
use crate::http::whole::Whole;
use crate::http::words::{Address, Endpoint, Instant, KeyIndex, SessionId};
use crate::steering::KeygenToken;

/// A title, and where it is to be played: one of `home` and `homes`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Start", extend("oneOf" = [
    { "required": ["home"], "properties": { "home": { "type": "string" }, "homes": { "type": "null" } } },
    { "required": ["homes"], "properties": { "homes": { "type": "object" }, "home": { "type": "null" } } },
]))]
pub(super) struct StartBody {
    pub(super) title: String,
    /// A home address, or a name, which stands for all of its home addresses.
    pub(super) home: Option<String>,
    /// A home address for each kind of media, one at least.
    pub(super) homes: Option<Object<HomesBody>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline, extend("anyOf" = [
    { "required": ["video"], "properties": { "video": { "type": "string" } } },
    { "required": ["audio"], "properties": { "audio": { "type": "string" } } },
    { "required": ["text"], "properties": { "text": { "type": "string" } } },
]))]
pub(super) struct HomesBody {
    pub(super) video: Option<String>,
    pub(super) audio: Option<String>,
    pub(super) text: Option<String>,
}

/// A position.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Seek")]
pub(super) struct SeekBody {
    #[schemars(range(min = 0))]
    pub(super) position_seconds: f64,
    #[schemars(with = "Option<Scale>")]
    pub(super) scale: Option<f64>,
    #[schemars(with = "Option<Speed>")]
    pub(super) speed: Option<f64>,
    /// Whether sound begins with the very frame.
    #[serde(default)]
    pub(super) exact: bool,
}

/// How it plays from now on.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Play")]
pub(super) struct PlayBody {
    #[schemars(with = "Option<Scale>")]
    pub(super) scale: Option<f64>,
    #[schemars(with = "Option<Speed>")]
    pub(super) speed: Option<f64>,
}

/// How fast it plays from now on: 0.25 to 4, or backwards -1 to -32; the nearest of these is taken. Not zero.
#[derive(JsonSchema)]
#[schemars(extend("not" = { "const": 0 }))]
#[allow(dead_code)]
struct Scale(f64);

/// How fast its packets leave from now on, their timestamps being what they are: 0.25 to 4 times real time; the nearest of these is taken.
/// Above zero.
#[derive(JsonSchema)]
#[schemars(extend("exclusiveMinimum" = 0))]
#[allow(dead_code)]
struct Speed(f64);

/// What is to be reserved.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Reserve", extend("oneOf" = [
    { "required": ["consent", "pin"], "properties": { "consent": { "const": "pin" }, "pin": { "type": "string" } } },
    { "properties": { "consent": { "not": { "const": "pin" } }, "pin": { "type": "null" } } },
]))]
pub(super) struct ReserveBody {
    /// The name under which the address is kept.
    pub(super) name: Option<String>,
    pub(super) lifetime_seconds: Option<Whole<u32>>,
    #[schemars(with = "Option<Endpoint>")]
    pub(super) care_of: Option<SocketAddr>,
    /// The port for RTCP, if not the next one.
    pub(super) rtcp: Option<Whole<u16>>,
    pub(super) proof: Option<Object<ProofBody>>,
    pub(super) consent: Option<ConsentName>,
    /// Of `pin`.
    #[schemars(length(min = 1, max = 64))]
    pub(super) pin: Option<String>,
}

/// Who must say yes before the flow goes to another device; else as configured.
#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub(super) enum ConsentName {
    AnyoneWithKey,
    AskHolder,
    AskTaker,
    Pin,
    Never,
    Webhook,
}

/// That a care-of test was passed at the care-of, as `flowsteer prove` prints it.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Proof")]
pub(super) struct ProofBody {
    nonce_index: Whole<u16>,
    #[schemars(with = "String", extend("pattern" = "^[0-9a-fA-F]{16}$"))]
    token: ProofToken,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct ProofToken([u8; 8]);

impl TryFrom<String> for ProofToken {
    type Error = NoToken;

    fn try_from(text: String) -> Result<Self, NoToken> {
        octets_of_hex(&text).map(|octets| Self(*octets)).ok_or(NoToken)
    }
}

#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a token is 16 hex digits")]
struct NoToken;

impl ProofBody {
    pub(super) fn read(&self) -> KeygenToken {
        KeygenToken { index: self.nonce_index.0, token: self.token.0 }
    }
}

/// Where a flow is to go.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Bind")]
pub(super) struct BindingBody {
    #[schemars(with = "Endpoint")]
    pub(super) care_of: SocketAddr,
    /// The port for RTCP, if not the next one.
    pub(super) rtcp: Option<Whole<u16>>,
    pub(super) proof: Option<Object<ProofBody>>,
    pub(super) lifetime_seconds: Option<Whole<u32>>,
    pub(super) mode: Option<ModeName>,
    pub(super) join: Option<JoinName>,
    pub(super) transition_ms: Option<Whole<u32>>,
    #[schemars(with = "Option<GivenLabel>")]
    pub(super) flow_label: Option<String>,
    pub(super) pin: Option<String>,
}

/// An IPv6 flow label, not zero.
#[derive(JsonSchema)]
#[schemars(extend("pattern" = "^0x(?!0+$)[0-9a-fA-F]{1,5}$"))]
#[allow(dead_code)]
struct GivenLabel(String);

#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum ModeName {
    Move,
    Fork,
}

#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub(super) enum JoinName {
    Primed,
    AtOnce,
    Aligned,
}

/// What is to be handed over.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Handover")]
pub(super) struct ContextBody {
    pub(super) identity: Option<String>,
    pub(super) lifetime_seconds: Option<Whole<u32>>,
    pub(super) scope: Option<ScopeName>,
    /// Whether several may use it.
    #[serde(default)]
    pub(super) reusable: bool,
}

#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum ScopeName {
    Presentation,
    Flow,
}

/// Who logs in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Login")]
pub(super) struct LoginBody {
    #[schemars(length(max = 512))]
    pub(super) user: String,
    #[schemars(length(max = 512))]
    pub(super) password: String,
}

/// Who has logged in.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct LoggedIn {
    pub(super) user: String,
    /// What by cookie all but GET shows in the header `X-CSRF-Token`.
    pub(super) csrf: String,
}

/// The answer to a question.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Answer")]
pub(super) struct AnswerBody {
    pub(super) answer: AnswerName,
    /// The question's `answerKey`, from the device that is asked.
    pub(super) key: Option<String>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum AnswerName {
    Yes,
    No,
}

/// A question was answered.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Answered {
    pub(super) id: String,
    pub(super) answer: AnswerName,
}

/// An open question. Nothing in it is a secret: keys are not named.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields, rename = "Question")]
pub(super) struct OpenQuestion {
    pub(super) id: String,
    pub(super) home_address: Option<Address>,
    pub(super) home_addresses: Vec<Address>,
    pub(super) session: Option<SessionId>,
    /// The address of the device that is to have the flows.
    #[schemars(extend("format" = "ip"))]
    pub(super) taker: String,
    #[schemars(extend("enum" = ["rtsp", "http", "binding-update"]))]
    pub(super) way: &'static str,
    #[schemars(extend("enum" = ["holder", "taker", "webhook"]))]
    pub(super) asked: &'static str,
    pub(super) seconds_left: u64,
    /// Shown to the device that is asked, and only to it: who gives it may answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) answer_key: Option<String>,
}

/// A binding waits for an answer.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Withheld")]
pub(super) struct WithheldBinding {
    pub(super) consent: OpenQuestion,
}

/// A home address that was reserved.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct Reserved {
    pub(super) home_address: Address,
    /// The home key: bearer of everything about this home address.
    #[schemars(extend("pattern" = "^[0-9a-f]{64}$"))]
    pub(super) key: String,
    pub(super) spi: KeyIndex,
    /// Null where it ends with its owner.
    pub(super) expires_at: Option<Instant>,
}

/// What another device needs to take over.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct TakeOver {
    /// As docs/context.schema.json says.
    #[schemars(extend("type" = "object", "required" = ["version", "transfer_id", "media_source", "protocol", "flows"]))]
    pub(super) context: Value,
    /// Opened with any player, it moves what plays to that player.
    #[schemars(extend("format" = "uri"))]
    pub(super) takeover_url: String,
    /// Null where it ends with its owner.
    pub(super) expires_at: Option<Instant>,
}
