//! A running data plane and its address map, for tests of what leaves it.

use std::path::Path;
use std::sync::Arc;

use flowsteer::dataplane::{DataPlane, DataPlaneSettings};
use flowsteer::library::{Library, Title, TitlePath};
use flowsteer::net::{Connections, now};
use flowsteer::playback::{Command, PresentationId, Stage};
use flowsteer::steering::{BindingCache, SteeringSettings};

/// One that runs, with nothing in it.
pub struct Running {
    pub plane: DataPlane,
    pub stage: Stage,
    pub steering: Arc<BindingCache>,
}

impl Running {
    /// Starts it on free ports.
    pub fn start(settings: &DataPlaneSettings, connections: &Arc<Connections>) -> Self {
        let prepared = DataPlane::prepare(settings).expect("free ports");
        let stage = Stage::new(prepared.director());
        let told = stage.clone();
        let steering = Arc::new(BindingCache::new(
            SteeringSettings::new("fd00::/64".parse().expect("a prefix")),
            Box::new(|octets| getrandom::fill(octets).expect("random octets")),
            Box::new(move |_, player| {
                if let Some(id) = player {
                    told.tell(Command::RouteChanged { presentation: PresentationId(id) });
                }
            }),
        ));
        let plane = prepared.start(settings, &steering, connections, now).expect("threads");
        Self { plane, stage, steering }
    }
}

/// A title of the library.
pub fn title(name: &str) -> Arc<Title> {
    let library = Library::open(Path::new("media")).expect("the library");
    let entry = library.entry(&TitlePath::new(name).expect("a path")).expect("there");
    entry.title().expect("playable")
}
