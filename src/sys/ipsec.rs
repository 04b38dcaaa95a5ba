//! The kernel's IPsec policies (`ip xfrm policy`).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::netlink_dump::{HEADER, REQUEST_DUMP, dump, number};

/// `NETLINK_XFRM` of linux/netlink.h.
const NETLINK_XFRM: isize = 6;
/// `XFRM_MSG_NEWPOLICY` and `XFRM_MSG_GETPOLICY` of linux/xfrm.h.
const NEW_POLICY: u16 = 0x13;
const GET_POLICY: u16 = 0x15;
/// `xfrm_userpolicy_id`.
const REQUEST: usize = 64;
/// `xfrm_userpolicy_info`, before the attributes.
const POLICY: usize = 168;
/// `XFRMA_TMPL`.
const TEMPLATES: u16 = 5;
/// `XFRMA_MARK`.
const MARK: u16 = 21;
/// `XFRM_POLICY_BLOCK`.
const BLOCK: u8 = 1;

/// A policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PolicyMessage {
    /// The source's network.
    pub source: (IpAddr, u8),
    /// The destination's network.
    pub destination: (IpAddr, u8),
    /// The protocol; 0: any.
    pub protocol: u8,
    /// Whether it selects by ports, interface or mark too.
    pub partial: bool,
    /// 0: in, 1: out, 2: forwarded; others are a socket's own.
    pub direction: u8,
    /// Policies with a smaller number come first.
    pub priority: u32,
    /// Whether it discards what it matches.
    pub blocks: bool,
    /// Whether it requires encryption or authentication.
    pub transforms: bool,
}

/// Calls `each` with every policy of this network namespace, in the kernel's order. Blocks
/// meanwhile.
///
/// # Errors
/// The kernel has no IPsec (`EPROTONOSUPPORT`), or refuses.
pub fn policies(mut each: impl FnMut(PolicyMessage)) -> io::Result<()> {
    let mut request = [0; HEADER + REQUEST];
    let len = u32::try_from(request.len()).unwrap_or_default();
    request[..4].copy_from_slice(&len.to_ne_bytes());
    request[4..6].copy_from_slice(&GET_POLICY.to_ne_bytes());
    request[6..8].copy_from_slice(&REQUEST_DUMP.to_ne_bytes());
    dump(NETLINK_XFRM, NEW_POLICY, &request, &mut |message| {
        policy(message).into_iter().for_each(&mut each);
    })
}

/// An `xfrm_userpolicy_info`: a selector of 56 bytes, lifetimes, priority, index, direction and
/// action; then attributes.
fn policy(message: &[u8]) -> Option<PolicyMessage> {
    let fixed: &[u8; POLICY] = message.get(..POLICY)?.try_into().ok()?;
    let family = libc::c_int::from(u16::from_ne_bytes([fixed[40], fixed[41]]));
    let address = |at: usize| -> Option<IpAddr> {
        let bytes: [u8; 16] = fixed.get(at..at + 16)?.try_into().ok()?;
        match family {
            libc::AF_INET => {
                let [a, b, c, d, ..] = bytes;
                Some(Ipv4Addr::new(a, b, c, d).into())
            }
            libc::AF_INET6 => Some(Ipv6Addr::from(bytes).into()),
            _ => None,
        }
    };
    let port_masks = [fixed[34], fixed[35], fixed[38], fixed[39]];
    let interface = number(fixed, 48)?;
    let mut marked = false;
    let mut transforms = false;
    let mut rest = message.get(POLICY..).unwrap_or_default();
    while let [a, b, c, d, ..] = *rest {
        let len = usize::from(u16::from_ne_bytes([a, b]));
        transforms |= u16::from_ne_bytes([c, d]) == TEMPLATES;
        marked |= u16::from_ne_bytes([c, d]) == MARK;
        rest = rest.get(len.max(4).next_multiple_of(4)..).unwrap_or_default();
    }
    Some(PolicyMessage {
        destination: (address(0)?, fixed[42]),
        source: (address(16)?, fixed[43]),
        protocol: fixed[44],
        partial: interface != 0 || marked || port_masks != [0; 4],
        priority: number(fixed, 152)?,
        direction: fixed[160],
        blocks: fixed[161] == BLOCK,
        transforms,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_and_a_truncated_one_is_none() {
        let mut message = [0_u8; POLICY + 8];
        message[..4].copy_from_slice(&[192, 0, 2, 10]);
        message[40..42].copy_from_slice(&2_u16.to_ne_bytes());
        (message[42], message[160], message[161]) = (32, 2, 1);
        message[152..156].copy_from_slice(&7_u32.to_ne_bytes());
        message[POLICY..POLICY + 4].copy_from_slice(&[8, 0, 5, 0]);
        let expected = PolicyMessage {
            source: ("0.0.0.0".parse().unwrap(), 0),
            destination: ("192.0.2.10".parse().unwrap(), 32),
            protocol: 0,
            partial: false,
            direction: 2,
            priority: 7,
            blocks: true,
            transforms: cfg!(target_endian = "little"),
        };
        assert_eq!(policy(&message), Some(expected));
        message[35] = 0xff;
        assert!(policy(&message).unwrap().partial);
        for len in 0..POLICY {
            assert_eq!(policy(&message[..len]), None);
        }
    }
}
