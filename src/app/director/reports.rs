//! Reports of the packet thread's state, collected piece by piece. Clients that request one at the
//! same time share the report and its text.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::messages::{DirectorMessage, DirectorReport, ServicePage};
use crate::app::packet_thread::PacketThread;
use crate::balancer::listing::{ListCursor, ListFilter};
use crate::metrics::Format;

/// How often a list of services is restarted because a change was applied meanwhile. After that a
/// service may be listed twice or not at all.
const ATTEMPTS: usize = 5;

/// The longest pause after a report.
const REST: Duration = Duration::from_millis(200);

/// The sorts of reports.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ReportKind {
    /// The services.
    List,
    /// Counters, and the real servers whose tunnels have reported errors.
    Stats,
    /// Drops by reason.
    Drops,
    /// The page for Prometheus.
    Metrics(Format),
    /// Whether clients' packets would be served.
    Readiness,
}

impl ReportKind {
    const ALL: [Self; 6] = [
        Self::List,
        Self::Stats,
        Self::Drops,
        Self::Metrics(Format::Prometheus),
        Self::Metrics(Format::OpenMetrics),
        Self::Readiness,
    ];

    fn listed(self) -> Option<ListFilter> {
        match self {
            Self::List | Self::Metrics(_) | Self::Readiness => Some(ListFilter::All),
            Self::Stats => Some(ListFilter::Signalled),
            Self::Drops => None,
        }
    }
}

type Asker = oneshot::Sender<Result<Arc<String>, Arc<anyhow::Error>>>;

/// Requests reports.
#[derive(Clone, Debug)]
pub(super) struct ReportRequests(mpsc::UnboundedSender<(ReportKind, Asker)>);

impl ReportRequests {
    /// Starts the task that makes reports; `text` formats them.
    pub(super) fn new(
        packet_thread: PacketThread<DirectorMessage>,
        text: impl Fn(ReportKind, &DirectorReport) -> String + Send + Sync + 'static,
    ) -> Self {
        let (ask, asked) = mpsc::unbounded_channel();
        tokio::spawn(serve(packet_thread, asked, Arc::new(text)));
        Self(ask)
    }

    /// The text of a report that was begun after this call.
    pub(super) async fn text(&self, kind: ReportKind) -> anyhow::Result<Arc<String>> {
        let (answer, answered) = oneshot::channel();
        self.0.send((kind, answer)).ok().context("the director is stopping")?;
        let text = answered.await.context("the director is stopping")?;
        text.map_err(|error| anyhow!("{error:#}"))
    }
}

/// Answers all clients that requested a report of that sort before it was begun.
async fn serve(
    packet_thread: PacketThread<DirectorMessage>,
    mut asked: mpsc::UnboundedReceiver<(ReportKind, Asker)>,
    text: Arc<impl Fn(ReportKind, &DirectorReport) -> String + Send + Sync + 'static>,
) {
    while let Some(first) = asked.recv().await {
        let mut all = vec![first];
        while let Ok(one) = asked.try_recv() {
            all.push(one);
        }
        let began = Instant::now();
        for kind in ReportKind::ALL {
            let (these, others): (Vec<_>, Vec<_>) =
                all.into_iter().partition(|(one, _)| *one == kind);
            all = others;
            if these.is_empty() {
                continue;
            }
            let made = make(&packet_thread, kind, Arc::clone(&text)).await.map_err(Arc::new);
            for (_, asker) in these {
                // The client may have closed.
                let _ = asker.send(made.clone());
            }
        }
        // Clients that ask repeatedly get at most half of the packet thread's time and of this
        // processor.
        tokio::time::sleep(began.elapsed().min(REST)).await;
    }
}

async fn make(
    packet_thread: &PacketThread<DirectorMessage>,
    kind: ReportKind,
    text: Arc<impl Fn(ReportKind, &DirectorReport) -> String + Send + Sync + 'static>,
) -> anyhow::Result<Arc<String>> {
    let report = collect(packet_thread, kind.listed()).await?;
    // Thousands of real servers are megabytes of text: formatting blocks neither packets nor the
    // control socket.
    let made = spawn_blocking(move || Arc::new(text(kind, &report)));
    made.await.context("the listing could not be made")
}

/// A report with those services.
pub(super) async fn collect(
    packet_thread: &PacketThread<DirectorMessage>,
    listed: Option<ListFilter>,
) -> anyhow::Result<DirectorReport> {
    for attempt in 1.. {
        let mut report = packet_thread.ask(DirectorMessage::Report).await?;
        let Some(listed) = listed else { return Ok(report) };
        let (mut next, mut first, mut torn) = (Some(ListCursor::default()), None, false);
        while let Some(from) = next {
            let ask = |answer| DirectorMessage::Services { from, listed, answer };
            let ServicePage { services, next: then, applied } = packet_thread.ask(ask).await?;
            torn |= *first.get_or_insert(applied) != applied;
            if torn && attempt < ATTEMPTS {
                break;
            }
            report.snapshot.append(from, services);
            next = then;
        }
        if !torn || attempt >= ATTEMPTS {
            return Ok(report);
        }
    }
    unreachable!("the last attempt returns")
}
