//! What the signalling has done, as numbers that only rise (`docs/signalling.md` section 8).

use crate::mobility::wire::Status;

/// What is counted, beside what steering counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counted {
    /// Datagrams that are no message, or one that breaks the rules of its form.
    Malformed,
    /// Messages that only a server sends.
    Unexpected,
    /// Home tests that mean nothing here.
    HomeTestIgnored,
    /// Updates without an authenticator.
    Unauthenticated,
    /// Updates under a key that is not known and cannot be derived.
    UnknownSpi,
    /// Authenticators that are wrong.
    AuthenticationFailed,
    /// Numbers and timestamps that are not new.
    Replay,
    /// Care-of tests answered.
    CareOfTest,
    /// Home tests answered.
    HomeTest,
    /// Binding Errors sent.
    BindingError,
    /// Binding Refresh Requests sent.
    RefreshRequest,
    /// Answers that a flood limit has kept back.
    RateLimited,
}

impl Counted {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Malformed,
        Self::Unexpected,
        Self::HomeTestIgnored,
        Self::Unauthenticated,
        Self::UnknownSpi,
        Self::AuthenticationFailed,
        Self::Replay,
        Self::CareOfTest,
        Self::HomeTest,
        Self::BindingError,
        Self::RefreshRequest,
        Self::RateLimited,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "rx_malformed",
            Self::Unexpected => "rx_unexpected",
            Self::HomeTestIgnored => "rx_hoti_ignored",
            Self::Unauthenticated => "drop_unauthenticated",
            Self::UnknownSpi => "drop_unknown_spi",
            Self::AuthenticationFailed => "auth_fail",
            Self::Replay => "replay",
            Self::CareOfTest => "tx_cot",
            Self::HomeTest => "tx_hot",
            Self::BindingError => "tx_binding_error",
            Self::RefreshRequest => "tx_brr",
            Self::RateLimited => "rate_limited",
        }
    }
}

/// The counters.
#[derive(Clone, Debug)]
pub struct Counters {
    events: [u64; Counted::ALL.len()],
    acknowledged: [u64; 256],
}

impl Default for Counters {
    fn default() -> Self {
        Self { events: [0; Counted::ALL.len()], acknowledged: [0; 256] }
    }
}

impl Counters {
    pub(crate) const fn count(&mut self, what: Counted) {
        self.events[what as usize] += 1;
    }

    pub(crate) fn count_status(&mut self, status: Status) {
        self.acknowledged[usize::from(status.0)] += 1;
    }

    /// How often something has happened.
    pub const fn of(&self, what: Counted) -> u64 {
        self.events[what as usize]
    }

    /// Acknowledgements sent, by status: those that there were.
    pub fn statuses(&self) -> impl Iterator<Item = (Status, u64)> + '_ {
        (0..=u8::MAX).map(Status).zip(self.acknowledged).filter(|(_, count)| *count > 0)
    }

    /// All that are not zero, with their names.
    pub fn named(&self) -> Vec<(String, u64)> {
        let events = Counted::ALL.into_iter().map(|what| (what.as_str().to_owned(), self.of(what))).filter(|(_, count)| *count > 0);
        events.chain(self.statuses().map(|(status, count)| (format!("ba_{}", status.0), count))).collect()
    }
}
