//! Parses one text to one checked address, listen or range, of either family. The error is the
//! message: what is wrong and what to write instead.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::model::{Listen, ListenError};

use super::fault::quoted;

/// An address that a single host can have.
pub(super) fn unicast(text: &str) -> Result<IpAddr, String> {
    let address = text.parse().map_err(|_| {
        let hint = "write one such as 192.0.2.10 or 2001:db8::10";
        misspelt::<IpAddr>(text)
            .unwrap_or_else(|| format!("{} is not an IP address; {hint}", quoted(text)))
    })?;
    check_unicast(address)?;
    Ok(address)
}

/// A virtual IP. A port has its own message: ports belong to the director's listens.
pub(super) fn vip(text: &str) -> Result<IpAddr, String> {
    if let Some(address) = before_port(text) {
        return Err(format!(
            "{} has a port; write {address}, the whole address comes through the tunnel",
            quoted(text)
        ));
    }
    unicast(text)
}

/// A real server's address. A port has its own message: tunnelling does not change ports, so the
/// client chooses the port.
pub(super) fn real(text: &str) -> Result<IpAddr, String> {
    if let Some(address) = before_port(text) {
        return Err(format!(
            "{} has a port, and tunnelling cannot change ports; write {address} and let the \
             application listen on the virtual IP's port",
            quoted(text)
        ));
    }
    unicast(text)
}

fn before_port(text: &str) -> Option<IpAddr> {
    // The parser drops a numeric zone; a text with a zone is a different fault.
    let whole = Some(text).filter(|text| !text.contains('%'));
    whole?.parse::<SocketAddr>().ok().map(|address| address.ip())
}

/// Where a service listens.
pub(super) fn listen(text: &str) -> Result<Listen, String> {
    // The parser drops a numeric zone.
    if let Some(message) = zoned(text) {
        return Err(message);
    }
    let listen: Listen = text.parse().map_err(|error| no_listen(text, error))?;
    check_unicast(listen.address)?;
    Ok(listen)
}

fn no_listen(text: &str, error: ListenError) -> String {
    let shown = quoted(text);
    match error {
        ListenError::Protocol => {
            let whole = format!("{text}/tcp");
            let meant = whole.parse().ok().or_else(|| with_brackets(&whole));
            let meant = meant.map(|meant: Listen| meant.to_string());
            format!("{shown} {error}; write {}", meant.as_deref().unwrap_or("192.0.2.10:80/tcp"))
        }
        ListenError::Address => match with_brackets(text) {
            Some(meant) if text.starts_with('[') => format!("{shown} has no port; write {meant}"),
            Some(meant) => {
                format!("{shown} has an IPv6 address without brackets; write {meant}")
            }
            None => format!("{shown} {error}"),
        },
        ListenError::Ports => format!("{shown} {error}"),
    }
}

/// The intended listen if an IPv6 address has no brackets or no port.
fn with_brackets(text: &str) -> Option<Listen> {
    let (endpoint, protocol) = text.rsplit_once('/')?;
    let address = |text: &str| text.parse::<Ipv6Addr>().ok();
    let (host, ports) = endpoint.rsplit_once(':')?;
    let (host, ports) = address(host).map(|host| (host, ports)).or_else(|| {
        let host = address(endpoint.trim_start_matches('[').trim_end_matches(']'))?;
        Some((host, "80"))
    })?;
    [ports, "80"].iter().find_map(|ports| format!("[{host}]:{ports}/{protocol}").parse().ok())
}

/// The message for a text that is clearly a misspelt address of type `T`.
fn misspelt<T: FromStr + Display>(text: &str) -> Option<String> {
    let bare = || text.replace(['[', ']'], "").parse::<T>().ok();
    zoned(text).or_else(|| {
        bare().map(|bare| format!("{} has brackets; write {bare} without them", quoted(text)))
    })
}

/// An address with a zone (RFC 4007). A zone names an interface of one host, and packets do not
/// contain it.
fn zoned(text: &str) -> Option<String> {
    let (address, _) = text.trim_start_matches('[').split_once('%')?;
    address.parse::<Ipv6Addr>().ok()?;
    let hint = "write a global or unique local address without one";
    Some(format!("{} has a zone; {hint}", quoted(text)))
}

/// Refuses addresses that no packet on the wire has as the address of one host (RFC 6890), and the
/// IPv4-mapped form, which would be a second key for an IPv4 address. Site-local addresses
/// (fec0::/10) pass: RFC 4291 treats them as global unicast (section 2.5.7).
fn check_unicast(address: IpAddr) -> Result<(), String> {
    let why = match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            let v4 = address.to_canonical();
            return Err(format!("{address} is an IPv4-mapped address; write {v4}"));
        }
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            let why = "a link-local address, which means nothing without an interface";
            let hint = "write a global or unique local address";
            return Err(format!("{address} is {why}; {hint}"));
        }
        _ if address.is_unspecified() => "unspecified",
        _ if address.is_multicast() => "a multicast address",
        _ if address.is_loopback() => "a loopback address",
        IpAddr::V4(v4) if v4.is_broadcast() => "the broadcast address",
        IpAddr::V4(v4) if v4.octets()[0] == 0 => "in 0.0.0.0/8, which no host has",
        // RFC 4291 section 2.5.5.1 deprecated them.
        IpAddr::V6(v6) if v6.segments()[..6] == [0; 6] => {
            "an IPv4-compatible address (::/96), which no host has any more"
        }
        _ => return Ok(()),
    };
    Err(format!("{address} is {why}; write the address of one host"))
}

/// A range of addresses that tunnelled packets may come from. A single address is a range of one.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let address = text.split_once('/').map_or(text, |(address, _)| address);
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let Ok(network) = network else { return Err(no_network(text)) };
    if network.prefix_len() == 0 {
        return Err(format!(
            "{network} lets every host send packets into the virtual IPs; write the directors' \
             addresses"
        ));
    }
    if let IpNet::V6(network) = network {
        check_mapped(network)?;
    }
    if network != network.trunc() {
        return Err(format!(
            "{network} has bits beyond its prefix; write {} or {address}/{}",
            network.trunc(),
            network.max_prefix_len()
        ));
    }
    check_unicast(network.addr())?;
    Ok(network)
}

fn no_network(text: &str) -> String {
    misspelt::<IpNet>(text).or_else(|| misspelt::<IpAddr>(text)).unwrap_or_else(|| {
        let hint = "write one such as 10.0.0.1/32 or 2001:db8::1/128";
        format!("{} is not an address range; {hint}", quoted(text))
    })
}

/// Refuses a range of IPv4-mapped addresses, which is an IPv4 range in another form, and a range
/// that contains all of them, which is too wide.
fn check_mapped(network: Ipv6Net) -> Result<(), String> {
    /// The length of the prefix ::ffff:0:0/96.
    const PREFIX: u8 = 96;
    let mapped = network.addr().to_ipv4_mapped();
    if let (Some(v4), Some(len)) = (mapped, network.prefix_len().checked_sub(PREFIX)) {
        let v4 = Ipv4Net::new(v4, len).map(|v4| v4.trunc()).ok().filter(|_| len > 0);
        let meant = v4.map(|v4| v4.to_string());
        let meant = meant.as_deref().unwrap_or("the directors' IPv4 addresses");
        return Err(format!("{network} is a range of IPv4-mapped addresses; write {meant}"));
    }
    if network.contains(&Ipv4Addr::UNSPECIFIED.to_ipv6_mapped()) {
        let what = "the IPv4-mapped addresses (::ffff:0:0/96)";
        return Err(format!("{network} holds {what}; write a narrower range"));
    }
    Ok(())
}
