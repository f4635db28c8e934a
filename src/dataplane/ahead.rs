//! Reading without waiting: a shard takes what is in memory already, and reader threads fetch what is not.
//!
//! Of a file whose octets are at hand a shard reads itself, in the one system call that it always took. Where that would have to wait
//! for a disk the file counts as slow: what is wanted, and what lies behind it, is read in blocks by threads that may wait, and the
//! access unit is asked for again until it is there. It is late then, and so is its title; nobody else's is. Those who play one
//! title share its blocks. A file has one thread at a time, so that one whose disk hangs takes no more than that; blocks are bounded for
//! each title and in all.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use crate::library::{ReadAt, Title};
use crate::net::process::take_short_turns;

/// Octets of a block.
const BLOCK: u64 = 256 << 10;
/// Blocks that are read ahead of where somebody is.
const AHEAD: u64 = 4;
/// Blocks that are kept for each who plays a title, where its disk is slow: what one access unit may be put together of (16 MB of a
/// transport stream, leading pictures), and three places, for sound may lie apart from pictures …
const KEPT_EACH: usize = 96;
/// … for all who do …
const KEPT_TITLE: usize = 256;
/// … and in all; what is wanted at once is read all the same.
const KEPT: usize = 512;
/// Blocks of a file that wait to be read at most.
const WANTED: usize = 512;
/// A file of which so many blocks in a row were at hand is slow no longer.
const AT_HAND: usize = 64;
/// Files that are read at a time at most: the others wait.
const THREADS: usize = 64;
/// A thread that has nothing to do for so long ends.
const IDLE: Duration = Duration::from_secs(10);
/// It needs little.
const STACK: usize = 256 << 10;

/// Opens files to be read without waiting. All shards have the same.
#[derive(Default)]
pub(crate) struct Readers {
    pool: Arc<Pool>,
    /// By the title's address, which nobody else has as long as it is open.
    open: Mutex<HashMap<usize, Weak<Ahead>>>,
}

impl Readers {
    /// The file of a title, one for all who play it.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn open(&self, title: &Arc<Title>) -> io::Result<Arc<Ahead>> {
        let key = Arc::as_ptr(title) as usize;
        if let Some(ahead) = lock(&self.open).get(&key).and_then(Weak::upgrade) {
            return Ok(ahead);
        }
        // It may wait for a disk, and keeps no other shard waiting.
        let source = title.source.open()?;
        let mut open = lock(&self.open);
        if let Some(ahead) = open.get(&key).and_then(Weak::upgrade) {
            return Ok(ahead);
        }
        let ahead = Arc::new_cyclic(|this| Ahead {
            this: this.clone(),
            source,
            pool: Arc::clone(&self.pool),
            is_slow: AtomicBool::new(false),
            state: Mutex::default(),
            _title: Arc::clone(title),
        });
        if open.len() == open.capacity() {
            open.retain(|_, ahead| ahead.strong_count() > 0);
        }
        open.insert(key, Arc::downgrade(&ahead));
        Ok(ahead)
    }
}

/// A title's file. Reading from it never waits: what is not at hand is `WouldBlock`, and asked for.
pub(crate) struct Ahead {
    this: Weak<Self>,
    source: Arc<dyn ReadAt>,
    pool: Arc<Pool>,
    is_slow: AtomicBool,
    state: Mutex<Blocks>,
    _title: Arc<Title>,
}

/// What was read of a slow file.
#[derive(Default)]
struct Blocks {
    /// By their number; the one that was used last is the last.
    read: VecDeque<(u64, Result<Vec<u8>, io::ErrorKind>)>,
    /// Those to be read, in that order.
    wanted: VecDeque<u64>,
    /// Whether a thread reads from the file, or will.
    is_queued: bool,
    /// So many in a row were at hand.
    at_hand: usize,
    /// As many as were ever wanted together.
    least: usize,
}

impl Blocks {
    /// Whether a block was read; it is used now.
    fn touch(&mut self, block: u64) -> bool {
        let Some(at) = self.read.iter().position(|(read, _)| *read == block) else { return false };
        if let Some(used) = self.read.remove(at) {
            self.read.push_back(used);
        }
        true
    }

    /// Asks for a block: before all others, or behind them.
    fn want(&mut self, block: u64, at_once: bool) {
        if at_once {
            self.wanted.retain(|wanted| *wanted != block);
            self.wanted.push_front(block);
            self.wanted.truncate(WANTED);
        } else if self.wanted.len() < WANTED && !self.wanted.contains(&block) && !self.read.iter().any(|(read, _)| *read == block) {
            self.wanted.push_back(block);
        }
    }

    /// Fills `buffer` from `offset` on out of blocks that are all there. One that could not be read is an error once, and then read again.
    fn copy(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            let at = offset + filled as u64;
            let position = self.read.iter().position(|(read, _)| *read == at / BLOCK).ok_or(io::ErrorKind::WouldBlock)?;
            let octets = match &self.read[position].1 {
                Ok(octets) => {
                    octets.get((at % BLOCK) as usize..).filter(|octets| !octets.is_empty()).ok_or(io::ErrorKind::UnexpectedEof)?
                }
                Err(kind) => {
                    let kind = *kind;
                    // A place that is free counts as one that is taken until the next is read.
                    self.read[position].0 = u64::MAX;
                    return Err(kind.into());
                }
            };
            let len = octets.len().min(buffer.len() - filled);
            buffer[filled..filled + len].copy_from_slice(&octets[..len]);
            filled += len;
        }
        Ok(())
    }
}

impl ReadAt for Ahead {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if !self.is_slow.load(Ordering::Relaxed) {
            match self.source.read_now_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_slow.store(true, Ordering::Relaxed),
                done => return done,
            }
        }
        self.read_blocks(buffer, offset)
    }

    fn size(&self) -> u64 {
        self.source.size()
    }

    fn open(&self) -> io::Result<Arc<dyn ReadAt>> {
        self.source.open()
    }
}

impl Ahead {
    /// Out of blocks; those that are missing are asked for, and some behind them.
    fn read_blocks(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.size()).ok_or(io::ErrorKind::UnexpectedEof)?;
        let (first, last) = (offset / BLOCK, end.saturating_sub(1).max(offset) / BLOCK);
        let mut blocks = lock(&self.state);
        blocks.least = blocks.least.max((last - first + 1 + AHEAD) as usize);
        let missing: Vec<u64> = (first..=last).filter(|block| !blocks.touch(*block)).collect();
        let outcome = match missing.is_empty() {
            true => blocks.copy(buffer, offset),
            // It may be at hand by now.
            false => self.source.read_now_at(buffer, offset),
        };
        if matches!(&outcome, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            missing.iter().rev().for_each(|block| blocks.want(*block, true));
        }
        if self.pool.kept.load(Ordering::Relaxed) < KEPT {
            (last + 1..(last + 1 + AHEAD).min(self.size().div_ceil(BLOCK))).for_each(|block| blocks.want(block, false));
        }
        let begins = !blocks.wanted.is_empty() && !std::mem::replace(&mut blocks.is_queued, true);
        drop(blocks);
        if let Some(this) = self.this.upgrade().filter(|_| begins)
            && let Err(error) = Pool::submit(&self.pool, this)
        {
            lock(&self.state).is_queued = false;
            return Err(error);
        }
        outcome
    }

    /// Reads the block that is wanted first; whether more may be.
    fn read_next(&self) -> bool {
        let block = {
            let mut blocks = lock(&self.state);
            // Nobody but the thread that reads has it: nobody plays it any more.
            if self.this.strong_count() <= 1 {
                blocks.wanted.clear();
            }
            match blocks.wanted.front() {
                Some(block) => *block,
                None => {
                    blocks.is_queued = false;
                    return false;
                }
            }
        };
        let start = block * BLOCK;
        let mut octets = vec![0; usize::try_from(BLOCK.min(self.size().saturating_sub(start))).unwrap_or(0)];
        let (is_at_hand, read) = match self.source.read_now_at(&mut octets, start) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (false, self.source.read_exact_at(&mut octets, start)),
            done => (true, done),
        };
        let mut blocks = lock(&self.state);
        blocks.wanted.retain(|wanted| *wanted != block);
        blocks.at_hand = if is_at_hand { blocks.at_hand + 1 } else { 0 };
        if blocks.at_hand >= AT_HAND {
            blocks.at_hand = 0;
            self.is_slow.store(false, Ordering::Relaxed);
        }
        blocks.read.push_back((block, read.map(|()| octets).map_err(|error| error.kind())));
        self.pool.kept.fetch_add(1, Ordering::Relaxed);
        let players = self.this.strong_count().saturating_sub(1).max(1);
        let most = (players * KEPT_EACH).min(KEPT_TITLE).max(blocks.least);
        while blocks.read.len() > most {
            blocks.read.pop_front();
            self.pool.kept.fetch_sub(1, Ordering::Relaxed);
        }
        true
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        let kept = self.state.get_mut().map_or_else(|poisoned| poisoned.into_inner().read.len(), |blocks| blocks.read.len());
        self.pool.kept.fetch_sub(kept, Ordering::Relaxed);
    }
}

/// Threads that may wait for disks. There are as many as there is work for.
#[derive(Default)]
struct Pool {
    state: Mutex<Queue>,
    changed: Condvar,
    /// Blocks that are kept of all files.
    kept: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    files: VecDeque<Arc<Ahead>>,
    threads: usize,
    idle: usize,
}

impl Pool {
    /// Has a file read from.
    ///
    /// # Errors
    /// There is no thread, and none can be started.
    fn submit(this: &Arc<Self>, file: Arc<Ahead>) -> io::Result<()> {
        let mut queue = lock(&this.state);
        queue.files.push_back(file);
        let helped = Self::help(this, &mut queue);
        if helped.is_err() && queue.threads == 0 {
            queue.files.pop_back();
            return helped;
        }
        Ok(())
    }

    /// Finds a thread for a file that waits for one.
    fn help(this: &Arc<Self>, queue: &mut Queue) -> io::Result<()> {
        if queue.files.len() > queue.idle && queue.threads < THREADS {
            let pool = Arc::clone(this);
            thread::Builder::new().name("reader".into()).stack_size(STACK).spawn(move || pool.run())?;
            queue.threads += 1;
        }
        this.changed.notify_one();
        Ok(())
    }

    fn run(self: &Arc<Self>) {
        // Its shard waits for it. Where the system has no such turns, it is scheduled as others are.
        let _ = take_short_turns();
        let mut queue = lock(&self.state);
        loop {
            if let Some(file) = queue.files.pop_front() {
                if !queue.files.is_empty() {
                    // This one may take for ever. Without another thread those behind it wait for it.
                    let _ = Self::help(self, &mut queue);
                }
                drop(queue);
                if file.read_next() {
                    queue = lock(&self.state);
                    queue.files.push_back(file);
                } else {
                    // Where it is the last to have it this closes the file, which may wait too.
                    drop(file);
                    queue = lock(&self.state);
                }
                continue;
            }
            queue.idle += 1;
            let (woken, waited) = self.changed.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            queue.idle -= 1;
            if waited.timed_out() && queue.files.is_empty() {
                queue.threads -= 1;
                return;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
