//! Who plays the same title a moment before or after somebody else: they can share what is read.

use crate::dataplane::units::Near;

/// Where somebody plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which title, by a number.
    pub(crate) title: usize,
    /// When it would have begun at its beginning to be where it is, in nanoseconds.
    pub(crate) origin: i64,
    /// How close those are that share, in nanoseconds; the same for all of a title.
    pub(crate) close: u64,
}

/// Where all play, by the number of their slot.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    places: Vec<Option<Place>>,
    changed: bool,
    sorted: Vec<(Place, usize)>,
}

impl Neighbours {
    /// Notes where a slot plays, if it does.
    pub(crate) fn note(&mut self, slot: usize, place: Option<Place>) {
        if self.places.len() <= slot {
            self.places.resize(slot + 1, None);
        }
        if self.places[slot] != place {
            self.places[slot] = place;
            self.changed = true;
        }
    }

    /// Tells each slot that plays who is near it, if that may have changed; whether anybody is near anybody.
    pub(crate) fn tell(&mut self, mut to: impl FnMut(usize, Near)) -> Option<bool> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        self.sorted.clear();
        self.sorted.extend(self.places.iter().enumerate().filter_map(|(slot, place)| Some(((*place)?, slot))));
        self.sorted.sort_unstable_by_key(|(place, _)| (place.title, place.origin));
        let close = |one: &Place, other: &Place| one.title == other.title && one.origin.abs_diff(other.origin) <= one.close;
        let mut any = false;
        for (at, (place, slot)) in self.sorted.iter().enumerate() {
            // Who began earlier is ahead; of two that began together each may be.
            let ahead = at.checked_sub(1).is_some_and(|before| close(place, &self.sorted[before].0));
            let behind = self.sorted.get(at + 1).is_some_and(|(other, _)| close(place, other));
            let together = self.sorted.get(at + 1).is_some_and(|(other, _)| other.origin.abs_diff(place.origin) < SAME) && behind;
            let together_before = ahead && self.sorted[at - 1].0.origin.abs_diff(place.origin) < SAME;
            any |= ahead || behind;
            to(*slot, Near { ahead: ahead || together, behind: behind || together_before });
        }
        Some(any)
    }
}

/// Who began within this may be served in either order, in nanoseconds.
const SAME: u64 = 5_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn told(neighbours: &mut Neighbours) -> Vec<(usize, bool, bool)> {
        let mut told = Vec::new();
        neighbours.tell(|slot, near| told.push((slot, near.ahead, near.behind)));
        told.sort_unstable();
        told
    }

    #[test]
    fn those_who_play_the_same_close_to_each_other_are_near() {
        let mut neighbours = Neighbours::default();
        let place = |title, milliseconds: i64| Some(Place { title, origin: milliseconds * 1_000_000, close: 2_000_000_000 });
        for (slot, place) in [place(7, 0), place(7, 1_500), place(7, 4_000), place(8, 1_000), None, place(7, 4_002)].into_iter().enumerate()
        {
            neighbours.note(slot, place);
        }
        let expected = [(0, false, true), (1, true, false), (2, true, true), (3, false, false), (5, true, true)];
        assert_eq!(told(&mut neighbours), expected);
        assert_eq!(neighbours.tell(|_, _| panic!("nothing has changed")), None);
        neighbours.note(1, None);
        neighbours.note(5, None);
        assert_eq!(told(&mut neighbours), [(0, false, false), (2, false, false), (3, false, false)]);
    }
}
