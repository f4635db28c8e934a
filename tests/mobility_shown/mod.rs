//! Messages in the words of the vectors. It has every field of the value, so that a field too many or too few is a difference.
#![allow(dead_code)]

use flowsteer::mobility::wire::{
    AckFlags, FlowSubOption, Message, MobilityOption, SelectorLabel, TrafficSelector, UpdateFlags, VendorOption,
};
use serde_json::{Map, Value, json};

pub fn octets(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "{hex}");
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex")).collect()
}

pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

pub fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}"))
}

/// A message in the vectors' words. It has every field of the value, so that a field too many or too few is a difference.
pub fn shown(message: &Message) -> Value {
    let mut value = match message {
        Message::RefreshRequest(_) => json!({ "message": "BRR" }),
        Message::HomeTestInit(m) => json!({ "message": "HoTI", "cookie": hex(&m.cookie) }),
        Message::CareOfTestInit(m) => json!({ "message": "CoTI", "cookie": hex(&m.cookie) }),
        Message::HomeTest(m) => {
            json!({ "message": "HoT", "nonce_index": m.nonce_index, "cookie": hex(&m.cookie), "token": hex(&m.token) })
        }
        Message::CareOfTest(m) => {
            json!({ "message": "CoT", "nonce_index": m.nonce_index, "cookie": hex(&m.cookie), "token": hex(&m.token) })
        }
        Message::BindingUpdate(m) => {
            json!({ "message": "BU", "seq": m.sequence, "flags": shown_flags(m.flags), "lifetime_s": m.lifetime.seconds() })
        }
        Message::BindingAck(m) => {
            assert_eq!(m.flags, AckFlags(0));
            json!({ "message": "BA", "status": m.status.0, "seq": m.sequence, "lifetime_s": m.lifetime.seconds() })
        }
        Message::BindingError(m) => json!({ "message": "BE", "status": m.status, "home": m.home }),
        Message::Unknown(m) => json!({ "message": m.kind().0 }),
    };
    if let Some(options) = message.options() {
        value["options"] = options.iter().map(shown_option).collect();
    }
    value
}

pub fn shown_flags(flags: UpdateFlags) -> String {
    let named = [(UpdateFlags::ACKNOWLEDGE, 'A'), (UpdateFlags::HOME_REGISTRATION, 'H')];
    let letters: String = named.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, letter)| letter).collect();
    let rest = flags.0 & !(UpdateFlags::ACKNOWLEDGE | UpdateFlags::HOME_REGISTRATION).0;
    if rest == 0 { letters } else { format!("{letters}+0x{rest:04x}") }
}

pub fn shown_option(option: &MobilityOption) -> Value {
    let (name, mut fields) = match option {
        MobilityOption::HomeNetworkPrefix(o) => ("home_network_prefix", json!({ "prefix_length": o.prefix_length, "address": o.address })),
        MobilityOption::BindingIdentifier(o) => {
            assert!(!o.priority.is_home());
            let mut fields = json!({ "bid": o.binding.0, "status": o.status, "pri": o.priority.priority() });
            if let Some(care_of) = o.care_of {
                fields["care_of"] = json!(care_of);
            }
            ("binding_id", fields)
        }
        MobilityOption::AlternateCareOf(o) => ("alternate_care_of", json!({ "address": o.address })),
        MobilityOption::Ipv4CareOf(o) => ("ipv4_care_of", json!({ "address": o.address })),
        MobilityOption::FlowIdentification(o) => {
            let subs: Value = o.sub_options().iter().map(shown_sub).collect();
            ("flow_id", json!({ "fid": o.flow, "pri": o.priority, "status": o.status.0, "subs": subs }))
        }
        MobilityOption::NonceIndices(o) => ("nonce_indices", json!({ "home": o.home, "care_of": o.care_of })),
        MobilityOption::MobileNodeId(o) => ("mn_id", json!({ "subtype": o.subtype(), "nai": o.nai() })),
        MobilityOption::MessageId(o) => ("message_id", json!({ "ntp": o.ntp })),
        MobilityOption::Vendor(o) => ("vendor", shown_vendor(o)),
        MobilityOption::MessageAuthentication(o) => ("auth", json!({ "subtype": 1, "spi": o.spi.0, "data": hex(&o.data) })),
        MobilityOption::BindingAuthorization(o) => ("binding_auth_data", json!({ "authenticator": hex(&o.authenticator) })),
        MobilityOption::MalformedBindingIdentifier(_) | MobilityOption::MalformedFlowIdentification(_) | MobilityOption::Unknown(_) => {
            panic!("no vector has {option:?}")
        }
    };
    fields["type"] = json!(option.kind());
    fields["name"] = json!(name);
    fields
}

pub fn shown_vendor(option: &VendorOption) -> Value {
    let mut fields = match option {
        VendorOption::TransitionWindow(o) => json!({ "window_ms": o.window_ms }),
        VendorOption::MediaPorts(o) => {
            json!({ "mux": u8::from(o.multiplexed), "bid": o.binding.0, "fid": o.flow, "rtp": o.rtp, "rtcp": o.rtcp })
        }
        VendorOption::KeyParameters(o) => json!({
            "identity_bound": u8::from(o.identity_bound),
            "parent_spi": o.parent.0,
            "transfer_id": o.transfer_id,
            "flow_label": o.label,
            "validity_end": o.validity_end,
            "media_source": o.media_source,
        }),
        VendorOption::MediaExpectation(o) => json!({ "fid": o.flow, "media": o.media.0, "payload_type": o.payload_type }),
        VendorOption::KeyGrant(o) => json!({ "spi": o.spi.0, "validity_end": o.validity_end }),
        VendorOption::ConsentQuestion(o) => json!({ "asked": o.asked.0, "left_ms": o.left_ms }),
        VendorOption::Unknown(_) => panic!("no vector has {option:?}"),
    };
    fields["vendor"] = json!(option.vendor());
    fields["subtype"] = json!(option.subtype());
    fields
}

pub fn shown_sub(sub: &FlowSubOption) -> Value {
    match sub {
        FlowSubOption::BindingReference(reference) => {
            json!({ "sub": "binding_reference", "bids": reference.bindings().iter().map(|binding| binding.0).collect::<Vec<_>>() })
        }
        FlowSubOption::TrafficSelector(TrafficSelector::Ipv6(s)) => {
            let label = |label: Option<SelectorLabel>| label.map(SelectorLabel::bits);
            let fields = [
                ("src", json!(s.source)),
                ("src_end", json!(s.source_end)),
                ("dst", json!(s.destination)),
                ("dst_end", json!(s.destination_end)),
                ("spi", json!(s.spi)),
                ("spi_end", json!(s.spi_end)),
                ("flow_label", json!(label(s.label))),
                ("flow_label_end", json!(label(s.label_end))),
                ("sport", json!(s.source_port)),
                ("sport_end", json!(s.source_port_end)),
                ("dport", json!(s.destination_port)),
                ("dport_end", json!(s.destination_port_end)),
                ("traffic_class", json!(s.traffic_class)),
                ("traffic_class_end", json!(s.traffic_class_end)),
                ("next_header", json!(s.next_header)),
                ("next_header_end", json!(s.next_header_end)),
            ];
            let mut value = Map::from_iter([("sub".into(), json!("traffic_selector")), ("format".into(), json!(2))]);
            value.extend(fields.into_iter().filter(|(_, field)| !field.is_null()).map(|(name, field)| (name.to_owned(), field)));
            value.into()
        }
        FlowSubOption::TrafficSelector(TrafficSelector::Other(_)) | FlowSubOption::Unknown(_) => panic!("no vector has {sub:?}"),
    }
}
