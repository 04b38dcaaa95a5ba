//! A datagram and its answer.

use socket2::{Protocol, Type};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::{ProbeAnswer, ProbeOutcome};
use crate::app::health::TakesChanges;
use crate::app::health::socket::{ProbeTarget, describe};
use crate::health::spec::UdpProbe;

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 10;

pub(super) async fn probe<B: TakesChanges>(
    target: &mut ProbeTarget<'_, B>,
    udp: &UdpProbe,
) -> ProbeOutcome {
    let pattern = udp.expect.as_deref().map(|text| target.patterns.get(text)).transpose();
    let pattern = pattern.map_err(|error| error.to_string())?;
    let socket = connect(target).await?;
    socket.send(udp.send.as_bytes()).await.map_err(|error| refused(target, &error))?;
    target.trace.step("sent");
    let mut answer = vec![0; MAX_ANSWER];
    let Some(pattern) = pattern else {
        let limit = target.check.spec.timing.timeout;
        return match timeout(limit, socket.recv(&mut answer)).await {
            Ok(Ok(len)) => Ok(ProbeAnswer::pass(format!("answered with {len} bytes"))),
            Ok(Err(error)) => Err(refused(target, &error)),
            Err(_) => Ok(ProbeAnswer::pass("no port unreachable")),
        };
    };
    loop {
        let len = socket.recv(&mut answer).await.map_err(|error| refused(target, &error))?;
        if pattern.is_match(answer.get(..len).unwrap_or_default()) {
            return Ok(ProbeAnswer::pass("the answer matches"));
        }
        // It may be a late answer to an earlier probe. The right one may still come.
        target.trace.step("an answer that does not match");
    }
}

/// A connected socket: it gets the error of "port unreachable" at once (udp(7)).
pub(super) async fn connect<B: TakesChanges>(
    target: &mut ProbeTarget<'_, B>,
) -> Result<UdpSocket, String> {
    let socket = target.open(Type::DGRAM, Protocol::UDP).await?;
    let destination = target.destination();
    socket.connect(&destination.into()).map_err(|error| describe(&error))?;
    UdpSocket::from_std(socket.into()).map_err(|error| describe(&error))
}

/// For a datagram, "connection refused" means ICMP port unreachable.
pub(super) fn refused<B: TakesChanges>(
    target: &mut ProbeTarget<'_, B>,
    error: &std::io::Error,
) -> String {
    let failure = target.failed(error);
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "port unreachable".to_owned(),
        _ => failure,
    }
}
