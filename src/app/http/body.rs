//! Response bodies: a text as a whole, or pieces as they are made.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, Stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::app::events::Listener;
use crate::app::serve::RequestHandler;
use crate::balancer::Selection;
use crate::control::{self, Connections, PAGE};

/// The body of an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A text that is sent to several clients at the same time without copies. It is no `Arc<str>`, for
/// which a page of megabytes would be copied once.
struct SharedText(Arc<String>);

impl AsRef<[u8]> for SharedText {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// A text.
pub(super) fn text(text: impl Into<Arc<String>>) -> Body {
    Full::new(Bytes::from_owner(SharedText(text.into()))).boxed_unsync()
}

fn pieces(pieces: impl Stream<Item = String> + Send + 'static) -> Body {
    StreamBody::new(pieces.map(|piece| Ok(Frame::data(Bytes::from(piece))))).boxed_unsync()
}

/// The events as server-sent events: each has a line of the control socket as its data. `slot` is
/// held while the client listens; after `idle` without an event there is a comment.
pub(super) fn events(listener: Listener, slot: OwnedSemaphorePermit, idle: Duration) -> Body {
    let next = move |(mut listener, slot): (Listener, OwnedSemaphorePermit)| async move {
        let piece = match timeout(idle, listener.next()).await {
            Ok(line) => format!("data: {}\n\n", line?.trim_end()),
            Err(_) => ": nothing has changed\n\n".to_owned(),
        };
        Some((piece, (listener, slot)))
    };
    // The first piece is sent at once, so that a client sees that it is connected.
    let opened = stream::iter([": events follow\n\n".to_owned()]);
    pieces(opened.chain(stream::unfold((listener, slot), next)))
}

/// The selected connections, page by page: JSON lines as on the control socket.
pub(super) fn connections<D: RequestHandler>(
    handler: Arc<D>,
    limit: usize,
    which: Arc<Selection>,
) -> Body {
    let next = move |(from, left): (Option<usize>, usize)| {
        let (handler, which) = (Arc::clone(&handler), Arc::clone(&which));
        async move {
            let mut from = from?;
            loop {
                let most = PAGE.min(left);
                let asked = handler.connections(from, most, Arc::clone(&which));
                let (page, next) = asked.await.ok()?;
                let left = left - page.len().min(left);
                let next = next.filter(|_| left > 0);
                // A section without a selected connection is not a page, unless it is the last.
                match next {
                    Some(next) if page.is_empty() => from = next,
                    _ => {
                        let line = control::encode(&Connections::page(&page, next.is_some()));
                        return Some((line, (next, left)));
                    }
                }
            }
        }
    };
    pieces(stream::unfold((Some(0), limit), next))
}
