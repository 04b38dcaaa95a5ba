#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::bail;

use super::*;
use crate::app::commands;
use crate::app::events::{EventPublisher, Span};
use crate::control::{Alteration, Altered, EventText, MAX_BODY_LEN, Origin};

/// Answers with the request, and publishes events.
struct Echo(EventPublisher);

/// How many requests for checks there were.
static ASKED_FOR_CHECKS: AtomicUsize = AtomicUsize::new(0);

impl RequestHandler for Echo {
    const KEEPS_SERVICES: bool = true;

    async fn metrics(&self, format: Format) -> anyhow::Result<Arc<String>> {
        Ok(format!("{format:?}\n").into())
    }

    async fn readiness(&self) -> anyhow::Result<Readiness> {
        Ok(Readiness::unless(Vec::new()))
    }

    async fn answer(
        &self,
        request: Request,
        body: Vec<u8>,
        _peer: &Peer,
    ) -> anyhow::Result<Arc<String>> {
        match request {
            Request::Checks => {
                ASKED_FOR_CHECKS.fetch_add(1, Ordering::SeqCst);
                std::future::pending().await
            }
            Request::Plan { .. } => Ok(format!("{} bytes\n", body.len()).into()),
            request => Ok(format!("{request:?}\n").into()),
        }
    }

    fn listen(&self, span: Span) -> anyhow::Result<Listener> {
        self.0.listen(span)
    }

    async fn select(&self, _which: Which) -> anyhow::Result<Arc<Selection>> {
        Ok(Arc::default())
    }

    async fn connections(
        &self,
        from: usize,
        _most: usize,
        _which: Arc<Selection>,
    ) -> anyhow::Result<(Vec<snapshot::ConnectionSnapshot>, Option<usize>)> {
        match from {
            0 => Ok((Vec::new(), Some(7))),
            7 => Ok((Vec::new(), None)),
            _ => bail!("from {from}"),
        }
    }
}

/// Serves in a thread while `clients` runs; its argument connects to the server.
fn with_server(name: &str, clients: impl FnOnce(&dyn Fn() -> UnixStream)) {
    let own = Writers { owner: 0, group: 0 };
    with_server_for(name, own, &EventPublisher::new(), clients);
}

fn with_server_for(
    name: &str,
    writers: Writers,
    events: &EventPublisher,
    clients: impl FnOnce(&dyn Fn() -> UnixStream),
) {
    let handler = Arc::new(Echo(events.clone()));
    let path = std::env::temp_dir().join(format!("vstun-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = {
        let _entered = runtime.enter();
        UnixListener::bind(&path).unwrap()
    };
    let gate = SocketGate { writers, ask_mode: None };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = serve(ControlSocket { listener, gate, file: (0, 0) }, handler) => {}
                _ = stopped => {}
            }
        });
    });
    clients(&|| {
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
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

const STATUS: &[u8] = b"{\"version\":1,\"verb\":\"status\"}\n";

#[test]
fn idle_clients_are_closed_soon() {
    with_server("idle", |connect| {
        let idle: Vec<_> = (0..CLIENTS).map(|_| connect()).collect();
        for mut client in idle {
            assert_eq!(client.read(&mut [0]).unwrap(), 0, "closed by the server");
        }
    });
}

/// Clients that send requests all the time and never read, or send nothing, have all slots: one
/// more is served at once, instead of the first of them.
#[test]
fn clients_that_do_not_read_or_send_lock_nobody_out() {
    with_server("stuck", |connect| {
        let mut stuck: Vec<_> = (0..CLIENTS).map(|_| connect()).collect();
        for client in stuck.iter_mut().step_by(2) {
            client.set_write_timeout(Some(Duration::from_millis(10))).unwrap();
            while client.write_all(STATUS).is_ok() {}
        }
        for _ in 0..2 * CLIENTS {
            let mut operator = connect();
            operator.write_all(STATUS).unwrap();
            assert_eq!(line(&operator), "Status\n");
            stuck.push(operator);
        }
    });
}

/// `checks` is never answered.
#[test]
fn one_client_too_many_is_refused_while_the_server_works_for_all_others() {
    with_server("busy", |connect| {
        let _served: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let mut client = connect();
                client.write_all(b"{\"version\":1,\"verb\":\"checks\"}\n").unwrap();
                client
            })
            .collect();
        // A client whose request has not been read would lose its slot.
        let asked = || ASKED_FOR_CHECKS.load(Ordering::SeqCst);
        let end = Instant::now() + Duration::from_secs(60);
        while asked() < CLIENTS {
            assert!(Instant::now() < end, "{} of {CLIENTS} requests were read", asked());
            thread::yield_now();
        }
        let refused = line(&connect());
        assert!(refused.starts_with(r#"{"version":1,"error":"busy: 32 clients"#), "{refused}");
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

fn send(client: &mut UnixStream, text: &str) -> String {
    client.write_all(text.as_bytes()).unwrap();
    line(client)
}

#[test]
fn a_text_follows_its_request_up_to_the_bound() {
    with_server("body", |connect| {
        let plan = |bytes| {
            format!("{{\"version\":1,\"verb\":\"plan\",\"file\":\"f\",\"bytes\":{bytes}}}\n")
        };
        let mut client = connect();
        for bytes in [0, 3, MAX_BODY_LEN] {
            let text = "\n".repeat(bytes);
            assert_eq!(send(&mut client, &(plan(bytes) + &text)), format!("{bytes} bytes\n"));
        }
        let refused = send(&mut client, &plan(MAX_BODY_LEN + 1));
        assert!(refused.contains("at most 16777216 are read"), "{refused}");
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "what follows is not understood");
    });
}

#[test]
fn a_client_without_write_access_may_read_and_learns_who_may_write() {
    // Root may write in any case; another user who runs this test is neither that user nor in that
    // group.
    let writers = Writers { owner: u32::MAX - 1, group: u32::MAX - 1 };
    with_server_for("peer", writers, &EventPublisher::new(), |connect| {
        let mut client = connect();
        let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        let answer = send(&mut client, "{\"version\":1,\"verb\":\"reload\"}\n");
        assert_eq!(answer == "Reload\n", root, "{answer}");
        assert!(root || answer.contains("may read but not change anything"), "{answer}");
        assert_eq!(send(&mut client, "{\"version\":1,\"verb\":\"status\"}\n"), "Status\n");
    });
}

#[test]
fn listeners_get_events_until_they_send_something_or_close() {
    let events = EventPublisher::new();
    let writers = Writers { owner: 0, group: 0 };
    with_server_for("events", writers, &events, |connect| {
        let mut client = connect();
        let mut hello = String::new();
        client.write_all(b"{\"version\":1,\"verb\":\"events\"}\n").unwrap();
        let mut reader = BufReader::new(client.try_clone().unwrap());
        reader.read_line(&mut hello).unwrap();
        assert_eq!(hello, "Status\n");
        let change = Alteration::of(Altered::AddVip);
        let event = commands::event(Origin::Signal, "reload", change);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(events.publish_and_log(vec![event.clone()]));
        let mut heard = String::new();
        reader.read_line(&mut heard).unwrap();
        assert_eq!(control::decode::<EventText>(heard.as_bytes()).unwrap(), (&event).into());
        client.write_all(b"x").unwrap();
        assert_eq!(reader.read(&mut [0]).unwrap(), 0, "closed");
    });
}

/// A log would be global, so this tests the decision to log.
#[test]
fn a_refusal_s_repetitions_are_counted_and_not_logged() {
    let refusals = Refusals::default();
    let refused = anyhow::anyhow!("no");
    for _ in 0..1_000 {
        refusals.note("drain", &refused);
    }
    let later = Instant::now() + Duration::from_secs(61);
    let unlogged = refusals.0.lock().unwrap().note(later);
    assert_eq!(unlogged, Some(1_000), "the first is logged, 999 and this one are counted");
}
