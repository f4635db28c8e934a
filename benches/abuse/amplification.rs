//! What the server sends to addresses that have proven nothing, against what it was sent for that.
//!
//! Octets are those of datagrams with their IPv4 and UDP headers. Over TCP nobody is answered before the handshake has proven the
//! address; what counts there is what a third address gets that a request names.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use flowsteer::mobility::wire::{CareOfTestInit, HomeTestInit, Message, Options};

use crate::attacks::{badly_signed_update, update, watched_session};
use crate::scene::{LOCAL, Server, Watched, ask_http, connect, head, http, rtsp, session, status};

/// IPv4 and UDP.
const HEADERS: usize = 20 + 8;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_millis(300);

/// One way to have something sent.
pub struct Amplified {
    pub what: &'static str,
    /// Octets that the server got.
    pub received: usize,
    /// Octets that it sent to who has proven nothing.
    pub sent: usize,
}

/// All that comes to a socket.
fn heard(socket: &UdpSocket) -> usize {
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("above zero");
    let (start, mut buffer, mut octets) = (Instant::now(), [0; 2048], 0);
    while start.elapsed() < PATIENCE {
        octets += socket.recv(&mut buffer).map_or(0, |len| len + HEADERS);
    }
    octets
}

/// A datagram from a new address, and what comes back.
fn provoke(what: &'static str, to: SocketAddr, number: u8, datagram: &[u8]) -> Amplified {
    let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 2, number), 0)).expect("bound");
    socket.connect(to).expect("connected");
    socket.send(datagram).expect("sent");
    Amplified { what, received: datagram.len() + HEADERS, sent: heard(&socket) }
}

/// Who is named by others, and hears what comes of it: two ports.
fn bystander() -> (UdpSocket, UdpSocket, u16) {
    let address = Ipv4Addr::new(127, 0, 3, 77);
    loop {
        let first = UdpSocket::bind((address, 0)).expect("bound");
        let port = first.local_addr().expect("bound").port();
        if port.is_multiple_of(2)
            && let Ok(second) = UdpSocket::bind((address, port + 1))
        {
            return (first, second, port);
        }
    }
}

/// SETUP and PLAY that name somebody else as the destination.
fn named_by_set_up(server: &Server) -> Amplified {
    let (rtp, rtcp, port) = bystander();
    let url = format!("rtsp://{}/short.mp4", server.rtsp);
    let transport = format!("Transport: RTP/AVP;unicast;destination=127.0.3.77;client_port={port}-{}\r\n", port + 1);
    let mut connection = connect(server.rtsp, LOCAL);
    let set_up = rtsp("SETUP", &format!("{url}/trackID=0"), 1, &transport);
    connection.write_all(set_up.as_bytes()).expect("sent");
    let answer = head(&mut connection).expect("an answer");
    let mut received = set_up.len();
    if let Some(id) = session(&answer) {
        let play = rtsp("PLAY", &format!("{url}/"), 2, &format!("Session: {id}\r\n"));
        connection.write_all(play.as_bytes()).expect("sent");
        received += play.len();
        assert_eq!(status(&head(&mut connection).expect("an answer")), 200);
    }
    Amplified { what: "RTSP: SETUP and PLAY naming another address", received, sent: heard(&rtp) + heard(&rtcp) }
}

/// A binding over HTTP to somebody else.
fn named_by_binding(server: &Server, what: &'static str, headers: &[(&str, &str)], expected: u16) -> Amplified {
    let (rtp, rtcp, port) = bystander();
    let (_, home) = watched_session(server).expect("it plays");
    let body = format!("{{\"careOf\":\"127.0.3.77:{port}\"}}");
    let request = http("PUT", &format!("/api/v1/home-addresses/{home}/bindings/9"), headers, &body);
    let (status, said) = ask_http(&mut connect(server.http, LOCAL), &request);
    assert_eq!(status, expected, "{said}");
    Amplified { what, received: request.len(), sent: heard(&rtp) + heard(&rtcp) }
}

/// All ways, each once.
pub fn measure(server: &Server, watched: &Watched) -> Vec<Amplified> {
    let init = |message: Message| message.to_vec().expect("fits");
    let care_of_test = init(Message::CareOfTestInit(CareOfTestInit { cookie: [1; 8], options: Options::default() }));
    let home_test = init(Message::HomeTestInit(HomeTestInit { cookie: [1; 8], options: Options::default() }));
    let mut unknown = care_of_test.clone();
    // The message's type.
    unknown[2] = 200;
    // The least that a header has (RFC 6275 section 6.1.1).
    let least = [59, 0, 200, 0, 0, 0, 0, 0];
    let rtcp = SocketAddr::new(watched.server.ip(), watched.server.port() + 1);
    let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
    vec![
        provoke("RTP: 12 octets", watched.server, 1, &[0x80; 12]),
        provoke("RTCP: a Receiver Report", rtcp, 2, &report),
        provoke("mobility: noise", server.mobility, 3, &[0x55; 64]),
        provoke("mobility: Care-of Test Init", server.mobility, 4, &care_of_test),
        provoke("mobility: Home Test Init", server.mobility, 5, &home_test),
        provoke("mobility: unknown type, 16 octets", server.mobility, 6, &unknown),
        provoke("mobility: unknown type, 8 octets", server.mobility, 9, &least),
        provoke("mobility: Binding Update, not signed", server.mobility, 7, &update().1),
        provoke("mobility: Binding Update, badly signed", server.mobility, 8, &badly_signed_update()),
        named_by_set_up(server),
        named_by_binding(server, "HTTP: PUT of a binding by anybody", &[("Host", "rebound.example")], 401),
        named_by_binding(server, "HTTP: PUT of a binding by an operator", &[], 409),
    ]
}
