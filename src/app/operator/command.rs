//! The verbs of `vstun`, and the requests that they send.

mod trace;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::app::events;
use crate::control::{Request, TraceRequest, Which};
use crate::model::{MAX_WEIGHT, Target, duration};
use trace::TraceFilter;
pub(super) use trace::TraceOptions;

/// The words of a flow: transport, client and virtual IP. In quotes they may be one argument.
const FLOW_WORDS: usize = 3;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Services and real servers with their connections, packets and bytes
    List(Listing),
    /// Services, real servers, checks, drops and events, live in this terminal
    ///
    /// Sorted, filtered and folded by keys; `?` lists them. Enter shows everything about a real
    /// server, with graphs of the last minute. Changes nothing. NO_COLOR=1 leaves colours out.
    Top {
        /// How often the figures are renewed
        #[arg(long, value_name = "INTERVAL", default_value = "1s", value_parser = interval)]
        interval: Duration,
    },
    /// Connections with their state and the time they have left
    Connections {
        /// Show this many at most
        #[arg(long, value_name = "NUMBER")]
        limit: Option<u64>,
        /// Of this client, or of the clients of a network: 198.51.100.0/24
        #[arg(long, value_name = "ADDR")]
        client: Option<String>,
        /// Of this real server
        #[arg(long, value_name = "ADDR")]
        real: Option<String>,
        /// In this state: ESTABLISHED, SYN_RECV, FIN_WAIT, …
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
        /// Of this service
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
    },
    /// Packets, batches, errors and timers of the daemon
    Stats,
    /// Packets dropped, by reason
    Drops {
        /// Show the reasons that never occurred as well
        #[arg(long)]
        all: bool,
    },
    /// The service and the real server of a flow, and why
    ///
    /// For a flow that the director knows, its entry; for any other, what the scheduler or the hash
    /// would choose now. Without the client's port: what holds for all new flows of the client, or
    /// what it depends on. Nothing changes.
    #[command(
        override_usage = "vstun explain [OPTIONS] <TRANSPORT> <CLIENT[:PORT]> <VIP:PORT>",
        after_help = "\
Examples:
  vstun explain tcp 198.51.100.7:40000 192.0.2.10:80
  vstun explain udp [2001:db8::7]:40000 [2001:db8::10]:53
  vstun explain tcp 198.51.100.7 192.0.2.10:80             from any port"
    )]
    Explain {
        /// Transport, client (with its port or without), virtual IP and port
        #[arg(required = true, num_args = 1..=FLOW_WORDS, value_name = "FLOW")]
        flow: Vec<String>,
    },
    /// Health checks with their last results, how long those took, and when the next is due
    Checks,
    /// Run the health checks of a real server now and show every step; exit code 1 if one fails
    Check {
        /// The real server
        #[arg(value_name = "ADDR")]
        address: String,
    },
    /// Find faults that keep packets from getting through, at a director or a real server
    ///
    /// Checks for common mistakes, in the order in which a packet meets them: the capture of the
    /// virtual IPs, firewalls, the tunnel to each real server and the services there. Each finding
    /// has its evidence and the commands that correct it. Connects to the ports of the services,
    /// sends an empty datagram to those of UDP, and asks each real server's daemon. Sends marked
    /// packets to find the firewall rule that drops clients' packets; the tables of nftables that
    /// this needs are removed at the end. Exit codes: 0 nothing is wrong, 1 something is, 2 wrong
    /// usage.
    Doctor {
        /// The configuration, where the daemon does not run
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Set another weight, which applies from the next connection on
    SetWeight {
        /// Share of new connections; 0 takes none and keeps existing ones
        #[arg(long, value_name = "NUMBER", value_parser = weight(), allow_negative_numbers = true)]
        weight: u32,
        #[command(flatten)]
        real: RealArgument,
    },
    /// Send no new connections to a real server; those it has go on
    ///
    /// Exit codes: 0 done, with --wait: no connection is left, or the deadline ends those that are;
    /// 1 refused, or the real server is up again; 4 connections are left after --timeout.
    Drain {
        /// End the remaining connections after this long, as in 10m
        #[arg(long, value_name = "DURATION")]
        deadline: Option<String>,
        /// Return when no connection is left, or the deadline is reached
        #[arg(long, requires = "address")]
        wait: bool,
        /// Wait at most this long, as in 1h; the real server goes on draining
        #[arg(long, value_name = "DURATION", requires = "wait", value_parser = timeout)]
        timeout: Option<Duration>,
        #[command(flatten)]
        real: OwnOrRealArgument,
    },
    /// Put a drained, disabled or dead real server back into service
    Enable {
        #[command(flatten)]
        real: OwnOrRealArgument,
    },
    /// Take a real server out of service until it is enabled
    Disable {
        #[command(flatten)]
        real: OwnOrRealArgument,
    },
    /// Add a real server to a service, until the next reload of a configuration without it
    AddReal {
        /// Share of new connections [default: 1]
        #[arg(long, value_name = "NUMBER", value_parser = weight(), allow_negative_numbers = true)]
        weight: Option<u32>,
        #[command(flatten)]
        real: RealArgument,
    },
    /// Remove a real server from a service; its connections go on until they end
    RemoveReal {
        #[command(flatten)]
        real: RealArgument,
    },
    /// Forget connections, as if they had timed out
    ///
    /// The next packet of a TCP connection that was forgotten is answered with a reset, or adopted
    /// and placed by hash where the service has unknown = "adopt", the default with scheduler mh. A
    /// UDP flow is scheduled anew.
    #[command(group = clap::ArgGroup::new("whose").required(true).multiple(true))]
    Flush {
        /// Those of this service
        #[arg(long, value_name = "NAME", group = "whose")]
        service: Option<String>,
        /// Those of this real server
        #[arg(long, value_name = "ADDR", group = "whose")]
        real: Option<String>,
        /// Every one
        #[arg(long, group = "whose", conflicts_with_all = ["service", "real"])]
        all: bool,
    },
    /// Answer for a virtual IP and announce it, at once and without asking whether another host has
    /// it
    ///
    /// For the hooks of keepalived and other programs that decide which host has it.
    #[command(after_help = "\
Examples:
  vstun announce 192.0.2.10     notify_master of keepalived
  vstun withdraw 192.0.2.10     notify_backup, notify_fault, notify_stop")]
    Announce {
        /// The virtual IP
        #[arg(value_name = "VIP")]
        address: String,
    },
    /// Stop answering for a virtual IP; packets that still arrive for it are forwarded
    Withdraw {
        /// The virtual IP
        #[arg(value_name = "VIP")]
        address: String,
    },
    /// Changes as they happen, one JSON object per line, until Ctrl-C
    ///
    /// Changes by an operator, a reload, or the director itself. A daemon keeps the latest 4,096
    /// events.
    Events {
        /// Past events first, since then: 10m ago, or a time as in 2026-11-25T22:40:00Z
        #[arg(long, value_name = "DURATION|TIME", value_parser = since)]
        since: Option<String>,
        /// End after past events, without waiting for more
        #[arg(long, requires = "since")]
        until_now: bool,
    },
    /// The decision about each packet and its reason, as it happens, until Ctrl-C
    ///
    /// Service, real server, what determined it, the connection's state before and after, the
    /// reason of a drop. Packets that match every option are shown. A slow reader loses packets and
    /// learns how many; the director's packets never wait. At most 4 traces run at the same time.
    #[command(after_help = "\
Examples:
  vstun trace --client 198.51.100.0/24 --vip 192.0.2.10:80
  vstun trace --verdict drop --count 20
  vstun trace --recorded --client 198.51.100.7        what has happened to it
  vstun trace --service web --write web.pcapng       then: wireshark web.pcapng")]
    Trace {
        #[command(flatten)]
        which: TraceFilter,
        #[command(flatten)]
        options: TraceOptions,
    },
    /// Decide on the packets of a file again, and show where the decisions differ
    ///
    /// The file is one of `vstun trace --write`, or the one that a crash leaves. Its packets go
    /// through a balancer as the configuration describes it, with the recorded clock and seeds. No
    /// daemon is involved, and nothing is sent. Exit codes: 0 all agree, 1 one differs, or none can
    /// be read.
    Replay {
        /// The file
        file: PathBuf,
        /// The director's configuration
        #[arg(long, value_name = "FILE", default_value = "/etc/vstun/director.toml")]
        config: PathBuf,
        /// Weights and states when the recording began: what `vstun list --json` printed
        #[arg(long, value_name = "FILE")]
        states: Option<PathBuf>,
    },
    /// Read the configuration again; a faulty one changes nothing
    Reload,
    /// What a reload of a file would change, and how many connections it would affect
    ///
    /// Exit codes: 0 nothing would change, 1 the file has faults or the host cannot be set up for
    /// it, 3 something would change.
    Plan {
        /// The configuration
        file: PathBuf,
    },
    /// Print a configuration with the changes that commands have made: real servers, weights,
    /// states
    ///
    /// As `ipvsadm -S` does, but as the configuration file, with its comments. Reports on standard
    /// error what else differs between the file and what runs.
    Save {
        /// The director's configuration
        #[arg(default_value = "/etc/vstun/director.toml")]
        file: PathBuf,
        /// Write it back to the file
        #[arg(long)]
        write: bool,
    },
    /// The daemon's role, version and uptime
    Status,
    /// Remove what a killed daemon left on this host, without starting one
    Cleanup,
    /// Write manual pages and shell completions into a folder, for `make install`
    #[command(hide = true)]
    Manuals {
        /// The folder
        folder: PathBuf,
    },
    /// Client, director and three real servers on this machine, in private network namespaces
    Demo {
        /// Leave everything up and open a shell in it
        #[arg(long)]
        keep: bool,
    },
}

/// The options of `list`.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Listing {
    /// All digits of large numbers
    #[arg(long)]
    pub(super) exact: bool,
    /// Connections, packets and bytes per second, measured between two lists
    #[arg(long)]
    pub(super) rate: bool,
    /// Repeat until Ctrl-C, each second or at the given interval: 5s, 500ms
    #[arg(
        long,
        value_name = "INTERVAL",
        num_args = 0..=1,
        default_missing_value = "1s",
        value_parser = interval
    )]
    pub(super) watch: Option<Duration>,
}

/// The shortest interval of `list --watch`.
const SHORTEST: Duration = Duration::from_millis(100);

/// The longest interval of `list --watch`.
const LONGEST: Duration = Duration::from_hours(24);

fn interval(text: &str) -> Result<Duration, String> {
    // A number without a unit is seconds, as with watch(1).
    let seconds = text.parse().ok().map(Duration::from_secs);
    let interval = seconds.or_else(|| duration::parse(text));
    interval.filter(|interval| (SHORTEST..=LONGEST).contains(interval)).ok_or_else(|| {
        let (from, to) = (duration::Text(SHORTEST), duration::Text(LONGEST));
        format!("write a duration from {from} to {to}, as in 5s")
    })
}

fn since(text: &str) -> Result<String, String> {
    events::moment(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn timeout(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| "write a duration, as in 90s or 1h30m".to_owned())
}

/// A real server, in one service or in all of them.
#[derive(Debug, Args)]
pub(super) struct RealArgument {
    /// The real server's address
    #[arg(value_name = "ADDR")]
    address: String,
    #[command(flatten)]
    services: ServicesArgument,
}

/// As [`RealArgument`]; without an address at a real server's own daemon.
#[derive(Debug, Args)]
pub(super) struct OwnOrRealArgument {
    /// The real server's address; none at a real server itself
    #[arg(value_name = "ADDR")]
    address: Option<String>,
    #[command(flatten)]
    services: ServicesArgument,
}

/// The services whose real server is selected.
#[derive(Debug, Args)]
struct ServicesArgument {
    /// In this service only; needed if several are possible
    #[arg(long, value_name = "NAME", conflicts_with = "all_services")]
    service: Option<String>,
    /// In every service
    #[arg(long)]
    all_services: bool,
}

impl RealArgument {
    fn target(&self) -> Target {
        self.services.target(&self.address)
    }
}

impl OwnOrRealArgument {
    /// The real server's address; empty at the real server itself.
    pub(super) fn address(&self) -> &str {
        self.address.as_deref().unwrap_or_default()
    }

    /// The service that was named.
    pub(super) fn service(&self) -> Option<&str> {
        self.services.service.as_deref()
    }

    fn target(&self) -> Target {
        self.services.target(self.address())
    }
}

impl ServicesArgument {
    fn target(&self, address: &str) -> Target {
        let Self { service, all_services } = self;
        let service = service.clone();
        Target { address: address.to_owned(), service, all_services: *all_services }
    }
}

impl Command {
    /// The fault in the combination of arguments, if any.
    pub(super) fn fault(&self) -> Option<String> {
        let Self::Explain { flow } = self else { return None };
        let words = flow.iter().flat_map(|argument| argument.split_whitespace()).count();
        (words != FLOW_WORDS).then(|| {
            format!(
                "a flow has {FLOW_WORDS} words, not {words}: write TRANSPORT CLIENT[:PORT] VIP:PORT"
            )
        })
    }

    /// The request, for verbs that send exactly one.
    pub(super) fn request(&self) -> Option<Request> {
        Some(match self {
            Self::List(_) => Request::List,
            Self::Connections { limit, client, real, state, service } => {
                let (client, real) = (client.clone(), real.clone());
                let (state, service) = (state.clone(), service.clone());
                let which = Which { client, address: real, state, service };
                Request::Connections { limit: *limit, which }
            }
            Self::Stats => Request::Stats,
            Self::Drops { .. } => Request::Drops,
            Self::Explain { flow } => Request::Explain { flow: flow.join(" ") },
            Self::SetWeight { weight, real } => {
                Request::SetWeight { real: real.target(), weight: *weight }
            }
            Self::Drain { deadline, real, .. } => {
                Request::Drain { real: real.target(), deadline: deadline.clone() }
            }
            Self::Enable { real } => Request::Enable { real: real.target() },
            Self::Disable { real } => Request::Disable { real: real.target() },
            Self::AddReal { weight, real } => {
                Request::AddReal { real: real.target(), weight: *weight }
            }
            Self::RemoveReal { real } => Request::RemoveReal { real: real.target() },
            Self::Flush { service, real, all } => {
                Request::Flush { service: service.clone(), address: real.clone(), all: *all }
            }
            Self::Announce { address } => Request::Announce { address: address.clone() },
            Self::Withdraw { address } => Request::Withdraw { address: address.clone() },
            Self::Events { since, until_now } => {
                Request::Events { since: since.clone(), until_now: *until_now }
            }
            Self::Trace { which, options } => Request::Trace(Box::new(TraceRequest {
                which: which.traced(),
                recorded: options.recorded,
                end: options.recorded,
                packets: options.write.is_some(),
                snaplen: options.snaplen,
            })),
            Self::Checks => Request::Checks,
            Self::Check { address } => Request::Check { address: address.clone() },
            Self::Reload => Request::Reload,
            Self::Status => Request::Status,
            Self::Plan { .. }
            | Self::Replay { .. }
            | Self::Save { .. }
            | Self::Doctor { .. }
            | Self::Top { .. }
            | Self::Cleanup
            | Self::Manuals { .. }
            | Self::Demo { .. } => {
                return None;
            }
        })
    }
}

fn weight() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(0..=i64::from(MAX_WEIGHT))
}

#[cfg(test)]
mod tests;
