//! The probes, a file for each type of check. A probe ends by itself, or is dropped at its timeout.

mod agent;
mod dns;
mod exchange;
mod exec;
pub(super) mod grpc;
mod http;
mod icmp;
mod tcp;
mod tls;
mod udp;

use std::time::Duration;

use tokio::sync::oneshot;

use super::TakesChanges;
use super::pins::FlowRefusal;
use super::socket::ProbeTarget;
use crate::app::health::trace::{ANSWERED, CONNECTED, PINNED};
use crate::health::Probe;
use crate::health::load::Reported;
use crate::health::spec::{GrpcProbe, HttpProbe, UdpProbe};

/// The result of a probe.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ProbeAnswer {
    /// Whether the check has passed.
    pub(super) passed: bool,
    /// Whether the real server's host has refused the probe itself.
    pub(super) refused: bool,
    /// The result as text.
    pub(super) detail: String,
    /// What an agent or a program has reported besides.
    pub(super) reported: Option<Reported>,
}

impl ProbeAnswer {
    pub(super) fn pass(detail: impl Into<String>) -> Self {
        Self { passed: true, refused: false, detail: detail.into(), reported: None }
    }

    pub(super) fn with(self, reported: Reported) -> Self {
        Self { reported: Some(reported), ..self }
    }

    pub(super) fn fail(detail: impl Into<String>) -> Self {
        Self { passed: false, refused: false, detail: detail.into(), reported: None }
    }
}

/// The result, or the error as text.
pub(super) type ProbeOutcome = Result<ProbeAnswer, String>;

/// Probes once, within the check's timeout. An ICMP error that quotes the probe ends it at once.
pub(super) async fn run<B: TakesChanges>(target: &mut ProbeTarget<'_, B>) -> ProbeAnswer {
    let limit = target.check.spec.timing.timeout;
    let trace = target.trace;
    let (refuses, refused) = oneshot::channel();
    target.refuses = Some(refuses);
    let outcome = tokio::select! {
        Ok(FlowRefusal { why, by_end }) = refused => {
            return ProbeAnswer { refused: by_end, ..ProbeAnswer::fail(why) };
        }
        outcome = tokio::time::timeout(time_limit(target), probe(target)) => outcome,
    };
    match outcome {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => ProbeAnswer { refused: target.refused, ..ProbeAnswer::fail(why) },
        Err(_) => ProbeAnswer::fail(late(limit, &target.check.spec.probe, trace.last())),
    }
}

/// The time limit of a probe. A probe that passes if nothing comes within its timeout waits for
/// that itself, and has longer.
fn time_limit<B: TakesChanges>(target: &ProbeTarget<'_, B>) -> Duration {
    let limit = target.check.spec.timing.timeout;
    match &target.check.spec.probe {
        Probe::Udp(UdpProbe { expect: None, .. }) => limit * 2,
        _ => limit,
    }
}

async fn probe<B: TakesChanges>(target: &mut ProbeTarget<'_, B>) -> ProbeOutcome {
    let check = target.check;
    match &check.spec.probe {
        Probe::Tcp => tcp::probe(target).await,
        Probe::Http(http) => http::probe(target, http).await,
        Probe::Tls(tls) => Box::pin(tls::probe(target, tls)).await,
        Probe::Udp(udp) => Box::pin(udp::probe(target, udp)).await,
        Probe::Dns(dns) => Box::pin(dns::probe(target, dns)).await,
        Probe::Icmp => Box::pin(icmp::probe(target)).await,
        Probe::Grpc(grpc) => Box::pin(grpc::probe(target, grpc)).await,
        Probe::Exec(exec) => Box::pin(exec::probe(target, exec)).await,
        Probe::Agent => Box::pin(agent::probe(target)).await,
    }
}

/// The result of a probe that has reached its time limit: the last step done, and what has not
/// come. Part of it may have come: a server may send one byte a second.
fn late(limit: Duration, probe: &Probe, last: Option<&'static str>) -> String {
    let limit = crate::model::duration::Text(limit);
    let Some(last) = last.filter(|last| *last != PINNED) else {
        return format!("no answer within {limit}");
    };
    let missing = match (probe, last) {
        (Probe::Exec(_), _) => "no end",
        (Probe::Agent, ANSWERED) => "no end of its line",
        (_, ANSWERED) => "no end of the answer",
        (Probe::Tls(_), CONNECTED)
        | (Probe::Http(HttpProbe { tls: Some(_), .. }), CONNECTED)
        | (Probe::Grpc(GrpcProbe { tls: Some(_), .. }), CONNECTED) => "no end of the handshake",
        (Probe::Http(_) | Probe::Grpc(_), _) => "no whole answer",
        _ => "nothing",
    };
    format!("{last}, then {missing} within {limit}")
}
