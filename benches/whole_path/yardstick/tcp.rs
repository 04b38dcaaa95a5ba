//! TCP streams up or down, and the server at its other end.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::json;
use socket2::{Domain, Socket, Type};

use super::{obey, ready};

/// Discards all input at the port `sink` and answers with its length at the end (8 bytes, big
/// endian); writes to every connection on the port `source` for as many milliseconds as it asks for
/// (8 bytes, big endian), and then ends it. If the client closed it in the middle, each segment
/// that still arrived would be answered with a reset.
pub(super) fn server(sink: u16, source: u16) -> Result<()> {
    let sinks = TcpListener::bind((Ipv4Addr::UNSPECIFIED, sink))?;
    let sources = TcpListener::bind((Ipv4Addr::UNSPECIFIED, source))?;
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
    let mut asked = [0; 8];
    if stream.read_exact(&mut asked).is_err() {
        return;
    }
    let span = Duration::from_millis(u64::from_be_bytes(asked));
    let (begin, buffer) = (Instant::now(), vec![b'.'; CHUNK]);
    while begin.elapsed() < span && stream.write_all(&buffer).is_ok() {}
}

/// Handles `up VIP SECONDS STREAMS` and `down VIP SECONDS STREAMS`; answers with the bytes moved
/// and the time taken, and with all bytes, including those before a download's rate is measured.
pub(super) fn load(sink: u16, source: u16) -> Result<()> {
    obey(|order| {
        let [direction, vip, seconds, streams] = *order else { bail!("no such order") };
        let (port, stream): (u16, Stream) = match direction {
            "up" => (sink, up),
            "down" => (source, down),
            _ => bail!("no such order"),
        };
        let span = Duration::try_from_secs_f64(seconds.parse()?)?;
        let streams = (0..streams.parse::<usize>()?)
            .map(|_| connect(vip, port))
            .collect::<Result<Vec<_>>>()?;
        let begin = Instant::now();
        let [bytes, all_bytes] = together(streams, |open| stream(open, span))?;
        let elapsed = begin.elapsed();
        let seconds = if direction == "up" { elapsed } else { span }.as_secs_f64();
        Ok(json!({"bytes": bytes, "all_bytes": all_bytes, "seconds": seconds}))
    })
}

/// Moves bytes for this long: those that count for the rate, and all of them.
type Stream = fn(TcpStream, Duration) -> Result<[u64; 2]>;

/// Runs each stream in a thread, and adds up.
fn together(
    streams: Vec<TcpStream>,
    work: impl Fn(TcpStream) -> Result<[u64; 2]> + Sync,
) -> Result<[u64; 2]> {
    thread::scope(|scope| {
        let running: Vec<_> =
            streams.into_iter().map(|stream| scope.spawn(|| work(stream))).collect();
        let mut total = [0; 2];
        for one in running {
            let moved = one.join().map_err(|_| anyhow!("a stream panicked"))??;
            total = [total[0] + moved[0], total[1] + moved[1]];
        }
        Ok(total)
    })
}

fn up(mut stream: TcpStream, span: Duration) -> Result<[u64; 2]> {
    let buffer = vec![b'.'; CHUNK];
    let begin = Instant::now();
    while begin.elapsed() < span {
        stream.write_all(&buffer).context("send")?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut total = [0; 8];
    stream.read_exact(&mut total).context("wait for the server's count")?;
    Ok([u64::from_be_bytes(total); 2])
}

fn down(mut stream: TcpStream, span: Duration) -> Result<[u64; 2]> {
    let mut buffer = vec![0; CHUNK];
    let begin = Instant::now();
    let end = SLOW_START + span;
    let asked = u64::try_from(end.as_millis())?;
    stream.write_all(&asked.to_be_bytes()).context("ask")?;
    let (mut counted, mut all) = (0, 0);
    loop {
        let length = stream.read(&mut buffer).context("receive")? as u64;
        if length == 0 {
            break;
        }
        all += length;
        let counts = (SLOW_START..end).contains(&begin.elapsed());
        counted += if counts { length } else { 0 };
    }
    ensure!(counted > 0, "the server ended the stream");
    Ok([counted, all])
}

fn connect(vip: &str, port: u16) -> Result<TcpStream> {
    let to = SocketAddrV4::new(vip.parse::<Ipv4Addr>()?, port);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.connect_timeout(&to.into(), PATIENCE).context("connect")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

const CHUNK: usize = 128 << 10;
/// A path that moves nothing for this long is broken.
const PATIENCE: Duration = Duration::from_secs(5);
/// The start of a download that does not count for its rate.
const SLOW_START: Duration = Duration::from_millis(200);
