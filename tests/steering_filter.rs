//! The filter's decisions (`docs/signalling.md` section 8) in `tests/vectors/mobility/filter.json`, on states that are built by the
//! public commands.

mod steering_fixture;

use std::net::SocketAddr;
use std::time::Duration;

use flowsteer::quantities::{FlowLabel, PayloadType};
use flowsteer::steering::{
    Authority, BindingId, CareOf, Expectation, Holder, HomeAddress, Join, Mode, PacketFacts, Payload, Proof, Reserve, SteeringSettings,
    Update,
};
use serde_json::Value;
use steering_fixture::*;

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} is a text in {value}"))
}

fn number(value: &Value) -> u16 {
    value.as_u64().and_then(|number| u16::try_from(number).ok()).expect("a small number")
}

fn label(text: &str) -> u32 {
    u32::from_str_radix(text.trim_start_matches("0x"), 16).expect("hex")
}

/// The ports of a binding in the vectors; one whose flow's ports were agreed elsewhere has the usual ones.
fn care_of(binding: &Value) -> CareOf {
    let ports = &binding["ports"]["0"];
    let port = |index: usize| if ports.is_null() { 5004 + index as u16 } else { number(&ports[index]) };
    let address = ip(text(binding, "coa"));
    CareOf::Udp { rtp: SocketAddr::new(address, port(0)), rtcp: SocketAddr::new(address, port(1)), source: None }
}

fn build(fixture: &Value) -> World {
    let world = World::with(SteeringSettings::new(text(fixture, "pool").parse().expect("a prefix")));
    for (address, home) in fixture["homes"].as_object().expect("homes") {
        let address = HomeAddress(address.parse().expect("an address"));
        let media_source = text(home, "msrc").parse().expect("an address");
        let request = Reserve { owner: OWNER, address: Some(address), lifetime: None, media_source };
        world.cache.reserve(&request, world.now).expect("reserved");
        let expectation = Expectation { payload_type: PayloadType::new(96), ports: Some((5004, 5005)), media: None };
        match home["label"].as_u64() {
            Some(bits) => {
                let label = FlowLabel::new(u32::try_from(bits).expect("20 bits")).expect("20 bits");
                world.cache.authorise(address, label, expectation).expect("authorised");
            }
            None => world.cache.expect(address, expectation).expect("reserved"),
        }
        // In the order of the identifiers: each moved the flow to itself, and the last of them has it.
        for (id, binding) in home["bids"].as_object().expect("bids") {
            let care_of = care_of(binding);
            world.bind_started(&Update {
                home: address,
                authority: Authority::Owner(OWNER),
                binding: Some(BindingId(id.parse().expect("a number"))),
                care_of,
                proof: Proof::RequestPeer(care_of.ip()),
                lifetime: Some(Duration::from_secs(300)),
                mode: Mode::Move,
                window: Some(Duration::ZERO),
                join: Join::default(),
                holder: Holder(binding["spi"].as_u64().expect("an index")),
            });
        }
    }
    world
}

#[test]
fn the_filter_decides_as_the_vectors_say() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/mobility/filter.json")).expect("the vectors are JSON");
    let mut decided = 0;
    for case in vectors["filter"].as_array().expect("cases") {
        let (name, packet) = (text(case, "name"), &case["packet"]);
        assert_eq!(text(packet, "proto"), "udp", "{name}");
        let payload_type = match text(packet, "payload") {
            "rtp" => Payload::of(&[0x80, number(&packet["pt"]) as u8]),
            "rtcp" => Payload::of(&[0x80, 200]),
            _ => Payload::of(name.as_bytes()),
        };
        let world = build(&vectors["fixtures"][text(case, "given")]);
        let home = HomeAddress(text(packet, "home").parse().expect("an address"));
        let facts = PacketFacts {
            source: text(packet, "source").parse().expect("an address"),
            home,
            label: label(text(packet, "label")),
            destination_port: number(&packet["dport"]),
            payload: payload_type,
            media: None,
        };
        let mut gate = world.cache.gate(home);
        let verdict = match &mut gate {
            Some(gate) => gate.pass(&facts, 1, world.now).map(|route| route.branches.clone()).map_err(|reason| reason.as_str()),
            None => Err("drop_no_home"),
        };
        match (case["expect"]["forward"].as_array(), case["expect"]["drop"].as_str()) {
            (Some(forward), None) => {
                let branches = verdict.unwrap_or_else(|reason| panic!("{name}: {reason}"));
                let places: Vec<String> = branches.iter().map(|branch| branch.care_of.ip().to_string()).collect();
                assert_eq!(places, forward.iter().filter_map(Value::as_str).collect::<Vec<_>>(), "{name}");
            }
            (None, Some(drop)) => assert_eq!(verdict.expect_err(name), drop, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
        if let Some(learned) = case["expect"]["learn"].as_str() {
            let view = world.cache.home_view(home, world.now).expect("reserved");
            assert_eq!(view.label.map(FlowLabel::bits), Some(label(learned)), "{name}");
        }
        decided += 1;
    }
    assert_eq!(decided, 10);
}
