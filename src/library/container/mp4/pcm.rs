//! Uncompressed sound, of which the tables count every sample of all channels: runs of them become access units of 20 ms. What the size
//! table says does not matter then: QuickTime has one octet for each there, whatever they have (QuickTime File Format, Sound Media).

use mp4_atom::{Stsc, Stsz, StszSamples, Stts};

use crate::library::codec::{Codec, PcmConfig};
use crate::library::container::mp4::boxes::{decode, find};
use crate::library::container::mp4::tables::{self, Tables};
use crate::library::title::Sample;

/// Access units a second.
const UNITS: u32 = 50;

/// As [`tables::read`], of a track that is coded so; `None` where its samples are no single ones.
///
/// # Errors
/// What is wrong, as the end of a sentence.
pub fn read(table: &[u8], codec: &Codec, budget: usize) -> Result<Option<Tables>, String> {
    let Codec::Pcm(config) = codec else { return Ok(None) };
    let block = block(config);
    let count = match find(table, b"stsz").and_then(decode::<Stsz>).map(|sizes| sizes.samples) {
        Some(StszSamples::Identical { count, size }) if count > 0 && (size == 1 || size == block) => count,
        _ => return Ok(None),
    };
    let times = find(table, b"stts").and_then(decode::<Stts>).ok_or("its time table is broken")?;
    let tick = times.entries.first().map_or(0, |entry| entry.sample_delta);
    if tick == 0 || times.entries.iter().any(|entry| entry.sample_delta != tick) {
        return Err("its samples do not follow each other evenly".into());
    }
    let mut units =
        Units { block, tick, most: (config.sample_rate / UNITS).max(1), budget, run: (0, 0), time: 0, last: 0, samples: Vec::new() };
    let mut left = count;
    for (offset, frames) in chunks(table)? {
        let frames = frames.min(left);
        left -= frames;
        units.push(offset, frames)?;
        if left == 0 {
            break;
        }
    }
    if left > 0 {
        return Err("its tables disagree about the number of access units".into());
    }
    units.flush()?;
    let end = units.time;
    Ok(Some(Tables { samples: units.samples, last_duration: units.last, end }))
}

/// Octets of a sample of each channel.
fn block(config: &PcmConfig) -> u32 {
    config.sample.octets() as u32 * u32::from(config.channels)
}

/// Where each chunk lies, and how many samples it has.
fn chunks(table: &[u8]) -> Result<impl Iterator<Item = (u64, u32)>, String> {
    let offsets = tables::chunk_offsets(table)?;
    let mut descriptions = find(table, b"stsc").and_then(decode::<Stsc>).ok_or("its chunk table is broken")?.entries.into_iter().peekable();
    let mut per_chunk = 0;
    Ok((1u32..).zip(offsets).map(move |(chunk, offset)| {
        while let Some(entry) = descriptions.next_if(|entry| entry.first_chunk <= chunk) {
            per_chunk = entry.samples_per_chunk;
        }
        (offset, per_chunk)
    }))
}

/// Makes access units of runs of samples.
struct Units {
    /// Octets of a sample of each channel, and how many ticks it lasts.
    block: u32,
    tick: u32,
    /// Samples of an access unit.
    most: u32,
    budget: usize,
    /// Where samples lie that follow each other, and how many they are.
    run: (u64, u64),
    time: i64,
    last: u32,
    samples: Vec<Sample>,
}

impl Units {
    fn push(&mut self, offset: u64, frames: u32) -> Result<(), String> {
        let (start, count) = self.run;
        if offset == start.saturating_add(count.saturating_mul(u64::from(self.block))) {
            self.run = (start, count.saturating_add(u64::from(frames)));
        } else {
            self.flush()?;
            self.run = (offset, u64::from(frames));
        }
        while self.run.1 >= u64::from(self.most) {
            self.unit(self.most)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), String> {
        match u32::try_from(self.run.1) {
            Ok(frames) if frames > 0 => self.unit(frames),
            _ => Ok(()),
        }
    }

    fn unit(&mut self, frames: u32) -> Result<(), String> {
        if self.samples.len() >= self.budget {
            return Err("it claims more access units than the file can hold".into());
        }
        let size = frames.saturating_mul(self.block);
        self.samples.push(tables::sample(self.run.0, size, self.time, 0, true)?);
        self.last = frames.saturating_mul(self.tick);
        self.time = self.time.saturating_add(i64::from(self.last));
        self.run = (self.run.0.saturating_add(u64::from(size)), self.run.1.saturating_sub(u64::from(frames)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::codec::PcmSample;
    use crate::library::container::mp4::tests::{boxed, table as entries};

    fn stereo(sample_rate: u32) -> Codec {
        Codec::Pcm(PcmConfig { sample: PcmSample::Little16, sample_rate, channels: 2 })
    }

    fn sizes(size: u32, count: u32) -> Vec<u8> {
        boxed(b"stsz", [&[0; 4][..], &size.to_be_bytes(), &count.to_be_bytes()].concat())
    }

    /// Tables of chunks of so many samples.
    fn tables_of(sizes: Vec<u8>, delta: u32, chunks: &[(u32, u32)]) -> Vec<u8> {
        let count: u32 = chunks.iter().map(|(_, frames)| frames).sum();
        let runs: Vec<[u32; 3]> = (1..).zip(chunks).map(|(number, (_, frames))| [number, *frames, 1]).collect();
        let runs: Vec<&[u32]> = runs.iter().map(|run| &run[..]).collect();
        let offsets: Vec<[u32; 1]> = chunks.iter().map(|(offset, _)| [*offset]).collect();
        let offsets: Vec<&[u32]> = offsets.iter().map(|offset| &offset[..]).collect();
        [sizes, entries(b"stts", 0, &[&[count, delta]]), entries(b"stsc", 0, &runs), entries(b"stco", 0, &offsets)].concat()
    }

    fn units(table: &[u8], codec: &Codec, budget: usize) -> Result<Vec<(u32, i64)>, String> {
        let tables = read(table, codec, budget)?.expect("single samples");
        Ok(tables.samples.iter().map(|sample| (sample.size(), sample.decode_time())).collect())
    }

    #[test]
    fn samples_that_follow_each_other_make_units_of_twenty_milliseconds() {
        // 160 samples of four octets; the second chunk follows the first, the third does not.
        for size in [1, 4] {
            let table = tables_of(sizes(size, 400), 1, &[(1_000, 100), (1_400, 200), (5_000, 100)]);
            let expected = vec![(640, 0), (560, 160), (400, 300)];
            assert_eq!(units(&table, &stereo(8_000), 10), Ok(expected));
            let read = read(&table, &stereo(8_000), 10).expect("sound").expect("single samples");
            assert_eq!((read.end, read.last_duration), (400, 100));
            assert_eq!(read.samples[2], tables::sample(5_000, 400, 300, 0, true).expect("small"));
            assert_eq!(units(&table, &stereo(8_000), 2), Err("it claims more access units than the file can hold".into()));
        }
    }

    #[test]
    fn what_is_no_run_of_single_samples_is_none_or_refused() {
        let table = |size, delta| tables_of(sizes(size, 400), delta, &[(1_000, 400)]);
        assert!(read(&table(16, 1), &stereo(8_000), 10).expect("no error").is_none());
        assert_eq!(units(&table(4, 0), &stereo(8_000), 10), Err("its samples do not follow each other evenly".into()));
        let short = tables_of(sizes(4, 401), 1, &[(1_000, 400)]);
        assert_eq!(units(&short, &stereo(8_000), 10), Err("its tables disagree about the number of access units".into()));
        let many = tables_of(sizes(1, u32::MAX), 1, &[(1_000, u32::MAX)]);
        assert!(units(&many, &stereo(48_000), 1_000).is_err(), "without taking memory for it");
    }
}
