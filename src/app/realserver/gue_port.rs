//! The UDP port on which GUE is received. Another program may have it: then the daemon reports that
//! and tries again until the port is free.

use std::io;
use std::time::Duration;

use tokio::time::sleep;

use crate::app::host::Session;
use crate::host::{Problem, ProblemKind};
use crate::sys::raw::Receiver;

/// The time between two attempts.
const RETRY: Duration = Duration::from_secs(2);

/// Opens the sockets for GUE; if another program has the port, reports that and opens none.
pub(super) fn open_or_report(port: u16, session: &mut Session) -> Vec<Receiver> {
    match open(port) {
        Ok(receivers) => receivers,
        Err(error) => {
            session.report_own(vec![problem(port, &error)]);
            Vec::new()
        }
    }
}

/// Opens them as soon as the port is free.
pub(super) async fn freed(port: u16) -> Vec<Receiver> {
    loop {
        sleep(RETRY).await;
        if let Ok(receivers) = open(port) {
            return receivers;
        }
    }
}

fn open(port: u16) -> io::Result<Vec<Receiver>> {
    let receivers = Receiver::open_gue(port)?;
    if !receivers.iter().all(Receiver::merges) {
        log::warn!(
            "this kernel merges no UDP datagrams for a socket (UDP_GRO): each GUE datagram is read \
             alone"
        );
    }
    Ok(receivers)
}

/// The problem that GUE is not received.
pub(crate) fn problem(port: u16, error: &io::Error) -> Problem {
    let text = format!(
        "no GUE is taken: cannot open UDP port {port}: {error}; `ss -ulnp 'sport = {port}'` shows \
         the program that has it: stop it, or write another `gue_port` here and at the directors"
    );
    Problem::new(ProblemKind::Gue, format!("udp {port}"), text)
}
