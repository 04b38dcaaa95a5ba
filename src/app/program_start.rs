//! Starts programs. The kernel reads a program before the call that starts it returns, and its file
//! system may not answer. So a thread of its own makes that call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, anyhow};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

/// The most threads that start the same program at the same time. Those that hang stay until their
/// file system answers, and starts of other programs go on.
const STARTS: usize = 4;

/// The starts that each program may still begin.
static STARTING: Mutex<BTreeMap<String, Arc<Semaphore>>> = Mutex::new(BTreeMap::new());

/// Starts the program by `spawn`, which may use this runtime. If the caller stops waiting, what is
/// started afterwards is dropped at once.
///
/// # Errors
/// There is no thread for it.
pub(super) async fn start<T: Send + 'static>(
    program: &str,
    spawn: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    let place = places(program).acquire_owned().await?;
    let runtime = Handle::current();
    let (done, started) = oneshot::channel();
    let begin = move || {
        let _entered = runtime.enter();
        let child = spawn();
        drop(place);
        drop(done.send(child));
    };
    let thread = thread::Builder::new().name("start-program".to_owned()).spawn(begin);
    thread.context("cannot start a thread")?;
    started.await.map_err(|_| anyhow!("the thread has died"))
}

/// The program's entry. Entries of programs that nothing starts now are removed.
fn places(program: &str) -> Arc<Semaphore> {
    let mut all = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(places) = all.get(program) {
        return Arc::clone(places);
    }
    all.retain(|_, places| Arc::strong_count(places) > 1);
    Arc::clone(all.entry(program.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(STARTS))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn starts_that_hang_are_bounded_and_concern_one_program() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let soon = Duration::from_millis(10);
            let mut releases = Vec::new();
            let (begins, begin) = channel();
            for _ in 0..=STARTS {
                let (release, held) = channel::<()>();
                let begins = begins.clone();
                let hang = move || {
                    let _ = begins.send(());
                    held.recv()
                };
                assert!(timeout(soon, start("/slow", hang)).await.is_err());
                releases.push(release);
            }
            for _ in 0..STARTS {
                begin.recv_timeout(Duration::from_secs(60)).expect("a start within the bound");
            }
            assert!(begin.recv_timeout(Duration::from_millis(50)).is_err(), "one past the bound");
            assert_eq!(start("/quick", || 7).await.unwrap(), 7);
            releases.clear();
            assert_eq!(start("/slow", || 8).await.unwrap(), 8);
        });
        // Entries of other programs take their places.
        let left = || STARTING.lock().unwrap().contains_key("/slow");
        for other in 0.. {
            drop(places(&format!("/other{other}")));
            if !left() {
                break;
            }
            thread::yield_now();
        }
    }
}
