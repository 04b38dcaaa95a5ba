//! The answer to `trace`, line by line: the decision about each packet.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::balancer::record::{DecisionBasis, Record, RecordedEnds};
use crate::model::Seed;
use crate::wire::protocol;

use super::Layout;

/// The first line: the trace has begun.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct TraceBegins {
    /// The program's version.
    pub program: String,
    /// How many decisions the recorder keeps; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorder: Option<u64>,
    /// The director's own seed as 32 hexadecimal digits, if packets were requested: `replay` needs
    /// it. It is a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<String>,
    /// The seed of the hash that places flows, in the same form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_seed: Option<String>,
    /// Whether [`TraceEnds`] follows the last decision.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ends: bool,
    /// What the operator should know about the selection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The last line of recorded decisions, if it was requested: without it some are missing.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TraceEnds {
    /// Always true.
    pub ended: bool,
}

impl TraceBegins {
    /// With the seeds.
    #[must_use]
    pub fn with_seeds(self, (own, hash): (Seed, Seed)) -> Self {
        let text = |Seed(first, second)| Some(format!("{first:016x}{second:016x}"));
        Self { seed: text(own), hash_seed: text(hash), ..self }
    }

    /// Both seeds: the director's own, and that of the hash; `None` if one is absent or is not a
    /// seed.
    #[must_use]
    pub fn seeds(&self) -> Option<(Seed, Seed)> {
        let seed = |text: &Option<String>| {
            let text = text.as_deref().filter(|text| text.len() == 32)?;
            let (first, second) = text.split_at_checked(16)?;
            let number = |digits| u64::from_str_radix(digits, 16).ok();
            Some(Seed(number(first)?, number(second)?))
        };
        Some((seed(&self.seed)?, seed(&self.hash_seed)?))
    }
}

/// The decision about one packet.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct TracedDecision {
    /// UTC by RFC 3339.
    pub time: String,
    /// Milliseconds since the director started: its own clock.
    pub milliseconds: u64,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, or the protocol's number; empty if it was not a packet.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// The client, with its port if the packet has ports.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub client: String,
    /// The destination, with its port if the packet has ports.
    #[serde(default, rename = "virtual", skip_serializing_if = "String::is_empty")]
    pub virtual_address: String,
    /// The packet's length.
    pub bytes: u64,
    /// How many packets it is on the wire.
    pub packets: u64,
    /// `tunnel`, `reply`, `reset`, `drop` or `hold`.
    pub verdict: String,
    /// The drop reason; also of a refusal that was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The real server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// `entry`, `template`, `scheduler`, `one_packet`, `hash`, `fragment`, `icmp_error`, `probe`,
    /// `echo` or `ended`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The scheduler that has chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<String>,
    /// The connection's state before; absent without an entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The connection's state after; absent without an entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The packet as it came, from its IP header on, in hexadecimal digits, if requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet: Option<String>,
    /// The packets as they were sent, if requested.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sent: Vec<SentPacket>,
}

/// A packet as it was sent.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct SentPacket {
    /// Its length.
    pub bytes: u64,
    /// Its beginning, from its outermost IP header on, in hexadecimal digits.
    pub packet: String,
}

impl TracedDecision {
    /// The decision of a record that was made at `time`, UTC by RFC 3339.
    #[must_use]
    pub fn new(record: &Record, time: String) -> Self {
        let text = |name: &'static str| name.to_owned();
        let (client, virtual_address) = record.ends.map(written).unwrap_or_default();
        Self {
            time,
            milliseconds: record.at.0,
            protocol: record.ends.map(|ends| protocol_name(ends.protocol)).unwrap_or_default(),
            client,
            virtual_address,
            bytes: record.length as u64,
            packets: record.packets,
            verdict: text(record.verdict.name()),
            reason: record.reason.map(|reason| text(reason.name())),
            service: record.service.as_deref().map(ToOwned::to_owned),
            address: record.real,
            why: record.why.map(|why| text(why.name())),
            scheduler: record.why.and_then(DecisionBasis::scheduler).map(|kind| text(kind.name())),
            before: record.before.map(|state| text(state.name())),
            after: record.after.map(|state| text(state.name())),
            packet: None,
            sent: Vec::new(),
        }
    }

    /// The text output: one record, whatever its texts contain.
    #[must_use]
    pub fn human(&self, layout: Layout) -> String {
        layout.record(&format!("{}  {self}", self.time))
    }
}

/// Without the time, as in `tcp 198.51.100.7:40000 → 192.0.2.10:80, 60 bytes: web → 10.0.0.11
/// by scheduler wlc, new → SYN_RECV`.
impl fmt::Display for TracedDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.protocol.is_empty() {
            f.write_str("no packet")?;
        } else {
            write!(f, "{} {} → {}", self.protocol, self.client, self.virtual_address)?;
        }
        write!(f, ", {} bytes", self.bytes)?;
        if self.packets > 1 {
            write!(f, " in {} packets", self.packets)?;
        }
        f.write_str(": ")?;
        if let Some(service) = &self.service {
            write!(f, "{service} ")?;
        }
        self.fmt_verdict(f)?;
        match (&self.before, &self.after) {
            (None, None) => Ok(()),
            (before, after) => {
                let before = before.as_deref().unwrap_or("new");
                write!(f, ", {before} → {}", after.as_deref().unwrap_or("no entry"))
            }
        }
    }
}

impl TracedDecision {
    fn fmt_verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.verdict.as_str(), self.address) {
            ("tunnel", Some(address)) => write!(f, "→ {address}")?,
            ("reset", Some(address)) => write!(f, "resets to the client and {address}")?,
            ("reply", _) => f.write_str("answered")?,
            ("drop", _) => f.write_str("dropped")?,
            ("hold", _) => f.write_str("held until its first fragment comes")?,
            (other, _) => f.write_str(other)?,
        }
        if let Some(reason) = &self.reason {
            write!(f, ": {reason}")?;
        }
        if let Some(why) = &self.why {
            write!(f, " by {}", why.replace('_', " "))?;
        }
        match &self.scheduler {
            Some(scheduler) => write!(f, " {scheduler}"),
            None => Ok(()),
        }
    }
}

fn written(ends: RecordedEnds) -> (String, String) {
    let RecordedEnds { client, virtual_address, ports, .. } = ends;
    match ports {
        Some((from, to)) => {
            let at = |address, port| std::net::SocketAddr::new(address, port).to_string();
            (at(client, from), at(virtual_address, to))
        }
        None => (client.to_string(), virtual_address.to_string()),
    }
}

fn protocol_name(number: u8) -> String {
    match number {
        protocol::TCP => "tcp".to_owned(),
        protocol::UDP => "udp".to_owned(),
        protocol::ICMP => "icmp".to_owned(),
        protocol::ICMPV6 => "icmpv6".to_owned(),
        other => other.to_string(),
    }
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The bytes of hexadecimal digits; `None` for other characters or an odd number.
#[must_use]
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_their_digits_and_other_texts_are_refused() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(from_hex(&to_hex(&all)), Some(all));
        for bad in ["0", "0g", "+1", "é", "00 "] {
            assert_eq!(from_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn seeds_survive_the_line_and_anything_else_is_none() {
        let begins = TraceBegins::default().with_seeds((Seed(1, u64::MAX), Seed(2, 3)));
        let (Seed(a, b), Seed(c, d)) = begins.seeds().unwrap();
        assert_eq!((a, b, c, d), (1, u64::MAX, 2, 3));
        assert!(TraceBegins::default().seeds().is_none());
        for bad in ["1", &"x".repeat(32), &format!("é{}", "0".repeat(30))] {
            assert!(TraceBegins { seed: Some(bad.to_owned()), ..begins.clone() }.seeds().is_none());
        }
    }

    #[test]
    fn a_line_has_the_decision_and_its_reason() {
        let decision = TracedDecision {
            time: "2026-11-28T12:00:00.000Z".to_owned(),
            protocol: "tcp".to_owned(),
            client: "198.51.100.7:40000".to_owned(),
            virtual_address: "192.0.2.10:80".to_owned(),
            bytes: 60,
            packets: 1,
            verdict: "tunnel".to_owned(),
            service: Some("web".to_owned()),
            address: Some("10.0.0.11".parse().unwrap()),
            why: Some("scheduler".to_owned()),
            scheduler: Some("wlc".to_owned()),
            after: Some("SYN_RECV".to_owned()),
            ..TracedDecision::default()
        };
        assert_eq!(
            decision.human(Layout::UNBOUNDED),
            "2026-11-28T12:00:00.000Z  tcp 198.51.100.7:40000 → 192.0.2.10:80, 60 bytes: \
             web → 10.0.0.11 by scheduler wlc, new → SYN_RECV\n"
        );
        assert_eq!(
            decision.human(Layout { width: 60, ..Layout::UNBOUNDED }),
            "2026-11-28T12:00:00.000Z  tcp 198.51.100.7:40000 →\n    \
             192.0.2.10:80, 60 bytes: web → 10.0.0.11 by scheduler\n    wlc, new → SYN_RECV\n"
        );
        let dropped = TracedDecision {
            bytes: 3,
            verdict: "drop".to_owned(),
            reason: Some("not_ip".to_owned()),
            ..TracedDecision::default()
        };
        assert_eq!(dropped.to_string(), "no packet, 3 bytes: dropped: not_ip");
    }
}
