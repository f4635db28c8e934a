//! Coded pictures out of a stream of start codes: where each access unit begins and ends, and what it is.
//!
//! An access unit begins with what goes before a picture (parameter sets, delimiters, headers), or with the picture itself, and has the
//! two fields of a frame together (as ISO/IEC 14496-15 stores them). ISO/IEC 14496-10 section 7.4.1.2, ISO/IEC 23008-2 section 7.4.2.4.

use std::fmt;

use crate::library::codec::Codec;
use crate::library::elementary::start_code::{Place, Scanner, Section};

/// What a coded picture says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// Whether decoding can start with it.
    pub is_key: bool,
    /// Whether it refers to no other.
    pub is_intra: bool,
    /// Whether no picture from here on is shown before one that was decoded before it.
    pub begins_sequence: bool,
    /// Its place among the pictures of its sequence, in the order in which they are shown.
    pub order: i64,
}

/// What a section of the stream means for its division into access units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Goes before a picture.
    Before,
    /// Begins a picture.
    Picture(Picture),
    /// More of the picture before it, or its second field.
    SamePicture,
    /// Begins the second field of the picture before it, with nothing between that goes before one.
    SecondField,
    /// Belongs to what is before it.
    Behind,
}

/// How a kind of stream is read.
pub trait Coding: fmt::Debug {
    /// What the section with this beginning, behind its start code, is.
    fn section(&mut self, head: &[u8]) -> Role;

    /// What a decoder must know beforehand, once it is known.
    fn codec(&self) -> Option<Codec>;

    /// Pictures in so many seconds, where the stream says so.
    fn frame_rate(&self) -> Option<(u32, u32)>;

    /// Whether a further zero before a start code belongs to it.
    fn has_zero_byte(&self) -> bool {
        true
    }
}

/// An access unit of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its first octet.
    pub start: Place,
    /// Octets.
    pub size: u64,
    /// Octets of the stream before its first start code.
    pub code_position: u64,
    /// The same of its last picture's or field's.
    pub last_position: u64,
    /// What it shows.
    pub picture: Picture,
}

/// One that is not yet whole.
#[derive(Debug)]
struct Draft {
    start: Place,
    code_position: u64,
    last_position: u64,
    picture: Option<Picture>,
    /// What may be the next one's beginning.
    next: Option<(Place, u64)>,
}

impl Draft {
    const fn new((start, code_position): (Place, u64)) -> Self {
        Self { start, code_position, last_position: code_position, picture: None, next: None }
    }

    fn unit(&self, end: u64) -> Option<Unit> {
        let &Self { start, code_position, last_position, picture, .. } = self;
        Some(Unit { start, size: end.checked_sub(start.position)?, code_position, last_position, picture: picture? })
    }
}

/// Gathers access units of a stream that comes in pieces.
#[derive(Debug)]
pub struct Pictures {
    scanner: Scanner,
    division: Division,
    end: u64,
}

#[derive(Debug)]
struct Division {
    coding: Box<dyn Coding>,
    draft: Option<Draft>,
    done: Vec<Unit>,
}

impl Pictures {
    /// For a stream that is coded so; `limit` says how many octets of a section, by its first one, are looked at.
    pub fn new(coding: Box<dyn Coding>, limit: fn(u8) -> usize) -> Self {
        let scanner = if coding.has_zero_byte() { Scanner::new(limit) } else { Scanner::without_zero_byte(limit) };
        Self { scanner, division: Division { coding, draft: None, done: Vec::new() }, end: 0 }
    }

    /// How the stream is read.
    pub fn coding(&self) -> &dyn Coding {
        self.division.coding.as_ref()
    }

    /// Takes the next piece of the stream.
    pub fn feed(&mut self, piece: &[u8], place: Place) {
        let Self { scanner, division, .. } = self;
        scanner.feed(piece, place, &mut |section| division.section(section));
        self.end = place.ahead(piece.len()).position;
    }

    /// Something is missing in the stream: what is not yet whole never will be.
    pub fn interrupt(&mut self) {
        self.scanner.reset();
        self.division.draft = None;
    }

    /// The stream has ended.
    pub fn finish(&mut self) {
        let Self { scanner, division, .. } = self;
        scanner.finish(&mut |section| division.section(section));
        let last = division.draft.take();
        division.done.extend(last.and_then(|draft| draft.unit(self.end)));
    }

    /// The access units that are whole by now, each once.
    pub fn take(&mut self) -> std::vec::Drain<'_, Unit> {
        self.division.done.drain(..)
    }
}

impl Division {
    fn section(&mut self, section: &Section) {
        let here = (section.start, section.code_position);
        match self.coding.section(&section.head) {
            Role::Before => match &mut self.draft {
                None => self.draft = Some(Draft::new(here)),
                Some(draft) if draft.picture.is_some() => drop(draft.next.get_or_insert(here)),
                Some(_) => {}
            },
            Role::Picture(picture) => {
                if let Some(before) = self.draft.take_if(|draft| draft.picture.is_some()) {
                    let next = before.next.unwrap_or(here);
                    self.done.extend(before.unit(next.0.position));
                    self.draft = Some(Draft::new(next));
                }
                let draft = self.draft.get_or_insert_with(|| Draft::new(here));
                draft.picture = Some(picture);
                draft.last_position = here.1;
            }
            Role::SamePicture => {
                if let Some(draft) = &mut self.draft
                    && draft.next.take().is_some()
                {
                    draft.last_position = here.1;
                }
            }
            Role::SecondField => {
                if let Some(draft) = &mut self.draft {
                    draft.last_position = here.1;
                }
            }
            Role::Behind => {}
        }
    }
}
