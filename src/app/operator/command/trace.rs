//! The options of `vstun trace`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::balancer::Reason;
use crate::balancer::record::RecordedVerdict;
use crate::control::Traced;

/// The packets that `trace` shows.
#[derive(Args, Clone, Debug)]
pub(in crate::app::operator) struct TraceFilter {
    /// Of this client, or of the clients of a network: 198.51.100.0/24
    #[arg(long, value_name = "ADDR")]
    client: Option<String>,
    /// To this virtual IP, or to one port of it
    #[arg(long, value_name = "VIP[:PORT]")]
    vip: Option<String>,
    /// Sent to this real server
    #[arg(long, value_name = "ADDR")]
    real: Option<String>,
    /// Of this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// With this verdict: tunnel, reply, reset, drop or hold
    #[arg(long, value_name = "VERDICT", value_parser = verdict(), hide_possible_values = true)]
    verdict: Option<String>,
    /// Dropped or refused for this reason; `vstun drops --all` names them
    #[arg(long, value_name = "REASON", value_parser = reason(), hide_possible_values = true)]
    reason: Option<String>,
}

impl TraceFilter {
    /// The filter as the request has it.
    pub(super) fn traced(&self) -> Traced {
        let Self { client, vip, real, service, verdict, reason } = self.clone();
        Traced { client, virtual_address: vip, address: real, service, verdict, reason }
    }
}

/// The form in which `trace` shows packets.
#[derive(Args, Clone, Debug)]
pub(in crate::app::operator) struct TraceOptions {
    /// End after this many packets
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub(in crate::app::operator) count: Option<u64>,
    /// The decisions that the recorder has kept, instead of those from now on
    ///
    /// The director keeps its latest decisions where `[director] recorder` says how many, with
    /// the headers of the packets as they came.
    #[arg(long)]
    pub(in crate::app::operator) recorded: bool,
    /// Write a pcapng file: each packet as it came and as it was sent, the decision as its comment
    ///
    /// The file also holds the director's seeds, which are secret: only its owner may read it.
    #[arg(long, value_name = "FILE")]
    pub(in crate::app::operator) write: Option<PathBuf>,
    /// Bytes of each packet to show; without it the headers up to the transport's, no payload
    #[arg(long, value_name = "BYTES", requires = "write", conflicts_with = "recorded")]
    pub(in crate::app::operator) snaplen: Option<u32>,
}

fn verdict() -> PossibleValuesParser {
    PossibleValuesParser::new(RecordedVerdict::ALL.map(RecordedVerdict::name))
}

fn reason() -> PossibleValuesParser {
    PossibleValuesParser::new(Reason::ALL.iter().map(|reason| reason.name()))
}
