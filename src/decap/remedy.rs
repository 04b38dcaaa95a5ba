//! What to do about each refusal. `docs/drops.md` has the same texts, which a test compares.

use super::refusal::Refusal;

impl Refusal {
    /// What an operator does about it, in the words of `docs/drops.md`.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NotIp | Self::Truncated => {
                "find the sender: `tcpdump -XXni eth0 'proto 4 or proto 41'`"
            }
            Self::Malformed => "`ethtool -K eth0 gro off` to find out whether it is the NIC",
            Self::SourceRoute | Self::ExtensionHeader | Self::Unsupported | Self::BadSource => {
                "nothing"
            }
            Self::Source => {
                "`tcpdump -ni eth0 'proto 4 or proto 41 or proto 47 or udp port 6080'` shows the \
                 address: put it into `directors`, or set `source` at the director"
            }
            Self::NotVip => "add it to `vips` and reload, or to `--vip` and restart",
            Self::Ecn => "find the router that sets the marks; RFC 6040 requires the drop",
            Self::UdpSuperPacket => {
                "`ethtool -K eth0 rx-udp-gro-forwarding off`; vstun's own director sends UDP so \
                 that it does not merge"
            }
            Self::Inquiry => "install the same release at the director and the real server",
            Self::InquiryLimit => "run `vstun doctor` again",
            Self::TunnelHeader => "take the option off at the sender",
            Self::Padding => "`tcpdump -XXni eth0 'udp port 6080'`",
            Self::RemoteChecksum => {
                "turn it off there: `ip link change DEV type ipip … noencap-remcsum encap-csum` \
                 (`sit` for IPv6 inside); `ipvsadm -e … -i --tun-type gue --tun-port 6080 \
                 --tun-csum`"
            }
        }
    }
}
