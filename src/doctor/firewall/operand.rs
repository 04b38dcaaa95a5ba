//! What is known of a field, and how it compares with the values of a listing.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::Value;

/// Whether a condition is met; `None`: that is not known.
pub(super) type Met = Option<bool>;

/// A field of the packet.
#[derive(Clone, Debug)]
pub(super) enum Operand<'a> {
    /// The name of an interface.
    Name(&'a str),
    /// A number, of which some bits may be unknown.
    Bits(Bits),
    /// Several fields, one behind the other.
    Concat(Vec<Self>),
    /// It may have any value.
    Unknown,
    /// The packet has no such field: the statement fails, whatever its operator.
    Absent,
}

/// A number of a field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bits {
    value: u128,
    /// The bits of the value that are known.
    known: u128,
    width: u32,
    /// The numbers of the names that a listing has.
    names: fn(&str) -> Option<u128>,
    /// Whether each bit is a flag of its own.
    flags: bool,
}

impl Bits {
    /// A known number.
    pub(super) fn new(value: u128, width: u32, names: fn(&str) -> Option<u128>) -> Self {
        Self { value, known: mask(width), width, names, flags: false }
    }

    /// Flags, of which these are unknown.
    pub(super) fn flags(value: u128, unknown: u128, names: fn(&str) -> Option<u128>) -> Self {
        Self { value, known: mask(32) & !unknown, width: 32, names, flags: true }
    }

    /// A number of which these bits are known.
    pub(super) fn partly(self, known: u128) -> Self {
        Self { known, ..self }
    }

    /// The smallest and the largest number that it can be.
    fn bounds(self) -> (u128, u128) {
        let least = self.value & self.known;
        (least, least | (mask(self.width) & !self.known))
    }

    /// Whether the bits in `mask` are those of `value`.
    fn is(self, value: u128, mask: u128) -> Met {
        if (self.value ^ value) & self.known & mask != 0 {
            return Some(false);
        }
        (mask & !self.known == 0).then_some(true)
    }

    /// Whether it has one of these flags.
    fn intersects(self, flags: u128) -> Met {
        if self.value & self.known & flags != 0 {
            return Some(true);
        }
        (flags & !self.known == 0).then_some(false)
    }

    /// Whether it is in a range.
    fn within(self, first: u128, last: u128) -> Met {
        let (least, most) = self.bounds();
        if least >= first && most <= last {
            Some(true)
        } else if most < first || least > last {
            Some(false)
        } else {
            None
        }
    }

    /// The number of a value in a listing.
    fn constant(self, value: &Value) -> Option<u128> {
        match value {
            Value::Bool(value) => Some((*value).into()),
            Value::Number(value) => value.as_u64().map(Into::into),
            Value::String(name) => (self.names)(name).or_else(|| name.parse().ok()),
            Value::Array(all) => self.union(all),
            Value::Object(_) => self.union(value["|"].as_array()?),
            Value::Null => None,
        }
    }

    fn union(self, all: &[Value]) -> Option<u128> {
        all.iter().try_fold(0, |sum, one| Some(sum | self.constant(one)?))
    }
}

/// The lowest bits of a number.
fn mask(width: u32) -> u128 {
    u128::MAX.checked_shr(128_u32.saturating_sub(width)).unwrap_or_default()
}

/// The number of an IPv4 address.
pub(super) fn ipv4(name: &str) -> Option<u128> {
    name.parse::<Ipv4Addr>().ok().map(|address| u32::from(address).into())
}

/// The number of an IPv6 address.
pub(super) fn ipv6(name: &str) -> Option<u128> {
    name.parse::<Ipv6Addr>().ok().map(u128::from)
}

/// A field whose values have no names.
pub(super) fn nameless(_name: &str) -> Option<u128> {
    None
}

impl Operand<'_> {
    /// Whether it has this value, which is in no set.
    pub(super) fn is(&self, value: &Value) -> Met {
        match self {
            Self::Absent => Some(false),
            Self::Unknown => None,
            Self::Name(name) => {
                let value = value.as_str()?;
                Some(
                    value.strip_suffix('*').map_or(*name == value, |start| name.starts_with(start)),
                )
            }
            Self::Concat(parts) => {
                let values = value["concat"].as_array().filter(|all| all.len() == parts.len())?;
                all(parts.iter().zip(values).map(|(part, value)| part.is(value)))
            }
            Self::Bits(bits) => {
                if let Some([first, last]) = value["range"].as_array().map(Vec::as_slice) {
                    return bits.within(bits.constant(first)?, bits.constant(last)?);
                }
                let prefix = &value["prefix"];
                if prefix.is_object() {
                    let len = u32::try_from(prefix["len"].as_u64()?).ok()?;
                    let rest = mask(bits.width.checked_sub(len)?);
                    let net = bits.constant(&prefix["addr"])?;
                    return bits.is(net, mask(bits.width) & !rest);
                }
                bits.is(bits.constant(value)?, mask(bits.width))
            }
        }
    }

    /// Whether it is smaller than the value, or with `or_equal` not larger.
    pub(super) fn is_below(&self, value: &Value, or_equal: bool) -> Met {
        let Self::Bits(bits) = self else { return None };
        let bound = bits.constant(value)?;
        match (or_equal, bound.checked_sub(1)) {
            (true, _) => bits.within(0, bound),
            (false, Some(last)) => bits.within(0, last),
            (false, None) => Some(false),
        }
    }

    /// Whether it has one of the flags of the value; of other fields, whether it is the value.
    pub(super) fn has(&self, value: &Value) -> Met {
        match self {
            Self::Bits(bits) if bits.flags => bits.intersects(bits.constant(value)?),
            _ => self.is(value),
        }
    }

    /// Whether each bit of it is a flag, so that a list of values is their union.
    pub(super) fn is_of_flags(&self) -> bool {
        matches!(self, Self::Bits(bits) if bits.flags)
    }

    /// The result of an operation on its bits.
    pub(super) fn operated(self, operation: &str, value: &Value) -> Self {
        let bits = match self {
            Self::Bits(bits) => bits,
            Self::Absent => return Self::Absent,
            _ => return Self::Unknown,
        };
        let Some(number) = bits.constant(value) else { return Self::Unknown };
        let shifted = |by: fn(u128, u32) -> Option<u128>| {
            let by = |one: u128| by(one, number.try_into().ok()?);
            Some(Bits { value: by(bits.value)?, known: by(bits.known)?, ..bits })
        };
        let result = match operation {
            "&" => Some(Bits {
                value: bits.value & number,
                known: bits.known | (mask(bits.width) & !number),
                ..bits
            }),
            "|" => Some(Bits {
                value: bits.value | number,
                known: bits.known | (mask(bits.width) & number),
                ..bits
            }),
            "^" => Some(Bits { value: bits.value ^ number, ..bits }),
            ">>" => shifted(u128::checked_shr).map(|one| Bits {
                known: one.known | (mask(bits.width) & !(mask(bits.width) >> number)),
                ..one
            }),
            _ => None,
        };
        result.map_or(Self::Unknown, Self::Bits)
    }
}

/// Whether all are met.
pub(super) fn all(each: impl Iterator<Item = Met>) -> Met {
    let mut known = true;
    for met in each {
        match met {
            Some(true) => {}
            Some(false) => return Some(false),
            None => known = false,
        }
    }
    known.then_some(true)
}

/// Whether one is met.
pub(super) fn any(each: impl Iterator<Item = Met>) -> Met {
    all(each.map(|met| met.map(|met| !met))).map(|none| !none)
}
