//! What a device has to send, and what has happened to what it asked.

use std::net::IpAddr;
use std::time::Duration;

use crate::mobility::wire::{AskedParty, FlowStatus, Status};
use crate::steering::{BindingId, HomeAddress, Key, KeygenToken, Spi};

/// Names something that was asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AskId(pub(super) u64);

/// A datagram to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// The Mobility Header.
    pub octets: Vec<u8>,
    /// From which address; `None` any.
    pub from: Option<IpAddr>,
}

/// What has happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A care-of test was passed.
    Tested {
        /// Where.
        care_of: IpAddr,
        /// What proves it.
        token: KeygenToken,
    },
    /// A home address is reserved, anew or for longer.
    Reserved {
        /// By which ask; `None` by the node itself, as the server had lost it.
        id: Option<AskId>,
        /// The address.
        home: HomeAddress,
        /// Names K1.
        spi: Spi,
        /// K1.
        key: Key,
        /// When it ends, in seconds since 1970.
        validity_end: u64,
    },
    /// A binding is made or refreshed.
    Bound {
        /// By which ask; `None` by a refresh.
        id: Option<AskId>,
        /// Whose packets.
        home: HomeAddress,
        /// Which binding.
        binding: Option<BindingId>,
        /// For how long.
        lifetime: Duration,
        /// What became of the flow, where it was named.
        flow: Option<FlowStatus>,
    },
    /// Somebody is asked whether the flow may come here; the ask goes on until that is answered.
    Asked {
        /// By which ask; `None` by a refresh.
        id: Option<AskId>,
        /// Whose packets, if that was said.
        home: Option<HomeAddress>,
        /// Who.
        asked: AskedParty,
        /// For how long.
        left: Duration,
    },
    /// A binding has ended, or a home address was released.
    Removed {
        /// By which ask.
        id: AskId,
    },
    /// The server has refused, and nothing more is tried.
    Refused {
        /// Which ask; `None` a refresh, and the binding is not kept any more.
        id: Option<AskId>,
        /// Whose packets, if that was said.
        home: Option<HomeAddress>,
        /// Why.
        status: Status,
    },
    /// Nobody has answered in time.
    NoAnswer {
        /// Which ask.
        id: AskId,
    },
    /// The server says that nobody holds a home address. A hint.
    HomeUnknown {
        /// Which.
        home: HomeAddress,
        /// Whether it is being reserved again.
        again: bool,
    },
}
