//! `vstun`, the operator's command: sends requests to a running daemon over its control socket and
//! prints the answers.

mod command;
pub(super) mod daemon;
mod drained;
mod listing;
mod refused;
mod replaying;
mod saving;
mod terminal;
mod top;
mod tracing;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::config;
use crate::control::{
    self, AlterationText, Checked, Checks, Connections, Drops, Explained, Layout, MAX_BODY_LEN,
    ReloadPlan, Request, RequestError, Stats, Status,
};
use crate::demo;

use super::cli::{HELP_WIDTH, exit};
use super::{cleanup, config_file, doctor, manuals, panics};
use command::{Command, OwnOrRealArgument};
use daemon::Daemon;

/// Exit code of `plan`: something would change.
const WOULD_CHANGE: u8 = 3;

/// Exit code of `drain --wait`: the time was over before the connections were gone.
const NOT_DRAINED: u8 = 4;

/// The position in `--help` of options that every command has: after its own.
const LAST: usize = 900;

/// Shows what a running vstun-director or vstun-realserver does, and changes what a director does.
#[derive(Debug, Parser)]
#[command(
    name = "vstun",
    version,
    max_term_width = HELP_WIDTH,
    after_help = "\
Examples:
  vstun list                         services, real servers, their connections
  vstun list --exact                 the same with all digits of large numbers
  vstun list --rate --watch          what comes in each second, until Ctrl-C
  vstun list --json | jq .drops      the same for programs
  vstun top                          all of it live; ? lists its keys
  vstun drops --all                  every reason for which packets are dropped
  vstun explain tcp 198.51.100.7:40000 192.0.2.10:80
  vstun set-weight 10.0.0.11 --weight 3
  vstun drain 10.0.0.11 --deadline 10m --wait    before maintenance
  vstun enable 10.0.0.11                         after it
  vstun plan /etc/vstun/director.toml            what `vstun reload` would do
  vstun save                         the file with what verbs have changed
  vstun events                       what changes, by whom, as it happens
  vstun doctor                       why packets do not go through
  vstun trace --client 198.51.100.7  where each packet of a client goes, and why
  vstun --socket /run/vstun/realserver.sock stats

Exit codes:
  0  done
  1  failed or refused: nothing has changed; no daemon answered; check: one
     fails; replay: a decision differs; doctor: something is wrong
  2  wrong usage
  3  plan: something would change
  4  drain --wait: connections are left after --timeout"
)]
struct Args {
    /// The daemon's control socket [default: /run/vstun/director.sock, then
    /// /run/vstun/realserver.sock]
    #[arg(long, value_name = "PATH", global = true, display_order = LAST)]
    socket: Option<PathBuf>,
    /// Print the daemon's answer as JSON, one object per line; a failure is an object with `error`
    #[arg(long, global = true, display_order = LAST)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// The command line of `vstun`.
pub(super) fn command_line() -> clap::Command {
    Args::command()
}

/// `vstun`.
#[must_use]
pub fn operator() -> ExitCode {
    panics::install_hook();
    let args = Args::try_parse().unwrap_or_else(|error| misused(&error));
    if let Some(fault) = args.command.fault() {
        misused(&Args::command().error(ErrorKind::WrongNumberOfValues, fault));
    }
    match run(&args).map_err(|error| refused::by_option(&args.command, error)) {
        Ok(code) => code,
        // The reader of the output, for example `head`, has closed it.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            if args.json {
                print_json(&control::encode_error(&format!("{error:#}")));
            }
            exit("vstun", Err(error))
        }
    }
}

/// Ends with the usage, or with the requested help. With `--json` the error is an object like any
/// other.
fn misused(error: &clap::Error) -> ! {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        print_json(&control::encode_error(&fault_of(&error.to_string())));
    }
    error.exit()
}

/// Prints the JSON of an error, which standard error has as well: without a reader it is left out.
fn print_json(line: &str) {
    let _ = terminal::write_json(&mut io::stdout().lock(), line.as_bytes());
}

/// A usage error as one line: the fault with the arguments that it lists below, without the usage
/// and the advice after them.
fn fault_of(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let mut lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let listed: Vec<_> = lines.collect();
    if listed.is_empty() { first.to_owned() } else { format!("{first} {}", listed.join(", ")) }
}

fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Cleanup => clean_up(args)?,
        Command::Manuals { folder } => manuals::write(folder)?,
        Command::Demo { keep } => demo::run(*keep)?,
        Command::Save { file, write } => saving::run(&sockets(args), file, *write, args.json)?,
        Command::Plan { file } => return plan(args, file),
        Command::Check { .. } => return check(args),
        Command::Doctor { config } => return examine(args, config.as_deref()),
        Command::Drain { wait: true, timeout, real, .. } => return drain(args, real, *timeout),
        Command::Top { interval } => top::run(&sockets(args), *interval)?,
        Command::List(listing) => listing::run(&sockets(args), *listing, args.json)?,
        Command::Replay { file, config, states } => {
            return replaying::run(file, config, states.as_deref(), args.json);
        }
        Command::Trace { options, .. } => {
            if let Some(request) = args.command.request() {
                tracing::run(&sockets(args), &request, options, args.json)?;
            }
        }
        command => {
            if let Some(request) = command.request() {
                ask(args, &request)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn ask(args: &Args, request: &Request) -> anyhow::Result<()> {
    let (layout, mut out) = (terminal::layout(), BufWriter::new(io::stdout().lock()));
    let mut daemon = Daemon::connect(&sockets(args))?;
    daemon.ask(request, &[])?;
    match args.command {
        Command::Connections { .. } => connections(&mut daemon, args.json, layout, &mut out)?,
        Command::Stats => {
            daemon.answer(args.json, &mut out, |stats: &Stats| stats.human(layout))?;
        }
        Command::Drops { all } => {
            daemon.answer(args.json, &mut out, |drops: &Drops| drops.human(all, layout))?;
        }
        Command::Explain { .. } => {
            daemon.answer(args.json, &mut out, |why: &Explained| why.human(layout))?;
        }
        Command::Checks => {
            daemon.answer(args.json, &mut out, |checks: &Checks| checks.human(layout))?;
        }
        Command::Events { until_now, .. } => events(&mut daemon, until_now, &mut out)?,
        _ => daemon.answer(args.json, &mut out, |status: &Status| {
            // To stderr, apart from the answer.
            status.warnings.iter().for_each(|warning| terminal::warn(warning));
            status.human(layout)
        })?,
    }
    Ok(out.flush()?)
}

/// Drains a real server and waits for the end of its connections.
fn drain(
    args: &Args,
    real: &OwnOrRealArgument,
    timeout: Option<Duration>,
) -> anyhow::Result<ExitCode> {
    if let Some(request) = args.command.request() {
        ask(args, &request)?;
    }
    let waited = drained::wait(&sockets(args), real, timeout)?;
    let mut out = io::stdout().lock();
    if args.json {
        terminal::write_json(&mut out, control::encode(&waited).as_bytes())?;
    } else {
        terminal::write(&mut out, &terminal::layout().record(&waited.done))?;
    }
    Ok(if waited.drained { ExitCode::SUCCESS } else { ExitCode::from(NOT_DRAINED) })
}

/// Runs checks; exits with failure if one fails.
fn check(args: &Args) -> anyhow::Result<ExitCode> {
    let Some(request) = args.command.request() else { return Ok(ExitCode::SUCCESS) };
    let (layout, mut out) = (terminal::layout(), BufWriter::new(io::stdout().lock()));
    let mut daemon = Daemon::connect(&sockets(args))?;
    daemon.ask(&request, &[])?;
    let mut passed = false;
    daemon.answer(args.json, &mut out, |checked: &Checked| {
        passed = checked.passed();
        checked.human(layout)
    })?;
    out.flush()?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the findings; exits with failure if there is a fault.
fn examine(args: &Args, config: Option<&Path>) -> anyhow::Result<ExitCode> {
    let report = doctor::run(&sockets(args), config)?;
    let mut out = io::stdout().lock();
    if args.json {
        terminal::write_json(&mut out, report.json().as_bytes())?;
    } else {
        terminal::write(&mut out, &report.human(terminal::layout().width))?;
    }
    Ok(if report.is_healthy() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends the file's text, since the daemon may not be able to read the operator's file.
fn plan(args: &Args, file: &Path) -> anyhow::Result<ExitCode> {
    let text = config_file::read(file)?;
    if text.len() > MAX_BODY_LEN {
        return Err(RequestError::Body(text.len()).into());
    }
    let (layout, mut out) = (terminal::layout(), BufWriter::new(io::stdout().lock()));
    let mut daemon = Daemon::connect(&sockets(args))?;
    let file = file.display().to_string();
    daemon.ask(&Request::Plan { file, bytes: text.len() }, &text)?;
    let mut nothing = true;
    daemon.answer(args.json, &mut out, |plan: &ReloadPlan<AlterationText>| {
        nothing = plan.is_empty();
        plan.human(layout)
    })?;
    out.flush()?;
    Ok(if nothing { ExitCode::SUCCESS } else { ExitCode::from(WOULD_CHANGE) })
}

/// Prints the events after the line that confirms the subscription.
fn events(daemon: &mut Daemon, until_now: bool, out: &mut impl Write) -> anyhow::Result<()> {
    control::decode::<Status>(&daemon.line()?)?;
    if !until_now {
        daemon.remove_time_limit()?;
        terminal::end_at_interrupt()?;
        terminal::end_with_reader();
        terminal::note("listening; Ctrl-C ends it");
    }
    loop {
        if until_now && daemon.has_closed()? {
            return Ok(());
        }
        let line = daemon.line()?;
        terminal::write_json(out, &line)?;
        out.flush()?;
    }
}

fn connections(
    daemon: &mut Daemon,
    json: bool,
    layout: Layout,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let (mut more, mut header) = (true, Connections::header() + "\n");
    while more {
        daemon.answer(json, out, |page: &Connections| {
            more = page.more;
            std::mem::take(&mut header) + &page.human(layout)
        })?;
    }
    Ok(())
}

/// Cleans up at every socket, also after a failure at one of them.
fn clean_up(args: &Args) -> anyhow::Result<()> {
    let (mut failures, mut out) = (Vec::new(), io::stdout().lock());
    for socket in sockets(args) {
        match cleanup::run(&socket) {
            Ok(cleaned) if args.json => {
                terminal::write_json(&mut out, control::encode(&cleaned).as_bytes())?;
            }
            Ok(cleaned) => terminal::write(&mut out, &cleaned.human(terminal::layout()))?,
            Err(error) => failures.push(error),
        }
    }
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

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io_error = error.downcast_ref::<io::Error>();
    io_error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
