//! `Range` and normal play time (RFC 2326 sections 3.6 and 12.29). Only the unit `npt` is served.

use crate::playback::NptRange;
use crate::quantities::MediaTime;

/// A range that cannot be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RangeError {
    /// Another unit than `npt`.
    #[error("only npt ranges are served")]
    Unit,
    /// No range at all.
    #[error("the range is malformed")]
    Malformed,
}

/// Reads `npt=a-b`, `npt=a-`, `npt=-b`, `npt=now-`, with seconds or `hh:mm:ss`; a `;time=` behind it is ignored.
///
/// # Errors
/// [`RangeError`].
pub fn parse(text: &str) -> Result<NptRange, RangeError> {
    let (unit, rest) = text.trim().split_once('=').ok_or(RangeError::Malformed)?;
    if !unit.trim().eq_ignore_ascii_case("npt") {
        return Err(RangeError::Unit);
    }
    let span = rest.split(';').next().unwrap_or_default().trim();
    let (start, end) = span.split_once('-').ok_or(RangeError::Malformed)?;
    let (start, end) = (start.trim(), end.trim());
    let start = match start {
        "" => None,
        _ if start.eq_ignore_ascii_case("now") => None,
        _ => Some(time_of(start).ok_or(RangeError::Malformed)?),
    };
    let open = span.trim().starts_with('-');
    let end = if end.is_empty() { None } else { Some(time_of(end).ok_or(RangeError::Malformed)?) };
    if open && end.is_none() {
        return Err(RangeError::Malformed);
    }
    Ok(NptRange { start, end })
}

/// Reads seconds with or without a fraction, `m:ss` or `h:mm:ss`.
pub fn time_of(text: &str) -> Option<MediaTime> {
    let mut nanos: i64 = 0;
    let parts: Vec<&str> = text.split(':').collect();
    let (last, leading) = parts.split_last()?;
    if leading.len() > 2 {
        return None;
    }
    for part in leading {
        nanos = nanos.checked_add(whole(part)?)?.checked_mul(60)?;
    }
    let (seconds, fraction) = last.split_once('.').unwrap_or((last, ""));
    if seconds.is_empty() && fraction.is_empty() {
        return None;
    }
    let seconds = if seconds.is_empty() { 0 } else { whole(seconds)? };
    nanos = nanos.checked_add(seconds)?.checked_mul(1_000_000_000)?;
    if !fraction.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    let mut unit = 100_000_000;
    for digit in fraction.bytes().take(9) {
        nanos = nanos.checked_add(i64::from(digit - b'0') * unit)?;
        unit /= 10;
    }
    Some(MediaTime::from_nanos(nanos))
}

fn whole(text: &str) -> Option<i64> {
    let digits = (1..=10).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// That of what has no beginning and no end.
pub const LIVE: &str = "npt=now-";

/// `npt=a-b`, to the microsecond.
pub fn format(start: MediaTime, end: Option<MediaTime>) -> String {
    format!("npt={}-{}", format_time(start), end.map(format_time).unwrap_or_default())
}

fn format_time(at: MediaTime) -> String {
    // Never later than meant: a player that asks for this time again gets the same picture.
    let micros = at.as_nanos().max(0) / 1000;
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(milliseconds: i64) -> Option<MediaTime> {
        Some(MediaTime::from_nanos(milliseconds * 1_000_000))
    }

    #[test]
    fn ranges_are_read_in_every_form_that_players_send() {
        type Read = Result<(Option<MediaTime>, Option<MediaTime>), RangeError>;
        let table: [(&str, Read); 22] = [
            ("npt=0-", Ok((at(0), None))),
            ("npt=0.000-", Ok((at(0), None))),
            ("npt=0.000000-", Ok((at(0), None))),
            ("npt=30.5-40", Ok((at(30_500), at(40_000)))),
            ("npt=1:02:03.25-", Ok((at(3_723_250), None))),
            ("npt=1:30-2:00", Ok((at(90_000), at(120_000)))),
            ("npt=now-", Ok((None, None))),
            ("npt=-20", Ok((None, at(20_000)))),
            (" NPT = 5 - 6 ;time=19970123T143720Z", Ok((at(5_000), at(6_000)))),
            ("npt=.5-", Ok((at(500), None))),
            ("npt=5.-", Ok((at(5_000), None))),
            ("clock=19961108T142300Z-", Err(RangeError::Unit)),
            ("smpte=10:07:00-", Err(RangeError::Unit)),
            ("npt=", Err(RangeError::Malformed)),
            ("npt=-", Err(RangeError::Malformed)),
            ("npt=x-", Err(RangeError::Malformed)),
            ("npt=1e9-", Err(RangeError::Malformed)),
            ("npt=1:2:3:4-", Err(RangeError::Malformed)),
            ("npt=99999999999999999999-", Err(RangeError::Malformed)),
            ("npt=9999999999:9999999999:9999999999-", Err(RangeError::Malformed)),
            ("npt=.-", Err(RangeError::Malformed)),
            ("0-", Err(RangeError::Malformed)),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text).map(|range| (range.start, range.end)), expected, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = format(MediaTime::from_nanos(12_480_000_999), at(60_020));
        assert_eq!(text, "npt=12.480000-60.020000");
        assert_eq!(parse(&text).map(|range| range.end), Ok(at(60_020)));
        assert_eq!(format(MediaTime::from_nanos(-5), None), "npt=0.000000-");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}", tail in "[0-9:.now-]{0,30}") {
            let _ = parse(&text);
            let _ = parse(&format!("npt={tail}"));
        }
    }
}
