//! What the control thread says to the packet thread.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use anyhow::Context;
use mio::Waker;
use tokio::sync::oneshot;

use crate::balancer::{Change, ChangeError, Snapshot, snapshot};

use super::output::Sent;
use super::packets::Reads;

/// Everything the packet thread knows.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) snapshot: Snapshot,
    pub(super) sent: Sent,
    pub(super) reads: Reads,
}

/// A piece of the connection list, and the place from which it goes on.
pub(super) type Page = (Vec<snapshot::Connection>, Option<usize>);

/// A message; answers go back through the channel in it.
#[derive(Debug)]
pub(super) enum Message {
    /// Ends the loop.
    Stop,
    /// Asks for everything but the connections.
    Report(oneshot::Sender<Report>),
    /// Asks for up to `most` connections from place `from` on.
    Connections { from: usize, most: usize, answer: oneshot::Sender<Page> },
    /// Applies changes in their order, up to the first that fails.
    Apply { changes: Vec<Change>, answer: oneshot::Sender<Result<(), ChangeError>> },
}

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    GoOn,
    Stop,
}

/// The control thread's end.
#[derive(Clone, Debug)]
pub(super) struct Line {
    outbox: Sender<Message>,
    waker: Arc<Waker>,
}

impl Line {
    pub(super) fn new(outbox: Sender<Message>, waker: Waker) -> Self {
        Self { outbox, waker: Arc::new(waker) }
    }

    /// Sends a message and wakes the packet thread.
    pub(super) fn send(&self, message: Message) -> anyhow::Result<()> {
        self.outbox.send(message).ok().context("the packet thread has ended")?;
        self.waker.wake().context("could not wake the packet thread")
    }

    pub(super) async fn report(&self) -> anyhow::Result<Report> {
        let (answer, report) = oneshot::channel();
        self.send(Message::Report(answer))?;
        report.await.context("the packet thread has ended")
    }

    pub(super) async fn connections(&self, from: usize, most: usize) -> anyhow::Result<Page> {
        let (answer, page) = oneshot::channel();
        self.send(Message::Connections { from, most, answer })?;
        page.await.context("the packet thread has ended")
    }

    pub(super) async fn apply(&self, changes: Vec<Change>) -> anyhow::Result<()> {
        let (answer, applied) = oneshot::channel();
        self.send(Message::Apply { changes, answer })?;
        Ok(applied.await.context("the packet thread has ended")??)
    }
}
