//! HTTP: metrics, the control socket's answers as JSON, and health for monitoring.
//!
//! A separate thread serves it, read-only: a client cannot change the daemon. Clients, headers and
//! waiting times are bounded.
//!
//! 1. `listen`: the socket.
//! 2. `connection`: one client.
//! 3. `routes`: the paths and their answers.
//! 4. `slots`: how many clients there are.
//! 5. `body`: response bodies, also those sent piece by piece.

mod body;
mod connection;
mod listen;
mod query;
mod routes;
mod slots;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use tokio::sync::oneshot;

use super::daemon::SocketAccess;
use super::serve::RequestHandler;
use crate::config::HttpAddress;
use crate::metrics::Process;
use crate::sys::process;
use connection::ClientLimits;
pub(super) use listen::HttpSocket;

/// A handle of the thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Http {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// The socket's file.
    path: Option<PathBuf>,
}

impl Http {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread or its runtime cannot be started.
    pub(super) fn start<D: RequestHandler>(
        socket: HttpSocket,
        handler: Arc<D>,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .context("could not start the runtime for HTTP")?;
        let path = socket.path().map(ToOwned::to_owned);
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || runtime.block_on(run(socket, handler, stopped)))
            .context("could not start the thread for HTTP")?;
        Ok(Self { stop: Some(stop), thread: Some(thread), path })
    }
}

async fn run<D: RequestHandler>(
    socket: HttpSocket,
    handler: Arc<D>,
    stopped: oneshot::Receiver<()>,
) {
    tokio::select! {
        served = connection::serve(socket, handler, ClientLimits::DEFAULT) => {
            if let Err(error) = served {
                log::error!("http: {error:#}");
            }
        }
        _ = stopped => {}
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(path) = &self.path {
            // Another daemon may have removed it.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The HTTP server of a daemon, if it is configured; a reload may move it.
#[derive(Debug)]
pub(super) struct Server<D> {
    handler: Arc<D>,
    address: Option<HttpAddress>,
    /// Who may connect to a unix socket.
    access: SocketAccess,
    http: Option<Http>,
}

impl<D: RequestHandler> Server<D> {
    /// Starts HTTP if it is configured.
    ///
    /// # Errors
    /// Listening on the address failed, or the thread cannot be started.
    pub(super) fn start(
        address: Option<&HttpAddress>,
        access: SocketAccess,
        handler: &Arc<D>,
    ) -> anyhow::Result<Self> {
        let http = start(address, access, handler)?;
        Ok(Self { handler: Arc::clone(handler), address: address.cloned(), access, http })
    }

    fn listen(&mut self, address: Option<&HttpAddress>) -> anyhow::Result<()> {
        if self.address.as_ref() == address {
            return Ok(());
        }
        // The new address may overlap the old one.
        self.http = None;
        match start(address, self.access, &self.handler) {
            Ok(http) => {
                self.http = http;
                self.address = address.cloned();
                Ok(())
            }
            Err(error) => {
                match start(self.address.as_ref(), self.access, &self.handler) {
                    Ok(http) => self.http = http,
                    Err(error) => log::error!("no metrics and JSON any more: {error:#}"),
                }
                Err(error)
            }
        }
    }
}

/// Moves the running server to `address`, or ends it.
///
/// # Errors
/// It cannot listen there, and still listens at the old address.
pub(super) fn listen<D: RequestHandler>(
    server: &mut Option<Server<D>>,
    address: Option<&HttpAddress>,
) -> anyhow::Result<()> {
    server.as_mut().map_or(Ok(()), |server| server.listen(address))
}

fn start<D: RequestHandler>(
    address: Option<&HttpAddress>,
    access: SocketAccess,
    handler: &Arc<D>,
) -> anyhow::Result<Option<Http>> {
    let Some(address) = address else { return Ok(None) };
    let socket = HttpSocket::open(address, access)?;
    let http = Http::start(socket, Arc::clone(handler))?;
    log::info!("metrics and JSON at {address}");
    Ok(Some(http))
}

/// The process's figures; 0 for those that the kernel does not report.
pub(super) fn process(started: jiff::Timestamp) -> Process {
    // Seconds since 1970 are far below 2^53.
    #[allow(clippy::cast_precision_loss)]
    let start_time_seconds = started.as_millisecond() as f64 / 1e3;
    Process {
        cpu_seconds: process::cpu_seconds(),
        resident_bytes: process::resident_bytes().unwrap_or_default(),
        start_time_seconds,
        open_fds: process::open_fds().unwrap_or_default(),
        max_fds: process::max_fds(),
    }
}
