//! Contexts beside their schema.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn example() -> Value {
    json!({
        "version": 1,
        "transfer_id": "0x0badcafe",
        "application": {
            "name": "player", "version": "1", "presentation_url": "rtsp://[2001:db8::1]/film.mp4",
            "cookies": [{"name": "a", "value": "b"}], "history": ["x"], "bookmarks": []
        },
        "media_source": {
            "address": "2001:db8::1", "rtsp_uri": "rtsp://[2001:db8::1]/film.mp4", "signalling": {"udp_port": 5436, "native": false}
        },
        "protocol": {
            "rtsp": {
                "version": "1.0", "session": "abc", "session_timeout_s": 60, "cseq": 7, "state": "playing",
                "transport": "RTP/AVP", "accept_ranges": ["npt"]
            },
            "rtp": [{
                "media": "video", "ssrc": "0x01020304", "payload_type": 96, "clock_rate": 90000, "last_sequence": 5, "last_timestamp": 6
            }]
        },
        "flows": [{
            "media": "video", "home_address": "fd00::1a2b", "flow_label": "0x12345", "fid": 1,
            "bid": {"previous": 1, "yours": 2}, "window_ms": 2000,
            "ports": {"source": {"rtp": 8000, "rtcp": 8001, "mux": false}, "previous": {"rtp": 5000}},
            "authorization": {
                "session_key": "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
                "spi": "0x80000001", "parent_spi": "0x00000100", "validity_end": 1_900_000_000_u64,
                "media_source": "2001:db8::1", "identity": "tv@home"
            }
        }],
        "sdp": "v=0\r\n",
        "position": {"npt_s": 1.5, "wallclock": "2026-01-02T03:04:05Z", "rate": 1.0},
        "presentation": {
            "volume": 0.5, "muted": false, "bass_boost_db": -1.5, "window": {"width": 1, "height": 2, "fullscreen": true},
            "subtitle": {"enabled": true, "language": "de"}, "audio": {"language": "de", "channels": 2},
            "effects": [1, "x"], "capabilities": ["h264"]
        }
    })
}

fn schema() -> jsonschema::Validator {
    let schema = serde_json::from_str(include_str!("../../docs/context.schema.json")).expect("the schema is JSON");
    jsonschema::draft202012::options().should_validate_formats(true).build(&schema).expect("the schema is one")
}

/// Every place in a value, as JSON pointers, its own included.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => members.iter().for_each(|(name, member)| places(member, &format!("{at}/{name}"), found)),
        Value::Array(list) => list.iter().enumerate().for_each(|(index, member)| places(member, &format!("{at}/{index}"), found)),
        _ => {}
    }
}

/// What members are replaced by.
fn substitutes() -> Vec<Value> {
    let digits = "0123456789abcdef".repeat(4);
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(0.5),
        json!(1.0),
        json!(1.5),
        json!(127),
        json!(128),
        json!(65_535),
        json!(65_536),
        json!(4_294_967_295_u64),
        json!(4_294_967_296_u64),
        json!(u64::MAX),
        json!(1e20),
        json!(-1e20),
        json!(""),
        json!("x"),
        json!("audio"),
        json!("Video"),
        json!("1.0"),
        json!("2.0"),
        json!("ready"),
        json!("::1"),
        json!("2001:DB8::1"),
        json!("fe80::1%eth0"),
        json!("192.0.2.1"),
        json!("192.0.2.256"),
        json!("::ffff:192.0.2.1"),
        json!("[::1]"),
        json!("0x12345"),
        json!("0x00000"),
        json!("0xABCDE"),
        json!("0x123456"),
        json!("0x80000001"),
        json!("0x00000001"),
        json!("0x8000000"),
        json!("0x8000000g"),
        json!("0x80000001\n"),
        json!(digits),
        json!(digits.to_uppercase()),
        json!(format!("{digits}0")),
        json!("2026-01-02T03:04:05.5+01:00"),
        json!("2026-13-02T03:04:05Z"),
        json!("2026-01-02"),
        json!([]),
        json!([1]),
        json!(["x"]),
        json!([{}]),
        json!({}),
        json!({"rtp": 1}),
        json!({"yours": 1}),
        json!({"address": "::1"}),
    ]
}

fn replaced(value: &Value, pointer: &str, by: Option<&Value>) -> Value {
    let mut changed = value.clone();
    match (pointer.rsplit_once('/'), by) {
        (_, Some(by)) => *changed.pointer_mut(pointer).expect("a place of it") = by.clone(),
        (None, None) => changed = Value::Null,
        (Some((parent, name)), None) => match changed.pointer_mut(parent).expect("a place of it") {
            Value::Object(members) => drop(members.remove(name)),
            Value::Array(list) => drop(list.remove(name.parse().expect("an index"))),
            _ => unreachable!("only these have members"),
        },
    }
    changed
}

#[track_caller]
fn assert_same(schema: &jsonschema::Validator, value: &Value, what: &str) {
    let read = StreamContext::read(&value.to_string());
    assert_eq!(read.is_ok(), schema.is_valid(value), "{what}: read {:?}, schema {:?}", read.err(), schema.validate(value).err());
}

#[test]
fn what_the_schema_accepts_is_accepted_and_nothing_else() {
    let (schema, example) = (schema(), example());
    assert_same(&schema, &example, "the example");
    assert!(schema.is_valid(&example));
    let mut all = Vec::new();
    places(&example, "", &mut all);
    let mut count = 0;
    for place in &all {
        assert_same(&schema, &replaced(&example, place, None), &format!("without {place}"));
        for substitute in substitutes() {
            assert_same(&schema, &replaced(&example, place, Some(&substitute)), &format!("{place} = {substitute}"));
            count += 1;
        }
    }
    assert!(count > 3000, "{count}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn several_changes_at_once_are_judged_as_the_schema_does(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<bool>()), 1..4)) {
        let schema = schema();
        let mut value = example();
        for (place, substitute, removes) in changes {
            let mut all = Vec::new();
            places(&value, "", &mut all);
            let place = place.get(&all).clone();
            let substitutes = substitutes();
            value = replaced(&value, &place, (!removes).then(|| substitute.get(&substitutes)));
        }
        assert_same(&schema, &value, &value.to_string());
    }
}

#[test]
fn members_that_are_unknown_survive_everywhere() {
    let mut value = example();
    let mut all = Vec::new();
    places(&value, "", &mut all);
    for place in &all {
        if let Some(Value::Object(members)) = value.pointer_mut(place) {
            members.insert("x-more".into(), json!({"kept": [1, 2.5, null, "x"]}));
        }
    }
    let read = StreamContext::read(&value.to_string()).expect("a context");
    let written: Value = serde_json::from_str(&read.write().expect("written")).expect("JSON");
    assert_eq!(written, value);
}

#[test]
fn a_context_is_taken_out_of_the_answer_it_stands_in() {
    let answer = json!({"context": example(), "takeoverUrl": "rtsp://x/home/y?key=z", "expiresAt": "2026-01-02T03:04:05Z"});
    let context = StreamContext::read(&answer.to_string()).expect("a context");
    assert_eq!((context.transfer_id(), context.flows().len(), context.signalling_port()), (0x0bad_cafe, 1, Some(5436)));
    let flow = &context.flows()[0];
    assert_eq!((flow.media(), flow.yours(), flow.previous(), flow.window_ms()), ("video", BindingId(2), Some(BindingId(1)), Some(2000)));
    let grant = flow.grant().expect("a key");
    assert_eq!((grant.spi, grant.parent, grant.identity.as_deref()), (Spi(0x8000_0001), Spi(0x100), Some("tv@home")));
}

#[test]
fn a_context_is_split_from_its_keys_and_joined_again() {
    let context = StreamContext::read(&example().to_string()).expect("a context");
    let (keyless, keys) = context.write_split().expect("written");
    assert!(!keyless.contains("00112233") && keys.contains("00112233"));
    assert!(matches!(StreamContext::read(&keyless), Err(ContextError::KeyMissing(_))));
    let joined = StreamContext::read_with_keys(&keyless, &keys).expect("joined");
    let written: Value = serde_json::from_str(&joined.write().expect("written")).expect("JSON");
    assert_eq!(written, example());
    let others = keys.replace("0x0badcafe", "0x0badcaff");
    assert!(matches!(StreamContext::read_with_keys(&keyless, &others), Err(ContextError::OtherTransfer { .. })));
    let others = keys.replace("0x80000001", "0x80000002");
    assert!(matches!(StreamContext::read_with_keys(&keyless, &others), Err(ContextError::KeyMissing(_))));
}

#[test]
fn keys_do_not_show() {
    let context = StreamContext::read(&example().to_string()).expect("a context");
    assert!(!format!("{context:?} {:?}", context.flows()[0].grant()).contains("001122"));
    let wrong = example().to_string().replace("ddeeff\"", "ddeefF\"");
    let told = StreamContext::read(&wrong).expect_err("no key").to_string();
    assert!(!told.contains("001122"), "{told}");
}
