//! One TCP stream up or down, and the server at its other end.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use socket2::{Domain, SockRef, Socket, Type};

use super::{obey, ready};

/// Swallows whatever comes to the port `sink` and answers with its length at the end (8 bytes, big endian); writes
/// to every connection on the port `source` until it closes.
pub(super) fn server(sink: u16, source: u16) -> Result<()> {
    let sinks = TcpListener::bind((Ipv4Addr::UNSPECIFIED, sink))?;
    let sources = TcpListener::bind((Ipv4Addr::UNSPECIFIED, source))?;
    // What is accepted inherits it.
    plain_congestion_control(&SockRef::from(&sinks))?;
    plain_congestion_control(&SockRef::from(&sources))?;
    ready()?;
    thread::spawn(move || serve(&sinks, swallow));
    serve(&sources, pour);
    Ok(())
}

fn serve(listener: &TcpListener, work: fn(TcpStream)) {
    for stream in listener.incoming().flatten() {
        thread::spawn(move || work(stream));
    }
}

fn swallow(mut stream: TcpStream) {
    let mut buffer = vec![0; CHUNK];
    let mut total = 0_u64;
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        total += length as u64;
    }
    let _ = stream.write_all(&total.to_be_bytes());
}

fn pour(mut stream: TcpStream) {
    let buffer = vec![b'.'; CHUNK];
    while stream.write_all(&buffer).is_ok() {}
}

/// Obeys `up VIP SECONDS` and `down VIP SECONDS` with the bytes moved and the time they took.
pub(super) fn load(sink: u16, source: u16) -> Result<()> {
    obey(|order| match *order {
        ["up", vip, seconds] => up(connect(vip, sink)?, duration(seconds)?),
        ["down", vip, seconds] => down(connect(vip, source)?, duration(seconds)?),
        _ => bail!("no such order"),
    })
}

fn up(mut stream: TcpStream, span: Duration) -> Result<Value> {
    let buffer = vec![b'.'; CHUNK];
    let begin = Instant::now();
    while begin.elapsed() < span {
        stream.write_all(&buffer).context("send")?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut total = [0; 8];
    stream.read_exact(&mut total).context("wait for the server's count")?;
    Ok(moved(u64::from_be_bytes(total), begin))
}

fn down(mut stream: TcpStream, span: Duration) -> Result<Value> {
    let mut buffer = vec![0; CHUNK];
    let opened = Instant::now();
    while opened.elapsed() < SLOW_START {
        let _ = stream.read(&mut buffer).context("receive")?;
    }
    let begin = Instant::now();
    let mut total = 0;
    while begin.elapsed() < span {
        total += stream.read(&mut buffer).context("receive")? as u64;
    }
    Ok(moved(total, begin))
}

fn moved(bytes: u64, begin: Instant) -> Value {
    json!({"bytes": bytes, "seconds": begin.elapsed().as_secs_f64()})
}

fn connect(vip: &str, port: u16) -> Result<TcpStream> {
    let to = SocketAddrV4::new(vip.parse::<Ipv4Addr>()?, port);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    plain_congestion_control(&SockRef::from(&socket))?;
    socket.connect_timeout(&to.into(), PATIENCE).context("connect")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

/// BBR, the default on some machines, paces by timers whose work is billed to whoever runs when they fire.
///
/// Set before the connection is made: a stream that began with BBR goes on being paced.
fn plain_congestion_control(socket: &SockRef<'_>) -> Result<()> {
    socket.set_tcp_congestion(b"cubic").context("cubic is missing: modprobe tcp_cubic")
}

fn duration(seconds: &str) -> Result<Duration> {
    Ok(Duration::try_from_secs_f64(seconds.parse()?)?)
}

const CHUNK: usize = 128 << 10;
/// A path that moves nothing for so long is broken.
const PATIENCE: Duration = Duration::from_secs(5);
/// The start of a download that its rate leaves out.
const SLOW_START: Duration = Duration::from_millis(200);
