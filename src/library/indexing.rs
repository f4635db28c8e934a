//! Indexing in the background: what was listed is read, one file after the other, while titles are served already.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::library::entry::Entry;
use crate::library::folder::Library;

/// How often the log tells how far it is.
const TELL: Duration = Duration::from_secs(5);

/// What was found of so many files is noted together …
const BATCH: usize = 256;
/// … but not later than this.
const LONGEST: Duration = Duration::from_millis(100);

/// Who has asked for what is new to be indexed, and what was done of that.
#[derive(Default)]
pub(crate) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    asked: u64,
    done: u64,
    stops: bool,
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There may be something to index.
    pub(crate) fn ask(&self) {
        self.lock().asked += 1;
        self.changed.notify_all();
    }

    /// Waits until there may be something to index; `None` to stop.
    fn next(&self) -> Option<u64> {
        let idle = |state: &mut State| !state.stops && state.asked == state.done;
        let state = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        (!state.stops).then_some(state.asked)
    }

    fn finish(&self, asked: u64) {
        self.lock().done = asked;
        self.changed.notify_all();
    }

    fn stop(&self) {
        self.lock().stops = true;
        self.changed.notify_all();
    }

    fn stops(&self) -> bool {
        self.lock().stops
    }

    /// Waits until all that was asked for is done, for so long at most; whether there is nothing to wait for any more.
    fn wait(&self, patience: Duration) -> bool {
        let busy = |state: &mut State| !state.stops && state.asked != state.done;
        self.changed.wait_timeout_while(self.lock(), patience, busy).is_ok_and(|(_, waited)| !waited.timed_out())
    }
}

impl Library {
    /// Indexes what is not indexed yet, on the caller's thread, and keeps that.
    pub fn index(&self) {
        self.index_while(|| true);
        self.keep(true);
    }

    /// Waits until the background has indexed what there is, for so long at most; whether there is nothing to wait for any more.
    pub fn wait_indexed(&self, patience: Duration) -> bool {
        self.turns.wait(patience)
    }

    /// The same, until told to stop; how many files it has read.
    fn index_while(&self, go_on: impl Fn() -> bool) -> usize {
        let (begun, entries) = (Instant::now(), self.entries());
        let waiting: Vec<&Arc<Entry>> = entries.iter().filter(|entry| entry.known().is_none()).collect();
        let (mut told, mut read, mut batch) = (begun, 0, Batch::new(begun));
        for entry in &waiting {
            if !go_on() {
                break;
            }
            // It may be another one by now.
            if self.entry(&entry.path).is_none_or(|now| !Arc::ptr_eq(&now, entry)) {
                continue;
            }
            batch.add(entry);
            read += 1;
            if batch.is_full() {
                batch.note();
            }
            if told.elapsed() >= TELL {
                batch.note();
                told = Instant::now();
                tracing::info!("indexing the library: {} of {} titles", self.indexed(), self.len());
                self.keep(false);
            }
        }
        batch.note();
        if begun.elapsed() >= TELL || told > begun {
            tracing::info!("the library is indexed: {read} files read in {} s", begun.elapsed().as_secs());
        }
        read
    }
}

/// Findings that are noted together, and are octets until then: what stays would else lie between what reading an index takes for a
/// moment, and keep that from being given back.
struct Batch<'a> {
    octets: Vec<u8>,
    entries: Vec<(&'a Entry, usize)>,
    begun: Instant,
}

impl<'a> Batch<'a> {
    fn new(now: Instant) -> Self {
        Self { octets: Vec::with_capacity(BATCH * 1024), entries: Vec::with_capacity(BATCH), begun: now }
    }

    /// Reads the index of a file that is not known yet.
    fn add(&mut self, entry: &'a Entry) {
        let Some(finding) = entry.examine() else { return };
        let before = self.octets.len();
        match postcard::to_extend(&finding, std::mem::take(&mut self.octets)) {
            Ok(octets) => {
                self.octets = octets;
                self.entries.push((entry, self.octets.len() - before));
            }
            // It has lost what was in it too: those are read again when somebody asks for them.
            Err(_) => {
                self.entries.clear();
                entry.note(finding);
            }
        }
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= BATCH || self.begun.elapsed() >= LONGEST
    }

    fn note(&mut self) {
        let mut rest = self.octets.as_slice();
        for (entry, len) in self.entries.drain(..) {
            let Some((octets, behind)) = rest.split_at_checked(len) else { break };
            rest = behind;
            if let Ok(finding) = postcard::from_bytes(octets) {
                entry.note(finding);
            }
        }
        self.octets.clear();
        self.begun = Instant::now();
    }
}

/// A thread that indexes what appears; ends when dropped, behind the file that it is at.
pub(crate) struct Indexer {
    library: Arc<Library>,
    thread: Option<JoinHandle<()>>,
}

impl Indexer {
    pub(crate) fn start(library: &Arc<Library>) -> Self {
        let indexed = Arc::clone(library);
        let thread = thread::Builder::new().name("indexer".into()).spawn(move || run(&indexed));
        if let Err(error) = &thread {
            tracing::warn!("titles are indexed when somebody asks for them: no thread can be started: {error}");
        }
        Self { library: Arc::clone(library), thread: thread.ok() }
    }
}

impl Drop for Indexer {
    fn drop(&mut self) {
        self.library.turns.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(library: &Library) {
    while let Some(asked) = library.turns.next() {
        library.index_while(|| !library.turns.stops());
        library.turns.finish(asked);
        library.keep(!library.turns.stops());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn what_is_there_and_what_appears_is_indexed_in_the_background() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a.mp4"), b"noise").expect("written");
        let library = Arc::new(Library::open(folder.path()).expect("a folder"));
        assert_eq!(library.indexed(), 0);
        let indexer = Indexer::start(&library);
        assert!(library.wait_indexed(LONG));
        assert_eq!(library.indexed(), 1);
        fs::write(folder.path().join("b.mp4"), b"noise").expect("written");
        assert_eq!(library.rescan().len(), 1);
        assert!(library.wait_indexed(LONG));
        assert_eq!((library.indexed(), library.len()), (2, 2));
        drop(indexer);
        assert_eq!(Arc::strong_count(&library), 1, "the thread is gone");
    }

    #[test]
    fn indexing_stops_when_told() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["a.mp4", "b.mp4", "c.mp4"] {
            fs::write(folder.path().join(name), b"noise").expect("written");
        }
        let library = Library::open(folder.path()).expect("a folder");
        let left = std::cell::Cell::new(2);
        let go_on = || left.replace(left.get() - 1) > 0;
        assert_eq!(library.index_while(go_on), 2);
        assert_eq!(library.indexed(), 2);
        assert_eq!(library.index_while(|| true), 1, "and goes on with the rest");
    }
}
