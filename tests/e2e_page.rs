//! The page, in Debian's Chromium, with ffmpeg on two devices: what it shows, and that its buttons move what plays.

mod page_browser;
mod support;

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use page_browser::{Browser, DOWN, ENTER, ESCAPE, RIGHT, TAB};
use serde_json::{Value, json};
use support::film::{Film, library};
use support::http;
use support::namespaces::Family::V4;
use support::players::Player;
use support::scene::Scene;
use support::server::{Operator, Server};
use support::viewer::Carriage::Udp;
use support::viewer::Viewer;
use support::{SOON, replace, wait_for};

const PAGE: &str = "http://localhost:8080/";
const TITLE: &str = "countdown.mp4";

/// The accessibility rules of axe, as the virtual environment of the tests has them.
fn axe() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-venv/lib");
    let found = fs::read_dir(&root).expect("the tests' virtual environment").flatten();
    let found = found.map(|python| python.path().join("site-packages/axe_core_python/axe.min.js")).find(|path| path.exists());
    fs::read_to_string(found.expect("axe is in tests/requirements.txt")).expect("a script")
}

/// Nothing that axe finds is serious.
#[track_caller]
fn assert_accessible(browser: &Browser<'_>, axe: &str, what: &str) {
    let script = format!(
        "const done = arguments[arguments.length - 1]; {axe};\n\
         axe.run().then((result) => done({{ passes: result.passes.length, found: result.violations.map((rule) => \
         [rule.impact, rule.id, rule.nodes.map((node) => node.target.join(' ') + ': ' + node.failureSummary)]) }}), (error) => done(String(error)));"
    );
    let result = browser.run_until_it_calls(&script);
    assert!(result["passes"].as_u64().is_some_and(|passes| passes > 10), "{what}: {result:#}");
    let serious = |found: &&Value| found[0] == "serious" || found[0] == "critical";
    let serious: Vec<&Value> = result["found"].as_array().expect("a list").iter().filter(serious).collect();
    assert!(serious.is_empty(), "{what}: {serious:#?}");
}

/// Waits until the flows of the only session have these branches: host and state.
#[track_caller]
fn wait_for_branches(operator: Operator<'_>, wanted: &[(&str, &str)]) {
    let is_so = |flow: &Value| {
        let branches = flow["branches"].as_array().expect("a list");
        let has = |(host, state): &(&str, &str)| {
            branches.iter().any(|branch| branch["state"] == *state && branch["careOf"].as_str().is_some_and(|to| to.starts_with(host)))
        };
        branches.len() == wanted.len() && wanted.iter().all(has)
    };
    wait_for(&format!("branches {wanted:?}"), SOON * 2, || {
        let session = operator.session();
        let flows = session["flows"].as_array().expect("a list");
        (flows.len() == 2 && flows.iter().all(is_so)).then_some(())
    });
}

/// Opens the dialog. Once it has its devices it stays where it is: a click may land beside what moves.
#[track_caller]
fn open_dialog(browser: &Browser<'_>) {
    browser.click("article .move");
    browser.wait("the devices", "return document.querySelector('#devices > li') !== null");
}

#[track_caller]
fn wait_for_closed_dialog(browser: &Browser<'_>) {
    browser.wait("the dialog to close", "return !document.getElementById('move').open");
}

/// Waits until the first device that was seen is the one there: those that flows went to are put in order a moment later, and a click may land
/// beside what moves.
#[track_caller]
fn wait_for_first_device(operator: Operator<'_>, address: &str) {
    wait_for(&format!("{address} to be the first device"), SOON, || {
        let devices = operator.get("/api/v1/devices").json();
        let seen = devices.as_array()?.iter().find(|device| device["name"].is_null())?;
        seen["places"][0]["careOf"].as_str()?.starts_with(address).then_some(())
    });
}

/// Opens the dialog and clicks the device at that address; it is sent there unless somebody has to say yes.
#[track_caller]
fn send_to(browser: &Browser<'_>, address: &str, mode: &str, at_once: bool) {
    open_dialog(browser);
    browser.click(&format!("#move input[value={mode}]"));
    let device = format!(
        "return [...document.querySelectorAll('#devices button')].find((button) => button.textContent.includes('{address}:') && \
         button.textContent.includes('audio')) ?? null;"
    );
    browser.click_on(&format!("{address} among the devices"), &device);
    if at_once {
        wait_for_closed_dialog(browser);
    }
}

/// Clicks *Undo*, and waits for what the page says of it. The page grows while the pointer is on its way: a click that lands beside is
/// repeated.
#[track_caller]
fn take_back(browser: &Browser<'_>) {
    browser.click(".take-back");
    let taken =
        "const undo = document.querySelector('.undo'); if (!undo.hidden) undo.querySelector('.take-back').click(); return undo.hidden;";
    browser.wait("the click to be taken", taken);
    let told = "const said = document.getElementById('said').textContent; return said.startsWith('It is back') || said.startsWith('It cannot') ? said : '';";
    assert_eq!(browser.wait("what became of it", told), "It is back where it was.");
}

/// Settings by which the old device is served until a test is through with it.
const LONG_WINDOW: &str = "[steering]\ntransition_ms = 60000\nmax_window_ms = 60000\n";

const A: &str = "10.15.0.10";
const B: &str = "10.15.0.11";

#[test]
fn the_page_shows_what_plays_and_moves_it() {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let config = folder.path().join("config.toml");
    fs::write(&config, format!("{LONG_WINDOW}[[device]]\nname = \"Kitchen\"\ncare_of = \"{B}:7000\"\n")).expect("written");
    let Some(scene) = Scene::set_with(&library(), &["--config", config.to_str().expect("a name in UTF-8")]) else { return };
    let Some(browser) = Browser::start(&scene.network.server) else { return };
    let (operator, axe) = (scene.operator(), axe());
    browser.look(1000, 900, "light");
    browser.open(PAGE);

    // The library, and the search in it.
    let count = operator.get("/api/v1/titles").json().as_array().expect("a list").len();
    browser.wait("all titles", &format!("return document.querySelectorAll('#titles > li').length === {count}"));
    browser.type_into("#search", "COUNT");
    let one = "const all = [...document.querySelectorAll('#titles > li')].map((title) => title.textContent); \
               return all.length === 1 && !all[0].includes('being read') && all[0];";
    let shown = browser.wait("one title", one);
    assert!(shown.as_str().is_some_and(|text| text.contains("1:00 · 2.6 MB · video") && text.contains(TITLE)), "{shown}");
    let link = browser.run("return document.querySelector('#titles a').href").as_str().expect("a URL").to_owned();
    let m3u = operator.get(link.strip_prefix("http://localhost:8080").expect("of this server"));
    assert_eq!(m3u.text(), format!("#EXTM3U\n#EXTINF:60,{TITLE}\nrtsp://127.0.0.1:8554/{TITLE}\n"));

    // What plays, live.
    let a = Player::Ffmpeg.play(&scene.network.a, &scene.url(V4, TITLE), Udp);
    browser.wait("the session", "return document.querySelectorAll('article .flow svg').length === 2");
    browser.wait("its position to go on", "return document.querySelector('article .position').value >= 2");
    wait_for_branches(operator, &[(A, "current")]);
    browser.click("article .toggle");
    browser.wait("paused", "return document.querySelector('.state').textContent === 'paused'");
    assert_eq!(operator.session()["state"], "paused");
    browser.click("article .toggle");
    browser.wait("playing", "return document.querySelector('.state').textContent === 'playing'");
    assert_accessible(&browser, &axe, "the page");

    // A URL, which the QR code says too.
    open_dialog(&browser);
    browser.click("#make-url");
    browser.wait("a QR code", "return document.querySelector('#qr svg') !== null");
    let url = browser.run("return document.getElementById('url').value").as_str().expect("a text").to_owned();
    let picture = browser.picture("qr.png", Some("#qr"));
    let read = Command::new("zbarimg").args(["--raw", "-q"]).arg(&picture).output().expect("zbarimg runs");
    assert_eq!(String::from_utf8_lossy(&read.stdout).trim_end(), url);
    assert_accessible(&browser, &axe, "the dialog");
    browser.look(412, 900, "dark");
    assert_accessible(&browser, &axe, "the dialog on a phone, dark");
    browser.picture("move-phone-dark.png", None);
    browser.press(ESCAPE);
    wait_for_closed_dialog(&browser);

    // Another player opens it; the page shows how that went, and takes it back.
    let b = Player::Ffmpeg.play(&scene.network.b, &operator.reach_over(&url, V4), Udp);
    browser.wait("the way back", "return !document.querySelector('.undo').hidden");
    let told = browser.wait(
        "both hand-overs",
        "const all = [...document.querySelectorAll('#hand-overs li')]; return all.length === 2 && all.map((item) => item.textContent).join('|')",
    );
    assert!(
        told.as_str().is_some_and(|told| told.matches("no gap").count() == 2 && told.contains("video") && told.contains("audio")),
        "{told}"
    );
    browser.wait("the window", "return document.querySelectorAll('.flow .window').length === 2");
    browser.picture("moving-phone-dark.png", None);
    take_back(&browser);
    wait_for_branches(operator, &[(A, "current"), (B, "leaving")]);
    // There again, by click, and then to both.
    wait_for_first_device(operator, A);
    send_to(&browser, B, "move", true);
    wait_for_branches(operator, &[(A, "leaving"), (B, "current")]);
    wait_for_first_device(operator, B);
    send_to(&browser, A, "fork", true);
    wait_for_branches(operator, &[(A, "current"), (B, "current")]);
    browser.look(1000, 900, "light");
    browser.picture("forked.png", None);
    browser.click(&format!("button[data-host='{B}']"));
    wait_for_branches(operator, &[(A, "current")]);
    browser.click("article .end");
    browser.accept();
    browser.wait("nothing to play", "return document.querySelectorAll('article').length === 0");
    assert!(operator.sessions().is_empty());

    // Neither has missed anything.
    let film = Film::named(TITLE);
    for (whose, player) in [("A", a), ("B", b)] {
        let received = player.end(SOON);
        film.locate_pictures(&format!("{whose}'s pictures"), &received.pictures);
        film.locate_frames(&format!("{whose}'s sound"), &received.frames);
    }
    assert_eq!(browser.complaints(), [""; 0]);
    let foreign = "return performance.getEntriesByType('resource').filter((entry) => !entry.name.startsWith(location.origin)).length";
    assert_eq!(browser.run(foreign), 0, "no other host is asked");

    go_by_keyboard(&scene, &browser);
    sign_in_with_a_password(&scene, &browser, &config);
    ask_for_a_token(&scene, &browser);
}

/// Seeks, pauses, forks and takes it back, all by keyboard.
#[track_caller]
fn go_by_keyboard(scene: &Scene, browser: &Browser<'_>) {
    browser.open(PAGE);
    let _viewer = Viewer::watch(&scene.network.a, &scene.url(V4, TITLE), Udp);
    browser.wait("the session", "return document.querySelector('article .position') !== null");
    browser.tab("focused.classList.contains('position')");
    (0..20).for_each(|_| browser.press(RIGHT));
    // A key picture every two seconds.
    let at_twenty = || scene.operator().session()["positionSeconds"].as_f64().filter(|at| *at > 17.0);
    wait_for("the film to go on there", SOON, at_twenty);
    let spoken = browser.run("return document.activeElement.getAttribute('aria-valuetext')");
    assert!(spoken.as_str().is_some_and(|text| text.contains(" of 1:00")), "{spoken}: the focus stays there");
    browser.press(TAB);
    for state in ["paused", "playing"] {
        browser.press(" ");
        browser.wait(state, &format!("return document.querySelector('.state').textContent === '{state}'"));
    }
    // Loopback is trusted, whoever is there.
    browser.press(TAB);
    browser.press(ENTER);
    browser.wait("the dialog", "return document.getElementById('move').open");
    browser.tab("focused.name === 'mode'");
    browser.press(DOWN);
    browser.tab("focused.id === 'care-of'");
    // Somebody is there: a place where nobody listens would be taken for gone.
    let _here = [7000, 7002].map(|port| scene.network.server.run(|| UdpSocket::bind(("127.0.0.1", port))).expect("a free port"));
    "127.0.0.1:7000".chars().for_each(|key| browser.press(&key.to_string()));
    browser.press(ENTER);
    wait_for_branches(scene.operator(), &[(A, "current"), ("127.0.0.1", "current")]);
    browser.wait("the way back", "return !document.querySelector('.undo').hidden");
    // The event may be quicker than the answers that it waits for.
    wait_for_closed_dialog(browser);
    assert_eq!(browser.run("return document.activeElement.className"), "move", "the focus is back where it was");
    browser.tab("focused.className === 'take-back'");
    browser.press(ENTER);
    wait_for_branches(scene.operator(), &[(A, "current")]);
    // A device of the configuration, and what comes there.
    let sockets = [7000, 7002].map(|port| scene.network.b.run(|| UdpSocket::bind((B, port))).expect("a free port"));
    browser.tab("focused.className === 'move'");
    browser.press(ENTER);
    browser.wait("the device", "return document.querySelector('#devices button')?.textContent.startsWith('Kitchen')");
    browser.tab("focused.textContent.startsWith('Kitchen')");
    browser.press(ENTER);
    wait_for_branches(scene.operator(), &[(A, "leaving"), (B, "current")]);
    for socket in sockets {
        socket.set_read_timeout(Some(SOON)).expect("a timeout above zero");
        let length = socket.recv(&mut [0; 2048]).expect("packets come there");
        assert!(length > 12, "with something in them");
    }
    assert_eq!(browser.complaints(), [""; 0]);
}

/// Users who operate come into the configuration: being on the machine is not enough any more, and the page asks who is there.
#[track_caller]
fn sign_in_with_a_password(scene: &Scene, browser: &Browser<'_>, config: &Path) {
    // What a player has left plays on for a while.
    scene.operator().control(&scene.operator().session(), "end", &json!({}));
    let devices = fs::read_to_string(config).expect("a text");
    let olga = "[[users]]\nname = \"olga\"\npassword = \"s3cret\"\nroles = [\"operator\"]\n";
    replace(config, &format!("{devices}{olga}"));
    scene.server.hang_up();
    wait_for("the user", SOON, || scene.server.has_logged("users changed").then_some(()));
    // For as long as it takes.
    let _viewer = Viewer::watch(&scene.network.a, &scene.url(V4, &format!("{TITLE}?loop")), Udp);
    let _device = [7000, 7002].map(|port| scene.network.b.run(|| UdpSocket::bind((B, port))).expect("a free port"));
    let form = "return !document.getElementById('sign-in').hidden && document.getElementById('connection').textContent === 'not signed in'";
    let told = "return document.getElementById('sign-in-problem').textContent";
    let user = "return document.getElementById('sign-in').hidden && !document.getElementById('signed-in').hidden && \
                document.querySelector('article .toggle') !== null && document.getElementById('connection').textContent === 'connected' && \
                document.getElementById('signed-in-user').textContent";
    browser.open(PAGE);
    browser.wait("the form", form);
    assert_eq!(browser.run(told), "", "nobody has tried anything yet");

    // By keyboard, first with a mistake, which the field is there to mend.
    browser.tab("focused.id === 'user'");
    let press = |keys: &str| keys.chars().for_each(|key| browser.press(&key.to_string()));
    press("olga");
    browser.press(TAB);
    press("secret");
    browser.press(ENTER);
    assert_eq!(browser.wait("to be told", told), "wrong user or password");
    assert_eq!(browser.run("return document.activeElement.id + document.activeElement.value"), "password");
    assert_eq!(
        browser.run("return document.querySelectorAll('#playing :is(article, p:not([hidden]))').length"),
        0,
        "nor that nothing plays"
    );
    assert_accessible(browser, &axe(), "the form with a problem");
    browser.picture("sign-in.png", None);
    press("s3cret");
    browser.press(ENTER);
    assert_eq!(browser.wait("what plays", user), "olga");
    assert_eq!(browser.run("return document.activeElement.id"), "playing");
    assert_eq!(scene.operator().get("/api/v1/sessions").status, 401, "for the browser alone");

    // What changes something has to show the second secret, also a newer one than the page knows of.
    browser.click("article .move");
    browser.wait("the device", "return document.querySelector('#devices button')?.textContent.startsWith('Kitchen')");
    browser.click("#devices button");
    browser.wait("the way back", "return !document.getElementById('move').open && !document.querySelector('.undo').hidden");
    let state = |state: &str| browser.wait(state, &format!("return document.querySelector('.state').textContent === '{state}'"));
    browser.click("article .toggle");
    state("paused");
    let beside = "const body = JSON.stringify({ user: 'olga', password: 's3cret' }), headers = { 'Content-Type': 'application/json' }; \
                  fetch('api/v1/login', { method: 'POST', body, headers }).then((answer) => arguments[0](answer.status));";
    assert_eq!(browser.run_until_it_calls(beside), 200, "signed in in another tab");
    browser.click("article .toggle");
    state("playing");

    browser.open(PAGE);
    assert_eq!(browser.wait("the same user", user), "olga");
    assert_eq!(browser.run("return document.cookie"), "", "no script sees it");
    let elsewhere = "fetch('api/v1/login').then((answer) => answer.json()) \
                     .then(({ csrf }) => fetch('api/v1/logout', { method: 'POST', headers: { 'X-CSRF-Token': csrf } })) \
                     .then((answer) => arguments[0](answer.status));";
    assert_eq!(browser.run_until_it_calls(elsewhere), 204, "signed out in another tab");
    assert_eq!(browser.wait("to be told", told), "The login has ended.");
    browser.type_into("#user", "olga");
    browser.type_into("#password", &format!("s3cret{ENTER}"));
    assert_eq!(browser.wait("what plays", user), "olga");
    browser.click("#sign-out");
    browser.wait("the form", form);
    let left = "const left = localStorage.length + document.querySelectorAll('article').length; \
                fetch('api/v1/sessions').then((answer) => arguments[0]([answer.status, left]));";
    assert_eq!(browser.run_until_it_calls(left), json!([401, 0]));
    // Refusals are told by the browser too: of the form, and of the old secret.
    let refused: Vec<String> = browser.complaints().into_iter().filter(|complaint| !complaint.contains("401")).collect();
    assert!(matches!(&refused[..], [stale] if stale.contains("/play - ") && stale.contains("403")), "{refused:#?}");
}

/// A server that wants a token, elsewhere: the page asks for it, and keeps it nowhere.
#[track_caller]
fn ask_for_a_token(scene: &Scene, browser: &Browser<'_>) {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let config = folder.path().join("config.toml");
    fs::write(&config, "[http]\ntokens = [\"open-sesame\"]\n").expect("written");
    let song = "-nostdin -v error -f lavfi -i sine=d=1 -f lavfi -i testsrc=size=64x48:d=0.04 -map 0 -map 1 -frames:v 1 -c:a flac -c:v png -disposition:v:0 attached_pic";
    let made = Command::new("ffmpeg").args(song.split(' ')).arg(folder.path().join("a song.flac")).status().expect("ffmpeg starts");
    assert!(made.success());
    let _other = Server::start(&scene.network.a, folder.path(), &["--config", config.to_str().expect("a name in UTF-8")]);
    browser.open(&format!("http://{A}:8080/"));
    browser.wait("the field", "return !document.getElementById('sign-in').hidden");
    browser.click("#sign-in summary");
    assert_accessible(browser, &axe(), "the form");
    let told = "return document.activeElement.id === 'token' && document.getElementById('sign-in-problem').textContent";
    for (token, wanted) in [("wrong", told), ("open-sesame", "return document.getElementById('sign-in').hidden")] {
        browser.type_into("#token", token);
        browser.click("#sign-in button");
        browser.wait(token, wanted);
    }
    browser.wait("the song's picture", "return document.querySelector('.picture')?.naturalWidth === 64");
    browser.wait("its events", "return document.getElementById('connection').textContent === 'connected'");
    assert_eq!(browser.run("return localStorage.length + sessionStorage.length + document.cookie.length"), 0);
    let drawn = http::ask(&scene.network.server, (scene.network.a.v4, 8080).into(), "POST", "/page/qr", &[], Some(&json!({ "text": "x" })));
    assert_eq!(drawn.status, 401, "{}", drawn.text());
    // Who signs in while it listens still hears everything once.
    browser.run(
        "window.asked = []; const fetch = window.fetch; window.fetch = (path, options) => { window.asked.push(path); return fetch(path, options); }; \
         document.getElementById('token').value = 'open-sesame'; document.getElementById('sign-in').requestSubmit();",
    );
    browser.wait("what plays to be read", "return window.asked.includes('api/v1/sessions')");
    assert_eq!(browser.run("return window.asked.includes('api/v1/events')"), false);
    // A refusal is told by the browser too; the page's policy has refused nothing.
    let refused: Vec<String> = browser.complaints().into_iter().filter(|complaint| !complaint.contains("401")).collect();
    assert_eq!(refused, [""; 0]);
}

#[test]
fn what_the_page_has_moved_can_be_taken_back_when_the_window_of_others_is_over() {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let config = folder.path().join("config.toml");
    fs::write(&config, format!("[[device]]\nname = \"Kitchen\"\ncare_of = \"{B}:7000\"\n")).expect("written");
    // Long enough to be seen, and over well before the ten seconds are in which the page takes back.
    let flags = ["--transition", "4000", "--config", config.to_str().expect("a name in UTF-8")];
    let Some(scene) = Scene::set_with(&library(), &flags) else { return };
    let Some(browser) = Browser::start(&scene.network.server) else { return };
    let operator = scene.operator();
    browser.open(PAGE);
    // For as long as it takes.
    let a = Viewer::watch(&scene.network.a, &scene.url(V4, &format!("{TITLE}?loop")), Udp);
    let _kitchen = [7000, 7002].map(|port| scene.network.b.run(|| UdpSocket::bind((B, port))).expect("a free port"));
    browser.wait("the session", "return document.querySelectorAll('article .flow svg').length === 2");
    browser.click("article .move");
    browser.wait("the device", "return document.querySelector('#devices button')?.textContent.startsWith('Kitchen')");
    browser.click("#devices button");
    wait_for_branches(operator, &[(A, "leaving"), (B, "current")]);
    // Any other window is over by then.
    browser.wait("some of the ten seconds to pass", "return /[1-5] s to take it back/.test(document.querySelector('.undo').textContent)");
    take_back(&browser);
    wait_for_branches(operator, &[(A, "current"), (B, "leaving")]);
    wait_for_branches(operator, &[(A, "current")]);

    // By a URL: as long as the old device is served …
    let taken_at = |host| {
        browser.open(PAGE);
        browser.wait("the session", "return document.querySelectorAll('article .flow svg').length === 2");
        browser.wait("its events", "return document.getElementById('connection').textContent === 'connected'");
        Viewer::watch(host, &operator.takeover_url(&a.video().home, V4, "presentation"), Udp)
    };
    let _b = taken_at(&scene.network.b);
    let left = browser.wait("the way back", "return document.querySelector('.undo')?.textContent.match(/\\d+(?= s to)/)?.[0]");
    assert!(left.as_str().is_some_and(|left| ["0", "1", "2", "3", "4"].contains(&left)), "{left} s");
    // … or longer, where its address is taken, which is known of a device a moment after it was seen.
    wait_for("the device to be known", SOON, || {
        let devices = operator.get("/api/v1/devices").json();
        let is_it = |place: &Value| {
            place["kind"] == "video"
                && place["careOf"].as_str().is_some_and(|at| at.starts_with(&format!("{B}:")) && at != format!("{B}:7000"))
        };
        let places = |device: &Value| device["places"].as_array().is_some_and(|places| places.iter().any(is_it));
        devices.as_array()?.iter().any(|device| device["accepted"] == true && places(device)).then_some(())
    });
    let _again = taken_at(&scene.network.a);
    browser.wait("the way back", "return /([5-9]|10) s to take it back/.test(document.querySelector('.undo').textContent)");
    assert_eq!(browser.complaints(), [""; 0]);
}

/// What a question on the page says, once there is one.
#[track_caller]
fn question(browser: &Browser<'_>, asks: &str) {
    let script = format!(
        "const asked = document.querySelector('.question'); return asked !== null && asked.textContent.includes('{asks}') && asked.textContent"
    );
    browser.wait(asks, &script);
}

/// A device opens a take-over URL, and is asked about.
fn ffmpeg(scene: &Scene, url: &str) -> Child {
    let mut command = scene.network.b.command("ffmpeg");
    command.args(["-nostdin", "-loglevel", "warning", "-i", url, "-f", "null", "-"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("ffmpeg starts")
}

#[test]
fn the_page_asks_who_may_have_what_plays_and_waits_where_another_is_asked() {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let config = folder.path().join("config.toml");
    let kitchen = format!("[[device]]\nname = \"Kitchen\"\ncare_of = \"{B}:7000\"\n");
    let configure = |consent: &str| replace(&config, &format!("{LONG_WINDOW}consent = \"{consent}\"\n{kitchen}"));
    configure("ask-holder");
    let flags = ["--config", config.to_str().expect("a name in UTF-8")];
    let Some(scene) = Scene::set_with(&library(), &flags) else { return };
    let Some(browser) = Browser::start(&scene.network.server) else { return };
    let operator = scene.operator();
    browser.open(PAGE);
    // For as long as it takes.
    let a = Viewer::watch(&scene.network.a, &scene.url(V4, &format!("{TITLE}?loop")), Udp);
    browser.wait("the session", "return document.querySelectorAll('article .flow svg').length === 2");
    let takeover_url = || operator.takeover_url(&a.video().home, V4, "presentation");

    // No, by keyboard alone: the question has the focus, and its first button is yes.
    let refused = ffmpeg(&scene, &takeover_url());
    question(&browser, &format!("{B} asks for {TITLE} (video and audio)"));
    question(&browser, &a.video().home);
    question(&browser, " s left");
    assert_accessible(&browser, &axe(), "a question");
    browser.picture("question.png", None);
    for wanted in ["Yes", "No"] {
        browser.press(TAB);
        assert_eq!(browser.run("return document.activeElement.textContent"), wanted);
    }
    browser.press(ENTER);
    let output = refused.wait_with_output().expect("ffmpeg ends");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("403"), "{told}");
    browser.wait("no question", "return document.getElementById('questions').hidden");
    wait_for_branches(operator, &[(A, "current")]);
    a.tracks.iter().for_each(|track| drop(track.units()));

    // Yes, which is found while something else has the screen.
    open_dialog(&browser);
    let b = Player::Ffmpeg.play(&scene.network.b, &takeover_url(), Udp);
    question(&browser, &format!("{B} asks for {TITLE}"));
    browser.click("#move .yes");
    wait_for_branches(operator, &[(A, "leaving"), (B, "current")]);
    browser.press(ESCAPE);

    // A move on the page waits for the device that is asked.
    configure("ask-taker");
    scene.server.hang_up();
    wait_for("the change", SOON, || scene.server.has_logged("steering.consent").then_some(()));
    wait_for_first_device(operator, B);
    send_to(&browser, A, "move", false);
    browser.wait(
        "to be told",
        &format!("return document.getElementById('move-waiting').textContent === 'Waiting for the device at {A} to say yes.'"),
    );
    question(&browser, &format!("{A} would get {TITLE} (video and audio)"));
    assert_accessible(&browser, &axe(), "a question in the dialog");
    browser.picture("waiting.png", None);
    wait_for_branches(operator, &[(A, "leaving"), (B, "current")]);
    browser.click("#move .yes");
    wait_for_branches(operator, &[(A, "current"), (B, "leaving")]);
    wait_for_closed_dialog(&browser);

    // A yes that the page does not hear: it looks again, and goes on.
    let _kitchen = [7000, 7002].map(|port| scene.network.b.run(|| UdpSocket::bind((B, port))).expect("a free port"));
    browser.run_ahead(
        "{ const fetch = window.fetch; const silence = new ReadableStream({ start(events) { window.events = events; } }); \
         window.fetch = (path, options) => path === 'api/v1/events' ? Promise.resolve(new Response(silence)) : fetch(path, options); }",
    );
    browser.open(PAGE);
    browser.wait("the session", "return document.querySelectorAll('article .flow svg').length === 2");
    browser.click("article .move");
    browser.wait("the device", "return document.querySelector('#devices button')?.textContent.startsWith('Kitchen')");
    browser.click("#devices button");
    question(&browser, &format!("{B} would get {TITLE} (video and audio)"));
    for open in operator.get("/api/v1/consents").json().as_array().expect("a list") {
        let path = format!("/api/v1/consents/{}", open["id"].as_str().expect("an id"));
        assert_eq!(operator.post(&path, &json!({ "answer": "yes" })).status, 200);
    }
    browser.run("window.events.enqueue(new TextEncoder().encode('event: missed\\ndata: {\"events\": 2}\\n\\n'));");
    wait_for_closed_dialog(&browser);
    assert_eq!(browser.complaints(), [""; 0]);

    let session = operator.session();
    operator.control(&session, "end", &json!({}));
    let (received, film) = (b.end(SOON), Film::named(TITLE));
    film.locate_pictures("B's pictures", &received.pictures);
    a.tracks.iter().for_each(|track| drop(track.units()));
}
