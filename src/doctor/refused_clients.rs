//! Findings about clients whose packets a director's kernel drops for their source: a routing rule
//! refuses it, or the reverse path filter finds no route back.

use std::net::IpAddr;

use ipnet::IpNet;

use super::reply_routes::{ip, named_networks};
use super::{Cause, Finding, Severity};

/// What is known of a client.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ClientSeen {
    /// The director has a connection of it.
    Connected,
    /// No client, but an address on the internet.
    Far,
    /// No client, but an address of a network that is refused.
    Possible,
}

/// Why packets of a client are dropped.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SourceRefusal {
    /// The route back drops.
    Route {
        /// `blackhole`, `unreachable` or `prohibit`.
        kind: &'static str,
        /// The destinations of that route.
        net: IpNet,
        /// Its table, as `ip route` takes it; empty: the main one.
        table: String,
    },
    /// The routing rule of this priority refuses it.
    Rule(u32),
    /// There is no route back.
    NoRoute,
}

/// A client whose packets do not get into the TUN, although those of others do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RefusedClient {
    /// The virtual IP.
    pub vip: IpAddr,
    /// The interface where they arrive.
    pub uplink: String,
    /// The client.
    pub client: IpAddr,
    /// What is known of it.
    pub seen: ClientSeen,
    /// Why they are dropped.
    pub why: SourceRefusal,
}

/// The findings.
pub(super) fn findings(refused: &[RefusedClient]) -> Vec<Finding> {
    let mut all: Vec<&RefusedClient> = refused.iter().collect();
    all.sort_by_key(|one| one.seen);
    let (mut found, mut known): (Vec<Finding>, Vec<&SourceRefusal>) = (Vec::new(), Vec::new());
    let mut possible: Vec<&RefusedClient> = Vec::new();
    for one in all {
        // One route or rule refuses many clients, at each uplink.
        if known.contains(&&one.why) {
            continue;
        }
        known.push(&one.why);
        if one.seen == ClientSeen::Possible {
            possible.push(one);
        } else {
            found.push(finding(one));
        }
    }
    found.extend(note(&possible));
    found
}

fn finding(one: &RefusedClient) -> Finding {
    let RefusedClient { vip, uplink, client, seen, why } = one;
    let (who, severity) = match seen {
        ClientSeen::Connected if alone(why) => (format!("client {client}"), Severity::Note),
        ClientSeen::Connected => (format!("client {client}"), Severity::Fault),
        _ => ("clients outside of this host's own networks".to_owned(), Severity::Warning),
    };
    let filter = format!("and the reverse path filter of {uplink} drops what has none");
    let reason = match why {
        SourceRefusal::Route { kind, net, .. } => {
            format!("the route back to {net} is {kind}, {filter}")
        }
        SourceRefusal::Rule(rule) => format!("routing rule {rule} refuses their source"),
        SourceRefusal::NoRoute => format!("this host has no route back, {filter}"),
    };
    let text =
        format!("this host drops packets of {who} for {vip} that arrive on {uplink}: {reason}");
    let found = Finding::new(Cause::Capture, severity, text).about(*vip);
    let found = found.seen(match seen {
        ClientSeen::Connected => format!("{client} has connections in the director's table"),
        _ => format!("the kernel's route lookup for a packet from {client}"),
    });
    found.mended_by(mend(one)).mended_by(shown(one))
}

/// Whether the route is for one address alone: an operator may have banned that client.
fn alone(why: &SourceRefusal) -> bool {
    matches!(why, SourceRefusal::Route { net, .. } if net.prefix_len() == net.max_prefix_len())
}

fn mend(RefusedClient { vip, why, .. }: &RefusedClient) -> String {
    let ip = ip(*vip);
    match why {
        SourceRefusal::Route { kind, net, table } => {
            format!("{ip} route del {kind} {net}{table}")
        }
        SourceRefusal::Rule(rule) => format!("{ip} rule del priority {rule}"),
        SourceRefusal::NoRoute => format!("{ip} route add default via ROUTER"),
    }
}

/// The command that shows the kernel's answer.
fn shown(RefusedClient { vip, uplink, client, .. }: &RefusedClient) -> String {
    format!("{} route get {vip} from {client} iif {uplink}", ip(*vip))
}

/// Networks of which no client is known.
fn note(possible: &[&RefusedClient]) -> Option<Finding> {
    let first = possible.first()?;
    let networks = possible.iter().map(|one| match &one.why {
        SourceRefusal::Route { net, .. } => net.to_string(),
        _ => one.client.to_string(),
    });
    let text = format!(
        "this host drops packets that come from {}: right, if clients are not there",
        named_networks(networks)
    );
    let found = Finding::new(Cause::Capture, Severity::Note, text);
    let seen = "routes and routing rules that refuse; no connection of a client there is known";
    Some(found.seen(seen).mended_by(shown(first)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(seen: ClientSeen, why: SourceRefusal) -> RefusedClient {
        let address = |text: &str| text.parse().expect("an address");
        let (vip, client) = (address("192.0.2.10"), address("198.51.100.7"));
        RefusedClient { vip, uplink: "eth0".to_owned(), client, seen, why }
    }

    fn route(net: &str, table: &str) -> SourceRefusal {
        let (net, table) = (net.parse().expect("a network"), table.to_owned());
        SourceRefusal::Route { kind: "blackhole", net, table }
    }

    #[test]
    fn the_route_or_rule_that_refuses_clients_is_named() {
        use ClientSeen::{Connected, Far, Possible};
        use Severity::{Fault, Note, Warning};
        let net = || route("198.51.100.0/24", "");
        for (seen, why, severity, mend) in [
            (Connected, net(), Fault, "ip route del blackhole 198.51.100.0/24"),
            (
                Connected,
                route("198.51.100.0/24", " table 7"),
                Fault,
                "ip route del blackhole 198.51.100.0/24 table 7",
            ),
            // Somebody may have banned it.
            (
                Connected,
                route("198.51.100.7/32", ""),
                Note,
                "ip route del blackhole 198.51.100.7/32",
            ),
            (Connected, SourceRefusal::Rule(9), Fault, "ip rule del priority 9"),
            (Far, route("0.0.0.0/0", ""), Warning, "ip route del blackhole 0.0.0.0/0"),
            (Far, SourceRefusal::NoRoute, Warning, "ip route add default via ROUTER"),
            (Possible, net(), Note, "ip route get 192.0.2.10 from 198.51.100.7 iif eth0"),
        ] {
            let found = findings(&[refused(seen, why.clone()), refused(Possible, why.clone())]);
            let [found] = &found[..] else { panic!("{seen:?} {why:?}: {found:?}") };
            assert_eq!((found.severity, &found.mend[0][..]), (severity, mend), "{why:?}");
        }
        let all = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"];
        let many = all.map(|net| refused(Possible, route(net, "")));
        let [note] = &findings(&many)[..] else { panic!("not one") };
        assert!(note.text.contains("10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 and 1 more: right"));
    }
}
