//! `vstun top`: services, checks, drops and events of a director, live in a terminal.
//!
//! [`feed`] reads from the daemon, [`view`] holds the displayed state and handles keys, [`draw`]
//! and [`detail`] draw it. Nothing here changes the daemon.

mod detail;
mod draw;
mod feed;
mod keys;
mod rows;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod view;

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use std::{process, thread};

use anyhow::{Context, bail};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event as Input, KeyEventKind};
use ratatui::crossterm::terminal::disable_raw_mode;
use ratatui::crossterm::{cursor, execute};
use tokio::signal::unix::{SignalKind, signal};

use crate::sys::hangup;
use draw::Palette;
use feed::News;
use view::View;

/// The interval at which new data and signals are checked while no key is pressed.
const TURN: Duration = Duration::from_millis(50);

/// How long the screen has to end after a signal: it may wait for a terminal that takes no output.
const TIME_LIMIT: Duration = Duration::from_secs(1);

/// Shows the director until `q`, Ctrl-C or a signal.
///
/// # Errors
/// The output is not a terminal, or no daemon answers at first.
pub(super) fn run(sockets: &[PathBuf], interval: Duration) -> anyhow::Result<()> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        bail!(
            "top needs a terminal; programs and files get the same from\n  \
             vstun list --rate --watch\n  vstun list --json --watch"
        );
    }
    let (sender, news) = channel();
    // Before the screen changes, so that a first error is printed like any other command's.
    let mut view = View::default();
    view.take(feed::first(sockets)?);
    feed::start(sockets, interval, &sender)?;
    let ended = end_at_signals()?;
    end_with_terminal();
    let terminal = ratatui::try_init().context("cannot take over the terminal")?;
    show_cursor_at_panic();
    let result = show(terminal, &mut view, &news, &ended);
    // `ratatui::restore` prints a failure, which is a panic where the terminal is gone.
    let _ = ratatui::try_restore();
    result
}

fn show(
    mut terminal: DefaultTerminal,
    view: &mut View,
    news: &Receiver<News>,
    ended: &AtomicBool,
) -> anyhow::Result<()> {
    let palette = Palette::of_environment();
    let mut changed = true;
    while !ended.load(Ordering::Relaxed) {
        if changed {
            terminal.draw(|frame| draw::draw(frame, view, palette))?;
        }
        changed = false;
        if event::poll(TURN)? {
            changed = true;
            if let Input::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
                && keys::press(view, key)
            {
                break;
            }
        }
        for one in news.try_iter() {
            view.take(one);
            changed = true;
        }
    }
    Ok(())
}

/// True after a signal that would otherwise end the program in raw mode, on the other screen.
fn end_at_signals() -> anyhow::Result<Arc<AtomicBool>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot wait for signals")?;
    let ended = Arc::new(AtomicBool::new(false));
    let signals = {
        let _guard = runtime.enter();
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        kinds.map(signal).into_iter().collect::<io::Result<Vec<_>>>()
    };
    let mut signals = signals.context("cannot wait for signals")?;
    let seen = Arc::clone(&ended);
    thread::spawn(move || {
        runtime.block_on(async {
            let waits = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
            futures_util::future::select_all(waits).await;
        });
        seen.store(true, Ordering::Relaxed);
        thread::sleep(TIME_LIMIT);
        // Restores the terminal's modes without writing to it.
        let _ = disable_raw_mode();
        process::exit(0);
    });
    Ok(ended)
}

/// Ends the program when its terminal is gone: there is nothing to restore, and at the end of the
/// input the library reads again and again without an end.
fn end_with_terminal() {
    thread::spawn(|| {
        let (keys, screen) = (io::stdin(), io::stdout());
        if hangup::wait(&[keys.as_fd(), screen.as_fd()]).is_ok() {
            process::exit(0);
        }
    });
}

/// ratatui's hook leaves the cursor hidden if a panic aborts, because the terminal's destructor,
/// which shows it, does not run.
fn show_cursor_at_panic() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let _ = execute!(io::stdout(), cursor::Show);
        hook(panic);
    }));
}
