//! The connection to a daemon's control socket.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use serde::de::DeserializeOwned;

use super::terminal;
use crate::app::unix_socket;
use crate::control::{self, ReplyError, Request, Status};

/// How long a daemon may take to answer, on a host without a free CPU too.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// How long it may take for a command that changes something: a reload may compute Maglev tables
/// for minutes, and other commands wait for it.
const CHANGE_TIME_LIMIT: Duration = Duration::from_secs(600);

/// The pause before a daemon whose queue of clients is full is asked again.
const PAUSE: Duration = Duration::from_millis(20);

/// A connected daemon.
pub(in crate::app) struct Daemon {
    socket: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Daemon {
    /// Connects to the first of `sockets` on which a daemon listens.
    pub(in crate::app) fn connect(sockets: &[PathBuf]) -> anyhow::Result<Self> {
        let mut tried = Vec::new();
        for socket in sockets {
            match connect(socket) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(TIME_LIMIT))?;
                    stream.set_write_timeout(Some(TIME_LIMIT))?;
                    return Ok(Self { socket: socket.clone(), stream: BufReader::new(stream) });
                }
                Err(error) => tried.push((socket, error)),
            }
        }
        let tried: Vec<_> = tried.iter().map(|(socket, error)| failure(socket, error)).collect();
        bail!("no daemon answers\n{}", tried.join("\n"))
    }

    /// Connects again, sends a request and reads its one reply: a daemon closes the connection of a
    /// client that was busy with other work for seconds.
    pub(in crate::app) fn exchange_anew<T: DeserializeOwned>(
        &mut self,
        request: &Request,
    ) -> anyhow::Result<T> {
        *self = Self::connect(std::slice::from_ref(&self.socket))?;
        self.exchange(request)
    }

    /// The user that the daemon runs as: the owner of its socket.
    pub(in crate::app) fn user(&self) -> Option<u32> {
        fs::metadata(&self.socket).ok().map(|socket| socket.uid())
    }

    /// Sends a request and its body.
    pub(in crate::app) fn ask(&mut self, request: &Request, body: &[u8]) -> anyhow::Result<()> {
        let line = control::encode(request);
        let stream = self.stream.get_mut();
        if request.is_for_writers() {
            stream.set_read_timeout(Some(CHANGE_TIME_LIMIT))?;
        }
        let sent = stream.write_all(line.as_bytes()).and_then(|()| stream.write_all(body));
        let Err(error) = sent else { return Ok(()) };
        // A daemon that has too many clients sends the reason before it closes the connection.
        let refused = self.line().ok().and_then(|line| control::decode::<Status>(&line).err());
        let refused = refused.filter(|error| matches!(error, ReplyError::Refused(_)));
        // As text, so that it counts as a failure, unlike a broken pipe on standard output.
        Err(refused.map_or_else(
            || anyhow!("cannot write to {}: {error}", self.socket.display()),
            anyhow::Error::from,
        ))
    }

    /// Reads one reply and prints it: unchanged, or formatted by `human`.
    pub(in crate::app) fn answer<T: DeserializeOwned>(
        &mut self,
        json: bool,
        out: &mut impl Write,
        human: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let line = self.line()?;
        let text = human(&control::decode(&line)?);
        Ok(if json { terminal::write_json(out, &line) } else { terminal::write(out, &text) }?)
    }

    /// Sends a request and reads its one reply.
    pub(in crate::app) fn exchange<T: DeserializeOwned>(
        &mut self,
        request: &Request,
    ) -> anyhow::Result<T> {
        self.ask(request, &[])?;
        Ok(control::decode(&self.line()?)?)
    }

    /// Removes the time limit for lines that follow.
    pub(in crate::app) fn remove_time_limit(&mut self) -> anyhow::Result<()> {
        Ok(self.stream.get_mut().set_read_timeout(None)?)
    }

    /// Whether the daemon has closed the connection after the last line.
    pub(in crate::app) fn has_closed(&mut self) -> anyhow::Result<bool> {
        Ok(self.stream.fill_buf()?.is_empty())
    }

    /// Reads one line.
    pub(in crate::app) fn line(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut line = Vec::new();
        let bound = control::MAX_REPLY_LEN as u64;
        let read = self.stream.by_ref().take(bound).read_until(b'\n', &mut line);
        let socket = self.socket.display();
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let limit = self.stream.get_ref().read_timeout()?.unwrap_or(TIME_LIMIT);
                bail!(
                    "the daemon at {socket} gave no answer within {} s; its log and this host's \
                     load may show why",
                    limit.as_secs()
                )
            }
            Err(error) => Err(error).with_context(|| format!("cannot read from {socket}")),
            Ok(_) if line.ends_with(b"\n") => Ok(line),
            Ok(read) if read as u64 == bound => {
                bail!("the daemon at {socket} sent a line of more than {bound} bytes")
            }
            Ok(_) => bail!("the daemon at {socket} closed the connection; see its log"),
        }
    }
}

fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// Connects, and waits [`TIME_LIMIT`] for a daemon whose queue of clients is full.
fn connect(socket: &Path) -> io::Result<UnixStream> {
    let end = Instant::now() + TIME_LIMIT;
    loop {
        match unix_socket::connect(socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < end => {
                thread::sleep(PAUSE);
            }
            connected => return connected,
        }
    }
}

fn failure(socket: &Path, error: &io::Error) -> String {
    let what = match error.kind() {
        io::ErrorKind::NotFound => {
            "is not there; start the daemon, or give --socket PATH as its `control` key has it"
        }
        io::ErrorKind::PermissionDenied => "permission denied; ask as root, with sudo",
        io::ErrorKind::ConnectionRefused if !is_socket(socket) => {
            "is not a socket; give --socket PATH as the daemon's `control` key has it"
        }
        io::ErrorKind::ConnectionRefused => {
            "no daemon listens: it was killed; start it, or run vstun cleanup"
        }
        io::ErrorKind::WouldBlock => {
            "what listens there takes no client; look at its process, with `ss -xlp`"
        }
        _ => return format!("  {}: {error}", socket.display()),
    };
    format!("  {}: {what}", socket.display())
}
