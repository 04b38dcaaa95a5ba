//! The inquiry of `vstun doctor` to a real server's daemon, and the answer: packets in the tunnel
//! with a protocol number reserved for experiments (RFC 3692, RFC 4727).
//!
//! Only a director may send one: the gate checks the outer source first. The answer goes back
//! through a tunnel, only to that source, and is never longer than the inquiry. So forged inquiries
//! cannot amplify traffic to a director. Inquiries of an unknown version are not answered.
//!
//! ```text
//! question  "vsDQ" version 1  kind 1  count 2  nonce 8  count × (protocol 1, first 2, last 2)  0…
//! answer    "vsDQ" version 1  kind 1  count 2  nonce 8  time 8  state 2  mss 2
//!           count × kinds 1   length 1, program   length 2, text   length 1, TUN
//! ```

use std::net::IpAddr;

use etherparse::{IpNumber, Ipv4Header, Ipv6Header};

use crate::wire::encap::{self, Encap, MAX_OUTER_LEN, Outer, Shim};
use crate::wire::inquiry::{MAGIC, PROTOCOL, is_inquiry};

/// The version of the messages.
pub const VERSION: u8 = 1;

/// The longest inquiry in bytes.
pub const MAX_LEN: usize = 65_000;

/// The shortest inquiry in bytes: an answer without a text fits.
pub const MIN_LEN: usize = 512;

/// The most ports of one inquiry.
pub const MAX_PORTS: usize = 64;

const QUESTION: u8 = 1;
const ANSWER: u8 = 2;
const HEADER: usize = 16;
const PORT: usize = 5;
/// Time, state and MSS.
const FIXED: usize = 12;
const MAX_PROGRAM: usize = 32;
/// Bytes of the longest name of an interface (`IFNAMSIZ` less the final zero).
const MAX_INTERFACE: usize = 15;
/// The TTL of the inner and outer headers.
const TTL: u8 = 64;

/// Ports of a transport.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ports {
    /// The transport's protocol number.
    pub protocol: u8,
    /// The lowest port.
    pub first: u16,
    /// The highest port.
    pub last: u16,
}

/// An inquiry about the virtual IP to which it is sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Question {
    /// Chosen by the director; repeated in the answer.
    pub nonce: u64,
    /// Which ports may have listeners.
    pub ports: Vec<Ports>,
    /// Its length in bytes: the most that the answer may have.
    pub len: usize,
}

/// Union and test of a set of bits.
macro_rules! bit_set {
    ($name:ident) => {
        impl $name {
            /// Both together.
            #[must_use]
            pub fn and(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// Whether it has a bit of the other.
            #[must_use]
            pub fn has(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }
        }
    };
}

/// The kinds of sockets that listen on ports, as bits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ListenerKinds(u8);
bit_set!(ListenerKinds);

impl ListenerKinds {
    /// A socket bound to the virtual IP.
    pub const VIP: Self = Self(1);
    /// A socket bound to every address.
    pub const WILDCARD: Self = Self(2);
    /// A socket bound to another address.
    pub const ELSEWHERE: Self = Self(4);
    /// A socket bound to every address that receives IPv6 only, for an IPv4 virtual IP.
    pub const V6_ONLY: Self = Self(8);
    /// A socket that would receive them, but only from another interface than the TUN.
    pub const DEVICE: Self = Self(16);
    /// No socket that would receive them has room in its queue for another connection.
    pub const FULL: Self = Self(32);
}

/// The state of a real server, as bits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct EndState(u16);
bit_set!(EndState);

impl EndState {
    /// The virtual IP is in its configuration.
    pub const CONFIGURED: Self = Self(1);
    /// It is an address of its TUN.
    pub const PRESENT: Self = Self(2);
    /// It is an address of another interface too.
    pub const ELSEWHERE: Self = Self(4);
    /// Its kernel answers ARP for it on another interface.
    pub const ANSWERS_ARP: Self = Self(8);
    /// Its reverse path filter drops packets from the TUN.
    pub const STRICT: Self = Self(16);
    /// The routes with the smaller MSS are missing.
    pub const NO_MSS: Self = Self(32);
    /// Its daemon reports faults of its host.
    pub const FAULTS: Self = Self(64);
    /// Replies from the virtual IP have no route to hosts outside of its own networks.
    pub const NO_REPLY_ROUTE: Self = Self(128);
}

/// An answer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct InquiryAnswer {
    /// The inquiry's nonce.
    pub nonce: u64,
    /// Milliseconds since 1970 by its clock.
    pub time: u64,
    /// Its state.
    pub state: EndState,
    /// The MSS that it advertises for the virtual IP's family.
    pub mss: u16,
    /// The listening sockets, for each of the inquiry's ports.
    pub listening: Vec<ListenerKinds>,
    /// The program's version.
    pub program: String,
    /// The problems of its host, as many as there was room for.
    pub text: String,
    /// The name of its TUN; empty from a program that does not say it.
    pub tun: String,
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InquiryError {
    /// Not an inquiry.
    #[error("not an inquiry")]
    Foreign,
    /// Of another version.
    #[error("an inquiry of version {0}, this program knows {VERSION}")]
    Version(u8),
    /// Shorter than its header says, or than allowed.
    #[error("a malformed inquiry")]
    Malformed,
}

/// The count, the nonce and the rest of a message of this kind.
fn header(payload: &[u8], kind: u8) -> Result<(usize, u64, &[u8]), InquiryError> {
    let Some((header, rest)) = payload.split_first_chunk::<HEADER>() else {
        return Err(if is_inquiry(payload) {
            InquiryError::Malformed
        } else {
            InquiryError::Foreign
        });
    };
    if header[..4] != MAGIC {
        return Err(InquiryError::Foreign);
    }
    match header[4] {
        VERSION if header[5] == kind => {}
        VERSION => return Err(InquiryError::Malformed),
        other => return Err(InquiryError::Version(other)),
    }
    let count = usize::from(u16::from_be_bytes([header[6], header[7]]));
    let [.., a, b, c, d, e, f, g, h] = *header;
    if count > MAX_PORTS {
        return Err(InquiryError::Malformed);
    }
    Ok((count, u64::from_be_bytes([a, b, c, d, e, f, g, h]), rest))
}

fn begin(kind: u8, count: usize, nonce: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MIN_LEN);
    bytes.extend(MAGIC);
    bytes.extend([VERSION, kind]);
    bytes.extend(u16::try_from(count).unwrap_or_default().to_be_bytes());
    bytes.extend(nonce.to_be_bytes());
    bytes
}

impl Question {
    /// Reads an inquiry.
    ///
    /// # Errors
    /// See [`InquiryError`].
    pub fn parse(payload: &[u8]) -> Result<Self, InquiryError> {
        let (count, nonce, rest) = header(payload, QUESTION)?;
        if payload.len() < MIN_LEN || payload.len() > MAX_LEN {
            return Err(InquiryError::Malformed);
        }
        let ports = rest.chunks_exact(PORT).take(count).map(|port| Ports {
            protocol: port[0],
            first: u16::from_be_bytes([port[1], port[2]]),
            last: u16::from_be_bytes([port[3], port[4]]),
        });
        let ports: Vec<Ports> = ports.collect();
        if ports.len() < count {
            return Err(InquiryError::Malformed);
        }
        Ok(Self { nonce, ports, len: payload.len() })
    }

    /// Its bytes; ports past [`MAX_PORTS`] are left out, and its length is within the bounds.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let ports = &self.ports[..self.ports.len().min(MAX_PORTS)];
        let mut bytes = begin(QUESTION, ports.len(), self.nonce);
        for Ports { protocol, first, last } in ports {
            bytes.push(*protocol);
            bytes.extend(first.to_be_bytes());
            bytes.extend(last.to_be_bytes());
        }
        bytes.resize(self.len.clamp(MIN_LEN, MAX_LEN), 0);
        bytes
    }
}

impl InquiryAnswer {
    /// Reads an answer.
    ///
    /// # Errors
    /// See [`InquiryError`].
    pub fn parse(payload: &[u8]) -> Result<Self, InquiryError> {
        let (count, nonce, rest) = header(payload, ANSWER)?;
        let mut answer = Self { nonce, ..Self::default() };
        answer.fill(count, rest).ok_or(InquiryError::Malformed)?;
        Ok(answer)
    }

    fn fill(&mut self, count: usize, rest: &[u8]) -> Option<()> {
        let (fixed, rest) = rest.split_first_chunk::<FIXED>()?;
        let [a, b, c, d, e, f, g, h, state, states, mss, mss_low] = *fixed;
        self.time = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        self.state = EndState(u16::from_be_bytes([state, states]));
        self.mss = u16::from_be_bytes([mss, mss_low]);
        let (kinds, rest) = rest.split_at_checked(count)?;
        self.listening = kinds.iter().copied().map(ListenerKinds).collect();
        let (len, rest) = rest.split_first()?;
        let (program, rest) = rest.split_at_checked(usize::from(*len))?;
        let (len, rest) = rest.split_first_chunk::<2>()?;
        let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        self.program = clean(program);
        self.text = clean(text);
        let tun = rest.split_first().and_then(|(len, rest)| rest.get(..usize::from(*len)));
        self.tun = interface(tun.unwrap_or_default());
        Some(())
    }

    /// Its bytes, at most `most`, which is at least [`MIN_LEN`]: the text is cut to fit.
    #[must_use]
    pub fn encode(&self, most: usize) -> Vec<u8> {
        let listening = &self.listening[..self.listening.len().min(MAX_PORTS)];
        let mut bytes = begin(ANSWER, listening.len(), self.nonce);
        bytes.extend(self.time.to_be_bytes());
        bytes.extend(self.state.0.to_be_bytes());
        bytes.extend(self.mss.to_be_bytes());
        bytes.extend(listening.iter().map(|kinds| kinds.0));
        let program = cut(&self.program, MAX_PROGRAM);
        bytes.push(u8::try_from(program.len()).unwrap_or_default());
        bytes.extend(program.bytes());
        let tun = cut(&self.tun, MAX_INTERFACE);
        let room = most.saturating_sub(bytes.len() + 2 + 1 + tun.len()).min(usize::from(u16::MAX));
        let text = cut(&self.text, room);
        bytes.extend(u16::try_from(text.len()).unwrap_or_default().to_be_bytes());
        bytes.extend(text.bytes());
        bytes.push(u8::try_from(tun.len()).unwrap_or_default());
        bytes.extend(tun.bytes());
        bytes
    }
}

/// An interface's name from another host, for commands that are printed; empty if it is none.
fn interface(bytes: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
    let valid = bytes.len() <= MAX_INTERFACE && bytes.iter().all(plain);
    if valid { clean(bytes) } else { String::new() }
}

/// The longest beginning of the text of at most `most` bytes.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// Text from another host, without control characters, which a terminal would interpret.
fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|one| if one.is_control() { ' ' } else { one }).collect()
}

/// A tunnel's ends, and the header between the outer and the inner packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InquiryTunnel {
    /// The outer source.
    pub from: IpAddr,
    /// The outer destination.
    pub to: IpAddr,
    /// The shim.
    pub shim: Shim,
}

/// A message as a packet in a tunnel: the tunnel, the inner addresses, and whether routers must not
/// fragment it. `None` if two addresses of a pair are of different families, or it is too long.
#[must_use]
pub fn packet(
    tunnel: InquiryTunnel,
    (from, to): (IpAddr, IpAddr),
    message: &[u8],
    dont_fragment: bool,
) -> Option<Vec<u8>> {
    let mut inner = Vec::with_capacity(MAX_OUTER_LEN + message.len());
    let version = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let len = u16::try_from(message.len()).ok()?;
            let (from, to) = (from.octets(), to.octets());
            let protocol = IpNumber(PROTOCOL);
            inner.extend(Ipv4Header::new(len, TTL, protocol, from, to).ok()?.to_bytes());
            4
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = Ipv6Header {
                payload_length: u16::try_from(message.len()).ok()?,
                next_header: IpNumber(PROTOCOL),
                hop_limit: TTL,
                source: from.octets(),
                destination: to.octets(),
                ..Ipv6Header::default()
            };
            inner.extend(header.to_bytes());
            6
        }
        _ => return None,
    };
    inner.extend(message);
    let outer = Outer {
        source: tunnel.from,
        destination: tunnel.to,
        traffic_class: 0,
        ttl: TTL,
        dont_fragment,
        identification: 0,
        flow_label: 0,
    };
    let mut room = [0; MAX_OUTER_LEN];
    let len = encap::write(tunnel.shim, &outer, version, [&inner, &[]], &mut room)?;
    let mut bytes = room[MAX_OUTER_LEN - len..].to_vec();
    bytes.extend(inner);
    Some(bytes)
}

/// The length of the message in a tunnelled packet of `whole` bytes, outer header included.
#[must_use]
pub fn message_len(whole: usize, encap: Encap, outer: IpAddr, inner: IpAddr) -> usize {
    whole.saturating_sub(encap.outer_len(outer) + Encap::Ipip.outer_len(inner))
}

#[cfg(test)]
#[path = "inquiry/tests.rs"]
mod tests;
