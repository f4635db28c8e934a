//! Presentations that play to a home address which somebody else reserved.
//!
//! Such a presentation is a guest: it neither owns the home address nor ends it. What changes there is told to it; when it
//! goes, the reservation with its label, key and bindings stays. There is one at a time.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use crate::now::Now;
use crate::quantities::FlowLabel;
use crate::steering::cache::BindingCache;
use crate::steering::care_of::HomeAddress;
use crate::steering::command::{Expectation, Owner, SteeringError};
use crate::steering::counters::count;
use crate::steering::home::AtHome;

impl BindingCache {
    /// The presentation that plays to a home address, as its owner or as its guest.
    pub fn player(&self, home: HomeAddress) -> Option<u64> {
        self.find(home)?.state().player()
    }

    /// Lets a presentation play a flow to a home address of a key holder. Gives the flow's label: the one that is
    /// authorised there, else a fresh one, authorised now together with what is expected. Where the device has said what it
    /// expects, a fresh label is left to be learned from the first packet that is as expected. `ports` are those that were
    /// agreed on for the home address, if any were.
    ///
    /// # Errors
    /// `UnknownHome`, `Occupied`.
    pub fn play_to(
        &self,
        home: HomeAddress,
        presentation: u64,
        expectation: Expectation,
        ports: Option<(u16, u16)>,
        now: Now,
    ) -> Result<FlowLabel, SteeringError> {
        let found = self.find(home).ok_or(SteeringError::UnknownHome)?;
        self.expire_if_due(&found, now);
        let fresh = self.draw_label();
        let (label, is_fresh) = {
            let mut state = found.state();
            if state.released {
                return Err(SteeringError::UnknownHome);
            }
            if state.player().is_some() {
                return Err(SteeringError::Occupied);
            }
            state.guest = Some(presentation);
            self.owners.entry(Owner::Presentation(presentation)).or_default().push(home);
            let is_fresh = state.label.is_none() && state.expectation == Expectation::default();
            let label = state.label.unwrap_or(fresh);
            if is_fresh {
                state.set_label(label);
                state.expectation = expectation;
            }
            state.agreed = ports;
            found.publish(&mut state);
            self.schedule(&found, &mut state);
            (label, is_fresh)
        };
        if is_fresh {
            count(&self.counters().flow_set);
        }
        (self.changed)(home, Some(presentation));
        Ok(label)
    }

    /// Sends what a guest plays to the home address itself while nobody is bound, where settings allow it: from `source` to
    /// these ports. Whether they do.
    pub fn serve_at_home(&self, home: HomeAddress, presentation: u64, ports: (u16, u16), source: Option<IpAddr>, now: Now) -> bool {
        if !self.settings().unbound_prefixes.iter().any(|prefix| prefix.contains(&home.0)) {
            return false;
        }
        let Some(found) = self.find(home) else { return false };
        {
            let mut state = found.state();
            if state.guest != Some(presentation) || state.released || state.at_home.is_some() {
                return false;
            }
            // To an address that another server gave out only as long as a home test is fresh.
            let until = state.foreign.map(|foreign| foreign.tested_until);
            if until.is_some_and(|until| until <= now.mono) {
                return false;
            }
            let block = |counter: &std::sync::atomic::AtomicU64| counter.fetch_add(AtHome::BLOCK, Ordering::Relaxed);
            let (serial, update) = (block(&self.next_serial), block(&self.next_update));
            state.at_home = Some(AtHome { ports, source, since: now.mono, serial, update, until, shown: None });
            found.publish(&mut state);
            self.schedule(&found, &mut state);
        }
        (self.changed)(home, Some(presentation));
        true
    }

    /// Ends that a presentation plays to a home address that is not its own; the reservation stays as it is.
    pub fn leave(&self, home: HomeAddress, presentation: u64, now: Now) {
        let Some(found) = self.find(home) else { return };
        // What has ended while it played there has ended so.
        self.expire_if_due(&found, now);
        {
            let mut state = found.state();
            if state.guest != Some(presentation) {
                return;
            }
            state.guest = None;
            state.at_home = None;
            state.agreed = None;
            found.publish(&mut state);
            self.schedule(&found, &mut state);
            self.disown(Owner::Presentation(presentation), home);
        }
        (self.changed)(home, None);
    }
}
