//! The bare loop: the smallest TUN to raw socket forwarder there can be.
//!
//! One read and one send for each packet, no offload, no tables, no logic. What a director costs below this is
//! what batching saves; what it costs above is what deciding costs.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context, Result};
use tun_rs::{DeviceBuilder, Layer};

use super::{OUTER, outer_header, ready, sending_socket};

/// Sends every packet that arrives at `tun` to the real server `to`, from the tunnel address `from`.
pub(super) fn run(tun: &str, from: Ipv4Addr, to: Ipv4Addr) -> Result<()> {
    let device = DeviceBuilder::new().name(tun).mtu(TUN_MTU).layer(Layer::L3);
    let device = device.build_sync().with_context(|| format!("create {tun}"))?;
    let socket = sending_socket()?;
    let destination = SocketAddrV4::new(to, 0).into();
    let mut packet = [0; OUTER + TUN_MTU as usize];
    packet[..OUTER].copy_from_slice(&outer_header(from, to));
    ready()?;
    loop {
        let length = device.recv(&mut packet[OUTER..]).context("read the TUN")?;
        // A packet that cannot be sent is lost, as on any wire.
        let _ = socket.send_to(&packet[..OUTER + length], &destination);
    }
}

/// The veth's 1,500 bytes less the outer header.
const TUN_MTU: u16 = 1480;
