//! Ctrl-C and SIGTERM end the demonstration. Inside, this is the first process of its PID
//! namespace: Linux ignores signals to it that have no handler, and kills all other processes there
//! when it ends.

use std::process;
use std::thread;

use anyhow::{Context as _, Result};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// As a shell reports an end by SIGINT.
const EXIT_CODE: i32 = 130;

/// Makes signals end this process, and with it everything that the demonstration started.
pub(super) fn end_on_signals() -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot listen to signals")?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        let listen = |kind| signal(kind).context("cannot listen to signals");
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?)
    };
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        eprintln!("\ninterrupted: nothing of the demonstration is left");
        process::exit(EXIT_CODE);
    });
    Ok(())
}
