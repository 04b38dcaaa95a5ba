//! The secret of a keyed hash.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// The secret of the flow hash. Attackers choose the 5-tuple, so the hash needs a key.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Seed(pub u64, pub u64);

impl Seed {
    /// The seed derived from a text: directors with the same text have the same seed.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let half = |number: u8| {
            let mut hasher = SipHasher13::new();
            hasher.write(&[number]);
            hasher.write(text.as_bytes());
            hasher.finish()
        };
        Self(half(0), half(1))
    }

    /// The `index`th pseudo-random number derived from it.
    #[must_use]
    pub fn number(self, index: u64) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
        hasher.write_u64(index);
        hasher.finish()
    }
}

/// Does not print the secret: changes that contain a seed are printed.
impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_not_printed() {
        assert_eq!(format!("{:?}", Seed(1, 2)), "Seed(..)");
        assert_ne!(Seed::from_text("a"), Seed::from_text("b"));
    }
}
