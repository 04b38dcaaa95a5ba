//! One request and its response over a connection, by HTTP/1 or HTTP/2.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::sleep;

use crate::app::health::socket::describe;
use crate::app::latest::{Latest, Published};

/// The most bytes that one probe reads. It has room for a head of the length that hyper takes, and
/// for [`MAX_BODY`](crate::health::spec::MAX_BODY) in chunks of one byte. Interim answers without
/// end keep the thread busy for no longer than these take.
const MAX_READ: usize = 512 << 10;

/// How long a connection of HTTP/2 may take to close after its probe. Its flow stays pinned for
/// longer.
const CLOSING: Duration = Duration::from_millis(10);

/// How a connection ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ReplyEnd {
    /// By a reset when it is dropped, which saves the packet of an orderly close.
    Reset,
    /// By TLS's closing message before that.
    Closed,
}

/// Sends a request by HTTP/1, and passes the response to `judge`. The probe's own task polls the
/// connection.
pub(super) async fn http1<S, B, T>(
    stream: &mut S,
    ends: ReplyEnd,
    request: Request<B>,
    judge: impl AsyncFnOnce(Response<Incoming>) -> T,
) -> Result<T, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + Send + 'static,
{
    let stream = Bounded { stream, left: MAX_READ };
    let stream = TokioIo::new(WriteFirst { stream, written: false, ends, reader: None });
    let (mut sender, connection) = http1::handshake(stream).await.map_err(|error| words(&error))?;
    driven(connection, async {
        let response = sender.send_request(request).await.map_err(|error| words(&error))?;
        Ok(judge(response).await)
    })
    .await
}

/// The same by HTTP/2.
pub(super) async fn http2<S, B, T>(
    stream: S,
    request: Request<B>,
    judge: impl AsyncFnOnce(Response<Incoming>) -> T,
) -> Result<T, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + Send + 'static,
{
    let stream = TokioIo::new(Bounded { stream, left: MAX_READ });
    let (_over, tasks) = OwnTasks::new();
    let (mut sender, connection) =
        http2::handshake(tasks, stream).await.map_err(|error| words(&error))?;
    driven(connection, async {
        let response = sender.send_request(request).await.map_err(|error| words(&error))?;
        Ok(judge(response).await)
    })
    .await
}

/// Runs the tasks that hyper makes for a connection of HTTP/2, and ends them soon after the probe:
/// those of a server that reads nothing would wait for ever to write, and keep its socket.
#[derive(Clone, Debug)]
struct OwnTasks(Latest<()>);

impl OwnTasks {
    /// The probe is over when the first value is dropped.
    fn new() -> (Published<()>, Self) {
        let probe = Published::new(());
        let tasks = Self(probe.latest());
        (probe, tasks)
    }
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for OwnTasks {
    fn execute(&self, task: F) {
        let Self(mut probe) = self.clone();
        tokio::spawn(async move {
            let ends = async {
                probe.until(|()| false).await;
                sleep(CLOSING).await;
            };
            tokio::select! {
                biased;
                _ = task => {}
                () = ends => {}
            }
        });
    }
}

/// The result of `asks`; polls the connection meanwhile.
async fn driven<T>(connection: impl Future, asks: impl Future<Output = T>) -> T {
    let (mut connection, mut asks) = (pin!(connection), pin!(asks));
    let mut over = false;
    poll_fn(|context| {
        // First the request, for the connection to send; then what the connection has received.
        if let Poll::Ready(result) = asks.as_mut().poll(context) {
            return Poll::Ready(result);
        }
        if over {
            return Poll::Pending;
        }
        over = connection.as_mut().poll(context).is_ready();
        asks.as_mut().poll(context)
    })
    .await
}

/// A stream that returns nothing before something was written to it. Overloaded servers answer
/// before the request, and hyper would treat that as a broken connection.
#[derive(Debug)]
struct WriteFirst<S> {
    stream: S,
    written: bool,
    ends: ReplyEnd,
    /// The task that waits to read.
    reader: Option<Waker>,
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteFirst<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.written {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteFirst<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        // A failed write ends the wait too: the answer may have arrived before the connection
        // broke.
        if written.is_ready() {
            self.written = true;
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.ends {
            ReplyEnd::Reset => Poll::Ready(Ok(())),
            ReplyEnd::Closed => Pin::new(&mut self.stream).poll_shutdown(context),
        }
    }
}

/// A stream of which at most so many bytes are read.
#[derive(Debug)]
struct Bounded<S> {
    stream: S,
    left: usize,
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            let why = format!("the answer has not ended after {MAX_READ} bytes");
            return Poll::Ready(Err(io::Error::other(why)));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.left = self.left.saturating_sub(buffer.filled().len() - before);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The error as text, down to its root cause.
fn words(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        return "connection closed before the answer".to_owned();
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let network = cause.downcast_ref::<io::Error>().filter(|error| error.get_ref().is_none());
        text = match network {
            Some(error) => format!("{text}: {}", describe(error)),
            None => format!("{text}: {cause}"),
        };
        source = cause.source();
    }
    if error.is_parse() { format!("no answer of HTTP: {text}") } else { text }
}
