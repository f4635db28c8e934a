//! What one presentation has noted in the [`Endpoints`]: where datagrams of its branches come from, and what its SETUPs
//! told. A branch that turns out to be behind another port is moved there, by a binding update like any other.

use std::net::{IpAddr, SocketAddr};

use crate::dataplane::endpoints::{Endpoint, Endpoints, Port, Ports, Told};
use crate::now::Now;
use crate::playback::presentation::Presentation;
use crate::playback::{FlowFacts, PresentationId};
use crate::steering::{Authority, BindingCache, Branch, BranchSerial, CareOf, Holder, HomeAddress, Mode, Owner, Proof, Update};

/// SETUPs of a presentation that datagrams may correct, at most.
const MAX_AWAITED: usize = 256;

/// What a presentation has noted.
#[derive(Debug, Default)]
pub(crate) struct Ways {
    /// Where its branches are.
    noted: Vec<(Endpoint, (IpAddr, u16, Port))>,
    /// The SETUPs that datagrams may correct, oldest first.
    awaited: Vec<(IpAddr, Holder, HomeAddress)>,
}

impl Ways {
    /// Notes what a SETUP told; one that is interleaved takes back what an earlier one told.
    pub(crate) fn expect(
        &mut self,
        endpoints: &Endpoints,
        presentation: PresentationId,
        flow: &FlowFacts,
        holder: Holder,
        care_of: CareOf,
        now: Now,
    ) {
        let (address, home) = (care_of.ip(), flow.home);
        self.awaited.retain(|(address, other, at)| (*other, *at) != (holder, home) && endpoints.expects(*address, presentation));
        match care_of {
            CareOf::Udp { rtp, rtcp, .. } => {
                if self.awaited.len() >= MAX_AWAITED {
                    let (address, holder, home) = self.awaited.remove(0);
                    endpoints.retain(address, presentation, |other, at, _| (other, at) != (holder, home), now.mono);
                }
                endpoints.retain(address, presentation, |_, _, _| true, now.mono);
                let ports = Ports { rtp: rtp.port(), rtcp: rtcp.port() };
                endpoints.expect(address, Told { presentation, home, ssrc: flow.ssrc, holder, ports }, now.mono);
                self.awaited.push((address, holder, home));
            }
            CareOf::Interleaved { .. } => {
                endpoints.retain(address, presentation, |other, at, _| (other, at) != (holder, home), now.mono);
            }
        }
    }

    /// Moves the branches that are behind other ports than they were bound to. Whether there were any: the routes have
    /// changed then.
    pub(crate) fn correct(&self, endpoints: &Endpoints, presentation: &Presentation, steering: &BindingCache, now: Now) -> bool {
        if self.awaited.is_empty() {
            return false;
        }
        let mut corrected = false;
        for flow in presentation.flows() {
            for state in &flow.branches {
                let Some(care_of) = found_at(endpoints, presentation.id(), flow.facts.home, &state.branch) else { continue };
                let update = Update {
                    home: flow.facts.home,
                    authority: Authority::Owner(Owner::Presentation(presentation.id().0)),
                    binding: Some(state.branch.binding),
                    care_of,
                    // The address stays the one that the connection of the SETUP came from.
                    proof: Proof::RequestPeer(care_of.ip()),
                    lifetime: None,
                    mode: Mode::Refresh,
                    window: None,
                    join: state.branch.join,
                    // A refresh leaves the device that is noted.
                    holder: Holder(0),
                };
                match steering.update(&[update], now) {
                    Ok(_) => corrected = true,
                    Err(error) => tracing::debug!(home = %flow.facts.home, "a port that was learned is not taken: {error}"),
                }
            }
        }
        corrected
    }

    /// Makes known where the branches are, and forgets those that are no more.
    pub(crate) fn note(&mut self, endpoints: &Endpoints, presentation: &Presentation, now: Now) {
        let mut current = Vec::with_capacity(self.noted.len());
        for flow in presentation.flows() {
            for state in &flow.branches {
                if let CareOf::Udp { rtp, rtcp, .. } = state.branch.care_of {
                    let endpoint = Endpoint { presentation: presentation.id(), home: flow.facts.home, branch: state.branch.serial };
                    current.push((endpoint, (rtp.ip(), rtp.port(), Port::Rtp)));
                    current.push((endpoint, (rtcp.ip(), rtcp.port(), Port::Rtcp)));
                }
            }
        }
        if current == self.noted {
            return;
        }
        for (endpoint, at) in self.noted.iter().filter(|noted| !current.contains(noted)) {
            endpoints.forget(*at, endpoint.branch);
        }
        for (endpoint, at) in current.iter().filter(|noted| !self.noted.contains(noted)) {
            endpoints.note(*at, *endpoint);
        }
        let lives = |branch: BranchSerial| current.iter().any(|(endpoint, _)| endpoint.branch == branch);
        for (address, ..) in &self.awaited {
            endpoints.retain(*address, presentation.id(), |_, _, branch| branch.is_none_or(lives), now.mono);
        }
        self.noted = current;
    }

    /// It is over: nothing of it stays noted.
    pub(crate) fn close(&mut self, endpoints: &Endpoints, presentation: PresentationId, now: Now) {
        for (endpoint, at) in self.noted.drain(..) {
            endpoints.forget(at, endpoint.branch);
        }
        for (address, ..) in self.awaited.drain(..) {
            endpoints.retain(address, presentation, |_, _, _| false, now.mono);
        }
    }
}

/// Where a branch really is, if not where it is bound to.
fn found_at(endpoints: &Endpoints, presentation: PresentationId, home: HomeAddress, branch: &Branch) -> Option<CareOf> {
    let CareOf::Udp { rtp, rtcp, source } = branch.care_of else { return None };
    let bound = Ports { rtp: rtp.port(), rtcp: rtcp.port() };
    let found = endpoints.ports(rtp.ip(), Endpoint { presentation, home, branch: branch.serial }, bound);
    // All but the port stays: a link-local address has a zone.
    let behind = |mut at: SocketAddr, port| {
        at.set_port(port);
        at
    };
    (found != bound).then(|| CareOf::Udp { rtp: behind(rtp, found.rtp), rtcp: behind(rtcp, found.rtcp), source })
}
