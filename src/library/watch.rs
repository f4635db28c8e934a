//! Watching the folder: a change there is a rescan, once things have settled, and what is new is indexed.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use notify::{RecursiveMode, Watcher};

use crate::library::folder::{Change, Library};
use crate::library::indexing::Indexer;

/// How long the folder must be quiet before it is looked at: a copy under way is one change.
const SETTLE: Duration = Duration::from_millis(400);
/// How long it is waited for that at most: a copy that takes an hour keeps nothing else from being seen, and is itself
/// looked at again and again until it is whole.
const PATIENCE: Duration = Duration::from_secs(4);
/// Signals that may wait; a touch too many says nothing new.
const SIGNALS: usize = 64;
/// How often it is looked at where the system tells nothing, and all the same where it does (some file systems tell
/// only part).
const POLL: Duration = Duration::from_secs(10);

/// How long what is new may take to be indexed before it is told of all the same.
const INDEXED: Duration = Duration::from_millis(150);

/// Threads that rescan and index; they end when dropped.
pub struct Watch {
    stop: Option<SyncSender<Signal>>,
    thread: Option<JoinHandle<()>>,
    indexer: Option<Indexer>,
}

enum Signal {
    Touched,
    Rescan,
    Stop,
}

impl Watch {
    /// Watches and indexes `library`, telling `changed` what has become of its files, from a thread of its own.
    pub fn start(library: Arc<Library>, changed: impl Fn(Vec<Change>) + Send + 'static) -> Self {
        let (sender, receiver) = sync_channel(SIGNALS);
        let indexer = Indexer::start(&library);
        let touched = sender.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // Full of touches, or gone already: nothing is lost.
                let _ = touched.try_send(Signal::Touched);
            }
        });
        let watcher = watcher.and_then(|mut watcher| watcher.watch(library.root(), RecursiveMode::Recursive).map(|()| watcher));
        if let Err(error) = &watcher {
            tracing::warn!("the folder cannot be watched, it is looked at every {} s: {error}", POLL.as_secs());
        }
        let thread = thread::Builder::new().name("library".into()).spawn(move || {
            let _watcher = watcher;
            run(&library, &receiver, changed);
        });
        Self { stop: Some(sender), thread: thread.ok(), indexer: Some(indexer) }
    }

    /// Asks for a rescan now.
    pub fn rescan(&self) {
        if let Some(sender) = &self.stop {
            // Full of touches: a rescan comes anyway.
            let _ = sender.try_send(Signal::Rescan);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(sender) = self.stop.take() {
            let _ = sender.send(Signal::Stop);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        drop(self.indexer.take());
    }
}

fn run(library: &Library, signals: &Receiver<Signal>, changed: impl Fn(Vec<Change>)) {
    loop {
        match signals.recv_timeout(POLL) {
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(Signal::Rescan) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Signal::Touched) => {
                let deadline = Instant::now() + PATIENCE;
                loop {
                    let left = deadline.saturating_duration_since(Instant::now());
                    match signals.recv_timeout(SETTLE.min(left)) {
                        Ok(Signal::Touched) if !left.is_zero() => {}
                        Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                        Ok(Signal::Touched | Signal::Rescan) | Err(RecvTimeoutError::Timeout) => break,
                    }
                }
            }
        }
        let changes = library.rescan();
        if !changes.is_empty() {
            // What takes longer is told all the same.
            let _ = library.wait_indexed(INDEXED);
            changed(changes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::folder::ChangeKind;
    use std::fs;

    /// How long a change may take to be told, on a slow machine.
    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn what_appears_and_vanishes_is_told_and_the_thread_ends_with_the_watch() {
        let folder = tempfile::tempdir().expect("a folder");
        let library = Arc::new(Library::open(folder.path()).expect("opens"));
        let (sender, told) = std::sync::mpsc::channel();
        let watch = Watch::start(Arc::clone(&library), move |changes| {
            let _ = sender.send(changes);
        });
        let next = || told.recv_timeout(LONG).expect("told").into_iter().map(|change| (change.path.to_string(), change.kind));
        fs::create_dir(folder.path().join("films")).expect("made");
        fs::write(folder.path().join("films/a.mp4"), b"one").expect("written");
        assert_eq!(next().collect::<Vec<_>>(), [("films/a.mp4".to_owned(), ChangeKind::Appeared)]);
        assert_eq!(library.len(), 1);
        fs::remove_file(folder.path().join("films/a.mp4")).expect("removed");
        assert_eq!(next().collect::<Vec<_>>(), [("films/a.mp4".to_owned(), ChangeKind::Vanished)]);
        drop(watch);
        assert!(told.recv_timeout(LONG).is_err_and(|error| error == RecvTimeoutError::Disconnected), "the thread is gone");
        assert_eq!(Arc::strong_count(&library), 1);
    }

    #[test]
    fn a_file_that_is_written_for_long_keeps_nothing_else_from_being_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let library = Arc::new(Library::open(folder.path()).expect("opens"));
        let (sender, told) = std::sync::mpsc::channel();
        let _watch = Watch::start(library, move |changes| {
            let _ = sender.send(changes);
        });
        let copying = folder.path().join("copying.part");
        let begun = Instant::now();
        fs::write(folder.path().join("a.mp4"), b"one").expect("written");
        let seen = loop {
            fs::write(&copying, b"more and more").expect("written");
            match told.recv_timeout(SETTLE / 8) {
                Ok(changes) => break changes,
                Err(_) => assert!(begun.elapsed() < LONG, "never told"),
            }
        };
        assert_eq!(seen[0].path.as_str(), "a.mp4");
    }
}
