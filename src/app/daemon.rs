//! What both daemons do alike: the control thread's runtime, the TUN, signals, readiness.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread::JoinHandle;
use std::{fs, io};

use anyhow::{Context, anyhow};
use tokio::net::UnixListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::sys::tun::Tun;

/// The control thread's runtime: it lives on the thread that called.
pub(super) fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .context("could not start the control thread's runtime")
}

/// Makes the TUN device; an error says what the host or the container lacks.
pub(super) fn tun(name: &str, mtu: u16, offload: bool) -> anyhow::Result<Tun> {
    Tun::create(name, mtu, offload).map_err(|error| {
        let advice = tun_advice(&error);
        anyhow!("could not make the TUN device {name:?}: {error}{advice}")
    })
}

fn tun_advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        // No such file, or one without a driver behind it.
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            "; /dev/net/tun is missing: `modprobe tun`, or start the container with `--device /dev/net/tun`"
        }
        Some(libc::EPERM | libc::EACCES) => {
            "; run as root or with CAP_NET_ADMIN, and with a /dev/net/tun that may be read and written: see its mode, or start the container with `--device /dev/net/tun`"
        }
        _ => "",
    }
}

/// The signals that a daemon obeys.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Order {
    Stop,
    Reload,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("could not listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) -> Order {
        tokio::select! {
            _ = self.terminate.recv() => Order::Stop,
            _ = self.interrupt.recv() => Order::Stop,
            _ = self.hang_up.recv() => Order::Reload,
        }
    }
}

/// Makes the control socket, for its owner and group only.
pub(super) fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    let listener = UnixListener::bind(path)
        .with_context(|| format!("could not make the control socket {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))
        .with_context(|| format!("could not set the mode of {}", path.display()))?;
    Ok(listener)
}

/// Says that everything is installed and the control socket answers.
pub(super) fn ready() {
    log::info!("ready");
    // Without NOTIFY_SOCKET this does nothing; with a broken one there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}

/// The packet thread, from outside.
#[derive(Debug)]
pub(super) struct Thread {
    handle: JoinHandle<()>,
    ended: oneshot::Receiver<anyhow::Result<()>>,
}

impl Thread {
    /// Starts the packet thread.
    pub(super) fn start(
        run: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (end, ended) = oneshot::channel();
        let handle = std::thread::Builder::new()
            .name("packets".to_owned())
            .spawn(move || drop(end.send(run())))
            .context("could not start the packet thread")?;
        Ok(Self { handle, ended })
    }

    /// Waits for its end, which it should not come to by itself.
    pub(super) async fn ended(&mut self) -> anyhow::Result<()> {
        (&mut self.ended).await.unwrap_or_else(|_| Err(anyhow!("the packet thread has died")))
    }

    /// Waits until it has let go of everything.
    pub(super) fn join(self) {
        let _ = self.handle.join();
    }
}
