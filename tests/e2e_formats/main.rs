//! Formats to real players: codings, containers, sound files; whole titles and seeks, compared with the file. One binary, for each costs its linking.

#[path = "../support/mod.rs"]
mod support;

mod controls;
mod edges;
mod h265;
mod handover;
mod matroska;
mod playlist;
mod slides;
mod sound;
mod streams;
mod subtitles;
mod transport;
mod video;
