//! A device whose messages somebody else's codec writes and reads: scapy (`tests/players/scapy_device.py`).

mod cli_server;

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;

use cli_server::Server;
use serde_json::Value;

#[test]
fn scapy_reserves_proves_and_binds() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-venv/bin/python");
    assert!(python.exists(), "{} is missing: tests/run --prepare makes it", python.display());
    let folder = tempfile::tempdir().expect("a folder");
    let key = "5a".repeat(32);
    let config = format!("[[mobility.keys]]\nspi = 0x1234\nnai = \"phone@home\"\nkey = \"{key}\"\n");
    std::fs::write(folder.path().join("f.toml"), config).expect("written");
    let server = Server::start(folder.path());
    let (host, port) = server.mobility.rsplit_once(':').expect("a port");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/players/scapy_device.py");
    let mut command = Command::new(python);
    command.arg(script).args([host, port, "0x1234", "phone@home", &key]).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command.output().expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let home = told["home"].as_str().expect("a home address");
    let shown = shown_home(&server, home);
    assert_eq!((&shown["homeAddress"], &shown["state"]), (&told["home"], &Value::from("bound")), "{shown:#}");
}

/// A home address as the API shows it.
fn shown_home(server: &Server, home: &str) -> Value {
    let address = server.http.strip_prefix("http://").expect("a URL");
    let mut stream = std::net::TcpStream::connect(address).expect("the server listens");
    write!(stream, "GET /api/v1/home-addresses/{home} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    serde_json::from_str(answer.split_once("\r\n\r\n").expect("a body").1).expect("JSON")
}
