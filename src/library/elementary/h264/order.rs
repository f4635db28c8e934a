//! Picture order counts (ISO/IEC 14496-10 section 8.2.1).

use super::{SequenceParameters, Slice};

/// What the next picture's order counts on from.
#[derive(Debug, Default)]
pub struct Order {
    high: i64,
    low: i64,
    frame_number: u32,
    frame_offset: i64,
}

impl Order {
    /// That of the next picture in decoding order.
    pub fn of(&mut self, slice: &Slice, sequence: &SequenceParameters) -> i64 {
        match sequence.order_type {
            0 => self.by_low_bits(slice, sequence),
            _ => self.by_frame_number(slice, sequence),
        }
    }

    /// Section 8.2.1.1.
    fn by_low_bits(&mut self, slice: &Slice, sequence: &SequenceParameters) -> i64 {
        if slice.is_idr {
            (self.high, self.low) = (0, 0);
        }
        let (low, range) = (i64::from(slice.order_low), 1i64 << sequence.order_bits);
        let high = if low < self.low && self.low - low >= range / 2 {
            self.high.saturating_add(range)
        } else if low > self.low && low - self.low > range / 2 {
            self.high.saturating_sub(range)
        } else {
            self.high
        };
        if slice.is_reference {
            (self.high, self.low) = (high, low);
        }
        high.saturating_add(low).saturating_add(i64::from(slice.delta_bottom.min(0)))
    }

    /// Sections 8.2.1.2 and 8.2.1.3.
    fn by_frame_number(&mut self, slice: &Slice, sequence: &SequenceParameters) -> i64 {
        if slice.is_idr {
            self.frame_offset = 0;
        } else if self.frame_number > slice.frame_number {
            self.frame_offset = self.frame_offset.saturating_add(1 << sequence.frame_number_bits);
        }
        self.frame_number = slice.frame_number;
        let number = self.frame_offset.saturating_add(i64::from(slice.frame_number));
        if sequence.order_type == 2 {
            return if slice.is_idr { 0 } else { number.saturating_mul(2) - i64::from(!slice.is_reference) };
        }
        let cycle = &sequence.reference_offsets;
        let mut number = if cycle.is_empty() { 0 } else { number };
        if !slice.is_reference && number > 0 {
            number -= 1;
        }
        let mut expected = 0i64;
        if let (true, Ok(len)) = (number > 0, i64::try_from(cycle.len())) {
            let (whole, rest) = ((number - 1) / len, (number - 1) % len);
            let sum: i64 = cycle.iter().map(|offset| i64::from(*offset)).sum();
            let part: i64 = cycle.iter().take(usize::try_from(rest).unwrap_or(0) + 1).map(|offset| i64::from(*offset)).sum();
            expected = whole.saturating_mul(sum).saturating_add(part);
        }
        if !slice.is_reference {
            expected = expected.saturating_add(i64::from(sequence.other_offset));
        }
        expected.saturating_add(i64::from(slice.delta[0]))
    }
}
