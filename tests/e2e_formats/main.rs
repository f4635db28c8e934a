//! Formats to real players: codings, containers, sound files; whole titles and seeks, compared with the file. One binary, for each costs its linking.

#[path = "../support/mod.rs"]
mod support;

mod h265;
mod matroska;
mod sound;
mod streams;
mod video;
