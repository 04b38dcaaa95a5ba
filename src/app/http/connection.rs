//! Clients: how many at a time, and their time limits.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;

use super::HttpSocket;
use super::routes::{self, Served};
use crate::app::serve::RequestHandler;

/// Clients at the same time; further ones get an error and are closed.
pub(super) const CLIENTS: usize = 64;

/// The time limits of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the head of a request, and between two requests.
    pub(super) head: Duration,
    /// To read enough that the socket's buffer has space again.
    pub(super) write: Duration,
}

impl Patience {
    pub(super) const DEFAULT: Self =
        Self { head: Duration::from_secs(10), write: Duration::from_secs(10) };
}

/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// The most header lines of a request.
const MAX_HEADERS: usize = 64;

/// How long a refused client may take to read the reason.
const TURNED_AWAY: Duration = Duration::from_secs(1);

/// The pause if there is no free descriptor for another client.
const NO_DESCRIPTOR: Duration = Duration::from_millis(100);

/// Serves until dropped.
pub(super) async fn serve<D: RequestHandler>(
    socket: HttpSocket,
    handler: Arc<D>,
    patience: Patience,
) -> anyhow::Result<()> {
    let served = Arc::new(Served::new(handler, socket.is_loopback()));
    match socket {
        HttpSocket::Tcp(listener) => {
            let listener = TcpListener::from_std(listener)?;
            accept(&served, patience, async || Ok(listener.accept().await?.0)).await
        }
        HttpSocket::Unix(listener, _) => {
            let listener = UnixListener::from_std(listener)?;
            accept(&served, patience, async || Ok(listener.accept().await?.0)).await
        }
    }
}

async fn accept<D: RequestHandler, S>(
    served: &Arc<Served<D>>,
    patience: Patience,
    next: impl AsyncFn() -> io::Result<S>,
) -> anyhow::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(CLIENTS));
    let turned_away = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let stream = match next().await {
            Ok(stream) => stream,
            Err(error) => {
                log::debug!("http: {error}");
                tokio::time::sleep(NO_DESCRIPTOR).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            // If there are too many of these too, the connection is closed without an answer.
            if let Ok(slot) = Arc::clone(&turned_away).try_acquire_owned() {
                tokio::spawn(async move {
                    let _ = timeout(TURNED_AWAY, turn_away(stream)).await;
                    drop(slot);
                });
            }
            continue;
        };
        let served = Arc::clone(served);
        tokio::spawn(async move {
            client(stream, served, patience).await;
            drop(slot);
        });
    }
}

/// Sends the reason, and reads what the client sends: if unread bytes remain at the close, the
/// kernel sends a reset and the answer is lost.
async fn turn_away(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let text = format!("busy: {CLIENTS} clients are being served; try again in a few seconds\n");
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\nRetry-After: 5\r\nConnection: close\r\n\r\n",
        text.len()
    );
    stream.write_all((head + &text).as_bytes()).await?;
    stream.shutdown().await?;
    let mut request = [0; 512];
    while stream.read(&mut request).await? > 0 {}
    Ok(())
}

async fn client<D: RequestHandler>(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    served: Arc<Served<D>>,
    patience: Patience,
) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(patience.write));
    let service = service_fn(move |request| {
        let served = Arc::clone(&served);
        async move { Ok::<_, Infallible>(routes::answer(&served, &request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    if let Err(error) = connection.await {
        log::debug!("http: {error}");
    }
}
