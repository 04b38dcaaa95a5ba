//! The answer to `explain`: which service, which real server, why.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Layout, table};
use crate::balancer::{Explanation, FlowQuery, Why};
use crate::model::Protocol;

/// Where a flow's next packet would go, and why.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Explained {
    /// The flow.
    pub flow: String,
    /// The service that it belongs to; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The real server; absent if the packet is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The real server of the connection that a SYN opens beside the entry; absent if a SYN opens
    /// none, or no real server takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syn: Option<IpAddr>,
    /// Where TCP without a SYN goes; absent if it is reset, or the flow is not TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mid_stream: Option<IpAddr>,
    /// `entry`, `template`, `scheduler`, `one_packet`, `hash`, `port`, `no_real_server`,
    /// `real_servers_full`, `no_fallback`, `no_service`, `not_vip` or `bad_source`.
    pub why: String,
    /// The entry's state; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Seconds since the entry's last packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_seconds: Option<u64>,
    /// Seconds until the entry expires without a further packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_seconds: Option<u64>,
    /// The scheduler that chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<String>,
    /// The reason as text.
    pub because: String,
    /// The real servers that take no new flow of the service, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<PassedOver>,
}

/// A real server that takes no new flow.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PassedOver {
    /// Its address.
    pub address: IpAddr,
    /// The reason as text.
    pub because: String,
}

impl Explained {
    /// The explanation of a flow.
    #[must_use]
    pub fn new(flow: &FlowQuery, explanation: Explanation) -> Self {
        let Explanation { service, real, syn, mid_stream, adopted_by_port, why } = explanation;
        let (state, idle, expires) = match why {
            Why::Entry { state, idle, expires, .. } => {
                (Some(state.to_owned()), Some(idle.as_secs()), Some(expires.as_secs()))
            }
            _ => (None, None, None),
        };
        let scheduler = match why {
            Why::Scheduler(kind) | Why::OnePacket(kind) | Why::Port(kind) => {
                Some(kind.name().to_owned())
            }
            _ => None,
        };
        Self {
            flow: flow.to_string(),
            service,
            address: real,
            syn,
            mid_stream,
            why: name(why).to_owned(),
            state,
            idle_seconds: idle,
            expires_seconds: expires,
            scheduler,
            because: match flow.any_port() {
                true => because_of_any(flow.protocol, why),
                false => because(flow.protocol, syn, why),
            } + &match adopted_by_port {
                true => "; TCP that is not a SYN is adopted, where its port decides".to_owned(),
                false => opens_nothing(flow.protocol, mid_stream, why),
            },
            passed_over: Vec::new(),
        }
    }

    /// The text output.
    #[must_use]
    pub fn human(&self, layout: Layout) -> String {
        let real = self.address.map_or_else(|| "none".to_owned(), |real| real.to_string());
        let passed = |PassedOver { address, because }: &PassedOver| format!("{address}: {because}");
        let lines = [
            ("flow", self.flow.clone()),
            ("service", self.service.clone().unwrap_or_else(|| "none".to_owned())),
            ("real server", real),
            ("why", self.because.clone()),
        ];
        let passed = self.passed_over.iter().map(|real| ("passed over", passed(real)));
        table::named(lines.into_iter().chain(passed), layout.width)
    }
}

fn name(why: Why) -> &'static str {
    match why {
        Why::Entry { .. } => "entry",
        Why::Template => "template",
        Why::Scheduler(_) => "scheduler",
        Why::OnePacket(_) => "one_packet",
        Why::Hash => "hash",
        Why::Port(_) => "port",
        Why::NoRealServer => "no_real_server",
        Why::RealServersFull => "real_servers_full",
        Why::NoFallback => "no_fallback",
        Why::NoService => "no_service",
        Why::NotVip => "not_vip",
        Why::BadSource => "bad_source",
    }
}

fn because(protocol: Protocol, syn: Option<IpAddr>, why: Why) -> String {
    let refusal = match protocol {
        Protocol::Tcp => "a reset",
        Protocol::Udp => "port unreachable",
    };
    match why {
        Why::Entry { state, idle, expires, reusable, ends } => {
            let (idle, expires) = (idle.as_secs(), expires.as_secs());
            let left = format!("{:02}:{:02}", expires / 60, expires % 60);
            let syn = match syn {
                _ if !reusable => String::new(),
                Some(real) => format!("; a SYN is a new flow, which goes to {real}"),
                None => "; a SYN is a new flow, which no real server takes".to_owned(),
            };
            let end = if ends {
                "; its real server has no time left for it, so what is not a SYN is answered with \
                 a reset"
            } else {
                ""
            };
            format!(
                "it has an entry, {state}: last packet {idle} s ago, expires in \
                 {left}{end}{syn}"
            )
        }
        Why::Template => "it has no entry, but its client is remembered (persistence)".to_owned(),
        Why::Scheduler(kind) => {
            format!("it has no entry: {} would choose this one now", kind.name())
        }
        Why::OnePacket(kind) => {
            let kind = kind.name();
            format!("each datagram is scheduled alone: {kind} would choose this one for the next")
        }
        Why::Hash => "it has no entry, and the service is or was in flood mode, or a table full \
                      (of connections, or of remembered clients): placed by hash, not by the \
                      scheduler's counts"
            .to_owned(),
        Why::Port(kind) => format!("{} hashes the client's port too", kind.name()),
        Why::NoRealServer => {
            format!("no real server of the service takes new connections: answered with {refusal}")
        }
        Why::RealServersFull => {
            format!(
                "every real server in service is at its upper threshold: answered with {refusal}"
            )
        }
        Why::NoFallback => format!(
            "its real server takes no new connections, and `fallback` is false: \
             answered with {refusal}"
        ),
        Why::NoService => format!("no service listens on that port: answered with {refusal}"),
        Why::NotVip => "no service listens on that address: dropped".to_owned(),
        Why::BadSource => "the client is a virtual IP, or no address of a host: dropped".to_owned(),
    }
}

/// The reason if the client's port was not named: it holds for every new flow of the client.
fn because_of_any(protocol: Protocol, why: Why) -> String {
    let text = match why {
        Why::Template => "the client is remembered (persistence)".to_owned(),
        Why::Scheduler(kind) if kind.by_hash() => {
            format!("{} hashes no port: all new flows of the client go there", kind.name())
        }
        Why::Scheduler(kind) => {
            format!("{} would choose this one now for the next flow, of any port", kind.name())
        }
        Why::Hash => "placed by hash, not by the scheduler's counts: the service is or was in \
                      flood mode, or a table is full (of connections, or of remembered clients); \
                      the port does not matter"
            .to_owned(),
        Why::Port(kind) => {
            let hashes = match kind.by_hash() {
                true => format!("{} hashes the client's port too", kind.name()),
                false => "in flood mode or with a full table the hash decides, of the port too"
                    .to_owned(),
            };
            format!("it depends on the client's port: {hashes}; name one, as in 198.51.100.7:40000")
        }
        other => return because(protocol, None, other),
    };
    text + "; a flow that has an entry stays where it is (`vstun connections --client`)"
}

/// What happens to TCP without a SYN, if it differs from a SYN's treatment.
fn opens_nothing(protocol: Protocol, mid_stream: Option<IpAddr>, why: Why) -> String {
    match (why, mid_stream) {
        (
            Why::Entry { .. }
            | Why::NoRealServer
            | Why::RealServersFull
            | Why::NoFallback
            | Why::NoService
            | Why::NotVip
            | Why::BadSource,
            _,
        ) => String::new(),
        _ if protocol == Protocol::Udp => String::new(),
        (_, None) => "; TCP that is not a SYN is answered with a reset".to_owned(),
        (_, Some(real)) => format!("; TCP that is not a SYN is adopted, by {real}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_in_a_flood_is_not_explained_by_a_full_table_alone() {
        let flow = "tcp 198.51.100.7:40000 192.0.2.10:80".parse().unwrap();
        let (service, real) = (Some("web".to_owned()), None);
        let explanation = Explanation {
            service,
            real,
            syn: None,
            mid_stream: None,
            adopted_by_port: false,
            why: Why::Hash,
        };
        let explained = Explained::new(&flow, explanation);
        assert_eq!(explained.why, "hash");
        for word in ["flood mode", "full", "hash"] {
            assert!(explained.because.contains(word), "{}", explained.because);
        }
    }
}
