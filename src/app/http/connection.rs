//! Clients: how many at a time, and their time limits.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;

use super::HttpSocket;
use super::routes::{self, HttpService};
use super::slots::{HttpSlot, Slots};
use crate::app::serve::{Peer, Refusals, RequestHandler, SocketGate};
use crate::control;

/// Clients at the same time. A further one takes the slot of another: see [`Slots`].
pub(super) const CLIENTS: usize = 64;

/// The time limits of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientLimits {
    /// For the head of a request, and between two requests.
    pub(super) head: Duration,
    /// To read enough that the socket's buffer has space again.
    pub(super) write: Duration,
    /// How often an idle event stream sends a comment, so that proxies keep it open and a closed
    /// client is detected.
    pub(super) keep_alive: Duration,
}

impl ClientLimits {
    pub(super) const DEFAULT: Self = Self {
        head: Duration::from_secs(10),
        write: Duration::from_secs(10),
        keep_alive: Duration::from_secs(15),
    };
}

/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// The most header lines of a request.
const MAX_HEADERS: usize = 64;

/// Clients that may not connect and get an answer at the same time; others are closed at once.
const REFUSED: usize = 8;

/// How long such a client has to send its request.
const REFUSING: Duration = Duration::from_secs(1);

/// The pause if there is no free descriptor for another client.
const NO_DESCRIPTOR: Duration = Duration::from_millis(100);

/// Serves until dropped.
pub(super) async fn serve<D: RequestHandler>(
    socket: HttpSocket,
    handler: Arc<D>,
    limits: ClientLimits,
) -> anyhow::Result<()> {
    let served = Arc::new(HttpService::new(handler, socket.is_loopback(), limits));
    match socket {
        HttpSocket::Tcp(listener) => {
            let listener = TcpListener::from_std(listener)?;
            accept(&served, limits, async || Ok(listener.accept().await?.0)).await
        }
        HttpSocket::Unix(listener, gate, _) => {
            let (listener, refusals) = (UnixListener::from_std(listener)?, Refusals::default());
            accept(&served, limits, async || admitted(&listener, gate, &refusals).await).await
        }
    }
}

/// The next client that may connect. Others get an answer.
async fn admitted(
    listener: &UnixListener,
    gate: SocketGate,
    refusals: &Refusals,
) -> io::Result<UnixStream> {
    let answers = Arc::new(Semaphore::new(REFUSED));
    loop {
        let (stream, _) = listener.accept().await?;
        let refused = Peer::of(&stream, gate.writers).and_then(|peer| gate.admits(&peer));
        let Err(refused) = refused else { return Ok(stream) };
        refusals.note("http", &refused);
        let body = control::encode_error(&format!("{refused:#}"));
        let answer = format!(
            "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if let Ok(permit) = Arc::clone(&answers).try_acquire_owned() {
            tokio::spawn(async move {
                let _ = timeout(REFUSING, refuse(stream, answer)).await;
                drop(permit);
            });
        }
    }
}

/// Answers once the client has asked: one whose connection is closed before reads no answer.
async fn refuse(mut stream: UnixStream, answer: String) {
    let mut head = [0; MAX_HEAD];
    // The client may have gone.
    if stream.read(&mut head).await.is_ok() {
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

async fn accept<D: RequestHandler, S>(
    served: &Arc<HttpService<D>>,
    limits: ClientLimits,
    next: impl AsyncFn() -> io::Result<S>,
) -> anyhow::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let slots = Arc::new(Slots::new(CLIENTS));
    loop {
        let stream = match next().await {
            Ok(stream) => stream,
            Err(error) => {
                log::debug!("http: {error}");
                tokio::time::sleep(NO_DESCRIPTOR).await;
                continue;
            }
        };
        let wait = slots.wait(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let (served, (slot, closed)) = (Arc::clone(served), slots.enter());
        tokio::spawn(async move {
            tokio::select! {
                () = client(stream, served, limits, slot) => {}
                _ = closed => {}
            }
        });
        // A client that has sent its request already is served before others can take its slot.
        tokio::task::yield_now().await;
    }
}

async fn client<D: RequestHandler>(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    served: Arc<HttpService<D>>,
    limits: ClientLimits,
    slot: HttpSlot,
) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.write));
    let service = service_fn(move |request| {
        slot.note_request();
        let served = Arc::clone(&served);
        async move { Ok::<_, Infallible>(routes::answer(&served, &request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    if let Err(error) = connection.await {
        log::debug!("http: {error}");
    }
}
