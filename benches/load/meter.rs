//! What is measured of packets: loss, duplicates, order, pacing, bursts; and how many values become a few. Pure.

use serde_json::{Value, json};

/// Nanoseconds since 1970, as the kernel stamps packets.
pub type Stamp = i64;

pub const MILLISECOND: Stamp = 1_000_000;
pub const SECOND: Stamp = 1_000_000_000;

/// Packets that come closer together than this are one burst.
const BURST_GAP: Stamp = 100_000;
/// Sequence numbers that are remembered, to tell a duplicate from one that is late.
const REMEMBERED: u64 = 4096;

/// How late packets were, in steps of 0.02 ms from -2 s to 10 s.
pub struct Lateness {
    bins: Vec<u32>,
    pub count: u64,
    pub latest: f64,
    pub earliest: f64,
}

impl Lateness {
    const PER_MS: f64 = 50.0;
    const ZERO: usize = 100_000;
    const BINS: usize = 600_001;

    fn add(&mut self, late_ms: f64) {
        let bin = (late_ms * Self::PER_MS).round() as i64 + Self::ZERO as i64;
        self.bins[bin.clamp(0, Self::BINS as i64 - 1) as usize] += 1;
        self.count += 1;
        self.latest = self.latest.max(late_ms);
        self.earliest = self.earliest.min(late_ms);
    }

    /// The lateness that a share of the packets does not exceed.
    fn signed(&self, share: f64) -> f64 {
        Self::at(self.bins.iter().copied().enumerate(), self.count, share, |bin| bin as f64 - Self::ZERO as f64)
    }

    /// The error, late or early, that a share of the packets does not exceed.
    fn error(&self, share: f64) -> f64 {
        let early = |error: usize| Self::ZERO.checked_sub(error).filter(|_| error > 0).map_or(0, |bin| self.bins[bin]);
        let folded = (0..Self::BINS - Self::ZERO).map(|error| (error, self.bins[Self::ZERO + error] + early(error)));
        Self::at(folded, self.count, share, |bin| bin as f64)
    }

    fn at(bins: impl Iterator<Item = (usize, u32)>, count: u64, share: f64, place: impl Fn(usize) -> f64) -> f64 {
        let wanted = ((count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bin, packets) in bins {
            seen += u64::from(packets);
            if seen >= wanted {
                return place(bin) / Self::PER_MS;
            }
        }
        f64::NAN
    }

    pub fn report(&self) -> Value {
        let max = self.latest.max(-self.earliest);
        json!({
            "n": self.count, "p50": number(self.error(0.5)), "p99": number(self.error(0.99)), "max": number(max),
            "signed_p1": number(self.signed(0.01)), "signed_p50": number(self.signed(0.5)), "signed_p99": number(self.signed(0.99)),
            "latest": number(self.latest), "earliest": number(self.earliest),
        })
    }
}

impl Default for Lateness {
    fn default() -> Self {
        Self { bins: vec![0; Self::BINS], count: 0, latest: 0.0, earliest: 0.0 }
    }
}

/// How many packets of one source came less than 0.1 ms after the one before: counted by powers of two.
#[derive(Default)]
pub struct Bursts([u64; 12]);

impl Bursts {
    fn add(&mut self, packets: u32) {
        let class = packets.next_power_of_two().trailing_zeros() as usize;
        self.0[class.min(self.0.len() - 1)] += 1;
    }

    /// Classes up to 256 packets, and those above that there are.
    pub fn report(&self) -> Value {
        let used = self.0.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1).max(9);
        self.0[..used]
            .iter()
            .enumerate()
            .map(|(class, count)| (format!("<={}", 1_u32 << class), json!(count)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

/// What all tracks together are measured with.
#[derive(Default)]
pub struct Totals {
    /// Of each packet.
    pub pacing: Lateness,
    /// Of the first packet of each access unit.
    pub unit_pacing: Lateness,
    pub bursts: Bursts,
    pub packets: u64,
    pub octets: u64,
    pub malformed: u64,
}

/// One track as it comes in.
#[derive(Default)]
pub struct Meter {
    pub clock: u32,
    pub payload_type: u8,
    pub packets: u64,
    pub octets: u64,
    pub unique: u64,
    pub duplicates: u64,
    pub reordered: u64,
    pub too_late: u64,
    pub other_payload_type: u64,
    pub other_source: u64,
    run: Option<Run>,
}

struct Run {
    source: u32,
    lowest: u64,
    highest: u64,
    seen: Box<[u64; (REMEMBERED / 64) as usize]>,
    first_at: Stamp,
    last_at: Stamp,
    last_timestamp: u32,
    /// Ticks since the first packet's timestamp.
    ticks: i64,
    burst: u32,
}

impl Run {
    fn place(number: u64) -> (usize, u64) {
        ((number % REMEMBERED / 64) as usize, 1 << (number % 64))
    }

    fn has(&self, number: u64) -> bool {
        let (word, bit) = Self::place(number);
        self.seen[word] & bit != 0
    }

    fn set(&mut self, number: u64, seen: bool) {
        let (word, bit) = Self::place(number);
        if seen { self.seen[word] |= bit } else { self.seen[word] &= !bit }
    }
}

impl Meter {
    pub fn new(clock: u32, payload_type: u8) -> Self {
        Self { clock: clock.max(1), payload_type, ..Self::default() }
    }

    /// The first packet's arrival.
    pub fn first_at(&self) -> Option<Stamp> {
        self.run.as_ref().map(|run| run.first_at)
    }

    /// The last packet's arrival.
    pub fn last_at(&self) -> Option<Stamp> {
        self.run.as_ref().map(|run| run.last_at)
    }

    /// For a receiver report: the source, packets lost, the highest sequence number.
    pub fn reported(&self) -> Option<(u32, u64, u32)> {
        self.run.as_ref().map(|run| (run.source, self.lost(), run.highest as u32))
    }

    pub fn expected(&self) -> u64 {
        self.run.as_ref().map_or(0, |run| run.highest - run.lowest + 1)
    }

    pub fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.unique)
    }

    /// The lowest sequence number that came.
    pub fn lowest(&self) -> Option<u16> {
        self.run.as_ref().map(|run| run.lowest as u16)
    }

    /// Ends the burst that runs.
    pub fn finish(&mut self, totals: &mut Totals) {
        if let Some(run) = &mut self.run
            && run.burst > 0
        {
            totals.bursts.add(run.burst);
            run.burst = 0;
        }
    }

    /// A packet: its beginning, its whole length, when it came.
    pub fn take(&mut self, head: &[u8], len: usize, at: Stamp, totals: &mut Totals) {
        let &[first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3, ..] = head else {
            totals.malformed += 1;
            return;
        };
        let payload_type = second & 0x7f;
        if first >> 6 != 2 {
            totals.malformed += 1;
            return;
        }
        if (72..=76).contains(&payload_type) {
            return;
        }
        let (sequence, timestamp) = (u16::from_be_bytes([s0, s1]), u32::from_be_bytes([t0, t1, t2, t3]));
        let source = u32::from_be_bytes([c0, c1, c2, c3]);
        totals.packets += 1;
        totals.octets += len as u64;
        self.packets += 1;
        self.octets += len as u64;
        self.other_payload_type += u64::from(payload_type != self.payload_type);
        let Some(run) = &mut self.run else {
            // One turn of the numbers ahead, so that earlier ones have a place.
            let number = 0x1_0000 + u64::from(sequence);
            let seen = Box::new([0; (REMEMBERED / 64) as usize]);
            let run = Run {
                source,
                lowest: number,
                highest: number,
                seen,
                first_at: at,
                last_at: at,
                last_timestamp: timestamp,
                ticks: 0,
                burst: 1,
            };
            self.run.insert(run).set(number, true);
            self.unique = 1;
            return;
        };
        if run.source != source {
            self.other_source += 1;
            return;
        }
        let step = i64::from(sequence.wrapping_sub(run.highest as u16).cast_signed());
        let number = run.highest.saturating_add_signed(step);
        if step > 0 {
            (run.highest + 1..number).rev().take(REMEMBERED as usize).for_each(|missing| run.set(missing, false));
            run.highest = number;
        } else if step.unsigned_abs() >= REMEMBERED {
            self.too_late += 1;
            return;
        } else if run.has(number) && number >= run.lowest {
            self.duplicates += 1;
            return;
        } else {
            run.lowest = run.lowest.min(number);
            self.reordered += 1;
        }
        run.set(number, true);
        self.unique += 1;
        if at - run.last_at < BURST_GAP {
            run.burst += 1;
        } else {
            totals.bursts.add(run.burst);
            run.burst = 1;
        }
        run.last_at = at;
        let is_new_unit = timestamp != run.last_timestamp;
        run.ticks += i64::from(timestamp.wrapping_sub(run.last_timestamp).cast_signed());
        run.last_timestamp = timestamp;
        let late_ms = (at - run.first_at) as f64 / 1e6 - run.ticks as f64 * 1e3 / f64::from(self.clock);
        totals.pacing.add(late_ms);
        if is_new_unit {
            totals.unit_pacing.add(late_ms);
        }
    }
}

/// A number for JSON, to a thousandth; null where there is none.
pub fn number(value: f64) -> Value {
    if value.is_finite() { json!((value * 1e3).round() / 1e3) } else { Value::Null }
}

/// The value that a share of all does not exceed; they are sorted.
pub fn share_of(sorted: &[f64], share: f64) -> f64 {
    let place = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

/// Count, mean, median, 99th percentile and greatest.
pub fn distribution(mut values: Vec<f64>) -> Value {
    values.sort_by(f64::total_cmp);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    json!({
        "n": values.len(), "mean": number(mean), "p50": number(share_of(&values, 0.5)), "p99": number(share_of(&values, 0.99)),
        "max": number(share_of(&values, 1.0)),
    })
}
