//! With what a seek begins (RFC 7826 section 18.47, `Seek-Style`).

use std::fmt;

/// What a player wants to begin with that asks for a position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SeekStyle {
    /// Sound and pictures with the last random access point of the pictures at or before the position.
    #[default]
    RandomAccess,
    /// The same, but where no random access point lies between the present position and the one that is asked for, playing goes
    /// on from where it is.
    ConditionalRandomAccess,
    /// Sound with the frame that is heard at the position, pictures with the random access point before it, faster than real
    /// time up to the position. Where that cannot be done, as [`SeekStyle::RandomAccess`].
    FirstPrior,
}

impl SeekStyle {
    /// Reads the name of a policy, in any case; `None` for one that there is not.
    pub fn parse(text: &str) -> Option<Self> {
        let known = [Self::RandomAccess, Self::ConditionalRandomAccess, Self::FirstPrior];
        known.into_iter().find(|style| style.as_str().eq_ignore_ascii_case(text.trim()))
    }

    /// The name of the policy.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RandomAccess => "RAP",
            Self::ConditionalRandomAccess => "CoRAP",
            Self::FirstPrior => "First-Prior",
        }
    }
}

impl fmt::Display for SeekStyle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_as_they_are_written_in_any_case() {
        for style in [SeekStyle::RandomAccess, SeekStyle::ConditionalRandomAccess, SeekStyle::FirstPrior] {
            assert_eq!(SeekStyle::parse(&style.to_string()), Some(style));
            assert_eq!(SeekStyle::parse(&format!(" {} ", style.as_str().to_lowercase())), Some(style));
        }
        assert_eq!([SeekStyle::parse("Next"), SeekStyle::parse("")], [None, None]);
    }
}
