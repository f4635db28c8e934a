//! SIGHUP while something is live: cameras and publishers come, change and go, and nobody else notices.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::camera::{CAMERA, CAMERA_HTTP, make_film};
use crate::publish::{PATH, Studio, film, wait_for_packets};
use crate::support::namespaces::Family::{V4, V6};
use crate::support::recording::Arrived;
use crate::support::scene::Scene;
use crate::support::server::Server;
use crate::support::viewer::Carriage::{Interleaved, Udp};
use crate::support::viewer::{Viewer, assert_contiguous};
use crate::support::{SOON, http, replace, wait_for};

const SETTINGS: &str = "flowsteer.toml";

/// Writes a configuration: cameras by their names, each with the film that it shows; users by the paths where they may publish.
fn configure(folder: &Path, cameras: &[(&str, &str)], users: &[(&str, &str)]) {
    let camera = |(name, shows): &(&str, &str)| format!("[[camera]]\nname = \"{name}\"\nurl = \"rtsp://127.0.0.1:7554/{shows}?loop\"\n");
    let user = |(path, user): &(&str, &str)| format!("[[publish]]\npath = \"{path}\"\nusername = \"{user}\"\npassword = \"s3cret\"\n");
    let text: String = cameras.iter().map(camera).chain(users.iter().map(user)).collect();
    replace(&folder.join(SETTINGS), &text);
}

#[track_caller]
fn goes_on(whose: &str, viewer: &Viewer) {
    wait_for_packets(viewer, viewer.video().packets().len() + 20);
    for track in &viewer.tracks {
        assert!(track.recording.so_far().bye_at().is_none(), "{whose}: {} goes on", track.media);
        assert_contiguous(whose, &track.packets());
    }
}

#[track_caller]
fn ends(whose: &str, viewer: &Viewer) {
    for track in &viewer.tracks {
        track.recording.wait_for(&format!("{whose}: BYE to the {}", track.media), SOON, Arrived::bye_at);
        assert_contiguous(whose, &track.packets());
    }
}

#[test]
fn a_hang_up_takes_over_cameras_and_publishers_and_disturbs_nobody_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let [films, own] = ["films", "own"].map(|name| folder.path().join(name));
    for folder in [&films, &own, &own.join("studio")] {
        fs::create_dir(folder).expect("a new folder");
    }
    let one = films.join("one.mp4");
    make_film(&one);
    for copy in [films.join("two.mp4"), own.join("film.mp4")] {
        fs::copy(&one, copy).expect("a copy");
    }
    let (anna, bert) = (("studio/*", "anna"), ("stage/*", "bert"));
    configure(folder.path(), &[], &[anna]);
    let settings = folder.path().join(SETTINGS);
    let Some(scene) = Scene::set_with(&own, &["--config", settings.to_str().expect("text")]) else { return };
    let _camera = Server::start(&scene.network.server, &films, &CAMERA);
    let mut studio = Studio { scene, folder };
    let (a, b) = (&studio.scene.network.a, &studio.scene.network.b);
    let url = |title: &str| studio.scene.url(V6, title);
    let publish = |user: &str, path: &str| studio.publish(b, &studio.target(V4, &format!("{user}:s3cret@"), path), "tcp", &film().0, true);
    let of_film = Viewer::watch(a, &url("film.mp4?loop"), Udp);
    let _anna = publish("anna", PATH);
    studio.wait_until_online();
    let of_anna = Viewer::watch(a, &url(PATH), Udp);

    configure(studio.folder.path(), &[("front", "one.mp4")], &[anna, bert]);
    studio.scene.server.hang_up();
    wait_for("the camera to be there", SOON, || studio.shown_at("front"));
    let of_camera = Viewer::watch(b, &url("front"), Interleaved);
    let mut berts = publish("bert", "stage/live");
    let online = || studio.shown_at("stage/live").filter(|title| title["online"] == true);
    wait_for("the other publisher to be online", SOON, online);
    wait_for_packets(&of_camera, 20);

    // The camera shows another film of the same tracks: those who watch go on. One who publishes may no more.
    configure(studio.folder.path(), &[("front", "two.mp4")], &[anna]);
    studio.scene.server.hang_up();
    assert!(!berts.0.wait().expect("our child can be waited for").success());
    wait_for("its title to be gone", SOON, || studio.shown_at("stage/live").is_none().then_some(()));
    wait_for("the other film to be asked for", SOON, || {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, CAMERA_HTTP));
        let sessions = http::ask(&studio.scene.network.server, to, "GET", "/api/v1/sessions", &[], None).json();
        sessions.as_array().expect("sessions").iter().any(|session| session["title"] == "two.mp4").then_some(())
    });
    goes_on("the camera", &of_camera);

    // A file in the place of a live title is another title: its end is not that one's.
    let files = [own.join(PATH), own.join("zz.mp4")];
    for file in &files {
        fs::copy(&one, file).expect("a copy");
    }
    wait_for("the files to be found", SOON, || studio.shown_at("zz.mp4").filter(|title| title["tracks"].is_array()));
    let of_file = Viewer::watch(b, &url("zz.mp4"), Udp);
    for file in &files {
        fs::remove_file(file).expect("it is there");
    }
    ends("the file", &of_file);

    configure(studio.folder.path(), &[], &[anna]);
    studio.scene.server.hang_up();
    ends("the camera", &of_camera);
    wait_for("the camera's title to be gone", SOON, || studio.shown_at("front").is_none().then_some(()));
    goes_on("who publishes", &of_anna);
    goes_on("the film", &of_film);
    studio.scene.server.assert_alive();
}
