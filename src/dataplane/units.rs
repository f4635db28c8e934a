//! Access units as packets: read and payloaded once, and kept for those who play the same a moment later.
//!
//! What is kept is bounded, the oldest goes first, and only what somebody is about to want is kept: of a presentation that
//! another follows closely. Memory is used again; nothing is allocated once as much is in use as ever will be.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::library::{AccessUnit, ReadAt, Title, Track};
use crate::payload::{PacketBuffer, PayloadError, Payloader};

/// The largest access unit that is read: an index that claims more is wrong.
const MAX_UNIT: u32 = 64 << 20;
/// Octets that are kept for others at most: for each presentation, of which only those share what is read whose distance
/// is no more than that …
const KEPT_EACH: usize = 6 << 10;
/// … and in all.
const KEPT: usize = 16 << 20;
/// The greatest distance of those who share.
const CLOSE: Duration = Duration::from_secs(2);
/// Buffers hold 2 KB, 4 KB, 8 KB, …; what needs more than the last of them is not used again.
const SIZES: usize = 8;
const SMALLEST: usize = 2 << 10;
/// Buffers of a size that wait to be used again at most …
const SPARE: usize = 64;
/// … and octets in them for each presentation, and in all: as many as are under way at a time, for those that are given back
/// and asked for again cost page faults. Large access units are rare, and what holds one goes back to the system.
const SPARE_EACH: usize = 4 << 10;
const SPARE_OCTETS: usize = 1 << 20;

/// An access unit as packets.
#[derive(Debug, Default)]
pub(crate) struct Unit {
    /// Its packets, with holes where RTP headers go.
    pub(crate) packets: PacketBuffer,
    /// Whether no other picture refers to it.
    pub(crate) disposable: bool,
}

/// Which access unit: of which title and track, and where in the file.
type Key = (usize, usize, u64);

/// Why there are no packets.
#[derive(Debug)]
pub(crate) enum UnitError {
    /// It cannot be read.
    Read(io::Error),
    /// It is malformed.
    Payload,
    /// Its format cannot divide it, and it is larger than a packet.
    TooLarge(PayloadError),
}

/// Whose access units are shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Near {
    /// Somebody plays the same title a little ahead.
    pub(crate) ahead: bool,
    /// Somebody plays it a little behind.
    pub(crate) behind: bool,
}

/// What is to be read.
pub(crate) struct Wanted<'a> {
    pub(crate) title: &'a Arc<Title>,
    pub(crate) track: usize,
    pub(crate) units: &'a [AccessUnit],
    pub(crate) source: &'a dyn ReadAt,
    pub(crate) payloader: &'a Payloader,
    pub(crate) near: Near,
}

struct Kept {
    key: Key,
    unit: Arc<Unit>,
    /// It names the title; as long as this is here no other has its address.
    _title: Arc<Title>,
}

/// Makes units, and keeps them for a moment.
#[derive(Default)]
pub(crate) struct Units {
    /// By their size.
    spare: [Vec<Arc<Unit>>; SIZES],
    read: Vec<u8>,
    kept: VecDeque<Kept>,
    index: HashMap<Key, Arc<Unit>>,
    octets: usize,
    limit: usize,
    /// Octets of a size that wait to be used again at most.
    spare_octets: usize,
}

impl Units {
    /// The packets of an access unit (or of several that go together).
    pub(crate) fn fetch(&mut self, wanted: &Wanted<'_>) -> Result<Arc<Unit>, UnitError> {
        let first = wanted.units.first().ok_or(UnitError::Payload)?;
        let key = (Arc::as_ptr(wanted.title) as usize, wanted.track, first.offset);
        if wanted.near.ahead
            && let Some(found) = self.index.get(&key)
        {
            return Ok(Arc::clone(found));
        }
        let mut unit = self.buffer(wanted);
        // It is nobody else's: it was spare, or is new.
        let made = match Arc::get_mut(&mut unit) {
            Some(fresh) => self.make(wanted, fresh),
            None => Err(UnitError::Payload),
        };
        if let Err(error) = made {
            self.put_back(unit);
            return Err(error);
        }
        if wanted.near.behind {
            self.keep(key, &unit, wanted.title);
        }
        Ok(unit)
    }

    /// An empty buffer that should do for what is wanted.
    fn buffer(&mut self, wanted: &Wanted<'_>) -> Arc<Unit> {
        let octets: usize = wanted.units.iter().map(|unit| unit.size.min(MAX_UNIT) as usize).sum();
        // Headers, and parameter sets.
        let class = size_class(octets + octets / 32 + 512);
        match self.spare.get_mut(class).and_then(Vec::pop) {
            Some(mut unit) => {
                if let Some(unit) = Arc::get_mut(&mut unit) {
                    unit.packets.clear();
                }
                unit
            }
            None => Arc::new(Unit {
                packets: PacketBuffer::with_capacity(if class < SIZES { SMALLEST << class } else { 0 }),
                disposable: false,
            }),
        }
    }

    fn make(&mut self, wanted: &Wanted<'_>, fresh: &mut Unit) -> Result<(), UnitError> {
        let track = wanted.title.tracks.get(wanted.track).ok_or(UnitError::Payload)?;
        let octets = read_units(track, wanted.units, wanted.source, &mut self.read)?;
        let sizes: SmallVec<[usize; 2]> = wanted.units.iter().map(|unit| unit.size as usize).collect();
        let random_access = wanted.units.first().is_some_and(|unit| unit.random_access);
        let made = wanted.payloader.payload_together(octets, &sizes, random_access, &mut fresh.packets);
        made.map_err(|error| match error {
            PayloadError::TooLarge { .. } => UnitError::TooLarge(error),
            _ => UnitError::Payload,
        })?;
        fresh.disposable = wanted.payloader.is_disposable(octets);
        if self.read.len() > SMALLEST << (SIZES - 1) {
            self.read = Vec::new();
        }
        Ok(())
    }

    fn keep(&mut self, key: Key, unit: &Arc<Unit>, title: &Arc<Title>) {
        let size = unit.packets.octets().len();
        if size > KEPT_EACH * 8 && size > self.limit / 4 || self.index.insert(key, Arc::clone(unit)).is_some() {
            return;
        }
        self.octets += size;
        self.kept.push_back(Kept { key, unit: Arc::clone(unit), _title: Arc::clone(title) });
        while self.octets > self.limit {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.kept.pop_front() else { return };
        self.octets -= oldest.unit.packets.octets().len().min(self.octets);
        self.index.remove(&oldest.key);
        self.put_back(oldest.unit);
    }

    /// How close presentations of a title are that share what is read: so much is kept for each.
    pub(crate) fn closeness(title: &Title) -> Duration {
        let bits = title.tracks.iter().map(Track::bitrate).fold(0, u64::saturating_add);
        Duration::from_nanos((KEPT_EACH as u64 * 8_000_000_000).checked_div(bits).unwrap_or(u64::MAX)).min(CLOSE)
    }

    /// Forgets what is kept: nobody is near anybody any more.
    pub(crate) fn forget(&mut self) {
        while !self.kept.is_empty() {
            self.drop_oldest();
        }
    }

    /// So many presentations there are.
    pub(crate) fn set_presentations(&mut self, count: usize) {
        self.limit = (count * KEPT_EACH).min(KEPT);
        self.spare_octets = (count * SPARE_EACH).min(SPARE_OCTETS);
    }

    /// Takes back what is no longer needed, to be used again.
    pub(crate) fn put_back(&mut self, unit: Arc<Unit>) {
        if Arc::strong_count(&unit) > 1 {
            return;
        }
        // By what it holds at least.
        let capacity = unit.packets.capacity();
        let Some(class) = (capacity / SMALLEST).checked_ilog2() else { return };
        if let Some(spare) = self.spare.get_mut(class as usize)
            && spare.len() < (self.spare_octets / (SMALLEST << class)).clamp(1, SPARE)
        {
            spare.push(unit);
        }
    }
}

/// Reads access units of a track one behind the other.
pub(crate) fn read_units<'a>(
    track: &Track,
    units: &[AccessUnit],
    source: &dyn ReadAt,
    buffer: &'a mut Vec<u8>,
) -> Result<&'a [u8], UnitError> {
    if units.iter().any(|unit| unit.size > MAX_UNIT) {
        return Err(UnitError::Payload);
    }
    let size = units.iter().map(|unit| unit.size as usize).sum();
    if buffer.len() < size {
        buffer.resize(size, 0);
    }
    let octets = &mut buffer[..size];
    track.read(source, units, octets).map_err(|error| match error.kind() {
        // What is there is none.
        io::ErrorKind::InvalidData => UnitError::Payload,
        _ => UnitError::Read(error),
    })?;
    Ok(octets)
}

/// The least size that holds so many octets.
fn size_class(octets: usize) -> usize {
    octets.div_ceil(SMALLEST).next_power_of_two().ilog2() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use crate::library::{AacConfig, Codec, SampleIndex, TitlePath};
    use crate::quantities::{ClockRate, MediaKind, MediaTime};

    /// A file that counts how often it is read.
    struct Counted(AtomicUsize);

    impl ReadAt for Counted {
        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            self.0.fetch_add(1, Ordering::Relaxed);
            if offset >= 1 << 30 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer.fill(offset as u8);
            Ok(())
        }

        fn size(&self) -> u64 {
            1 << 30
        }

        fn open(&self) -> io::Result<Arc<dyn ReadAt>> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    fn codec() -> Codec {
        Codec::Aac(AacConfig { audio_specific_config: vec![0x11, 0x90], sample_rate: 48_000, channels: 2 })
    }

    fn title() -> Arc<Title> {
        let path = TitlePath::new("a.mp4").expect("a path");
        let source: Arc<dyn ReadAt> = Arc::new(Vec::new());
        let timescale = ClockRate::new(48_000).expect("not zero");
        let track = Track { kind: MediaKind::Audio, codec: codec(), timescale, language: None, index: SampleIndex::default() };
        Arc::new(Title { path, duration: MediaTime::ZERO, tracks: vec![track], remark: None, source })
    }

    struct Reader {
        units: Units,
        payloader: Payloader,
        source: Counted,
    }

    impl Reader {
        fn new() -> Self {
            let payloader = Payloader::new(&codec(), 1400).expect("sound");
            Self { units: Units::default(), payloader, source: Counted(AtomicUsize::new(0)) }
        }

        fn fetch(&mut self, title: &Arc<Title>, offset: u64, size: u32, near: (bool, bool)) -> Result<Arc<Unit>, UnitError> {
            let unit = AccessUnit { offset, size, decode_time: 0, presentation_time: 0, duration: 1, random_access: true };
            let near = Near { ahead: near.0, behind: near.1 };
            let (source, payloader) = (&self.source, &self.payloader);
            self.units.fetch(&Wanted { title, track: 0, units: &[unit], source, payloader, near })
        }

        fn reads(&self) -> usize {
            self.source.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn who_follows_closely_gets_what_was_read_and_nobody_else_does() {
        let (mut reader, title, other) = (Reader::new(), title(), title());
        reader.units.set_presentations(2);
        let first = reader.fetch(&title, 5, 300, (false, true)).expect("read");
        assert!(Arc::ptr_eq(&first, &reader.fetch(&title, 5, 300, (true, false)).expect("kept")));
        assert_eq!((reader.reads(), first.packets.packets().len()), (1, 1));
        for (title, offset, near) in [(&title, 5, (false, false)), (&title, 6, (true, false)), (&other, 5, (true, true))] {
            let before = reader.reads();
            reader.fetch(title, offset, 300, near).expect("read");
            assert_eq!(reader.reads(), before + 1);
        }
        reader.units.forget();
        reader.fetch(&title, 5, 300, (true, false)).expect("read");
        assert_eq!(reader.reads(), 5);
    }

    #[test]
    fn what_is_kept_is_bounded_and_buffers_are_used_again() {
        let (mut reader, title) = (Reader::new(), title());
        reader.units.set_presentations(1);
        for offset in 0..1000 {
            let unit = reader.fetch(&title, offset, 1000, (false, true)).expect("read");
            assert!(reader.units.octets <= KEPT_EACH);
            reader.units.put_back(unit);
        }
        assert!(reader.units.kept.len() <= KEPT_EACH / 1000 && reader.units.index.len() == reader.units.kept.len());
        let spare = |units: &Units| units.spare.iter().map(Vec::len).sum::<usize>();
        assert!((1..=2).contains(&spare(&reader.units)), "{}", spare(&reader.units));
        // The newest is there, the oldest is not.
        let before = reader.reads();
        reader.fetch(&title, 999, 1000, (true, false)).expect("kept");
        assert_eq!(reader.reads(), before);
        reader.fetch(&title, 0, 1000, (true, false)).expect("read");
        assert_eq!(reader.reads(), before + 1);
    }

    #[test]
    fn of_large_buffers_few_are_kept() {
        let mut units = Units::default();
        units.set_presentations(32);
        let unit = |capacity| Arc::new(Unit { packets: PacketBuffer::with_capacity(capacity), disposable: false });
        for (class, most) in [(0, 64), (1, 32), (5, 2), (7, 1)] {
            (0..100).for_each(|_| units.put_back(unit(SMALLEST << class)));
            assert_eq!(units.spare[class].len(), most, "of {} octets", SMALLEST << class);
        }
    }

    #[test]
    fn what_cannot_be_read_or_is_malformed_is_told_apart() {
        let (mut reader, title) = (Reader::new(), title());
        assert!(matches!(reader.fetch(&title, 1 << 30, 10, (true, true)), Err(UnitError::Read(_))));
        assert!(matches!(reader.fetch(&title, 0, 9000, (true, true)), Err(UnitError::TooLarge(_))));
        assert!(matches!(reader.fetch(&title, 0, MAX_UNIT + 1, (true, true)), Err(UnitError::Payload)));
        assert!(reader.units.kept.is_empty());
    }
}
