//! Small datagrams: a paced generator of many flows, and their receiver.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{enlarge_receive_buffer, obey, ready};

/// Receives and discards, both families; the kernel counts (`/proc/net/snmp`).
pub(super) fn sink(port: u16) -> Result<()> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))?;
    enlarge_receive_buffer(&socket)?;
    let mut datagram = [0; 2048];
    ready()?;
    loop {
        socket.recv(&mut datagram)?;
    }
}

/// Handles `send VIP FLOWS RATE TICK_US SECONDS LONGEST`: datagrams of 18 to `LONGEST` bytes to
/// `port`, `RATE` per second over all flows, those due sent together every `TICK_US` microseconds,
/// or fewer if the machine is too slow.
pub(super) fn load(port: u16) -> Result<()> {
    let mut flows = Flows { to: Ipv4Addr::UNSPECIFIED.into(), sockets: Vec::new() };
    obey(|order| match *order {
        ["send", vip, count, rate, tick, seconds, longest] => {
            flows.open(vip.parse()?, port, count.parse()?)?;
            let tick = Duration::from_micros(tick.parse()?);
            let span = Duration::try_from_secs_f64(seconds.parse()?)?;
            flows.send(rate.parse()?, tick, span, longest.parse()?)
        }
        _ => bail!("no such order"),
    })
}

/// A veth delivers checksums that are left to the network card unfinished, and what the kernel
/// carries past the TUN reaches the bare tunnel end so. IPv4 may do without them (RFC 768).
fn without_checksum(socket: &UdpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let len = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or_default();
    let (level, option) = (libc::SOL_SOCKET, libc::SO_NO_CHECK);
    // SAFETY: `on` is an integer of `len` bytes, which the kernel copies.
    let done =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), len) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

struct Flows {
    to: IpAddr,
    sockets: Vec<UdpSocket>,
}

impl Flows {
    /// One connected socket per flow; those of the previous order are reused if they lead to the
    /// same VIP.
    fn open(&mut self, to: IpAddr, port: u16, count: usize) -> Result<()> {
        if self.to == to && self.sockets.len() == count {
            return Ok(());
        }
        self.sockets.clear();
        let any: IpAddr = match to {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        for flow in 0..count {
            let from = FIRST_PORT + u16::try_from(flow).context("too many flows")?;
            let socket = UdpSocket::bind((any, from))?;
            socket.connect((to, port))?;
            if to.is_ipv4() {
                without_checksum(&socket)?;
            }
            self.sockets.push(socket);
        }
        self.to = to;
        Ok(())
    }

    fn send(&self, rate: u32, tick: Duration, span: Duration, longest: usize) -> Result<Value> {
        let payload = [b'.'; LONGEST];
        ensure!((SHORTEST..=LONGEST).contains(&longest), "datagrams of {longest} bytes");
        let per_tick = usize::try_from(u128::from(rate) * tick.as_micros() / 1_000_000)?;
        let ticks = u32::try_from(span.as_micros() / tick.as_micros())?;
        let begin = Instant::now();
        let mut flows = self.sockets.iter().cycle();
        let (mut sent, mut refused, mut number) = (0_u64, 0_u64, 0);
        for n in 0..ticks {
            if begin.elapsed() >= span {
                break;
            }
            thread::sleep((begin + tick * n).saturating_duration_since(Instant::now()));
            for socket in flows.by_ref().take(per_tick) {
                // A step that has no factor in common with the number of sizes.
                number += 37;
                let len = SHORTEST + number % (longest - SHORTEST + 1);
                match socket.send(payload.get(..len).unwrap_or_default()) {
                    Ok(_) => sent += 1,
                    Err(_) => refused += 1,
                }
            }
        }
        Ok(json!({"sent": sent, "refused": refused, "seconds": begin.elapsed().as_secs_f64()}))
    }
}

/// The payload of the smallest Ethernet frame: 18 bytes in an IPv4 packet of 46. For IPv6 the same
/// payload.
const SHORTEST: usize = 18;
const LONGEST: usize = 1_400;
/// The flows' source ports, below Linux's ephemeral range.
const FIRST_PORT: u16 = 20_000;
