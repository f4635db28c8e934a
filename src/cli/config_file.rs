//! The configuration's file: it is watched, and a change of it is read like on SIGHUP.
//!
//! Its folder is watched, not itself: editors put a new file in its place. What counts is whether the file that the name
//! leads to is another one, so that nothing else that happens in the folder, and nothing that was read already, is read again.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};

/// How long the folder must be quiet before the file is looked at …
const SETTLE: Duration = Duration::from_millis(200);
/// … and how long that is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What tells one version of a file from the next: device, number, size, and time in seconds and nanoseconds.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// The file, and which version of it was read last.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    read: Mutex<Stamp>,
}

impl ConfigFile {
    /// The one of that name, not read yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, read: Mutex::default() }
    }

    /// Notes that it is read now.
    pub fn note_read(&self) {
        let stamp = self.stamp();
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = stamp;
    }

    /// Whether it is there and another one than was read. One that is away may be about to be replaced.
    fn has_changed(&self) -> bool {
        let stamp = self.stamp();
        stamp.is_some() && stamp != *self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stamp(&self) -> Stamp {
        let found = std::fs::metadata(&self.path).ok()?;
        Some((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
    }
}

/// Tells, until dropped, when a file has changed.
#[derive(Debug)]
pub struct ConfigWatch {
    changes: Option<mpsc::Receiver<()>>,
    _watcher: Option<RecommendedWatcher>,
}

impl ConfigWatch {
    /// Watches `file`, if there is one. Where the system cannot, the log says so, and SIGHUP is left.
    pub fn start(file: Option<&Arc<ConfigFile>>) -> Self {
        let Some(file) = file else { return Self { changes: None, _watcher: None } };
        let touched = Arc::new(Notify::new());
        let watcher = watch(&file.path, &touched)
            .inspect_err(|error| tracing::warn!(file = %file.path.display(), "the configuration is not watched: {error}"));
        let (sender, changes) = mpsc::channel(1);
        if watcher.is_ok() {
            tokio::spawn(tell(Arc::clone(file), touched, sender));
        }
        Self { changes: watcher.is_ok().then_some(changes), _watcher: watcher.ok() }
    }

    /// Returns when the file has changed. Nothing is lost where this is dropped before.
    pub async fn changed(&mut self) {
        let told = match &mut self.changes {
            Some(changes) => changes.recv().await,
            None => None,
        };
        if told.is_none() {
            std::future::pending().await
        }
    }
}

/// Watches the folder of a file, and that of the one that it is a link to.
fn watch(path: &Path, touched: &Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let touched = Arc::clone(touched);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            touched.notify_one();
        }
    })?;
    let folder = |path: &Path| match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let named = folder(path);
    watcher.watch(&named, RecursiveMode::NonRecursive)?;
    let real = std::fs::canonicalize(path).map(|real| folder(&real)).unwrap_or_default();
    if !real.as_os_str().is_empty() && std::fs::canonicalize(&named).is_ok_and(|named| named != real) {
        watcher.watch(&real, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

async fn tell(file: Arc<ConfigFile>, touched: Arc<Notify>, changes: mpsc::Sender<()>) {
    // Before the watch began it may have changed, too.
    loop {
        if file.has_changed() && changes.send(()).await.is_err() {
            return;
        }
        tokio::select! {
            () = touched.notified() => {}
            () = changes.closed() => return,
        }
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && timeout(SETTLE, touched.notified()).await.is_ok() {
            sleep(SETTLE / 10).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_changed_when_another_one_is_there_and_not_when_it_is_away_or_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, next) = (folder.path().join("f.toml"), folder.path().join("next"));
        let file = ConfigFile::new(path.clone());
        assert!(!file.has_changed(), "there is none");
        std::fs::write(&path, "[rtp]").expect("written");
        assert!(file.has_changed());
        file.note_read();
        assert!(!file.has_changed());
        std::fs::write(&next, "[rtp]").expect("written");
        std::fs::rename(&next, &path).expect("renamed");
        assert!(file.has_changed(), "the same text in another file");
        file.note_read();
        std::fs::remove_file(&path).expect("removed");
        assert!(!file.has_changed());
    }

    #[tokio::test]
    async fn a_file_behind_links_is_told_when_a_link_leads_elsewhere() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("one", "[rtp]"), ("two", "[rtsp]")] {
            std::fs::create_dir(at(version)).expect("made");
            std::fs::write(at(version).join("f.toml"), text).expect("written");
        }
        std::os::unix::fs::symlink("one", at("now")).expect("linked");
        std::os::unix::fs::symlink("now/f.toml", at("f.toml")).expect("linked");
        let file = Arc::new(ConfigFile::new(at("f.toml")));
        file.note_read();
        let mut watch = ConfigWatch::start(Some(&file));
        std::os::unix::fs::symlink("two", at("new")).expect("linked");
        std::fs::rename(at("new"), at("now")).expect("renamed");
        timeout(Duration::from_secs(10), watch.changed()).await.expect("told");
        file.note_read();
        std::fs::write(at("other"), "noise").expect("written");
        assert!(timeout(3 * SETTLE, watch.changed()).await.is_err(), "another file is none of ours");
    }
}
