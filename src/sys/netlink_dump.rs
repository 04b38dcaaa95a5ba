//! Dumps of netlink families that no library reads for us.

use std::io;

use rtnetlink::sys::{Socket, SocketAddr};

/// `NLM_F_REQUEST | NLM_F_DUMP` of linux/netlink.h.
pub(super) const REQUEST_DUMP: u16 = 0x301;
/// The header of a netlink message.
pub(super) const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Bytes per read: the most that the kernel puts into one message of a dump.
const READ: usize = 32 << 10;

/// Sends a request for a dump, header included, and calls `each` with the content of each answer of
/// that kind. Blocks meanwhile.
///
/// # Errors
/// The kernel has no such family, or refuses.
pub(super) fn dump(
    family: isize,
    kind: u16,
    request: &[u8],
    each: &mut impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut socket = Socket::new(family)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(request, 0)?;
    let mut buffer = Vec::with_capacity(READ);
    loop {
        buffer.clear();
        socket.recv(&mut buffer, 0)?;
        if read(&buffer, kind, each)? == Dump::Over {
            return Ok(());
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Dump {
    GoesOn,
    Over,
}

/// Reads the messages of one datagram.
fn read(mut bytes: &[u8], wanted: u16, each: &mut impl FnMut(&[u8])) -> io::Result<Dump> {
    while let Some(len) = number(bytes, 0) {
        let len = usize::try_from(len).unwrap_or_default();
        let (Some(message), Some(kind)) = (bytes.get(HEADER..len), bytes.get(4..6)) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        match u16::from_ne_bytes([kind[0], kind[1]]) {
            NLMSG_DONE => return Ok(Dump::Over),
            NLMSG_ERROR => {
                let errno = number(message, 0).unwrap_or_default().cast_signed();
                return Err(io::Error::from_raw_os_error(errno.wrapping_neg()));
            }
            kind if kind == wanted => each(message),
            _ => {}
        }
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Dump::GoesOn)
}

/// The number in the host's byte order at this offset.
pub(super) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncated_messages_are_nothing_and_no_panic() {
        let mut whole = [7; 40];
        whole[..4].copy_from_slice(&40_u32.to_ne_bytes());
        let mut seen = 0;
        for len in 0..=whole.len() {
            let _ = read(&whole[..len], u16::from_ne_bytes([7, 7]), &mut |_| seen += 1);
        }
        assert_eq!(seen, 1);
    }
}
