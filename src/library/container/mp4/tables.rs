//! Sample tables (ISO/IEC 14496-12 sections 8.6 and 8.7) into an index.

use mp4_atom::{Co64, Ctts, FourCC, Sbgp, Stco, Stsc, Stss, Stsz, StszSamples, Stts};

use crate::library::container::mp4::boxes::{Boxes, decode, find};
use crate::library::title::Sample;

/// The largest access unit that is taken.
const MAX_ACCESS_UNIT: u32 = 64 << 20;

/// Sample descriptions of one track that are compared.
const MAX_DESCRIPTIONS: usize = 16;

/// What the tables yield.
pub struct Tables {
    /// In decode order.
    pub samples: Vec<Sample>,
    /// How long the last one lasts, in ticks.
    pub last_duration: u32,
    /// The decode time behind the last one.
    pub end: i64,
}

/// The numbers of the sample descriptions that the track uses, each once, a few at most; empty where the table is.
pub fn descriptions(table: &[u8]) -> Vec<u32> {
    let mut used = Vec::new();
    for entry in find(table, b"stsc").and_then(decode::<Stsc>).unwrap_or_default().entries {
        if used.len() < MAX_DESCRIPTIONS && !used.contains(&entry.sample_description_index) {
            used.push(entry.sample_description_index);
        }
    }
    used
}

/// Reads the tables of a track, of at most `budget` samples; all empty in a fragmented file.
///
/// # Errors
/// What is wrong, as the end of a sentence.
pub fn read(table: &[u8], budget: usize) -> Result<Tables, String> {
    let sizes = sizes(table)?;
    let count = sizes.len();
    if count == 0 {
        return Ok(Tables { samples: Vec::new(), last_duration: 0, end: 0 });
    }
    if count > budget {
        return Err("it claims more access units than the file can hold".into());
    }
    let offsets = chunk_offsets(table)?;
    let chunks = find(table, b"stsc").and_then(decode::<Stsc>).ok_or("its chunk table is broken")?;
    let times = find(table, b"stts").and_then(decode::<Stts>).ok_or("its time table is broken")?;
    let composition = match find(table, b"ctts") {
        Some(body) => Some(decode::<Ctts>(body).ok_or("its composition table is broken")?),
        None => None,
    };
    let access = access_points(table, count)?;

    let mut samples: Vec<Sample> = Vec::with_capacity(count);
    let mut decode_time: i64 = 0;
    let mut last_duration = 0;
    let mut durations = times.entries.iter().flat_map(|entry| std::iter::repeat_n(entry.sample_delta, entry.sample_count as usize));
    let mut compositions = composition
        .iter()
        .flat_map(|table| &table.entries)
        .flat_map(|entry| std::iter::repeat_n(entry.sample_offset, entry.sample_count as usize));
    let mut access_points = access.map(|numbers| numbers.into_iter().peekable());
    let mut number: u32 = 0;
    let mut descriptions = chunks.entries.iter().peekable();
    let mut per_chunk = 0;
    for (chunk, offset) in (1u32..).zip(offsets) {
        while let Some(entry) = descriptions.peek() {
            if entry.first_chunk > chunk {
                break;
            }
            per_chunk = entry.samples_per_chunk;
            descriptions.next();
        }
        let mut at = offset;
        for _ in 0..per_chunk {
            let Some(size) = sizes.get(samples.len()) else { break };
            number += 1;
            let random_access = match &mut access_points {
                None => true,
                Some(points) => {
                    while points.peek().is_some_and(|point| *point < number) {
                        points.next();
                    }
                    points.peek() == Some(&number)
                }
            };
            let shift = i32::try_from(compositions.next().unwrap_or(0)).map_err(|_| "a composition offset is absurd")?;
            samples.push(sample(at, size, decode_time, shift, random_access)?);
            at = at.saturating_add(u64::from(size));
            last_duration = durations.next().map_or(last_duration, sane_duration);
            decode_time = decode_time.saturating_add(i64::from(last_duration));
        }
        if samples.len() >= count {
            break;
        }
    }
    if samples.len() < count {
        return Err("its tables disagree about the number of access units".into());
    }
    Ok(Tables { samples, last_duration, end: decode_time })
}

/// The numbers of the samples at which decoding can start, ascending; `None` where it can at each of the `count`. Those of open groups
/// (pictures that are shown before them lean on what is before) are in tables of their own: QuickTime has `stps`, ISO/IEC 14496-12 section
/// 10.4 the sample group `rap `.
fn access_points(table: &[u8], count: usize) -> Result<Option<Vec<u32>>, &'static str> {
    let numbers = |kind: &[u8; 4]| {
        let table = find(table, kind).map(|body| decode::<Stss>(body).ok_or("its table of random access points is broken"));
        table.transpose().map(|table| table.map(|table| table.entries))
    };
    let (whole, partial) = (numbers(b"stss")?, numbers(b"stps")?);
    if whole.is_none() && partial.is_none() {
        return Ok(None);
    }
    let mut all = whole.unwrap_or_default();
    all.extend(partial.unwrap_or_default());
    all.extend(grouped(table, b"rap ", count));
    all.sort_unstable();
    Ok(Some(all))
}

/// The numbers of the samples that are in a group of that kind (section 8.9.2); none behind the last of `count`.
fn grouped(table: &[u8], kind: &[u8; 4], count: usize) -> Vec<u32> {
    let groups = Boxes::new(table).filter(|(name, _)| name == b"sbgp").filter_map(|(_, body)| decode::<Sbgp>(body));
    let Some(group) = groups.into_iter().find(|group| group.grouping_type == FourCC::new(kind)) else { return Vec::new() };
    let mut numbers = Vec::new();
    let (mut next, last) = (1u32, u32::try_from(count).unwrap_or(u32::MAX));
    for entry in group.entries {
        let behind = next.saturating_add(entry.sample_count);
        if entry.group_description_index != 0 {
            numbers.extend(next..behind.min(last.saturating_add(1)));
        }
        next = behind;
    }
    numbers
}

/// An entry of the index.
///
/// # Errors
/// An access unit that no codec makes, and that nobody should take memory for.
pub fn sample(offset: u64, size: u32, decode_time: i64, composition_offset: i32, random_access: bool) -> Result<Sample, &'static str> {
    let sample = Sample::new(offset, size, decode_time, composition_offset, random_access);
    sample.filter(|_| size <= MAX_ACCESS_UNIT).ok_or("an access unit is larger than 64 MB")
}

/// Some writers put a negative difference where decode times went back; time goes on by one tick then.
pub const fn sane_duration(ticks: u32) -> u32 {
    if ticks > i32::MAX as u32 { 1 } else { ticks }
}

enum Sizes {
    Same { count: usize, size: u32 },
    Each(Vec<u32>),
}

impl Sizes {
    fn len(&self) -> usize {
        match self {
            Self::Same { count, .. } => *count,
            Self::Each(sizes) => sizes.len(),
        }
    }

    fn get(&self, position: usize) -> Option<u32> {
        match self {
            Self::Same { count, size } => (position < *count).then_some(*size),
            Self::Each(sizes) => sizes.get(position).copied(),
        }
    }
}

fn sizes(table: &[u8]) -> Result<Sizes, String> {
    if let Some(body) = find(table, b"stsz") {
        return match decode::<Stsz>(body).ok_or("its size table is broken")?.samples {
            StszSamples::Identical { count, size } => Ok(Sizes::Same { count: count as usize, size }),
            StszSamples::Different { sizes } => Ok(Sizes::Each(sizes)),
        };
    }
    // The compact table: 4, 8 or 16 bits each (section 8.7.3.3).
    let Some(body) = find(table, b"stz2") else { return Err("it has no size table".into()) };
    let (Some(&width), Some(count)) = (body.get(7), body.get(8..12).and_then(|count| count.first_chunk::<4>())) else {
        return Err("its size table is broken".into());
    };
    let count = u32::from_be_bytes(*count) as usize;
    let entries = &body[12..];
    let size = |position: usize| match width {
        4 => entries.get(position / 2).map(|pair| u32::from(if position.is_multiple_of(2) { pair >> 4 } else { pair & 15 })),
        8 => entries.get(position).map(|size| u32::from(*size)),
        16 => entries.get(2 * position..2 * position + 2).map(|size| u32::from(u16::from_be_bytes([size[0], size[1]]))),
        _ => None,
    };
    if count > entries.len() * 2 {
        return Err("its size table is cut short".into());
    }
    (0..count).map(size).collect::<Option<Vec<u32>>>().map(Sizes::Each).ok_or_else(|| "its size table is cut short".into())
}

/// Where the chunks lie.
///
/// # Errors
/// What is wrong, as the end of a sentence.
pub fn chunk_offsets(table: &[u8]) -> Result<Vec<u64>, String> {
    if let Some(body) = find(table, b"co64") {
        return decode::<Co64>(body).map(|offsets| offsets.entries).ok_or_else(|| "its offset table is broken".into());
    }
    let offsets = find(table, b"stco").and_then(decode::<Stco>).ok_or("its offset table is broken")?;
    Ok(offsets.entries.into_iter().map(u64::from).collect())
}
