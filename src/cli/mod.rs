//! The command line.

mod access;
mod cameras;
mod cert;
mod client;
mod config_file;
mod consents;
mod context;
pub mod device;
mod identity;
mod keygen;
mod log;
mod manual;
mod mdns;
pub mod operate;
mod passwd;
mod reload;
mod secret;
pub mod serve;
mod signals;
mod supervisor;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::cli::config_file::ConfigFile;
use crate::config::{Flag, Layers, Loaded};

/// A media-source server with built-in flow steering: serve a video library over RTSP, and move a playing film from one
/// device to another.
#[derive(Debug, Parser)]
#[command(name = "flowsteer", version, about, long_about = None)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    reach: operate::Reach,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a folder of films.
    Serve(ServeArgs),
    /// Print the configuration in force with where each value is from, or every error in it.
    Check(ServeArgs),
    /// Make a key for the mobility signalling, and print it as an entry of the configuration.
    Keygen(keygen::Keygen),
    Passwd(passwd::Passwd),
    Completions(manual::Completions),
    Man(manual::Man),
    /// Make a certificate that vouches for itself, and its key.
    Cert(cert::Cert),
    #[command(flatten)]
    Operate(operate::Operation),
    #[command(flatten)]
    Device(device::DeviceCommand),
}

#[derive(Debug, Default, Args)]
struct ServeArgs {
    /// The folder [default: ./media].
    media: Option<PathBuf>,
    /// A TOML file with settings.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where RTSP is served [default: [::]:8554].
    #[arg(long, value_name = "ADDR")]
    rtsp: Option<String>,
    /// Where RTSP is served over TLS; `none` serves it nowhere [default: [::]:8322 where there is a certificate].
    #[arg(long, value_name = "ADDR")]
    rtsps: Option<String>,
    /// The RTP port, RTCP is the next one [default: 8000].
    #[arg(long, value_name = "PORT")]
    rtp_port: Option<String>,
    /// Where the API is served [default: [::]:8080].
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// Where the API is served over TLS; `none` serves it nowhere [default: [::]:8443 where there is a certificate].
    #[arg(long, value_name = "ADDR")]
    https: Option<String>,
    /// The server's certificate, a PEM file.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// The certificate's key, a PEM file.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Where the mobility signalling is served [default: [::]:5436].
    #[arg(long, value_name = "ADDR")]
    mobility: Option<String>,
    /// Serve it as IPv6 next header 135 as well; needs CAP_NET_RAW.
    #[arg(long)]
    mobility_raw: bool,
    /// Where home addresses are drawn from [default: a prefix drawn once and kept].
    #[arg(long, value_name = "PREFIX")]
    home_prefix: Option<String>,
    /// How long the old device is served beside the new one [default: 2000].
    #[arg(long, value_name = "MS")]
    transition: Option<String>,
    /// Where what must survive is kept; `none` keeps nothing.
    #[arg(long, value_name = "DIR")]
    state: Option<String>,
    /// How much is logged: error, warn, info, debug, trace [default: info].
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
    /// How a line of the log is written: human, json [default: human].
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Let what plays play on for so long after SIGTERM, while nothing new begins [default: 0; without a value, 300].
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "300")]
    drain: Option<String>,
}

/// Flags of `serve` and `check`, each with the key that it sets.
pub fn flags() -> Vec<(&'static str, &'static str)> {
    ServeArgs::default().given().into_iter().map(|(key, name, _)| (key, name)).collect()
}

impl ServeArgs {
    /// Keys that flags set, each with its flag and the value that was given.
    fn given(&self) -> [(&'static str, &'static str, Option<String>); 16] {
        let text = |file: &Option<PathBuf>| file.as_ref().map(|file| file.display().to_string());
        [
            ("library.path", "MEDIA", text(&self.media)),
            ("rtsp.listen", "--rtsp", self.rtsp.clone()),
            ("rtsp.tls_listen", "--rtsps", self.rtsps.clone()),
            ("http.tls_listen", "--https", self.https.clone()),
            ("tls.certificate", "--certificate", text(&self.certificate)),
            ("tls.key", "--key", text(&self.key)),
            ("rtp.port", "--rtp-port", self.rtp_port.clone()),
            ("http.listen", "--http", self.http.clone()),
            ("mobility.listen", "--mobility", self.mobility.clone()),
            ("mobility.raw", "--mobility-raw", self.mobility_raw.then(|| "true".to_owned())),
            ("steering.home_prefix", "--home-prefix", self.home_prefix.clone()),
            ("steering.transition_ms", "--transition", self.transition.clone()),
            ("state.dir", "--state", self.state.clone()),
            ("log.level", "--log", self.log.clone()),
            ("log.format", "--log-format", self.log_format.clone()),
            ("serve.drain_s", "--drain", self.drain.clone()),
        ]
    }

    /// The configuration that file, environment and flags make now.
    fn load(&self) -> anyhow::Result<Loaded> {
        let text = match &self.config {
            Some(file) => Some(std::fs::read_to_string(file).with_context(|| file.display().to_string())?),
            None => None,
        };
        let name = self.config.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
        let flags = self.given().into_iter().filter_map(|(key, name, value)| Some(Flag { key, name, value: value? })).collect();
        // A variable that is no text sets nothing, nor does the one that operators sign in with.
        let environment = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let environment = environment.filter(|(name, _)| name != client::PASSWORD);
        let file = text.as_deref().map(|text| (name.as_str(), text));
        // Files that the configuration names lie beside it.
        let beside = self.config.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        let read_file = |path: &Path| std::fs::read_to_string(beside.join(path)).map_err(|error| error.to_string());
        let mut loaded = Layers { file, environment: environment.collect(), flags }.load(&read_file)?;
        identity::place(&mut loaded, beside);
        identity::check(&loaded)?;
        Ok(loaded)
    }
}

/// Runs what the command line says.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are asked for; anything else is bad usage.
            let bad = error.use_stderr();
            let _ = error.print();
            return if bad { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    match cli.command {
        Command::Serve(arguments) => serve(arguments),
        Command::Completions(arguments) => finish(print(&manual::completions(&arguments, Cli::command()))),
        Command::Man(arguments) => finish(manual::man(&arguments, Cli::command()).and_then(|page| print(&page))),
        Command::Keygen(arguments) => finish(keygen::run(&arguments)),
        Command::Cert(arguments) => finish(cert::run(&arguments)),
        Command::Passwd(arguments) => finish(passwd::run(&arguments)),
        Command::Check(arguments) => match arguments.load() {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    eprintln!("flowsteer: warning: {warning}");
                }
                finish(print(&loaded.shown()))
            }
            Err(error) => refuse(&error),
        },
        Command::Operate(operation) => finish(operate::run(&operation, &cli.reach)),
        Command::Device(command) => finish(device::run(&command, &cli.reach)),
    }
}

fn serve(arguments: ServeArgs) -> ExitCode {
    let file = arguments.config.clone().map(|path| Arc::new(ConfigFile::new(path)));
    let noted = file.clone();
    let reread = move || {
        // What changes while it is read is read again.
        noted.iter().for_each(|file| file.note_read());
        arguments.load()
    };
    match reread() {
        Ok(loaded) => finish(serve::run(&loaded, Arc::new(reread), file)),
        Err(error) => refuse(&error),
    }
}

/// Prints to standard output; a reader that has read enough is no error.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Tells what is wrong with the configuration, one line for each error.
fn refuse(error: &anyhow::Error) -> ExitCode {
    for line in format!("{error:#}").lines() {
        eprintln!("flowsteer: {line}");
    }
    ExitCode::from(2)
}

/// The command line asks for what cannot be meant: nothing was tried.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
struct BadUsage(anyhow::Error);

impl BadUsage {
    /// That, in these words.
    fn because(what: impl std::fmt::Display) -> anyhow::Error {
        Self(anyhow::anyhow!("{what}")).into()
    }
}

fn finish(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flowsteer: {error:#}");
            if error.is::<BadUsage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}
