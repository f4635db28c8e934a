//! Passwords as people give them: typed at a terminal that shows nothing of them, or as a line of standard input.

use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsFd as _;

use anyhow::{Context as _, bail, ensure};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

/// Octets of a password at most.
const LONGEST: usize = 512;

/// Whether there is somebody to ask.
pub fn can_ask() -> bool {
    std::io::stdin().is_terminal()
}

/// Asks each question at the terminal, which shows nothing meanwhile, however that ends; the answers.
///
/// # Errors
/// There is no terminal, a signal has come, or an answer is too long.
pub fn ask(questions: Vec<String>) -> anyhow::Result<Vec<Zeroizing<String>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let asked = runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let (mut quit, mut hangup) = (signal(SignalKind::quit())?, signal(SignalKind::hangup())?);
        let _silence = Silence::begin().context("the terminal")?;
        let asking = tokio::task::spawn_blocking(move || questions.iter().map(|question| answer(question)).collect());
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
    asked
}

fn answer(question: &str) -> anyhow::Result<Zeroizing<String>> {
    let mut out = std::io::stderr();
    write!(out, "{question}")?;
    out.flush()?;
    let answer = line();
    writeln!(out)?;
    answer
}

/// The next line of standard input.
///
/// # Errors
/// It is too long, or cannot be read.
pub fn line() -> anyhow::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::with_capacity(LONGEST + 2));
    std::io::stdin().lock().take(LONGEST as u64 + 2).read_line(&mut line).context("standard input")?;
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
