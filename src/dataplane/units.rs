//! Access units as packets: read and payloaded once, and kept for those who play the same a moment later.
//!
//! What is kept is bounded, the oldest goes first, and only what somebody is about to want is kept: of a presentation that
//! another follows closely. Memory is used again; nothing is allocated once as much is in use as ever will be.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use crate::library::{AccessUnit, ReadAt, Title};
use crate::payload::{PacketBuffer, Payloader};

/// The largest access unit that is read: an index that claims more is wrong.
const MAX_UNIT: u32 = 64 << 20;
/// Octets that are kept for others at most: for each presentation …
const KEPT_EACH: usize = 8 << 10;
/// … and in all.
const KEPT: usize = 8 << 20;
/// Buffers hold 2 KB, 4 KB, 8 KB, …; what needs more than the last of them is not used again.
const SIZES: usize = 8;
const SMALLEST: usize = 2 << 10;
/// Buffers of a size that wait to be used again at most.
const SPARE: usize = 64;

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
            Some(fresh) => self.make(wanted, first, fresh),
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

    fn make(&mut self, wanted: &Wanted<'_>, unit: &AccessUnit, fresh: &mut Unit) -> Result<(), UnitError> {
        if unit.size > MAX_UNIT {
            return Err(UnitError::Payload);
        }
        let size = unit.size as usize;
        if self.read.len() < size {
            self.read.resize(size, 0);
        }
        let octets = &mut self.read[..size];
        wanted.source.read_exact_at(octets, unit.offset).map_err(UnitError::Read)?;
        wanted.payloader.payload(octets, unit.random_access, &mut fresh.packets).map_err(|_| UnitError::Payload)?;
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

    /// Forgets what is kept: nobody is near anybody any more.
    pub(crate) fn forget(&mut self) {
        while !self.kept.is_empty() {
            self.drop_oldest();
        }
    }

    /// So many presentations there are.
    pub(crate) fn set_presentations(&mut self, count: usize) {
        self.limit = (count * KEPT_EACH).min(KEPT);
    }

    /// Takes back what is no longer needed, to be used again.
    pub(crate) fn put_back(&mut self, unit: Arc<Unit>) {
        if Arc::strong_count(&unit) > 1 {
            return;
        }
        // By what it holds at least.
        let capacity = unit.packets.capacity();
        if let Some(spare) = capacity.checked_div(SMALLEST).filter(|of| *of > 0).and_then(|of| self.spare.get_mut(of.ilog2() as usize))
            && spare.len() < SPARE
        {
            spare.push(unit);
        }
    }
}

/// The least size that holds so many octets.
fn size_class(octets: usize) -> usize {
    octets.div_ceil(SMALLEST).next_power_of_two().ilog2() as usize
}
