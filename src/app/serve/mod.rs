//! The control socket's server: JSON lines, a bounded number of clients, and none that can stall another.

mod peer;

use std::future::Future;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy, sink};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::balancer::snapshot;
use crate::control::{self, Connections, MAX_REQUEST_LEN, PAGE, Request, RequestError};

use super::events::Listener;
pub(super) use peer::{Peer, Writers};

/// Clients served at the same time; one more is told so and turned away.
const CLIENTS: usize = 32;

/// How long a client may take to send a request: together with [`READING`] less than `vstun` waits for an answer, so
/// that idle clients cannot lock the operator out.
const SENDING: Duration = Duration::from_secs(2);

/// How long a client may take to read a line of the reply.
const READING: Duration = Duration::from_secs(5);

/// What is read and thrown away of a request that is too long, so that its sender gets to the answer.
const DRAIN: u64 = 1 << 20;

/// A control socket that is listened on.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) listener: UnixListener,
    /// Who may change something.
    pub(super) writers: Writers,
}

/// Who answers.
pub(super) trait Desk: Send + Sync + 'static {
    /// The reply line to any request but `connections` and `events`. `body` is what followed the request's line.
    fn answer(
        &self,
        request: Request,
        body: Vec<u8>,
        peer: &Peer,
    ) -> impl Future<Output = anyhow::Result<String>> + Send;

    /// From now on, what changes.
    fn listen(&self) -> anyhow::Result<Listener>;

    /// Up to `most` connections from place `from` on, perhaps none, and the place from which it goes on.
    fn connections(
        &self,
        from: usize,
        most: usize,
    ) -> impl Future<Output = anyhow::Result<(Vec<snapshot::Connection>, Option<usize>)>> + Send;
}

/// Serves until dropped.
pub(super) async fn serve<D: Desk>(control: Control, desk: Arc<D>) -> anyhow::Result<()> {
    let Control { listener, writers } = control;
    let places = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                log::warn!("control socket: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            if let Err(error) = turn_away(stream) {
                log::debug!("control socket: {error}");
            }
            continue;
        };
        let desk = Arc::clone(&desk);
        tokio::spawn(async move {
            if let Err(error) = client(stream, writers, desk.as_ref()).await {
                log::debug!("control socket: {error:#}");
            }
            drop(place);
        });
    }
}

/// Says why and closes. The line fits into an empty socket buffer, so nothing waits.
fn turn_away(stream: UnixStream) -> io::Result<()> {
    let line = format!("busy: {CLIENTS} clients are being served; try again in a few seconds");
    stream.into_std()?.write_all(control::encode_error(&line).as_bytes())
}

async fn client<D: Desk>(stream: UnixStream, writers: Writers, desk: &D) -> anyhow::Result<()> {
    let peer = Peer::of(&stream, writers)?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        let most = MAX_REQUEST_LEN as u64 + 1;
        let mut request = (&mut reader).take(most);
        if timeout(SENDING, request.read_until(b'\n', &mut line)).await?? == 0 {
            return Ok(());
        }
        let request = Request::parse(&line);
        // A sender who is not through yet, or will not be understood when it goes on.
        let lost = !line.ends_with(b"\n") || matches!(request, Err(RequestError::Body(_)));
        let reply = match request {
            Ok(Request::Connections { limit }) => {
                connections(desk, &mut writer, limit).await?;
                continue;
            }
            Ok(Request::Events) => return events(desk, &peer, reader, writer).await,
            Ok(request) => {
                let mut body = vec![0; request.body_len()];
                timeout(SENDING, reader.read_exact(&mut body)).await??;
                ask(desk, request, body, &peer).await
            }
            Err(error) => Err(error.into()),
        };
        let failed = reply.is_err();
        write(&mut writer, &reply.unwrap_or_else(|error| refusal(&error))).await?;
        if failed && lost {
            return hang_up(reader, writer).await;
        }
    }
}

/// The desk's answer, if this client may ask for it.
async fn ask<D: Desk>(
    desk: &D,
    request: Request,
    body: Vec<u8>,
    peer: &Peer,
) -> anyhow::Result<String> {
    if request.writes()
        && let Err(refused) = peer.may_write()
    {
        log::warn!("{}: {refused}", request.verb());
        return Err(refused);
    }
    desk.answer(request, body, peer).await
}

/// Sends what changes, as it happens, until the client closes or says something out of turn; one that does not read is
/// cut off by [`READING`], and told what it has missed if it begins again before.
async fn events<D: Desk>(
    desk: &D,
    peer: &Peer,
    mut reader: BufReader<OwnedReadHalf>,
    mut writer: OwnedWriteHalf,
) -> anyhow::Result<()> {
    let mut listener = match desk.listen() {
        Ok(listener) => listener,
        Err(error) => return write(&mut writer, &refusal(&error)).await,
    };
    // What happens from now on is heard, so this may take its time.
    let status = ask(desk, Request::Status, Vec::new(), peer).await?;
    write(&mut writer, &status).await?;
    let mut byte = [0];
    loop {
        let line = tokio::select! {
            line = listener.next() => line,
            _ = reader.read(&mut byte) => return Ok(()),
        };
        let Some(line) = line else { return Ok(()) };
        write(&mut writer, &line).await?;
    }
}

/// Closes on a client that may be sending still: closed at once, it would get a broken pipe and not the answer.
async fn hang_up(
    reader: BufReader<OwnedReadHalf>,
    mut writer: OwnedWriteHalf,
) -> anyhow::Result<()> {
    writer.shutdown().await?;
    timeout(SENDING, copy(&mut reader.take(DRAIN), &mut sink())).await??;
    Ok(())
}

/// Sends the connections page by page, so that a million of them never stand in one buffer.
async fn connections<D: Desk>(
    desk: &D,
    writer: &mut OwnedWriteHalf,
    limit: Option<u64>,
) -> anyhow::Result<()> {
    let mut left = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut from = 0;
    loop {
        let (page, next) = match desk.connections(from, PAGE.min(left)).await {
            Ok(page) => page,
            Err(error) => return write(writer, &refusal(&error)).await,
        };
        left -= page.len().min(left);
        let more = next.filter(|_| left > 0);
        // A stretch of the table without connections is no page, unless it is all there is.
        if !page.is_empty() || more.is_none() {
            write(writer, &control::encode(&Connections::page(&page, more.is_some()))).await?;
        }
        let Some(next) = more else { return Ok(()) };
        from = next;
    }
}

fn refusal(error: &anyhow::Error) -> String {
    control::encode_error(&format!("{error:#}"))
}

async fn write(writer: &mut OwnedWriteHalf, line: &str) -> anyhow::Result<()> {
    Ok(timeout(READING, writer.write_all(line.as_bytes())).await??)
}

#[cfg(test)]
mod tests;
