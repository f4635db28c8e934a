//! Movie fragments (ISO/IEC 14496-12 section 8.8).

use mp4_atom::{Tfdt, Tfhd, Trex, Trun, TrunSamples};

use crate::library::container::mp4::boxes::{Boxes, decode, find};
use crate::library::container::mp4::tables::{sample, sane_duration};
use crate::library::container::mp4::{Draft, MAX_FRAGMENT_BOX, read};
use crate::library::container::problem;
use crate::library::title::{Problem, ReadAt, Sample};
use crate::quantities::MediaKind;

/// `sample_is_non_sync_sample` in sample flags (section 8.8.3.1).
const NOT_SYNC: u32 = 0x0001_0000;

/// Appends the fragments' samples to their tracks, until one is broken or reaches beyond the file's end; tells so in the
/// remark. `budget` is how many samples there may be.
///
/// # Errors
/// A fragment that is absurd.
pub fn append(
    source: &dyn ReadAt,
    fragments: &[(u64, u64)],
    defaults: &[Trex],
    drafts: &mut [Draft],
    budget: &mut usize,
) -> Result<Option<&'static str>, Problem> {
    for &(start, len) in fragments {
        if len > MAX_FRAGMENT_BOX {
            return Err(problem("a fragment's index (moof) is larger than 16 MB"));
        }
        let fragment = read(source, start, len)?;
        let header = if fragment.starts_with(&[0, 0, 0, 1]) { 16 } else { 8 };
        let body = fragment.get(header..).unwrap_or_default();
        let mut reader = Reader { moof: start, implicit_base: start, file_size: source.size(), budget };
        for (_, track) in Boxes::new(body).filter(|(kind, _)| kind == b"traf") {
            match reader.track_fragment(track, defaults, drafts)? {
                Outcome::Whole => {}
                Outcome::Broken => return Ok(Some("a fragment is broken; what follows it is left out")),
                Outcome::CutShort => return Ok(Some("the file is cut short")),
            }
        }
    }
    Ok(None)
}

enum Outcome {
    Whole,
    Broken,
    CutShort,
}

/// Reads the track fragments of one movie fragment.
struct Reader<'a> {
    moof: u64,
    /// Where data lies for a track fragment that does not say: first at the movie fragment, then behind the data of the
    /// track fragment before (section 8.8.7.1).
    implicit_base: u64,
    file_size: u64,
    budget: &'a mut usize,
}

impl Reader<'_> {
    fn track_fragment(&mut self, body: &[u8], defaults: &[Trex], drafts: &mut [Draft]) -> Result<Outcome, Problem> {
        let Some(header) = find(body, b"tfhd").and_then(decode::<Tfhd>) else { return Ok(Outcome::Broken) };
        let base = match header.base_data_offset {
            Some(base) => base,
            None if header.default_base_is_moof => self.moof,
            None => self.implicit_base,
        };
        let Some(draft) = drafts.iter_mut().find(|draft| draft.id == header.track_id) else {
            return self.pass_over(body, &header, defaults, base);
        };
        if let Some(time) = find(body, b"tfdt") {
            let Some(time) = decode::<Tfdt>(time) else { return Ok(Outcome::Broken) };
            let time = i64::try_from(time.base_media_decode_time).unwrap_or(i64::MAX);
            draft.next_decode_time = time.max(draft.samples.last().map_or(i64::MIN, Sample::decode_time));
        }
        let inherited = Inherited::new(&header, defaults);
        let mut at = base;
        for (_, run) in Boxes::new(body).filter(|(kind, _)| kind == b"trun") {
            let Some(run) = decode::<Trun>(run) else { return Ok(Outcome::Broken) };
            at = start_of(&run, base, at)?;
            for entry in run.samples.iter() {
                let size = entry.size.unwrap_or(inherited.size);
                let end = at.saturating_add(u64::from(size));
                if end > self.file_size {
                    return Ok(Outcome::CutShort);
                }
                *self.budget =
                    self.budget.checked_sub(1).ok_or_else(|| problem("the fragments claim more access units than the file can hold"))?;
                let random_access = draft.kind != MediaKind::Video || entry.flags.unwrap_or(inherited.flags) & NOT_SYNC == 0;
                let shift = i32::try_from(entry.cts.unwrap_or(0)).map_err(|_| problem("a composition offset is absurd"))?;
                draft.samples.push(sample(at, size, draft.next_decode_time, shift, random_access).map_err(problem)?);
                draft.last_duration = sane_duration(entry.duration.unwrap_or(inherited.duration));
                draft.next_decode_time = draft.next_decode_time.saturating_add(i64::from(draft.last_duration));
                at = end;
            }
        }
        self.implicit_base = at;
        Ok(Outcome::Whole)
    }

    /// Of a track that is left out only matters where its data ends.
    fn pass_over(&mut self, body: &[u8], header: &Tfhd, defaults: &[Trex], base: u64) -> Result<Outcome, Problem> {
        let size = Inherited::new(header, defaults).size;
        let mut at = base;
        for (_, run) in Boxes::new(body).filter(|(kind, _)| kind == b"trun") {
            let Some(run) = decode::<Trun>(run) else { return Ok(Outcome::Broken) };
            at = start_of(&run, base, at)?;
            let octets = match &run.samples {
                TrunSamples::Inherited { count, .. } => u64::from(*count).saturating_mul(u64::from(size)),
                TrunSamples::Explicit(entries) => entries.iter().map(|entry| u64::from(entry.size.unwrap_or(size))).sum(),
            };
            at = at.saturating_add(octets);
        }
        self.implicit_base = at;
        Ok(Outcome::Whole)
    }
}

/// Where a run's data begins.
fn start_of(run: &Trun, base: u64, behind_last: u64) -> Result<u64, Problem> {
    match run.data_offset {
        Some(offset) => base.checked_add_signed(i64::from(offset)).ok_or_else(|| problem("a fragment lies before the file's beginning")),
        None => Ok(behind_last),
    }
}

/// What a sample has that does not say otherwise (section 8.8.3): by its track fragment, else by its track.
struct Inherited {
    duration: u32,
    size: u32,
    flags: u32,
}

impl Inherited {
    fn new(header: &Tfhd, defaults: &[Trex]) -> Self {
        let default = defaults.iter().find(|default| default.track_id == header.track_id);
        Self {
            duration: header.default_sample_duration.or(default.map(|default| default.default_sample_duration)).unwrap_or(0),
            size: header.default_sample_size.or(default.map(|default| default.default_sample_size)).unwrap_or(0),
            flags: header.default_sample_flags.or(default.map(|default| default.default_sample_flags)).unwrap_or(0),
        }
    }
}
