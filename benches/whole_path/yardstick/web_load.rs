//! Clients of the web server: new connections, requests on kept ones, and one small request after
//! the other.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use super::obey;
use super::web::{REQUEST, request};

/// Handles, with the server's port: `connections VIP CLIENTS BYTES SECONDS`, with a connection for
/// each request of `BYTES` bytes; `requests VIP CLIENTS BYTES SECONDS`, with one connection per
/// client; `pingpong VIP SECONDS`, one client with answers as short as requests.
pub(super) fn load(port: u16) -> Result<()> {
    obey(|order| match *order {
        [kind @ ("connections" | "requests"), vip, clients, bytes, seconds] => {
            let (bytes, closes) = (bytes.parse()?, kind == "connections");
            let to = SocketAddrV4::new(vip.parse()?, port);
            let asked = Asked { to, request: request(bytes, closes)?, bytes, closes };
            run(&asked, clients.parse()?, Duration::try_from_secs_f64(seconds.parse()?)?)
        }
        ["pingpong", vip, seconds] => {
            let to = SocketAddrV4::new(vip.parse::<Ipv4Addr>()?, port);
            pingpong(to, Duration::try_from_secs_f64(seconds.parse()?)?)
        }
        _ => bail!("no such order"),
    })
}

/// The work of all clients of one order.
struct Asked {
    to: SocketAddrV4,
    request: [u8; REQUEST],
    bytes: usize,
    closes: bool,
}

fn run(asked: &Asked, clients: usize, span: Duration) -> Result<Value> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(clients);
    let mut buffer = vec![0; CHUNK];
    let begin = Instant::now();
    let mut all = (0..clients)
        .map(|index| Ok(Some(Client::open(asked, &poll, index)?)))
        .collect::<Result<Vec<_>>>()?;
    let (mut done, mut open) = (0_u64, clients);
    while open > 0 {
        poll.poll(&mut events, Some(PATIENCE))?;
        ensure!(!events.is_empty(), "{} does not answer", asked.to);
        let over = begin.elapsed() >= span;
        for event in &events {
            let Token(index) = event.token();
            let Some(client) = all.get_mut(index).and_then(Option::as_mut) else { continue };
            let answers = client.advance(asked, over, &mut buffer)?;
            done += answers;
            if client.ended {
                all[index] = if over { None } else { Some(Client::open(asked, &poll, index)?) };
                open -= usize::from(over);
            }
        }
    }
    let bytes = done * asked.bytes as u64;
    Ok(json!({"requests": done, "bytes": bytes, "seconds": begin.elapsed().as_secs_f64()}))
}

struct Client {
    stream: TcpStream,
    asks: bool,
    /// Bytes of the current answer that have arrived.
    come: usize,
    ended: bool,
}

impl Client {
    fn open(asked: &Asked, poll: &Poll, index: usize) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&asked.to.into()) {
            Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => {
                return Err(e).context("connect");
            }
            _ => {}
        }
        let stream = TcpStream::from(socket);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let mut source = SourceFd(&stream.as_raw_fd());
        poll.registry().register(&mut source, Token(index), interest)?;
        Ok(Self { stream, asks: true, come: 0, ended: false })
    }

    /// Continues until it would block, and counts answers; `over`: no more requests are sent.
    fn advance(&mut self, asked: &Asked, over: bool, buffer: &mut [u8]) -> Result<u64> {
        let mut answers = 0;
        loop {
            match self.step(asked, over, buffer) {
                Ok(answer) => answers += u64::from(answer),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(answers),
                Err(e) => return Err(e).context("talk to the server"),
            }
            if self.ended {
                return Ok(answers);
            }
        }
    }

    /// Whether an answer is complete now.
    fn step(&mut self, asked: &Asked, over: bool, buffer: &mut [u8]) -> io::Result<bool> {
        if self.asks {
            // So little fits into an empty buffer at once.
            let _ = self.stream.write(&asked.request)?;
            self.asks = false;
        }
        let length = self.stream.read(buffer)?;
        self.come += length;
        let complete = self.come == asked.bytes;
        if length == 0 {
            self.ended = true;
            return if complete { Ok(true) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        if complete && !asked.closes {
            (self.asks, self.come, self.ended) = (true, 0, over);
            return Ok(true);
        }
        Ok(false)
    }
}

fn pingpong(to: SocketAddrV4, span: Duration) -> Result<Value> {
    let request = request(REQUEST, false)?;
    let mut stream = TcpStream::connect(to).context("connect")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = [0; REQUEST];
    let mut times = Vec::with_capacity(1 << 20);
    let begin = Instant::now();
    while begin.elapsed() < span {
        let asked = Instant::now();
        stream.write_all(&request)?;
        stream.read_exact(&mut answer)?;
        times.push(asked.elapsed());
    }
    stream.shutdown(Shutdown::Both)?;
    times.sort_unstable();
    let thousandths = |part: usize| {
        let index = (times.len() * part / 1_000).min(times.len().saturating_sub(1));
        times.get(index).map(|time| time.as_secs_f64() * 1e6).context("no answer came")
    };
    Ok(json!({
        "answers": times.len(), "p50_us": thousandths(500)?, "p99_us": thousandths(990)?,
        "p99_9_us": thousandths(999)?, "longest_us": thousandths(1_000)?,
    }))
}

const CHUNK: usize = 256 << 10;
/// A path that answers nothing for so long is broken.
const PATIENCE: Duration = Duration::from_secs(5);
