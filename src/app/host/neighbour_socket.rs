//! Probes for addresses and announces them on an Ethernet: ARP for IPv4, neighbour discovery for
//! IPv6.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use log::debug;

use crate::host::{Facts, Family, Link};
use crate::sys::arp::Arp;
use crate::sys::ndisc::Ndisc;

/// A socket on one interface.
#[derive(Debug)]
pub(super) enum NeighbourSocket {
    /// For IPv4.
    Arp(Arp),
    /// For IPv6.
    Ndisc(Ndisc),
}

/// Another host's packet.
#[derive(Debug)]
pub(super) enum NeighbourMessage {
    /// For IPv4.
    Arp(crate::sys::arp::ArpMessage),
    /// For IPv6.
    Ndisc(crate::sys::ndisc::NdMessage),
}

impl NeighbourSocket {
    /// Opens a socket, if the interface has a hardware address.
    pub(super) fn open(link: &Link, family: Family) -> Option<io::Result<Self>> {
        let mac = link.mac?;
        Some(match family {
            Family::V4 => Arp::open(link.index, mac).map(Self::Arp),
            Family::V6 => Ndisc::open(link.index, mac).map(Self::Ndisc),
        })
    }

    /// As [`Self::open`], with a filter for claims to these addresses.
    pub(super) fn open_for(
        link: &Link,
        family: Family,
        addresses: &[IpAddr],
    ) -> Option<io::Result<Self>> {
        let mac = link.mac?;
        let v4 = addresses.iter().filter_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        });
        Some(match family {
            Family::V4 => Arp::open_for(link.index, mac, &v4.collect::<Vec<_>>()).map(Self::Arp),
            Family::V6 => Ndisc::open(link.index, mac).map(Self::Ndisc),
        })
    }

    /// Makes sure that other hosts' probes for the address are received.
    pub(super) fn listen(&self, address: IpAddr) {
        if let (Self::Ndisc(ndisc), IpAddr::V6(address)) = (self, address)
            && let Err(error) = ndisc.listen(address)
        {
            debug!("cannot listen to probes for {address}: {error}");
        }
    }

    /// Asks which host has the address. `asker`: an IPv4 address of the interface to ask from.
    /// Another director answers as a proxy, and a proxy answers no ARP probe; for neighbour
    /// discovery it answers probes too.
    pub(super) fn ask(&self, address: IpAddr, asker: Option<Ipv4Addr>) -> io::Result<()> {
        match (self, address) {
            (Self::Arp(arp), IpAddr::V4(address)) => {
                arp.probe(address)?;
                asker.map_or(Ok(()), |asker| arp.ask(asker, address))
            }
            (Self::Ndisc(ndisc), IpAddr::V6(address)) => ndisc.probe(address),
            _ => Ok(()),
        }
    }

    /// Announces to all hosts that this one has the address.
    pub(super) fn announce(&self, address: IpAddr) -> io::Result<()> {
        match (self, address) {
            (Self::Arp(arp), IpAddr::V4(address)) => arp.announce(address),
            (Self::Ndisc(ndisc), IpAddr::V6(address)) => ndisc.announce(address),
            _ => Ok(()),
        }
    }

    /// Waits for another host's packet.
    pub(super) async fn receive(&self) -> io::Result<NeighbourMessage> {
        match self {
            Self::Arp(arp) => arp.receive().await.map(NeighbourMessage::Arp),
            Self::Ndisc(ndisc) => ndisc.receive().await.map(NeighbourMessage::Ndisc),
        }
    }
}

impl NeighbourMessage {
    /// The hardware address of the sender.
    pub(super) fn mac(&self) -> [u8; 6] {
        match self {
            Self::Arp(message) => message.mac,
            Self::Ndisc(message) => message.mac,
        }
    }

    /// Whether the sender has no address of its own: it probes whether it may use one.
    pub(super) fn probes(&self) -> bool {
        match self {
            Self::Arp(message) => message.sender.is_unspecified(),
            Self::Ndisc(message) => message.source.is_unspecified() && !message.advertised,
        }
    }

    /// Whether it shows that another host has the address or is about to use it.
    pub(super) fn conflicts(&self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::Arp(message), IpAddr::V4(address)) => message.conflicts(address),
            (Self::Ndisc(message), IpAddr::V6(address)) => message.conflicts(address),
            _ => false,
        }
    }
}

/// The interface's own address to ask from: one in the same subnet if there is one, since a strict
/// reverse path filter on the other host refuses others.
pub(super) fn asker(facts: &Facts, link: u32, wanted: IpAddr) -> Option<Ipv4Addr> {
    let own = facts.addresses.iter().filter(|own| own.link == link && own.address.is_ipv4());
    let best = own.max_by_key(|own| own.subnet.contains(&wanted))?;
    match best.address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
