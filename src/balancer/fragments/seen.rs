//! The parts of one datagram that have arrived.

use crate::balancer::verdict::Reason;
use crate::wire::packet::{MAX_DATAGRAM_LEN, Part};

/// The most fragments of one datagram. The longest datagram in packets of 576 bytes, the smallest
/// that every IPv4 host accepts (RFC 791 section 3.1), has 119; in packets of 1280 bytes, the
/// smallest IPv6 MTU, it has 54.
pub const MAX_PARTS: usize = 128;

/// The parts that have arrived. No two of them overlap.
#[derive(Clone, Debug)]
pub(super) struct SeenParts {
    /// Start and end of each.
    parts: [(u16, u16); MAX_PARTS],
    count: usize,
    /// Bytes of all parts.
    bytes: usize,
    /// The largest end of a part.
    furthest: u16,
    /// The end of the datagram, once its last part has arrived.
    end: Option<u16>,
    /// See [`Part::before`], of the first part once it has arrived.
    before: u16,
}

impl SeenParts {
    pub(super) const NOTHING: Self =
        Self { parts: [(0, 0); MAX_PARTS], count: 0, bytes: 0, furthest: 0, end: None, before: 0 };

    /// Adds a part.
    ///
    /// # Errors
    /// [`Reason::FragmentDuplicate`]: an identical part is here already, which RFC 8200 section 4.5
    /// lets a receiver ignore. Any other error refuses the datagram (RFC 5722 section 4):
    /// [`Reason::FragmentOverlap`], it contradicts another part; [`Reason::FragmentLimit`], it is
    /// one more than [`MAX_PARTS`]; [`Reason::Malformed`], reassembled they would be longer than a
    /// datagram can be.
    pub(super) fn add(&mut self, part: Part) -> Result<(), Reason> {
        let Part { start, end, more, before, .. } = part;
        let parts = self.parts.get(..self.count).unwrap_or_default();
        if parts.contains(&(start, end)) && more == (self.end != Some(end)) {
            return Err(Reason::FragmentDuplicate);
        }
        let overlaps = parts.iter().any(|&(other, its_end)| start < its_end && other < end);
        let past_the_end = self.end.is_some_and(|last| end > last);
        let ends_early = !more && (self.end.is_some() || end < self.furthest);
        if overlaps || past_the_end || ends_early {
            return Err(Reason::FragmentOverlap);
        }
        let Some(free) = self.parts.get_mut(self.count) else {
            return Err(Reason::FragmentLimit);
        };
        *free = (start, end);
        self.count += 1;
        self.bytes += usize::from(end - start);
        self.furthest = self.furthest.max(end);
        if !more {
            self.end = Some(end);
        }
        if start == 0 {
            self.before = before;
        }
        if usize::from(self.before) + usize::from(self.furthest) > MAX_DATAGRAM_LEN {
            return Err(Reason::Malformed);
        }
        Ok(())
    }

    /// Whether all parts have arrived.
    pub(super) fn is_complete(&self) -> bool {
        self.end.is_some_and(|end| self.bytes == usize::from(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Reason::{FragmentDuplicate, FragmentLimit, FragmentOverlap, Malformed};

    fn part(start: u16, end: u16, more: bool) -> Part {
        Part { identification: 1, start, end, more, before: 20 }
    }

    /// The result for the last of these parts, after all before it were accepted.
    fn after(parts: &[(u16, u16, bool)]) -> Result<(), Reason> {
        let mut seen = SeenParts::NOTHING;
        let (last, before) = parts.split_last().expect("parts");
        for &(start, end, more) in before {
            assert_eq!(seen.add(part(start, end, more)), Ok(()), "{parts:?}");
        }
        seen.add(part(last.0, last.1, last.2))
    }

    #[test]
    fn parts_that_fit_and_parts_that_do_not() {
        let first = (0, 80, true);
        let last = (80, 100, false);
        let rows = [
            ("one after the other", &[first, last][..], Ok(())),
            ("the other way round", &[last, first], Ok(())),
            ("a gap", &[first, (160, 240, true)], Ok(())),
            ("a gap closed", &[first, (160, 240, true), (80, 160, true)], Ok(())),
            ("the first again", &[first, first], Err(FragmentDuplicate)),
            ("the last again", &[first, last, last], Err(FragmentDuplicate)),
            ("the end of another", &[first, last, (72, 80, true)], Err(FragmentOverlap)),
            ("a unit into the next", &[(80, 160, true), (0, 88, true)], Err(FragmentOverlap)),
            ("a unit into the one before", &[first, (72, 160, true)], Err(FragmentOverlap)),
            ("within another", &[first, (8, 16, true)], Err(FragmentOverlap)),
            ("around another", &[(8, 16, true), first], Err(FragmentOverlap)),
            ("the same start", &[first, (0, 88, true)], Err(FragmentOverlap)),
            ("the last as if more came", &[(0, 80, false), first], Err(FragmentOverlap)),
            ("another last behind it", &[last, (104, 120, false)], Err(FragmentOverlap)),
            ("another last before it", &[last, (40, 80, false)], Err(FragmentOverlap)),
            ("behind the last", &[last, (104, 112, true)], Err(FragmentOverlap)),
            ("a last before others", &[(160, 240, true), last], Err(FragmentOverlap)),
        ];
        for (name, parts, expected) in rows {
            assert_eq!(after(parts), expected, "{name}");
        }
        assert_eq!(after(&[first, (0, 80, false)]), Err(FragmentOverlap), "now it is the last");
    }

    #[test]
    fn a_datagram_is_complete_with_its_last_byte() {
        let mut seen = SeenParts::NOTHING;
        for (at, complete) in [(16, false), (0, false), (24, false), (8, true)] {
            assert_eq!(seen.add(part(at, at + 8, at < 24)), Ok(()));
            assert_eq!(seen.is_complete(), complete, "{at}");
        }
    }

    #[test]
    fn as_many_parts_as_the_bound_and_one_more() {
        let bound = u16::try_from(MAX_PARTS).expect("a small number");
        let mut seen = SeenParts::NOTHING;
        for number in 0..bound {
            assert_eq!(seen.add(part(number * 8, number * 8 + 8, true)), Ok(()));
        }
        assert_eq!(seen.add(part(0, 8, true)), Err(FragmentDuplicate));
        assert_eq!(seen.clone().add(part(bound * 8, bound * 8 + 8, true)), Err(FragmentLimit));
        assert_eq!(seen.add(part(bound * 8, bound * 8 + 8, false)), Err(FragmentLimit));
    }

    /// The parser knows each fragment's own header; the reassembled datagram gets the first one's.
    #[test]
    fn as_long_as_a_datagram_can_be_and_one_byte_more() {
        let first = Part { before: 60, ..part(0, 8, true) };
        for (end, expected) in [(65_475, Ok(())), (65_476, Err(Malformed))] {
            let last = part(65_472, end, false);
            for parts in [[first, last], [last, first]] {
                let mut seen = SeenParts::NOTHING;
                assert_eq!(seen.add(parts[0]), Ok(()));
                assert_eq!(seen.add(parts[1]), expected);
            }
        }
    }
}
