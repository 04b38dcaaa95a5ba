//! The control socket's server: JSON lines for a bounded number of clients, none of which can delay
//! another.

mod peer;
mod progress;

use std::future::{Future, ready};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::balancer::{Selection, snapshot};
use crate::control::{
    self, Connections, MAX_BODY_LEN, MAX_REQUEST_LEN, PAGE, Readiness, Request, RequestError,
    TraceRequest, Which,
};
use crate::metrics::Format;
use crate::trace::capture::{MAX_SNAPLEN, Snaplen};

use super::client_slots::{ClientSlot, ClientSlots, SlotAnswer, SlotLimits};
use super::director::TraceFeed;
use super::events::{Listener, Span};
use super::log_throttle::LogThrottle;
pub(super) use peer::{Peer, Writers};

/// Clients served at the same time. A further one gets the slot of a client that does not send or
/// read, or else an error.
const CLIENTS: usize = 32;

/// How many of them may be clients that may only read. The rest is kept for clients that may make
/// changes, so that readers cannot lock them out.
const READERS: usize = CLIENTS - 4;

/// How long a client may take to send a request, or a [part](progress) of the text after it.
/// Together with [`READING`] this is less than `vstun` waits for an answer, so that idle clients
/// cannot lock the operator out.
const SENDING: Duration = Duration::from_secs(2);

/// How long a client may take to read a line of the reply, or a part of a long one.
const READING: Duration = Duration::from_secs(5);

/// Bytes of a refused request that are read and discarded, so that its sender reads the answer:
/// more than the longest text that `vstun` sends.
const DRAIN: usize = MAX_BODY_LEN + MAX_REQUEST_LEN;

/// The listening control socket.
#[derive(Debug)]
pub(super) struct ControlSocket {
    pub(super) listener: UnixListener,
    pub(super) gate: SocketGate,
    /// Its file: device and inode.
    pub(super) file: (u64, u64),
}

/// The clients of a unix socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct SocketGate {
    /// Who may make changes.
    pub(super) writers: Writers,
    /// The file mode to check clients against, if the file's own mode is wider because the daemon
    /// could not set its group.
    pub(super) ask_mode: Option<u32>,
}

impl SocketGate {
    /// Whether the client may connect.
    ///
    /// # Errors
    /// It may not; the message says who may.
    pub(super) fn admits(&self, peer: &Peer) -> anyhow::Result<()> {
        self.ask_mode.map_or(Ok(()), |mode| peer.may_connect(mode))
    }
}

/// Answers requests.
pub(super) trait RequestHandler: Send + Sync + 'static {
    /// Whether there are services, real servers and connections to report.
    const KEEPS_SERVICES: bool;

    /// The reply line to any request except `connections` and `events`. `body` is the text after
    /// the request's line.
    fn answer(
        &self,
        request: Request,
        body: Vec<u8>,
        peer: &Peer,
    ) -> impl Future<Output = anyhow::Result<Arc<String>>> + Send;

    /// The page for Prometheus.
    fn metrics(&self, format: Format) -> impl Future<Output = anyhow::Result<Arc<String>>> + Send;

    /// Whether clients' packets would be served now.
    fn readiness(&self) -> impl Future<Output = anyhow::Result<Readiness>> + Send;

    /// Subscribes to the events of a span.
    fn listen(&self, span: Span) -> anyhow::Result<Listener>;

    /// Begins a trace; `packets`: with that many bytes of each packet, or with their headers. Only
    /// a director has decisions to trace.
    fn trace(
        &self,
        _asked: TraceRequest,
        _packets: Option<Snaplen>,
    ) -> impl Future<Output = anyhow::Result<TraceFeed>> + Send {
        ready(Err(anyhow!("a real server decides nothing about packets; ask the director")))
    }

    /// Parses and checks a client's selection of connections.
    fn select(&self, which: Which) -> impl Future<Output = anyhow::Result<Arc<Selection>>> + Send;

    /// Up to `most` of the selected connections from table position `from` on, perhaps none, and
    /// the position to go on from.
    fn connections(
        &self,
        from: usize,
        most: usize,
        which: Arc<Selection>,
    ) -> impl Future<Output = anyhow::Result<ConnectionPage>> + Send;
}

/// Connections of a listing, and the table position to go on from.
pub(super) type ConnectionPage = (Vec<snapshot::ConnectionSnapshot>, Option<usize>);

/// Refusals for lack of rights. Not every one is logged, since any client can cause as many as it
/// likes.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<LogThrottle>);

impl Refusals {
    pub(super) fn note(&self, verb: &str, refused: &anyhow::Error) {
        // A poisoned lock is not a problem: a count is never half written.
        let mut throttle = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match throttle.note(Instant::now()) {
            Some(1) => log::warn!(verb; "{verb}: {refused}"),
            Some(count) => {
                log::warn!(verb, count; "{verb}: {refused} ({count} refusals since the last line)");
            }
            None => log::debug!("{verb}: {refused}"),
        }
    }
}

/// Serves until dropped.
pub(super) async fn serve<D: RequestHandler>(
    control: ControlSocket,
    handler: Arc<D>,
) -> anyhow::Result<()> {
    let ControlSocket { listener, gate, .. } = control;
    let slots = ClientSlots::new(SlotLimits { all: CLIENTS, readers: READERS });
    let (refusals, mut moves) = (Arc::new(Refusals::default()), LogThrottle::default());
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                log::warn!("control socket: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let peer = match Peer::of(&stream, gate.writers) {
            Ok(peer) => peer,
            Err(error) => {
                log::debug!("control socket: {error:#}");
                continue;
            }
        };
        if let Err(refused) = gate.admits(&peer) {
            refusals.note("connect", &refused);
            if let Err(error) = send_error(stream, &format!("{refused:#}")) {
                log::debug!("control socket: {error}");
            }
            continue;
        }
        let slot = match slots.admit(peer.may_write().is_err()).await {
            SlotAnswer::Free(slot) => slot,
            SlotAnswer::Instead(slot, waited) => {
                note_move(&mut moves, waited, Instant::now());
                slot
            }
            SlotAnswer::Full(many) => {
                if let Err(error) = turn_away(stream, many) {
                    log::debug!("control socket: {error}");
                }
                continue;
            }
        };
        let (handler, refusals) = (Arc::clone(&handler), Arc::clone(&refusals));
        slots.serve(slot, |slot| async move {
            if let Err(error) = client(stream, &slot, &peer, &refusals, handler.as_ref()).await {
                log::debug!("control socket: {error:#}");
            }
        });
        // A client that has sent its request is served before the next one looks for a slot.
        tokio::task::yield_now().await;
    }
}

/// Logs that a client was disconnected for another one.
fn note_move(moves: &mut LogThrottle, waited: Duration, now: Instant) {
    if let Some(count) = moves.note(now) {
        log::warn!(
            count;
            "control socket: {CLIENTS} clients have connected, and some of them do not send or \
             read: disconnected the slowest for the next one ({count} since the last line; this \
             one was waited for during {waited:.1?})"
        );
    }
}

fn turn_away(stream: UnixStream, many: usize) -> io::Result<()> {
    send_error(
        stream,
        &format!("busy: {many} clients are being served; try again in a few seconds"),
    )
}

/// Sends the reason and closes. The line fits into an empty socket buffer, so nothing blocks.
fn send_error(stream: UnixStream, why: &str) -> io::Result<()> {
    stream.into_std()?.write_all(control::encode_error(why).as_bytes())
}

async fn client<D: RequestHandler>(
    stream: UnixStream,
    slot: &ClientSlot,
    peer: &Peer,
    refusals: &Refusals,
    handler: &D,
) -> anyhow::Result<()> {
    let (reader, writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut writer = ReplyWriter { socket: writer, slot };
    let mut line = Vec::new();
    while !slot.is_over() {
        if read_line(&mut reader, slot, &mut line).await? == 0 {
            return Ok(());
        }
        let request = Request::parse(&line);
        let body = match &request {
            Ok(request) => request.body_len() > 0,
            Err(error) => matches!(error, RequestError::Body(_)),
        };
        let request = request.map_err(anyhow::Error::from).and_then(|request| {
            allowed(&request, peer, refusals)?;
            Ok(request)
        });
        // The client has not finished, or the rest of its text cannot be parsed.
        let lost = !line.ends_with(b"\n") || body;
        let reply = match request {
            Ok(Request::Connections { limit, which }) => match handler.select(which).await {
                Ok(which) => {
                    connections(handler, &mut writer, limit, which).await?;
                    continue;
                }
                Err(error) => Err(error),
            },
            Ok(Request::Events { since, until_now }) => {
                match Span::parse(since.as_deref(), until_now).context("since") {
                    Ok(span) => return events(handler, peer, span, reader, writer).await,
                    Err(error) => Err(error),
                }
            }
            Ok(Request::Trace(asked)) => match begin_trace(handler, *asked).await {
                Ok(feed) => return trace(feed, reader, writer).await,
                Err(error) => Err(error),
            },
            Ok(request) => {
                let reading = progress::read(&mut reader, request.body_len(), SENDING);
                let body = slot.waits(reading).await?;
                handler.answer(request, body, peer).await
            }
            Err(error) => Err(error),
        };
        let failed = reply.is_err();
        writer.write(&reply.unwrap_or_else(|error| refusal(&error).into())).await?;
        if failed && lost {
            return close(reader, writer).await;
        }
    }
    Ok(())
}

/// Reads a request's line; returns its length, 0 if the client has closed.
async fn read_line(
    reader: &mut BufReader<OwnedReadHalf>,
    slot: &ClientSlot,
    line: &mut Vec<u8>,
) -> anyhow::Result<usize> {
    line.clear();
    let mut request = reader.take(MAX_REQUEST_LEN as u64 + 1);
    Ok(slot.waits(timeout(SENDING, request.read_until(b'\n', line))).await??)
}

/// Whether this client may make the request.
fn allowed(request: &Request, peer: &Peer, refusals: &Refusals) -> anyhow::Result<()> {
    if !request.is_for_writers() {
        return Ok(());
    }
    peer.may_write().inspect_err(|refused| refusals.note(request.verb(), refused))
}

/// Sends events until the client closes or sends something. A client that does not read for
/// [`READING`] is disconnected; if it resumes before, it learns how many events it has missed.
async fn events<D: RequestHandler>(
    handler: &D,
    peer: &Peer,
    span: Span,
    mut reader: BufReader<OwnedReadHalf>,
    mut writer: ReplyWriter<'_>,
) -> anyhow::Result<()> {
    let mut listener = match handler.listen(span) {
        Ok(listener) => listener,
        Err(error) => return writer.write(&refusal(&error)).await,
    };
    // The subscription is active, so no event is lost while this waits.
    let status = handler.answer(Request::Status, Vec::new(), peer).await?;
    writer.write(&status).await?;
    let mut byte = [0];
    loop {
        let line = tokio::select! {
            line = listener.next() => line,
            _ = reader.read(&mut byte) => return Ok(()),
        };
        let Some(line) = line else { return Ok(()) };
        writer.write(&line).await?;
    }
}

async fn begin_trace<D: RequestHandler>(
    handler: &D,
    asked: TraceRequest,
) -> anyhow::Result<TraceFeed> {
    let snaplen = match asked.snaplen.map(|snaplen| snaplen as usize) {
        None => Snaplen::Headers,
        Some(len @ 1..=MAX_SNAPLEN) => Snaplen::Bytes(len),
        Some(len) => anyhow::bail!("snaplen: {len} bytes; write 1 to {MAX_SNAPLEN}"),
    };
    let packets = asked.packets.then_some(snaplen);
    handler.trace(asked, packets).await
}

/// Sends decisions until the client closes or sends something. The packet thread never waits: a
/// slow client loses decisions, and gets their number.
async fn trace(
    mut feed: TraceFeed,
    mut reader: BufReader<OwnedReadHalf>,
    mut writer: ReplyWriter<'_>,
) -> anyhow::Result<()> {
    let mut byte = [0];
    loop {
        let line = tokio::select! {
            line = feed.next() => line,
            _ = reader.read(&mut byte) => return Ok(()),
        };
        let Some(line) = line? else { return Ok(()) };
        writer.write(&line).await?;
    }
}

/// Closes the connection to a client that may still be sending: if it were closed at once, the
/// client would get a broken pipe instead of the answer.
async fn close(
    mut reader: BufReader<OwnedReadHalf>,
    mut writer: ReplyWriter<'_>,
) -> anyhow::Result<()> {
    writer.socket.shutdown().await?;
    writer.slot.waits(progress::discard(&mut reader, DRAIN, SENDING)).await
}

/// Sends the connections page by page, so that a million connections are never in one buffer.
async fn connections<D: RequestHandler>(
    handler: &D,
    writer: &mut ReplyWriter<'_>,
    limit: Option<u64>,
    which: Arc<Selection>,
) -> anyhow::Result<()> {
    let mut left = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut from = 0;
    loop {
        let (page, next) = match handler.connections(from, PAGE.min(left), Arc::clone(&which)).await
        {
            Ok(page) => page,
            Err(error) => return writer.write(&refusal(&error)).await,
        };
        left -= page.len().min(left);
        let more = next.filter(|_| left > 0);
        // A table section without connections is not a page, unless it is the last.
        if !page.is_empty() || more.is_none() {
            writer.write(&control::encode(&Connections::page(&page, more.is_some()))).await?;
        }
        let Some(next) = more else { return Ok(()) };
        from = next;
    }
}

fn refusal(error: &anyhow::Error) -> String {
    control::encode_error(&format!("{error:#}"))
}

/// The sending half of a client's connection.
struct ReplyWriter<'a> {
    socket: OwnedWriteHalf,
    slot: &'a ClientSlot,
}

impl ReplyWriter<'_> {
    async fn write(&mut self, line: &str) -> anyhow::Result<()> {
        self.slot.waits(progress::write(&mut self.socket, line, READING)).await
    }
}

#[cfg(test)]
mod tests;
