//! `bare_checks ADDRESS RATE tokio|hyper`: so many HTTP checks a second and nothing else: no
//! schedule of each check, no states, no jitter. It shows what checks cost at least with these
//! libraries. Like the director it keeps sockets and starts checks in steps; `hyper` sends the
//! request by hyper, `tokio` writes and compares bytes.

use std::cell::RefCell;
use std::env;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{MissedTickBehavior, interval, timeout};
use vstun::sys::disconnect::disconnect;

/// Checks start at multiples of this, as the director's do.
const STEP: Duration = Duration::from_millis(20);
/// A check that takes longer fails.
const TIMEOUT: Duration = Duration::from_secs(1);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: 192.0.2.1\r\nconnection: close\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 ";

thread_local! {
    /// Sockets of checks that are over, each bound to a port.
    static KEPT: RefCell<Vec<Socket>> = const { RefCell::new(Vec::new()) };
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    // `cargo test --benches` runs this program too.
    let [address, rate, how] = arguments.as_slice() else { return Ok(()) };
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let rate: u32 = rate.parse().map_err(io::Error::other)?;
    let hyper = how == "hyper";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { tokio::spawn(checks(address, rate, hyper)).await? })
}

async fn checks(address: SocketAddr, rate: u32, hyper: bool) -> io::Result<()> {
    eprintln!("ready");
    let mut steps = interval(STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        steps.tick().await;
        for _ in 0..rate * u32::try_from(STEP.as_millis()).unwrap_or(1) / 1_000 {
            tokio::spawn(async move {
                match timeout(TIMEOUT, check(address, hyper)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => eprintln!("failed: {error}"),
                    Err(_) => eprintln!("failed: late"),
                }
            });
        }
    }
}

async fn check(address: SocketAddr, hyper: bool) -> io::Result<()> {
    let socket = match KEPT.with_borrow_mut(Vec::pop) {
        Some(socket) => socket,
        None => bound(address)?,
    };
    socket.set_tcp_quickack(false)?;
    let mut stream = TcpSocket::from_std_stream(socket.into()).connect(address).await?;
    let passed = if hyper { by_hyper(&mut stream).await? } else { by_bytes(&mut stream).await? };
    if !passed {
        return Err(io::Error::other("another answer"));
    }
    let stream = stream.into_std()?;
    disconnect(&stream)?;
    KEPT.with_borrow_mut(|kept| kept.push(stream.into()));
    Ok(())
}

/// A socket that is bound to the number of a free port, which it keeps when it is disconnected.
fn bound(address: SocketAddr) -> io::Result<Socket> {
    let new = || Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP));
    let route = std::net::UdpSocket::bind("0.0.0.0:0")?;
    route.connect(address)?;
    let own = SocketAddr::new(route.local_addr()?.ip(), 0);
    let free = new()?;
    free.bind(&own.into())?;
    let own = free.local_addr()?;
    drop(free);
    let socket = new()?;
    socket.bind(&own)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

async fn by_hyper(stream: &mut TcpStream) -> io::Result<bool> {
    let mut request = Request::new(Empty::<Bytes>::new());
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static("bare"));
    headers.insert(HOST, HeaderValue::from_static("192.0.2.1"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(io::Error::other)?;
    let (mut connection, mut asks) = (pin!(connection), pin!(sender.send_request(request)));
    let response = tokio::select! {
        biased;
        response = &mut asks => response,
        _ = &mut connection => asks.await,
    };
    Ok(response.map_err(io::Error::other)?.status() == StatusCode::OK)
}

async fn by_bytes(stream: &mut TcpStream) -> io::Result<bool> {
    stream.write_all(REQUEST).await?;
    let mut answer = [0; 1024];
    let length = stream.read(&mut answer).await?;
    Ok(answer.get(..length).is_some_and(|answer| answer.starts_with(ANSWER)))
}
