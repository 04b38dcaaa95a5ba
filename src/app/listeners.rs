//! What listening sockets receive of the packets to a virtual IP that come out of the TUN.

use std::net::IpAddr;

use crate::doctor::inquiry::ListenerKinds;
use crate::sys::sock_diag::Bound;

/// What a socket is for packets to the virtual IP that come out of the TUN; `None`: nothing.
pub(super) fn kind(bound: &Bound, vip: IpAddr, tun: Option<u32>) -> Option<ListenerKinds> {
    let Bound { address, v6, v6_only, device, .. } = *bound;
    let same = address.is_ipv4() == vip.is_ipv4();
    let kind = if address == vip {
        ListenerKinds::VIP
    } else if address.is_unspecified() && same {
        ListenerKinds::WILDCARD
    } else if v6 {
        if v6_only { ListenerKinds::V6_ONLY } else { ListenerKinds::WILDCARD }
    } else if !same {
        return None;
    } else {
        ListenerKinds::ELSEWHERE
    };
    let receives = kind == ListenerKinds::VIP || kind == ListenerKinds::WILDCARD;
    let apart = device.is_some_and(|device| Some(device) != tun);
    Some(if receives && apart { ListenerKinds::DEVICE } else { kind })
}

/// All the sockets of a port.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ListenerSum {
    kinds: ListenerKinds,
    full: bool,
    has_room: bool,
}

impl ListenerSum {
    /// Adds a socket; `full`: its queue has no room for another connection.
    pub(super) fn add(&mut self, kind: ListenerKinds, full: bool) {
        self.kinds = self.kinds.and(kind);
        let receives = kind == ListenerKinds::VIP || kind == ListenerKinds::WILDCARD;
        self.full |= receives && full;
        self.has_room |= receives && !full;
    }

    /// The kinds of all, and whether all that receive packets are full.
    pub(super) fn kinds(self) -> ListenerKinds {
        let full = self.full && !self.has_room;
        if full { self.kinds.and(ListenerKinds::FULL) } else { self.kinds }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_receives_what_its_address_family_and_device_let_it() {
        let bound = |address: &str, v6_only, device| {
            let address: IpAddr = address.parse().unwrap();
            let v6 = address.is_ipv6() && address.is_unspecified();
            Bound { udp: false, address, port: 80, v6, v6_only: v6 && v6_only, device, full: false }
        };
        for (address, v6_only, device, at_v4, at_v6) in [
            ("0.0.0.0", false, None, Some(ListenerKinds::WILDCARD), None),
            ("::", false, None, Some(ListenerKinds::WILDCARD), Some(ListenerKinds::WILDCARD)),
            ("::", true, None, Some(ListenerKinds::V6_ONLY), Some(ListenerKinds::WILDCARD)),
            ("192.0.2.10", false, None, Some(ListenerKinds::VIP), None),
            ("192.0.2.10", false, Some(9), Some(ListenerKinds::VIP), None),
            ("0.0.0.0", false, Some(2), Some(ListenerKinds::DEVICE), None),
            ("::", true, Some(2), Some(ListenerKinds::V6_ONLY), Some(ListenerKinds::DEVICE)),
            ("10.0.0.11", false, None, Some(ListenerKinds::ELSEWHERE), None),
            ("2001:db8:b::10", false, None, None, Some(ListenerKinds::VIP)),
            ("127.0.0.1", false, None, Some(ListenerKinds::ELSEWHERE), None),
            ("::1", false, None, None, Some(ListenerKinds::ELSEWHERE)),
        ] {
            let bound = bound(address, v6_only, device);
            let kinds = ["192.0.2.10", "2001:db8:b::10"]
                .map(|vip| kind(&bound, vip.parse().unwrap(), Some(9)));
            assert_eq!(kinds, [at_v4, at_v6], "{address} {v6_only} {device:?}");
        }
    }

    /// Of several sockets of one port (`SO_REUSEPORT`) one with room serves clients.
    #[test]
    fn a_port_is_full_if_no_socket_has_room() {
        use ListenerKinds as Kinds;
        for (sockets, full) in [
            (&[(Kinds::WILDCARD, true)][..], true),
            (&[(Kinds::VIP, true), (Kinds::VIP, true)], true),
            (&[(Kinds::VIP, true), (Kinds::VIP, false)], false),
            (&[(Kinds::VIP, true), (Kinds::ELSEWHERE, false)], true),
            (&[(Kinds::ELSEWHERE, true)], false),
            (&[], false),
        ] {
            let mut sum = ListenerSum::default();
            sockets.iter().for_each(|&(kind, full)| sum.add(kind, full));
            assert_eq!(sum.kinds().has(Kinds::FULL), full, "{sockets:?}");
        }
    }
}
