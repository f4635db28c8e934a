//! Header values, one a file.

pub mod authorization;
pub mod range;
pub mod session;
pub mod transport;
