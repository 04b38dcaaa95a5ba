//! The web server: answers each request with the requested number of bytes.
//!
//! The part of HTTP that matters to a balancer: a request of fixed length with the length of the
//! answer, and a version that determines whether the connection is kept. One thread and almost no
//! work besides the kernel's, so that the server hardly counts in the measurement.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use socket2::{Domain, Socket, Type};

use super::ready;

/// Length of every request.
pub(super) const REQUEST: usize = 64;

/// A request for `bytes` bytes, after which the server closes the connection or keeps it.
pub(super) fn request(bytes: usize, closes: bool) -> Result<[u8; REQUEST]> {
    ensure!(bytes <= LARGEST, "the server has {LARGEST} bytes");
    let version = if closes { "1.0" } else { "1.1" };
    let start = format!("GET /{bytes} HTTP/{version}\r\nx: ");
    let mut request = [b'.'; REQUEST];
    request.get_mut(..start.len()).context("too long")?.copy_from_slice(start.as_bytes());
    request[REQUEST - 4..].copy_from_slice(b"\r\n\r\n");
    Ok(request)
}

/// How many bytes a request asks for, and whether the connection closes after them.
fn asked(request: &[u8; REQUEST]) -> Option<(usize, bool)> {
    let text = std::str::from_utf8(request).ok()?;
    let (bytes, rest) = text.strip_prefix("GET /")?.split_once(" HTTP/1.")?;
    let bytes = bytes.parse().ok().filter(|&bytes| bytes <= LARGEST)?;
    Some((bytes, rest.starts_with('0')))
}

/// Serves the port until it is killed.
pub(super) fn server(port: u16) -> Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    let mut poll = Poll::new()?;
    let mut source = SourceFd(&listener.as_raw_fd());
    poll.registry().register(&mut source, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(256);
    let mut server =
        Server { connections: Vec::new(), free: Vec::new(), body: vec![b'.'; LARGEST] };
    ready()?;
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => server.accept(&listener, poll.registry())?,
                Token(index) => server.serve(index),
            }
        }
    }
}

struct Server {
    connections: Vec<Option<Connection>>,
    /// Free indexes of `connections`.
    free: Vec<usize>,
    body: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    request: [u8; REQUEST],
    /// Bytes of the request that have arrived.
    come: usize,
    /// Bytes of the answer still to be sent.
    due: usize,
    closes: bool,
}

impl Server {
    fn accept(&mut self, listener: &TcpListener, registry: &Registry) -> Result<()> {
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let index = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry.register(&mut SourceFd(&stream.as_raw_fd()), Token(index), interest)?;
            let request = [0; REQUEST];
            let connection = Connection { stream, request, come: 0, due: 0, closes: false };
            self.connections[index] = Some(connection);
        }
        Ok(())
    }

    /// Does the pending work of a connection, and forgets it at its end.
    fn serve(&mut self, index: usize) {
        let Some(connection) = &mut self.connections[index] else { return };
        match connection.advance(&self.body) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            _ => {
                self.connections[index] = None;
                self.free.push(index);
            }
        }
    }
}

impl Connection {
    /// Continues until the connection ends, or fails, if only because it would block.
    fn advance(&mut self, body: &[u8]) -> io::Result<()> {
        loop {
            while self.due > 0 {
                self.due -= self.stream.write(&body[..self.due])?;
                if self.due == 0 && self.closes {
                    return Ok(());
                }
            }
            let length = self.stream.read(&mut self.request[self.come..])?;
            if length == 0 {
                return Ok(());
            }
            self.come += length;
            if self.come == REQUEST {
                let asked = asked(&self.request).ok_or(io::ErrorKind::InvalidData)?;
                (self.due, self.closes) = asked;
                self.come = 0;
            }
        }
    }
}

const LISTENER: Token = Token(usize::MAX - 1);
const BACKLOG: i32 = 4096;
/// The longest answer.
const LARGEST: usize = 1 << 20;
