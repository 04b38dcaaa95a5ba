//! Ends TCP connections and keeps their sockets.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Resets the connection of a TCP socket. The socket keeps its address, its port if it was bound to
/// that number, and its options, and can connect again (connect(2), `AF_UNSPEC`).
///
/// # Errors
/// The kernel refuses it: it is no socket.
pub fn disconnect(socket: &impl AsFd) -> io::Result<()> {
    let nowhere = libc::sockaddr {
        sa_family: u16::try_from(libc::AF_UNSPEC).unwrap_or_default(),
        sa_data: [0; 14],
    };
    let len = u32::try_from(size_of::<libc::sockaddr>()).unwrap_or_default();
    // SAFETY: the kernel reads `len` bytes, which the address has.
    let done = unsafe { libc::connect(socket.as_fd().as_raw_fd(), &raw const nowhere, len) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn a_socket_connects_twice_from_the_same_port() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let to = listener.local_addr()?;
        // A port that was free just now: the socket must be bound to its number.
        let free = TcpListener::bind("127.0.0.2:0")?.local_addr()?;
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&free.into())?;
        for _ in 0..2 {
            socket.connect(&to.into())?;
            let (mut peer, from): (TcpStream, SocketAddr) = listener.accept()?;
            assert_eq!(from, free);
            disconnect(&socket)?;
            let end = peer.read(&mut [0]).map_err(|error| error.kind());
            assert_eq!(end, Err(io::ErrorKind::ConnectionReset));
        }
        Ok(())
    }
}
