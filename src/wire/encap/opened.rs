//! Opens a tunnelled datagram that begins with its outer header.

use std::net::IpAddr;
use std::ops::Range;

use super::error::OpenError;
use super::gre;
use super::kind::Encap;
use crate::wire::{Fragment, Packet, ParseError, protocol};

/// A tunnelled datagram whose outer header has been checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opened {
    /// The outer source address.
    pub source: IpAddr,
    /// The outer DSCP and ECN.
    pub traffic_class: u8,
    /// The encapsulation of the inner packet.
    pub encap: Encap,
    /// The inner packet's IP version, from the protocol number.
    pub inner_version: u8,
    /// Where in the datagram the inner packet is.
    pub inner: Range<usize>,
}

/// Checks the outer header of `datagram`, which starts with it, and finds the inner packet. The
/// inner packet's header is not checked. A raw socket delivers IP in IP and GRE in this form.
///
/// # Errors
/// Those of [`Packet::parse`], [`ParseError::Unsupported`] for another protocol,
/// [`ParseError::Malformed`] for a fragment (the kernel reassembles before a raw socket sees a
/// datagram), and those of [`gre::open`].
#[inline]
pub fn open(datagram: &[u8]) -> Result<Opened, OpenError> {
    let outer = Packet::parse(datagram).map_err(OpenError::Outer)?;
    if outer.fragment != Fragment::Whole {
        return Err(OpenError::Outer(ParseError::Malformed));
    }
    let start = usize::from(outer.header_len);
    let (encap, inner_version, shim_len) = match outer.protocol {
        protocol::IPIP => (Encap::Ipip, 4, 0),
        protocol::IPV6 => (Encap::Ipip, 6, 0),
        protocol::GRE => {
            let payload = outer.bytes().get(start..).unwrap_or_default();
            let (version, len) = gre::open(payload).map_err(OpenError::Shim)?;
            (Encap::Gre, version, len)
        }
        _ => return Err(OpenError::Outer(ParseError::Unsupported)),
    };
    Ok(Opened {
        source: outer.source,
        traffic_class: outer.traffic_class,
        encap,
        inner_version,
        inner: start + shim_len..outer.bytes().len(),
    })
}
