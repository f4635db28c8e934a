//! The running data plane and the flow filter: packets with a label that is not the authorised one do not leave, whatever
//! route the shard holds.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flowsteer::dataplane::{DataPlane, DataPlaneSettings};
use flowsteer::library::{Library, TitlePath};
use flowsteer::net::{Connections, now};
use flowsteer::playback::{Command, PlayRequest, PresentationId, PresentationSnapshot, Stage};
use flowsteer::quantities::MediaTime;
use flowsteer::steering::{
    Authority, BindingCache, CareOf, DropReason, Expectation, Holder, Join, Mode, Owner, Proof, Reserve, SteeringSettings, Update,
};

/// Plays `short.mp4` to a socket on loopback until `enough` holds of packets received and the presentation.
fn play(corrupt_label: Option<u32>, enough: impl Fn(usize, &PresentationSnapshot) -> bool) -> (usize, PresentationSnapshot) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let settings = DataPlaneSettings { port: 0, corrupt_label, ..DataPlaneSettings::default() };
        let prepared = DataPlane::prepare(&settings).expect("free ports");
        let stage = Stage::new(prepared.director());
        let told = stage.clone();
        let steering = Arc::new(BindingCache::new(
            SteeringSettings::new("fd00::/64".parse().expect("a prefix")),
            Box::new(|octets| getrandom::fill(octets).expect("random octets")),
            Box::new(move |_, player| {
                if let Some(id) = player {
                    told.tell(Command::RouteChanged { presentation: PresentationId(id) });
                }
            }),
        ));
        let plane = prepared.start(&settings, &steering, &Arc::new(Connections::default()), now).expect("threads");
        let library = Library::open(Path::new("media")).expect("the library");
        let title = library.entry(&TitlePath::new("short.mp4").expect("a path")).expect("there");
        let title = title.outcome.as_ref().map(Arc::clone).expect("playable");

        let receiver = UdpSocket::bind("[::1]:0").expect("a socket");
        receiver.set_nonblocking(true).expect("possible");
        let to = receiver.local_addr().expect("an address");
        let id = PresentationId(7);
        stage.open(id, title, MediaTime::ZERO, false).await.expect("room");
        let reserve = Reserve { owner: Owner::Presentation(7), lifetime: None, media_source: Ipv6Addr::LOCALHOST, address: None };
        let home = steering.reserve(&reserve, now()).expect("room").home;
        let label = steering.draw_label();
        steering.authorise(home, label, Expectation::default()).expect("reserved");
        stage.add_flow(id, 0, home, label).await.expect("a track");
        let update = Update {
            home,
            authority: Authority::Owner(Owner::Presentation(7)),
            binding: None,
            care_of: CareOf::Udp { rtp: to, rtcp: SocketAddr::new(to.ip(), 9), source: None },
            proof: Proof::RequestPeer(to.ip()),
            lifetime: None,
            mode: Mode::Move,
            window: None,
            join: Join::default(),
            holder: Holder(1),
        };
        steering.update(&[update], now()).expect("bound");
        stage.play(id, PlayRequest::default()).await.expect("playing");

        let end = Instant::now() + Duration::from_secs(10);
        let mut received = 0;
        let snapshot = loop {
            let mut buffer = [0; 2048];
            while receiver.recv(&mut buffer).is_ok() {
                received += 1;
            }
            let snapshot = stage.snapshot(id).await.expect("still there");
            if enough(received, &snapshot) {
                break snapshot;
            }
            assert!(Instant::now() < end, "not in time: {received} packets, {snapshot:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        plane.stop();
        let mut buffer = [0; 2048];
        while receiver.recv(&mut buffer).is_ok() {
            received += 1;
        }
        (received, snapshot)
    })
}

fn dropped(snapshot: &PresentationSnapshot) -> u64 {
    snapshot.flows[0].dropped.iter().filter(|(reason, _)| *reason == DropReason::Label).map(|(_, count)| count).sum()
}

#[test]
fn packets_with_the_authorised_label_leave() {
    let (received, snapshot) = play(None, |received, _| received >= 20);
    assert!(received >= 20);
    assert_eq!(snapshot.flows[0].dropped, []);
}

#[test]
fn a_label_corrupted_between_payload_and_filter_is_dropped_and_counted() {
    let (received, snapshot) = play(Some(1), |_, snapshot| dropped(snapshot) >= 20);
    assert_eq!(received, 0);
    assert_eq!(snapshot.flows[0].branches[0].packets, 0);
}
