//! The two sides of the address map: the stable home address and the places where its packets really go.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Whether a Binding Update from `sender` may name that care-of: one host, of any link; this machine only from itself.
pub(crate) fn is_host(care_of: IpAddr, sender: IpAddr) -> bool {
    let is_one = match care_of {
        IpAddr::V4(v4) => !(v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast() || v4.is_link_local()),
        IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some()),
    };
    is_one && (!care_of.is_loopback() || sender.is_loopback())
}

/// The stable name a flow is sent to: one `/128` out of the server's pool (RFC 6275 section 3.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HomeAddress(pub Ipv6Addr);

impl fmt::Display for HomeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for HomeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Names one of several care-of addresses of a home address (RFC 5648), never zero on the wire; zero stands for the
/// plain binding without an identifier.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BindingId(pub u16);

impl BindingId {
    /// The first of the identifiers drawn for bindings that RTSP makes.
    pub const FIRST_DRAWN: u16 = 0x8000;

    /// The binding without an identifier, which stands for the whole home address (RFC 6275).
    pub const PLAIN: Self = Self(0);
}

impl fmt::Display for BindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for BindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bid {}", self.0)
    }
}

/// Names a TCP connection that carries interleaved packets; unique in the process, never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(pub u64);

/// Where a mobile node is now: where its packets really go. Addresses are canonical (no `::ffff:`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CareOf {
    /// UDP datagrams.
    Udp {
        /// Where RTP goes.
        rtp: SocketAddr,
        /// Where RTCP goes; the same address, often the next port.
        rtcp: SocketAddr,
        /// Our own address that the node knows us by and that packets leave from; `None` lets the system choose.
        source: Option<IpAddr>,
    },
    /// Interleaved in an RTSP connection (RFC 2326 section 10.12).
    Interleaved {
        /// The connection.
        connection: ConnectionId,
        /// Its other end.
        peer: SocketAddr,
        /// The channel for RTP.
        rtp_channel: u8,
        /// The channel for RTCP.
        rtcp_channel: u8,
    },
}

impl CareOf {
    /// The node's address, whatever the transport.
    pub const fn ip(&self) -> IpAddr {
        match self {
            Self::Udp { rtp, .. } => rtp.ip(),
            Self::Interleaved { peer, .. } => peer.ip(),
        }
    }

    /// The RTP endpoint, or the connection's other end.
    pub const fn endpoint(&self) -> SocketAddr {
        match self {
            Self::Udp { rtp, .. } => *rtp,
            Self::Interleaved { peer, .. } => *peer,
        }
    }

    /// Whether packets to either arrive at the same place, from whichever of our own addresses they leave.
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Udp { rtp, rtcp, .. }, Self::Udp { rtp: other_rtp, rtcp: other_rtcp, .. }) => rtp == other_rtp && rtcp == other_rtcp,
            (Self::Interleaved { .. }, Self::Interleaved { .. }) => self == other,
            _ => false,
        }
    }
}
