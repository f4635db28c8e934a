//! A browser that is steered over WebDriver (W3C WebDriver Level 2): Debian's Chromium without a window, on a host of the test's network.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::namespaces::Host;
use crate::support::{SOON, http, skip, wait_for};

const DRIVER: u16 = 9515;
/// How WebDriver names an element in JSON (section 11).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys that have no letter (section 17.4.2).
pub const TAB: &str = "\u{E004}";
pub const ENTER: &str = "\u{E007}";
pub const ESCAPE: &str = "\u{E00C}";
pub const RIGHT: &str = "\u{E014}";
pub const DOWN: &str = "\u{E015}";

/// One browser; it ends when dropped.
pub struct Browser<'a> {
    host: &'a Host,
    driver: Child,
    session: String,
}

impl<'a> Browser<'a> {
    /// Starts it, as wide as a phone; `None` (having said so) where there is none.
    pub fn start(host: &'a Host) -> Option<Self> {
        if Command::new("chromedriver").arg("--version").stdout(Stdio::null()).status().is_err() {
            skip("there is no chromedriver here");
            return None;
        }
        let mut command = host.command("chromedriver");
        command.arg(format!("--port={DRIVER}")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = command.spawn().expect("chromedriver starts");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, DRIVER));
        wait_for("chromedriver", SOON * 3, || host.run(|| TcpStream::connect(address)).ok());
        let mut browser = Self { host, driver, session: String::new() };
        let arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=412,900"];
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let made = browser.ask("POST", "/session", &capabilities);
        browser.session = made["sessionId"].as_str().expect("a session's id").to_owned();
        Some(browser)
    }

    #[track_caller]
    fn ask(&self, method: &str, target: &str, body: &Value) -> Value {
        let body = (method == "POST").then_some(body);
        let answer = http::ask(self.host, (Ipv4Addr::LOCALHOST, DRIVER).into(), method, target, &[], body);
        assert_eq!(answer.status, 200, "{method} {target}: {}", answer.text());
        answer.json()["value"].clone()
    }

    #[track_caller]
    fn post(&self, call: &str, body: &Value) -> Value {
        self.ask("POST", &format!("/session/{}/{call}", self.session), body)
    }

    #[track_caller]
    pub fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    /// What a script returns, which is a function's body.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.post("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// What a script gives to `arguments[0]`.
    #[track_caller]
    pub fn run_until_it_calls(&self, script: &str) -> Value {
        self.post("execute/async", &json!({ "script": script, "args": [] }))
    }

    /// Waits until a script returns something that is neither false, nor empty, nor nothing.
    #[track_caller]
    pub fn wait(&self, what: &str, script: &str) -> Value {
        wait_for(what, SOON * 3, || {
            let value = self.run(script);
            (!matches!(&value, Value::Null | Value::Bool(false)) && value != "").then_some(value)
        })
    }

    #[track_caller]
    fn find(&self, selector: &str) -> String {
        let found = self.post("element", &json!({ "using": "css selector", "value": selector }));
        found[ELEMENT].as_str().expect("an element's id").to_owned()
    }

    /// Clicks where a person would.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        self.click_on(selector, &format!("return document.querySelector({})", json!(selector)));
    }

    /// Clicks on what a script returns. Where the page has put another one in its place meanwhile, on that; where something was in the way of
    /// the pointer, once more.
    #[track_caller]
    pub fn click_on(&self, what: &str, script: &str) {
        wait_for(what, SOON * 3, || {
            let element = self.run(script)[ELEMENT].as_str()?.to_owned();
            let target = format!("/session/{}/element/{element}/click", self.session);
            let answer = http::ask(self.host, (Ipv4Addr::LOCALHOST, DRIVER).into(), "POST", &target, &[], Some(&json!({})));
            let told = answer.text();
            let is_moving = ["stale element reference", "element click intercepted"].iter().any(|error| told.contains(error));
            assert!(answer.status == 200 || is_moving, "{what}: {told}");
            (answer.status == 200).then_some(())
        });
    }

    /// Types into a field.
    #[track_caller]
    pub fn type_into(&self, selector: &str, text: &str) {
        let element = self.find(selector);
        self.post(&format!("element/{element}/value"), &json!({ "text": text }));
    }

    /// Presses a key, wherever the focus is.
    #[track_caller]
    pub fn press(&self, key: &str) {
        let actions = json!([{ "type": "key", "id": "keyboard", "actions": [{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }] }]);
        self.post("actions", &json!({ "actions": actions }));
    }

    /// Goes with Tab until that holds of the element that has the focus, as `focused`.
    #[track_caller]
    pub fn tab(&self, wanted: &str) {
        let script = format!("const focused = document.activeElement; return Boolean({wanted});");
        let reached = (0..60).any(|_| {
            self.press(TAB);
            self.run(&script) == true
        });
        assert!(reached, "Tab comes to {wanted}");
    }

    /// Says yes to what the page asks.
    #[track_caller]
    pub fn accept(&self) {
        self.post("alert/accept", &json!({}));
    }

    /// How wide and high the window is, and whether the person likes it dark.
    #[track_caller]
    pub fn look(&self, width: u32, height: u32, scheme: &str) {
        self.post("window/rect", &json!({ "width": width, "height": height }));
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.post("goog/cdp/execute", &json!({ "cmd": "Emulation.setEmulatedMedia", "params": { "features": features } }));
    }

    /// Runs a script ahead of those of each page that is opened.
    #[track_caller]
    pub fn run_ahead(&self, script: &str) {
        let call = json!({ "cmd": "Page.addScriptToEvaluateOnNewDocument", "params": { "source": script } });
        self.post("goog/cdp/execute", &call);
    }

    /// A picture of the page, or of one element, in `target/page/`.
    #[track_caller]
    pub fn picture(&self, name: &str, selector: Option<&str>) -> PathBuf {
        let call = selector.map_or("screenshot".to_owned(), |selector| format!("element/{}/screenshot", self.find(selector)));
        let taken = self.ask("GET", &format!("/session/{}/{call}", self.session), &Value::Null);
        let octets = STANDARD.decode(taken.as_str().expect("base64")).expect("base64");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/page");
        fs::create_dir_all(&folder).expect("a folder can be made");
        let path = folder.join(name);
        fs::write(&path, octets).expect("written");
        path
    }

    /// What the browser has complained of since this was last asked, a refusal by the page's policy for example.
    #[track_caller]
    pub fn complaints(&self) -> Vec<String> {
        let entries = self.post("se/log", &json!({ "type": "browser" }));
        let entries = entries.as_array().expect("a list").iter();
        entries.filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING").map(Value::to_string).collect()
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        // Without this, Chromium would outlive its driver. It may have ended already.
        let request = format!(
            "DELETE /session/{} HTTP/1.1\r\nHost: 127.0.0.1:{DRIVER}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            self.session
        );
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, DRIVER));
        if let Ok(mut stream) = self.host.run(|| TcpStream::connect(address)) {
            let _ = stream.set_read_timeout(Some(SOON));
            let _ = stream.write_all(request.as_bytes());
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
