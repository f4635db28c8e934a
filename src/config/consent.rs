//! `steering.consent` and `home.consent`: who must say yes before a flow goes to another device.

use serde::de::{Deserialize, Deserializer, Error};
use serde::{Serialize, Serializer};

/// `steering.consent`, `home.consent`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consent {
    /// Nobody: the key is enough.
    #[default]
    AnyoneWithKey,
    /// The side that has the flow.
    AskHolder,
    /// The device that is to have it.
    AskTaker,
    /// Who knows a PIN.
    Pin,
    /// Nobody may.
    Never,
    /// A service.
    Webhook,
}

impl Consent {
    const ALL: [Self; 6] = [Self::AnyoneWithKey, Self::AskHolder, Self::AskTaker, Self::Pin, Self::Never, Self::Webhook];
    /// What it may be.
    pub(super) const HELP: &str = "is \"anyone-with-key\", \"ask-holder\", \"ask-taker\", \"pin\", \"never\" or \"webhook\"";

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AnyoneWithKey => "anyone-with-key",
            Self::AskHolder => "ask-holder",
            Self::AskTaker => "ask-taker",
            Self::Pin => "pin",
            Self::Never => "never",
            Self::Webhook => "webhook",
        }
    }

    /// The one that is written like that.
    pub(super) fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|consent| consent.as_str() == text)
    }
}

impl Serialize for Consent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Consent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::of(&String::deserialize(deserializer)?).ok_or_else(|| D::Error::custom(Self::HELP))
    }
}
