//! HAProxy's agent-check protocol, as HAProxy 2.6 to 3.2 read it: one line of words; unknown words
//! are ignored.

use serde::{Deserialize, Serialize};

/// The state that a real server's owner has set.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rotation {
    /// It takes new connections.
    #[default]
    Up,
    /// No new connection; existing ones go on.
    Drain,
    /// Out of service for maintenance: no new connection.
    Maint,
    /// It reports itself down.
    Down,
}

impl Rotation {
    /// The name in reports, files and listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Drain => "drain",
            Self::Maint => "maint",
            Self::Down => "down",
        }
    }

    /// The state with that name: HAProxy's words.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "up" | "ready" => Some(Self::Up),
            "drain" => Some(Self::Drain),
            "maint" => Some(Self::Maint),
            "down" | "fail" | "stopped" => Some(Self::Down),
            _ => None,
        }
    }

    /// The stricter of two states.
    #[must_use]
    pub fn stricter(self, other: Self) -> Self {
        if other as usize > self as usize { other } else { self }
    }
}

/// The agent's words so far: three independent values. Only `ready` ends `drain` and `maint`, only
/// `up` ends `down`, and a weight changes no state.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AgentReply {
    /// `Up` means `ready`.
    administrative: Rotation,
    up: bool,
    percent: u32,
    text: String,
}

impl Default for AgentReply {
    fn default() -> Self {
        Self { administrative: Rotation::Up, up: true, percent: 100, text: String::new() }
    }
}

impl AgentReply {
    /// The values after one more line, without its newline.
    #[must_use]
    pub fn after(&self, line: &str) -> Self {
        let mut after = Self { text: String::new(), ..self.clone() };
        let mut rest = line;
        let blank =
            |letter: char| letter == ' ' || letter == '\t' || letter == ',' || letter == '\r';
        loop {
            rest = rest.trim_start_matches(blank);
            if let Some(text) = rest.strip_prefix('#') {
                text.trim_matches(blank).clone_into(&mut after.text);
                return after;
            }
            let end = rest.find(blank).unwrap_or(rest.len());
            let (word, others) = rest.split_at(end);
            if word.is_empty() {
                return after;
            }
            after.take(word);
            rest = others;
        }
    }

    fn take(&mut self, word: &str) {
        match word.to_ascii_lowercase().as_str() {
            "up" => self.up = true,
            "down" | "fail" | "stopped" => self.up = false,
            "ready" => self.administrative = Rotation::Up,
            "drain" => self.administrative = Rotation::Drain,
            "maint" => self.administrative = Rotation::Maint,
            // `maxconn:` is ignored too: a director does not queue.
            other => self.percent = percent(other).unwrap_or(self.percent),
        }
    }

    /// The resulting state for new connections.
    #[must_use]
    pub fn rotation(&self) -> Rotation {
        if self.up { self.administrative } else { Rotation::Down }
    }

    /// Whether its owner has set `drain` or `maint`, also while it is down.
    #[must_use]
    pub fn is_taken_out(&self) -> bool {
        self.administrative != Rotation::Up
    }

    /// Per cent of the configured weight.
    #[must_use]
    pub fn percent(&self) -> u32 {
        self.percent
    }

    /// The rest of its line, for display.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// `50%`; digits alone.
fn percent(word: &str) -> Option<u32> {
    let digits = word.strip_suffix('%')?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // A number that is too large to parse is too large for any weight.
    Some(digits.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(lines: &[&str]) -> (Rotation, u32, String) {
        let agent = lines.iter().fold(AgentReply::default(), |agent, line| agent.after(line));
        (agent.rotation(), agent.percent(), agent.text().to_owned())
    }

    /// Each row was observed with HAProxy itself.
    #[test]
    fn replies_and_what_haproxy_makes_of_them() {
        use Rotation::{Down, Drain, Maint, Up};
        let rows: [(&[&str], Rotation, u32, &str); 41] = [
            (&["50%"], Up, 50, ""),
            (&["50%\r"], Up, 50, ""),
            (&[" 50%"], Up, 50, ""),
            (&[""], Up, 100, ""),
            (&["0%"], Up, 0, ""),
            (&["200%"], Up, 200, ""),
            (&["12.5%"], Up, 100, ""),
            (&["-5%"], Up, 100, ""),
            (&["50"], Up, 100, ""),
            (&["50 %"], Up, 100, ""),
            (&["hello 40%"], Up, 40, ""),
            (&["20% 80%"], Up, 80, ""),
            (&["UP"], Up, 100, ""),
            (&["Up"], Up, 100, ""),
            (&["drain"], Drain, 100, ""),
            (&["300%"], Up, 300, ""),
            (&["1000000%"], Up, 1_000_000, ""),
            (&["down disk full"], Down, 100, ""),
            (&["maint", "drain"], Drain, 100, ""),
            (&["down"], Down, 100, ""),
            (&["fail"], Down, 100, ""),
            (&["stopped"], Down, 100, ""),
            (&["failed"], Up, 100, ""),
            (&["down #disk full"], Down, 100, "disk full"),
            (&["down#disk full"], Up, 100, ""),
            (&["up down"], Down, 100, ""),
            (&["down up"], Up, 100, ""),
            (&["drain, 50%"], Drain, 50, ""),
            (&["drain\t50%"], Drain, 50, ""),
            (&["maint"], Maint, 100, ""),
            (&["drain down"], Down, 100, ""),
            (&["stopped#reason"], Up, 100, ""),
            (&["maxconn:50% maxconn:0 30%"], Up, 30, ""),
            (&["drain #disk full", "50%"], Drain, 50, ""),
            (&["ready up 75% maxconn:30"], Up, 75, ""),
            (&["up #text 30%"], Up, 100, "text 30%"),
            (&["drain", "up"], Drain, 100, ""),
            (&["drain", "ready"], Up, 100, ""),
            (&["down", "ready 50%"], Down, 50, ""),
            (&["maint", "down", "ready"], Down, 100, ""),
            (&["maint", "down", "ready", "up"], Up, 100, ""),
        ];
        for (lines, rotation, percent, text) in rows {
            assert_eq!(said(lines), (rotation, percent, text.to_owned()), "{lines:?}");
        }
        assert_eq!(said(&["99999999999999999999%"]).1, u32::MAX);
    }

    #[test]
    fn the_stricter_of_two_states_counts() {
        use Rotation::{Down, Drain, Maint, Up};
        for (one, other, stricter) in
            [(Up, Up, Up), (Up, Drain, Drain), (Maint, Drain, Maint), (Down, Maint, Down)]
        {
            assert_eq!((one.stricter(other), other.stricter(one)), (stricter, stricter));
        }
    }
}
