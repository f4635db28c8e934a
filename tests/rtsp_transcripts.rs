//! What players say, replayed: `tests/vectors/rtsp/`. Each conversation runs against a whole server; nothing of a
//! presentation may be left when it is over.

mod rtsp_server;

use std::path::Path;

use rtsp_server::{Player, Reply, Server};

#[derive(Default)]
struct Known {
    url: String,
    short: String,
    session: String,
    base: String,
    takeover: String,
    key: String,
}

impl Known {
    fn fill_in(&self, text: &str) -> String {
        text.replace("{url}", &self.url)
            .replace("{short}", &self.short)
            .replace("{session}", &self.session)
            .replace("{base}", &self.base)
            .replace("{takeover}", &self.takeover)
            .replace("{key}", &self.key)
    }
}

fn replay(name: &str) {
    let text = std::fs::read_to_string(Path::new("tests/vectors/rtsp").join(name)).expect("the transcript is there");
    let server = Server::start();
    let mut known =
        Known { url: server.url("countdown.mp4"), short: server.url("Gr%C3%BC%C3%9Fe%20aus%20K%C3%B6ln.mp4"), ..Known::default() };
    let mut players = vec![Player::connect(&server)];
    let mut request = String::new();
    let mut reply: Option<Reply> = None;
    for (number, line) in text.lines().enumerate() {
        let place = format!("{name}:{}", number + 1);
        let player = players.last_mut().expect("one connection at least");
        let (kind, rest) = line.split_at(line.len().min(1));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        if rest.contains("{takeover}") && known.takeover.is_empty() {
            (known.takeover, known.key) = server.takeover();
        }
        let rest = known.fill_in(rest);
        match kind {
            ">" if rest.is_empty() => {
                assert!(player.packets.is_empty() || !known.session.is_empty(), "{place}: media before PLAY");
                player.send(format!("{request}\r\n").as_bytes());
                request.clear();
                let answer = player.reply();
                if answer.header("Session").is_some() {
                    known.session = answer.session();
                }
                if let Some(base) = answer.header("Content-Base") {
                    base.clone_into(&mut known.base);
                }
                reply = Some(answer);
            }
            ">" => request += &format!("{rest}\r\n"),
            "<" => expect(reply.as_ref().unwrap_or_else(|| panic!("{place}: no request before")), &rest, &place),
            "!" => match rest.split(' ').collect::<Vec<_>>()[..] {
                ["connect"] => players.push(Player::connect(&server)),
                ["media", channel] => {
                    let (at, octets) = player.packet(channel.parse().expect("a channel"));
                    assert!(octets.len() > 12 && octets[0] == 0x80, "{place}: no RTP");
                    let played = reply.as_ref().expect("a PLAY before").at;
                    // Read together with the response or not: never so soon that a player cannot have read that.
                    assert!(at >= played, "{place}: media overtakes its response by {:?}", played.duration_since(at));
                }
                ["packet", channel, hex] => {
                    let octets: Vec<u8> =
                        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect();
                    let mut frame = vec![b'$', channel.parse().expect("a channel"), 0, octets.len() as u8];
                    frame.extend(octets);
                    player.send(&frame);
                }
                _ => panic!("{place}: {rest}"),
            },
            "#" | "" => {}
            _ => panic!("{place}: {line}"),
        }
    }
    server.wait("nothing is left", |presentation| presentation.is_none());
}

#[track_caller]
fn expect(reply: &Reply, wanted: &str, place: &str) {
    let fine = match wanted.split(' ').collect::<Vec<_>>()[..] {
        [status] => reply.status.to_string() == status,
        [name, "-"] => reply.header(name).is_none(),
        ["body", "~", ..] => reply.body.contains(&wanted["body ~ ".len()..]),
        [name, sign, ..] => {
            let value = &wanted[name.len() + sign.len() + 2..];
            let had = reply.expect(name);
            match sign {
                "=" => had == value,
                "~" => had.contains(value),
                "^" => had.starts_with(value),
                _ => panic!("{place}: {wanted}"),
            }
        }
        [] => true,
    };
    assert!(fine, "{place}: expected {wanted}, got {reply:#?}");
}

#[test]
fn ffmpeg_plays_keeps_alive_seeks_and_leaves() {
    replay("ffmpeg.txt");
}

#[test]
fn mpv_plays_and_leaves() {
    replay("mpv.txt");
}

#[test]
fn gstreamer_plays_seeks_and_takes_over_without_rewinding() {
    replay("gstreamer.txt");
}

#[test]
fn vlc_pauses_seeks_toggles_tracks_and_reports() {
    replay("vlc.txt");
}
