//! `vstun`, the operator's command: asks a running daemon over its control socket and prints the answer.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::{Parser, Subcommand};
use serde::de::DeserializeOwned;

use crate::config;
use crate::control::{self, Connections, Drops, List, Request, Stats, Status};

use super::cli::exit;
use super::{cleanup, demo};

/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks a running vstun-director or vstun-realserver what it does.
#[derive(Debug, Parser)]
#[command(
    name = "vstun",
    version,
    after_help = "\
Examples:
  vstun list                       services, real servers and their connections
  vstun list --json | jq .drops    the same for programs
  vstun drops --all                every reason for which packets can be dropped
  vstun --socket /run/vstun/realserver.sock stats

Exit codes:
  0  done
  1  failed, or no daemon answered
  2  wrong usage"
)]
struct Args {
    /// The daemon's control socket [default: /run/vstun/director.sock, then /run/vstun/realserver.sock]
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    /// Print the daemon's answer as JSON, one object per line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Services and real servers with their connections, packets and bytes
    List,
    /// Connections with their state and the time they have left
    Connections {
        /// At most so many
        #[arg(long, value_name = "NUMBER")]
        limit: Option<u64>,
    },
    /// Packets, batches, errors and timers of the daemon
    Stats,
    /// Packets dropped, by reason
    Drops {
        /// Show the reasons that never occurred as well
        #[arg(long)]
        all: bool,
    },
    /// Read the configuration again; what is wrong with it changes nothing
    Reload,
    /// Which daemon answers, and for how long it has run
    Status,
    /// Remove what a killed daemon left on this host, without starting one
    Cleanup,
    /// Client, director and three real servers on this machine, in private network namespaces
    Demo {
        /// Leave everything up and open a shell in it
        #[arg(long)]
        keep: bool,
    },
}

/// `vstun`.
#[must_use]
pub fn operator() -> ExitCode {
    let args = Args::parse();
    let result = run(&args);
    match &result {
        // The reader of our output, `head` for one, has seen enough.
        Err(error) if is_broken_pipe(error) => ExitCode::SUCCESS,
        _ => exit("vstun", result),
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let request = match args.command {
        Command::Cleanup => return clean_up(args),
        Command::Demo { keep } => return demo::run(keep),
        Command::List => Request::List,
        Command::Connections { limit } => Request::Connections { limit },
        Command::Stats => Request::Stats,
        Command::Drops { .. } => Request::Drops,
        Command::Reload => Request::Reload,
        Command::Status => Request::Status,
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut daemon = Daemon::connect(&sockets(args))?;
    daemon.ask(&request)?;
    match args.command {
        Command::List => daemon.answer(args.json, &mut out, List::human)?,
        Command::Connections { .. } => connections(&mut daemon, args.json, &mut out)?,
        Command::Stats => daemon.answer(args.json, &mut out, Stats::human)?,
        Command::Drops { all } => daemon.answer(args.json, &mut out, |d: &Drops| d.human(all))?,
        _ => daemon.answer(args.json, &mut out, Status::human)?,
    }
    Ok(out.flush()?)
}

fn connections(daemon: &mut Daemon, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    if !json {
        writeln!(out, "{}", Connections::header())?;
    }
    let mut more = true;
    while more {
        daemon.answer(json, out, |page: &Connections| {
            more = page.more;
            page.human()
        })?;
    }
    Ok(())
}

/// Cleans up at every socket: a daemon that lives at one is no reason to leave what is at the other.
fn clean_up(args: &Args) -> anyhow::Result<()> {
    let outcomes = sockets(args).into_iter().map(|socket| cleanup::run(&socket));
    let failures: Vec<_> = outcomes.filter_map(Result::err).collect();
    if failures.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = failures.iter().map(|error| format!("{error:#}")).collect();
    bail!("{}", lines.join("\n"))
}

fn sockets(args: &Args) -> Vec<PathBuf> {
    match &args.socket {
        Some(socket) => vec![socket.clone()],
        None => [config::Director::CONTROL, config::RealServer::CONTROL].map(PathBuf::from).into(),
    }
}

/// A daemon that listens.
struct Daemon {
    socket: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Daemon {
    /// Connects to the first of `sockets` that somebody listens on.
    fn connect(sockets: &[PathBuf]) -> anyhow::Result<Self> {
        let mut tried = Vec::new();
        for socket in sockets {
            match UnixStream::connect(socket) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE))?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    return Ok(Self { socket: socket.clone(), stream: BufReader::new(stream) });
                }
                Err(error) => tried.push((socket, error)),
            }
        }
        let tried: Vec<_> = tried.iter().map(|(socket, error)| failure(socket, error)).collect();
        bail!("no daemon answers\n{}", tried.join("\n"))
    }

    fn ask(&mut self, request: &Request) -> anyhow::Result<()> {
        let line = control::encode(request);
        let Err(error) = self.stream.get_mut().write_all(line.as_bytes()) else { return Ok(()) };
        // A daemon that has no room for one more client has said so before it closed.
        let refused = self.line().ok().and_then(|line| control::decode::<Status>(&line).err());
        // As text: a broken pipe here is a failure, unlike one on our own output.
        Err(refused.map_or_else(
            || anyhow!("cannot write to {}: {error}", self.socket.display()),
            anyhow::Error::from,
        ))
    }

    /// Reads one reply and prints it: as it came, or as `human` puts it.
    fn answer<T: DeserializeOwned>(
        &mut self,
        json: bool,
        out: &mut impl Write,
        human: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let line = self.line()?;
        let text = human(&control::decode(&line)?);
        if json {
            out.write_all(&line)?;
        } else {
            out.write_all(text.as_bytes())?;
        }
        Ok(())
    }

    fn line(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut line = Vec::new();
        let bound = control::MAX_REPLY_LEN as u64;
        let read = self.stream.by_ref().take(bound).read_until(b'\n', &mut line);
        let socket = self.socket.display();
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                bail!("the daemon at {socket} gave no answer within {} s", PATIENCE.as_secs())
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

fn failure(socket: &Path, error: &io::Error) -> String {
    let what = match error.kind() {
        io::ErrorKind::NotFound => {
            "is not there; start the daemon, or give --socket PATH as its `control` key has it"
        }
        io::ErrorKind::PermissionDenied => "permission denied; ask as root, with sudo",
        io::ErrorKind::ConnectionRefused => {
            "nobody listens: the daemon was killed; start it, or run vstun cleanup"
        }
        _ => return format!("  {}: {error}", socket.display()),
    };
    format!("  {}: {what}", socket.display())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io_error = error.downcast_ref::<io::Error>();
    io_error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
