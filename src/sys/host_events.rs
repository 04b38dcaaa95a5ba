//! Changes of the host from rtnetlink: the multicast groups, and the few fields that matter.
//!
//! The kernel may drop messages, so an event only says that something has changed, and the caller
//! reads the host's state again. Two facts are taken from the messages, since the later state does
//! not show them: an interface that was down for a moment, and one that needs a new announcement.

use std::io::{self, Read};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::unix::AsyncFd;

/// The groups of `<linux/rtnetlink.h>` for interfaces, their settings, and nexthop objects: Linux
/// 5.3, an older kernel ignores the group. Proxy neighbour entries have none.
const GROUPS: [u32; 4] = [
    1,  // RTNLGRP_LINK
    24, // RTNLGRP_IPV4_NETCONF
    25, // RTNLGRP_IPV6_NETCONF
    32, // RTNLGRP_NEXTHOP
];
/// The groups for interfaces and for their addresses.
const ADDRESS_GROUPS: [u32; 3] = [
    1, // RTNLGRP_LINK
    5, // RTNLGRP_IPV4_IFADDR
    9, // RTNLGRP_IPV6_IFADDR
];
/// The longest message that the kernel sends to listeners (`NLMSG_GOODSIZE`); it truncates others.
const BUFFER: usize = 32 * 1024;
/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of `struct ifinfomsg`.
const LINK: usize = 16;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWNETCONF: u16 = 80;
const RTM_DELNETCONF: u16 = 81;
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;
const IFF_UP: u32 = 1;
const IFF_LOWER_UP: u32 = 1 << 16;
/// The attribute that holds the reason of a link message, and the two reasons that require an
/// announcement.
const IFLA_EVENT: u16 = 44;
const EVENT_BONDING_FAILOVER: u32 = 3;
const EVENT_NOTIFY_PEERS: u32 = 4;

/// A socket that receives notifications.
#[derive(Debug)]
pub struct HostEvents {
    socket: AsyncFd<Socket>,
    buffer: Box<[u8]>,
}

/// A change of the host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HostEvent {
    /// An interface.
    Link {
        /// Its number.
        index: u32,
        /// Whether it is up and has a carrier.
        running: bool,
        /// Whether its neighbours need to learn its addresses again, as after a bond's fail-over.
        announce: bool,
    },
    /// Settings of an interface: `forwarding`, `rp_filter`, `proxy_neigh` and the like.
    Settings,
    /// A nexthop object. The routes that use it lead elsewhere; with `nexthop_compat_mode` off the
    /// kernel sends no event for them.
    Nexthop,
    /// Another change, or messages were lost.
    Other,
}

impl HostEvents {
    /// Subscribes. Needs a tokio runtime with IO.
    ///
    /// # Errors
    ///
    /// The netlink socket cannot be opened.
    pub fn open() -> io::Result<Self> {
        Self::of(&GROUPS)
    }

    /// Subscribes to changes of interfaces and addresses alone. Needs a tokio runtime with IO.
    ///
    /// # Errors
    ///
    /// The netlink socket cannot be opened.
    pub fn of_addresses() -> io::Result<Self> {
        Self::of(&ADDRESS_GROUPS)
    }

    fn of(groups: &[u32]) -> io::Result<Self> {
        let route = Protocol::from(libc::NETLINK_ROUTE);
        let socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(route))?;
        socket.bind(&address(groups)?)?;
        socket.set_nonblocking(true)?;
        // SAFETY: a `Socket` owns its descriptor, gives the same one each time, and `AsyncFd` owns
        // the `Socket`.
        let socket = unsafe { AsyncFd::register(socket) }.map_err(io::Error::from)?;
        Ok(Self { socket, buffer: vec![0; BUFFER].into() })
    }

    /// Waits for a datagram and returns the events in it.
    ///
    /// # Errors
    ///
    /// The socket failed.
    pub async fn next(&mut self) -> io::Result<Vec<HostEvent>> {
        loop {
            let mut ready = self.socket.readable().await?;
            let read = ready.try_io(|socket| socket.get_ref().read(&mut self.buffer));
            return match read {
                Err(_not_ready) => continue,
                Ok(Ok(length)) => Ok(events(self.buffer.get(..length).unwrap_or_default())),
                Ok(Err(error)) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    Ok(vec![HostEvent::Other])
                }
                Ok(Err(error)) => Err(error),
            };
        }
    }
}

/// The events in a datagram of netlink messages.
fn events(mut datagram: &[u8]) -> Vec<HostEvent> {
    let mut events = Vec::new();
    while let Some(length) = word(datagram, 0).and_then(|length| usize::try_from(length).ok()) {
        let Some(message) = datagram.get(..length).filter(|message| message.len() >= HEADER) else {
            break;
        };
        events.push(event(message));
        // NLMSG_ALIGN
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    events
}

fn event(message: &[u8]) -> HostEvent {
    match half(message, 4) {
        Some(RTM_NEWNETCONF | RTM_DELNETCONF) => HostEvent::Settings,
        Some(RTM_NEWNEXTHOP | RTM_DELNEXTHOP) => HostEvent::Nexthop,
        Some(kind @ (RTM_NEWLINK | RTM_DELLINK)) => {
            let body = message.get(HEADER..).unwrap_or_default();
            let (Some(index), Some(flags)) = (word(body, 4), word(body, 8)) else {
                return HostEvent::Other;
            };
            let up = IFF_UP | IFF_LOWER_UP;
            HostEvent::Link {
                index,
                running: kind == RTM_NEWLINK && flags & up == up,
                announce: asks_to_be_announced(body.get(LINK..).unwrap_or_default()),
            }
        }
        _ => HostEvent::Other,
    }
}

fn asks_to_be_announced(mut attributes: &[u8]) -> bool {
    while let (Some(length), Some(kind)) = (half(attributes, 0), half(attributes, 2)) {
        let length = usize::from(length);
        if length < 4 {
            return false;
        }
        if kind == IFLA_EVENT {
            let reason = word(attributes, 4);
            return matches!(reason, Some(EVENT_BONDING_FAILOVER | EVENT_NOTIFY_PEERS));
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|half| u16::from_ne_bytes(*half))
}

fn address(groups: &[u32]) -> io::Result<SockAddr> {
    let family = libc::sa_family_t::try_from(libc::AF_NETLINK).map_err(io::Error::other)?;
    let size = size_of::<libc::sockaddr_nl>().try_into().map_err(io::Error::other)?;
    let groups = groups.iter().fold(0, |mask, group| mask | 1_u32 << (group - 1));
    // SAFETY: `try_init` gives zeroed storage of `sockaddr_storage`'s size and alignment, which
    // every `sockaddr_nl` fits in, and all of whose bit patterns are valid; the length set is that
    // of `sockaddr_nl`.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let nl = storage.cast::<libc::sockaddr_nl>();
            (*nl).nl_family = family;
            (*nl).nl_groups = groups;
            *length = size;
            Ok(())
        })?
    };
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + body.len()).expect("short");
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.resize(HEADER, 0);
        message.extend(body);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    fn link(flags: u32, attributes: &[u8]) -> Vec<u8> {
        let mut body = vec![0; 4];
        body.extend(7_u32.to_ne_bytes());
        body.extend(flags.to_ne_bytes());
        body.resize(LINK, 0);
        body.extend(attributes);
        message(RTM_NEWLINK, &body)
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).expect("short");
        let mut attribute = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        attribute.extend(value);
        attribute.resize(attribute.len().next_multiple_of(4), 0);
        attribute
    }

    #[test]
    fn messages_become_events() {
        let up = IFF_UP | IFF_LOWER_UP;
        let name = attribute(3, b"eth0\0");
        let fails_over = [name.clone(), attribute(IFLA_EVENT, &3_u32.to_ne_bytes())].concat();
        let change = |running, announce| HostEvent::Link { index: 7, running, announce };
        let table = [
            (link(up, &name), change(true, false)),
            (link(IFF_UP, &name), change(false, false)),
            (link(up, &fails_over), change(true, true)),
            (link(up, &attribute(IFLA_EVENT, &2_u32.to_ne_bytes())), change(true, false)),
            (message(RTM_NEWNETCONF, &[2, 0, 0, 0]), HostEvent::Settings),
            (message(RTM_NEWNEXTHOP, &[2, 0, 0, 0]), HostEvent::Nexthop),
            (message(RTM_DELNEXTHOP, &[2, 0, 0, 0]), HostEvent::Nexthop),
            (message(24, &[0; 12]), HostEvent::Other),
        ];
        for (datagram, event) in &table {
            assert_eq!(events(datagram), [*event]);
        }
        let (all, expected): (Vec<_>, Vec<_>) = table.into_iter().unzip();
        assert_eq!(events(&all.concat()), expected, "several in one datagram");
    }

    #[test]
    fn a_truncated_or_malformed_message_ends_the_reading() {
        let whole = link(IFF_UP, &attribute(IFLA_EVENT, &4_u32.to_ne_bytes()));
        for length in 0..whole.len() {
            assert!(events(whole.get(..length).expect("shorter")).is_empty(), "{length} bytes");
        }
        assert!(events(&[0; 64]).is_empty(), "a length of zero");
        assert!(!asks_to_be_announced(&[0; 64]), "a length of zero");
    }
}
