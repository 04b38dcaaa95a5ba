//! The selection of packets that a trace shows.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::balancer::Reason;
use crate::balancer::record::{Record, RecordedVerdict};
use crate::control::Traced;

/// How many characters of a client's text an error shows.
const SHOWN: usize = 64;

/// The length of the prefix of IPv4-mapped addresses, `::ffff:0:0/96`.
const MAPPED_PREFIX: u8 = 96;

/// A selection of packets: those that match all given fields.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter {
    client: Option<IpNet>,
    virtual_address: Option<(IpAddr, Option<u16>)>,
    real: Option<IpAddr>,
    service: Option<String>,
    verdict: Option<RecordedVerdict>,
    reason: Option<Reason>,
}

/// Why a text is not a filter; the message says what to write.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FilterError {
    /// Neither an address nor a network.
    #[error(
        "client: {0:?} is not an IP address or a network; write 198.51.100.7 or 198.51.100.0/24"
    )]
    Client(String),
    /// Neither an address nor an address with a port.
    #[error(
        "virtual: {0:?} is not an IP address; write 192.0.2.10, 192.0.2.10:80 or [2001:db8::10]:80"
    )]
    Virtual(String),
    /// Not an address.
    #[error("address: {0:?} is not an IP address; write that of a real server, as in 10.0.0.11")]
    Real(String),
    /// Not a verdict; with the possible ones.
    #[error("verdict: {0:?} is not a verdict; write one of {1}")]
    Verdict(String, String),
    /// Not a drop reason.
    #[error("reason: {0:?} is not a drop reason; `vstun drops --all` names them")]
    Reason(String),
}

impl Filter {
    /// Parses a client's selection. The caller checks whether the service and the real server
    /// exist.
    ///
    /// # Errors
    /// See [`FilterError`].
    pub fn parse(which: &Traced) -> Result<Self, FilterError> {
        Ok(Self {
            client: parsed(which.client.as_deref(), clients, FilterError::Client)?,
            virtual_address: parsed(
                which.virtual_address.as_deref(),
                endpoint,
                FilterError::Virtual,
            )?,
            real: parsed(which.address.as_deref(), address, FilterError::Real)?,
            service: which.service.clone(),
            verdict: parsed(which.verdict.as_deref(), verdict, |text| {
                FilterError::Verdict(
                    text,
                    RecordedVerdict::ALL.map(RecordedVerdict::name).join(", "),
                )
            })?,
            reason: parsed(which.reason.as_deref(), reason, FilterError::Reason)?,
        })
    }

    /// Whether this packet is shown.
    #[must_use]
    pub fn matches(&self, record: &Record) -> bool {
        let Self { client, virtual_address, real, service, verdict, reason } = self;
        verdict.is_none_or(|verdict| verdict == record.verdict)
            && reason.is_none_or(|reason| record.reason == Some(reason))
            && real.is_none_or(|real| record.real == Some(real))
            && service.as_deref().is_none_or(|name| record.service.as_deref() == Some(name))
            && client.is_none_or(|net| record.ends.is_some_and(|ends| net.contains(&ends.client)))
            && virtual_address.is_none_or(|(address, port)| {
                record.ends.is_some_and(|ends| {
                    address == ends.virtual_address
                        && port.is_none_or(|port| ends.ports.is_some_and(|(_, own)| own == port))
                })
            })
    }

    /// What the operator should know: packets to an address that is no virtual IP hardly come.
    #[must_use]
    pub fn notes(&self, is_vip: impl Fn(IpAddr) -> bool) -> Vec<String> {
        let other = self.virtual_address.map(|(address, _)| address).filter(|it| !is_vip(*it));
        let text = |address| {
            format!("{address} is no virtual IP now: only packets that still come for it will show")
        };
        other.map(text).into_iter().collect()
    }

    /// The service and the real server that it names.
    #[must_use]
    pub fn named(&self) -> (Option<&str>, Option<IpAddr>) {
        (self.service.as_deref(), self.real)
    }
}

fn parsed<T>(
    text: Option<&str>,
    parse: impl FnOnce(&str) -> Option<T>,
    error: impl FnOnce(String) -> FilterError,
) -> Result<Option<T>, FilterError> {
    let Some(text) = text else { return Ok(None) };
    let value = parse(text).ok_or_else(|| error(text.chars().take(SHOWN).collect()))?;
    Ok(Some(value))
}

/// An address as packets have it: none has an IPv4-mapped one (RFC 4291 section 2.5.5.2), so it
/// would match nothing.
fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().filter(|address: &IpAddr| address.to_canonical() == *address)
}

/// Clients: those with one address, or those of a network. Only addresses that packets have.
#[must_use]
pub fn clients(text: &str) -> Option<IpNet> {
    let network = text.parse().ok().filter(|net: &IpNet| {
        let within_mapped = net.prefix_len() >= MAPPED_PREFIX;
        !within_mapped || net.network().to_canonical() == net.network()
    });
    address(text).map(IpNet::from).or(network)
}

fn endpoint(text: &str) -> Option<(IpAddr, Option<u16>)> {
    // The parser drops a numeric zone.
    let with_port = text.parse::<SocketAddr>().ok().filter(|_| !text.contains('%'));
    let with_port = with_port.filter(|one| one.ip().to_canonical() == one.ip());
    let with_port = with_port.map(|one| (one.ip(), Some(one.port())));
    with_port.or_else(|| Some((address(text)?, None)))
}

fn verdict(text: &str) -> Option<RecordedVerdict> {
    RecordedVerdict::ALL.into_iter().find(|verdict| verdict.name() == text)
}

fn reason(text: &str) -> Option<Reason> {
    Reason::ALL.iter().copied().find(|reason| reason.name() == text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::balancer::record::RecordedEnds;
    use crate::model::Millis;

    fn record() -> Record {
        Record {
            at: Millis(0),
            ends: Some(RecordedEnds {
                protocol: 6,
                client: "198.51.100.7".parse().unwrap(),
                virtual_address: "192.0.2.10".parse().unwrap(),
                ports: Some((40_000, 80)),
            }),
            length: 60,
            packets: 1,
            verdict: RecordedVerdict::Reply,
            reason: Some(Reason::NoRealServer),
            service: Some("web".into()),
            real: Some("10.0.0.11".parse().unwrap()),
            why: None,
            before: None,
            after: None,
        }
    }

    fn traced(key: &str, value: &str) -> Traced {
        let text = format!("{{{key:?}:{value:?}}}");
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn each_field_selects_and_all_together_must_match() {
        assert!(Filter::default().matches(&record()));
        for (key, matching, other) in [
            ("client", "198.51.100.7", "198.51.100.8"),
            ("client", "198.51.100.0/24", "198.51.101.0/24"),
            ("client", "0.0.0.0/0", "::/0"),
            ("virtual", "192.0.2.10", "192.0.2.11"),
            ("virtual", "192.0.2.10:80", "192.0.2.10:81"),
            // The client's port.
            ("virtual", "192.0.2.10:80", "192.0.2.10:40000"),
            ("address", "10.0.0.11", "10.0.0.12"),
            ("service", "web", "we"),
            ("verdict", "reply", "tunnel"),
            ("reason", "no_real_server", "no_service"),
        ] {
            assert!(Filter::parse(&traced(key, matching)).unwrap().matches(&record()), "{key}");
            assert!(!Filter::parse(&traced(key, other)).unwrap().matches(&record()), "{key}");
        }
        let both = Traced { reason: Some("icmp".to_owned()), ..traced("verdict", "reply") };
        assert!(!Filter::parse(&both).unwrap().matches(&record()));
    }

    #[test]
    fn a_frame_that_is_no_packet_has_no_ends_to_match() {
        let frame = Record { ends: None, ..record() };
        assert!(!Filter::parse(&traced("client", "0.0.0.0/0")).unwrap().matches(&frame));
        assert!(Filter::parse(&traced("reason", "no_real_server")).unwrap().matches(&frame));
    }

    #[test]
    fn an_address_that_is_no_virtual_ip_is_noted() {
        let vips: [IpAddr; 1] = ["192.0.2.10".parse().unwrap()];
        let notes = |key, value| {
            let filter = Filter::parse(&traced(key, value)).unwrap();
            filter.notes(|address| vips.contains(&address)).join("\n")
        };
        assert_eq!(notes("virtual", "192.0.2.10:81"), "");
        assert_eq!(notes("client", "192.0.2.11"), "");
        let noted = notes("virtual", "192.0.2.11:80");
        assert!(noted.starts_with("192.0.2.11 is no virtual IP now: "), "{noted}");
    }

    #[test]
    fn a_bad_value_is_refused_with_its_key_and_what_to_write() {
        for (key, value, word) in [
            ("client", "198.51.100", "write 198.51.100.7"),
            ("client", "198.51.100.0/33", "write 198.51.100.7"),
            ("virtual", "192.0.2.10:99999", "192.0.2.10:80"),
            ("virtual", "[fe80::1%1]:80", "[2001:db8::10]:80"),
            ("virtual", "fe80::1%1", "[2001:db8::10]:80"),
            ("virtual", "::ffff:192.0.2.10", "write 192.0.2.10"),
            ("virtual", "[::ffff:192.0.2.10]:80", "write 192.0.2.10"),
            ("client", "::ffff:198.51.100.7", "write 198.51.100.7"),
            ("client", "::ffff:198.51.100.0/120", "write 198.51.100.7"),
            ("client", "::ffff:0:0/96", "write 198.51.100.7"),
            ("address", "::ffff:10.0.0.11", "as in 10.0.0.11"),
            ("address", "web", "of a real server"),
            ("verdict", "lost", "one of tunnel, reply, reset, drop, hold"),
            ("reason", "bored", "`vstun drops --all`"),
        ] {
            let error = Filter::parse(&traced(key, value)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{key}: {value:?}")), "{error}");
            assert!(error.contains(word), "{error}");
        }
        let long = Filter::parse(&traced("reason", &"é".repeat(SHOWN + 1))).unwrap_err();
        assert_eq!(long, FilterError::Reason("é".repeat(SHOWN)));
    }
}
