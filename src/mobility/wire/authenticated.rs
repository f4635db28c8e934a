//! What an authenticator covers (RFC 4285 section 5.1, RFC 6275 section 6.2.7).
//!
//! For a mobility message authentication option it is the header from its first octet up to and including the SPI, for binding
//! authorization data all but the authenticator; in both the checksum counts as zero. The addresses and tokens that go before it
//! are the caller's.

use crate::mobility::wire::header::CHECKSUM;
use crate::mobility::wire::message::Message;
use crate::mobility::wire::option::{BindingAuthorization, MessageAuthentication};

/// A received message's authenticator and the octets it covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Authenticated<'a, A> {
    /// The octets in order: before the checksum, two zeros for it, after it.
    pub covered: [&'a [u8]; 3],
    /// The option at the message's end.
    pub option: A,
}

impl<'a> Authenticated<'a, MessageAuthentication> {
    /// The mobility message authentication of `message`, which was parsed out of `octets`; `None` if it has none.
    pub fn by_key(message: &Message, octets: &'a [u8]) -> Option<Self> {
        let option = *message.options()?.message_authentication()?;
        Some(Self { covered: covered(octets, option.data.len())?, option })
    }
}

impl<'a> Authenticated<'a, BindingAuthorization> {
    /// The binding authorization data of `message`, which was parsed out of `octets`; `None` if it has none.
    pub fn by_tokens(message: &Message, octets: &'a [u8]) -> Option<Self> {
        let option = *message.options()?.binding_authorization()?;
        Some(Self { covered: covered(octets, option.authenticator.len())?, option })
    }
}

/// All but the last `tag` octets: a parsed message's authenticator is its end.
fn covered(octets: &[u8], tag: usize) -> Option<[&[u8]; 3]> {
    let end = octets.len().checked_sub(tag)?;
    Some([octets.get(..CHECKSUM.start)?, &[0, 0], octets.get(CHECKSUM.end..end)?])
}
