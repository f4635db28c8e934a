//! A clean Debian with systemd, booted as a machine of its own in the network namespace of a host, and the package that is installed there.
//!
//! Commands are run inside as on its console. What becomes of the machine is gone with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::namespaces::Host;
use crate::support::{skip, wait_for};

/// How soon a machine has booted, of which there are several at a time.
const BOOTED: Duration = Duration::from_secs(120);

/// A file of the sources.
pub fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The package of the binary under test, built once.
///
/// # Panics
/// Where it cannot be built.
pub fn package() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let output = Command::new(source(".packaging/build")).arg("debug").output().expect("the script runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let failed = || panic!("{}\n{said}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        let path = said.lines().rev().find_map(|line| line.strip_prefix("the package is ")).unwrap_or_else(failed);
        PathBuf::from(path)
    })
}

/// Whether there is a clean Debian, which is made where it is not yet; where it cannot be, that has been said.
pub fn is_there() -> bool {
    static MADE: OnceLock<Result<(), String>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let output = Command::new(source("tests/debian/root")).output().map_err(|error| error.to_string())?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    });
    if let Err(error) = made {
        skip(&format!("there is no clean Debian ({error})"));
    }
    made.is_ok()
}

/// Runs until dropped.
#[derive(Debug)]
pub struct Machine<'h> {
    host: &'h Host,
    child: Child,
    /// The process id, out here, of its first process.
    first: u32,
}

impl<'h> Machine<'h> {
    /// Boots one; `None` (having said so) where there is no such Debian and none can be made.
    ///
    /// # Panics
    /// Where it does not boot within two minutes.
    pub fn boot(host: &'h Host) -> Option<Self> {
        if !is_there() {
            return None;
        }
        let mut command = host.command(source("tests/debian/machine"));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::inherit()).stderr(Stdio::inherit()).spawn().expect("the script starts");
        // What the script becomes waits for its only child, the machine's first process.
        let first = wait_for("the machine to boot", BOOTED, || {
            if let Some(status) = child.try_wait().expect("our child can be waited for") {
                panic!("the machine does not boot: {status}");
            }
            let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).ok()?;
            let first: u32 = children.trim().parse().ok()?;
            let name = fs::read_to_string(format!("/proc/{first}/comm")).ok()?;
            (name.trim() == "systemd").then_some(first)
        });
        let machine = Self { host, child, first };
        wait_for("the machine to have booted", BOOTED, || {
            // Whether one of the system's own units has failed, which `degraded` says, is not what is tested.
            ["running", "degraded"].contains(&text(&machine.run("systemctl is-system-running").stdout).as_str()).then_some(())
        });
        // Who is root needs no sudo; commands that have it are run as they are written.
        machine.write("usr/local/bin/sudo", "#!/bin/sh\nexec \"$@\"\n");
        machine.expect("chmod 755 /usr/local/bin/sudo");
        Some(machine)
    }

    /// Where a file of the machine is found from out here.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/{inside}", self.first))
    }

    /// Writes a file inside.
    pub fn write(&self, inside: &str, text: &str) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("the folder is made");
        fs::write(path, text).expect("the file is written");
    }

    /// Copies a file into a folder inside.
    pub fn put(&self, file: &Path, folder: &str) {
        let folder = self.path(folder);
        fs::create_dir_all(&folder).expect("the folder is made");
        fs::copy(file, folder.join(file.file_name().expect("a file has a name"))).expect("the file is copied");
    }

    /// A shell's command, in root's home.
    pub fn command(&self, command: &str) -> Command {
        let mut shell = self.host.command("nsenter");
        shell.args(["--target", &self.first.to_string(), "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--root", "--wd", "--"]);
        shell.args(["env", "-i", "-C", "/root", "HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"]);
        shell.args(["DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "sh", "-c", command]);
        shell.stdin(Stdio::null());
        shell
    }

    /// Runs it to its end.
    pub fn run(&self, command: &str) -> Output {
        self.command(command).output().expect("nsenter runs")
    }

    /// Runs it, and gives what it says.
    ///
    /// # Panics
    /// Where it fails.
    #[track_caller]
    pub fn expect(&self, command: &str) -> String {
        let output = self.run(command);
        let (said, complained) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{command}: {}\n{said}\n{complained}\n{}", output.status, self.journal());
        said
    }

    /// Installs the package.
    pub fn install(&self) {
        self.put(package(), "root");
        self.expect("apt-get install -y ./flowsteer_*.deb");
    }

    /// A property of the service, as `systemctl show` names it.
    #[track_caller]
    pub fn property(&self, name: &str) -> String {
        self.expect(&format!("systemctl show flowsteer --value -p {name}"))
    }

    /// What the service has said.
    pub fn journal(&self) -> String {
        text(&self.run("journalctl --no-pager -u flowsteer").stdout)
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the machine's service\n{}\n--- end of it", self.journal());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a program has said, without the last line's end.
pub fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).trim_end().to_owned()
}
