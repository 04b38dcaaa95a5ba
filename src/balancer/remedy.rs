//! What to do about each reason for a drop. `docs/drops.md` has the same texts; a test compares
//! them.

use super::verdict::Reason;

impl Reason {
    /// What an operator does about it, in the words of `docs/drops.md`.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NotIp => "report it, with `tcpdump -XXni vstun0`",
            Self::Truncated => {
                "nothing for a few; otherwise `ethtool -K eth0 gro off rx off` to find the culprit"
            }
            Self::Malformed => "nothing for a few; `tcpdump -vvni vstun0` shows the senders",
            Self::BadOffload => {
                "`offload = false` in `[director]`, restart, and report the kernel's version"
            }
            Self::SourceRoute | Self::ExtensionHeader | Self::LinkNoise | Self::Icmp => "nothing",
            Self::Unsupported => "nothing; or another address for such clients",
            Self::Fragment => {
                "nothing; the reason for which the first fragment was dropped says more"
            }
            Self::FragmentDuplicate | Self::IcmpNoFlow => "nothing for a few",
            Self::FragmentOverlap => "nothing; no sender cuts a datagram like that",
            Self::FragmentLimit => {
                "nothing; `vstun stats` shows what is held, and datagrams whose first fragment \
                 comes first do not count among those"
            }
            Self::FragmentExpired => "nothing for a few; smaller datagrams (DNS: EDNS 1232)",
            Self::BadSource => "nothing; a filter upstream saves the work",
            Self::NotVip => "`ip route show dev vstun0`: remove the routes that vstun did not make",
            Self::NoService => "add the `listen`, or nothing",
            Self::NoRealServer => {
                "`vstun list` has the reason on the service's line; `vstun enable` one, or give \
                 one a weight"
            }
            Self::RealServersFull => "higher thresholds, more real servers, or a `fallback_real`",
            Self::NoFallback => {
                "nothing, if that is what `fallback = false` is for; `vstun explain` names the \
                 real servers that are passed over"
            }
            Self::NoConnection => "a longer timeout, or keepalives at the application",
            Self::Protocol => "nothing; or send it elsewhere, to an address that is not a VIP",
            Self::TunnelError => {
                "`vstun stats`, last table; the log names the real server and the cause"
            }
            Self::TunnelErrorUnverified => {
                "nothing for a few; a filter upstream for ICMP to the director's own address"
            }
            Self::PathMtu => {
                "set the MTU on the route, so that clients get the error from the first packet \
                 on: `vstun stats` has the figure"
            }
        }
    }
}
