//! The operating commands: what is served, what plays where, and moving it. They use a running server's HTTP API.

use anyhow::bail;
use clap::{Args, Subcommand};
use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::cli::client::Client;

/// How a running server is reached.
#[derive(Debug, Args)]
pub struct Reach {
    /// The server's API.
    #[arg(long, global = true, default_value = "http://127.0.0.1:8080", value_name = "URL")]
    server: String,
    /// A bearer token: an operator's, or a home address's key.
    #[arg(long, global = true, value_name = "TOKEN")]
    token: Option<String>,
    /// Print the server's JSON.
    #[arg(long, global = true)]
    json: bool,
}

/// What can be asked of a running server.
#[derive(Debug, Subcommand)]
pub enum Operation {
    /// List the titles.
    Titles,
    /// Show what plays where.
    Sessions,
    /// Send a flow to another address, and let the old one go.
    Move(Binding),
    /// Send a flow to a further address, and keep the old one.
    Fork(Binding),
    /// Let a home address go, and end what plays there.
    Release {
        /// The home address, or its name.
        home: String,
    },
    /// Make a take-over URL for what plays at a home address; with --json the whole stream context.
    Context {
        /// The home address, or its name.
        home: String,
        /// For so many seconds.
        #[arg(long, value_name = "S")]
        lifetime: Option<u64>,
        /// Bound to this network access identifier.
        #[arg(long, value_name = "NAI")]
        identity: Option<String>,
        /// Hand over this flow alone, not the whole presentation.
        #[arg(long)]
        flow: bool,
        /// Good for several devices, one after the other.
        #[arg(long)]
        reusable: bool,
    },
}

/// Where a flow is to go.
#[derive(Debug, Args)]
pub struct Binding {
    /// The home address, or its name.
    home: String,
    /// Where to, as 192.0.2.1:5000 or [2001:db8::1]:5000.
    care_of: String,
    /// The RTCP port, if it is not the next one.
    #[arg(long, value_name = "PORT")]
    rtcp: Option<u16>,
    /// How long the old address is served beside the new one.
    #[arg(long, value_name = "MS")]
    window: Option<u64>,
    /// The binding's number.
    #[arg(long, default_value_t = 1, value_name = "N")]
    binding: u16,
}

/// Carries out an operation.
///
/// # Errors
/// The server is not there, or refuses.
pub fn run(operation: &Operation, reach: &Reach) -> anyhow::Result<()> {
    let client = Client { server: reach.server.clone(), token: reach.token.clone() };
    let home = |home: &str| format!("/api/v1/home-addresses/{}", utf8_percent_encode(home, NON_ALPHANUMERIC));
    let (answer, text) = match operation {
        Operation::Titles => {
            let answer = client.call(Method::GET, "/api/v1/titles", None)?;
            let text = titles(&answer);
            (answer, text)
        }
        Operation::Sessions => {
            let answer = client.call(Method::GET, "/api/v1/sessions", None)?;
            let text = sessions(&answer);
            (answer, text)
        }
        Operation::Move(binding) | Operation::Fork(binding) => {
            let mode = if matches!(operation, Operation::Fork(_)) { "fork" } else { "move" };
            let mut body = json!({ "careOf": binding.care_of, "mode": mode });
            if let Some(rtcp) = binding.rtcp {
                body["rtcp"] = json!(rtcp);
            }
            if let Some(window) = binding.window {
                body["transitionMs"] = json!(window);
            }
            let answer = client.call(Method::PUT, &format!("{}/bindings/{}", home(&binding.home), binding.binding), Some(&body))?;
            let verb = if mode == "fork" { "also goes" } else { "goes" };
            let text = format!("{} {verb} to {}\n", binding.home, binding.care_of);
            (answer, text)
        }
        Operation::Release { home: address } => {
            let answer = client.call(Method::DELETE, &home(address), None)?;
            (answer, format!("{address} is released\n"))
        }
        Operation::Context { home: address, lifetime, identity, flow, reusable } => {
            let mut body = json!({ "scope": if *flow { "flow" } else { "presentation" }, "reusable": reusable });
            if let Some(lifetime) = lifetime {
                body["lifetimeSeconds"] = json!(lifetime);
            }
            if let Some(identity) = identity {
                body["identity"] = json!(identity);
            }
            let answer = client.call(Method::POST, &format!("{}/context", home(address)), Some(&body))?;
            let Some(url) = answer["takeoverUrl"].as_str() else { bail!("the server gave no URL") };
            let text = format!("{url}\n");
            (answer, text)
        }
    };
    if reach.json { super::print(&format!("{}\n", serde_json::to_string_pretty(&answer)?)) } else { super::print(&text) }
}

fn clock(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, minutes, seconds) => format!("{minutes}:{seconds:02}"),
        (hours, minutes, seconds) => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn titles(answer: &Value) -> String {
    let mut text = String::new();
    for title in array(answer) {
        let tracks: Vec<&str> = array(&title["tracks"]).iter().filter_map(|track| track["codec"].as_str()).collect();
        let length = clock(title["durationSeconds"].as_f64().unwrap_or(0.0));
        let path = title["path"].as_str().unwrap_or("?");
        match title["problem"].as_str() {
            Some(problem) if tracks.is_empty() => text.push_str(&format!("{:>8}  {:<12}  {path}  ({problem})\n", "-", "-")),
            Some(problem) => text.push_str(&format!("{length:>8}  {:<12}  {path}  ({problem})\n", tracks.join("+"))),
            None => text.push_str(&format!("{length:>8}  {:<12}  {path}\n", tracks.join("+"))),
        }
    }
    if text.is_empty() { "no titles\n".into() } else { text }
}

fn sessions(answer: &Value) -> String {
    let mut text = String::new();
    for session in array(answer) {
        let at = clock(session["positionSeconds"].as_f64().unwrap_or(0.0));
        let of = clock(session["durationSeconds"].as_f64().unwrap_or(0.0));
        let shown = |key: &str| session[key].as_str().unwrap_or("?").to_owned();
        text.push_str(&format!("{}  {} {at} of {of}  (session {})\n", shown("title"), shown("state"), shown("id")));
        for flow in array(&session["flows"]) {
            let part = |value: &Value| value.as_str().unwrap_or("?").to_owned();
            text.push_str(&format!(
                "  {:<5} {:<5}  home {}  label {}\n",
                part(&flow["track"]["kind"]),
                part(&flow["track"]["codec"]),
                part(&flow["homeAddress"]),
                part(&flow["flowLabel"])
            ));
            for branch in array(&flow["branches"]) {
                let loss = branch["lossFraction"].as_f64().map_or(String::new(), |loss| format!("  loss {:.1} %", loss * 100.0));
                text.push_str(&format!(
                    "    → {:<44} {:<8} {}{loss}\n",
                    part(&branch["careOf"]),
                    part(&branch["state"]),
                    part(&branch["transport"])
                ));
            }
            let dropped: u64 = flow["filter"]["dropped"].as_object().map_or(0, |reasons| reasons.values().filter_map(Value::as_u64).sum());
            if dropped > 0 {
                text.push_str(&format!("    {dropped} packets dropped by the filter\n"));
            }
        }
    }
    if text.is_empty() { "nothing plays\n".into() } else { text }
}
