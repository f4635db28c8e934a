//! The Mobility Header's codec: every vector of the profile in both directions, what is refused and why, and values and octets
//! of noise.

mod mobility_shown;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flowsteer::mobility::wire::{
    AckFlags, AlternateCareOf, AskedParty, Authenticated, BindingAck, BindingAuthorization, BindingError, BindingIdentifier,
    BindingPriority, BindingReference, BindingUpdate, CareOfTest, CareOfTestInit, ConsentQuestion, EmitError, FlowFault,
    FlowIdentification, FlowStatus, FlowSubOption, HomeNetworkPrefix, HomeTest, HomeTestInit, Ipv4CareOf, Ipv6Selector, KeyGrant,
    KeyParameters, Lifetime, MAX_LEN, Malformed, MediaClass, MediaExpectation, MediaPorts, Message, MessageAuthentication, MessageId,
    MessageType, MobileNodeId, MobilityOption, NonceIndices, Options, OtherSelector, RefreshRequest, SelectorLabel, Status,
    TransitionWindow, UnknownMessage, UnknownOption, UnknownSubOption, UnknownVendorOption, UpdateFlags, VendorOption, checksum,
};
use flowsteer::steering::{BindingId, Key, Spi};
use mobility_shown::{hex, octets, shown, text};
use proptest::prelude::*;
use serde_json::Value;

fn profile() -> Value {
    serde_json::from_str(include_str!("vectors/mobility/vectors.json")).expect("the vectors are JSON")
}

/// Every message of the vectors: its name, its octets, and what it says.
fn messages(profile: &Value) -> Vec<(String, Vec<u8>, Value)> {
    let mut found = Vec::new();
    for vector in profile["vectors"].as_array().expect("a list") {
        for (step, of) in vector["steps"].as_array().expect("a list").iter().enumerate() {
            let name = format!("{} {step}", text(vector, "name"));
            found.push((name.clone(), octets(text(of, "hex")), of["decoded"].clone()));
            if of["expect"]["answer"].is_string() {
                found.push((format!("{name} answer"), octets(text(&of["expect"], "answer")), of["expect"]["answer_decoded"].clone()));
            }
        }
    }
    for of in profile["originated"].as_array().expect("a list") {
        found.push((text(of, "name").to_owned(), octets(text(of, "hex")), of["decoded"].clone()));
    }
    found
}

fn well_formed() -> Vec<(String, Vec<u8>)> {
    let all = messages(&profile());
    all.into_iter().filter(|(_, _, decoded)| decoded.get("malformed").is_none()).map(|(name, octets, _)| (name, octets)).collect()
}

#[test]
fn every_vector_says_what_it_is_to_say_and_is_written_as_it_was() {
    let profile = profile();
    let (mut good, mut bad) = (0, 0);
    for (name, octets, decoded) in messages(&profile) {
        let parsed = Message::parse(&octets);
        if decoded.get("malformed").is_some() {
            assert!(parsed.is_err(), "{name}: {parsed:?}");
            bad += 1;
            continue;
        }
        let message = parsed.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(shown(&message), decoded, "{name}");
        assert_eq!(message.buffer_len(), octets.len(), "{name}");
        assert_eq!(hex(&message.to_vec().expect("it fits")), hex(&octets), "{name}");
        good += 1;
    }
    assert!(good > 60 && bad > 0, "{good} vectors and {bad} malformed ones");
}

#[test]
fn the_vectors_checksums_are_right() {
    let profile = profile();
    let server: Ipv6Addr = text(&profile["server"], "address").parse().expect("an address");
    let mut seen = 0;
    for vector in profile["vectors"].as_array().expect("a list") {
        for step in vector["steps"].as_array().expect("a list") {
            let Some(native) = step["hex_with_checksum"].as_str().map(octets) else { continue };
            let node: Ipv6Addr = text(step, "source").parse().expect("an address");
            assert!(checksum::verify(node, server, &native));
            let mut request = octets(text(step, "hex"));
            assert!(!checksum::verify(node, server, &request));
            assert_eq!(Message::parse(&native), Message::parse(&request));
            checksum::set(node, server, &mut request);
            assert_eq!(request, native);

            let mut answer = octets(text(&step["expect"], "answer"));
            checksum::set(server, node, &mut answer);
            assert_eq!(hex(&answer), text(&step["expect"], "answer_with_checksum"));
            assert!(checksum::verify(server, node, &answer));
            seen += 1;
        }
    }
    assert_eq!(seen, 2);
}

/// The vector `bind-node1`: its request, its answer, the addresses that go before what is authenticated, and the key.
fn binding() -> (Vec<u8>, Vec<u8>, [u8; 40], Key) {
    let profile = profile();
    let vector = profile["vectors"].as_array().expect("a list").iter().find(|vector| vector["name"] == "bind-node1").expect("it is there");
    let step = &vector["steps"][0];
    let mut before = [0; 40];
    before[..16].copy_from_slice(&"2001:db8:c1::130".parse::<Ipv6Addr>().expect("an address").octets());
    before[16..32].copy_from_slice(&"2001:db8:f::1a2b".parse::<Ipv6Addr>().expect("an address").octets());
    let key = octets(text(&profile["keys"]["home"], "key")).try_into().expect("32 octets");
    (octets(text(step, "hex")), octets(text(&step["expect"], "answer")), before, Key::new(key))
}

#[test]
fn what_is_authenticated_is_all_up_to_the_index_without_the_checksum() {
    let (mut request, _, before, key) = binding();
    request[4..6].copy_from_slice(&[0xab, 0xcd]);
    let message = Message::parse(&request).expect("well-formed");
    let authenticated = Authenticated::by_key(&message, &request).expect("it has an authenticator");
    let [head, checksum, rest] = authenticated.covered;
    assert_eq!(authenticated.option.spi, Spi(0x0002_0001));
    assert_eq!((head, checksum), (&request[..4], &[0, 0][..]));
    assert_eq!(rest, &request[6..request.len() - 16]);
    assert!(key.verify(&[&before, head, checksum, rest], &authenticated.option.data));
    assert_eq!(Authenticated::by_tokens(&message, &request), None);
    assert_eq!(Authenticated::by_key(&message, &[]), None);
}

#[test]
fn an_answer_is_written_and_authenticated_at_once() {
    let (_, answer, before, key) = binding();
    let options: Options = [
        MobilityOption::from(HomeNetworkPrefix::of("2001:db8:f::1a2b".parse().expect("an address"))),
        BindingIdentifier { binding: BindingId(1), status: 0, priority: BindingPriority(0), care_of: None }.into(),
    ]
    .into_iter()
    .collect();
    let mut message = Message::BindingAck(BindingAck {
        status: Status::ACCEPTED,
        flags: AckFlags::default(),
        sequence: 41,
        lifetime: Lifetime::from_seconds(300),
        options,
    });
    let written = message.authenticate(Spi(0x0002_0001), |octets| key.authenticate(&[&before, octets])).expect("it fits");
    assert_eq!(hex(&written), hex(&answer));
    assert_eq!(Message::parse(&written), Ok(message));
}

#[test]
fn binding_authorization_data_end_a_message_too() {
    let (_, octets) = well_formed().into_iter().find(|(name, _)| name == "remote-bind 0").expect("it is there");
    let mut message = Message::parse(&octets).expect("well-formed");
    let authenticated = Authenticated::by_tokens(&message, &octets).expect("it has an authenticator");
    assert_eq!(authenticated.covered.concat(), octets[..octets.len() - 12]);
    let authenticator = authenticated.option.authenticator;
    assert_eq!(Authenticated::by_key(&message, &octets), None);

    let mut covered = Vec::new();
    let written = message.authorize(|octets| {
        covered = octets.to_vec();
        authenticator
    });
    assert_eq!(written, Ok(octets.clone()));
    assert_eq!(covered, octets[..octets.len() - 12]);
}

#[test]
fn a_message_of_an_unknown_type_cannot_be_authenticated() {
    let mut message = Message::Unknown(UnknownMessage::new(MessageType(200), vec![0, 0]).expect("unknown"));
    assert_eq!(message.authenticate(Spi(0x100), |_| [0; 16]), Err(EmitError::NoOptions));
    assert_eq!(message.authorize(|_| [0; 12]), Err(EmitError::NoOptions));
}

/// A Binding Update with these options, filled up with Pad1 in front of them.
fn update(options: &str) -> Vec<u8> {
    let options = octets(options);
    let len = (12 + options.len()).next_multiple_of(8);
    let mut update = octets("3b0005000000002ac000004b");
    update[1] = (len / 8 - 1) as u8;
    update.resize(len - options.len(), 0);
    update.extend(options);
    update
}

const AUTHENTICATION: &str = "0915010002000100112233445566778899aabbccddeeff";
const AUTHORIZATION: &str = "050c00112233445566778899aabb";
const PREFIX: &str = "1612008020010db8000f00000000000000001a2b";

#[test]
fn what_is_malformed_has_a_reason() {
    let twice = |option: &str| format!("{option}{option}");
    let table = [
        (octets(""), Malformed::Short(0)),
        (octets("3b000500000000"), Malformed::Short(7)),
        (octets("3a01020000000000bc7c21db08b8db11"), Malformed::PayloadProto(58)),
        (octets("3b02020000000000bc7c21db08b8db11"), Malformed::Length { stated: 24, received: 16 }),
        (octets("3b01020000000000bc7c21db08b8db1100"), Malformed::Length { stated: 16, received: 17 }),
        (octets("3b00020000000000"), Malformed::HeaderLength { kind: MessageType::CARE_OF_TEST_INIT, octets: 8 }),
        (octets("3b01040000000008bc7c21db08b8db11"), Malformed::HeaderLength { kind: MessageType::CARE_OF_TEST, octets: 16 }),
        (octets("3b0105000000002ac000004b0000000a"), Malformed::OptionOverrun { kind: 10, at: 15 }),
        (octets("3b0105000000002ac000004b00000a01"), Malformed::OptionOverrun { kind: 10, at: 14 }),
        (octets("3b0105000000002ac000004b01030000"), Malformed::OptionOverrun { kind: 1, at: 12 }),
        (octets("3b0105000000002ac000004bc8030000"), Malformed::OptionOverrun { kind: 200, at: 12 }),
        (update("1611008020010db8000f0000000000000000ab"), Malformed::OptionLength { kind: 22, length: 17 }),
        (update("030f20010db8000f00000000000000001a"), Malformed::OptionLength { kind: 3, length: 15 }),
        (update("0311000020010db8000f00000000000000001a"), Malformed::OptionLength { kind: 3, length: 17 }),
        (update("20040000c000"), Malformed::OptionLength { kind: 32, length: 4 }),
        (update("040200080000"), Malformed::OptionLength { kind: 4, length: 2 }),
        (update("0800"), Malformed::OptionLength { kind: 8, length: 0 }),
        (update("080101"), Malformed::OptionLength { kind: 8, length: 1 }),
        (update("0a0400000000"), Malformed::OptionLength { kind: 10, length: 4 }),
        (update("130400007ed9"), Malformed::OptionLength { kind: 19, length: 4 }),
        (update("130c00007ed90100000000000bb8"), Malformed::VendorLength { subtype: 1, length: 12 }),
        (update("130500007ed902"), Malformed::VendorLength { subtype: 2, length: 5 }),
        (update("130500007ed903"), Malformed::VendorLength { subtype: 3, length: 5 }),
        (update("130500007ed904"), Malformed::VendorLength { subtype: 4, length: 5 }),
        (update("130500007ed905"), Malformed::VendorLength { subtype: 5, length: 5 }),
        (update("0914010002000100112233445566778899aabbccddee"), Malformed::OptionLength { kind: 9, length: 20 }),
        (update("0915020002000100112233445566778899aabbccddeeff"), Malformed::AuthenticationSubtype(2)),
        (update(&format!("{AUTHENTICATION}00")), Malformed::NotLast(9)),
        (update(&format!("{AUTHENTICATION}0100")), Malformed::NotLast(9)),
        (update(&format!("{AUTHENTICATION}{PREFIX}")), Malformed::NotLast(9)),
        (update(&twice(AUTHENTICATION)), Malformed::NotLast(9)),
        (update(&format!("{AUTHORIZATION}{AUTHENTICATION}")), Malformed::NotLast(5)),
        (update("050b00112233445566778899aa"), Malformed::OptionLength { kind: 5, length: 11 }),
        (update(&format!("{AUTHORIZATION}00")), Malformed::NotLast(5)),
        (update(&twice(PREFIX)), Malformed::OptionTwice(22)),
        (update(&twice("031020010db8000f00000000000000001a2b")), Malformed::OptionTwice(3)),
        (update(&twice("20060000c0000201")), Malformed::OptionTwice(32)),
        (update(&twice("040400000008")), Malformed::OptionTwice(4)),
        (update("080301614008030261400000"), Malformed::OptionTwice(8)),
        (update(&twice("0a080000000000000000")), Malformed::OptionTwice(10)),
    ];
    for (octets, expected) in table {
        assert_eq!(Message::parse(&octets), Err(expected), "{}", hex(&octets));
    }
}

#[test]
fn what_a_status_answers_is_well_formed() {
    let options = |options: &str| Message::parse(&update(options)).expect("well-formed").options().expect("an update").clone();

    let malformed = options("230500010001ff");
    let found = malformed.binding_identifiers().next().expect("it is there").expect_err("its length is none");
    assert_eq!(found.data(), [0, 1, 0, 1, 0xff]);
    let zero = options("230400000001230400020001");
    let bindings: Vec<_> = zero.binding_identifiers().map(|found| found.expect("well-formed").binding.0).collect();
    assert_eq!(bindings, [0, 2]);

    let flows = options(&"2d0400010005 2d0a0002000a000002020000 2d060003000a0000".replace(' ', ""));
    let found: Vec<_> =
        flows.flow_identifications().map(|flow| flow.map(|flow| flow.flow).map_err(|flow| (flow.flow(), flow.fault()))).collect();
    assert_eq!(found, [Err((1, FlowFault::Short(4))), Err((2, FlowFault::ReferenceToZero)), Ok(3)]);

    let other = options("2d0b0001000a0000030301aabb");
    let flow = other.flow_identifications().next().expect("it is there").expect("it is understood");
    assert_eq!(flow.fault(), Some(FlowFault::SelectorFormat(1)));
}

#[test]
fn what_is_unknown_is_kept() {
    let message = Message::parse(&update("c80301020313060000000101ff130600007ed909ee")).expect("well-formed");
    let kinds: Vec<_> = message.options().expect("an update").iter().map(MobilityOption::kind).collect();
    assert_eq!(kinds, [200, 19, 19]);
    let Some(MobilityOption::Vendor(VendorOption::Unknown(other))) = message.options().and_then(|options| options.iter().nth(1)) else {
        panic!("{message:?}")
    };
    assert_eq!((other.vendor(), other.subtype(), other.data()), (1, 1, &[0xff][..]));
    assert_eq!(Message::parse(&message.to_vec().expect("it fits")), Ok(message));
}

#[test]
fn of_vendor_options_that_count_once_the_first_counts() {
    let windows = "130e00007ed9010000000000000100 00130e00007ed90100000000000002 0000".replace(' ', "");
    let options = Message::parse(&update(&windows)).expect("well-formed").options().expect("an update").clone();
    assert_eq!(options.transition_window(), Some(&TransitionWindow { window_ms: 1 }));
    assert_eq!(options.len(), 2);
}

#[test]
fn reserved_bits_are_ignored_and_written_as_zero() {
    let plain = update(PREFIX);
    let mut noisy = plain.clone();
    let reserved = noisy.len() - 18;
    noisy[3] = 0xff;
    noisy[4..6].fill(0xff);
    noisy[reserved] = 0xff;
    let message = Message::parse(&noisy).expect("well-formed");
    assert_eq!(Message::parse(&plain), Ok(message.clone()));
    assert_eq!(message.to_vec(), Ok(plain));

    let mut flags = update(PREFIX);
    flags[8] = 0xff;
    flags[9] = 0x81;
    let Ok(Message::BindingUpdate(update)) = Message::parse(&flags) else { panic!("well-formed") };
    assert_eq!(update.flags, UpdateFlags(0xff81));
}

#[test]
fn a_message_that_does_not_fit_is_not_written() {
    let mut options = Options::default();
    for _ in 0..9 {
        options.push(UnknownOption::new(200, &[0; 255]).expect("it fits"));
    }
    let long = Message::RefreshRequest(RefreshRequest { options });
    assert_eq!(long.to_vec(), Err(EmitError::TooLong(long.buffer_len())));
    let short = Message::RefreshRequest(RefreshRequest::default());
    assert_eq!(short.emit(&mut [0; 7]), Err(EmitError::Buffer { needed: 8, given: 7 }));
    let mut room = [0xff; 10];
    assert_eq!(short.emit(&mut room), Ok(8));
    assert_eq!(room, [59, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);

    let reference = BindingReference::new((1..=110).map(BindingId)).expect("they fit");
    let all = Ipv6Selector { source: Some(Ipv6Addr::LOCALHOST), destination: Some(Ipv6Addr::LOCALHOST), ..Ipv6Selector::default() };
    let flow = FlowIdentification::new(1, 1, FlowStatus::DONE).with(reference).with(all);
    let message = Message::RefreshRequest(RefreshRequest { options: Options::from_iter([flow]) });
    assert_eq!(message.to_vec(), Err(EmitError::OptionTooLong { kind: 45, octets: 6 + 222 + 40 }));
}

fn data(most: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..=most)
}

fn ipv6() -> impl Strategy<Value = Ipv6Addr> {
    any::<u128>().prop_map(Ipv6Addr::from)
}

fn care_of() -> impl Strategy<Value = Option<IpAddr>> {
    prop_oneof![
        Just(None),
        any::<u32>().prop_map(|address| Some(Ipv4Addr::from(address).into())),
        ipv6().prop_map(|address| Some(address.into())),
    ]
}

fn selector() -> impl Strategy<Value = Ipv6Selector> {
    let maybe = |strategy: BoxedStrategy<u32>| proptest::option::of(strategy);
    let word = || maybe(any::<u32>().boxed());
    let label = || proptest::option::of(any::<u32>().prop_map(SelectorLabel::new));
    let address = || proptest::option::of(ipv6());
    let port = || any::<Option<u16>>();
    let octet = || any::<Option<u8>>();
    let addresses = (address(), address(), address(), address());
    let words = (word(), word(), label(), label());
    let ports = (port(), port(), port(), port());
    let octets = (octet(), octet(), octet(), octet());
    (addresses, words, ports, octets).prop_map(|(addresses, words, ports, octets)| Ipv6Selector {
        source: addresses.0,
        source_end: addresses.1,
        destination: addresses.2,
        destination_end: addresses.3,
        spi: words.0,
        spi_end: words.1,
        label: words.2,
        label_end: words.3,
        source_port: ports.0,
        source_port_end: ports.1,
        destination_port: ports.2,
        destination_port_end: ports.3,
        traffic_class: octets.0,
        traffic_class_end: octets.1,
        next_header: octets.2,
        next_header_end: octets.3,
    })
}

fn sub_option() -> impl Strategy<Value = FlowSubOption> {
    prop_oneof![
        selector().prop_map(FlowSubOption::from),
        (any::<u8>(), data(20))
            .prop_filter_map("another format", |(format, data)| OtherSelector::new(format, &data).map(FlowSubOption::from)),
        proptest::collection::vec(1..=u16::MAX, 1..6)
            .prop_map(|bindings| BindingReference::new(bindings.into_iter().map(BindingId)).expect("not zero").into()),
        (4..=u8::MAX, data(20)).prop_map(|(kind, data)| UnknownSubOption::new(kind, &data).expect("unknown").into()),
    ]
}

fn vendor() -> impl Strategy<Value = VendorOption> {
    let ports = (any::<bool>(), any::<u16>(), any::<u16>(), any::<u16>(), any::<u16>());
    let parameters = (any::<bool>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<u64>(), ipv6());
    prop_oneof![
        any::<u32>().prop_map(|window_ms| TransitionWindow { window_ms }.into()),
        ports.prop_map(|(multiplexed, binding, flow, rtp, rtcp)| {
            MediaPorts { multiplexed, binding: BindingId(binding), flow, rtp, rtcp }.into()
        }),
        parameters.prop_map(|(identity_bound, parent, transfer_id, label, validity_end, media_source)| {
            KeyParameters { identity_bound, parent: Spi(parent), transfer_id, label, validity_end, media_source }.into()
        }),
        (any::<u16>(), any::<u8>(), any::<u8>()).prop_map(|(flow, media, payload_type)| MediaExpectation {
            flow,
            media: MediaClass(media),
            payload_type
        }
        .into()),
        (any::<u32>(), any::<u64>()).prop_map(|(spi, validity_end)| KeyGrant { spi: Spi(spi), validity_end }.into()),
        (any::<u8>(), any::<u32>()).prop_map(|(asked, left_ms)| ConsentQuestion { asked: AskedParty(asked), left_ms }.into()),
        (prop_oneof![Just(32473), any::<u32>()], any::<u8>(), data(250))
            .prop_filter_map("unknown", |(vendor, subtype, data)| UnknownVendorOption::new(vendor, subtype, &data).map(VendorOption::from)),
    ]
}

fn option() -> impl Strategy<Value = MobilityOption> {
    prop_oneof![
        (any::<u8>(), ipv6()).prop_map(|(prefix_length, address)| HomeNetworkPrefix { prefix_length, address }.into()),
        (any::<u16>(), any::<u8>(), any::<u8>(), care_of()).prop_map(|(binding, status, priority, care_of)| {
            BindingIdentifier { binding: BindingId(binding), status, priority: BindingPriority(priority), care_of }.into()
        }),
        ipv6().prop_map(|address| AlternateCareOf { address }.into()),
        any::<u32>().prop_map(|address| Ipv4CareOf { address: address.into() }.into()),
        (any::<u16>(), any::<u16>(), any::<u8>(), proptest::collection::vec(sub_option(), 0..4)).prop_map(
            |(flow, priority, status, sub_options)| {
                let flow = FlowIdentification::new(flow, priority, FlowStatus(status));
                sub_options.into_iter().fold(flow, FlowIdentification::with).into()
            }
        ),
        (any::<u16>(), any::<u16>()).prop_map(|(home, care_of)| NonceIndices { home, care_of }.into()),
        "[a-zä@.]{1,120}".prop_map(|nai| MobileNodeId::new(&nai).expect("it fits").into()),
        any::<u64>().prop_map(|ntp| MessageId { ntp }.into()),
        vendor().prop_map(MobilityOption::from),
        vendor().prop_map(MobilityOption::from),
        (any::<u32>(), any::<[u8; 16]>()).prop_map(|(spi, data)| MessageAuthentication { spi: Spi(spi), data }.into()),
        any::<[u8; 12]>().prop_map(|authenticator| BindingAuthorization { authenticator }.into()),
        (any::<u8>(), data(255)).prop_filter_map("unknown", |(kind, data)| UnknownOption::new(kind, &data).map(MobilityOption::from)),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    proptest::collection::vec(option(), 0..8).prop_map(Options::from_iter)
}

fn message() -> impl Strategy<Value = Message> {
    let test = || (any::<u16>(), any::<[u8; 8]>(), any::<[u8; 8]>(), options());
    prop_oneof![
        options().prop_map(|options| Message::RefreshRequest(RefreshRequest { options })),
        (any::<[u8; 8]>(), options()).prop_map(|(cookie, options)| Message::HomeTestInit(HomeTestInit { cookie, options })),
        (any::<[u8; 8]>(), options()).prop_map(|(cookie, options)| Message::CareOfTestInit(CareOfTestInit { cookie, options })),
        test().prop_map(|(nonce_index, cookie, token, options)| Message::HomeTest(HomeTest { nonce_index, cookie, token, options })),
        test().prop_map(|(nonce_index, cookie, token, options)| Message::CareOfTest(CareOfTest { nonce_index, cookie, token, options })),
        (any::<u16>(), any::<u16>(), any::<u16>(), options()).prop_map(|(sequence, flags, lifetime, options)| {
            Message::BindingUpdate(BindingUpdate { sequence, flags: UpdateFlags(flags), lifetime: Lifetime(lifetime), options })
        }),
        (any::<u8>(), any::<u8>(), any::<u16>(), any::<u16>(), options()).prop_map(|(status, flags, sequence, lifetime, options)| {
            Message::BindingAck(BindingAck {
                status: Status(status),
                flags: AckFlags(flags),
                sequence,
                lifetime: Lifetime(lifetime),
                options,
            })
        }),
        (any::<u8>(), ipv6(), options()).prop_map(|(status, home, options)| Message::BindingError(BindingError { status, home, options })),
        (8..=u8::MAX, proptest::collection::vec(any::<[u8; 8]>(), 0..20)).prop_map(|(kind, units)| {
            let octets = [&[1, 2][..], &units.concat()].concat();
            Message::Unknown(UnknownMessage::new(MessageType(kind), octets).expect("it is whole"))
        }),
    ]
}

/// One of the vectors, with some octets changed, inserted or removed, and sometimes a length field that fits again.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let vectors: Vec<Vec<u8>> = well_formed().into_iter().map(|(_, octets)| octets).collect();
    let change = (any::<prop::sample::Index>(), 0..4_u8, prop_oneof![any::<u8>(), 0..50_u8]);
    (prop::sample::select(vectors), proptest::collection::vec(change, 0..6), any::<bool>()).prop_map(|(mut octets, changes, fit)| {
        for (at, how, value) in changes {
            let at = at.index(octets.len());
            match how {
                0 => octets.insert(at, value),
                1 if octets.len() > 8 => drop(octets.remove(at)),
                _ => octets[at] = value,
            }
        }
        if fit {
            octets.resize(octets.len().next_multiple_of(8), 0);
            octets[0] = 59;
            octets[1] = (octets.len() / 8 - 1) as u8;
        }
        octets
    })
}

/// What can be read is written as something that reads the same.
fn reads_the_same_again(octets: &[u8]) -> Result<(), TestCaseError> {
    let Ok(message) = Message::parse(octets) else { return Ok(()) };
    let _ = (Authenticated::by_key(&message, octets), Authenticated::by_tokens(&message, octets));
    match message.to_vec() {
        Ok(written) => prop_assert_eq!(Message::parse(&written), Ok(message)),
        // Aligning takes room that a full header does not have.
        Err(error) => prop_assert!(matches!(error, EmitError::TooLong(needed) if needed > MAX_LEN), "{}", error),
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_value_that_is_written_reads_the_same(message in message()) {
        let needed = message.buffer_len();
        prop_assert!(needed.is_multiple_of(8));
        let written = message.to_vec();
        match written {
            Ok(written) => {
                prop_assert_eq!(written.len(), needed);
                prop_assert_eq!(Message::parse(&written), Ok(message));
            }
            Err(error) => prop_assert!(matches!(error, EmitError::TooLong(_) | EmitError::OptionTooLong { kind: 45, .. }), "{}", error),
        }
    }

    #[test]
    fn an_authenticator_covers_what_is_written_before_it(message in message(), spi in any::<u32>(), data in any::<[u8; 16]>()) {
        let mut message = message;
        let mut covered = Vec::new();
        let written = message.authenticate(Spi(spi), |octets| {
            covered = octets.to_vec();
            data
        });
        let Ok(written) = written else { return Ok(()) };
        prop_assert_eq!(Message::parse(&written), Ok(message.clone()));
        let authenticated = Authenticated::by_key(&message, &written).expect("it was just written");
        prop_assert_eq!(authenticated.covered.concat(), covered);
        prop_assert_eq!(authenticated.option, MessageAuthentication { spi: Spi(spi), data });
    }

    #[test]
    fn no_octets_make_it_panic(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        reads_the_same_again(&octets)?;
    }

    #[test]
    fn octets_behind_a_header_read_the_same_again(kind in 0..9_u8, body in proptest::collection::vec(any::<[u8; 8]>(), 2..20)) {
        let mut octets = body.concat();
        octets[..3].copy_from_slice(&[59, (body.len() - 1) as u8, kind]);
        reads_the_same_again(&octets)?;
    }

    #[test]
    fn mutated_vectors_read_the_same_again(octets in mutated()) {
        reads_the_same_again(&octets)?;
    }
}
