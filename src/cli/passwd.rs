//! `flowsteer passwd`: a user with a password, as an entry of the configuration.

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use zeroize::Zeroizing;

use crate::access::{Hashing, PasswordHash, Role};
use crate::cli::secret;

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
        secret::line()?
    } else {
        ensure!(secret::can_ask(), "standard input is no terminal: --stdin reads the password from it");
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

fn asked_twice() -> anyhow::Result<Zeroizing<String>> {
    let typed = secret::ask(vec!["Password: ".into(), "Again: ".into()])?;
    let mut typed = typed.into_iter();
    let (first, second) = (typed.next().context("no password")?, typed.next().context("no password")?);
    ensure!(first == second, "the passwords differ");
    Ok(first)
}
