//! The control socket's server: JSON lines, a bounded number of clients, and none that can stall another.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::balancer::snapshot;
use crate::control::{self, Connections, MAX_REQUEST_LEN, PAGE, Request};

/// Clients served at the same time; more of them wait.
const CLIENTS: usize = 32;

/// How long a client may take to send a request or to read a line of the reply.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who answers.
pub(super) trait Desk: Send + Sync + 'static {
    /// The reply line to any request but `connections`.
    fn answer(&self, request: Request) -> impl Future<Output = anyhow::Result<String>> + Send;

    /// Up to `most` connections from place `from` on, and the place from which it goes on.
    fn connections(
        &self,
        from: usize,
        most: usize,
    ) -> impl Future<Output = anyhow::Result<(Vec<snapshot::Connection>, Option<usize>)>> + Send;
}

/// Serves until dropped.
pub(super) async fn serve<D: Desk>(listener: UnixListener, desk: Arc<D>) -> anyhow::Result<()> {
    let places = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.context("no more clients")?;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                log::warn!("control socket: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let desk = Arc::clone(&desk);
        tokio::spawn(async move {
            if let Err(error) = client(stream, desk.as_ref()).await {
                log::debug!("control socket: {error:#}");
            }
            drop(place);
        });
    }
}

async fn client<D: Desk>(stream: UnixStream, desk: &D) -> anyhow::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        let most = MAX_REQUEST_LEN as u64 + 1;
        let mut request = (&mut reader).take(most);
        if timeout(PATIENCE, request.read_until(b'\n', &mut line)).await?? == 0 {
            return Ok(());
        }
        let reply = match Request::parse(&line) {
            Ok(Request::Connections { limit }) => {
                connections(desk, &mut writer, limit).await?;
                continue;
            }
            Ok(request) => desk.answer(request).await,
            Err(error) => Err(error.into()),
        };
        let failed = reply.is_err();
        write(&mut writer, &reply.unwrap_or_else(|error| refusal(&error))).await?;
        if failed && !line.ends_with(b"\n") {
            bail!("a request without an end");
        }
    }
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
        write(writer, &control::encode(&Connections::page(&page, more.is_some()))).await?;
        let Some(next) = more else { return Ok(()) };
        from = next;
    }
}

fn refusal(error: &anyhow::Error) -> String {
    control::encode_error(&format!("{error:#}"))
}

async fn write(writer: &mut OwnedWriteHalf, line: &str) -> anyhow::Result<()> {
    Ok(timeout(PATIENCE, writer.write_all(line.as_bytes())).await??)
}
