//! Keys of the configuration with their values, and the differences between two of them.

use std::fmt;
use std::time::Duration;

use super::duration::Text;

/// The value of a key. It is displayed as in the configuration, without quotes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// The key is absent, and its default cannot be written in the configuration.
    Unset,
    /// `true` or `false`.
    Flag(bool),
    /// A number.
    Number(u64),
    /// A share in hundredths: `30%`.
    Percent(u64),
    /// A duration: `1h30m`.
    Time(Duration),
    /// One of a few names.
    Name(&'static str),
    /// Any text.
    Text(String),
}

/// A key and its value.
pub type Setting = (&'static str, Value);

/// A part of the configuration that has keys.
pub trait Settings {
    /// All its keys, always the same ones in the same order.
    fn settings(&self) -> Vec<Setting>;
}

/// A key whose values differ.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    /// The key.
    pub key: &'static str,
    /// Its old value.
    pub before: Value,
    /// Its new value.
    pub after: Value,
}

/// The keys whose values differ, in their order.
pub fn differences<T: Settings>(before: &T, after: &T) -> Vec<Difference> {
    let pairs = before.settings().into_iter().zip(after.settings());
    let differing = pairs.filter(|(before, after)| before != after);
    differing.map(|((key, before), (_, after))| Difference { key, before, after }).collect()
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => f.write_str("unset"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Percent(hundredths) => write!(f, "{hundredths}%"),
            Self::Time(time) => write!(f, "{}", Text(*time)),
            Self::Name(name) => f.write_str(name),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<u8> for Value {
    fn from(number: u8) -> Self {
        Self::Number(number.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<Duration> for Value {
    fn from(time: Duration) -> Self {
        Self::Time(time)
    }
}

impl From<&'static str> for Value {
    fn from(name: &'static str) -> Self {
        Self::Name(name)
    }
}

/// An empty text is not a value.
impl From<String> for Value {
    fn from(text: String) -> Self {
        if text.is_empty() { Self::Unset } else { Self::Text(text) }
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Unset, Into::into)
    }
}
