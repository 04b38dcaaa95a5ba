//! One request and its response over a connection, by HTTP/1 or HTTP/2.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;

/// The connection's driving task, which ends with the probe.
pub(super) struct Driven(JoinHandle<()>);

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends a request by HTTP/1. The response can be read as long as the other value lives.
pub(super) async fn http1<S, B>(
    stream: S,
    request: Request<B>,
) -> Result<(Response<Incoming>, Driven), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + Send + 'static,
{
    let stream = TokioIo::new(WriteFirst { stream, written: false, reader: None });
    let (mut sender, connection) = http1::handshake(stream).await.map_err(|error| words(&error))?;
    let driven = Driven(tokio::spawn(async move { drop(connection.await) }));
    let response = sender.send_request(request).await.map_err(|error| words(&error))?;
    Ok((response, driven))
}

/// The same by HTTP/2.
pub(super) async fn http2<S, B>(
    stream: S,
    request: Request<B>,
) -> Result<(Response<Incoming>, Driven), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + Send + 'static,
{
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|error| words(&error))?;
    let driven = Driven(tokio::spawn(async move { drop(connection.await) }));
    let response = sender.send_request(request).await.map_err(|error| words(&error))?;
    Ok((response, driven))
}

/// A stream that gives nothing before something was written to it. hyper takes an answer that is
/// there before its request, as overloaded servers send it, for a broken connection.
#[derive(Debug)]
struct WriteFirst<S> {
    stream: S,
    written: bool,
    /// The one that waits to read.
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
        // A failed write is over too: the answer may have arrived before the connection broke.
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
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    if error.is_parse() { format!("no answer of HTTP: {text}") } else { text }
}
