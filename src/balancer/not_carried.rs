//! Why packets at the uplinks are not carried.

use crate::wire::reasons::reasons;

reasons! {
    /// Why a carrier has left a packet to the host's stack, as if it were not there. Each variant
    /// is a counter; their order is the carrier's.
    pub enum NotCarried {
        /// For another host, or with a VLAN tag beside its data.
        Frame = "frame",
        /// Not an IP packet: ARP and the like.
        NotIp = "not_ip",
        /// A fragment.
        Fragment = "fragment",
        /// IP options, or a header that contradicts the packet.
        Header = "header",
        /// Neither TCP nor UDP follows the IP header: ICMP, an extension header.
        Protocol = "protocol",
        /// TCP that opens or ends a connection: SYN, FIN or reset, or without ACK.
        Flags = "flags",
        /// Datagrams in one super-frame: the director sends them one by one.
        SuperFrame = "super_frame",
        /// A TTL or hop limit of 1, which no router may forward.
        Ttl = "ttl",
        /// It belongs to no carried flow: a new flow, or a packet that is not for a virtual IP.
        NoFlow = "no_flow",
        /// It belongs to a flow that was taken back.
        Held = "held",
        /// Larger than the path to the real server takes.
        TooLarge = "too_large",
        /// A TCP segment far from where its client was in the stream.
        Position = "position",
        /// The kernel has no memory for the outer header.
        NoRoom = "no_room",
    }
}
