//! What passes an interface, as tshark reads it.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::namespaces::Host;
use crate::support::{SOON, wait_for};

/// A UDP datagram on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// When it was captured, in microseconds since 1970.
    pub micros: u64,
    /// The IPv6 flow label; `None` in IPv4.
    pub label: Option<u32>,
    pub to: String,
    pub source_port: u16,
    pub port: u16,
    /// Of the whole IP packet.
    pub length: usize,
    pub payload: Vec<u8>,
}

/// A capture of a host's `eth0` while it runs.
#[derive(Debug)]
pub struct Capture {
    tshark: Child,
    seen: Arc<Mutex<Vec<Datagram>>>,
    errors: Arc<Mutex<String>>,
}

/// Probes go to the discard port.
const PROBE_PORT: u16 = 9;

impl Capture {
    /// Starts one; when this returns, it captures.
    pub fn start(host: &Host) -> Self {
        let fields =
            ["frame.time_epoch", "ipv6.flow", "ipv6.dst", "ip.dst", "udp.srcport", "udp.dstport", "ipv6.plen", "ip.len", "udp.payload"];
        let mut command = host.command("tshark");
        // Nothing is to be decoded above UDP.
        command.args(["-i", "eth0", "-f", "udp", "-n", "-l", "-Q", "-T", "fields", "-E", "separator=|", "-E", "occurrence=f"]);
        command.args(["-B", "32", "--disable-protocol", "rtp", "--disable-protocol", "rtcp"]);
        command.args(fields.iter().flat_map(|field| ["-e", field]));
        let mut tshark = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("tshark starts");
        let (seen, errors): (Arc<Mutex<Vec<Datagram>>>, Arc<Mutex<String>>) = Default::default();
        let (stdout, kept) = (tshark.stdout.take().expect("stdout is a pipe"), Arc::clone(&seen));
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                kept.lock().expect("pushing does not panic").push(parse(&line));
            }
        });
        let (stderr, kept) = (tshark.stderr.take().expect("stderr is a pipe"), Arc::clone(&errors));
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                *kept.lock().expect("pushing does not panic") += &(line + "\n");
            }
        });
        let mut capture = Self { tshark, seen, errors };
        capture.probe(host, b"begin");
        capture
    }

    /// Sends probes through the interface until one is seen: then everything before it has been.
    fn probe(&mut self, host: &Host, text: &[u8]) {
        let socket = host.run(|| UdpSocket::bind("[::]:0")).expect("a free port");
        let neighbour = "[2001:db8:f10::a]:9";
        wait_for("tshark to see a probe", SOON * 2, || {
            if let Some(status) = self.tshark.try_wait().expect("our child can be waited for") {
                panic!("tshark ended with {status}: {}", self.errors.lock().expect("pushing does not panic"));
            }
            socket.send_to(text, neighbour).expect("a probe leaves");
            thread::sleep(std::time::Duration::from_millis(50));
            let seen = self.seen.lock().expect("pushing does not panic");
            seen.iter().any(|datagram| datagram.port == PROBE_PORT && datagram.payload == text).then_some(())
        });
    }

    /// Ends it, and gives every datagram in the order seen.
    pub fn end(mut self, host: &Host) -> Vec<Datagram> {
        self.probe(host, b"end");
        let seen = self.seen.lock().expect("pushing does not panic");
        seen.iter().filter(|datagram| datagram.port != PROBE_PORT).cloned().collect()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.tshark.kill();
        let _ = self.tshark.wait();
    }
}

fn parse(line: &str) -> Datagram {
    let fields: Vec<&str> = line.split('|').collect();
    let [time, label, to6, to4, source_port, port, length6, length4, payload] = fields[..] else { panic!("tshark wrote {line:?}") };
    let number = |text: &str| text.parse::<usize>().unwrap_or_else(|_| panic!("tshark wrote {text:?} in {line:?}"));
    let port_of = |text: &str| u16::try_from(number(text)).expect("a port has 16 bits");
    let v6 = !to6.is_empty();
    let octets = payload.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()));
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, "0"));
    Datagram {
        micros: number(seconds) as u64 * 1_000_000 + number(&format!("{fraction:0<6}")[..6]) as u64,
        label: v6.then(|| u32::from_str_radix(label.trim_start_matches("0x"), 16).expect("a flow label in hex")),
        to: if v6 { to6 } else { to4 }.to_owned(),
        source_port: port_of(source_port),
        port: port_of(port),
        length: if v6 { number(length6) + 40 } else { number(length4) },
        payload: octets.map(|octet| octet.expect("hex digits")).collect(),
    }
}
