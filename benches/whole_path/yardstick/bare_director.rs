//! The bare loop: the smallest possible forwarder from a TUN to a raw socket.
//!
//! One read and one send for each packet, no offload, no tables, no logic. A director costs less
//! than this by batching, and more by its decisions.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail};
use socket2::Domain;
use tun_rs::{DeviceBuilder, Layer};

use super::{outer_header, outer_header_v6, ready, sending_socket};

/// Sends every packet that arrives at `tun` to the real server `to`, from the tunnel address
/// `from`. All of one family.
pub(super) fn run(tun: &str, from: IpAddr, to: IpAddr) -> Result<()> {
    let (family, header) = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => (Domain::IPV4, outer_header(from, to).to_vec()),
        (IpAddr::V6(from), IpAddr::V6(to)) => (Domain::IPV6, outer_header_v6(from, to).to_vec()),
        _ => bail!("{from} and {to} are of two families"),
    };
    let mtu = WIRE_MTU - u16::try_from(header.len())?;
    let device = DeviceBuilder::new().name(tun).mtu(mtu).layer(Layer::L3);
    let device = device.build_sync().with_context(|| format!("create {tun}"))?;
    let socket = sending_socket(family)?;
    let destination = SocketAddr::new(to, 0).into();
    if family == Domain::IPV6 {
        // Otherwise the kernel looks up a source for each packet, though its header has one.
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    let mut packet = [0; WIRE_MTU as usize];
    let outer = header.len();
    packet[..outer].copy_from_slice(&header);
    ready()?;
    loop {
        let length = device.recv(&mut packet[outer..]).context("read the TUN")?;
        if family == Domain::IPV6 {
            packet[4..6].copy_from_slice(&u16::try_from(length)?.to_be_bytes());
        }
        // A packet that cannot be sent is lost, as on any wire.
        let _ = socket.send_to(&packet[..outer + length], &destination);
    }
}

const WIRE_MTU: u16 = 1500;
