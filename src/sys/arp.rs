//! ARP over an `AF_PACKET` socket: probes (RFC 5227 2.1.1), requests (RFC 826), answers, and
//! announcements (RFC 5227 2.3).

use std::io;
use std::net::Ipv4Addr;

use socket2::SockFilter;

use super::frames::{BROADCAST, FrameSocket, HEADER};

/// Bytes of an Ethernet header and an ARP packet for IPv4.
const FRAME: usize = HEADER + 28;
const ETHERTYPE_ARP: u16 = 0x0806;

/// A socket on one Ethernet interface.
#[derive(Debug)]
pub struct Arp {
    frames: FrameSocket,
    mac: [u8; 6],
}

impl Arp {
    /// Opens a socket on the interface with that index and hardware address. Needs a tokio runtime
    /// with IO and `CAP_NET_RAW`.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn open(link: u32, mac: [u8; 6]) -> io::Result<Self> {
        Ok(Self { frames: FrameSocket::open(link, ETHERTYPE_ARP, &[])?, mac })
    }

    /// As [`Self::open`], but receives only packets whose sender address is one of these or zero,
    /// so that the broadcasts of a large network do not wake the daemon.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn open_for(link: u32, mac: [u8; 6], addresses: &[Ipv4Addr]) -> io::Result<Self> {
        Ok(Self { frames: FrameSocket::open(link, ETHERTYPE_ARP, &filter(addresses))?, mac })
    }

    /// Asks which host has the address, without claiming it: the sender's address is zero.
    ///
    /// # Errors
    ///
    /// The kernel's, `ENETDOWN` if the interface is down.
    pub fn probe(&self, wanted: Ipv4Addr) -> io::Result<()> {
        self.send(Ipv4Addr::UNSPECIFIED, wanted)
    }

    /// Asks which host has the address, from one of this host's own addresses, as any host does
    /// before it sends a packet there. Linux answers a probe only for its own addresses, but
    /// answers this request also for those that it is a proxy for.
    ///
    /// # Errors
    ///
    /// As [`Self::probe`].
    pub fn ask(&self, own: Ipv4Addr, wanted: Ipv4Addr) -> io::Result<()> {
        self.send(own, wanted)
    }

    /// Announces to all hosts that this one has the address: sender and target are the same.
    ///
    /// # Errors
    ///
    /// As [`Self::probe`].
    pub fn announce(&self, owned: Ipv4Addr) -> io::Result<()> {
        self.send(owned, owned)
    }

    /// Waits for another host's ARP packet.
    ///
    /// # Errors
    ///
    /// The kernel's, `ENETDOWN` if the interface goes down.
    pub async fn receive(&self) -> io::Result<ArpMessage> {
        let mut buffer = [0; 128];
        loop {
            let heard = parse(self.frames.receive(&mut buffer).await?);
            if let Some(heard) = heard.filter(|heard| heard.mac != self.mac) {
                return Ok(heard);
            }
        }
    }

    fn send(&self, sender: Ipv4Addr, target: Ipv4Addr) -> io::Result<()> {
        self.frames.send(&request(self.mac, sender, target))
    }
}

/// Another host's ARP packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ArpMessage {
    /// The hardware address of the sender.
    pub mac: [u8; 6],
    /// The sender's address; unspecified: it has none yet and is probing.
    pub sender: Ipv4Addr,
    /// The address that it asks for or answers.
    pub target: Ipv4Addr,
}

impl ArpMessage {
    /// Whether it shows that another host has the address or is about to use it (RFC 5227 2.1.1).
    #[must_use]
    pub fn conflicts(&self, address: Ipv4Addr) -> bool {
        self.sender == address || (self.sender.is_unspecified() && self.target == address)
    }
}

/// The most addresses of a filter: the kernel accepts 4,096 instructions.
const FILTERED: usize = 2000;

/// Passes ARP packets whose sender is one of the addresses or zero; all, if there are too many.
fn filter(addresses: &[Ipv4Addr]) -> Vec<SockFilter> {
    // The codes of `<linux/bpf_common.h>`: load a word from there, jump if equal, return.
    const LOAD: u16 = 0x20;
    const EQUAL: u16 = 0x15;
    const GIVE: u16 = 0x06;
    // The Ethernet header, ARP's fixed eight bytes and the sender's hardware address.
    const SENDER: u32 = 14 + 8 + 6;
    if addresses.len() > FILTERED {
        return Vec::new();
    }
    let wanted = addresses.iter().copied().chain([Ipv4Addr::UNSPECIFIED]);
    let pass = |address: Ipv4Addr| {
        [SockFilter::new(EQUAL, 0, 1, address.to_bits()), SockFilter::new(GIVE, 0, 0, u32::MAX)]
    };
    let mut program = vec![SockFilter::new(LOAD, 0, 0, SENDER)];
    program.extend(wanted.flat_map(pass));
    program.push(SockFilter::new(GIVE, 0, 0, 0));
    program
}

/// An Ethernet frame, broadcast, with an ARP request (RFC 826).
fn request(mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> [u8; FRAME] {
    let parts: [&[u8]; 8] = [
        &BROADCAST,
        &mac,
        &ETHERTYPE_ARP.to_be_bytes(),
        // Ethernet, IPv4, their address lengths, request.
        &[0, 1, 0x08, 0x00, 6, 4, 0, 1],
        &mac,
        &sender.octets(),
        // The target's hardware address, unknown.
        &[0; 6],
        &target.octets(),
    ];
    let mut frame = [0; FRAME];
    for (byte, part) in frame.iter_mut().zip(parts.concat()) {
        *byte = part;
    }
    frame
}

fn parse(frame: &[u8]) -> Option<ArpMessage> {
    let arp = frame.get(HEADER..FRAME)?;
    let (kind, body) = arp.split_first_chunk::<6>()?;
    if kind != &[0, 1, 0x08, 0x00, 6, 4] {
        return None;
    }
    // A request and an answer both contain the sender's addresses.
    let (_, body) = body.split_first_chunk::<2>()?;
    let (mac, body) = body.split_first_chunk::<6>()?;
    let (sender, body) = body.split_first_chunk::<4>()?;
    let (_, body) = body.split_first_chunk::<6>()?;
    let target = body.first_chunk::<4>()?;
    Some(ArpMessage { mac: *mac, sender: Ipv4Addr::from(*sender), target: Ipv4Addr::from(*target) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

    #[test]
    fn a_probe_has_no_sender_address() {
        let frame = request(MAC, Ipv4Addr::UNSPECIFIED, VIP);
        let heard = parse(&frame).expect("an ARP packet");
        assert_eq!(heard, ArpMessage { mac: MAC, sender: Ipv4Addr::UNSPECIFIED, target: VIP });
        assert!(heard.conflicts(VIP), "another host probes for it");
        assert!(!heard.conflicts(Ipv4Addr::new(192, 0, 2, 11)));
    }

    #[test]
    fn an_announcement_conflicts_and_a_question_does_not() {
        let announced = parse(&request(MAC, VIP, VIP)).expect("an ARP packet");
        assert!(announced.conflicts(VIP));
        let client = Ipv4Addr::new(192, 0, 2, 99);
        let asked = parse(&request(MAC, client, VIP)).expect("an ARP packet");
        assert!(!asked.conflicts(VIP));
    }

    #[test]
    fn the_filter_fits_the_kernel_at_its_bound() {
        let many = |count: u32| (1..=count).map(Ipv4Addr::from_bits).collect::<Vec<_>>();
        let bound = u32::try_from(FILTERED).expect("small");
        assert_eq!(filter(&many(1)).len(), 6);
        assert!((4000..=4096).contains(&filter(&many(bound)).len()));
        assert!(filter(&many(bound + 1)).is_empty(), "one past it receives all");
    }

    #[test]
    fn short_or_foreign_frames_are_ignored() {
        let frame = request(MAC, VIP, VIP);
        for length in 0..FRAME {
            assert_eq!(parse(frame.get(..length).expect("shorter")), None, "{length} bytes");
        }
        let mut token_ring = frame;
        token_ring[15] = 6;
        assert_eq!(parse(&token_ring), None);
    }
}
