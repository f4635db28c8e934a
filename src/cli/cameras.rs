//! The cameras of a running server: each is pulled by a task of its own, which is told when its configuration is another one.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::watch;

use crate::camera::{Camera, Secret, Source};
use crate::config::{CameraConfig, CameraTransport, Password};
use crate::library::live::LiveSettings;
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
    /// of one that is gone the title has ended. In the runtime only; gives what is wrong with those that cannot be.
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
        let feed = self.library.live().add(path, LiveSettings::default()).with_context(|| format!("camera {name}"))?;
        let (told, hears) = watch::channel(Some(camera));
        tokio::spawn(Camera::run(feed, hears));
        self.pulled.insert(name.clone(), Pulled { configured: configured.clone(), told });
        Ok(())
    }
}

fn camera(configured: &CameraConfig) -> anyhow::Result<Camera> {
    let url = configured.url.parse().with_context(|| format!("camera {}: its URL", configured.name))?;
    let password = configured.password.as_ref().map_or("", Password::expose);
    let credentials = configured.username.clone().map(|username| (username, Secret::new(password)));
    let source = Source { url, credentials, udp: configured.transport == CameraTransport::Udp };
    Ok(Camera { source, always: configured.always })
}
