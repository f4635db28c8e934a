//! One logical stream of an Ogg file: its headers, its packets, and when they are heard.

use std::sync::Arc;

use crate::library::codec::{Codec, VorbisConfig};
use crate::library::container::ogg::page::{Page, Piece};
use crate::library::container::ogg::{Pages, SEGMENT, SPANS};
use crate::library::container::problem;
use crate::library::container::sound::{MAX_UNITS, SAMPLE_RATES, Sound};
use crate::library::container::window::Window;
use crate::library::elementary::opus::{self, OpusHead};
use crate::library::elementary::vorbis::{self, Identification, Modes};
use crate::library::title::{Problem, Sample};

/// The longest header packet that is kept; a comment may be longer, of which nothing is kept then.
const MAX_HEADER_PACKET: usize = 1 << 17;
/// The largest packet with sound that is taken.
const MAX_PACKET: u32 = 1 << 20;
/// Octets of a packet that tell how long it lasts.
const HEAD: usize = 2;
/// The longest hole that granule positions are believed to tell of, in seconds.
const LONGEST_HOLE: i64 = 3_600;

/// How the stream is coded.
enum Coding {
    /// Its first packet has not ended.
    Unknown,
    Opus(OpusHead),
    Vorbis(Box<Vorbis>),
    /// It is no media, and nobody misses it.
    None,
    /// Why it is left out.
    LeftOut(String),
}

struct Vorbis {
    config: VorbisConfig,
    about: Identification,
    modes: Option<Modes>,
    /// Samples of the block before.
    before: Option<u32>,
}

/// A packet that has not ended.
#[derive(Default)]
struct Open {
    /// As in the index.
    offset: u64,
    size: u32,
    /// The first octets; all of a header.
    octets: Vec<u8>,
}

/// A packet of a page that is not yet placed.
struct Waiting {
    offset: u64,
    size: u32,
    duration: u32,
}

/// A logical stream.
pub(super) struct Stream {
    pub(super) serial: u32,
    /// Whether something of it is missing.
    pub(super) is_broken: bool,
    coding: Coding,
    /// Header packets so far.
    headers: usize,
    open: Option<Open>,
    sequence: Option<u32>,
    waiting: Vec<Waiting>,
    samples: Vec<Sample>,
    last_duration: u32,
    /// The granule position of the timeline's zero; `None` before the first page with sound.
    zero: Option<i64>,
    /// When the next packet begins.
    next: i64,
    /// When the sound ends, where the last page says so.
    end: Option<i64>,
}

impl Stream {
    pub(super) fn new(serial: u32) -> Self {
        Self {
            serial,
            is_broken: false,
            coding: Coding::Unknown,
            headers: 0,
            open: None,
            sequence: None,
            waiting: Vec::new(),
            samples: Vec::new(),
            last_duration: 0,
            zero: None,
            next: 0,
            end: None,
        }
    }

    /// What was begun does not go on.
    pub(super) fn lose_packet(&mut self) {
        self.is_broken |= self.open.take().is_some();
    }

    /// The next page of it, which lies at `at`.
    ///
    /// # Errors
    /// The file's, or that it has too many packets.
    pub(super) fn page(&mut self, window: &mut Window<'_>, at: u64, page: &Page) -> Result<(), Problem> {
        if matches!(self.coding, Coding::None | Coding::LeftOut(_)) {
            return Ok(());
        }
        let follows = self.sequence.is_none_or(|before| page.sequence == before.wrapping_add(1));
        self.is_broken |= !follows;
        self.sequence = Some(page.sequence);
        if !page.is_continued || !follows {
            self.lose_packet();
        }
        for (number, piece) in page.pieces(0).enumerate() {
            if number == 0 && page.is_continued && self.open.is_none() {
                // Its beginning is missing.
                continue;
            }
            self.piece(window, at, &piece)?;
        }
        self.place(page);
        if self.samples.len() > MAX_UNITS {
            return Err(problem("the sound is too long"));
        }
        Ok(())
    }

    fn piece(&mut self, window: &mut Window<'_>, at: u64, piece: &Piece) -> Result<(), Problem> {
        let offset = at.saturating_add(piece.offset);
        let is_header = self.headers < self.header_count();
        let mut open = match self.open.take() {
            Some(open) => open,
            None if piece.is_end => Open { offset, ..Open::default() },
            None => Open { offset: SPANS | at << SEGMENT | u64::from(piece.segment), ..Open::default() },
        };
        let wanted = if is_header { piece.size as usize } else { HEAD.saturating_sub(open.octets.len()).min(piece.size as usize) };
        if wanted > 0 && open.octets.len() <= MAX_HEADER_PACKET {
            let octets = window.at(offset, wanted)?;
            open.octets.extend(octets.iter().take(wanted));
        }
        open.size = open.size.saturating_add(piece.size);
        match (piece.is_end, is_header) {
            (false, _) => self.open = Some(open),
            (true, true) => self.header(open.octets),
            (true, false) => self.packet(&open),
        }
        Ok(())
    }

    /// How many packets with headers there are.
    const fn header_count(&self) -> usize {
        match self.coding {
            Coding::Vorbis(_) => 3,
            _ => 2,
        }
    }

    fn header(&mut self, octets: Vec<u8>) {
        self.headers += 1;
        let is_long = octets.len() > MAX_HEADER_PACKET;
        match (&mut self.coding, self.headers) {
            (Coding::Unknown, _) => self.coding = identify(&octets),
            (Coding::Vorbis(vorbis), 2) if !is_long && octets.starts_with(b"\x03vorbis") => vorbis.config.comment = octets,
            (Coding::Vorbis(vorbis), 3) => {
                vorbis.modes = (!is_long && vorbis::is_setup(&octets)).then(|| Modes::parse(&vorbis.about, &octets)).flatten();
                vorbis.config.setup = octets;
                if vorbis.modes.is_none() {
                    self.coding = Coding::LeftOut("its Vorbis setup header is broken".into());
                }
            }
            _ => {}
        }
    }

    /// A packet with sound.
    fn packet(&mut self, open: &Open) {
        let duration = match &mut self.coding {
            Coding::Opus(_) => opus::duration(&open.octets),
            Coding::Vorbis(vorbis) => vorbis.duration(&open.octets),
            _ => None,
        };
        // An empty packet stands for one that was lost before the file was written.
        let Some(duration) = duration.filter(|_| open.size > 0 && open.size <= MAX_PACKET) else {
            self.is_broken |= open.size > 0;
            return;
        };
        self.waiting.push(Waiting { offset: open.offset, size: open.size, duration });
    }

    /// Gives the packets that ended in a page their times.
    fn place(&mut self, page: &Page) {
        let total: i64 = self.waiting.iter().map(|packet| i64::from(packet.duration)).sum();
        let (Some(first), true) = (self.waiting.first(), page.granule >= 0 || self.zero.is_some()) else { return };
        let (lead, skip) = match self.coding {
            // What the first block adds is not heard: it has nothing to lap with.
            Coding::Vorbis(_) => (i64::from(first.duration), 0),
            Coding::Opus(head) => (i64::from(head.pre_skip), i64::from(head.pre_skip)),
            _ => (0, 0),
        };
        let zero = match self.zero {
            Some(zero) => zero,
            None => {
                // Samples before the first packet, which a stream that was cut out of another has.
                let heard = total - if skip == 0 { lead } else { 0 };
                let before = if page.is_last { 0 } else { page.granule.saturating_sub(heard) };
                self.next = before.min(0) - lead;
                *self.zero.insert(before.max(0))
            }
        };
        let expected = self.next.saturating_add(total);
        let said = page.granule.saturating_sub(zero).saturating_sub(skip);
        let hole = said.saturating_sub(expected);
        if page.granule >= 0 && !page.is_last && hole > 0 && hole <= LONGEST_HOLE * i64::from(self.sample_rate()) {
            self.is_broken = true;
            self.next = self.next.saturating_add(hole);
        }
        if page.is_last && page.granule >= 0 {
            self.end = Some(said.clamp(self.next, expected));
        }
        for packet in self.waiting.drain(..) {
            self.samples.extend(Sample::new(packet.offset, packet.size, self.next, 0, true));
            self.next = self.next.saturating_add(i64::from(packet.duration));
            self.last_duration = packet.duration;
        }
    }

    fn sample_rate(&self) -> u32 {
        match &self.coding {
            Coding::Vorbis(vorbis) => vorbis.about.sample_rate,
            _ => opus::SAMPLE_RATE,
        }
    }

    /// What it sounds like; `None` where it is no media.
    ///
    /// # Errors
    /// Why it is left out, as the end of a sentence.
    pub(super) fn sound(self) -> Result<Option<Sound>, String> {
        let timescale = self.sample_rate();
        let codec = match self.coding {
            Coding::Opus(head) => Codec::Opus(head.sound_format()),
            Coding::Vorbis(vorbis) if vorbis.modes.is_some() => Codec::Vorbis(vorbis.config),
            Coding::None => return Ok(None),
            Coding::LeftOut(why) => return Err(why),
            Coding::Unknown | Coding::Vorbis(_) => return Err("the file is cut short within its headers".into()),
        };
        Ok(Some(Sound {
            codec,
            timescale,
            samples: self.samples,
            last_duration: self.last_duration,
            end: self.end.unwrap_or(self.next),
            packing: Some(Arc::new(Pages)),
        }))
    }
}

/// What a stream is, by its first packet.
fn identify(octets: &[u8]) -> Coding {
    let left_out = |why: &str| Coding::LeftOut(why.to_owned());
    match octets {
        [b'O', b'p', b'u', b's', b'H', b'e', b'a', b'd', ..] => match OpusHead::parse(octets) {
            Some(head) if head.streams == 1 && head.channels <= 2 => Coding::Opus(head),
            Some(head) => Coding::LeftOut(format!("Opus with {} channels is not supported", head.channels)),
            None => left_out("its Opus header is broken"),
        },
        [1, b'v', b'o', b'r', b'b', b'i', b's', ..] => match Identification::parse(octets) {
            Some(about) if SAMPLE_RATES.contains(&about.sample_rate) => {
                let (sample_rate, channels, identification) = (about.sample_rate, about.channels, octets.to_vec());
                let config = VorbisConfig { sample_rate, channels, identification, comment: Vec::new(), setup: Vec::new() };
                Coding::Vorbis(Box::new(Vorbis { config, about, modes: None, before: None }))
            }
            _ => left_out("its Vorbis header is broken"),
        },
        [0x80, b't', b'h', b'e', b'o', b'r', b'a', ..] => left_out("Theora is not supported"),
        [0x7f, b'F', b'L', b'A', b'C', ..] => left_out("FLAC in Ogg is not supported"),
        [b'S', b'p', b'e', b'e', b'x', b' ', ..] => left_out("Speex is not supported"),
        [b'f', b'i', b's', b'h', b'e', b'a', b'd', 0, ..] => Coding::None,
        _ => left_out("its coding is unknown"),
    }
}

impl Vorbis {
    fn duration(&mut self, octets: &[u8]) -> Option<u32> {
        let block = self.modes.as_ref()?.block_size(*octets.first()?)?;
        let before = self.before.replace(block).unwrap_or(block);
        Some(vorbis::duration(block, before))
    }
}
