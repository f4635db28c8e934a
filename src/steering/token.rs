//! Take-over tokens: a proof under a session key, made for a URL.
//!
//! Per flow: home address (16 octets), parent SPI (4), transfer id (4), flow label (4), validity end (8), media source
//! (16), First(128, HMAC-SHA-256(K2, "take-over" | all before)) (16); strict base64url. The session key itself is never
//! in it: who has the token may move the flow, and nothing else.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::now::Now;
use crate::quantities::FlowLabel;
use crate::steering::cache::BindingCache;
use crate::steering::care_of::HomeAddress;
use crate::steering::command::Owner;
use crate::steering::home::HomeState;
use crate::steering::keys::{Key, KeyParameters, Spi, session_key};

/// Octets of one flow's record.
const RECORD: usize = 68;
/// Flows in one token at most.
const MAX_FLOWS: usize = 16;
/// Transfers noted per home address at most.
const MAX_TRANSFERS: usize = 64;
/// Revoked keys remembered per home address at most.
const MAX_REVOKED: usize = 64;
/// How long a grant lives unless it says.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(600);
/// How long a grant lives at most.
pub const MAX_LIFETIME: Duration = Duration::from_secs(86_400);

/// The longest identity that a key is bound to, in octets (a NAI, RFC 7542 section 2.2).
const MAX_IDENTITY: usize = 253;

/// A grant that was issued here, or a token of which was used.
#[derive(Clone, Debug)]
struct Transfer {
    id: u32,
    spi: Spi,
    validity_end: u64,
    identity: Option<String>,
    reusable: bool,
    /// The first peer that played with it.
    peer: Option<IpAddr>,
}

/// What is known of the grants of one home address: a bounded record, in which those that have ended make room.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    noted: Vec<Transfer>,
    /// Session keys that are refused.
    revoked: VecDeque<Spi>,
    /// Set once all were revoked or the record has run over: what is not noted is refused from then on, for it may have
    /// been revoked, or bound to a peer.
    noted_only: bool,
}

impl Transfers {
    fn find(&self, id: u32, spi: Spi) -> Option<&Transfer> {
        self.noted.iter().find(|transfer| transfer.id == id && transfer.spi == spi)
    }

    /// Who a key made for this transfer is bound to; several may have the same number only if a device chose it.
    fn identities(&self, id: u32) -> impl Iterator<Item = Option<&str>> {
        self.noted
            .iter()
            .filter(move |transfer| transfer.id == id && transfer.identity.is_some())
            .map(|transfer| transfer.identity.as_deref())
    }

    /// Whether a key of that name was revoked by its name.
    pub(crate) fn was_revoked(&self, spi: Spi) -> bool {
        self.revoked.contains(&spi)
    }

    pub(crate) fn refuses(&self, id: u32, spi: Spi) -> bool {
        self.revoked.contains(&spi) || (self.noted_only && self.find(id, spi).is_none())
    }

    /// Whether another peer than this one has played with it, and it is for one only.
    pub(crate) fn is_of_another(&self, grant: &VerifiedGrant, peer: IpAddr) -> bool {
        let transfer = self.find(grant.transfer_id, grant.spi);
        transfer.is_some_and(|transfer| !transfer.reusable && transfer.peer.is_some_and(|first| first != peer))
    }

    /// Binds a grant that is honoured to the first peer that plays with it.
    pub(crate) fn claim(&mut self, grant: &VerifiedGrant, peer: IpAddr, now: Now) {
        let (id, spi) = (grant.transfer_id, grant.spi);
        if self.refuses(id, spi) {
            return;
        }
        match self.noted.iter_mut().find(|transfer| transfer.id == id && transfer.spi == spi) {
            Some(transfer) => {
                transfer.peer.get_or_insert(peer);
            }
            None => {
                let validity_end = grant.validity_end;
                self.note(Transfer { id, spi, validity_end, identity: None, reusable: false, peer: Some(peer) }, now);
            }
        }
    }

    fn note(&mut self, transfer: Transfer, now: Now) {
        self.noted.retain(|other| other.validity_end > now.utc.unix_seconds());
        if self.noted.len() >= MAX_TRANSFERS {
            self.noted.remove(0);
            self.noted_only = true;
        }
        self.noted.push(transfer);
    }

    fn revoke(&mut self, spi: Option<Spi>) {
        match spi {
            Some(spi) => {
                self.noted.retain(|transfer| transfer.spi != spi);
                if self.revoked.contains(&spi) {
                    return;
                }
                if self.revoked.len() >= MAX_REVOKED {
                    self.noted_only = true;
                    self.revoked.pop_front();
                }
                self.revoked.push_back(spi);
            }
            None => {
                self.noted.clear();
                self.noted_only = true;
            }
        }
    }
}

/// How a grant is to be.
#[derive(Clone, Debug, Default)]
pub struct GrantOptions {
    /// How long it is good; `None` is [`DEFAULT_LIFETIME`].
    pub lifetime: Option<Duration>,
    /// Whom the session key is bound to.
    pub identity: Option<String>,
    /// Whether several peers may use the token one after the other.
    pub reusable: bool,
    /// Names the transfer; `None` draws a name. Grants of one hand-over share it.
    pub transfer_id: Option<u32>,
}

/// The right to take one flow over. It shows neither its key nor its token.
#[derive(Clone)]
pub struct Grant {
    /// The session key's parameters.
    pub parameters: KeyParameters,
    /// Names the session key.
    pub spi: Spi,
    /// Names the key it was derived from.
    pub parent: Spi,
    /// The session key.
    pub key: Key,
    record: [u8; RECORD],
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { parameters, spi, parent, .. } = self;
        f.debug_struct("Grant").field("parameters", parameters).field("spi", spi).field("parent", parent).finish_non_exhaustive()
    }
}

/// The token for several grants.
pub fn token(grants: &[Grant]) -> String {
    URL_SAFE_NO_PAD.encode(grants.iter().flat_map(|grant| grant.record).collect::<Vec<u8>>())
}

/// A token's record that was found good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedGrant {
    /// Whose flow.
    pub home: HomeAddress,
    /// The flow's label.
    pub label: FlowLabel,
    /// Whose the flow is: the presentation that plays there; the key holder where none does.
    pub owner: Owner,
    /// When it ends, in seconds since 1970.
    pub validity_end: u64,
    /// Names the session key.
    pub spi: Spi,
    /// Names the key it was derived from: that of this reservation, not of a later one of the same address.
    pub parent: Spi,
    /// Names the transfer.
    pub transfer_id: u32,
}

/// Why a token is not honoured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// It is no token.
    #[error("the key is malformed")]
    Malformed,
    /// Its proof is wrong, or its home address unknown.
    #[error("the key is wrong")]
    Wrong,
    /// Its time is over.
    #[error("the key has expired")]
    Expired,
    /// It was revoked.
    #[error("the key was revoked")]
    Revoked,
    /// Another device has used it.
    #[error("the key was used by another device")]
    OtherPeer,
    /// The home address has no flow to hand over.
    #[error("nothing plays there")]
    NoFlow,
}

impl BindingCache {
    /// Issues the right to take a flow over.
    ///
    /// # Errors
    /// `NoFlow` where nothing is authorised there, `Expired` where its key has ended, `Malformed` where the identity is too
    /// long for one.
    pub fn issue_grant(&self, home: HomeAddress, options: &GrantOptions, now: Now) -> Result<Grant, TokenError> {
        if options.identity.as_ref().is_some_and(|identity| identity.is_empty() || identity.len() > MAX_IDENTITY) {
            return Err(TokenError::Malformed);
        }
        let found = self.find(home).ok_or(TokenError::NoFlow)?;
        let transfer_id = options.transfer_id.unwrap_or_else(|| u32::from_be_bytes(self.random()));
        let mut state = found.state();
        let label = state.label.filter(|_| !state.released).ok_or(TokenError::NoFlow)?;
        let lifetime = options.lifetime.unwrap_or(DEFAULT_LIFETIME).min(MAX_LIFETIME);
        let validity_end = (now.utc + lifetime).unix_seconds().min(state.validity_end);
        if validity_end <= now.utc.unix_seconds() {
            return Err(TokenError::Expired);
        }
        let identity = options.identity.clone();
        let parameters = KeyParameters { home, label, validity_end, media_source: state.media_source, transfer_id, identity };
        let (spi, key) = session_key(&state.key, &parameters);
        let record = record(&key, state.spi, &parameters);
        let identity = parameters.identity.clone();
        let reusable = options.reusable;
        state.transfers.note(Transfer { id: transfer_id, spi, validity_end, identity, reusable, peer: None }, now);
        Ok(Grant { parent: state.spi, parameters, spi, key, record })
    }

    /// Checks a token for a peer; nothing changes.
    ///
    /// # Errors
    /// Why it is not honoured, all of it.
    pub fn verify_token(&self, text: &str, peer: Option<IpAddr>, now: Now) -> Result<Vec<VerifiedGrant>, TokenError> {
        if text.len() > (RECORD * MAX_FLOWS).div_ceil(3) * 4 {
            return Err(TokenError::Malformed);
        }
        let octets = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Malformed)?;
        if octets.is_empty() || octets.len() % RECORD != 0 {
            return Err(TokenError::Malformed);
        }
        let (records, _) = octets.as_chunks::<RECORD>();
        let grants: Vec<VerifiedGrant> = records.iter().map(|record| self.verify_record(record, peer, now)).collect::<Result<_, _>>()?;
        let twice = (1..grants.len()).any(|index| grants[..index].iter().any(|grant| grant.home == grants[index].home));
        if twice { Err(TokenError::Malformed) } else { Ok(grants) }
    }

    fn verify_record(&self, octets: &[u8; RECORD], peer: Option<IpAddr>, now: Now) -> Result<VerifiedGrant, TokenError> {
        let fields = Fields::read(octets).ok_or(TokenError::Malformed)?;
        let found = self.find(fields.home).ok_or(TokenError::Wrong)?;
        let state = found.state();
        let mut parameters = KeyParameters {
            home: fields.home,
            label: fields.label,
            validity_end: fields.validity_end,
            media_source: fields.media_source,
            transfer_id: fields.transfer_id,
            identity: None,
        };
        let mut proven = |identity: Option<&str>| {
            parameters.identity = identity.map(ToOwned::to_owned);
            let (spi, key) = session_key(&state.key, &parameters);
            key.verify(&[b"take-over", &octets[..RECORD - 16]], &fields.proof).then_some(spi)
        };
        let mut identities = state.transfers.identities(fields.transfer_id).chain([None]);
        let spi = identities.find_map(&mut proven).ok_or(TokenError::Wrong)?;
        if fields.parent != state.spi || fields.media_source != state.media_source || Some(fields.label) != state.label {
            return Err(TokenError::Wrong);
        }
        if fields.validity_end <= now.utc.unix_seconds() || state.key_has_ended(now) {
            return Err(TokenError::Expired);
        }
        if state.transfers.refuses(fields.transfer_id, spi) {
            return Err(TokenError::Revoked);
        }
        let grant = VerifiedGrant {
            home: fields.home,
            label: fields.label,
            owner: state.player().map_or(state.owner, Owner::Presentation),
            validity_end: fields.validity_end,
            spi,
            parent: fields.parent,
            transfer_id: fields.transfer_id,
        };
        if peer.is_some_and(|peer| state.transfers.is_of_another(&grant, peer)) {
            return Err(TokenError::OtherPeer);
        }
        Ok(grant)
    }

    /// The tokens that were issued here for a home address, alone or together with others of its owner, as far as they
    /// are known still: for credentials that prove a token without showing it.
    pub fn issued_tokens(&self, home: HomeAddress) -> Vec<String> {
        let Some(found) = self.find(home) else { return Vec::new() };
        let (owner, mut transfers) = {
            let state = found.state();
            (
                state.player().map_or(state.owner, Owner::Presentation),
                state.transfers.noted.iter().map(|transfer| transfer.id).collect::<Vec<u32>>(),
            )
        };
        transfers.sort_unstable();
        transfers.dedup();
        let homes = match owner {
            Owner::Presentation(_) => self.homes_of(owner),
            Owner::KeyHolder => vec![home],
        };
        let homes: Vec<_> = homes.into_iter().filter_map(|home| self.find(home)).collect();
        let token = |&id: &u32| {
            let records: Vec<u8> = homes.iter().filter_map(|home| home.state().issued_record(home.address(), id)).flatten().collect();
            URL_SAFE_NO_PAD.encode(records)
        };
        transfers.iter().map(token).collect()
    }

    /// Binds a token to the peer that plays with it. [`BindingCache::update`] does so by itself, in one step with its check;
    /// this is for what is not an update.
    pub fn claim(&self, grants: &[VerifiedGrant], peer: IpAddr, now: Now) {
        for grant in grants {
            let Some(found) = self.find(grant.home) else { continue };
            let mut state = found.state();
            if state.honours(grant, now) {
                state.transfers.claim(grant, peer, now);
            }
        }
    }

    /// Whether a grant that verified before is still honoured.
    pub fn is_good(&self, grant: &VerifiedGrant, now: Now) -> bool {
        self.find(grant.home).is_some_and(|home| home.state().honours(grant, now))
    }

    /// Refuses one session key of a home address from now on, or all that were issued so far.
    ///
    /// # Errors
    /// `NoFlow` where the home address is not reserved.
    pub fn revoke(&self, home: HomeAddress, spi: Option<Spi>) -> Result<(), TokenError> {
        self.find(home).ok_or(TokenError::NoFlow)?.state().transfers.revoke(spi);
        Ok(())
    }
}

impl HomeState {
    /// The record of a transfer, made again.
    fn issued_record(&self, home: HomeAddress, id: u32) -> Option<[u8; RECORD]> {
        let label = self.label?;
        self.transfers.noted.iter().filter(|transfer| transfer.id == id).find_map(|transfer| {
            let parameters = KeyParameters {
                home,
                label,
                validity_end: transfer.validity_end,
                media_source: self.media_source,
                transfer_id: id,
                identity: transfer.identity.clone(),
            };
            let (spi, key) = session_key(&self.key, &parameters);
            (spi == transfer.spi).then(|| record(&key, self.spi, &parameters))
        })
    }

    /// Whether a grant that verified before is still good.
    pub(crate) fn honours(&self, grant: &VerifiedGrant, now: Now) -> bool {
        !self.released
            && grant.validity_end > now.utc.unix_seconds()
            && !self.key_has_ended(now)
            && Some(grant.label) == self.label
            && grant.parent == self.spi
            && !self.transfers.refuses(grant.transfer_id, grant.spi)
    }
}

struct Fields {
    home: HomeAddress,
    parent: Spi,
    transfer_id: u32,
    label: FlowLabel,
    validity_end: u64,
    media_source: Ipv6Addr,
    proof: [u8; 16],
}

impl Fields {
    fn read(octets: &[u8; RECORD]) -> Option<Self> {
        fn part<const N: usize>(octets: &[u8; RECORD], at: usize) -> Option<[u8; N]> {
            octets.get(at..)?.first_chunk::<N>().copied()
        }
        Some(Self {
            home: HomeAddress(Ipv6Addr::from(part::<16>(octets, 0)?)),
            parent: Spi(u32::from_be_bytes(part(octets, 16)?)),
            transfer_id: u32::from_be_bytes(part(octets, 20)?),
            label: FlowLabel::new(u32::from_be_bytes(part(octets, 24)?))?,
            validity_end: u64::from_be_bytes(part(octets, 28)?),
            media_source: Ipv6Addr::from(part::<16>(octets, 36)?),
            proof: part(octets, 52)?,
        })
    }
}

fn record(key: &Key, parent: Spi, parameters: &KeyParameters) -> [u8; RECORD] {
    let mut octets = [0; RECORD];
    octets[..16].copy_from_slice(&parameters.home.0.octets());
    octets[16..20].copy_from_slice(&parent.0.to_be_bytes());
    octets[20..24].copy_from_slice(&parameters.transfer_id.to_be_bytes());
    octets[24..28].copy_from_slice(&parameters.label.bits().to_be_bytes());
    octets[28..36].copy_from_slice(&parameters.validity_end.to_be_bytes());
    octets[36..52].copy_from_slice(&parameters.media_source.octets());
    let proof = key.authenticate(&[b"take-over", &octets[..52]]);
    octets[52..].copy_from_slice(&proof);
    octets
}
