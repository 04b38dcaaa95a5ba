//! Tunnelled packets as firewalls and captures name them.

use crate::wire::encap::{Encap, gue};
use crate::wire::protocol;

/// How packets are encapsulated, and to which UDP port if they are in GUE.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tunnelled {
    /// The encapsulation.
    pub encap: Encap,
    /// The UDP port of GUE.
    pub gue_port: u16,
}

impl Default for Tunnelled {
    fn default() -> Self {
        Self { encap: Encap::default(), gue_port: gue::PORT }
    }
}

impl Tunnelled {
    /// The protocol number of the outer packets, and the UDP port. Of IP in IP the first one is for
    /// IPv4 inside, the second one for IPv6.
    pub(super) fn protocols(self) -> Vec<(u8, Option<u16>)> {
        match self.encap {
            Encap::Ipip => vec![(protocol::IPIP, None), (protocol::IPV6, None)],
            Encap::Gre => vec![(protocol::GRE, None)],
            Encap::Gue => vec![(protocol::UDP, Some(self.gue_port))],
        }
    }

    /// As nft(8) matches them, quoted for a shell.
    pub(super) fn nft(self) -> String {
        match self.encap {
            Encap::Ipip => "meta l4proto '{ 4, 41 }'".to_owned(),
            Encap::Gre => "meta l4proto 47".to_owned(),
            Encap::Gue => format!("udp dport {}", self.gue_port),
        }
    }

    /// In words.
    pub(super) fn words(self) -> String {
        match self.encap {
            Encap::Ipip => "protocols 4 and 41".to_owned(),
            Encap::Gre => "protocol 47".to_owned(),
            Encap::Gue => format!("UDP port {}", self.gue_port),
        }
    }

    /// As tcpdump(8) matches them.
    pub(super) fn pcap(self) -> String {
        match self.encap {
            Encap::Ipip => "proto 4 or proto 41".to_owned(),
            Encap::Gre => "proto 47".to_owned(),
            Encap::Gue => format!("udp port {}", self.gue_port),
        }
    }
}

/// All that a real server receives, as tcpdump(8) matches it.
pub(super) fn pcap_of_all(gue_port: u16) -> String {
    Encap::ALL.map(|encap| Tunnelled { encap, gue_port }.pcap()).join(" or ")
}

/// Packets in any encapsulation in words: a real server receives all.
pub(super) fn words_of_all(gue_port: u16) -> String {
    let [one, two, three] = Encap::ALL.map(|encap| Tunnelled { encap, gue_port }.words());
    format!("{one}, {two} or {three}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_encapsulation_has_its_rule() {
        for (encap, nft, words) in [
            (Encap::Ipip, "meta l4proto '{ 4, 41 }'", "protocols 4 and 41"),
            (Encap::Gre, "meta l4proto 47", "protocol 47"),
            (Encap::Gue, "udp dport 6081", "UDP port 6081"),
        ] {
            let tunnelled = Tunnelled { encap, gue_port: 6081 };
            assert_eq!((tunnelled.nft().as_str(), tunnelled.words().as_str()), (nft, words));
        }
        assert_eq!(pcap_of_all(6080), "proto 4 or proto 41 or proto 47 or udp port 6080");
    }
}
