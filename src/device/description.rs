//! The description of a stream context, turned into one that a player without RTSP opens: ports and address are where the device
//! takes the flows (RFC 8866; what players make of each line is in `docs/players.md`).
//!
//! Pure. What describes the formats (`rtpmap`, `fmtp`) stays as it is; what is about RTSP goes.

use std::net::IpAddr;

/// Where one flow is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place<'a> {
    /// `video`, `audio`, …
    pub media: &'a str,
    /// The RTP port.
    pub rtp: u16,
    /// The RTCP port.
    pub rtcp: u16,
}

/// Why a description cannot be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DescriptionError {
    /// A flow is not described.
    #[error("the context describes no {0} flow like this")]
    NotDescribed(String),
    /// A line does not read as one.
    #[error("the context's description has a line that is none: {0}")]
    Line(String),
}

/// A section of a description: its `m=` line and what follows.
struct Section<'a> {
    media: &'a str,
    proto: &'a str,
    formats: &'a str,
    lines: Vec<&'a str>,
}

/// The description with these flows only, the first place of a kind for the first flow of it.
///
/// # Errors
/// A flow is not described, or the description cannot be read.
pub fn placed(description: &str, care_of: IpAddr, places: &[Place<'_>]) -> Result<String, DescriptionError> {
    let mut session = Vec::new();
    let mut sections: Vec<Section<'_>> = Vec::new();
    for line in description.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        let wrong = || DescriptionError::Line(line.chars().take(80).collect());
        if line.as_bytes().get(1) != Some(&b'=') {
            return Err(wrong());
        }
        if let Some(rest) = line.strip_prefix("m=") {
            let mut words = rest.splitn(4, ' ');
            let (Some(media), Some(_), Some(proto), Some(formats)) = (words.next(), words.next(), words.next(), words.next()) else {
                return Err(wrong());
            };
            sections.push(Section { media, proto, formats, lines: Vec::new() });
            continue;
        }
        let is_ours = ["c=", "a=control:", "a=rtcp:", "a=recvonly"].iter().any(|start| line.starts_with(start));
        match sections.last_mut() {
            _ if is_ours => {}
            Some(section) => section.lines.push(line),
            None => session.push(line),
        }
    }
    // RFC 8866 section 5: c= stands before these.
    let at = session.iter().position(|line| "btrzka".contains(&line[..1])).unwrap_or(session.len());
    let family = if care_of.is_ipv4() { "IP4" } else { "IP6" };
    let connection = format!("c=IN {family} {care_of}");
    session.insert(at, &connection);
    let mut text = String::new();
    let mut put = |line: &str| {
        text.push_str(line);
        text.push_str("\r\n");
    };
    session.iter().for_each(|line| put(line));
    let mut used = vec![false; places.len()];
    for section in &sections {
        let free = places.iter().zip(&used).position(|(place, used)| !used && place.media == section.media);
        let Some(index) = free else { continue };
        used[index] = true;
        let place = &places[index];
        put(&format!("m={} {} {} {}", section.media, place.rtp, section.proto, section.formats));
        section.lines.iter().for_each(|line| put(line));
        put(&format!("a=rtcp:{}", place.rtcp));
        put("a=recvonly");
    }
    match places.iter().zip(&used).find(|(_, used)| !**used) {
        Some((place, _)) => Err(DescriptionError::NotDescribed(place.media.to_owned())),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESCRIPTION: &str = "v=0\r\no=- 1 1 IN IP6 2001:db8::1\r\ns=film\r\nc=IN IP6 ::\r\nt=0 0\r\na=tool:flowsteer\r\na=range:npt=0-60\r\n\
        a=control:*\r\nm=video 0 RTP/AVP 96\r\nb=AS:2000\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n\
        a=control:trackID=0\r\nm=audio 0 RTP/AVP 97\r\na=rtpmap:97 mpeg4-generic/48000/2\r\na=control:trackID=1\r\n";

    #[test]
    fn ports_and_address_are_set_and_formats_stay() {
        let places = [Place { media: "audio", rtp: 6002, rtcp: 6003 }, Place { media: "video", rtp: 6000, rtcp: 6001 }];
        let text = placed(DESCRIPTION, "2001:db8:2::1".parse().expect("an address"), &places).expect("placed");
        let expected = "v=0\r\no=- 1 1 IN IP6 2001:db8::1\r\ns=film\r\nc=IN IP6 2001:db8:2::1\r\nt=0 0\r\na=tool:flowsteer\r\n\
            a=range:npt=0-60\r\nm=video 6000 RTP/AVP 96\r\nb=AS:2000\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n\
            a=rtcp:6001\r\na=recvonly\r\nm=audio 6002 RTP/AVP 97\r\na=rtpmap:97 mpeg4-generic/48000/2\r\na=rtcp:6003\r\na=recvonly\r\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_flow_that_is_not_taken_is_not_described() {
        let text = placed(DESCRIPTION, "192.0.2.1".parse().expect("an address"), &[Place { media: "audio", rtp: 5, rtcp: 6 }]);
        let text = text.expect("placed");
        assert!(text.contains("c=IN IP4 192.0.2.1\r\n") && text.contains("m=audio 5 ") && !text.contains("m=video"), "{text}");
    }

    #[test]
    fn what_is_missing_or_wrong_is_told() {
        let address = "::1".parse().expect("an address");
        let twice = [Place { media: "video", rtp: 2, rtcp: 3 }, Place { media: "video", rtp: 4, rtcp: 5 }];
        assert_eq!(placed(DESCRIPTION, address, &twice), Err(DescriptionError::NotDescribed("video".into())));
        assert_eq!(placed("v=0\r\nm=video 0\r\n", address, &[]), Err(DescriptionError::Line("m=video 0".into())));
        assert_eq!(placed("é=0\r\n", address, &[]), Err(DescriptionError::Line("é=0".into())));
    }
}
