//! The operating commands: what is served, what plays where, and moving it. They use a running server's HTTP API.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::cli::client::{Client, Refused};

/// How a running server is reached.
#[derive(Debug, Args)]
pub struct Reach {
    /// The server's API [default: http://127.0.0.1:8080]; for device commands also a HOST or HOST:PORT of the signalling.
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,
    /// The certificate of an https:// server, or of who has signed it: a PEM file.
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A bearer token: an operator's, or a home address's key; of `give` the token that `prove` printed.
    #[arg(long, global = true, value_name = "TOKEN")]
    token: Option<String>,
    /// Sign in as this operator while the command runs. The password is FLOWSTEER_PASSWORD, or is asked for at the terminal.
    #[arg(long, global = true, value_name = "NAME")]
    user: Option<String>,
    /// Print the server's JSON.
    #[arg(long, global = true)]
    json: bool,
}

impl Reach {
    /// The server as the command line names it, if it does.
    pub(super) fn named_server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    /// The URL of its API.
    pub(super) fn api(&self) -> &str {
        self.server.as_deref().unwrap_or("http://127.0.0.1:8080")
    }

    /// The token that was given.
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Whether JSON is asked for.
    pub(super) const fn wants_json(&self) -> bool {
        self.json
    }

    /// Asks its API, as the user who signs in if one does.
    ///
    /// # Errors
    /// The server does not take that user.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        let mut client = Client::new(self.api().to_owned(), self.ca.clone(), self.token.clone());
        if let Some(user) = &self.user {
            ensure!(self.token.is_none(), "--user and --token are two ways to say who you are: take one");
            client.log_in(user)?;
        }
        Ok(client)
    }
}

/// What can be asked of a running server.
#[derive(Debug, Subcommand)]
pub enum Operation {
    /// List the titles.
    Titles,
    /// Show what plays where.
    Sessions,
    /// List the questions that await an answer: whether a flow may go to another device.
    Consents,
    /// Answer a question.
    Answer {
        /// Its number, as `flowsteer consents` lists it.
        id: u64,
        /// Whether the flow may go there.
        #[arg(value_parser = ["yes", "no"])]
        answer: String,
    },
    /// Send a flow, or all flows of a session, to another address, and let the old one go.
    Move(Binding),
    /// Send a flow, or all flows of a session, to a further address, and keep the old one.
    Fork(Binding),
    /// Let a home address go, and end what plays there; or end a session.
    Release {
        /// The home address, its name, or a session.
        home: String,
    },
    /// Make a take-over URL for what plays at a home address or in a session; into a file, or with --json, the whole stream context.
    Context {
        /// The home address, its name, or a session.
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
        /// Where it goes.
        #[command(flatten)]
        into: super::context::ContextOutput,
    },
}

/// Where a flow is to go.
#[derive(Debug, Args)]
pub struct Binding {
    /// The home address, its name, or a session: then all its flows.
    home: String,
    /// Where to, as 192.0.2.1:5000 or [2001:db8::1]:5000. Of a session the first flow goes there, the next two ports higher.
    #[arg(value_parser = endpoint)]
    care_of: SocketAddr,
    /// The RTCP port, if it is not the next one.
    #[arg(long, value_name = "PORT")]
    rtcp: Option<u16>,
    /// How long the old address is served beside the new one.
    #[arg(long, value_name = "MS")]
    window: Option<u64>,
    /// Where the new address begins: with the last whole picture made up quickly, with the next one, or with the next packet
    /// [default: as the server does; of a home address that moves, aligned, so that sound and picture stay together].
    #[arg(long, value_name = "HOW", value_parser = ["primed", "aligned", "at-once"])]
    join: Option<String>,
    /// The binding's number.
    #[arg(long, default_value_t = 1, value_name = "N")]
    binding: u16,
}

fn endpoint(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "an address with a port, as 192.0.2.1:5000 or [2001:db8::1]:5000")
}

/// Carries out an operation.
///
/// # Errors
/// The server is not there, or refuses.
pub fn run(operation: &Operation, reach: &Reach) -> anyhow::Result<()> {
    let client = reach.client()?;
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
        Operation::Consents => {
            let answer = client.call(Method::GET, "/api/v1/consents", None)?;
            let text = consents(&answer);
            (answer, text)
        }
        Operation::Answer { id, answer: word } => {
            let mut body = json!({ "answer": word });
            // A question to this very device is answered with its own key; it stands in the list.
            let (listed, name) = (client.call(Method::GET, "/api/v1/consents", None)?, id.to_string());
            if let Some(question) = array(&listed).iter().find(|question| question["id"] == name)
                && let Some(key) = question.get("answerKey")
            {
                body["key"] = key.clone();
            }
            let answer = client.call(Method::POST, &format!("/api/v1/consents/{id}"), Some(&body))?;
            (answer, format!("question {id} is answered {word}\n"))
        }
        Operation::Move(binding) => bind(&client, binding, "move", reach.json)?,
        Operation::Fork(binding) => bind(&client, binding, "fork", reach.json)?,
        Operation::Release { home } => match Named::find(&client, home)? {
            Named::Home(address) => {
                client.call(Method::DELETE, &home_path(&address), None).map_err(|error| nothing_there(error, home))?;
                (json!({ "released": home }), format!("{home} is released\n"))
            }
            Named::Session { id, flows } => {
                client.call(Method::POST, &format!("/api/v1/sessions/{id}/end"), None)?;
                let homes: Vec<&str> = flows.iter().map(|flow| flow.home.as_str()).collect();
                (json!({ "released": homes }), format!("session {id} has ended\n"))
            }
        },
        Operation::Context { home, lifetime, identity, flow, reusable, into } => {
            let mut body = json!({ "scope": if *flow { "flow" } else { "presentation" }, "reusable": reusable });
            if let Some(lifetime) = lifetime {
                body["lifetimeSeconds"] = json!(lifetime);
            }
            if let Some(identity) = identity {
                body["identity"] = json!(identity);
            }
            let address = match Named::find(&client, home)? {
                Named::Home(address) => address,
                Named::Session { flows, .. } if *flow && flows.len() > 1 => {
                    bail!("--flow hands over one flow, session {home} has {}: name one of {}", flows.len(), listed(&flows))
                }
                Named::Session { flows, .. } => flows.into_iter().next().map(|flow| flow.home).context("the session has no flow yet")?,
            };
            let answer = client.call(Method::POST, &format!("{}/context", home_path(&address)), Some(&body));
            let answer = answer.map_err(|error| nothing_there(error, home))?;
            let Some(url) = answer["takeoverUrl"].as_str() else { bail!("the server gave no URL") };
            if into.takes_the_context(reach.json) {
                return into.write(&answer);
            }
            let text = format!("{url}\n");
            (answer, text)
        }
    };
    if reach.json { super::print(&format!("{}\n", serde_json::to_string_pretty(&answer)?)) } else { super::print(&text) }
}

/// What an argument names.
enum Named {
    /// A home address, by itself or by its name.
    Home(String),
    /// A session.
    Session { id: String, flows: Vec<PlayingFlow> },
}

/// A flow of a session.
struct PlayingFlow {
    kind: String,
    home: String,
}

impl Named {
    /// Sessions are asked for only where an argument looks like one: who holds a key alone may not see them.
    fn find(client: &Client, text: &str) -> anyhow::Result<Self> {
        let is_id = text.len() == 16 && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        if !is_id {
            return Ok(Self::Home(text.to_owned()));
        }
        let session = match client.call(Method::GET, &format!("/api/v1/sessions/{text}"), None) {
            Ok(session) => session,
            // A name may look like this as well.
            Err(error) if error.downcast_ref().is_some_and(|refused: &Refused| refused.status == 404) => {
                return Ok(Self::Home(text.to_owned()));
            }
            Err(error) => return Err(error),
        };
        let flows = array(&session["flows"]).iter().filter_map(|flow| {
            let kind = flow["track"]["kind"].as_str().unwrap_or("flow").to_owned();
            Some(PlayingFlow { kind, home: flow["homeAddress"].as_str()?.to_owned() })
        });
        Ok(Self::Session { id: text.to_owned(), flows: flows.collect() })
    }
}

fn home_path(home: &str) -> String {
    format!("/api/v1/home-addresses/{}", utf8_percent_encode(home, NON_ALPHANUMERIC))
}

fn listed(flows: &[PlayingFlow]) -> String {
    flows.iter().map(|flow| format!("{} ({})", flow.home, flow.kind)).collect::<Vec<_>>().join(", ")
}

/// Says which argument it was that the server does not know.
fn nothing_there(error: anyhow::Error, named: &str) -> anyhow::Error {
    match error.downcast_ref::<Refused>() {
        Some(refused) if refused.status == 404 => {
            anyhow::anyhow!("the server knows no home address, name or session {named}; `flowsteer sessions` lists what plays")
        }
        _ => error,
    }
}

/// Moves or forks what an argument names.
fn bind(client: &Client, binding: &Binding, mode: &str, as_json: bool) -> anyhow::Result<(Value, String)> {
    let verb = if mode == "fork" { "also goes" } else { "goes" };
    let one = |home: &str, care_of: SocketAddr, join: Option<&str>| {
        let mut body = json!({ "careOf": care_of.to_string(), "mode": mode });
        if let Some(rtcp) = binding.rtcp {
            body["rtcp"] = json!(rtcp);
        }
        if let Some(window) = binding.window {
            body["transitionMs"] = json!(window);
        }
        if let Some(join) = join {
            body["join"] = json!(join);
        }
        let answer = client.call(Method::PUT, &format!("{}/bindings/{}", home_path(home), binding.binding), Some(&body));
        answer.map_err(|error| nothing_there(error, &binding.home))
    };
    let flows = match Named::find(client, &binding.home)? {
        Named::Home(home) => {
            // One flow alone: it goes on with the other without a break.
            let default = (mode == "move").then_some("aligned");
            let answer = one(&home, binding.care_of, binding.join.as_deref().or(default))?;
            if let Some(waits) = awaited(&answer) {
                return Ok((answer, waits));
            }
            return Ok((answer, format!("{home} {verb} to {}\n", binding.care_of)));
        }
        Named::Session { flows, .. } => flows,
    };
    if flows.is_empty() {
        bail!("session {} has no flow yet", binding.home);
    }
    if binding.rtcp.is_some() && flows.len() > 1 {
        bail!("--rtcp fits one flow, session {} has {}: name one of {}", binding.home, flows.len(), listed(&flows));
    }
    let last = u16::try_from(2 * flows.len() - 1).ok().and_then(|more| binding.care_of.port().checked_add(more));
    last.with_context(|| format!("above port {} there is no room for {} flows", binding.care_of.port(), flows.len()))?;
    let (mut answers, mut text) = (Vec::new(), String::new());
    for (flow, place) in flows.iter().zip((binding.care_of.port()..).step_by(2)) {
        let care_of = SocketAddr::new(binding.care_of.ip(), place);
        match one(&flow.home, care_of, binding.join.as_deref()) {
            Ok(answer) => {
                let waits = awaited(&answer);
                answers.push(answer);
                if let Some(waits) = waits {
                    text.push_str(&waits);
                    continue;
                }
            }
            Err(error) if text.is_empty() => return Err(error),
            Err(error) => {
                // What has gone before is told: the flows are in two places now.
                if !as_json {
                    super::print(&text)?;
                }
                return Err(error.context(format!("{} {} stays, {} of {} flows went", flow.kind, flow.home, answers.len(), flows.len())));
            }
        }
        text.push_str(&format!("{} {} {verb} to {care_of}\n", flow.kind, flow.home));
    }
    Ok((Value::Array(answers), text))
}

/// What is said where consent is asked for first.
fn awaited(answer: &Value) -> Option<String> {
    let id = answer["consent"]["id"].as_str()?;
    Some(format!("consent is asked for (question {id}): the same command moves it behind a yes\n"))
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

fn consents(answer: &Value) -> String {
    let mut text = String::new();
    for question in array(answer) {
        let part = |key: &str| question[key].as_str().unwrap_or("?").to_owned();
        let homes: Vec<&str> = array(&question["homeAddresses"]).iter().filter_map(Value::as_str).collect();
        let left = question["secondsLeft"].as_u64().unwrap_or(0);
        text.push_str(&format!(
            "{:>4}  may {} take {}?  (asks the {}, by {}, {left} s left)\n",
            part("id"),
            part("taker"),
            homes.join(" and "),
            part("asked"),
            part("way")
        ));
    }
    if text.is_empty() { "nobody asks\n".into() } else { text }
}

fn titles(answer: &Value) -> String {
    let mut text = String::new();
    for title in array(answer) {
        let tracks: Vec<&str> = array(&title["tracks"]).iter().filter_map(|track| track["codec"].as_str()).collect();
        let length = title["durationSeconds"].as_f64().map_or("live".into(), clock);
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
        let of = session["durationSeconds"].as_f64().map_or("live".into(), clock);
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
