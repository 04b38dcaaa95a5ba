//! Command lines of the daemons: parsing, checking, running, exit codes. `operator` has that of
//! `vstun`.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{CommandFactory, Parser};
use log::LevelFilter;

use crate::config;
use crate::control::counted;
use crate::sys::interfaces;

use super::config_file;
use super::log_lines::{self, LogFormat};
pub use super::operator::operator;
use super::panics;
use super::{director as director_daemon, realserver as realserver_daemon};

/// Exit code: failed while running.
pub(super) const FAILED: u8 = 1;
/// Exit code: wrong usage or configuration.
pub(super) const MISUSED: u8 = 2;

/// The default of `--wait`, in seconds: less than systemd's limit for a start (90 s).
const WAIT: u32 = 30;

/// The longest line of `--help`, in characters.
pub(super) const HELP_WIDTH: usize = 80;

const VERSION: &str = env!("CARGO_PKG_VERSION");

const EXIT_CODES: &str = "\
Exit codes:
  0  done: stopped by SIGTERM or SIGINT, or nothing wrong with --check
  1  failed while running
  2  wrong usage or configuration";

/// Balances the traffic of virtual IPs over real servers, by IP tunnelling, in user space.
///
/// Creates a TUN device, routes the virtual IPs into it, and sends each client's packets, wrapped
/// in another IP packet, to one of the real servers, which run vstun-realserver and answer the
/// clients directly. Runs in the foreground until SIGTERM or SIGINT, then undoes every change it
/// made to the host. SIGHUP reads the configuration again.
#[derive(Debug, Parser)]
#[command(
    name = "vstun-director",
    version,
    max_term_width = HELP_WIDTH,
    after_help = EXIT_CODES,
    after_long_help = format!("\
Examples:
  vstun-director --config /etc/vstun/director.toml --check
  vstun-director --config /etc/vstun/director.toml
  vstun list                      what it does, from another terminal

Needs CAP_NET_ADMIN, CAP_NET_RAW and /dev/net/tun. RUST_LOG is understood as well as --log.

{EXIT_CODES}")
)]
struct DirectorArgs {
    /// The configuration; config.example explains every key
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only check the configuration: name each fault with file, line, key and what to write
    /// instead, and warn of a real server that is an address of this host
    #[arg(long)]
    check: bool,
    /// Start although another host answers ARP or neighbour discovery for a virtual IP
    #[arg(long)]
    force: bool,
    /// Seconds to wait at the start for an uplink, a route or an address that is not there yet, as
    /// at boot
    #[arg(long, value_name = "SECONDS", default_value_t = WAIT)]
    wait: u32,
    /// How much to log: off, error, warn, info or debug [default: info]
    #[arg(long, value_name = "LEVEL", value_parser = level(), hide_possible_values = true)]
    log: Option<LevelFilter>,
    /// The form of log lines: text, or json for one object a line [default: text]
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    log_format: Option<LogFormat>,
}

/// Takes tunnelled packets from directors out of their tunnel and hands them to this host.
///
/// Creates a TUN device that holds the virtual IPs, so that the host's own servers answer the
/// clients directly and not through the director. Accepts only packets from the given directors to
/// the given virtual IPs. Runs in the foreground until SIGTERM or SIGINT, then undoes every change
/// it made to the host. SIGHUP reads the configuration again.
#[derive(Debug, Parser)]
#[command(
    name = "vstun-realserver",
    version,
    max_term_width = HELP_WIDTH,
    override_usage = "\
vstun-realserver --config <FILE> [OPTIONS]
       vstun-realserver --vip <ADDR>... --director <CIDR>... [OPTIONS]",
    after_help = EXIT_CODES,
    after_long_help = format!("\
Examples:
  vstun-realserver --vip 192.0.2.10 --director 10.0.0.1/32
  vstun-realserver --vip 192.0.2.10 --vip 2001:db8::10 --director 2001:db8:1::1
  vstun-realserver --config /etc/vstun/realserver.toml --check
  vstun-realserver --config /etc/vstun/realserver.toml
  vstun drops                     what was not let in, from another terminal

Needs CAP_NET_ADMIN, CAP_NET_RAW and /dev/net/tun. RUST_LOG is understood as well as --log.

{EXIT_CODES}")
)]
struct RealServerArgs {
    /// The configuration; config.example explains every key
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present_any = ["vip", "director"],
        conflicts_with_all = ["vip", "director", "control"]
    )]
    config: Option<PathBuf>,
    /// A virtual IP; may be repeated
    #[arg(long, value_name = "ADDR", num_args = 1..)]
    vip: Vec<String>,
    /// A director that may send tunnelled packets; may be repeated
    #[arg(long, value_name = "CIDR", num_args = 1..)]
    director: Vec<String>,
    /// Where the control socket is made [default: /run/vstun/realserver.sock]
    #[arg(long, value_name = "PATH")]
    control: Option<String>,
    /// Only check the configuration: name each fault with file, line, key and what to write instead
    #[arg(long)]
    check: bool,
    /// How much to log: off, error, warn, info or debug [default: info]
    #[arg(long, value_name = "LEVEL", value_parser = level(), hide_possible_values = true)]
    log: Option<LevelFilter>,
    /// The form of log lines: text, or json for one object a line [default: text]
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    log_format: Option<LogFormat>,
}

/// The command lines of all programs.
pub(super) fn command_lines() -> [clap::Command; 3] {
    [super::operator::command_line(), DirectorArgs::command(), RealServerArgs::command()]
}

/// `vstun-director`.
#[must_use]
pub fn director() -> ExitCode {
    panics::install_hook();
    let args = DirectorArgs::parse();
    log_lines::choose(args.log_format.unwrap_or_default());
    let config = match config_file::director(&args.config) {
        Ok(config) => config,
        Err(refused) => return misused(refused),
    };
    if args.check {
        warn_of_own_addresses(&config);
        return passed(&format!("{}: ok ({})", args.config.display(), summary(&config)));
    }
    log_lines::start(args.log);
    log::info!("vstun-director {VERSION} starts with {}", args.config.display());
    let options = director_daemon::Options {
        config_path: args.config,
        force: args.force,
        wait: Duration::from_secs(args.wait.into()),
    };
    end("vstun-director", director_daemon::run(config, options))
}

/// `vstun-realserver`.
#[must_use]
pub fn realserver() -> ExitCode {
    panics::install_hook();
    let args = RealServerArgs::parse();
    log_lines::choose(args.log_format.unwrap_or_default());
    let config = match realserver_config(&args) {
        Ok(config) => config,
        Err(refused) => return misused(refused),
    };
    if args.check {
        let source = args.config.unwrap_or_else(|| "flags".into());
        let vips = counted(config.vips.len() as u64, "virtual IP");
        let directors = counted(config.directors.len() as u64, "range");
        return passed(&format!("{}: ok ({vips}, {directors} of directors)", source.display()));
    }
    log_lines::start(args.log);
    log::info!("vstun-realserver {VERSION} starts");
    end("vstun-realserver", realserver_daemon::run(config, args.config))
}

/// Prints that a checked file is right. A closed standard output is no error.
fn passed(text: &str) -> ExitCode {
    let _ = writeln!(io::stdout(), "{text}");
    ExitCode::SUCCESS
}

fn realserver_config(args: &RealServerArgs) -> Result<config::RealServer, String> {
    if let Some(path) = &args.config {
        return config_file::realserver(path).map_err(|refused| refused.to_string());
    }
    let flags = config::RealServer::from_flags(&args.vip, &args.director, args.control.as_deref());
    flags.map_err(|faults| {
        let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })
}

/// A director cannot start with a real server on its own host. The check may run on another host,
/// which has other addresses, so this is no error.
fn warn_of_own_addresses(config: &config::Director) {
    let Ok(host) = interfaces::ends() else { return };
    for real in config.reals().iter().filter(|real| host.addresses.contains(real)) {
        log_lines::print_warning(&format!(
            "warning: real server {real} is an address of this host: a director that runs here \
             refuses it"
        ));
    }
}

fn summary(config: &config::Director) -> String {
    let listens = config.specs().map(|service| service.listens.len()).sum::<usize>();
    let services = counted(config.services.len() as u64, "service");
    let listens = counted(listens as u64, "listen");
    format!("{services}, {listens}, {}", counted(config.reals().len() as u64, "real server"))
}

fn level() -> impl TypedValueParser<Value = LevelFilter> {
    PossibleValuesParser::new(["off", "error", "warn", "info", "debug"])
        .try_map(|name| name.parse::<LevelFilter>())
}

fn misused(message: impl Display) -> ExitCode {
    log_lines::print_error(&message.to_string());
    ExitCode::from(MISUSED)
}

/// The end of a daemon.
fn end(program: &str, result: anyhow::Result<()>) -> ExitCode {
    if result.is_ok() {
        log::info!("{program} has stopped; its changes to the host are undone");
    }
    exit(program, result)
}

pub(super) fn exit(program: &str, result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log_lines::print_error(&format!("{program}: {error:#}"));
            ExitCode::from(FAILED)
        }
    }
}
