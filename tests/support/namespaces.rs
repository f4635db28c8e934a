//! Network namespaces without names: they live as long as somebody holds them, so nothing clashes and nothing is left behind.
//!
//! ```text
//!        server            device A           device B
//!   2001:db8:f10::1    2001:db8:f10::a    2001:db8:f10::b
//!      10.15.0.1          10.15.0.10         10.15.0.11
//!         eth0               eth0               eth0
//!           └──────── bridge in a namespace ──────┘
//! ```
//! See network_namespaces(7), veth(4), setns(2).

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// One network namespace.
#[derive(Debug)]
pub struct Namespace {
    handle: File,
}

impl Namespace {
    /// Makes one; needs CAP_SYS_ADMIN.
    pub fn new() -> io::Result<Self> {
        let made = thread::spawn(|| {
            // SAFETY: no pointers; only this thread's membership changes, and the thread ends here.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                return Err(io::Error::last_os_error());
            }
            File::open("/proc/thread-self/ns/net")
        });
        let handle = made.join().expect("the thread does not panic")?;
        Ok(Self { handle })
    }

    /// A path that `ip link … netns` takes.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.handle.as_raw_fd())
    }

    /// Does `work` on a thread of its own inside: sockets made there stay there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let running = scope.spawn(|| {
                enter(self.handle.as_raw_fd()).expect("a namespace that is held can be entered");
                work()
            });
            running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A program that will run inside.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let handle = self.handle.as_raw_fd();
        // SAFETY: between fork and exec only setns(2) and prctl(2) are called, which are async-signal-safe; the handle is open in the child
        // too, as close-on-exec acts later.
        unsafe {
            command.pre_exec(move || {
                // Whatever becomes of the test, its programs end with the thread that started them.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                enter(handle)
            })
        };
        command
    }

    /// Lines for `ip -batch`.
    fn ip(&self, lines: &str) {
        let mut ip = self.command("ip");
        let mut ip = ip.args(["-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ip starts");
        ip.stdin.take().expect("stdin is a pipe").write_all(lines.as_bytes()).expect("ip reads its lines");
        let output = ip.wait_with_output().expect("ip ends");
        assert!(output.status.success(), "ip -batch:\n{lines}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn enter(handle: RawFd) -> io::Result<()> {
    // SAFETY: no pointers; changes this thread's membership only.
    if unsafe { libc::setns(handle, libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Carries out rules for packets.
fn nft(command: &mut Command, rules: &str) {
    let mut nft = command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("nft starts");
    nft.stdin.take().expect("stdin is a pipe").write_all(rules.as_bytes()).expect("nft reads its rules");
    let output = nft.wait_with_output().expect("nft ends");
    assert!(output.status.success(), "nft:\n{rules}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// A machine on the network: a namespace with one interface, `eth0`.
#[derive(Debug)]
pub struct Host {
    pub name: &'static str,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
    namespace: Namespace,
}

impl Host {
    /// Its address of that family.
    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4.into(),
            Family::V6 => self.v6.into(),
        }
    }

    /// See [`Namespace::run`].
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.run(work)
    }

    /// See [`Namespace::command`].
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.namespace.command(program)
    }

    /// Lines for `ip -batch`, carried out there.
    pub fn ip(&self, lines: &str) {
        self.namespace.ip(lines);
    }

    /// From now on datagrams leave `eth0` one by one, as they would leave a network card: captures see what is on the wire.
    pub fn switch_segmentation_offload_off(&self) {
        let output = self.command("ethtool").args(["-K", "eth0", "tx-udp-segmentation", "off"]).output().expect("ethtool runs");
        assert!(output.status.success(), "ethtool: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// From now on one of so many datagrams from a UDP port is lost on the way into this host, by the count.
    pub fn lose(&self, one_of: u32, source_port: u16) {
        let rules = format!(
            "table inet loss {{\nchain into {{\ntype filter hook input priority 0\n\
             udp sport {source_port} numgen inc mod {one_of} < 1 counter drop\n}}\n}}\n"
        );
        nft(&mut self.command("nft"), &rules);
    }

    /// From now on nothing more is lost.
    pub fn lose_nothing_more(&self) {
        nft(&mut self.command("nft"), "delete table inet loss\n");
    }

    /// From now on it tells nobody that a port is nobody's: a player may open its own late, and is not taken for gone.
    pub fn tell_of_no_closed_port(&self) {
        let rules = "table inet silence {\nchain out {\ntype filter hook output priority 0\n\
                     icmp type destination-unreachable drop\nicmpv6 type destination-unreachable drop\n}\n}\n";
        nft(&mut self.command("nft"), rules);
    }

    /// How many datagrams were lost so.
    #[track_caller]
    pub fn lost(&self) -> u64 {
        let output = self.command("nft").args(["list", "table", "inet", "loss"]).output().expect("nft runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let count = text.split_once("counter packets ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        count.unwrap_or_else(|| panic!("nft lists no counter: {text}"))
    }

    /// Nothing passes its interface any more, as when a device leaves the network.
    pub fn unplug(&self) {
        self.namespace.ip("link set eth0 down\n");
    }
}

/// A server and two devices on one bridge.
#[derive(Debug)]
pub struct Network {
    pub server: Host,
    pub a: Host,
    pub b: Host,
    bridge: Namespace,
}

/// A device in a network of its own. The router between it and the server lets it out under the router's address, and its
/// datagrams from ports between 20000 and 29999 instead of their own.
#[derive(Debug)]
pub struct BehindNat {
    pub device: Host,
    /// The router, as the server sees it.
    pub router: Host,
}

impl Network {
    /// Makes it; an error means that this process may not make namespaces.
    pub fn new() -> io::Result<Self> {
        let bridge = Namespace::new()?;
        // No spanning tree and no multicast snooping: ports forward at once, neighbour discovery reaches everybody.
        bridge.ip("link add name bridge type bridge stp_state 0 mcast_snooping 0\nlink set bridge up\n");
        let host = |name, last: u16, v4_last: u8| -> io::Result<Host> {
            let namespace = Namespace::new()?;
            let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0xf10, 0, 0, 0, 0, last);
            let v4 = Ipv4Addr::new(10, 15, 0, v4_last);
            bridge.ip(&format!(
                "link add to-{last} type veth peer name eth0 netns {}\nlink set to-{last} master bridge up\n",
                namespace.path()
            ));
            namespace.ip(&format!("link set lo up\naddr add {v6}/64 dev eth0 nodad\naddr add {v4}/24 dev eth0\nlink set eth0 up\n"));
            Ok(Host { name, v4, v6, namespace })
        };
        Ok(Self { server: host("server", 1, 1)?, a: host("device A", 0xa, 10)?, b: host("device B", 0xb, 11)?, bridge })
    }

    /// Gives a host a second interface, `eth1`, on the same bridge. What is sent from its address leaves through it.
    pub fn add_interface(&self, host: &Host, last: u16) -> Ipv6Addr {
        let address = Ipv6Addr::new(0x2001, 0xdb8, 0xf10, 0, 0, 0, 0, last);
        self.bridge.ip(&format!(
            "link add to-{last} type veth peer name eth1 netns {}\nlink set to-{last} master bridge up\n",
            host.namespace.path()
        ));
        host.namespace
            .ip(&format!("addr add {address}/128 dev eth1 nodad\nlink set eth1 up\nroute add 2001:db8:f10::/64 dev eth1 table 7\n"));
        let rule = host.command("ip").args(["-6", "rule", "add", "from", &address.to_string(), "lookup", "7"]).status();
        assert!(rule.expect("ip runs").success());
        address
    }

    /// Puts a router on the bridge, and a device behind it.
    pub fn behind_nat(&self) -> io::Result<BehindNat> {
        let (router, device) = (Namespace::new()?, Namespace::new()?);
        let (v6, v4) = (Ipv6Addr::new(0x2001, 0xdb8, 0xf10, 0, 0, 0, 0, 0xc), Ipv4Addr::new(10, 15, 0, 12));
        let (device6, device4) = (Ipv6Addr::new(0x2001, 0xdb8, 0xf11, 0, 0, 0, 0, 2), Ipv4Addr::new(10, 16, 0, 2));
        self.bridge.ip(&format!("link add to-c type veth peer name eth0 netns {}\nlink set to-c master bridge up\n", router.path()));
        router.ip(&format!(
            "link set lo up\naddr add {v6}/64 dev eth0 nodad\naddr add {v4}/24 dev eth0\nlink set eth0 up\n\
             link add inside type veth peer name eth0 netns {}\n\
             addr add 2001:db8:f11::1/64 dev inside nodad\naddr add 10.16.0.1/24 dev inside\nlink set inside up\n",
            device.path()
        ));
        device.ip(&format!(
            "link set lo up\naddr add {device6}/64 dev eth0 nodad\naddr add {device4}/24 dev eth0\nlink set eth0 up\n\
             route add default via 10.16.0.1\nroute add ::/0 via 2001:db8:f11::1\n"
        ));
        router.run(|| -> io::Result<()> {
            fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
            fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")
        })?;
        let rules: String = ["ip", "ip6"]
            .map(|family| {
                format!(
                    "table {family} nat {{\nchain out {{\ntype nat hook postrouting priority srcnat\n\
                     oifname eth0 meta l4proto udp masquerade to :20000-29999 random\noifname eth0 masquerade\n}}\n}}\n"
                )
            })
            .concat();
        nft(&mut router.command("nft"), &rules);
        Ok(BehindNat {
            device: Host { name: "a device behind a NAT", v4: device4, v6: device6, namespace: device },
            router: Host { name: "its router", v4, v6, namespace: router },
        })
    }
}
