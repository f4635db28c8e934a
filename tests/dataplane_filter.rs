//! The running data plane and the flow filter: packets with a label that is not the authorised one do not leave, whatever
//! route the shard holds; and media that a connection holds back while it is told to jump.

mod dataplane_fixture;

use std::net::{Ipv6Addr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dataplane_fixture::{Running, title};
use flowsteer::dataplane::{DataPlane, DataPlaneSettings};
use flowsteer::net::{Connections, now};
use flowsteer::playback::{Awaited, NewFlow, NptRange, Opening, PlayRequest, PlaybackError, PresentationId, PresentationSnapshot, Stage};
use flowsteer::quantities::{FlowLabel, MediaTime};
use flowsteer::steering::{
    Authority, BindingCache, CareOf, ConnectionId, DropReason, Expectation, Holder, HomeAddress, Join, Mode, Owner, Proof, Reserve, Update,
};
use tokio::io::AsyncReadExt;

/// A running data plane with one presentation of `short.mp4`'s picture.
struct Plane {
    plane: DataPlane,
    stage: Stage,
    steering: Arc<BindingCache>,
    home: HomeAddress,
}

const ID: PresentationId = PresentationId(7);
const OWNER: Owner = Owner::Presentation(7);

impl Plane {
    async fn start(corrupt_label: Option<u32>, connections: &Arc<Connections>) -> Self {
        let settings = DataPlaneSettings { port: 0, corrupt_label, ..DataPlaneSettings::default() };
        let Running { plane, stage, steering } = Running::start(&settings, connections);
        let title = title("short.mp4");
        stage.open(ID, Opening::whole(title)).await.expect("room");
        let reserve = Reserve { owner: OWNER, lifetime: None, media_source: Ipv6Addr::LOCALHOST, address: None };
        let home = steering.reserve(&reserve, now()).expect("room").home;
        let label = steering.draw_label();
        steering.authorise(home, label, Expectation::default()).expect("reserved");
        stage.add_flow(ID, 0, home, label).await.expect("a track");
        Self { plane, stage, steering, home }
    }

    async fn play(&self, care_of: CareOf) {
        let update = Update {
            home: self.home,
            authority: Authority::Owner(OWNER),
            binding: None,
            care_of,
            proof: Proof::RequestPeer(care_of.ip()),
            lifetime: None,
            mode: Mode::Move,
            window: None,
            join: Join::default(),
            holder: Holder(1),
        };
        self.steering.update(&[update], now()).expect("bound");
        self.stage.play(ID, PlayRequest::default()).await.expect("playing");
    }
}

#[test]
fn what_cannot_be_set_up_is_not_opened() {
    runtime().block_on(async {
        let settings = DataPlaneSettings { port: 0, ..DataPlaneSettings::default() };
        let Running { plane, stage, steering } = Running::start(&settings, &Arc::default());
        let opening = || Some(Opening::whole(title("short.mp4")));
        let reserve = Reserve { owner: OWNER, lifetime: None, media_source: Ipv6Addr::LOCALHOST, address: None };
        let home = steering.reserve(&reserve, now()).expect("room").home;
        let flow = |track, home| NewFlow { track, home, label: FlowLabel::new(5).expect("a label") };
        let care_of =
            CareOf::Udp { rtp: "[::1]:5000".parse().expect("an address"), rtcp: "[::1]:5001".parse().expect("an address"), source: None };
        let awaited = Awaited { holder: Holder(1), care_of };
        for flow in [flow(0, HomeAddress(Ipv6Addr::LOCALHOST)), flow(9, home)] {
            assert_eq!(stage.set_up(ID, opening(), flow, awaited).await, Err(PlaybackError::Unknown));
            assert_eq!(stage.snapshots().await.map(|all| all.len()), Ok(0), "{flow:?}");
        }
        let home = steering.reserve(&reserve, now()).expect("room").home;
        stage.set_up(ID, opening(), flow(0, home), awaited).await.expect("all is there");
        assert_eq!(stage.set_up(ID, opening(), flow(0, home), awaited).await, Err(PlaybackError::Full), "it is there already");
        assert_eq!(stage.snapshots().await.map(|all| all.len()), Ok(1));
        plane.stop();
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn receiver() -> UdpSocket {
    let socket = UdpSocket::bind("[::1]:0").expect("a socket");
    socket.set_nonblocking(true).expect("possible");
    socket
}

/// Datagrams that wait, and whether one of them has a BYE.
fn take(socket: &UdpSocket) -> (usize, bool) {
    let (mut count, mut bye, mut buffer) = (0, false, [0; 2048]);
    while let Ok(len) = socket.recv(&mut buffer) {
        count += 1;
        bye |= buffer[..len].windows(4).any(|word| word[0] & 0xdf == 0x81 && word[1] == 203);
    }
    (count, bye)
}

/// What came of a playing that ended.
struct Outcome {
    /// RTP packets.
    packets: usize,
    /// RTCP packets.
    reports: usize,
    /// Whether the last of them said BYE.
    bye: bool,
    snapshot: PresentationSnapshot,
}

/// Plays to sockets on loopback until `enough` holds of packets received and the presentation, then ends.
fn play(corrupt_label: Option<u32>, enough: impl Fn(usize, &PresentationSnapshot) -> bool) -> Outcome {
    runtime().block_on(async {
        let plane = Plane::start(corrupt_label, &Arc::default()).await;
        let (rtp, rtcp) = (receiver(), receiver());
        let at = |socket: &UdpSocket| socket.local_addr().expect("an address");
        plane.play(CareOf::Udp { rtp: at(&rtp), rtcp: at(&rtcp), source: None }).await;
        let end = Instant::now() + Duration::from_secs(10);
        let mut packets = 0;
        let snapshot = loop {
            packets += take(&rtp).0;
            let snapshot = plane.stage.snapshot(ID).await.expect("still there");
            if enough(packets, &snapshot) {
                break snapshot;
            }
            assert!(Instant::now() < end, "not in time: {packets} packets, {snapshot:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        plane.plane.stop();
        packets += take(&rtp).0;
        let (reports, bye) = take(&rtcp);
        Outcome { packets, reports, bye, snapshot }
    })
}

fn dropped(snapshot: &PresentationSnapshot) -> u64 {
    snapshot.flows[0].dropped.iter().filter(|(reason, _)| *reason == DropReason::Label).map(|(_, count)| count).sum()
}

#[test]
fn packets_with_the_authorised_label_leave() {
    let outcome = play(None, |packets, _| packets >= 20);
    assert!(outcome.packets >= 20);
    assert!(outcome.reports >= 2 && outcome.bye, "a report at the beginning, BYE at the end");
    assert_eq!(outcome.snapshot.flows[0].dropped, []);
}

#[test]
fn a_label_corrupted_between_payload_and_filter_is_dropped_and_counted() {
    let outcome = play(Some(1), |_, snapshot| dropped(snapshot) >= 20);
    assert_eq!((outcome.packets, outcome.reports), (0, 0), "neither media nor BYE");
    assert_eq!(outcome.snapshot.flows[0].branches[0].packets, 0);
}

#[test]
fn what_a_connection_holds_back_while_its_presentation_jumps_is_of_the_new_position() {
    runtime().block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a loopback socket");
        let peer = listener.local_addr().expect("an address");
        let mut player = tokio::net::TcpStream::connect(peer).await.expect("it listens");
        let (stream, _) = listener.accept().await.expect("somebody connects");
        let connections = Arc::new(Connections::default());
        let connection = connections.register(Arc::new(stream), 1 << 20, now().mono);
        let plane = Plane::start(None, &connections).await;
        let id = ConnectionId(connection.id());
        plane.play(CareOf::Interleaved { connection: id, rtp_channel: 0, rtcp_channel: 1, peer }).await;
        let until = |what: &'static str, enough: usize| {
            let connection = Arc::clone(&connection);
            async move {
                let end = Instant::now() + Duration::from_secs(10);
                while connection.backlog() < enough {
                    assert!(Instant::now() < end, "{what} in vain");
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        };
        // A PLAY is being answered, slowly: media of the old position are held back meanwhile.
        connection.hold_media();
        until("waited for media of the old position", 1).await;
        let range = NptRange { start: Some(MediaTime::from_seconds(2.0)), end: None };
        let playing = plane.stage.play(ID, PlayRequest { range: Some(range), ..PlayRequest::default() }).await.expect("playing");
        connection.respond(b"RESPONSE", now().mono);
        until("waited for media of the new position", 1).await;
        connection.release_media(now().mono);
        let mut received = Vec::new();
        let first = loop {
            player.read_buf(&mut received).await.expect("it goes on");
            let Some(response) = received.windows(8).position(|octets| octets == b"RESPONSE") else { continue };
            let mut rest = &received[response + 8..];
            // Over reports to the first packet.
            while let &[b'$', 1, high, low, ..] = rest {
                rest = rest.get(4 + usize::from(u16::from_be_bytes([high, low]))..).unwrap_or_default();
            }
            if let &[b'$', 0, _, _, _, _, high, low, ..] = rest {
                break u16::from_be_bytes([high, low]);
            }
        };
        assert_eq!(first, playing.flows[0].sequence);
        plane.plane.stop();
    });
}
