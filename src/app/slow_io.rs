//! System calls that may wait for a disk, a network file system or a name service. A separate
//! thread makes them, so that the control thread answers and handles signals meanwhile.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The time limit of such work.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// The most such threads. A thread that hangs stays until its system call returns, so repeated
/// attempts must not add threads without bound.
const THREADS: usize = 16;

static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Counts a thread from before its start to its end.
struct Running;

impl Running {
    fn begin() -> Option<Self> {
        let more = |running| (running < THREADS).then_some(running + 1);
        let begun = RUNNING.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        begun.ok().map(|_| Self)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Runs `work` on another thread. `what` names it in errors.
///
/// # Errors
/// `work` does not end within [`LIMIT`]; it goes on and its result is ignored. Or [`THREADS`]
/// threads hang already.
pub(super) async fn run<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    within(LIMIT, what, work).await
}

async fn within<T: Send + 'static>(
    limit: Duration,
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    let Some(running) = Running::begin() else {
        bail!(
            "{what}: {THREADS} threads wait for a file system that does not answer; look at it \
             first"
        )
    };
    let (done, awaited) = oneshot::channel();
    thread::Builder::new()
        .name("slow-io".to_owned())
        .spawn(move || {
            let outcome = work();
            drop(running);
            // The caller may have stopped waiting.
            let _ = done.send(outcome);
        })
        .with_context(|| format!("{what}: cannot start a thread"))?;
    match timeout(limit, awaited).await {
        Ok(outcome) => outcome.map_err(|_| anyhow!("{what}: the thread has died")),
        Err(_) => bail!(
            "{what}: not done within {} s; the file system, or what is behind it, does not answer",
            limit.as_secs_f64()
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::mpsc::channel;

    use super::*;

    // One test, since the cases share the thread count.
    #[test]
    fn work_that_hangs_is_abandoned_and_its_threads_are_bounded() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            assert_eq!(run("a sum", || 1 + 1).await.unwrap(), 2);
            let soon = Duration::from_millis(10);
            let mut hanging = Vec::new();
            for _ in 0..THREADS {
                let (release, held) = channel::<()>();
                let error = within(soon, "read x", move || held.recv()).await.unwrap_err();
                assert!(error.to_string().starts_with("read x: not done within 0.01 s"), "{error}");
                hanging.push(release);
            }
            let error = run("read y", || ()).await.unwrap_err().to_string();
            assert!(error.starts_with("read y: 16 threads wait"), "{error}");
            hanging.clear();
            while run("read y", || ()).await.is_err() {
                thread::yield_now();
            }
        });
    }
}
