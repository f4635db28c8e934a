//! The walk over a file: what describes the tracks, and where each frame lies.
//!
//! Segment and Cluster are stepped into and their ends are not looked at, so that sizes which are unknown (live recordings) or
//! wrong make no difference; every other element is passed over by its size. Where one is damaged, the walk goes on behind it if another
//! follows there, else at the next Cluster. What a frame carries is not read but for its first octets. Indices in the file (SeekHead, Cues) are not trusted and not needed. Read first: RFC 9559 sections 5.1.3 and 6.2.

use std::collections::BTreeMap;
use std::fmt;

use crate::library::container::matroska::block::{self, Header};
use crate::library::container::matroska::ebml::{Element, Elements, Id, MAX_HEADER, Reader, Stop, unsigned};
use crate::library::container::problem;
use crate::library::title::{Problem, ReadAt};

/// EBML, the first element of a file.
pub const EBML: Id = Id(0x1a45_dfa3);
const SEGMENT: Id = Id(0x1853_8067);
const INFORMATION: Id = Id(0x1549_a966);
const TIMESTAMP_SCALE: Id = Id(0x2a_d7b1);
const TRACKS: Id = Id(0x1654_ae6b);
const CLUSTER: Id = Id(0x1f43_b675);
const TIMESTAMP: Id = Id(0xe7);
const SIMPLE_BLOCK: Id = Id(0xa3);
const BLOCK_GROUP: Id = Id(0xa0);
const BLOCK: Id = Id(0xa1);
/// What else a cluster may have in it: CRC-32, Void, Position, PrevSize, SilentTracks, EncryptedBlock.
const BESIDES: [Id; 6] = [Id(0xbf), Id(0xec), Id(0xa7), Id(0xab), Id(0x5854), Id(0xaf)];
const REFERENCE: Id = Id(0xfb);

/// The largest Info or Tracks element that is read.
const MAX_DESCRIPTION: usize = 16 << 20;
/// Frames that all tracks together may have, see the same of MP4: 70 hours of picture and sound.
const MAX_FRAMES: usize = 8 << 20;
/// Elements that are looked at.
const MAX_ELEMENTS: usize = 64 << 20;
/// Elements in a group that are looked at: a handful are there.
const MAX_IN_GROUP: usize = 64;
/// The largest frame that is taken.
const MAX_FRAME: u32 = 64 << 20;
/// Octets that are searched for clusters behind what is damaged …
const MAX_SEARCHED: u64 = 64 << 20;
/// … so many at first, for most often the next one is near …
const FIRST_SEARCHED: usize = 4 << 10;
/// … and then so many at a time.
const SEARCHED: usize = 64 << 10;
/// So much more than a file has is read of it where it is damaged in many places: no further one is passed over then.
const MAX_READ_AGAIN: u64 = 64 << 20;
/// Track numbers that are told apart.
const MAX_NUMBERS: usize = 256;
/// Nanoseconds of a tick where the file does not say.
const DEFAULT_SCALE: u64 = 1_000_000;
/// A tick of a second: coarser ones there are none.
const MAX_SCALE: u64 = 1_000_000_000;

/// Octets at the beginning of a frame that are kept.
pub const HEAD: usize = 2;

/// One frame: where it lies and when it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Octets from the start of the file.
    pub offset: u64,
    /// When it is shown, in ticks of the file; only of the first one of a block.
    pub time: i64,
    /// Octets.
    pub size: u32,
    /// How it begins; zeros where it is shorter.
    pub head: [u8; HEAD],
    /// Whether decoding can start at it.
    pub is_key: bool,
    /// Whether it has a time of its own: it is the first one of a block.
    pub is_timed: bool,
}

const _: () = assert!(size_of::<Frame>() <= 24);

/// What a file holds.
#[derive(Debug)]
pub struct Scan {
    /// Nanoseconds of a tick.
    pub scale: u64,
    /// The content of the Tracks element.
    pub tracks: Vec<u8>,
    /// The frames of each track number, in the file's order.
    pub frames: BTreeMap<u64, Vec<Frame>>,
    /// What is wrong with the file although it plays.
    pub remark: Option<&'static str>,
    /// What was passed over as it is damaged.
    pub damage: Damage,
}

/// What of a file is passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// In how many places.
    pub places: u64,
    /// Octets in all of them.
    pub octets: u64,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.places == 1 { "" } else { "s" };
        write!(f, "the file is damaged in {} place{s}: {} octets are passed over", self.places, self.octets)
    }
}

/// Walks over a file.
///
/// # Errors
/// It cannot be read, describes no tracks, or has more in it than any film.
pub fn scan(source: &dyn ReadAt) -> Result<Scan, Problem> {
    let mut walk = Walk::new(source);
    let mut at = 0;
    for _ in 0..MAX_ELEMENTS {
        match walk.step(at) {
            Ok(next) if next >= source.size() => return walk.finish(),
            Ok(next) => at = next,
            Err(End::Segment) => return walk.finish(),
            Err(End::TooMany) => return Err(problem("the file claims more access units than are taken")),
            Err(End::Stop(Stop::Unreadable(error))) => return Err(unreadable(&error)),
            Err(End::Stop(stop)) => match walk.resume(at) {
                Err(Stop::Unreadable(error)) => return Err(unreadable(&error)),
                Ok(Some(next)) if next < source.size() => at = next,
                Ok(Some(_)) => return walk.finish(),
                Ok(None) | Err(_) => {
                    walk.scan.remark =
                        Some(if matches!(stop, Stop::CutShort) { CUT_SHORT } else { "the file is damaged; it plays up to there" });
                    return walk.finish();
                }
            },
        }
    }
    Err(problem("the file has more elements than are looked at"))
}

fn unreadable(error: &std::io::Error) -> Problem {
    problem(format!("the file cannot be read: {error}"))
}

const CUT_SHORT: &str = "the file is cut short";

/// Why the walk ends.
enum End {
    /// Another segment begins: a title has one.
    Segment,
    /// More frames than are taken.
    TooMany,
    Stop(Stop),
}

impl From<Stop> for End {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

struct Walk<'a> {
    reader: Reader<'a>,
    in_segment: bool,
    cluster_time: i64,
    budget: usize,
    /// Octets that may yet be searched.
    search: u64,
    /// The piece that is searched, and where it begins.
    piece: Vec<u8>,
    piece_at: u64,
    scan: Scan,
}

impl<'a> Walk<'a> {
    fn new(source: &'a dyn ReadAt) -> Self {
        let scan = Scan { scale: DEFAULT_SCALE, tracks: Vec::new(), frames: BTreeMap::new(), remark: None, damage: Damage::default() };
        // No frame is smaller than an octet with the header before it.
        let budget = MAX_FRAMES.min(usize::try_from(source.size()).unwrap_or(usize::MAX));
        Self {
            reader: Reader::new(source),
            in_segment: false,
            cluster_time: 0,
            budget,
            search: MAX_SEARCHED,
            piece: Vec::new(),
            piece_at: 0,
            scan,
        }
    }

    fn finish(self) -> Result<Scan, Problem> {
        match (self.scan.tracks.is_empty(), self.scan.remark) {
            (false, _) => Ok(self.scan),
            (true, Some(CUT_SHORT)) => Err(problem("the file is cut short: it ends before its tracks are described")),
            (true, Some(_)) => Err(problem("the file is damaged before its tracks are described")),
            (true, None) => Err(problem("the file describes no tracks")),
        }
    }

    /// Where the walk goes on where what begins at `at` is damaged, which is noted; `None` where nothing more is found.
    fn resume(&mut self, at: u64) -> Result<Option<u64>, Stop> {
        let read_again = self.reader.octets_read().saturating_sub(self.reader.size());
        if self.scan.tracks.is_empty() || read_again > MAX_READ_AGAIN {
            return Ok(None);
        }
        let next = match self.behind_block(at)? {
            Some(next) => Some(next),
            None => self.next_cluster(at.saturating_add(1))?,
        };
        if let Some(next) = next {
            self.scan.damage.places += 1;
            self.scan.damage.octets += next.saturating_sub(at);
        }
        Ok(next)
    }

    /// The end of the block or group at `at`, where what follows in a cluster follows there, or nothing more.
    fn behind_block(&mut self, at: u64) -> Result<Option<u64>, Stop> {
        let size = self.reader.size();
        let end = found(self.reader.element(at))?
            .filter(|element| matches!(element.id, SIMPLE_BLOCK | BLOCK_GROUP))
            .and_then(|element| element.start.checked_add(element.size?))
            .filter(|end| *end <= size);
        let Some(end) = end else { return Ok(None) };
        let follows = end == size || found(self.reader.element(end))?.is_some_and(|next| next.id == CLUSTER || is_in_cluster(next.id));
        Ok(follows.then_some(end))
    }

    /// Where the next cluster begins, from `at` on.
    fn next_cluster(&mut self, mut at: u64) -> Result<Option<u64>, Stop> {
        while let Some(place) = self.cluster_id(at)? {
            // Both headers at once, for the window does not step back.
            let rest = usize::try_from(self.reader.size().saturating_sub(place)).unwrap_or(usize::MAX);
            self.reader.octets(place, rest.min(2 * MAX_HEADER))?;
            let begins = match found(self.reader.element(place))? {
                Some(cluster) => found(self.reader.element(cluster.start))?,
                None => None,
            };
            if begins.is_some_and(|first| is_in_cluster(first.id)) {
                return Ok(Some(place));
            }
            at = place.saturating_add(1);
        }
        Ok(None)
    }

    /// Where the identifier of a cluster is next, from `at` on. What a search has read is kept for the next one.
    fn cluster_id(&mut self, mut at: u64) -> Result<Option<u64>, Stop> {
        let id = CLUSTER.0.to_be_bytes();
        let mut most = FIRST_SEARCHED;
        loop {
            let held = at.checked_sub(self.piece_at).and_then(|skip| self.piece.get(usize::try_from(skip).ok()?..));
            if held.is_none_or(|held| held.len() < id.len()) {
                let rest = self.reader.size().saturating_sub(at).min(self.search);
                let len = usize::try_from(rest).unwrap_or(most).min(most);
                if len < id.len() {
                    return Ok(None);
                }
                self.search = self.search.saturating_sub(len as u64);
                self.piece.resize(len, 0);
                self.piece_at = at;
                self.reader.read(&mut self.piece, at)?;
                most = SEARCHED;
            }
            let skip = usize::try_from(at.saturating_sub(self.piece_at)).unwrap_or(usize::MAX);
            let held = self.piece.get(skip..).unwrap_or_default();
            match held.windows(id.len()).position(|octets| octets == id) {
                Some(place) => return Ok(Some(at.saturating_add(place as u64))),
                // It may lie on the border of two pieces.
                None => at = at.saturating_add((held.len() + 1).saturating_sub(id.len()) as u64),
            }
        }
    }

    /// Takes what the element at `at` says; where the next one begins.
    fn step(&mut self, at: u64) -> Result<u64, End> {
        let element = self.reader.element(at)?;
        match element.id {
            SEGMENT | EBML if self.in_segment => {
                self.scan.remark = Some("what follows the first segment is left out");
                return Err(End::Segment);
            }
            SEGMENT => {
                self.in_segment = true;
                if element.size.is_some_and(|size| size > self.reader.size().saturating_sub(element.start)) {
                    self.scan.remark = Some(CUT_SHORT);
                }
                return Ok(element.start);
            }
            CLUSTER => {
                self.cluster_time = 0;
                return Ok(element.start);
            }
            _ => {}
        }
        let size = element.size.ok_or(Stop::Damaged)?;
        if size > self.reader.size().saturating_sub(element.start) {
            return Err(Stop::CutShort.into());
        }
        match element.id {
            INFORMATION => self.information(&element)?,
            TRACKS if self.scan.tracks.is_empty() => self.scan.tracks = self.reader.content(&element, MAX_DESCRIPTION)?,
            TIMESTAMP => {
                let time = unsigned(self.reader.octets(element.start, usize::try_from(size.min(9)).unwrap_or(9))?).ok_or(Stop::Damaged)?;
                self.cluster_time = i64::try_from(time).unwrap_or(i64::MAX);
            }
            SIMPLE_BLOCK => self.block(&element, None)?,
            BLOCK_GROUP => self.group(&element)?,
            _ => {}
        }
        Ok(element.start.saturating_add(size))
    }

    fn information(&mut self, element: &Element) -> Result<(), Stop> {
        let content = self.reader.content(element, MAX_DESCRIPTION)?;
        let scale = Elements::new(&content).find(|(id, _)| *id == TIMESTAMP_SCALE).and_then(|(_, scale)| unsigned(scale));
        self.scan.scale = scale.filter(|scale| (1..=MAX_SCALE).contains(scale)).unwrap_or(DEFAULT_SCALE);
        Ok(())
    }

    /// A BlockGroup: its frame is a random access point where it refers to no other.
    fn group(&mut self, group: &Element) -> Result<(), End> {
        let end = group.start.saturating_add(group.size.unwrap_or(0));
        let (mut at, mut block, mut refers) = (group.start, None, false);
        for _ in 0..MAX_IN_GROUP {
            if at >= end {
                break;
            }
            let element = self.reader.element(at)?;
            at = element.start.saturating_add(element.size.ok_or(Stop::Damaged)?);
            if at > end {
                return Err(Stop::Damaged.into());
            }
            match element.id {
                BLOCK => block = Some(element),
                REFERENCE => refers = true,
                _ => {}
            }
        }
        block.map_or(Ok(()), |block| self.block(&block, Some(!refers)))
    }

    /// A block's frames, key ones where its group says so, or it does itself.
    fn block(&mut self, block: &Element, is_key: Option<bool>) -> Result<(), End> {
        let size = block.size.unwrap_or(0);
        let peek = usize::try_from(size).unwrap_or(usize::MAX).min(block::MAX_HEADER + HEAD);
        let octets = self.reader.octets(block.start, peek)?;
        let header = Header::parse(octets).ok_or(Stop::Damaged)?;
        let rest = size.saturating_sub(header.len as u64);
        let mut frame = Frame {
            offset: block.start.saturating_add(header.len as u64),
            time: self.cluster_time.saturating_add(i64::from(header.time)),
            size: 0,
            head: head(octets.get(header.len..).unwrap_or_default()),
            is_key: is_key.unwrap_or(header.is_key),
            is_timed: true,
        };
        let Some(lacing) = header.lacing else {
            frame.size = u32::try_from(rest).map_err(|_| Stop::Damaged)?;
            return self.push(header.track, frame);
        };
        let told = lacing.longest(rest).min(usize::try_from(rest).unwrap_or(usize::MAX)).min(MAX_DESCRIPTION);
        let octets = self.reader.octets(frame.offset, told)?;
        let (sizes, before) = lacing.sizes(octets, rest).ok_or(Stop::Damaged)?;
        frame.offset = frame.offset.saturating_add(before as u64);
        for size in sizes {
            frame.size = size;
            frame.head = head(self.reader.octets(frame.offset, HEAD.min(size as usize))?);
            self.push(header.track, frame)?;
            frame.offset = frame.offset.saturating_add(u64::from(size));
            frame.is_timed = false;
        }
        Ok(())
    }

    fn push(&mut self, track: u64, frame: Frame) -> Result<(), End> {
        if frame.size > MAX_FRAME {
            return Err(Stop::Damaged.into());
        }
        self.budget = self.budget.checked_sub(1).ok_or(End::TooMany)?;
        if self.scan.frames.len() < MAX_NUMBERS || self.scan.frames.contains_key(&track) {
            self.scan.frames.entry(track).or_default().push(frame);
        }
        Ok(())
    }
}

fn is_in_cluster(id: Id) -> bool {
    matches!(id, TIMESTAMP | SIMPLE_BLOCK | BLOCK_GROUP) || BESIDES.contains(&id)
}

/// An element if there is one.
fn found(element: Result<Element, Stop>) -> Result<Option<Element>, Stop> {
    match element {
        Ok(element) => Ok(Some(element)),
        Err(Stop::Unreadable(error)) => Err(Stop::Unreadable(error)),
        Err(_) => Ok(None),
    }
}

/// The first octets of a frame.
fn head(octets: &[u8]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head.iter_mut().zip(octets).for_each(|(head, octet)| *head = *octet);
    head
}
