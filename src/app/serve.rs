//! The control socket's server: JSON lines, a bounded number of clients, and none that can stall another.

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
use crate::control::{self, Connections, MAX_REQUEST_LEN, PAGE, Request};

/// Clients served at the same time; one more is told so and turned away.
const CLIENTS: usize = 32;

/// How long a client may take to send a request: together with [`READING`] less than `vstun` waits for an answer, so
/// that idle clients cannot lock the operator out.
const SENDING: Duration = Duration::from_secs(2);

/// How long a client may take to read a line of the reply.
const READING: Duration = Duration::from_secs(5);

/// What is read and thrown away of a request that is too long, so that its sender gets to the answer.
const DRAIN: u64 = 1 << 20;

/// Who answers.
pub(super) trait Desk: Send + Sync + 'static {
    /// The reply line to any request but `connections`.
    fn answer(&self, request: Request) -> impl Future<Output = anyhow::Result<String>> + Send;

    /// Up to `most` connections from place `from` on, perhaps none, and the place from which it goes on.
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
            if let Err(error) = client(stream, desk.as_ref()).await {
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

async fn client<D: Desk>(stream: UnixStream, desk: &D) -> anyhow::Result<()> {
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
            return hang_up(reader, writer).await;
        }
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
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::{BufRead, BufReader, Read};
    use std::os::unix::net::UnixStream;
    use std::thread;

    use anyhow::bail;

    use super::*;

    struct Echo;

    impl Desk for Echo {
        async fn answer(&self, request: Request) -> anyhow::Result<String> {
            Ok(format!("{request:?}\n"))
        }

        async fn connections(
            &self,
            from: usize,
            _most: usize,
        ) -> anyhow::Result<(Vec<snapshot::Connection>, Option<usize>)> {
            match from {
                0 => Ok((Vec::new(), Some(7))),
                7 => Ok((Vec::new(), None)),
                _ => bail!("from {from}"),
            }
        }
    }

    /// Serves in a thread for as long as `clients` runs, which gets a way to connect.
    fn with_server(name: &str, clients: impl FnOnce(&dyn Fn() -> UnixStream)) {
        let path = std::env::temp_dir().join(format!("vstun-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = {
            let _entered = runtime.enter();
            UnixListener::bind(&path).unwrap()
        };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = serve(listener, Arc::new(Echo)) => {}
                    _ = stopped => {}
                }
            });
        });
        clients(&|| {
            let stream = UnixStream::connect(&path).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            stream
        });
        drop(stop);
        server.join().unwrap();
        std::fs::remove_file(&path).unwrap();
    }

    fn line(stream: &UnixStream) -> String {
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line
    }

    #[test]
    fn idle_clients_turn_one_more_away_at_once_and_are_soon_gone() {
        with_server("idle", |connect| {
            let idle: Vec<_> = (0..CLIENTS).map(|_| connect()).collect();
            let refused = line(&connect());
            assert!(refused.starts_with(r#"{"version":1,"error":"busy: "#), "{refused}");
            for mut client in idle {
                assert_eq!(client.read(&mut [0]).unwrap(), 0, "closed by the server");
            }
            let mut client = connect();
            client.write_all(b"{\"version\":1,\"verb\":\"status\"}\n").unwrap();
            assert_eq!(line(&client), "Status\n");
        });
    }

    #[test]
    fn a_client_that_sends_too_much_gets_to_the_answer() {
        with_server("long", |connect| {
            let mut client = connect();
            client.write_all(&vec![b'x'; 1_000_000]).unwrap();
            assert!(line(&client).contains("longer than 4096 bytes"));
        });
    }

    #[test]
    fn an_empty_page_is_no_line_unless_it_is_the_last() {
        with_server("pages", |connect| {
            let mut client = connect();
            client.write_all(b"{\"version\":1,\"verb\":\"connections\"}\n").unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let mut reply = String::new();
            client.read_to_string(&mut reply).unwrap();
            assert_eq!(reply, "{\"version\":1,\"connections\":[],\"more\":false}\n");
        });
    }
}
