//! A title on a disk that hangs, beside one on a disk that does not, on the same shard: the one waits, the other plays on.

mod dataplane_fixture;

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv6Addr, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use dataplane_fixture::{Running, title};
use flowsteer::dataplane::DataPlaneSettings;
use flowsteer::library::{ReadAt, Title, TitlePath, container};
use flowsteer::net::now;
use flowsteer::playback::{Opening, PlayRequest, PresentationId, Stage};
use flowsteer::steering::{Authority, BindingCache, CareOf, Expectation, Holder, Join, Mode, Owner, Proof, Reserve, Update};

/// How long something may take on a slow machine.
const LONG: Duration = Duration::from_secs(30);

/// A file of which nothing is at hand; each read takes as long as it is told, or until it hangs no longer.
struct Slow {
    octets: Vec<u8>,
    delay: Duration,
    hangs: Mutex<bool>,
    changed: Condvar,
    /// The names of the threads that have read from it.
    readers: Mutex<BTreeSet<String>>,
}

struct Reader(Arc<Slow>);

impl ReadAt for Reader {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        self.0.readers.lock().expect("sound").insert(name);
        drop(self.0.changed.wait_while(self.0.hangs.lock().expect("sound"), |hangs| *hangs).expect("sound"));
        std::thread::sleep(self.0.delay);
        self.0.octets.read_exact_at(buffer, offset)
    }

    fn read_now_at(&self, _: &mut [u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn size(&self) -> u64 {
        self.0.octets.len() as u64
    }

    fn open(&self) -> io::Result<Arc<dyn ReadAt>> {
        Ok(Arc::new(Self(Arc::clone(&self.0))))
    }
}

/// The film, on such a disk.
fn slow(name: &str, delay: Duration) -> (Arc<Slow>, Arc<Title>) {
    let octets = std::fs::read(Path::new("media").join(name)).expect("the film");
    // Its index is read before the disk becomes slow.
    let path = TitlePath::new("slow.mp4").expect("a path");
    let mut title = container::parse(Arc::new(octets.clone()), path).expect("it plays");
    let disk = Arc::new(Slow { octets, delay, hangs: Mutex::new(false), changed: Condvar::new(), readers: Mutex::default() });
    title.source = Arc::new(Reader(Arc::clone(&disk)));
    (disk, Arc::new(title))
}

/// Plays a title from its beginning; the socket that its pictures arrive at.
async fn play(stage: &Stage, steering: &BindingCache, number: u64, title: &Arc<Title>) -> UdpSocket {
    let (id, owner) = (PresentationId(number), Owner::Presentation(number));
    stage.open(id, Opening::whole(Arc::clone(title))).await.expect("room");
    let reserve = Reserve { owner, lifetime: None, media_source: Ipv6Addr::LOCALHOST, address: None };
    let home = steering.reserve(&reserve, now()).expect("room").home;
    let label = steering.draw_label();
    steering.authorise(home, label, Expectation::default()).expect("reserved");
    stage.add_flow(id, 0, home, label).await.expect("a track");
    let socket = UdpSocket::bind("[::1]:0").expect("a socket");
    socket.set_read_timeout(Some(LONG)).expect("possible");
    // What comes at once after a wait stays there until it is read.
    socket2::SockRef::from(&socket).set_recv_buffer_size(8 << 20).expect("possible");
    let (at, reports) = (socket.local_addr().expect("an address"), UdpSocket::bind("[::1]:0").expect("a socket"));
    let update = Update {
        home,
        authority: Authority::Owner(owner),
        binding: None,
        care_of: CareOf::Udp { rtp: at, rtcp: reports.local_addr().expect("an address"), source: None },
        proof: Proof::RequestPeer(at.ip()),
        lifetime: None,
        mode: Mode::Move,
        window: None,
        join: Join::default(),
        holder: Holder(number),
    };
    steering.update(&[update], now()).expect("bound");
    stage.play(id, PlayRequest::default()).await.expect("playing");
    // Kept: what is sent to a port that is closed comes back.
    std::mem::forget(reports);
    socket
}

/// The next packet: when it came, its sequence number and its timestamp.
fn packet(socket: &UdpSocket) -> (Instant, u16, u32) {
    let mut buffer = [0; 2048];
    let len = socket.recv(&mut buffer).expect("a packet in time");
    let [_, _, a, b, c, d, e, f, ..] = buffer[..len] else { panic!("{len} octets") };
    (Instant::now(), u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]))
}

#[test]
fn a_title_whose_disk_hangs_waits_and_the_other_plays_on() {
    let settings = DataPlaneSettings { port: 0, shards: 1, ..DataPlaneSettings::default() };
    let Running { plane, stage, steering } = Running::start(&settings, &Arc::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ((disk, slow), fast) = (slow("short.mp4", Duration::ZERO), title("short.mp4"));
    *disk.hangs.lock().expect("sound") = true;
    let (hung, plays) = runtime.block_on(async { (play(&stage, &steering, 1, &slow).await, play(&stage, &steering, 2, &fast).await) });
    let first = packet(&plays);
    // Two seconds of film, all while the disk hangs.
    while packet(&plays).2.wrapping_sub(first.2) < 2 * 90_000 {}
    hung.set_nonblocking(true).expect("possible");
    assert!(hung.recv(&mut [0; 2048]).is_err(), "nothing was there to be sent");
    hung.set_nonblocking(false).expect("possible");
    *disk.hangs.lock().expect("sound") = false;
    disk.changed.notify_all();
    let (_, mut sequence, begun) = packet(&hung);
    loop {
        let (_, next, timestamp) = packet(&hung);
        assert_eq!(next, sequence.wrapping_add(1), "late, and whole");
        sequence = next;
        if timestamp.wrapping_sub(begun) < 1 << 31 && timestamp.wrapping_sub(begun) >= 3 * 90_000 {
            break;
        }
    }
    plane.stop();
}

/// How late packets are is printed; that no shard waits for the disk does not depend on the machine.
#[test]
fn reads_of_300_ms_are_never_the_shards_own() {
    let settings = DataPlaneSettings { port: 0, shards: 1, ..DataPlaneSettings::default() };
    let Running { plane, stage, steering } = Running::start(&settings, &Arc::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ((disk, slow), fast) = (slow("countdown.mp4", Duration::from_millis(300)), title("short.mp4"));
    let (late, plays) = runtime.block_on(async { (play(&stage, &steering, 1, &slow).await, play(&stage, &steering, 2, &fast).await) });
    let seconds = 4;
    let watch = move |socket: UdpSocket| {
        let (begun, _, rtptime) = packet(&socket);
        let mut worst = 0.0f64;
        loop {
            let (at, _, timestamp) = packet(&socket);
            // Pictures that are shown before the first one have times before its.
            let media = f64::from(timestamp.wrapping_sub(rtptime) as i32) / 90_000.0;
            worst = worst.max((at - begun).as_secs_f64() - media);
            if media >= f64::from(seconds) {
                return worst;
            }
        }
    };
    let slow_one = std::thread::spawn(move || watch(late));
    let fast_one = watch(plays);
    let slow_one = slow_one.join().expect("it arrives too");
    let readers = disk.readers.lock().expect("sound").clone();
    assert_eq!(readers, BTreeSet::from(["reader".to_owned()]));
    println!("latest packet after the first: fast {:.0} ms, slow {:.0} ms", fast_one * 1e3, slow_one * 1e3);
    plane.stop();
}
