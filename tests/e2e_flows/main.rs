//! What becomes of flows, with real players: home addresses, labels, joining, routers in between, retransmission, signalling, devices that are gone. One binary, for each costs its linking.

#[path = "../support/mod.rs"]
mod support;

mod home;
mod joining;
mod labels;
mod nat;
mod rtx;
mod signalling;
mod unreachable;
