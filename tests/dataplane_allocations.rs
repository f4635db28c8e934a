//! What leaves costs no memory that is not there already: a shard that plays allocates nothing for a packet or an access unit.

// An allocator that counts.
#![allow(unsafe_code)]

mod dataplane_fixture;

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{Ipv6Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dataplane_fixture::{Running, title};
use flowsteer::dataplane::DataPlaneSettings;
use flowsteer::net::now;
use flowsteer::playback::{Opening, PlayRequest, PresentationId};
use flowsteer::steering::{Authority, CareOf, Expectation, Holder, Join, Mode, Owner, Proof, Reserve, Update};

/// Counts what is allocated while nobody else does anything.
struct Counting;

static ALLOCATED: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is the system's allocator's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Presentations that play the same, one behind the other.
const PRESENTATIONS: u64 = 4;
/// Until everything has its size, and afterwards.
const WARM: Duration = Duration::from_secs(4);
const WATCHED: Duration = Duration::from_secs(4);
/// How often at most.
const WATCHES: usize = 5;

/// Datagrams that wait.
fn drain(sockets: &[UdpSocket], buffer: &mut [u8]) -> u64 {
    sockets.iter().map(|socket| std::iter::from_fn(|| socket.recv(buffer).ok()).count() as u64).sum()
}

/// Datagrams received and allocations made in `span`.
fn watch(span: Duration, sockets: &[UdpSocket]) -> (u64, u64) {
    let mut buffer = [0; 2048];
    let (begun, before) = (Instant::now(), ALLOCATED.load(Ordering::Relaxed));
    let mut received = 0;
    while begun.elapsed() < span {
        received += drain(sockets, &mut buffer);
        std::thread::sleep(Duration::from_millis(1));
    }
    (received, ALLOCATED.load(Ordering::Relaxed) - before)
}

#[test]
fn a_shard_that_plays_allocates_nothing_for_what_it_sends() {
    let settings = DataPlaneSettings { port: 0, ..DataPlaneSettings::default() };
    let Running { plane, stage, steering } = Running::start(&settings, &Arc::default());
    let title = title("countdown.mp4");
    let mut sockets = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for number in 1..=PRESENTATIONS {
            let (id, owner) = (PresentationId(number), Owner::Presentation(number));
            stage.open(id, Opening::whole(Arc::clone(&title))).await.expect("room");
            let mut updates = Vec::new();
            for track in 0..title.tracks.len() {
                let reserve = Reserve { owner, lifetime: None, media_source: Ipv6Addr::LOCALHOST, address: None };
                let home = steering.reserve(&reserve, now()).expect("room").home;
                let label = steering.draw_label();
                steering.authorise(home, label, Expectation::default()).expect("reserved");
                stage.add_flow(id, track, home, label).await.expect("a track");
                let socket = UdpSocket::bind("[::1]:0").expect("a socket");
                socket.set_nonblocking(true).expect("possible");
                let at = socket.local_addr().expect("an address");
                sockets.push(socket);
                updates.push(Update {
                    home,
                    authority: Authority::Owner(owner),
                    binding: None,
                    care_of: CareOf::Udp { rtp: at, rtcp: at, source: None },
                    proof: Proof::RequestPeer(at.ip()),
                    lifetime: None,
                    mode: Mode::Move,
                    window: None,
                    join: Join::default(),
                    holder: Holder(number),
                });
            }
            steering.update(&updates, now()).expect("bound");
            stage.play(id, PlayRequest::default()).await.expect("playing");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    watch(WARM, &sockets);
    // Each branch has a Sender Report every five seconds, which is put together anew.
    let reports = sockets.len() as u64;
    // After a halt of the machine more is due at once than ever before, and buffers grow once more: then it is looked again.
    let mut watched = Vec::new();
    while !watched.iter().any(|(received, allocated)| *received > 500 && *allocated <= reports * 40) {
        assert!(watched.len() < WATCHES, "datagrams and allocations, {reports} reports each time: {watched:?}");
        watched.push(watch(WATCHED, &sockets));
    }
    drop(runtime);
    plane.stop();
}
