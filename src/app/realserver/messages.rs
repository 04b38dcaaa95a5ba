//! What the control thread says to the packet thread.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use anyhow::Context;
use mio::Waker;
use tokio::sync::oneshot;

use crate::decap;

use super::packets::Written;

/// Everything the packet thread knows.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) gate: decap::Counters,
    pub(super) written: Written,
}

/// A message; the answer goes back through the channel in it.
#[derive(Debug)]
pub(super) enum Message {
    /// Ends the loop.
    Stop,
    /// The MSS that this host advertises now, in bytes.
    SetMss(u16),
    /// Asks for the counters.
    Report(oneshot::Sender<Report>),
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
}
