//! `flowsteer passwd`: a user with a password, as an entry of the configuration.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use crate::access::{Hashing, PasswordHash, Role};

/// Octets of a password.
const LONGEST: usize = 512;

/// Ask for a user's password, and print it hashed, as an entry of the configuration.
#[derive(Debug, Args)]
pub struct Passwd {
    /// The user: a name without a colon.
    #[arg(value_parser = name)]
    name: String,
    /// How it is hashed, as `rtsp.digest` says.
    #[arg(long, value_name = "HASHING", default_value = "md5", conflicts_with = "argon2")]
    digest: Digest,
    /// Hash it with Argon2, slowly, for a user who logs in over HTTP or shows the password over TLS: it answers no Digest.
    #[arg(long)]
    argon2: bool,
    /// Read the password from the first line of standard input.
    #[arg(long)]
    stdin: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Digest {
    Md5,
    #[value(name = "sha-256")]
    Sha256,
}

fn name(text: &str) -> Result<String, &'static str> {
    match text {
        "flow" => Err("flow is who shows a take-over token"),
        "" => Err("a name is not empty"),
        text if text.contains([':', '"', '\\']) || text.contains(char::is_control) => Err("a name has no :, no \" and no \\"),
        text => Ok(text.to_owned()),
    }
}

/// Prints the entry.
///
/// # Errors
/// There is no terminal to ask at, the two passwords differ, or there is none.
pub fn run(arguments: &Passwd) -> anyhow::Result<()> {
    let password = if arguments.stdin {
        line()?
    } else {
        ensure!(std::io::stdin().is_terminal(), "standard input is no terminal: --stdin reads the password from it");
        asked_twice()?
    };
    ensure!(!password.is_empty(), "a password is not empty");
    let hashing = match arguments.digest {
        Digest::Md5 => Hashing::Md5,
        Digest::Sha256 => Hashing::Sha256,
    };
    let (hash, role) = if arguments.argon2 {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt)?;
        (PasswordHash::argon2(&password, &salt).context("Argon2")?, Role::Operator)
    } else {
        (PasswordHash::of(hashing, &arguments.name, &password), Role::Viewer)
    };
    let (hash, role, name) = (hash.expose(), role.as_str(), toml::Value::from(arguments.name.as_str()));
    let entry = format!("[[users]]\nname = {name}\npassword_hash = \"{}\"\nroles = [\"{role}\"]\n", hash.as_str());
    let entry = Zeroizing::new(entry);
    super::print(&entry)
}

/// Asks for it twice at the terminal, which shows nothing meanwhile, however that ends.
fn asked_twice() -> anyhow::Result<Zeroizing<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let asked = runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let (mut quit, mut hangup) = (signal(SignalKind::quit())?, signal(SignalKind::hangup())?);
        let _silence = Silence::begin().context("the terminal")?;
        let asking = tokio::task::spawn_blocking(|| Ok((asked("Password: ")?, asked("Again: ")?)));
        tokio::select! {
            asked = asking => asked?,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("interrupted"),
            _ = quit.recv() => bail!("interrupted"),
            _ = hangup.recv() => bail!("interrupted"),
        }
    });
    // Who was interrupted is still reading.
    runtime.shutdown_background();
    let (first, second) = asked?;
    ensure!(first == second, "the passwords differ");
    Ok(first)
}

fn asked(question: &str) -> anyhow::Result<Zeroizing<String>> {
    let mut out = std::io::stderr();
    write!(out, "{question}")?;
    out.flush()?;
    let answer = line();
    writeln!(out)?;
    answer
}

fn line() -> anyhow::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::with_capacity(LONGEST + 2));
    let read = std::io::stdin().lock();
    std::io::Read::take(read, LONGEST as u64 + 2).read_line(&mut line).context("standard input")?;
    let text = line.strip_suffix('\n').map_or(line.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    ensure!(text.len() <= LONGEST, "a password has at most {LONGEST} octets");
    Ok(Zeroizing::new(text.to_owned()))
}

/// A terminal that shows nothing of what is typed, until dropped.
struct Silence(Termios);

impl Silence {
    fn begin() -> std::io::Result<Self> {
        let input = std::io::stdin();
        let before = tcgetattr(input.as_fd())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(input.as_fd(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin().as_fd(), OptionalActions::Now, &self.0);
    }
}
