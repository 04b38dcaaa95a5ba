//! The end of a terminal, or of a pipe's or socket's other side, without reading or writing.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Waits until the other end of one of these is closed: a terminal's, or the last reader of a pipe.
/// For a file it waits forever.
///
/// # Errors
/// Those of poll(2).
pub fn wait(ends: &[BorrowedFd<'_>]) -> io::Result<()> {
    // Without events poll(2) reports only POLLERR, POLLHUP and POLLNVAL.
    let polled = |end: &BorrowedFd<'_>| libc::pollfd { fd: end.as_raw_fd(), events: 0, revents: 0 };
    let mut polled: Vec<_> = ends.iter().map(polled).collect();
    loop {
        // SAFETY: the kernel reads and writes as many pollfd values as the vector has.
        if unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, -1) } > 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc::{self, RecvTimeoutError};
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_ends_when_the_other_side_of_either_has_gone() {
        let file = || File::open("/proc/self/exe").expect("the program is there");
        let (reader, writer) = io::pipe().expect("a pipe");
        let (near, far) = UnixStream::pair().expect("a pair");
        let (done, ended) = mpsc::channel();
        let waits = |first: std::os::fd::OwnedFd, second: std::os::fd::OwnedFd| {
            let done = done.clone();
            thread::spawn(move || done.send(wait(&[first.as_fd(), second.as_fd()]).is_ok()));
        };
        waits(writer.into(), file().into());
        waits(file().into(), near.into());
        let early = ended.recv_timeout(Duration::from_millis(20));
        assert_eq!(early, Err(RecvTimeoutError::Timeout), "both have a reader");
        drop(reader);
        assert_eq!(ended.recv(), Ok(true));
        drop(far);
        assert_eq!(ended.recv(), Ok(true));
    }
}
