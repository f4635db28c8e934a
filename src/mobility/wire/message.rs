//! A message of any type.

use crate::mobility::wire::binding_ack::{self, BindingAck};
use crate::mobility::wire::binding_error::{self, BindingError};
use crate::mobility::wire::binding_update::{self, BindingUpdate};
use crate::mobility::wire::care_of_test::{self, CareOfTest};
use crate::mobility::wire::care_of_test_init::{self, CareOfTestInit};
use crate::mobility::wire::error::{EmitError, Malformed};
use crate::mobility::wire::header::{self, MAX_LEN, MessageType};
use crate::mobility::wire::home_test::{self, HomeTest};
use crate::mobility::wire::home_test_init::{self, HomeTestInit};
use crate::mobility::wire::option::{BindingAuthorization, MessageAuthentication, Options};
use crate::mobility::wire::refresh_request::{self, RefreshRequest};
use crate::mobility::wire::unknown::UnknownMessage;
use crate::steering::Spi;

/// A Mobility Header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Type 0.
    RefreshRequest(RefreshRequest),
    /// Type 1.
    HomeTestInit(HomeTestInit),
    /// Type 2.
    CareOfTestInit(CareOfTestInit),
    /// Type 3.
    HomeTest(HomeTest),
    /// Type 4.
    CareOfTest(CareOfTest),
    /// Type 5.
    BindingUpdate(BindingUpdate),
    /// Type 6.
    BindingAck(BindingAck),
    /// Type 7.
    BindingError(BindingError),
    /// Any other type.
    Unknown(UnknownMessage),
}

impl Message {
    /// The message that `octets`, all that was received, are. The checksum is not looked at.
    ///
    /// # Errors
    /// They are none; nothing is to be answered then.
    pub fn parse(octets: &[u8]) -> Result<Self, Malformed> {
        Ok(match header::check(octets)? {
            MessageType::REFRESH_REQUEST => Self::RefreshRequest(RefreshRequest::parse(octets)?),
            MessageType::HOME_TEST_INIT => Self::HomeTestInit(HomeTestInit::parse(octets)?),
            MessageType::CARE_OF_TEST_INIT => Self::CareOfTestInit(CareOfTestInit::parse(octets)?),
            MessageType::HOME_TEST => Self::HomeTest(HomeTest::parse(octets)?),
            MessageType::CARE_OF_TEST => Self::CareOfTest(CareOfTest::parse(octets)?),
            MessageType::BINDING_UPDATE => Self::BindingUpdate(BindingUpdate::parse(octets)?),
            MessageType::BINDING_ACK => Self::BindingAck(BindingAck::parse(octets)?),
            MessageType::BINDING_ERROR => Self::BindingError(BindingError::parse(octets)?),
            kind => Self::Unknown(UnknownMessage::parse(kind, octets)),
        })
    }

    /// Its type.
    pub const fn kind(&self) -> MessageType {
        match self {
            Self::RefreshRequest(_) => MessageType::REFRESH_REQUEST,
            Self::HomeTestInit(_) => MessageType::HOME_TEST_INIT,
            Self::CareOfTestInit(_) => MessageType::CARE_OF_TEST_INIT,
            Self::HomeTest(_) => MessageType::HOME_TEST,
            Self::CareOfTest(_) => MessageType::CARE_OF_TEST,
            Self::BindingUpdate(_) => MessageType::BINDING_UPDATE,
            Self::BindingAck(_) => MessageType::BINDING_ACK,
            Self::BindingError(_) => MessageType::BINDING_ERROR,
            Self::Unknown(message) => message.kind(),
        }
    }

    /// Its options; `None` of an unknown type.
    pub const fn options(&self) -> Option<&Options> {
        Some(match self {
            Self::RefreshRequest(message) => &message.options,
            Self::HomeTestInit(message) => &message.options,
            Self::CareOfTestInit(message) => &message.options,
            Self::HomeTest(message) => &message.options,
            Self::CareOfTest(message) => &message.options,
            Self::BindingUpdate(message) => &message.options,
            Self::BindingAck(message) => &message.options,
            Self::BindingError(message) => &message.options,
            Self::Unknown(_) => return None,
        })
    }

    /// Its options, to change them; `None` of an unknown type.
    pub const fn options_mut(&mut self) -> Option<&mut Options> {
        Some(match self {
            Self::RefreshRequest(message) => &mut message.options,
            Self::HomeTestInit(message) => &mut message.options,
            Self::CareOfTestInit(message) => &mut message.options,
            Self::HomeTest(message) => &mut message.options,
            Self::CareOfTest(message) => &mut message.options,
            Self::BindingUpdate(message) => &mut message.options,
            Self::BindingAck(message) => &mut message.options,
            Self::BindingError(message) => &mut message.options,
            Self::Unknown(_) => return None,
        })
    }

    /// Octets that it takes: a multiple of 8, but more than [`MAX_LEN`] if it cannot be written.
    pub fn buffer_len(&self) -> usize {
        match self {
            Self::Unknown(message) => message.buffer_len(),
            _ => self.options().map_or(0, |options| options.end(self.options_start())),
        }
    }

    /// Writes it to the beginning of `octets`, with a checksum of zero, and says how many octets it took. Options are aligned
    /// and keep their order; padding fills the header to a multiple of 8 octets.
    ///
    /// # Errors
    /// It is longer than `octets` or than a header can be; nothing is written then.
    pub fn emit(&self, octets: &mut [u8]) -> Result<usize, EmitError> {
        let needed = self.buffer_len();
        if let Some(options) = self.options() {
            options.check()?;
        }
        if needed > MAX_LEN {
            return Err(EmitError::TooLong(needed));
        }
        let given = octets.len();
        let octets = octets.get_mut(..needed).ok_or(EmitError::Buffer { needed, given })?;
        octets.fill(0);
        header::emit(self.kind(), octets);
        match self {
            Self::RefreshRequest(_) => {}
            Self::HomeTestInit(message) => message.emit(octets),
            Self::CareOfTestInit(message) => message.emit(octets),
            Self::HomeTest(message) => message.emit(octets),
            Self::CareOfTest(message) => message.emit(octets),
            Self::BindingUpdate(message) => message.emit(octets),
            Self::BindingAck(message) => message.emit(octets),
            Self::BindingError(message) => message.emit(octets),
            Self::Unknown(message) => message.emit(octets),
        }
        if let Some(options) = self.options() {
            options.emit(octets, self.options_start());
        }
        Ok(needed)
    }

    /// Its octets, as [`Message::emit`] writes them.
    ///
    /// # Errors
    /// It is longer than a header can be.
    pub fn to_vec(&self) -> Result<Vec<u8>, EmitError> {
        let mut octets = vec![0; self.buffer_len().min(MAX_LEN)];
        self.emit(&mut octets)?;
        Ok(octets)
    }

    /// Ends it in a mobility message authentication option and gives its octets. `tag` makes the authentication data of the
    /// octets from the header's first up to and including the SPI. An authenticator that it had is replaced.
    ///
    /// # Errors
    /// It is longer than a header can be, or of an unknown type.
    pub fn authenticate(&mut self, spi: Spi, tag: impl FnOnce(&[u8]) -> [u8; 16]) -> Result<Vec<u8>, EmitError> {
        self.options_mut().ok_or(EmitError::NoOptions)?.push(MessageAuthentication { spi, data: [0; 16] });
        let (octets, data) = self.tagged(tag)?;
        self.options_mut().ok_or(EmitError::NoOptions)?.push(MessageAuthentication { spi, data });
        Ok(octets)
    }

    /// Ends it in binding authorization data and gives its octets. `tag` makes the authenticator of the octets from the
    /// header's first up to it. An authenticator that it had is replaced.
    ///
    /// # Errors
    /// It is longer than a header can be, or of an unknown type.
    pub fn authorize(&mut self, tag: impl FnOnce(&[u8]) -> [u8; 12]) -> Result<Vec<u8>, EmitError> {
        self.options_mut().ok_or(EmitError::NoOptions)?.push(BindingAuthorization { authenticator: [0; 12] });
        let (octets, authenticator) = self.tagged(tag)?;
        self.options_mut().ok_or(EmitError::NoOptions)?.push(BindingAuthorization { authenticator });
        Ok(octets)
    }

    /// Its octets, their last `N` made out of the others.
    fn tagged<const N: usize>(&self, tag: impl FnOnce(&[u8]) -> [u8; N]) -> Result<(Vec<u8>, [u8; N]), EmitError> {
        let mut octets = self.to_vec()?;
        octets.truncate(octets.len().saturating_sub(N));
        let made = tag(&octets);
        octets.extend_from_slice(&made);
        Ok((octets, made))
    }

    const fn options_start(&self) -> usize {
        match self {
            Self::RefreshRequest(_) => refresh_request::OPTIONS,
            Self::HomeTestInit(_) => home_test_init::OPTIONS,
            Self::CareOfTestInit(_) => care_of_test_init::OPTIONS,
            Self::HomeTest(_) => home_test::OPTIONS,
            Self::CareOfTest(_) => care_of_test::OPTIONS,
            Self::BindingUpdate(_) => binding_update::OPTIONS,
            Self::BindingAck(_) => binding_ack::OPTIONS,
            Self::BindingError(_) => binding_error::OPTIONS,
            Self::Unknown(_) => header::LEN,
        }
    }
}
