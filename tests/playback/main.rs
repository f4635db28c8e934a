//! Presentations under a simulated clock: what leaves when, to whom, with which numbers and timestamps. One binary, for each costs its linking.

#[path = "../playback_rig/mod.rs"]
mod playback_rig;

mod grouping;
mod joining;
mod joining_random;
mod live;
mod scale;
mod schedule;
mod seek;
mod speed;
