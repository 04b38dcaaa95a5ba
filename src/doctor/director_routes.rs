//! Findings about a real server's routes to its directors: the reverse path filter compares the
//! outer source of what arrives with these. And about the interfaces to them.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Cause, Finding, Severity};

/// A director on a network of this host, to which the route leads elsewhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StrayDirector {
    /// The director.
    pub director: IpAddr,
    /// The interface by which its packets come.
    pub input: String,
    /// Where the route leads: into another interface, or to what `ip route` calls one that drops.
    pub leads: RouteLeads,
    /// The destinations of the route, which is in the main table.
    pub route: IpNet,
}

/// Where a route leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RouteLeads {
    /// Into this interface.
    To(String),
    /// Nowhere: `blackhole`, `unreachable` or `prohibit`.
    Nowhere(&'static str),
}

/// The finding about such a director.
pub(super) fn finding(stray: &StrayDirector) -> Finding {
    let StrayDirector { director, input, leads, route } = stray;
    let (leads, command) = match leads {
        RouteLeads::To(link) => {
            (format!("leads to {link}"), format!("ip route del {route} dev {link}"))
        }
        RouteLeads::Nowhere(kind) => (format!("is {kind}"), format!("ip route del {kind} {route}")),
    };
    let text = format!(
        "this host drops tunnelled packets from director {director}: they arrive on {input}, whose \
         reverse path filter compares that with the route to {director}, which {leads}"
    );
    let found = Finding::new(Cause::RpFilter, Severity::Fault, text);
    found.seen(format!("the route to {route}, and `rp_filter` of {input}")).mended_by(command)
}

/// A director to which this host has no way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LostDirector {
    /// The director.
    pub director: IpAddr,
    /// Why.
    pub why: LostWay,
}

/// Why there is no way to a director.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LostWay {
    /// The interface in its network is down.
    Down(String),
    /// It has no carrier.
    NoCarrier(String),
    /// There is no route.
    NoRoute {
        /// Whether the reverse path filter of an interface then drops what comes from it.
        filtered: bool,
    },
}

/// The finding about such a director.
pub(super) fn lost(LostDirector { director, why }: &LostDirector) -> Finding {
    let (cause, severity, text, mend) = match why {
        LostWay::Down(link) => (
            Cause::Uplink,
            Severity::Fault,
            format!("{link}, in the network of director {director}, is down"),
            format!("ip link set {link} up"),
        ),
        LostWay::NoCarrier(link) => (
            Cause::Uplink,
            Severity::Fault,
            format!(
                "{link}, in the network of director {director}, has no carrier: look at its cable \
                 and at the other end"
            ),
            format!("ip -br link show {link}"),
        ),
        LostWay::NoRoute { filtered } => (
            Cause::RpFilter,
            if *filtered { Severity::Fault } else { Severity::Warning },
            format!(
                "this host has no route to director {director}{}: it has lost an address or a \
                 route, or `directors` has another host's address",
                if *filtered {
                    ", so the reverse path filter drops what comes from it"
                } else {
                    ""
                }
            ),
            "ip -br addr show up".to_owned(),
        ),
    };
    Finding::new(cause, severity, text)
        .seen(format!("the kernel's route to {director}, and the interfaces"))
        .mended_by(mend)
}
