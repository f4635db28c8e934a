//! Which events a listener is told: operators all, while they are logged in if that is what they are by, others those of their own home
//! addresses, a device what it is asked.

use std::net::IpAddr;

use std::sync::Arc;

use crate::access::{Access, LoginName};
use crate::http::authority::Requester;
use crate::http::event::ApiEvent;
use crate::http::problem::Problem;
use crate::now::Now;
use crate::steering::{BindingCache, HomeAddress, Key, VerifiedGrant};

/// What a listener may hear.
#[derive(Clone, Debug)]
pub enum Reach {
    /// Everything.
    All,
    /// Everything, while its user is logged in.
    Login(Arc<Access>, LoginName),
    /// What happens to the home addresses of a home key.
    Key(Key, Vec<HomeAddress>),
    /// What happens to the home addresses of a token.
    Token(Vec<VerifiedGrant>),
    /// Questions to the device at that address, whether it is to have a flow.
    Asked(IpAddr),
}

impl Reach {
    /// What a requester may hear.
    ///
    /// # Errors
    /// 401 for who may hear nothing.
    pub fn of(who: &Requester, steering: &BindingCache, now: Now) -> Result<Self, Problem> {
        match who {
            Requester::Operator => Ok(Self::All),
            Requester::KeyHolder(key) => match steering.homes_of_key(key, now) {
                homes if homes.is_empty() => Err(Problem::new(401, "unauthorized", "the key is of no home address")),
                homes => Ok(Self::Key(key.clone(), homes)),
            },
            Requester::TokenHolder(grants) => Ok(Self::Token(grants.clone())),
            Requester::Anybody => Err(Problem::new(401, "unauthorized", "operators, or the key of a home address")),
        }
    }

    /// Whether the listener is told an event. After the release of a home address it hears no more of it.
    pub fn admits(&mut self, event: &ApiEvent, steering: &BindingCache, now: Now) -> bool {
        match self {
            Self::All => return true,
            Self::Login(..) => return !self.is_over(steering, now),
            Self::Key(..) | Self::Token(_) | Self::Asked(_) => {}
        }
        let Some(home) = event.home() else { return false };
        let released = event.data["event"] == "released";
        let admitted = match self {
            Self::All | Self::Login(..) => true,
            Self::Key(key, homes) => homes.contains(&home) && (released || steering.is_home_key(home, key, now)),
            Self::Token(grants) => grants.iter().any(|grant| grant.home == home && (released || steering.is_good(grant, now))),
            Self::Asked(device) => event.name == "consent" && event.data["asked"] == "taker" && event.data["taker"] == device.to_string(),
        };
        if released {
            match self {
                Self::All | Self::Asked(_) | Self::Login(..) => {}
                Self::Key(_, homes) => homes.retain(|own| *own != home),
                Self::Token(grants) => grants.retain(|grant| grant.home != home),
            }
        }
        admitted
    }

    /// Whether nothing more can come: every right has ended.
    pub fn is_over(&self, steering: &BindingCache, now: Now) -> bool {
        match self {
            Self::All | Self::Asked(_) => false,
            // Who listens uses it.
            Self::Login(access, login) => access.logged_in(login, now.mono).is_none(),
            // A key ends with its home address, and that is told: it is waited for, though other events come before it.
            Self::Key(_, homes) => homes.is_empty(),
            Self::Token(grants) => !grants.iter().any(|grant| steering.is_good(grant, now)),
        }
    }
}
