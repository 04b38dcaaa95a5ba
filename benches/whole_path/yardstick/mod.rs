//! The yardsticks: minimal programs, and the load generators beside them.
//!
//! They are in the bench's own binary (`whole_path yardstick NAME …`), so that one `cargo bench`
//! builds everything. A generator reads one order per line from its standard input and answers each
//! with one line of JSON; it stays alive between orders, so that no measured window contains a
//! program's start.

// Two options without safe wrappers, here and in `ready_made`: a small version of a daemon's `sys`
// layer.
#![allow(unsafe_code)]

mod bare_batched;
mod bare_director;
mod bare_gue;
mod bare_real;
mod ready_made;
mod tcp;
mod udp;
mod web;
mod web_load;

use std::env;
use std::io::{self, BufRead, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

/// Runs the yardstick named by the first of `arguments` with the rest of them, until it is killed.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments.as_slice() {
        ["bare-director", tun, from, to] => bare_director::run(tun, from.parse()?, to.parse()?),
        ["bare-batched", tun, from, to] => bare_batched::run(tun, from.parse()?, to.parse()?),
        ["bare-gue", first_port, tun, from, to] => {
            bare_gue::run(first_port.parse()?, tun, from.parse()?, to.parse()?)
        }
        ["bare-real", tun] => bare_real::run(tun),
        ["ready-made", from, to] => ready_made::run(from.parse()?, to.parse()?),
        ["udp-sink", port] => udp::sink(port.parse()?),
        ["udp-load", port] => udp::load(port.parse()?),
        ["tcp-server", sink, source] => tcp::server(sink.parse()?, source.parse()?),
        ["web-server", port] => web::server(port.parse()?),
        ["web-load", port] => web_load::load(port.parse()?),
        ["tcp-load", sink, source] => tcp::load(sink.parse()?, source.parse()?),
        _ => bail!("no such yardstick: {}", arguments.join(" ")),
    }
}

/// Notifies the harness that the program is ready, in systemd's way.
fn ready() -> Result<()> {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    UnixDatagram::unbound()?.send_to(b"READY=1", path).context("tell the harness of readiness")?;
    Ok(())
}

/// Answers each order on the standard input until it closes.
fn obey(mut order: impl FnMut(&[&str]) -> Result<Value>) -> Result<()> {
    ready()?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer =
            order(&words).unwrap_or_else(|e| serde_json::json!({"error": format!("{e:#}")}));
        let mut out = io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// A raw socket of this family that sends whole packets, outer header included, and receives none.
fn sending_socket(family: Domain) -> Result<Socket> {
    let v6 = family == Domain::IPV6;
    let socket = raw_socket(family, if v6 { libc::IPPROTO_IPV6 } else { libc::IPPROTO_IPIP })?;
    if v6 {
        socket.set_header_included_v6(true)?;
    } else {
        socket.set_header_included_v4(true)?;
    }
    const BPF_RETURN_CONSTANT: u16 = 0x06;
    socket.attach_filter(&[SockFilter::new(BPF_RETURN_CONSTANT, 0, 0, 0)])?;
    Ok(socket)
}

fn raw_socket(family: Domain, protocol: libc::c_int) -> Result<Socket> {
    Socket::new(family, Type::RAW, Some(Protocol::from(protocol))).context("open a raw socket")
}

/// Enlarges the receive buffer beyond the system's limit, for packets that arrive while the reader
/// waits for the CPU.
fn enlarge_receive_buffer(socket: &impl AsRawFd) -> Result<()> {
    let bytes: libc::c_int = 16 << 20;
    let length = libc::socklen_t::try_from(size_of_val(&bytes))?;
    // SAFETY: the value is a live `c_int`, and its own length is passed.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const bytes).cast(),
            length,
        )
    };
    ensure!(done == 0, "SO_RCVBUFFORCE: {}", io::Error::last_os_error());
    Ok(())
}

/// The 20 bytes in front of every tunnelled packet. The kernel fills in length and checksum
/// (raw(7)).
///
/// Don't-fragment with identification 0 lets the real server's receive offload merge TCP segments.
fn outer_header(from: Ipv4Addr, to: Ipv4Addr) -> [u8; OUTER] {
    let mut header = [0; OUTER];
    header[0] = 0x45;
    header[6] = 0x40;
    header[8] = 64;
    header[9] = 4;
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    header
}

/// The same of IPv6, before an IPv6 packet. The kernel fills in nothing: the payload's length is
/// the sender's to write.
fn outer_header_v6(from: Ipv6Addr, to: Ipv6Addr) -> [u8; OUTER_V6] {
    let mut header = [0; OUTER_V6];
    header[0] = 0x60;
    header[6] = 41;
    header[7] = 64;
    header[8..24].copy_from_slice(&from.octets());
    header[24..40].copy_from_slice(&to.octets());
    header
}

/// The sum of 16-bit words that RFC 1071 folds into a checksum; an odd last byte is padded.
fn sum(bytes: &[u8]) -> u64 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u64::from(low));
    bytes.chunks(2).map(word).sum()
}

/// Folds a sum into 16 bits, not complemented.
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

/// Length of an IPv4 header without options.
const OUTER: usize = 20;
/// Length of an IPv6 header.
const OUTER_V6: usize = 40;
