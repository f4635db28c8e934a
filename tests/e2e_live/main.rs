//! Live titles with real players: cameras, and what is published. One binary, for each costs its linking.

#[path = "../support/mod.rs"]
mod support;

mod camera;
mod cameras_of_others;
mod codings;
mod publish;
mod reload;
mod responder;
