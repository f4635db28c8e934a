//! Home addresses that another server gave out (`docs/signalling.md` section 12): one binding each, proven by the two tests of
//! RFC 6275 section 5.2, and gone with it.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use smallvec::SmallVec;

use crate::now::Now;
use crate::steering::cache::BindingCache;
use crate::steering::care_of::{BindingId, HomeAddress, is_host};
use crate::steering::command::{Holder, Owner};
use crate::steering::counters::count;
use crate::steering::event::{Event, EventKind};
use crate::steering::home::{Binding, Foreign, Home, Origin, Shown, Stated};
use crate::steering::keys::{Key, Spi};
use crate::steering::register::granted;
use crate::steering::registration::{ForeignRegistration, RegistrationError};
use crate::steering::route::{EndReason, UpdateId};

/// Home addresses of other servers that are known at once.
const MAX_HOMES: usize = 1024;
/// How long a sequence number is remembered: as long as tokens are good (RFC 6275 section 9.5.1).
const REMEMBERED: Duration = Duration::from_secs(240);
/// The longest binding of a home address of another server (RFC 6275 section 12).
const MAX_LIFETIME: Duration = Duration::from_secs(420);

impl BindingCache {
    /// Carries out a Binding Update for a home address that another server gave out (`docs/signalling.md` section 12). Such a
    /// home address has one binding, without an identifier, and is gone with it.
    ///
    /// # Errors
    /// `Sequence`, `CareOfUnacceptable`, `NotThisHome` where a home address of this server is named.
    pub fn register_foreign(&self, request: &ForeignRegistration, now: Now) -> Result<Duration, RegistrationError> {
        let home = request.home;
        if self.is_home(home.0) {
            return Err(RegistrationError::NotThisHome);
        }
        let is_home = matches!(request.care_of, IpAddr::V6(v6) if self.is_home(v6));
        let acceptable = is_host(request.care_of, request.sender) && !is_home && !self.is_denied(request.care_of);
        if let Some(found) = self.find(home) {
            self.expire_if_due(&found, now);
        }
        let lifetime = granted(request.lifetime.min(MAX_LIFETIME), u64::MAX, now);
        let found = match self.find(home) {
            Some(found) => found,
            None if request.lifetime.is_zero() => return Ok(Duration::ZERO),
            None if !acceptable => return Err(RegistrationError::CareOfUnacceptable),
            None if self.all().iter().filter(|home| home.state().foreign.is_some()).count() >= MAX_HOMES => {
                return Err(RegistrationError::Full);
            }
            None => self.adopt(home, request.media_source, now),
        };
        let told = {
            let mut state = found.state();
            if state.released || state.foreign.is_none() {
                return Err(RegistrationError::UnknownHome);
            }
            state.replay.accept(request.sequence).map_err(|last| RegistrationError::Sequence { last })?;
            let tested_until = now.mono + MAX_LIFETIME;
            state.foreign = Some(Foreign { tested_until });
            if let Some(at_home) = &mut state.at_home {
                at_home.until = Some(tested_until);
            }
            if request.lifetime.is_zero() {
                drop(state);
                let _ = self.remove_binding(home, BindingId::PLAIN, EndReason::Removed, now);
                return Ok(Duration::ZERO);
            }
            if !acceptable {
                return Err(RegistrationError::CareOfUnacceptable);
            }
            let stated = Stated { address: request.care_of, source: request.asked, priority: 0, ports: SmallVec::new() };
            let (update, serial) = (UpdateId(self.next_update.fetch_add(1, Ordering::Relaxed)), self.draw_serial());
            let care_of = stated.care_of(None, state.home_ports());
            let expires = now.mono + lifetime;
            state.expires = Some(expires.max(now.mono + REMEMBERED));
            let kind = if let Some(binding) = state.binding_mut(BindingId::PLAIN) {
                binding.care_of = care_of;
                binding.stated = Some(stated);
                binding.expires = Some(expires);
                binding.heard = now.mono;
                EventKind::Refreshed
            } else {
                state.bindings.push(Binding {
                    id: BindingId::PLAIN,
                    serial,
                    care_of,
                    update,
                    together: 1,
                    join: request.join,
                    holder: Holder(1 << 59),
                    since: now.mono,
                    heard: now.mono,
                    expires: Some(expires),
                    started: false,
                    shown: Shown::New,
                    maker: None,
                    taken_under: None,
                    stated: Some(stated),
                });
                EventKind::Bound
            };
            count(&self.counters().bound);
            found.publish(&mut state);
            self.schedule(&found, &mut state);
            Event { home, player: state.player(), binding: BindingId::PLAIN, kind }
        };
        self.tell(told);
        Ok(lifetime)
    }

    fn adopt(&self, home: HomeAddress, media_source: Ipv6Addr, now: Now) -> Arc<Home> {
        let origin = Origin {
            owner: Owner::KeyHolder,
            spi: Spi(0),
            // Nobody is given it.
            key: Key::new(self.random()),
            media_source,
            validity_end: u64::MAX,
            expires: Some(now.mono + MAX_LIFETIME),
            liveness: self.settings().liveness,
            identity: None,
            foreign: Some(Foreign { tested_until: now.mono + MAX_LIFETIME }),
        };
        self.install(home, origin)
    }
}
