//! Connections to unix sockets that do not wait.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

/// Connects at once: connect(2) of a blocking socket waits while the listener's queue is full, and
/// another user's listener may never take a connection.
///
/// # Errors
///
/// Those of connect(2); [`io::ErrorKind::WouldBlock`] if the queue is full.
pub(super) fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    socket.set_nonblocking(false)?;
    Ok(socket.into())
}

/// Whether a process listens there.
pub(super) fn has_listener(path: &Path) -> bool {
    match connect(path) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_full_queue_is_a_listener_and_is_not_waited_for() {
        let path = std::env::temp_dir().join(format!("vstun-queue-{}", std::process::id()));
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        assert!(!has_listener(&path), "bound, but not listening");
        listener.listen(0).unwrap();
        let first = connect(&path).unwrap();
        assert_eq!(connect(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(has_listener(&path));
        drop((first, listener));
        assert!(!has_listener(&path));
        std::fs::remove_file(&path).unwrap();
        assert!(!has_listener(&path));
    }
}
