//! The signalling's vectors (`docs/signalling.md` section 15), octet for octet, on the server's side of it: fixtures, changed
//! settings, steps with the expected answer or silence, counters, home addresses after each step, messages that only a server
//! sends, packets through the filter, and keys.
//!
//! `FLOWSTEER_MOBILITY_VECTORS` names another file of the same form. A field that is not known here is a failure.

mod mobility_shown;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flowsteer::mobility::wire::{Message, checksum};
use flowsteer::mobility::{Carriage, Provisioned, Received, Responder, ResponderSettings, Transmit};
use flowsteer::now::{Mono, Now, Utc};
use flowsteer::quantities::{FlowLabel, PayloadType};
use flowsteer::steering::keys::{KeyParameters, home_key, session_key};
use flowsteer::steering::{
    BindingCache, BindingId, BindingRecord, BranchSerial, Expectation, FlowId, FlowPorts, FlowRecord, Holder, HomeAddress, HomeRecord, Key,
    KeyRecord, PacketFacts, Payload, ReturnRoutability, Spi, SteeringSettings,
};
use hkdf::Hkdf;
use mobility_shown::{hex, octets, shown, text};
use serde_json::{Map, Value, json};
use sha2::Sha256;

const OWN: &str = include_str!("vectors/mobility/vectors.json");
/// Counters that vectors speak of.
const COUNTED: [&str; 26] = [
    "rx_malformed",
    "rx_unexpected",
    "rx_hoti_ignored",
    "drop_unauthenticated",
    "drop_unknown_spi",
    "auth_fail",
    "replay",
    "care_of_unproven",
    "tx_cot",
    "tx_hot",
    "tx_binding_error",
    "reserved",
    "renewed",
    "released",
    "bound",
    "deregistered",
    "moving",
    "moved",
    "forked",
    "flow_set",
    "learned",
    "expired",
    "drop_no_home",
    "drop_no_binding",
    "drop_label_zero",
    "rate_limited",
];

fn vectors() -> (String, Value) {
    match std::env::var_os("FLOWSTEER_MOBILITY_VECTORS") {
        None => ("tests/vectors/mobility/vectors.json".into(), serde_json::from_str(OWN).expect("the vectors are JSON")),
        Some(path) => {
            let found = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path.display().to_string(), serde_json::from_str(&found).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        }
    }
}

/// An object's fields, none of which is unknown.
fn object<'a>(value: &'a Value, known: &[&str], at: &str) -> &'a Map<String, Value> {
    let object = value.as_object().unwrap_or_else(|| panic!("{at}: not an object: {value}"));
    for field in object.keys() {
        assert!(known.contains(&field.as_str()), "{at}: the field `{field}` is not known here");
    }
    object
}

fn list<'a>(value: &'a Value, at: &str) -> &'a [Value] {
    value.as_array().unwrap_or_else(|| panic!("{at}: not a list: {value}"))
}

fn number(value: &Value, at: &str) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{at}: not a number: {value}"))
}

fn small(value: &Value, at: &str) -> u16 {
    u16::try_from(number(value, at)).unwrap_or_else(|_| panic!("{at}: {value} is too large"))
}

fn parsed<T: std::str::FromStr>(value: &Value, at: &str) -> T {
    let text = value.as_str().unwrap_or_else(|| panic!("{at}: not a text: {value}"));
    text.parse().unwrap_or_else(|_| panic!("{at}: {text}"))
}

fn fixed<const N: usize>(value: &Value, at: &str) -> [u8; N] {
    octets(value.as_str().unwrap_or_else(|| panic!("{at}: not a text"))).try_into().unwrap_or_else(|_| panic!("{at}: not {N} octets"))
}

fn spi(text: &str) -> Spi {
    Spi(u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or_else(|_| panic!("{text} is no SPI")))
}

fn label_of(value: &Value, at: &str) -> Option<FlowLabel> {
    match value {
        Value::Null => None,
        Value::String(text) => FlowLabel::new(u32::from_str_radix(text.trim_start_matches("0x"), 16).expect("hex")),
        value => FlowLabel::new(u32::try_from(number(value, at)).expect("20 bits")),
    }
}

/// The settings that vectors name.
#[derive(Clone, Debug)]
struct Settings(BTreeMap<String, Value>);

impl Settings {
    fn with(&self, changed: &Value, at: &str) -> Self {
        let mut merged = self.0.clone();
        for (name, value) in changed.as_object().unwrap_or_else(|| panic!("{at}: not an object")) {
            assert!(merged.contains_key(name), "{at}: the setting `{name}` is not known here");
            merged.insert(name.clone(), value.clone());
        }
        Self(merged)
    }

    fn number(&self, name: &str) -> u64 {
        number(self.0.get(name).unwrap_or_else(|| panic!("the setting `{name}` is missing")), name)
    }

    fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or_else(|| panic!("the setting `{name}` is no flag"))
    }

    fn defaults(profile: &Value) -> Self {
        // What the profile's section 13a has and a file leaves out.
        let base = json!({
            "max_lifetime_s": 600, "default_window_ms": 2000, "max_window_ms": 15000, "max_bids": 8, "max_sas": 8,
            "max_homes_per_identity": 16, "one_flow_per_home": true, "close_enough_s": 7, "care_of_test": "auto", "deny": [],
            "early": false, "remote_homes": false, "reserve_s": 7200, "liveness_s": null,
        });
        let base = Self(base.as_object().expect("an object").clone().into_iter().collect());
        base.with(&profile["defaults"], "defaults")
    }
}

/// A server in the state of a fixture.
struct Server {
    steering: Arc<BindingCache>,
    responder: Responder,
    address: Ipv6Addr,
    ipv4: IpAddr,
    peers: Vec<(HomeAddress, Vec<IpAddr>)>,
    clock: u64,
    counted: BTreeMap<String, u64>,
}

impl Server {
    fn new(profile: &Value, fixture: &Value, settings: &Settings, name: &str) -> Self {
        let at = |field: &str| format!("{name}: {field}");
        let known = ["cfg", "server", "kcn", "nonces", "nonce_now", "prov", "pool", "free", "spi_next", "reserve_s", "homes", "rtsp_peers"];
        let fixture = object(fixture, &known, name);
        let settings = settings.with(&fixture["cfg"], &at("cfg"));
        assert!(!settings.flag("early"), "{name}: `early` updates are not known here");
        let clock = number(&profile["clock_s"], "clock_s");
        let mut steering = SteeringSettings::new(parsed(&fixture["pool"], &at("pool")));
        let homes = fixture["homes"].as_object().expect("homes");
        let free: Vec<HomeAddress> = list(&fixture["free"], &at("free")).iter().map(|home| HomeAddress(parsed(home, "free"))).collect();
        let held = homes.keys().map(|home| HomeAddress(home.parse().expect("an address")));
        steering.home_addresses = Some(free.into_iter().chain(held).collect());
        steering.default_window = Duration::from_millis(settings.number("default_window_ms"));
        steering.max_window = Duration::from_millis(settings.number("max_window_ms"));
        steering.max_bindings = settings.number("max_bids") as usize;
        steering.rules.max_keys = settings.number("max_sas") as usize;
        steering.rules.max_homes_per_identity = settings.number("max_homes_per_identity") as usize;
        steering.max_lifetime = Duration::from_secs(settings.number("max_lifetime_s"));
        steering.max_reservation = Duration::from_secs(number(&fixture["reserve_s"], &at("reserve_s")));
        steering.rules.one_flow_per_home = settings.flag("one_flow_per_home");
        // Vectors let time pass in silence.
        steering.liveness = settings.0["liveness_s"].as_u64().map_or(Duration::from_secs(1 << 30), Duration::from_secs);
        steering.rules.rtsp_peers_are_proven = match settings.0["care_of_test"].as_str() {
            Some("auto") => true,
            Some("always") => false,
            other => panic!("{name}: care_of_test {other:?}"),
        };
        steering.rules.denied_care_of = list(&settings.0["deny"], &at("deny")).iter().map(|net| parsed(net, "deny")).collect();
        let next = Mutex::new(u32::try_from(number(&fixture["spi_next"], &at("spi_next"))).expect("an index"));
        let random = Box::new(move |octets: &mut [u8]| {
            octets.fill(0);
            // Names of keys come one after the other.
            if let Ok(four) = <&mut [u8; 4]>::try_from(octets) {
                let mut next = next.lock().expect("no panic before");
                *four = (*next - Spi::FIRST).to_be_bytes();
                *next += 1;
            }
        });
        let steering = Arc::new(BindingCache::new(steering, random, Box::new(|_, _| ())));
        let mut nonces: Vec<(u16, [u8; 16])> = fixture["nonces"]
            .as_object()
            .expect("nonces")
            .iter()
            .map(|(index, nonce)| (index.parse().expect("an index"), fixed(nonce, &at("nonces"))))
            .collect();
        let current = small(&fixture["nonce_now"], &at("nonce_now"));
        nonces.sort_by_key(|(index, _)| (*index == current, *index));
        steering.set_routability(ReturnRoutability::with(fixed(&fixture["kcn"], &at("kcn")), nonces).expect("a nonce"));
        let provisioned = |(index, key): (&String, &Value)| {
            let key_fields = object(key, &["key", "nai"], "prov");
            Provisioned { spi: spi(index), nai: text(key, "nai").to_owned(), key: Key::new(fixed(&key_fields["key"], "key")) }
        };
        let responder = Responder::new(
            Arc::clone(&steering),
            ResponderSettings {
                keys: fixture["prov"].as_object().expect("prov").iter().map(provisioned).collect(),
                close_enough: Duration::from_secs(settings.number("close_enough_s")),
                remote_homes: settings.flag("remote_homes"),
                max_lifetime: Duration::from_secs(settings.number("max_lifetime_s")),
                ..ResponderSettings::default()
            },
        );
        let mut peers = Vec::new();
        for (home, addresses) in fixture["rtsp_peers"].as_object().expect("rtsp_peers") {
            let addresses = list(addresses, &at("rtsp_peers")).iter().map(|address| parsed(address, "rtsp_peers")).collect();
            peers.push((HomeAddress(home.parse().expect("an address")), addresses));
        }
        let mut server = Self {
            steering,
            responder,
            address: parsed(&fixture["server"], &at("server")),
            ipv4: parsed(&profile["server"]["ipv4"], "server.ipv4"),
            peers,
            clock,
            counted: BTreeMap::new(),
        };
        for (address, home) in homes {
            let record = home_record(address, home, clock, &at(address));
            assert!(server.steering.restore(&record, server.now(0.0)), "{name}: {address} is made");
        }
        server.take_counters();
        server
    }

    /// So many seconds after the vectors' clock, in whole nanoseconds.
    fn now(&self, at_s: f64) -> Now {
        let nanos = (at_s * 1e9).round() as u64;
        let utc = Utc::from_unix_nanos(self.clock * 1_000_000_000 + nanos);
        Now { mono: Mono::from_nanos(1_000_000_000_000 + nanos), utc }
    }

    /// Everything that has ended by then has ended.
    fn settle(&self, now: Now) {
        self.steering.handle_timeout(now);
        for (home, addresses) in &self.peers {
            for (index, address) in addresses.iter().enumerate() {
                self.steering.note_peer(*home, Holder(index as u64), *address);
            }
        }
    }

    fn receive(&mut self, octets: &[u8], carriage: &str, source: IpAddr, now: Now) -> Option<Transmit> {
        let (carriage, local) = match carriage {
            "udp6" => (Carriage::Udp, IpAddr::V6(self.address)),
            "udp4" => (Carriage::Udp, self.ipv4),
            "native" => (Carriage::Native, IpAddr::V6(self.address)),
            other => panic!("the carriage `{other}` is not known here"),
        };
        let port = if carriage == Carriage::Udp { 40_000 } else { 0 };
        self.responder.handle_datagram(Received { octets, source: SocketAddr::new(source, port), local, carriage }, now)
    }

    /// What was counted since the last time, as far as vectors speak of it.
    fn take_counters(&mut self) -> BTreeMap<String, u64> {
        let steering = self.steering.counters().named().into_iter().map(|(name, count)| (name.to_owned(), count));
        let all: BTreeMap<String, u64> = self.responder.counters().named().into_iter().chain(steering).collect();
        let is_spoken_of = |name: &str| COUNTED.contains(&name) || name.starts_with("ba_") || name.starts_with("drop_");
        let risen = all
            .iter()
            .map(|(name, count)| (name.clone(), count - self.counted.get(name).copied().unwrap_or(0)))
            .filter(|(name, count)| *count > 0 && is_spoken_of(name))
            .collect();
        self.counted = all;
        risen
    }

    /// The home addresses, in the vectors' words.
    fn homes(&self, now: Now) -> Value {
        let mut homes = Map::new();
        for view in self.steering.home_views(now) {
            let record = self.steering.record(view.home, now).expect("reserved");
            let mut bids = Map::new();
            for binding in &record.bindings {
                let left = binding.left.expect("a lifetime").as_secs_f64();
                // Whole seconds are written without a fraction.
                let left = if left.fract() == 0.0 { json!(left as u64) } else { json!(left) };
                let mut shown = json!({ "care_of": binding.care_of.to_string(), "expires_in_s": left });
                if !binding.ports.is_empty() {
                    let ports =
                        binding.ports.iter().map(|ports| (ports.flow.map_or(0, |flow| flow.0).to_string(), json!([ports.rtp, ports.rtcp])));
                    shown["ports"] = Value::Object(ports.collect());
                }
                bids.insert(binding.id.0.to_string(), shown);
            }
            let mut flows = Map::new();
            for flow in &record.flows {
                let ids = |ids: &[BindingId]| ids.iter().map(|id| json!(id.0)).collect::<Vec<_>>();
                flows.insert(
                    flow.id.0.to_string(),
                    json!({
                        "label": flow.label.map(FlowLabel::bits),
                        "final": ids(&flow.members),
                        "until_window_end": ids(&flow.leaving),
                        "window_ms": flow.window.as_millis() as u64,
                    }),
                );
            }
            let mut shown = json!({ "label": record.label.map(FlowLabel::bits), "bids": bids, "flows": flows });
            if !record.keys.is_empty() {
                shown["last_seq"] = Value::Object(record.keys.iter().map(|key| (key.spi.to_string(), json!(key.last))).collect());
            }
            homes.insert(view.home.to_string(), shown);
        }
        Value::Object(homes)
    }
}

fn home_record(address: &str, home: &Value, clock: u64, at: &str) -> HomeRecord {
    let fields = object(home, &["nai", "spi1", "label", "msrc", "bids", "flows", "expires", "sas"], at);
    let address = HomeAddress(address.parse().expect("an address"));
    let media_source = parsed(&fields["msrc"], at);
    let first = Spi(u32::try_from(number(&fields["spi1"], at)).expect("an index"));
    let mut keys = Vec::new();
    for (index, sa) in fields["sas"].as_object().expect("sas") {
        let sa = object(sa, &["kind", "key", "validity", "seq", "label", "msrc"], at);
        let validity_end = number(&sa["validity"], at);
        let derived = match sa["kind"].as_str() {
            Some("home") => {
                assert_eq!(spi(index), first, "{at}: one home key");
                assert!(sa.get("label").is_none_or(Value::is_null), "{at}: a home key is for no label");
                assert!(sa.get("msrc").is_none_or(Value::is_null), "{at}: a home key is for no media source");
                None
            }
            Some("session") => {
                let label = label_of(&sa["label"], at).expect("a label");
                let media_source = parsed(&sa["msrc"], at);
                let parameters = KeyParameters { home: address, label, validity_end, media_source, transfer_id: 0, identity: None };
                Some((first, parameters))
            }
            other => panic!("{at}: a key of kind {other:?}"),
        };
        let last = sa["seq"].as_u64().map(|last| u16::try_from(last).expect("16 bits"));
        keys.push(KeyRecord { spi: spi(index), key: Key::new(fixed(&sa["key"], at)), derived, validity_end, last });
    }
    keys.sort_by_key(|key| key.derived.is_some());
    let mut bindings = Vec::new();
    for (id, bid) in fields["bids"].as_object().expect("bids") {
        let bid = object(bid, &["coa", "pri", "spi", "expires", "proven", "ports"], at);
        assert_ne!(bid.get("proven"), Some(&Value::Bool(false)), "{at}: a binding that is not proven");
        let mut ports = Vec::new();
        for (flow, pair) in bid.get("ports").and_then(Value::as_object).into_iter().flatten() {
            let flow: u16 = flow.parse().expect("a flow");
            let pair = list(pair, at);
            let (rtp, rtcp) = (small(&pair[0], at), small(&pair[1], at));
            ports.push(FlowPorts { flow: Some(FlowId(flow)).filter(|flow| flow.0 != 0), rtp, rtcp, multiplexed: false });
        }
        bindings.push(BindingRecord {
            id: BindingId(id.parse().expect("an identifier")),
            serial: BranchSerial(0),
            care_of: parsed(&bid["coa"], at),
            priority: bid.get("pri").map_or(0, |priority| number(priority, at) as u8),
            maker: Some(Spi(u32::try_from(number(&bid["spi"], at)).expect("an index"))),
            left: Some(Duration::from_secs(number(&bid["expires"], at) - clock)),
            ports,
        });
    }
    let mut flows = Vec::new();
    for (id, flow) in fields["flows"].as_object().expect("flows") {
        let flow = object(flow, &["pri", "label", "src", "refs", "old", "until"], at);
        let ids = |value: &Value| list(value, at).iter().map(|id| BindingId(small(id, at))).collect::<Vec<_>>();
        let until = flow["until"].as_f64().unwrap_or(clock as f64);
        flows.push(FlowRecord {
            id: FlowId(id.parse().expect("an identifier")),
            priority: small(&flow["pri"], at),
            label: label_of(&flow["label"], at),
            source: flow["src"].as_str().map(|source| source.parse().expect("an address")),
            members: ids(&flow["refs"]),
            leaving: ids(&flow["old"]),
            window: Duration::from_secs_f64((until - clock as f64).max(0.0)),
        });
    }
    HomeRecord {
        home: address,
        identity: fields["nai"].as_str().map(ToOwned::to_owned),
        media_source,
        validity_end: number(&fields["expires"], at),
        label: label_of(&fields["label"], at),
        expectation: Expectation::default(),
        bindings,
        flows,
        keys,
    }
}

/// The fixture that a vector starts from, with what it changes of it.
fn given(profile: &Value, given: &Value, name: &str) -> (Value, Settings) {
    let fields = object(given, &["state", "config", "changed"], name);
    let state = text(given, "state");
    let mut fixture = profile["fixtures"].get(state).unwrap_or_else(|| panic!("{name}: no fixture `{state}`")).clone();
    for (field, value) in fields.get("changed").and_then(Value::as_object).into_iter().flatten() {
        assert!(fixture.get(field).is_some(), "{name}: the fixture has no `{field}` to change");
        fixture[field] = value.clone();
    }
    let mut settings = Settings::defaults(profile);
    if let Some(config) = fields.get("config") {
        settings = settings.with(config, name);
    }
    (fixture, settings)
}

#[test]
fn the_file_has_nothing_that_is_not_checked() {
    let (path, profile) = vectors();
    let known =
        ["profile", "note", "clock_s", "server", "defaults", "keys", "fixtures", "vectors", "originated", "filter", "context_example"];
    object(&profile, &known, &path);
    assert_eq!(text(&profile, "profile"), "flow-mobility/1");
    // The project's own file has something of everything.
    if std::env::var_os("FLOWSTEER_MOBILITY_VECTORS").is_none() {
        for part in [&profile["vectors"], &profile["originated"], &profile["filter"], &profile["keys"]["care_of_tokens"]] {
            assert!(!list(part, &path).is_empty(), "{path}: an empty list");
        }
    }
    object(&profile["server"], &["address", "ipv4"], "server");
    for (name, fixture) in profile["fixtures"].as_object().expect("fixtures") {
        let server = Server::new(&profile, fixture, &Settings::defaults(&profile), name);
        assert_eq!(server.address.to_string(), text(&profile["server"], "address"), "{name}");
        assert_eq!(server.homes(server.now(0.0)).as_object().map(Map::len), fixture["homes"].as_object().map(Map::len), "{name}");
    }
}

#[test]
fn every_vector_is_answered_octet_for_octet() {
    let (path, profile) = vectors();
    let mut replayed = 0;
    for vector in list(&profile["vectors"], "vectors") {
        let name = text(vector, "name");
        object(vector, &["name", "why", "given", "steps"], name);
        let (fixture, settings) = given(&profile, &vector["given"], name);
        let mut server = Server::new(&profile, &fixture, &settings, name);
        for (index, step) in list(&vector["steps"], name).iter().enumerate() {
            let name = format!("{name}, step {index}");
            replay(&mut server, step, &name);
        }
        replayed += 1;
    }
    assert!(replayed > 0, "{path} has vectors");
    // Not by `println!`, which a test that passes keeps to itself.
    writeln!(std::io::stdout(), "replayed {replayed} vectors").expect("written");
}

fn replay(server: &mut Server, step: &Value, name: &str) {
    let known = ["at_s", "carriage", "source", "hex", "hex_with_checksum", "decoded", "expect"];
    let fields = object(step, &known, name);
    let now = server.now(step["at_s"].as_f64().unwrap_or_else(|| panic!("{name}: at_s is a number")));
    let (carriage, source): (&str, IpAddr) = (text(step, "carriage"), parsed(&step["source"], name));
    let mut message = octets(text(step, "hex"));
    check_decoded(&message, &step["decoded"], name);
    if carriage == "native" {
        let IpAddr::V6(source) = source else { panic!("{name}: native carriage is IPv6") };
        checksum::set(source, server.address, &mut message);
    }
    if let Some(with) = fields.get("hex_with_checksum").and_then(Value::as_str) {
        assert_eq!(hex(&message), with, "{name}: the checksum");
    }
    let expect = object(&step["expect"], &["answer", "answer_decoded", "answer_with_checksum", "counters", "homes"], name);
    server.settle(now);
    let answer = server.receive(&message, carriage, source, now);
    match (expect["answer"].as_str(), &answer) {
        (None, None) => assert!(expect.get("answer_decoded").is_none_or(Value::is_null), "{name}"),
        (None, Some(answer)) => panic!("{name}: answered where silence was expected: {:?}", Message::parse(&answer.octets)),
        (Some(expected), None) => panic!("{name}: silence where {expected} was expected; counted {:?}", server.take_counters()),
        (Some(expected), Some(answer)) => {
            let mut plain = answer.octets.clone();
            plain[4..6].fill(0);
            let (read, wanted) = (Message::parse(&plain), Message::parse(&octets(expected)));
            assert_eq!(hex(&plain), expected, "{name}: {read:#?} where {wanted:#?} was expected");
            if let Some(decoded) = expect.get("answer_decoded") {
                check_decoded(&octets(expected), decoded, name);
            }
            if let Some(with) = expect.get("answer_with_checksum").and_then(Value::as_str) {
                assert_eq!(hex(&answer.octets), with, "{name}: the answer's checksum");
            } else if carriage != "native" {
                assert_eq!(hex(&answer.octets), expected, "{name}: the checksum field is zero over UDP");
            }
            let to = match Message::parse(&octets(expected)) {
                Ok(Message::HomeTest(_)) => parsed(&step["decoded"]["options"][0]["address"], name),
                _ => source,
            };
            assert_eq!(answer.to.ip(), to, "{name}: where the answer goes");
        }
    }
    let expected: BTreeMap<String, u64> =
        expect["counters"].as_object().expect("counters").iter().map(|(name, count)| (name.clone(), number(count, name))).collect();
    for counter in expected.keys() {
        assert!(COUNTED.contains(&counter.as_str()) || counter.starts_with("ba_") || counter.starts_with("drop_"), "{name}: {counter}");
    }
    assert_eq!(server.take_counters(), expected, "{name}: counters");
    let homes = server.homes(now);
    assert_eq!(homes, expect["homes"], "{name}: home addresses, {homes:#} where {:#} was expected", expect["homes"]);
}

fn check_decoded(message: &[u8], decoded: &Value, name: &str) {
    match (Message::parse(message), decoded.get("malformed")) {
        (Err(_), Some(_)) => {}
        (Ok(message), None) => assert_eq!(shown(&message), *decoded, "{name}: what the message says"),
        (read, _) => panic!("{name}: {read:?} where {decoded} was expected"),
    }
}

#[test]
fn messages_that_only_a_server_sends_are_sent() {
    let (_, profile) = vectors();
    for case in list(&profile["originated"], "originated") {
        let name = text(case, "name");
        object(case, &["name", "why", "hex", "decoded", "to"], name);
        let (expected, to): (_, IpAddr) = (octets(text(case, "hex")), parsed(&case["to"], name));
        check_decoded(&expected, &case["decoded"], name);
        let sent = match Message::parse(&expected).expect("well-formed") {
            Message::RefreshRequest(request) => {
                let home = HomeAddress(request.options.home_network_prefix().expect("a home address").address);
                refresh_request(&profile, home, to)
            }
            Message::BindingError(error) => {
                let mut server = Server::new(&profile, &profile["fixtures"]["empty"], &Settings::defaults(&profile), name);
                let now = server.now(0.0);
                let asked = unreserved(&profile, error.home);
                server.receive(&asked, "udp6", to, now).expect("an answer")
            }
            other => panic!("{name}: {other:?} is not known here"),
        };
        assert_eq!((hex(&sent.octets), sent.to.ip()), (hex(&expected), to), "{name}");
    }
}

/// A device binds there; when a quarter of the lifetime is left it is asked for a refresh, once, and not before.
fn refresh_request(profile: &Value, home: HomeAddress, to: IpAddr) -> Transmit {
    let vector = list(&profile["vectors"], "vectors").iter().find(|vector| {
        let step = &vector["steps"][0];
        let binds = step["expect"]["homes"][home.to_string()]["bids"].as_object().is_some_and(|bids| !bids.is_empty());
        let accepted = step["expect"]["answer_decoded"]["status"] == 0 && step["decoded"]["lifetime_s"] != 0;
        binds && accepted && step["source"] == to.to_string() && step["carriage"] != "native"
    });
    let vector = vector.expect("a vector binds there from there");
    let (name, step) = (text(vector, "name"), &vector["steps"][0]);
    let (fixture, settings) = given(profile, &vector["given"], name);
    let mut server = Server::new(profile, &fixture, &settings, name);
    let at = step["at_s"].as_f64().expect("a number");
    let lifetime = number(&step["expect"]["answer_decoded"]["lifetime_s"], name) as f64;
    server.settle(server.now(at));
    server.receive(&octets(text(step, "hex")), text(step, "carriage"), to, server.now(at)).expect("an answer");
    let due = at + lifetime * 3.0 / 4.0;
    for (second, is_due) in [(due - 1.0, false), (due, true), (due + 1.0, false)] {
        let now = server.now(second);
        server.responder.handle_timeout(now);
        let sent = server.responder.poll_transmit();
        assert_eq!(sent.is_some(), is_due, "{name}: after {second} s");
        if let Some(sent) = sent {
            server.responder.handle_timeout(server.now(due + 1.0));
            assert_eq!(server.responder.poll_transmit(), None, "once");
            return sent;
        }
    }
    panic!("{name}: no refresh was asked for");
}

/// An update for that home address, which nobody has reserved.
fn unreserved(profile: &Value, home: Ipv6Addr) -> Vec<u8> {
    let vector = list(&profile["vectors"], "vectors").iter().find(|vector| {
        let step = &vector["steps"][0];
        step["expect"]["answer_decoded"]["message"] == "BE" && step["expect"]["answer_decoded"]["home"] == home.to_string()
    });
    octets(text(&vector.expect("a vector for that home address")["steps"][0], "hex"))
}

#[test]
fn the_filter_decides_as_the_vectors_say() {
    let (_, profile) = vectors();
    for case in list(&profile["filter"], "filter") {
        let name = text(case, "name");
        object(case, &["name", "why", "given", "packet", "expect"], name);
        let fixture = &profile["fixtures"][text(case, "given")];
        let mut server = Server::new(&profile, fixture, &Settings::defaults(&profile), name);
        let packet = object(&case["packet"], &["source", "home", "label", "proto", "dport", "payload", "pt"], name);
        let payload = match (text(&case["packet"], "proto"), text(&case["packet"], "payload")) {
            ("udp", "rtp") => Payload::Rtp(PayloadType::new(small(&packet["pt"], name) as u8).expect("seven bits")),
            ("udp", "rtcp") => Payload::Rtcp,
            _ => Payload::Other,
        };
        let home = HomeAddress(parsed(&packet["home"], name));
        let facts = PacketFacts {
            source: parsed(&packet["source"], name),
            home,
            label: label_of(&packet["label"], name).map_or(0, FlowLabel::bits),
            destination_port: small(&packet["dport"], name),
            payload,
            media: None,
        };
        let now = server.now(0.0);
        let verdict = match server.steering.gate(home) {
            Some(mut gate) => gate.pass(&facts, 1, now).map(|route| route.branches.clone()).map_err(|reason| reason.as_str()),
            None => Err("drop_no_home"),
        };
        let expect = object(&case["expect"], &["forward", "drop", "learn"], name);
        match (expect.get("forward"), expect.get("drop").and_then(Value::as_str)) {
            (Some(forward), None) => {
                let branches = verdict.unwrap_or_else(|reason| panic!("{name}: {reason}"));
                let mut places: Vec<String> = branches.iter().map(|branch| branch.care_of.ip().to_string()).collect();
                let mut expected: Vec<String> = list(forward, name).iter().map(|to| to.as_str().expect("an address").to_owned()).collect();
                places.sort();
                expected.sort();
                assert_eq!(places, expected, "{name}");
            }
            (None, Some(drop)) => assert_eq!(verdict.expect_err(name), drop, "{name}"),
            _ => panic!("{name}: {expect:?}"),
        }
        let learned = expect.get("learn").map(|learned| label_of(learned, name).expect("a label"));
        let counters = server.take_counters();
        assert_eq!(counters.get("learned").copied().unwrap_or(0), u64::from(learned.is_some()), "{name}");
        if let Some(learned) = learned {
            assert_eq!(server.steering.home_view(home, now).expect("reserved").label, Some(learned), "{name}");
        }
    }
}

#[test]
fn keys_and_tokens_are_derived_as_the_vectors_say() {
    let (_, profile) = vectors();
    let keys = object(&profile["keys"], &["provisioned", "home", "session", "session_bound", "care_of_tokens"], "keys");
    object(&keys["provisioned"], &["spi", "key", "nai"], "provisioned");
    object(&keys["home"], &["spi", "key", "salt", "info"], "home");
    let fields =
        ["spi", "key", "salt", "info", "parent", "home_address", "flow_label", "validity_end", "media_source", "transfer_id", "identity"];
    object(&keys["session"], &fields, "session");
    object(&keys["session_bound"], &["spi", "key", "info", "identity"], "session_bound");
    let key = |name: &str| Key::new(fixed(&keys[name]["key"], name));
    let session = &keys["session"];
    let home = HomeAddress(parsed(&session["home_address"], "session"));

    let made = home_key(&key("provisioned"), home, spi(text(&keys["home"], "spi")), text(&keys["provisioned"], "nai"));
    assert_eq!(made, key("home"));
    assert_eq!(text(session, "parent"), "home");
    let bound_info = octets(text(&keys["session_bound"], "info"));
    let transfer_at = b"session key\0".len() + 16 + 4 + 8 + 16;
    let bound_transfer = u32::from_be_bytes(bound_info[transfer_at..transfer_at + 4].try_into().expect("four octets"));
    for (name, transfer_id) in [("session", spi(text(session, "transfer_id")).0), ("session_bound", bound_transfer)] {
        let parameters = KeyParameters {
            home,
            label: label_of(&session["flow_label"], name).expect("a label"),
            validity_end: number(&session["validity_end"], name),
            media_source: parsed(&session["media_source"], name),
            transfer_id,
            identity: keys[name]["identity"].as_str().map(ToOwned::to_owned),
        };
        assert_eq!(session_key(&key("home"), &parameters), (spi(text(&keys[name], "spi")), key(name)), "{name}");
    }
    // The information that goes into the derivation is the one that is written down.
    for (name, parent) in [("home", "provisioned"), ("session", "home"), ("session_bound", "home")] {
        let salt = octets(text(&keys[if name == "session_bound" { "session" } else { name }], "salt"));
        let mut output = [0; 32];
        let derived = Hkdf::<Sha256>::new(Some(&salt), key(parent).expose());
        derived.expand(&octets(text(&keys[name], "info")), &mut output).expect("so few octets");
        assert_eq!(Key::new(output), key(name), "{name}");
    }
    let server = Server::new(&profile, &profile["fixtures"]["empty"], &Settings::defaults(&profile), "empty");
    for token in list(&keys["care_of_tokens"], "care_of_tokens") {
        object(token, &["address", "nonce_index", "token"], "care_of_tokens");
        let (address, index) = (parsed(&token["address"], "token"), small(&token["nonce_index"], "token"));
        let made = server.steering.routability(|routability| routability.care_of_token_at(address, index)).expect("a known nonce");
        assert_eq!(hex(&made), text(token, "token"), "{address}, nonce {index}");
    }
}

#[test]
fn the_example_of_a_context_fits_its_schema() {
    let (_, profile) = vectors();
    let schema: Value = serde_json::from_str(include_str!("../docs/context.schema.json")).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let errors: Vec<String> = validator.iter_errors(&profile["context_example"]).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}
