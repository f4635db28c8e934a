//! The Mobility Header (RFC 6275 section 6.1) between octets and values, in both directions.
//!
//! One file holds one message or one option. [`Message::parse`] takes what is well-formed and gives the reason for everything
//! else. What is well-formed and still wrong, an identifier of zero or a flow that cannot be understood, stays a value, since it
//! is answered with a status. Code points that are unknown here are kept, so that a value written again is the same value;
//! padding and reserved bits are not, and are written as zero. All integers are big endian; ranges of a message count from
//! the first octet of the header, those of an option from the first after its length.
//!
//! Read RFC 6275 section 6.1 first, then RFC 5648 section 4.1 (binding identifiers), RFC 6089 section 4 (flow identification),
//! RFC 6088 section 3.2 (traffic selectors) and RFC 4285 section 5 (authentication). Keys and statuses are decided elsewhere.

mod authenticated;
mod binding_ack;
mod binding_error;
mod binding_update;
mod care_of_test;
mod care_of_test_init;
pub mod checksum;
mod error;
mod field;
mod header;
mod home_test;
mod home_test_init;
mod lifetime;
mod message;
mod option;
mod refresh_request;
mod status;
mod unknown;

pub use authenticated::Authenticated;
pub use binding_ack::{AckFlags, BindingAck};
pub use binding_error::BindingError;
pub use binding_update::{BindingUpdate, UpdateFlags};
pub use care_of_test::CareOfTest;
pub use care_of_test_init::CareOfTestInit;
pub use error::{EmitError, Malformed};
pub use header::{MAX_LEN, MessageType, PAYLOAD_PROTO};
pub use home_test::HomeTest;
pub use home_test_init::HomeTestInit;
pub use lifetime::Lifetime;
pub use message::Message;
pub use option::{
    AlternateCareOf, AskedParty, BindingAuthorization, BindingIdentifier, BindingPriority, BindingReference, ConsentQuestion, FlowFault,
    FlowIdentification, FlowStatus, FlowSubOption, HomeNetworkPrefix, Ipv4CareOf, Ipv6Selector, KeyGrant, KeyParameters,
    MalformedBindingIdentifier, MalformedFlowIdentification, MediaClass, MediaExpectation, MediaPorts, MessageAuthentication, MessageId,
    MobileNodeId, MobilityOption, NonceIndices, OptionData, Options, OtherSelector, SelectorLabel, TrafficSelector, TransitionWindow,
    UnknownOption, UnknownSubOption, UnknownVendorOption, VENDOR, VendorOption,
};
pub use refresh_request::RefreshRequest;
pub use status::{Remedy, Status};
pub use unknown::UnknownMessage;
