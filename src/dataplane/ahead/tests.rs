//! Reading without waiting, with disks that are as slow as a test says.

use super::*;
use crate::library::TitlePath;
use crate::quantities::MediaTime;

const SIZE: u64 = 256 * BLOCK;
/// How long something may take on a slow machine.
const LONG: Duration = Duration::from_secs(30);

/// A file whose octets are their place in it, on a disk that is waited for.
#[derive(Default)]
struct Disk {
    state: Mutex<DiskState>,
    changed: Condvar,
}

#[derive(Default)]
struct DiskState {
    /// Nothing is read as long as it hangs.
    hangs: bool,
    /// All is at hand.
    is_cached: bool,
    /// The next reads fail.
    failing: usize,
    /// Reads that waited, and those that are waiting.
    reads: usize,
    waiting: usize,
}

impl Disk {
    fn set(&self, change: impl FnOnce(&mut DiskState)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }

    fn wait(&self, what: &str, is_so: impl Fn(&DiskState) -> bool) {
        let waited = self.changed.wait_timeout_while(lock(&self.state), LONG, |state| !is_so(state)).expect("sound");
        assert!(!waited.1.timed_out(), "{what}");
    }
}

struct Slow(Arc<Disk>);

fn fill(buffer: &mut [u8], offset: u64) -> io::Result<()> {
    if offset + buffer.len() as u64 > SIZE {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    buffer.iter_mut().zip(offset..).for_each(|(octet, at)| *octet = at as u8 ^ (at >> 8) as u8 ^ (at >> 16) as u8);
    Ok(())
}

impl ReadAt for Slow {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.set(|disk| disk.waiting += 1);
        let state = self.0.changed.wait_while(lock(&self.0.state), |disk| disk.hangs).expect("sound");
        drop(state);
        let mut failed = false;
        self.0.set(|disk| {
            disk.waiting -= 1;
            disk.reads += 1;
            failed = disk.failing > 0;
            disk.failing = disk.failing.saturating_sub(1);
        });
        if failed { Err(io::ErrorKind::TimedOut.into()) } else { fill(buffer, offset) }
    }

    fn read_now_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if lock(&self.0.state).is_cached { fill(buffer, offset) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    fn size(&self) -> u64 {
        SIZE
    }

    fn open(&self) -> io::Result<Arc<dyn ReadAt>> {
        Ok(Arc::new(Self(Arc::clone(&self.0))))
    }
}

fn title(disk: &Arc<Disk>) -> Arc<Title> {
    let path = TitlePath::new("a.mp4").expect("a path");
    Arc::new(Title { path, duration: MediaTime::ZERO, tracks: vec![], remark: None, source: Arc::new(Slow(Arc::clone(disk))) })
}

fn open(readers: &Readers) -> (Arc<Disk>, Arc<Ahead>) {
    let disk = Arc::new(Disk::default());
    let ahead = readers.open(&title(&disk)).expect("opens");
    (disk, ahead)
}

/// Reads, and checks what was read.
fn read(ahead: &Ahead, offset: u64, len: usize) -> Result<(), io::ErrorKind> {
    let (mut octets, mut expected) = (vec![0; len], vec![0; len]);
    ahead.read_exact_at(&mut octets, offset).map_err(|error| error.kind())?;
    fill(&mut expected, offset).expect("within the file");
    assert!(octets == expected, "wrong octets at {offset}");
    Ok(())
}

/// Asks again until it is there.
fn read_late(ahead: &Ahead, offset: u64, len: usize) -> Result<(), io::ErrorKind> {
    let begun = std::time::Instant::now();
    loop {
        match read(ahead, offset, len) {
            Err(io::ErrorKind::WouldBlock) => assert!(begun.elapsed() < LONG, "never read"),
            done => return done,
        }
        thread::yield_now();
    }
}

#[test]
fn what_is_at_hand_is_read_at_once_and_no_thread_is_started() {
    let readers = Readers::default();
    let (disk, ahead) = open(&readers);
    disk.set(|disk| disk.is_cached = true);
    for offset in [0, 5, BLOCK - 1, SIZE - 700] {
        assert_eq!(read(&ahead, offset, 700), Ok(()));
    }
    assert_eq!(read(&ahead, SIZE - 1, 2), Err(io::ErrorKind::UnexpectedEof));
    assert_eq!((lock(&readers.pool.state).threads, lock(&disk.state).reads), (0, 0));
}

#[test]
fn what_is_not_at_hand_is_there_later_with_what_lies_behind_it() {
    let readers = Readers::default();
    let (disk, ahead) = open(&readers);
    disk.set(|disk| disk.hangs = true);
    assert_eq!(read(&ahead, BLOCK - 10, 20), Err(io::ErrorKind::WouldBlock), "it does not wait");
    disk.wait("a thread reads", |disk| disk.waiting == 1);
    assert_eq!(read(&ahead, BLOCK - 10, 20), Err(io::ErrorKind::WouldBlock));
    assert_eq!(lock(&disk.state).waiting, 1, "one at a time");
    disk.set(|disk| disk.hangs = false);
    assert_eq!(read_late(&ahead, BLOCK - 10, 20), Ok(()));
    disk.wait("it reads ahead", |disk| disk.reads == 2 + AHEAD as usize);
    for offset in (0..(2 + AHEAD) * BLOCK - 1000).step_by(60_000) {
        // The last block may be just behind its read.
        assert_eq!(read_late(&ahead, offset, 1000), Ok(()));
    }
    // A piece that is larger than what is kept for one.
    assert_eq!(read_late(&ahead, 3, 40 * BLOCK as usize), Ok(()));
    assert_eq!(read(&ahead, SIZE - 5, 6), Err(io::ErrorKind::UnexpectedEof));
}

#[test]
fn a_disk_that_hangs_holds_up_nobody_else() {
    let readers = Readers::default();
    let hung: Vec<_> = (0..8).map(|_| open(&readers)).collect();
    for (disk, ahead) in &hung {
        disk.set(|disk| disk.hangs = true);
        assert_eq!(read(ahead, 0, 10), Err(io::ErrorKind::WouldBlock));
    }
    let (_, other) = open(&readers);
    assert_eq!(read_late(&other, 0, 10), Ok(()));
    for (disk, ahead) in &hung {
        disk.set(|disk| disk.hangs = false);
        assert_eq!(read_late(ahead, 0, 10), Ok(()));
    }
}

#[test]
fn a_read_that_fails_is_an_error_once_and_is_tried_again() {
    let readers = Readers::default();
    let (disk, ahead) = open(&readers);
    disk.set(|disk| disk.failing = 1);
    assert_eq!(read_late(&ahead, 7, 10), Err(io::ErrorKind::TimedOut));
    assert_eq!(read_late(&ahead, 7, 10), Ok(()));
}

#[test]
fn what_is_kept_is_bounded_shared_and_given_back() {
    let readers = Readers::default();
    let disk = Arc::new(Disk::default());
    let title = title(&disk);
    let ahead = readers.open(&title).expect("opens");
    let another = readers.open(&title).expect("opens");
    assert!(Arc::ptr_eq(&ahead, &another), "one for all who play it");
    drop(another);
    for block in 0..SIZE / BLOCK {
        assert_eq!(read_late(&ahead, block * BLOCK, BLOCK as usize), Ok(()));
        assert!(lock(&ahead.state).read.len() <= 2 * KEPT_EACH);
    }
    let reads = lock(&disk.state).reads as u64;
    assert_eq!(reads, SIZE / BLOCK, "each block once");
    let (pool, gone) = (Arc::clone(&readers.pool), Arc::downgrade(&ahead));
    drop(ahead);
    let begun = std::time::Instant::now();
    while gone.strong_count() > 0 || pool.kept.load(Ordering::Relaxed) > 0 {
        assert!(begun.elapsed() < LONG, "a thread keeps it");
        thread::yield_now();
    }
}

#[test]
fn a_disk_that_has_caught_up_is_read_directly_again() {
    let readers = Readers::default();
    let (disk, ahead) = open(&readers);
    assert_eq!(read_late(&ahead, 0, 10), Ok(()));
    disk.set(|disk| disk.is_cached = true);
    let begun = std::time::Instant::now();
    let mut at = 0;
    while ahead.is_slow.load(Ordering::Relaxed) {
        assert!(begun.elapsed() < LONG, "it stays slow");
        at = (at + 1) % (SIZE / BLOCK);
        assert_eq!(read_late(&ahead, at * BLOCK, 10), Ok(()));
    }
}
