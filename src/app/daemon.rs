//! Shared by both daemons: the control thread's runtime, the TUN, signals, readiness.

use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::Once;
use std::thread::JoinHandle;
use std::{fs, io};

use anyhow::{Context, anyhow, bail};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::serve::{ControlSocket, SocketGate, Writers};
use super::slow_io;
use crate::config::Access;
use crate::sys::folder::SocketFile;
use crate::sys::tun::Tun;
use crate::sys::{limits, peer, process};

/// Clients waiting to be accepted, at most (the kernel's own bound is `net.core.somaxconn`).
const BACKLOG: i32 = 128;

/// The group's bits of a file mode.
const GROUP_BITS: u32 = 0o070;

/// A daemon has about thirty files open, and one more for each client.
const FEWEST_FILES: u64 = 64;

/// The control thread's runtime; it runs on the calling thread.
///
/// # Errors
/// The process may have too few files open, or the kernel gives no epoll instance.
pub(super) fn runtime() -> anyhow::Result<Runtime> {
    enough_files(limits::raise_open_files().unwrap_or(u64::MAX))?;
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .context("could not start the control thread's runtime")
}

fn enough_files(limit: u64) -> anyhow::Result<()> {
    if limit >= FEWEST_FILES {
        return Ok(());
    }
    bail!(
        "this process may have {limit} files open, and needs {FEWEST_FILES}: raise the limit \
         (`ulimit -n`, systemd's `LimitNOFILE=`)"
    )
}

/// How much [`give_way`] raises the nice value. With the packet thread's value a thread gets a fair
/// share of a CPU that both need, in time slices of up to 4 ms, which packets wait for. With 10
/// more they still waited for one in a thousand of these (`docs/performance.md`, reloads).
const NICER: i32 = 15;

/// Makes the calling thread, and those that it starts from now on, give way to the packet thread.
/// Only for the control thread; a further call does nothing.
pub(super) fn give_way() {
    static GIVEN: Once = Once::new();
    GIVEN.call_once(|| {
        if let Err(error) = process::give_way(NICER) {
            log::debug!("the control thread competes with packets for the CPU: {error}");
        }
    });
}

/// Whether creating a TUN device may have failed because of offload, and not because of the device:
/// an unknown flag or request.
fn is_refusal(error: &io::Error) -> bool {
    let unknown = [libc::EINVAL, libc::ENOTTY, libc::EOPNOTSUPP, libc::ENOSYS];
    error.kind() == io::ErrorKind::Unsupported
        || error.raw_os_error().is_some_and(|errno| unknown.contains(&errno))
}

/// Creates the TUN device; an error says what the host or the container lacks. If the kernel
/// creates it only without `offload`, this logs a warning and [`Tun::offload`] is false.
pub(super) fn tun(name: &str, mtu: u16, offload: bool) -> anyhow::Result<Tun> {
    let made = Tun::create(name, mtu, offload).or_else(|error| {
        let refused = offload && is_refusal(&error);
        let Some(tun) = refused.then(|| Tun::create(name, mtu, false).ok()).flatten() else {
            return Err(error);
        };
        log::warn!(
            "this kernel makes no TUN device with offload ({error}); every packet goes alone, \
             which is slower; set offload = false to start so"
        );
        Ok(tun)
    });
    made.map_err(|error: io::Error| {
        let advice = tun_advice(&error);
        anyhow!("could not make the TUN device {name:?}: {error}{advice}")
    })
}

/// The advice for such an error of [`tun`].
pub(super) fn tun_advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        // The file does not exist, or no driver serves it.
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            "; /dev/net/tun is missing: `modprobe tun`, or start the container with \
             `--device /dev/net/tun`"
        }
        Some(libc::EPERM | libc::EACCES) => {
            "; run as root or with CAP_NET_ADMIN, and with a /dev/net/tun that may be read and \
             written: see its mode, or start the container with `--device /dev/net/tun`"
        }
        _ => "",
    }
}

/// The signals that a daemon handles.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// The action that a signal causes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SignalAction {
    Stop,
    Reload,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("could not listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for a stop signal; reload signals are left for [`Self::next`].
    pub(super) async fn stop(&mut self) {
        stop(&mut self.terminate, &mut self.interrupt).await;
    }

    pub(super) async fn next(&mut self) -> SignalAction {
        tokio::select! {
            () = stop(&mut self.terminate, &mut self.interrupt) => SignalAction::Stop,
            _ = self.hangup.recv() => SignalAction::Reload,
        }
    }
}

async fn stop(terminate: &mut Signal, interrupt: &mut Signal) {
    let signal = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    log::info!("stopping: {signal}");
}

/// Which users may connect to the unix sockets; the group as its ID.
#[derive(Clone, Copy, Debug)]
pub(super) struct SocketAccess {
    mode: u32,
    /// `None`: the daemon's own group.
    group: Option<u32>,
}

/// Looks up the control socket's group. The group database may be a remote directory service.
///
/// # Errors
/// The group does not exist, or the lookup got no answer.
pub(super) async fn access(access: &Access) -> anyhow::Result<SocketAccess> {
    let &Access { mode, ref group } = access;
    let Some(name) = group else { return Ok(SocketAccess { mode, group: None }) };
    if let Ok(number) = name.parse() {
        return Ok(SocketAccess { mode, group: Some(number) });
    }
    let what = format!("control_group: cannot look up group {name:?}");
    let asked = name.clone();
    let found = slow_io::run(&what, move || peer::group(&asked)).await?.context(what)?;
    let hint = format!("make it with `groupadd --system {name}`, or write another");
    let none = || format!("control_group: there is no group {name:?}; {hint}");
    Ok(SocketAccess { mode, group: Some(found.with_context(none)?) })
}

/// Creates the control socket.
pub(super) fn listen(path: &Path, access: SocketAccess) -> anyhow::Result<ControlSocket> {
    let (listener, gate) = unix_socket(path, access, "control socket")?;
    let cannot = || format!("could not listen on the control socket {}", path.display());
    let listener = UnixListener::from_std(listener).with_context(cannot)?;
    let meta = fs::symlink_metadata(path).with_context(cannot)?;
    Ok(ControlSocket { listener, gate, file: (meta.dev(), meta.ino()) })
}

/// Creates a socket that listens, not blocking; `name` says what for. No client can connect before
/// its mode and group are set.
pub(super) fn unix_socket(
    path: &Path,
    access: SocketAccess,
    name: &str,
) -> anyhow::Result<(std::os::unix::net::UnixListener, SocketGate)> {
    let SocketAccess { mode, group } = access;
    let cannot = |what: &str| format!("could not {what} the {name} {}", path.display());
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).with_context(|| cannot("make"))?;
    let address = SockAddr::unix(path).with_context(|| cannot("name"))?;
    socket.bind(&address).with_context(|| cannot("make"))?;
    // Another user may have put a link in its place meanwhile, if the folder allows that.
    let file = SocketFile::open(path).with_context(|| cannot("look at"))?;
    let given = match group.map(|group| chown(file.path(), None, Some(group))) {
        None | Some(Ok(())) => true,
        Some(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => false,
        Some(error) => error.map(|()| true).with_context(|| cannot("set the group of"))?,
    };
    // If the file does not have the group, its mode cannot keep others out.
    let file_mode = if given { mode } else { mode | (mode & GROUP_BITS) >> 3 };
    fs::set_permissions(file.path(), fs::Permissions::from_mode(file_mode))
        .with_context(|| cannot("set the mode of"))?;
    let meta = fs::metadata(file.path()).with_context(|| cannot("look at"))?;
    socket.listen(BACKLOG).with_context(|| cannot("listen on"))?;
    socket.set_nonblocking(true).with_context(|| cannot("listen on"))?;
    let writers = Writers { owner: meta.uid(), group: group.unwrap_or_else(|| meta.gid()) };
    if !given {
        log::info!(
            "no right to give {} to its group (CAP_CHOWN): each client's groups are checked \
             instead, and the file's mode is {file_mode:04o}",
            path.display()
        );
    }
    let ask_mode = (!given).then_some(mode);
    Ok((OwnedFd::from(socket).into(), SocketGate { writers, ask_mode }))
}

/// Reports to the supervisor that everything is installed and the control socket answers.
pub(super) fn ready() {
    log::info!("ready");
    // Without NOTIFY_SOCKET this does nothing; an error has no receiver.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}

/// Reports the daemon's status to the supervisor, for `systemctl status`.
pub(super) fn status(text: &str) {
    // As for `ready`.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Status(text)]);
}

/// The control thread's handle of the packet thread's life.
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

    /// Waits until the thread ends, which is an error before a stop.
    pub(super) async fn ended(&mut self) -> anyhow::Result<()> {
        (&mut self.ended).await.unwrap_or_else(|_| Err(anyhow!("the packet thread has died")))
    }

    /// Waits until the thread has ended and closed its descriptors.
    pub(super) fn join(self) {
        let _ = self.handle.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_fewer_than_needed_is_refused_with_the_remedy() {
        assert!(enough_files(FEWEST_FILES).is_ok());
        let refused = enough_files(FEWEST_FILES - 1).map_err(|error| error.to_string());
        assert!(refused.is_err_and(|text| text.contains("63 files") && text.contains("ulimit")));
    }
}
