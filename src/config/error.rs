//! What is wrong with a configuration, and where; the key that was meant.

use std::fmt;

use crate::access::HashError;
use crate::config::mobility::KeyError;

/// Where a value is from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Built in.
    Default,
    /// The file.
    File {
        /// Its name.
        name: String,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A flag or argument.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {}{}{fault}", key.as_deref().unwrap_or_default(), if key.is_some() { ": " } else { "" })]
pub struct ConfigError {
    /// Where.
    pub origin: Origin,
    /// Of which key; `None` where the file cannot be read at that place.
    pub key: Option<String>,
    /// What.
    pub fault: Fault,
}

/// Why a setting is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The file is no TOML there; the parser's words.
    #[error("{0}")]
    Syntax(String),
    /// There is no such key.
    #[error("no such key{}", meant(nearest.as_deref()))]
    Unknown {
        /// The one that was probably meant.
        nearest: Option<String>,
    },
    /// The value does not fit the key; in the words of the value's own reader.
    #[error("{0}")]
    Value(String),
    /// The value stands where a section is.
    #[error("is a section: [{0}]")]
    Section(String),
    /// Entries are written as `[[name]]`.
    #[error("its entries are written as [[{0}]]")]
    Entries(&'static str),
    /// An entry lacks what it cannot be without.
    #[error("is missing")]
    Missing,
    /// It is no key; the digits themselves are not told.
    #[error("{0}")]
    Key(KeyError),
    /// It is no hash of a password; the digits themselves are not told.
    #[error("{0}")]
    PasswordHash(HashError),
    /// The file that it names cannot be used.
    #[error("{0}")]
    File(String),
    /// The value breaks a rule of its key, or of several keys together.
    #[error("{0}")]
    Rule(&'static str),
}

fn meant(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!(", did you mean {nearest}?"))
}

/// All that is wrong with a configuration, in the order of the layers and lines; one line for each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.lines())]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigErrors {
    fn lines(&self) -> String {
        self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}

/// What is odd and keeps nobody from starting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// A variable with our prefix that sets nothing.
    #[error("{name}: no such setting{}", meant(nearest.as_deref()))]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The one that was probably meant.
        nearest: Option<String>,
    },
    /// A token that can be found by trying; it is not told itself.
    #[error("{0}: http.tokens: one of fewer than 16 characters can be guessed")]
    ShortToken(Origin),
}

/// The known name that was probably meant: not many letters away, or the same key of another section.
pub(super) fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    fn last(name: &str) -> &str {
        name.rsplit_once('.').map_or(name, |(_, last)| last)
    }
    let cost = |candidate: &str| if last(candidate) == last(unknown) { 1 } else { distance(unknown, candidate) };
    let (best, cost) = known.into_iter().map(|candidate| (candidate, cost(candidate))).min_by_key(|(_, cost)| *cost)?;
    (cost <= (last(unknown).len() / 3).max(2)).then_some(best)
}

/// Letters that differ, were left out, added or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let above = &rows[i - 1];
            let mut least = (above[j] + 1).min(row[j - 1] + 1).min(above[j - 1] + usize::from(a[i - 1] != b[j - 1]));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}
