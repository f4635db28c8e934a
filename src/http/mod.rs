//! The HTTP API: what plays where, control, home addresses, bindings, contexts, events, metrics.
//!
//! `server` owns the listener, `routes` lists the calls, `authority` says who may, `login` who has logged in, `api` answers, `body` is what
//! comes in, `shape` what is shown; `description` makes of these what the API says of itself; `page` is the page at `/`.

pub mod api;
pub mod authority;
mod body;
pub mod connection;
mod consents;
pub mod context;
pub mod description;
pub mod devices;
pub mod event;
pub mod gauges;
mod login;
mod object;
pub mod page;
pub mod problem;
mod reach;
pub mod routes;
pub mod server;
mod session;
pub mod shape;
pub mod webhook;
mod whole;
mod words;
