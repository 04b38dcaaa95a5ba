//! The control thread's handle of a packet thread.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::Context;
use mio::{Poll, Token, Waker};
use tokio::sync::oneshot;

/// Sends messages of type `M` and wakes the thread that reads them.
#[derive(Debug)]
pub(super) struct PacketThread<M> {
    outbox: Sender<M>,
    waker: Arc<Waker>,
}

impl<M> PacketThread<M> {
    /// A handle of the loop that polls `poll`, where the waker has `token`; and the loop's
    /// receiver.
    pub(super) fn new(poll: &Poll, token: Token) -> anyhow::Result<(Self, Receiver<M>)> {
        let waker = Waker::new(poll.registry(), token).context("could not make a waker")?;
        let (outbox, inbox) = channel();
        Ok((Self { outbox, waker: Arc::new(waker) }, inbox))
    }

    /// Sends a message.
    pub(super) fn send(&self, message: M) -> anyhow::Result<()> {
        self.outbox.send(message).ok().context("the packet thread has ended")?;
        self.waker.wake().context("could not wake the packet thread")
    }

    /// Sends a message that contains a channel for its answer, and waits for the answer.
    pub(super) async fn ask<A>(
        &self,
        message: impl FnOnce(oneshot::Sender<A>) -> M,
    ) -> anyhow::Result<A> {
        let (answer, answered) = oneshot::channel();
        self.send(message(answer))?;
        answered.await.context("the packet thread has ended")
    }
}

impl<M> Clone for PacketThread<M> {
    fn clone(&self) -> Self {
        Self { outbox: self.outbox.clone(), waker: Arc::clone(&self.waker) }
    }
}
