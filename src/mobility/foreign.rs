//! Updates for home addresses that another server gave out: authenticated by the tokens of the two tests, as between a mobile
//! node and a correspondent node (RFC 6275 sections 5.2 and 9.5; `docs/signalling.md` section 12).

use std::net::IpAddr;

use hmac::{Hmac, KeyInit, Mac};
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::mobility::counters::Counted;
use crate::mobility::limits::source_key;
use crate::mobility::request;
use crate::mobility::responder::{Received, Responder, Transmit, octets_of, reply, sealed};
use crate::mobility::wire::{
    Authenticated, BindingAck, BindingAuthorization, BindingUpdate, HomeNetworkPrefix, Lifetime, Message, Options, Status, UpdateFlags,
};
use crate::now::Now;
use crate::steering::{ForeignRegistration, HomeAddress, RegistrationError};

impl Responder {
    pub(super) fn foreign_update(
        &mut self,
        received: Received<'_>,
        message: &Message,
        update: &BindingUpdate,
        now: Now,
    ) -> Option<Transmit> {
        let options = &update.options;
        let prefix = options.home_network_prefix()?;
        let home = HomeAddress(prefix.address);
        if prefix.prefix_length != 128 {
            self.counters.count(Counted::Malformed);
            return None;
        }
        let Some(authenticated) = Authenticated::<BindingAuthorization>::by_tokens(message, received.octets) else {
            self.counters.count(Counted::Unauthenticated);
            return None;
        };
        let (Some(indices), false) = (options.nonce_indices(), update.flags.contains(UpdateFlags::HOME_REGISTRATION)) else {
            self.counters.count(Counted::AuthenticationFailed);
            return None;
        };
        let removes = update.lifetime.is_zero();
        let care_of = if removes { IpAddr::V6(home.0) } else { request::care_of(options, |_| None, received.source.ip()) };
        let (of_home, of_care_of) = self.steering.routability(|routability| {
            (routability.home_token_at(home.0.into(), indices.home), routability.care_of_token_at(care_of, indices.care_of))
        });
        let (of_home, of_care_of) = match (of_home, of_care_of) {
            (Some(of_home), _) if removes => (of_home, None),
            (Some(of_home), Some(of_care_of)) => (of_home, Some(of_care_of)),
            (None, Some(_)) => return self.foreign_refusal(&received, update, home, Status::HOME_NONCE, now),
            (None, None) if removes => return self.foreign_refusal(&received, update, home, Status::HOME_NONCE, now),
            (Some(_), None) => return self.foreign_refusal(&received, update, home, Status::CARE_OF_NONCE, now),
            (None, None) => return self.foreign_refusal(&received, update, home, Status::NONCES, now),
        };
        let key = management_key(&of_home, of_care_of.as_ref());
        let (care_of_octets, server) = (octets_of(care_of), octets_of(received.local));
        let [before, zeros, after] = authenticated.covered;
        let expected = tag(&key, &[&care_of_octets, &server, before, zeros, after]);
        if !bool::from(expected.ct_eq(&authenticated.option.authenticator)) {
            self.counters.count(Counted::AuthenticationFailed);
            return None;
        }
        let registration = ForeignRegistration {
            home,
            sequence: update.sequence,
            lifetime: update.lifetime.as_duration(),
            care_of,
            sender: received.source.ip(),
            asked: Some(received.local).filter(|local| local.is_ipv6() == care_of.is_ipv6()),
            join: self.settings.join,
            media_source: self.media_source(received.local),
        };
        let outcome = self.steering.register_foreign(&registration, now);
        let mut answer = acknowledgement(update, home);
        match outcome {
            Ok(lifetime) => answer.lifetime = Lifetime::from_seconds(lifetime.as_secs()),
            Err(error) => {
                answer.status = error.into();
                if let RegistrationError::Sequence { last } = error {
                    self.counters.count(Counted::Replay);
                    answer.sequence = last;
                }
            }
        }
        if answer.status.is_accepted() && !update.flags.contains(UpdateFlags::ACKNOWLEDGE) {
            return None;
        }
        self.counters.count_status(answer.status);
        let mut message = Message::BindingAck(answer);
        let octets = message.authorize(|covered| tag(&key, &[&care_of_octets, &server, covered])).ok()?;
        Some(sealed(octets, received.source, received.local, received.carriage))
    }

    /// Of expired nonces the node is told without an authenticator: there is nothing to make it with.
    fn foreign_refusal(
        &mut self,
        received: &Received<'_>,
        update: &BindingUpdate,
        home: HomeAddress,
        status: Status,
        now: Now,
    ) -> Option<Transmit> {
        if !self.limits.refusals.admits(!source_key(received.source.ip()), now.mono) {
            self.counters.count(Counted::RateLimited);
            return None;
        }
        self.counters.count_status(status);
        reply(received, &Message::BindingAck(BindingAck { status, ..acknowledgement(update, home) }))
    }
}

fn acknowledgement(update: &BindingUpdate, home: HomeAddress) -> BindingAck {
    let mut options = Options::default();
    options.push(HomeNetworkPrefix::of(home.0));
    BindingAck { status: Status::ACCEPTED, flags: Default::default(), sequence: update.sequence, lifetime: Lifetime::ZERO, options }
}

/// Kbm: SHA-1(home token | care-of token), or SHA-1(home token) where a binding is removed.
fn management_key(of_home: &[u8; 8], of_care_of: Option<&[u8; 8]>) -> Zeroizing<[u8; 20]> {
    let mut hash = Sha1::new();
    hash.update(of_home);
    if let Some(of_care_of) = of_care_of {
        hash.update(of_care_of);
    }
    Zeroizing::new(hash.finalize().into())
}

/// First(96, HMAC-SHA-1(Kbm, data)).
fn tag(key: &[u8; 20], parts: &[&[u8]]) -> [u8; 12] {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    let mut first = [0; 12];
    first.copy_from_slice(&mac.finalize().into_bytes()[..12]);
    first
}
