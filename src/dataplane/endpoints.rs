//! Which branch a datagram from outside belongs to: by the address and port it came from.
//!
//! Shared by the shards, because the kernel chooses which shard's socket a datagram arrives at.

use std::net::{IpAddr, SocketAddr};

use dashmap::DashMap;

use crate::playback::PresentationId;
use crate::steering::{BranchSerial, HomeAddress};

/// A branch, as datagrams are told apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Whose.
    pub presentation: PresentationId,
    /// Its flow.
    pub home: HomeAddress,
    /// The branch.
    pub branch: BranchSerial,
}

/// The UDP endpoints of all branches.
#[derive(Debug, Default)]
pub struct Endpoints {
    rtcp: DashMap<SocketAddr, Endpoint>,
}

impl Endpoints {
    /// Notes where a branch's reports come from.
    pub fn note(&self, rtcp: SocketAddr, endpoint: Endpoint) {
        self.rtcp.insert(rtcp, endpoint);
    }

    /// Forgets a branch, unless its endpoint is another's by now.
    pub fn forget(&self, rtcp: SocketAddr, branch: BranchSerial) {
        self.rtcp.remove_if(&rtcp, |_, endpoint| endpoint.branch == branch);
    }

    /// The branch whose reports come from there.
    pub fn find(&self, from: SocketAddr) -> Option<Endpoint> {
        self.rtcp.get(&from).map(|endpoint| *endpoint)
    }

    /// How many of an address are noted.
    pub fn count(&self, address: IpAddr) -> usize {
        self.rtcp.iter().filter(|entry| entry.key().ip() == address).count()
    }
}
