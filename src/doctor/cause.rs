//! The causes that `doctor` knows, in the order in which a packet meets them.

/// A cause. Findings of the same severity are listed in this order: the first obstacle of a packet
/// should be removed first, since it may be the reason for the others.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Cause {
    /// The configuration cannot be read, or has faults.
    Configuration,
    /// The host cannot serve a virtual IP.
    VirtualIp,
    /// Another host answers for a virtual IP.
    Conflict,
    /// An uplink is missing, down or unfit.
    Uplink,
    /// No TUN device can be made.
    Tun,
    /// No daemon answers on the control socket. The causes before this one keep it from starting.
    DaemonMissing,
    /// An operator has taken real servers out of service.
    Outage,
    /// This director does not announce a virtual IP.
    Withdrawn,
    /// Clients may reach a real server without the director.
    Announcing,
    /// A firewall drops neighbour discovery.
    Neighbours,
    /// Packets for a virtual IP do not reach the TUN.
    Capture,
    /// A reverse path filter drops packets.
    RpFilter,
    /// The table of connection tracking is full.
    CtFull,
    /// A firewall translates the addresses of packets.
    Nat,
    /// A firewall drops packets.
    Firewall,
    /// A firewall drops packets that connection tracking marks as invalid.
    CtInvalid,
    /// Carried packets pass no firewall.
    FastPath,
    /// Another program has ports of packets in GUE.
    GuePorts,
    /// Another part of the host is not as planned.
    Host,
    /// The tunnels' source address is not the expected one.
    Source,
    /// There is no usable route to a real server.
    RealServerRoute,
    /// The next host on the way to a real server does not answer.
    NextHop,
    /// No program at the real server receives tunnelled packets.
    RealServerDaemon,
    /// The real server admits none of the packets that it gets.
    Gate,
    /// The real server answers no packet that comes through the tunnel.
    Tunnel,
    /// The real server's program is of another release.
    Version,
    /// The real server does not have the virtual IP.
    VipMissing,
    /// The tunnel does not carry full-size packets.
    Mtu,
    /// The real server advertises an MSS that does not fit the tunnel.
    Mss,
    /// No program listens on a virtual IP's port at the real server.
    Listener,
    /// A UDP program is bound to no address, and may answer from the wrong one.
    UdpWildcard,
    /// A connection through the tunnel is not answered.
    ReplyPath,
    /// A configured health check fails.
    Check,
    /// The clocks of both ends differ.
    Clock,
}

impl Cause {
    /// All, in order.
    pub const ALL: [Self; 34] = [
        Self::Configuration,
        Self::VirtualIp,
        Self::Conflict,
        Self::Uplink,
        Self::Tun,
        Self::DaemonMissing,
        Self::Outage,
        Self::Withdrawn,
        Self::Announcing,
        Self::Neighbours,
        Self::Capture,
        Self::RpFilter,
        Self::CtFull,
        Self::Nat,
        Self::Firewall,
        Self::CtInvalid,
        Self::FastPath,
        Self::GuePorts,
        Self::Host,
        Self::Source,
        Self::RealServerRoute,
        Self::NextHop,
        Self::RealServerDaemon,
        Self::Gate,
        Self::Tunnel,
        Self::Version,
        Self::VipMissing,
        Self::Mtu,
        Self::Mss,
        Self::Listener,
        Self::UdpWildcard,
        Self::ReplyPath,
        Self::Check,
        Self::Clock,
    ];

    /// The name in the report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DaemonMissing => "daemon_missing",
            Self::Configuration => "configuration",
            Self::VirtualIp => "vip",
            Self::Conflict => "conflict",
            Self::Uplink => "uplink",
            Self::Tun => "tun",
            Self::Outage => "outage",
            Self::Withdrawn => "withdrawn",
            Self::Announcing => "announcing",
            Self::Neighbours => "neighbours",
            Self::Capture => "capture",
            Self::RpFilter => "rp_filter",
            Self::CtFull => "ct_full",
            Self::Nat => "nat",
            Self::Firewall => "firewall",
            Self::CtInvalid => "ct_invalid",
            Self::FastPath => "fast_path",
            Self::GuePorts => "gue_ports",
            Self::Host => "host",
            Self::Source => "source",
            Self::RealServerRoute => "real_server_route",
            Self::NextHop => "next_hop",
            Self::RealServerDaemon => "real_server_daemon",
            Self::Gate => "gate",
            Self::Tunnel => "tunnel",
            Self::Version => "version",
            Self::VipMissing => "vip_missing",
            Self::Mtu => "mtu",
            Self::Mss => "mss",
            Self::Listener => "listener",
            Self::UdpWildcard => "udp_wildcard",
            Self::ReplyPath => "reply_path",
            Self::Check => "check",
            Self::Clock => "clock",
        }
    }
}
