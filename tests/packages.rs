//! What people install: the Debian package on a clean Debian with systemd, the container's file, the dashboard; and the way from the package
//! to a film that moves, as `docs/installing.md` has it.

mod debian;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use debian::{Machine, package, source, text};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::film::{Film, library};
use support::namespaces::Family::V4;
use support::namespaces::Network;
use support::players::Player;
use support::rtsp::Connection;
use support::scene::Scene;
use support::server::{Operator, flowsteer, rtsp_address};
use support::viewer::Carriage::Udp;
use support::viewer::Viewer;
use support::{SOON, say_skipped, skip, wait_for};

/// A server's host and two devices; `None` (having said so) where this process may not make namespaces.
fn network() -> Option<Network> {
    Network::new().map_err(|error| skip(&format!("network namespaces cannot be made here ({error})"))).ok()
}

fn read(path: &str) -> String {
    fs::read_to_string(source(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What a page tells somebody to do: a block of code whose fence names who, behind the language.
#[derive(Debug, Default)]
struct Step {
    who: String,
    commands: String,
}

/// All of them, in their order.
fn steps(page: &str) -> Vec<Step> {
    let (mut steps, mut step): (Vec<Step>, Option<Step>) = (Vec::new(), None);
    for line in page.lines().map(str::trim_start) {
        match (&mut step, line.strip_prefix("```")) {
            (Some(_), Some(_)) => steps.extend(step.take()),
            (Some(step), None) => step.commands += &format!("{line}\n"),
            (None, Some(fence)) => step = Some(Step { who: fence.split(' ').nth(1).unwrap_or_default().to_owned(), ..Step::default() }),
            (None, None) => {}
        }
    }
    steps.retain(|step| !step.who.is_empty());
    steps
}

#[test]
fn a_newcomer_moves_a_film_within_two_minutes_by_what_the_page_says() {
    let Some(network) = network() else { return };
    let Some(machine) = Machine::boot(&network.server) else { return };
    // What the newcomer has: the package, and films.
    machine.put(package(), "root");
    // Twenty seconds: on the server, two commands and a player's start lie between the first picture and the move.
    machine.put(&library().join("aligned.mp4"), "root/films");
    let server = network.server.v4.to_string();
    let operator = Operator { host: &network.server };
    let film = Film::named("aligned.mp4");
    let begun = Instant::now();
    let (mut phone, mut desktop, mut session, mut url) = (None, None, String::new(), String::new());
    for Step { who, commands } in steps(&read("docs/installing.md")) {
        for command in commands.lines() {
            let command = command.replace("SERVER", &server).replace("SESSION", &session).replace("URL", &url);
            match who.as_str() {
                "server" => {
                    let command = if command.starts_with("sudo apt ") { format!("{command} -y") } else { command };
                    // A person looks once more where nothing is there yet.
                    let said = wait_for(&format!("`{command}` to say something"), SOON, || {
                        let said = machine.expect(&command);
                        (!["", "no titles", "nothing plays"].contains(&said.as_str()) || command.contains("install")).then_some(said)
                    });
                    if command == "flowsteer titles" {
                        assert!(said.contains("aligned.mp4"), "{said}");
                    }
                    if let Some((_, rest)) = said.split_once("(session ") {
                        session = rest.split(')').next().unwrap_or_default().to_owned();
                    }
                    if said.starts_with("rtsp://") {
                        url = said;
                    }
                }
                "phone" => {
                    phone = Some(Player::Ffmpeg.play(&network.a, &command, Udp));
                    operator.wait_for_state("playing");
                }
                "desktop" => {
                    let url = command.strip_prefix("gst-play-1.0 '").and_then(|rest| rest.strip_suffix('\''));
                    desktop = Some(Player::GStreamer.play(&network.b, url.expect("a player and a URL"), Udp));
                }
                other => panic!("the page tells {other} to do something"),
            }
        }
    }
    let (phone, desktop) = (phone.expect("the page has a phone"), desktop.expect("the page has a desktop"));
    let to = format!("{}:", network.b.v4);
    wait_for("the film to go to the desktop", SOON, || {
        let sessions = operator.sessions();
        let branches = sessions.first()?["flows"][0]["branches"].as_array()?.clone();
        branches.iter().any(|branch| branch["careOf"].as_str().is_some_and(|care_of| care_of.starts_with(&to))).then_some(())
    });
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(120), "{took:?}");

    let (left, right) = (phone.end(SOON), desktop.end(3 * SOON));
    assert_eq!(film.locate_pictures("the phone's pictures", &left.pictures), 0);
    let began = film.locate_pictures("the desktop's pictures", &right.pictures);
    assert!(began <= left.pictures.len(), "no picture is missing between {} and {began}", left.pictures.len());
    assert!(left.pictures.len() < film.video.len(), "it ended on the phone before the film did");
    assert_eq!(began + right.pictures.len(), film.video.len(), "and went on to the film's end");
}

/// Paths on the machine's disk, but for those of logs, caches, and what package managers and the system itself keep.
fn paths(machine: &Machine<'_>) -> BTreeSet<String> {
    let kept = ["var/log", "var/cache", "var/lib/dpkg", "var/lib/apt", "var/lib/systemd", "tmp", "var/tmp", "root"];
    let pruned: Vec<String> = kept.iter().map(|folder| format!("-path /{folder}")).collect();
    machine.expect(&format!("find / -xdev \\( {} \\) -prune -o -print", pruned.join(" -o "))).lines().map(str::to_owned).collect()
}

#[test]
fn the_package_is_whole_the_service_has_no_rights_and_purging_leaves_nothing() {
    let Some(network) = network() else { return };
    let Some(machine) = Machine::boot(&network.server) else { return };
    let before = paths(&machine);
    machine.install();
    let depends = text(&Command::new("dpkg-deb").args(["-f"]).arg(package()).arg("Depends").output().expect("dpkg-deb runs").stdout);
    let names: BTreeSet<&str> = depends.split(", ").map(|part| part.split(' ').next().unwrap_or_default()).collect();
    assert!(names.contains("adduser") && names.contains("libc6"), "{depends}");
    assert!(names.is_subset(&["adduser", "libc6", "libgcc-s1"].into()), "nothing else is needed: {depends}");
    assert_eq!(machine.expect("dpkg --verify flowsteer"), "");
    let installed = paths(&machine);
    for path in [
        "/etc/flowsteer/flowsteer.toml",
        "/srv/flowsteer",
        "/usr/share/bash-completion/completions/flowsteer",
        "/usr/share/doc/flowsteer/copyright",
        "/usr/share/doc/flowsteer/docs/grafana/flowsteer.json",
        "/usr/share/fish/vendor_completions.d/flowsteer.fish",
        "/usr/share/man/man1/flowsteer-serve.1.gz",
        "/usr/share/zsh/vendor-completions/_flowsteer",
    ] {
        assert!(installed.contains(path), "{path} is not there");
    }
    assert_eq!(machine.expect("stat -c '%U %G %a' /etc/flowsteer/flowsteer.toml"), "root _flowsteer 640");

    assert_eq!(machine.property("ActiveState"), "active");
    let said = machine.journal();
    assert!(!said.contains("scheduled as others are"), "media are sent by threads that take short turns: {said}");
    let process = machine.property("MainPID");
    let status = machine.expect(&format!("cat /proc/{process}/status"));
    let field = |name: &str| -> Vec<String> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {status}"));
        line.split_whitespace().map(str::to_owned).collect()
    };
    let user: u32 = field("Uid:")[0].parse().expect("a number");
    assert!((61184..65520).contains(&user), "a user that exists only meanwhile: {user}");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), ["0000000000000000"], "{set}");
    }
    assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), (vec!["1".into()], vec!["2".into()]));
    assert_eq!(machine.expect(&format!("ls -A /proc/{process}/root/root")), "", "it sees nobody's home");
    assert_eq!(machine.expect("stat -c %a /var/lib/private/flowsteer"), "700");

    machine.expect("apt-get remove -y flowsteer");
    assert!(machine.path("etc/flowsteer/flowsteer.toml").exists() && machine.path("var/lib/private/flowsteer/state.json").exists());
    machine.put(&library().join("short.mp4"), "srv/flowsteer");
    machine.install();
    assert_eq!(machine.property("ActiveState"), "active", "it is back");
    machine.expect("apt-get purge -y flowsteer");
    assert!(machine.path("srv/flowsteer/short.mp4").exists(), "films stay");
    let after: Vec<String> = paths(&machine).difference(&before).filter(|path| !path.starts_with("/srv/flowsteer")).cloned().collect();
    // What `addgroup` and `delgroup` keep a copy of.
    let left: Vec<&String> = after.iter().filter(|path| !["/etc/group-", "/etc/gshadow-"].contains(&path.as_str())).collect();
    assert!(left.is_empty(), "{left:#?}");
    assert_eq!(machine.run("getent group _flowsteer").status.code(), Some(2), "the group is gone");
    assert!(before.is_subset(&paths(&machine)), "nothing of others is gone");
}

#[test]
fn an_upgrade_restarts_the_service_and_keeps_what_the_administrator_and_the_server_have_written() {
    let Some(network) = network() else { return };
    let Some(machine) = Machine::boot(&network.server) else { return };
    machine.install();
    machine.expect("printf '# by hand\\n' >>/etc/flowsteer/flowsteer.toml");
    let facts = "cat /etc/flowsteer/flowsteer.toml /var/lib/flowsteer/state.json && stat -c '%U %G %a' /etc/flowsteer/flowsteer.toml";
    let (process, before) = (machine.property("MainPID"), machine.expect(facts));
    machine.expect("dpkg-deb -R flowsteer_*.deb next && sed -i 's/^Version: .*/&.1/' next/DEBIAN/control && dpkg-deb -b next next.deb");
    machine.expect("apt-get install -y ./next.deb");
    assert_eq!(machine.property("ActiveState"), "active");
    assert_ne!(machine.property("MainPID"), process, "another one runs");
    assert_eq!(machine.expect(facts), before);
    assert!(before.contains("# by hand"), "{before}");
}

#[test]
fn the_service_reloads_and_on_stopping_takes_the_time_that_draining_needs() {
    let Some(network) = network() else { return };
    let Some(machine) = Machine::boot(&network.server) else { return };
    machine.put(&library().join("short.mp4"), "srv/flowsteer");
    machine.install();
    // With so little patience of the manager's, less than what the film has left, only what the server asks for keeps it from being killed.
    machine.write("etc/systemd/system/flowsteer.service.d/hurry.conf", "[Service]\nTimeoutStopSec=3\n");
    machine.expect("systemctl daemon-reload");
    machine.expect("printf '[serve]\\ndrain_s = 30\\n' >/tmp/drain && sed -i -e '/^.serve.$/d' /etc/flowsteer/flowsteer.toml");
    machine.expect("cat /tmp/drain >>/etc/flowsteer/flowsteer.toml && systemctl reload flowsteer");
    assert_eq!((machine.property("ActiveState"), machine.property("NRestarts")), ("active".into(), "0".into()));
    let read_again = || machine.journal().contains("the configuration was read again").then_some(());
    wait_for("the journal to have what the reload did", SOON, read_again);

    let url = format!("rtsp://{}/short.mp4?t=4", rtsp_address(&network.server, V4));
    let player = Player::Ffmpeg.play(&network.a, &url, Udp);
    Operator { host: &network.server }.wait_for_state("playing");
    machine.expect("systemctl stop flowsteer");
    let (received, film) = (player.end(SOON), Film::named("short.mp4"));
    let began = film.locate_pictures("the player's pictures", &received.pictures);
    assert_eq!(began + received.pictures.len(), film.video.len(), "to the film's end");
    assert_eq!((machine.property("Result"), machine.property("ExecMainStatus")), ("success".into(), "0".into()));
}

#[test]
fn the_unit_is_sound_and_its_exposure_is_what_the_page_says() {
    let Some(network) = network() else { return };
    let Some(machine) = Machine::boot(&network.server) else { return };
    machine.install();
    assert_eq!(machine.expect("systemd-analyze verify --man=no flowsteer.service 2>&1"), "");
    let said =
        machine.expect("systemd-analyze security --no-pager --offline=true --threshold=14 /usr/lib/systemd/system/flowsteer.service");
    let figure = said.split("exposure level for flowsteer.service: ").nth(1).and_then(|rest| rest.split(' ').next());
    let figure = figure.unwrap_or_else(|| panic!("{said}"));
    assert!(read("docs/installing.md").contains(&format!("an exposure of {figure} ")), "the page has another figure than {figure}");
}

#[test]
fn what_needs_more_than_the_unit_gives_is_given_by_what_the_page_says() {
    let Some(network) = network() else { return };
    let Some(machine) = Machine::boot(&network.server) else { return };
    machine.install();
    machine.put(&library().join("short.mp4"), "home/anna/films");
    let page = read("docs/installing.md");
    let table = page.split_once("| for | below `[Service]` |").expect("the page has the table").1;
    let given = |purpose: &str| -> String {
        let row = table.lines().find(|line| line.starts_with(&format!("| {purpose} |"))).unwrap_or_else(|| panic!("no row for {purpose}"));
        let cell = row.split('|').nth(2).expect("two columns");
        cell.split('`').skip(1).step_by(2).map(|setting| format!("{setting}\n")).collect()
    };
    for (purpose, config, shown) in [
        ("films below `/home`", "[library]\npath = \"/home/anna/films\"\n", "library  1 titles in /home/anna/films"),
        ("`mobility.raw`", "[mobility]\nraw = true\n[library]\npath = \"/srv/flowsteer\"\n", "ipv6 next header 135"),
        ("ports below 1024", "[rtsp]\nlisten = \"[::]:554\"\n[library]\npath = \"/srv/flowsteer\"\n", "rtsp  rtsp://[::]:554/"),
    ] {
        let settings = given(purpose);
        machine.expect("systemctl stop flowsteer; rm -f /etc/systemd/system/flowsteer.service.d/override.conf; systemctl daemon-reload");
        fs::write(machine.path("etc/flowsteer/flowsteer.toml"), config).expect("written");
        assert!(!machine.run("systemctl restart flowsteer").status.success(), "{purpose}: without it, it goes as well");
        machine.write("etc/systemd/system/flowsteer.service.d/override.conf", &format!("[Service]\n{settings}"));
        machine.expect("systemctl daemon-reload; systemctl reset-failed flowsteer; systemctl restart flowsteer");
        wait_for(&format!("{purpose}: {shown}"), SOON, || machine.journal().contains(shown).then_some(()));
    }
}

#[test]
fn the_container_file_starts_a_server_without_root_that_says_it_is_healthy() {
    let file = read(".packaging/Containerfile").replace("\\\n", "");
    let line = |name: &str| -> String {
        let line = file.lines().rev().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
        line.trim().to_owned()
    };
    let argv = |text: &str| -> String {
        let words: Vec<String> = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        words.join(" ")
    };
    let Some(network) = network() else { return };
    let Some(machine) = Machine::boot(&network.server) else { return };
    machine.install();
    machine.expect("systemctl stop flowsteer");
    // As an image has it: no state folder yet, and what is done behind the installation.
    machine.expect("rm -rf /var/lib/flowsteer /var/lib/private/flowsteer");
    let behind = line("RUN ").split_once("/lists/*").expect("the lists go").1.trim().trim_start_matches("&&").to_owned();
    machine.expect(&behind);
    let (user, group) = line("USER ").split_once(':').map(|(user, group)| (user.to_owned(), group.to_owned())).expect("user and group");
    let drop = format!("setpriv --reuid {user} --regid {group} --clear-groups --bounding-set -all --no-new-privs env {}", line("ENV "));
    let health = line("HEALTHCHECK ");
    let health = format!("{drop} {}", argv(health.split_once("CMD ").expect("a command").1));
    assert!(!machine.run(&health).status.success(), "nothing runs yet, and that is not healthy");
    let mut server = machine.command(&format!("{drop} {}", argv(&line("ENTRYPOINT ")))).stdout(Stdio::null()).spawn().expect("starts");
    wait_for("the container's command to be healthy", SOON, || {
        assert!(server.try_wait().expect("our child can be waited for").is_none(), "it ends");
        machine.run(&health).status.success().then_some(())
    });
    assert!(machine.path("var/lib/flowsteer/state.json").exists(), "it keeps its state");
    // The server itself ends with the machine.
    server.kill().expect("it is there");
    server.wait().expect("our child can be waited for");
}

/// The image itself, where podman is there: the tests do without. The clean Debian takes the place of the one in the registry.
#[test]
fn the_image_is_built_of_the_package() {
    let test = "the_image_is_built_of_the_package";
    let page = read("docs/installing.md");
    let build = page.lines().find(|line| line.starts_with("podman build ")).expect("the page says how it is built");
    assert!(read(".packaging/Containerfile").starts_with(&format!("# {build}\n")), "the file says another command than the page: {build}");
    assert!(build.contains(" --format docker "), "podman leaves the health check out: {build}");
    let works = Command::new("podman").arg("info").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !works.is_ok_and(|status| status.success()) || !debian::is_there() {
        return say_skipped(test, "podman does not run here");
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::copy(package(), folder.path().join(package().file_name().expect("a name"))).expect("copied");
    let run = |command: &str| {
        let output = Command::new("sh").args(["-ec", command]).current_dir(source("")).output().expect("a shell runs");
        assert!(output.status.success(), "{command}: {}\n{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    };
    run("tar -C target/clean-debian -c . | podman import --quiet - localhost/flowsteer-test-base");
    let options = format!(
        " --isolation=chroot -t localhost/flowsteer-test --build-context package={} \
         --build-context docker.io/library/debian:bookworm-slim=container-image://localhost/flowsteer-test-base ",
        folder.path().display()
    );
    run(&build.replace(" -t flowsteer ", &options));
    let told: Value = serde_json::from_str(&run("podman image inspect localhost/flowsteer-test")).expect("JSON");
    run("podman rmi --force localhost/flowsteer-test localhost/flowsteer-test-base");
    let config = &told[0]["Config"];
    assert_eq!(config["User"], "10001:10001");
    assert_eq!(config["Entrypoint"][0], "flowsteer");
    assert_eq!(told[0]["Healthcheck"]["Test"][1], "flowsteer");
}

#[test]
fn the_service_manager_is_told_when_the_server_is_ready_reloads_and_stops() {
    let Some(network) = network() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (socket, config) = (folder.path().join("notify"), folder.path().join("flowsteer.toml"));
    let manager = UnixDatagram::bind(&socket).expect("the socket is bound");
    manager.set_read_timeout(Some(SOON)).expect("a timeout above zero");
    let told = || {
        let mut octets = [0; 1024];
        let length = manager.recv(&mut octets).expect("something is told");
        text(&octets[..length]).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    fs::write(&config, "[serve]\ndrain_s = 40\n").expect("written");
    let mut command = flowsteer(&network.server);
    command.arg("serve").arg(folder.path()).arg("--config").arg(&config).args(["--state", "none"]).env("NOTIFY_SOCKET", &socket);
    let mut server = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts");
    let process = Pid::from_raw(server.id().try_into().expect("a process id"));
    assert_eq!(told(), ["READY=1"]);
    kill(process, Signal::SIGHUP).expect("it runs");
    let reloading = told();
    let since: u64 = reloading[1].strip_prefix("MONOTONIC_USEC=").and_then(|since| since.parse().ok()).expect("a time");
    assert!(reloading[0] == "RELOADING=1" && since > 0, "{reloading:?}");
    assert_eq!(told(), ["READY=1"]);
    kill(process, Signal::SIGTERM).expect("it runs");
    assert_eq!(told(), ["STOPPING=1", "EXTEND_TIMEOUT_USEC=50000000"], "to drain, and ten seconds more");
    assert_eq!(told(), ["STOPPING=1", "EXTEND_TIMEOUT_USEC=10000000"], "nothing plays");
    assert!(server.wait().expect("our child can be waited for").success());
}

/// Each metric of `/metrics` with the labels that it was seen with.
fn exported(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let name: String = line.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect();
        let labels = line[name.len()..].strip_prefix('{').and_then(|rest| rest.split('}').next()).unwrap_or_default();
        let labels = labels.split(',').filter_map(|label| label.split_once('=')).map(|(label, _)| label.to_owned());
        found.entry(name).or_default().extend(labels);
    }
    found
}

/// Words of a query that name a metric of ours.
fn metrics_in(query: &str) -> BTreeSet<String> {
    let words = query.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("flowsteer_") || word.starts_with("process_")).map(str::to_owned).collect()
}

#[test]
fn the_dashboard_asks_for_metrics_and_labels_that_a_server_exports() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("flowsteer.toml");
    let text = "[http]\nconnections_per_address = 4\n[[users]]\nname = \"anna\"\npassword = \"right\"\nroles = [\"viewer\"]\n\
                [[access]]\npath = \"short.mp4\"\nanyone = true\n";
    fs::write(&config, text).expect("written");
    let Some(scene) = Scene::set_with(&library(), &["--config", &config.display().to_string()]) else { return };
    let (operator, server) = (scene.operator(), scene.network.server.v4);
    let zero = operator.get("/metrics").text();
    for line in ["flowsteer_handovers_total{kind=\"move\"} 0\n", "flowsteer_handover_missing_seconds_count 0\n"] {
        assert!(zero.contains(line), "without {line} the first hand-over would not show as one: {zero}");
    }
    // What makes metrics that are counted where something happens: a hand-over, an update by an operator, and refusals.
    let a = Viewer::watch(&scene.network.a, &scene.url(V4, "short.mp4"), Udp);
    a.video().recording.wait_for("pictures", SOON, |arrived| (arrived.rtp.len() > 10).then_some(()));
    let home = a.video().home.clone();
    let b = Viewer::watch(&scene.network.b, &operator.takeover_url(&home, V4, "presentation"), Udp);
    b.video().recording.wait_for("pictures", SOON, |arrived| (arrived.rtp.len() > 10).then_some(()));
    let body = serde_json::json!({ "careOf": "127.0.0.1:9000", "mode": "fork" });
    operator.put(&format!("/api/v1/home-addresses/{home}/bindings/9"), &body).json();
    let url = format!("rtsp://anna:wrong@{server}:8554/aligned.mp4");
    let refused = scene.network.a.command("ffprobe").args(["-loglevel", "quiet", &url]).status().expect("ffprobe runs");
    assert!(!refused.success());
    Connection::open(&scene.network.a, rtsp_address(&scene.network.server, V4)).send_octets(b"\0\x01\r\n\r\n");
    let places: Vec<_> = (0..6).map(|_| scene.network.a.run(|| std::net::TcpStream::connect((server, 8080)))).collect();

    let dashboard: Value = serde_json::from_str(&read("docs/grafana/flowsteer.json")).expect("the dashboard is JSON");
    let panels: Vec<&Value> = dashboard["panels"].as_array().expect("panels").iter().filter(|panel| panel["type"] != "row").collect();
    let asked: Vec<(&str, &str, &str)> = panels
        .iter()
        .flat_map(|panel| {
            let targets = panel["targets"].as_array().expect("a panel asks");
            targets.iter().map(|target| {
                let part = |name: &str| target[name].as_str().unwrap_or_else(|| panic!("no {name} in {target}"));
                (panel["title"].as_str().expect("a title"), part("expr"), part("legendFormat"))
            })
        })
        .collect();
    let wanted: BTreeSet<String> = asked.iter().flat_map(|(_, query, _)| metrics_in(query)).collect();
    let there = wait_for("all metrics of the dashboard", SOON, || {
        let there = exported(&operator.get("/metrics").text());
        wanted.iter().all(|name| there.contains_key(name)).then_some(there).or_else(|| {
            std::thread::sleep(Duration::from_millis(50));
            None
        })
    });
    for (title, query, legend) in &asked {
        let names = metrics_in(query);
        assert!(!names.is_empty(), "{title}: {query} asks for nothing of ours");
        // A sum keeps the labels that it names; what a legend shows must be among them.
        let kept: Vec<&str> =
            query.split("by (").skip(1).filter_map(|rest| rest.split(')').next()).flat_map(|list| list.split(", ")).collect();
        for label in &kept {
            assert!(names.iter().all(|name| there[name].contains(*label)), "{title}: {names:?} have no label {label}");
        }
        for shown in legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()) {
            assert!(kept.contains(&shown), "{title}: the legend shows {shown}, which {query} does not keep");
        }
    }
    drop(places);
}

#[test]
fn the_dashboard_has_what_an_import_needs() {
    let dashboard: Value = serde_json::from_str(&read("docs/grafana/flowsteer.json")).expect("the dashboard is JSON");
    assert!(dashboard["id"].is_null() && dashboard["uid"] == "flowsteer" && dashboard["title"] == "flowsteer", "whose identity it is");
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 36));
    let variables: BTreeMap<&str, &Value> = dashboard["templating"]["list"]
        .as_array()
        .expect("variables")
        .iter()
        .map(|one| (one["name"].as_str().expect("a name"), one))
        .collect();
    assert!(
        variables["datasource"]["type"] == "datasource" && variables["datasource"]["query"] == "prometheus",
        "the user chooses a source"
    );
    let panels = dashboard["panels"].as_array().expect("panels");
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}: its id is another one's");
        let place = |name: &str| panel["gridPos"][name].as_u64().unwrap_or_else(|| panic!("{title} has no {name}"));
        for cell in (place("x")..place("x") + place("w")).flat_map(|x| (place("y")..place("y") + place("h")).map(move |y| (x, y))) {
            assert!(cell.0 < 24 && taken.insert(cell), "{title} lies over another one, or outside");
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(["stat", "timeseries"].iter().any(|kind| panel["type"] == *kind), "{title}: a kind that each Grafana has");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
        let targets = panel["targets"].as_array().expect("a panel asks");
        let letters: BTreeSet<&str> = targets.iter().map(|target| target["refId"].as_str().expect("a letter")).collect();
        assert_eq!(letters.len(), targets.len(), "{title}: each query has its letter");
        for target in targets.iter().chain([panel]) {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
        for query in targets.iter().filter_map(|target| target["expr"].as_str()) {
            let variables_used =
                query.split('$').skip(1).map(|rest| rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next());
            for variable in variables_used.flatten() {
                assert!(variable.starts_with("__") || variables.contains_key(variable), "{title}: there is no ${variable}");
            }
            let depth =
                query.chars().fold(0_i32, |depth, letter| depth + i32::from("([{".contains(letter)) - i32::from(")]}".contains(letter)));
            assert_eq!(depth, 0, "{title}: {query}");
        }
    }
}
