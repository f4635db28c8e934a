//! `Transport` (RFC 2326 section 12.39): what a player offers.

use std::net::Ipv6Addr;

/// One way of delivery that a player offers and that is served here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offered {
    /// Unicast UDP to these ports of the player's address.
    Udp {
        /// The protocol as it was spelled: `RTP/AVP` or `RTP/AVP/UDP`, or `AVPF` instead.
        protocol: &'static str,
        /// Whether the player sends feedback (RFC 4585): `RTP/AVPF`.
        feedback: bool,
        /// The RTP port.
        rtp: u16,
        /// The RTCP port.
        rtcp: u16,
    },
    /// Unicast UDP to whoever is bound to the address in `destination`, a home address.
    Home {
        /// The protocol as it was spelled.
        protocol: &'static str,
        /// The home address.
        home: Ipv6Addr,
        /// The ports there, if any were named.
        ports: Option<(u16, u16)>,
    },
    /// Interleaved in the connection.
    Interleaved {
        /// The protocol as it was spelled: `RTP/AVP/TCP` or `RTP/AVPF/TCP`.
        protocol: &'static str,
        /// The channels asked for, if any.
        channels: Option<(u8, u8)>,
    },
}

/// Why none of the offers fits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// None is served here.
    #[error("none of the offered transports is served")]
    Unsupported,
    /// Packets are asked to somewhere else: the value of `destination`.
    #[error("packets are sent to who asks for them only")]
    Destination(String),
}

/// Transport specifications that are looked at.
const MAX_OFFERS: usize = 16;

/// The first offer that is served; those with feedback (`RTP/AVPF`) where `with_feedback` says so.
///
/// # Errors
/// Why none is.
pub fn choose(value: &str, with_feedback: bool) -> Result<Offered, TransportError> {
    first(value, with_feedback, &["play"])
}

/// The first offer of who wants to send that can be taken in; never one with a destination.
///
/// # Errors
/// Why none is.
pub fn choose_recording(value: &str) -> Result<Offered, TransportError> {
    match first(value, false, &["record", "receive"])? {
        Offered::Home { home, .. } => Err(TransportError::Destination(home.to_string())),
        offered => Ok(offered),
    }
}

fn first(value: &str, with_feedback: bool, modes: &[&str]) -> Result<Offered, TransportError> {
    let mut error = TransportError::Unsupported;
    for offer in value.split(',').take(MAX_OFFERS) {
        match parse(offer, with_feedback, modes) {
            Ok(offered) => return Ok(offered),
            Err(TransportError::Unsupported) => {}
            Err(other) => error = other,
        }
    }
    Err(error)
}

/// What may stand before the first semicolon, whether it is interleaved, and whether the player sends feedback.
const PROTOCOLS: [(&str, bool, bool); 6] = [
    ("RTP/AVP", false, false),
    ("RTP/AVP/UDP", false, false),
    ("RTP/AVP/TCP", true, false),
    ("RTP/AVPF", false, true),
    ("RTP/AVPF/UDP", false, true),
    ("RTP/AVPF/TCP", true, true),
];

fn parse(offer: &str, with_feedback: bool, modes: &[&str]) -> Result<Offered, TransportError> {
    let mut parts = offer.split(';').map(str::trim);
    let spelled = parts.next().unwrap_or_default();
    let known = PROTOCOLS.into_iter().find(|(name, _, feedback)| name.eq_ignore_ascii_case(spelled) && (with_feedback || !feedback));
    let (protocol, interleaved, feedback) = known.ok_or(TransportError::Unsupported)?;
    let mut ports = None;
    let mut channels = None;
    let mut destination = None;
    for parameter in parts.filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "multicast" => return Err(TransportError::Unsupported),
            "mode" if !modes.iter().any(|mode| value.eq_ignore_ascii_case(mode)) => return Err(TransportError::Unsupported),
            "destination" if !value.is_empty() => destination = Some(value),
            "client_port" => ports = Some(pair::<u16>(value).ok_or(TransportError::Unsupported)?),
            // A pair that is none is as good as no pair: the response says which one it is.
            "interleaved" => channels = pair::<u8>(value).filter(|(rtp, rtcp)| rtp.checked_add(1) == Some(*rtcp)),
            _ => {}
        }
    }
    let home = destination.map(|text| text.trim_matches(['[', ']']).parse::<Ipv6Addr>().map_err(|_| text));
    let home = match home {
        Some(Ok(home)) if !interleaved => Some(home),
        Some(_) => return Err(TransportError::Destination(destination.unwrap_or_default().to_owned())),
        None => None,
    };
    if interleaved {
        return Ok(Offered::Interleaved { protocol, channels });
    }
    let ports = ports.filter(|(rtp, rtcp)| *rtp != 0 && *rtcp != 0);
    if let Some(home) = home {
        // Who is bound there did not ask for it.
        if feedback {
            return Err(TransportError::Unsupported);
        }
        return Ok(Offered::Home { protocol, home, ports });
    }
    let (rtp, rtcp) = ports.ok_or(TransportError::Unsupported)?;
    Ok(Offered::Udp { protocol, feedback, rtp, rtcp })
}

/// `a-b`, or `a` for itself and the next.
fn pair<T: std::str::FromStr + Copy + Into<u32> + TryFrom<u32>>(value: &str) -> Option<(T, T)> {
    let number = |text: &str| text.trim().bytes().all(|octet| octet.is_ascii_digit()).then(|| text.trim().parse::<T>().ok()).flatten();
    match value.split_once('-') {
        Some((first, second)) => Some((number(first)?, number(second)?)),
        None => {
            let first = number(value)?;
            Some((first, T::try_from(first.into() + 1).ok()?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn offers_of_players_are_read() {
        let udp = |rtp, rtcp| Offered::Udp { protocol: "RTP/AVP", feedback: false, rtp, rtcp };
        let interleaved = |channels| Offered::Interleaved { protocol: "RTP/AVP/TCP", channels };
        for (value, offered) in [
            ("RTP/AVP;unicast;client_port=5000-5001", udp(5000, 5001)),
            ("RTP/AVP/UDP;unicast;client_port=5000-5001", Offered::Udp { protocol: "RTP/AVP/UDP", feedback: false, rtp: 5000, rtcp: 5001 }),
            ("RTP/AVP;unicast;client_port=5000", udp(5000, 5001)),
            ("RTP/AVP/TCP;unicast;interleaved=2-3", interleaved(Some((2, 3)))),
            ("RTP/AVP/TCP;unicast", interleaved(None)),
            ("RTP/AVP/TCP;interleaved=0-7", interleaved(None)),
            ("RTP/AVP/TCP;interleaved=255", interleaved(None)),
            ("RTP/AVP/TCP;interleaved=256-257", interleaved(None)),
            ("RTP/AVP;multicast,RTP/AVP/TCP;unicast;interleaved=0-1", interleaved(Some((0, 1)))),
            ("RTP/SAVP;unicast;client_port=1-2, RTP/AVP ; unicast ; client_port=6000-6001 ; mode=\"PLAY\"", udp(6000, 6001)),
        ] {
            assert_eq!(choose(value, false), Ok(offered), "{value}");
        }
    }

    #[test]
    fn offers_with_feedback_are_read_where_they_are_served() {
        let gstreamer = "RTP/AVPF;unicast;client_port=5000-5001,RTP/AVPF/TCP;unicast;interleaved=0-1";
        let udp = |protocol| Ok(Offered::Udp { protocol, feedback: true, rtp: 5000, rtcp: 5001 });
        assert_eq!(choose(gstreamer, true), udp("RTP/AVPF"));
        assert_eq!(choose("rtp/avpf/udp;unicast;client_port=5000-5001", true), udp("RTP/AVPF/UDP"));
        let interleaved = Offered::Interleaved { protocol: "RTP/AVPF/TCP", channels: Some((0, 1)) };
        assert_eq!(choose("RTP/AVPF/TCP;unicast;interleaved=0-1", true), Ok(interleaved));
        assert_eq!(choose(gstreamer, false), Err(TransportError::Unsupported));
        let either = format!("{gstreamer},RTP/AVP;unicast;client_port=6000-6001");
        assert_eq!(choose(&either, false), Ok(Offered::Udp { protocol: "RTP/AVP", feedback: false, rtp: 6000, rtcp: 6001 }));
        assert_eq!(choose("RTP/AVPF;unicast;destination=fd00::1", true), Err(TransportError::Unsupported));
    }

    #[test]
    fn what_is_not_served_is_refused() {
        for value in [
            "",
            "RTP/AVP",
            "RTP/AVP;unicast",
            "RTP/AVP;unicast;client_port=0-1",
            "RTP/AVP;unicast;client_port=70000-70001",
            "RTP/AVP;unicast;client_port=65535",
            "RTP/AVP;unicast;client_port=-",
            "RTP/AVP/TCP;multicast",
            "RTP/AVP;unicast;client_port=5000-5001;mode=record",
        ] {
            assert_eq!(choose(value, false), Err(TransportError::Unsupported), "{value}");
        }
        for (value, destination) in [
            ("RTP/AVP;unicast;destination=192.0.2.1;client_port=5000-5001", "192.0.2.1"),
            ("RTP/AVP;unicast;destination=elsewhere;client_port=5000-5001", "elsewhere"),
            ("RTP/AVP/TCP;unicast;destination=fd00::1;interleaved=0-1", "fd00::1"),
        ] {
            assert_eq!(choose(value, false), Err(TransportError::Destination(destination.into())), "{value}");
        }
    }

    #[test]
    fn a_destination_may_be_an_address_of_ipv6() {
        let home = "fd00::1".parse().expect("an address");
        for (value, ports) in [
            ("RTP/AVP;unicast;destination=fd00::1;client_port=5000-5001", Some((5000, 5001))),
            ("RTP/AVP;unicast;client_port=5000;destination=\"[fd00::1]\"", Some((5000, 5001))),
            ("RTP/AVP;unicast;destination=[fd00::1]", None),
        ] {
            assert_eq!(choose(value, false), Ok(Offered::Home { protocol: "RTP/AVP", home, ports }), "{value}");
        }
    }

    #[test]
    fn who_sends_says_so_and_names_no_destination() {
        let udp = Offered::Udp { protocol: "RTP/AVP/UDP", feedback: false, rtp: 5000, rtcp: 5001 };
        assert_eq!(choose_recording("RTP/AVP/UDP;unicast;client_port=5000-5001;mode=record"), Ok(udp));
        let interleaved = Offered::Interleaved { protocol: "RTP/AVP/TCP", channels: Some((0, 1)) };
        assert_eq!(choose_recording("RTP/AVP/TCP;unicast;interleaved=0-1;mode=\"RECORD\""), Ok(interleaved));
        for value in ["RTP/AVP;unicast;client_port=5000-5001;mode=play", "RTP/AVP;multicast;mode=record"] {
            assert_eq!(choose_recording(value), Err(TransportError::Unsupported), "{value}");
        }
        let away = choose_recording("RTP/AVP;unicast;client_port=5000-5001;destination=fd00::1;mode=record");
        assert_eq!(away, Err(TransportError::Destination("fd00::1".into())));
    }

    proptest! {
        #[test]
        fn arbitrary_text_is_read_without_panic(value in "\\PC{0,120}") {
            let _ = choose(&value, true);
            let _ = choose_recording(&value);
        }
    }
}
