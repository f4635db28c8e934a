//! Flow steering: home addresses, the flow filter, the binding cache, keys and hand-over.
//!
//! Pure: commands and the time come in, routes, events and a next deadline go out. Every carriage (RTSP take-over,
//! HTTP, Mobility Header) uses the same commands.

pub mod cache;
pub mod care_of;
pub mod command;
pub mod consent;
mod consenting;
pub mod counters;
pub mod event;
pub mod flow;
mod foreign;
pub mod gate;
mod guest;
pub mod home;
pub mod keys;
mod passage;
pub mod pool;
pub mod proof;
mod register;
pub mod registration;
pub mod route;
mod session_keys;
pub mod snapshot;
pub mod token;
mod update;
pub mod view;

pub use cache::BindingCache;
pub use care_of::{BindingId, CareOf, ConnectionId, HomeAddress};
pub use command::{
    Authority, Expectation, ExpectedMedia, Holder, Mode, Owner, Proof, Receipt, Reservation, Reserve, Rules, SteeringError,
    SteeringSettings, Update,
};
pub use consent::{Consents, Policy, Withheld};
pub use consenting::ConsentRules;
pub use counters::Counters;
pub use event::{Event, EventKind};
pub use flow::{FlowId, FlowPorts};
pub use gate::Gate;
pub use home::Window;
pub use keys::{Key, ReplayWindow, Spi};
pub use proof::{KeygenToken, ReturnRoutability};
pub use registration::{
    FlowBody, FlowRequest, FlowSelector, FlowStatus, ForeignRegistration, GrantError, Granted, KeyClaim, NamedBinding, Registered,
    Registration, RegistrationError, StatedExpectation, StatedPorts, UpdateKey,
};
pub use route::{
    Branch, BranchSerial, DropReason, EndReason, Ended, Entered, HandedOver, Join, JoinWay, PacketFacts, Payload, Route, UpdateId,
};
pub use snapshot::{BindingRecord, FlowRecord, HomeRecord, KeyRecord};
pub use token::{Grant, GrantOptions, TokenError, VerifiedGrant, token};
pub use view::{BranchView, HomeStatus, HomeView};
