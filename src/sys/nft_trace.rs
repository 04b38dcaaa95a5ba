//! The kernel's reports about packets that rules of nftables trace (`meta nftrace set 1`).

use std::io;

use rtnetlink::sys::{Socket, SocketAddr};

/// `NETLINK_NETFILTER` of linux/netlink.h.
const NETLINK_NETFILTER: isize = 12;
/// `NFNLGRP_NFTRACE` of linux/netfilter/nfnetlink.h.
const NFTRACE: u32 = 9;
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_TRACE` of linux/netfilter/nf_tables.h.
const TRACE: u16 = 10 << 8 | 17;
/// The header of a netlink message.
const HEADER: usize = 16;
/// Bytes per read: more than one report.
const READ: usize = 16 << 10;
/// Bytes of reports that may wait.
const ROOM: usize = 1 << 20;

/// Receives the reports of this network namespace.
#[derive(Debug)]
pub struct NftTraces {
    socket: Socket,
    buffer: Vec<u8>,
}

impl NftTraces {
    /// Subscribes.
    ///
    /// # Errors
    /// The process has no `CAP_NET_ADMIN`, or the kernel no nftables.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.add_membership(NFTRACE)?;
        socket.set_rx_buf_sz(i32::try_from(ROOM).unwrap_or_default())?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket, buffer: Vec::with_capacity(READ) })
    }

    /// Calls `each` with every report that waits, without its netlink header.
    ///
    /// # Errors
    /// The kernel's. Lost reports are not an error.
    pub fn receive(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => reports(&self.buffer, &mut each),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The reports in one datagram.
fn reports(mut bytes: &[u8], each: &mut impl FnMut(&[u8])) {
    while let Some(header) = bytes.get(..HEADER) {
        let len = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]);
        let len = usize::try_from(len).unwrap_or_default();
        let Some(message) = bytes.get(HEADER..len) else { return };
        if u16::from_ne_bytes([header[4], header[5]]) == TRACE {
            each(message);
        }
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_report_of_a_datagram_is_found_and_broken_ones_end_it() {
        let message = |kind: u16, len: u32| {
            let mut bytes = len.to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend([7, 8, 9, 0]);
            bytes
        };
        let found = |bytes: &[u8]| {
            let mut found = Vec::new();
            reports(bytes, &mut |one| found.push(one.to_vec()));
            found
        };
        let two = [message(TRACE, 19), message(3, 20), message(TRACE, 20)].concat();
        assert_eq!(found(&two), [vec![7, 8, 9], vec![7, 8, 9, 0]]);
        for len in [0, 15, 21, u32::MAX] {
            assert!(found(&message(TRACE, len)).is_empty(), "{len}");
        }
    }
}
