//! The cameras of a running server: each is pulled by a task of its own, which is told when its configuration is another one.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::watch;

use crate::camera::{Camera, Secret, Source};
use crate::config::{CameraConfig, CameraTransport, Password};
use crate::library::live::{LiveSettings, LiveTitles};
use crate::library::{Library, TitlePath};

/// One that is pulled, or waits for somebody to watch.
struct Pulled {
    configured: CameraConfig,
    told: watch::Sender<Option<Camera>>,
}

/// All of them; dropped, all end.
pub struct Cameras {
    library: Arc<Library>,
    pulled: HashMap<String, Pulled>,
}

impl Cameras {
    /// None, of that library.
    pub fn new(library: Arc<Library>) -> Self {
        Self { library, pulled: HashMap::new() }
    }

    /// From now on these are there. One that is configured as before is not touched, one that is configured otherwise is pulled anew, and
    /// of one that is gone the title has ended; one whose path is taken waits for it. In the runtime only; gives what is wrong with those
    /// that cannot be.
    pub fn replace(&mut self, cameras: &[CameraConfig]) -> Vec<anyhow::Error> {
        self.pulled.retain(|name, pulled| {
            let stays = cameras.iter().any(|camera| camera.name == *name);
            if !stays {
                pulled.told.send_replace(None);
            }
            stays
        });
        cameras.iter().filter_map(|camera| self.set(camera).err()).collect()
    }

    fn set(&mut self, configured: &CameraConfig) -> anyhow::Result<()> {
        let known = self.pulled.get_mut(&configured.name);
        if known.as_ref().is_some_and(|known| known.configured == *configured) {
            return Ok(());
        }
        let camera = camera(configured)?;
        if let Some(known) = known {
            known.configured = configured.clone();
            known.told.send_replace(Some(camera));
            return Ok(());
        }
        let name = &configured.name;
        let path = TitlePath::new(name).with_context(|| format!("camera {name}: its name is no path"))?;
        if self.library.entry(&path).is_some() {
            tracing::warn!(title = %path, "the file cannot be opened: its path is the name of a camera");
        }
        let (told, hears) = watch::channel(Some(camera));
        tokio::spawn(run(Arc::clone(self.library.live()), path, hears));
        self.pulled.insert(name.clone(), Pulled { configured: configured.clone(), told });
        Ok(())
    }
}

/// Pulls a camera once its path is free: who has published there, or was the camera of that name before, may yet have to leave.
async fn run(live: Arc<LiveTitles>, path: TitlePath, mut hears: watch::Receiver<Option<Camera>>) {
    if live.get(&path).is_some() {
        tracing::warn!(title = %path, "the camera waits: there is a live title of that path");
    }
    let feed = tokio::select! {
        feed = live.add_when_free(path, LiveSettings::default()) => feed,
        _ = hears.wait_for(Option::is_none) => return,
    };
    Camera::run(feed, hears).await;
}

fn camera(configured: &CameraConfig) -> anyhow::Result<Camera> {
    let url = configured.url.parse().with_context(|| format!("camera {}: its URL", configured.name))?;
    let password = configured.password.as_ref().map_or("", Password::expose);
    let credentials = configured.username.clone().map(|username| (username, Secret::new(password)));
    let source = Source { url, credentials, udp: configured.transport == CameraTransport::Udp };
    Ok(Camera { source, always: configured.always })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_camera_waits_for_its_path_and_comes_back_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let library = Arc::new(Library::open(folder.path()).expect("it is there"));
        let path = TitlePath::new("door").expect("a path");
        let published = library.live().add(path.clone(), LiveSettings::default()).expect("it is free");
        let of_publisher = Arc::clone(published.title());
        let (name, url, transport) = ("door".to_owned(), "rtsp://127.0.0.1/door".to_owned(), CameraTransport::Tcp);
        let configured = CameraConfig { name, url, username: None, password: None, transport, always: false };
        let mut cameras = Cameras::new(Arc::clone(&library));
        assert!(cameras.replace(std::slice::from_ref(&configured)).is_empty());
        let there = async |not: &Arc<_>| {
            let is_other = |title: &Arc<_>| !Arc::ptr_eq(title, not);
            timeout(Duration::from_secs(5), async {
                loop {
                    if let Some(title) = library.live().get(&path).filter(is_other) {
                        return title;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
            .await
        };
        assert!(there(&of_publisher).await.is_err(), "somebody publishes");
        published.end();
        let first = there(&of_publisher).await.expect("nobody publishes any more");
        assert!(cameras.replace(&[]).is_empty() && cameras.replace(&[configured]).is_empty());
        there(&first).await.expect("it is another one");
        assert!(cameras.replace(&[]).is_empty());
        timeout(Duration::from_secs(5), library.live().add_when_free(path.clone(), LiveSettings::default())).await.expect("it is gone");
    }
}
