//! The answer to `connections`: in pages, so that a million connections are never in one buffer.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::Layout;
use crate::balancer::snapshot;

/// The most connections in one reply line.
pub const PAGE: usize = 1024;

/// One page of connections.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Connections {
    /// At most [`PAGE`] connections.
    pub connections: Vec<Connection>,
    /// Whether another page follows.
    #[serde(default)]
    pub more: bool,
}

/// One connection.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Connection {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Seconds until it expires without a further packet.
    pub expires_seconds: u64,
    /// The state's name in IPVS.
    pub state: String,
    /// Whether it counts as active.
    #[serde(default)]
    pub active: bool,
    /// Whether the fast path carries it; absent if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub carried: bool,
    /// The client.
    pub client: SocketAddr,
    /// The virtual IP and port.
    #[serde(rename = "virtual")]
    pub virtual_address: SocketAddr,
    /// Its real server.
    pub address: IpAddr,
}

impl From<&snapshot::ConnectionSnapshot> for Connection {
    fn from(connection: &snapshot::ConnectionSnapshot) -> Self {
        Self {
            protocol: connection.protocol.to_string(),
            expires_seconds: connection.expires.as_secs(),
            state: connection.state.to_owned(),
            active: connection.active,
            carried: connection.carried,
            client: connection.client,
            virtual_address: connection.virtual_address,
            address: connection.real,
        }
    }
}

impl Connections {
    /// A page; `connections` holds at most [`PAGE`].
    #[must_use]
    pub fn page(connections: &[snapshot::ConnectionSnapshot], more: bool) -> Self {
        Self { connections: connections.iter().map(Connection::from).collect(), more }
    }

    /// The text output, without the header, which is above the first page only. The columns have
    /// fixed positions, since each page is printed as it arrives.
    #[must_use]
    pub fn human(&self, layout: Layout) -> String {
        self.connections.iter().map(|connection| connection.lines(layout) + "\n").collect()
    }

    /// The columns' header of the text output.
    #[must_use]
    pub fn header() -> String {
        columns(["PRO", "EXPIRES", "STATE"], ["CLIENT", "VIRTUAL", "REAL SERVER"], usize::MAX)
    }
}

impl Connection {
    fn lines(&self, layout: Layout) -> String {
        let expires = format!("{:02}:{:02}", self.expires_seconds / 60, self.expires_seconds % 60);
        let ends =
            [self.client.to_string(), self.virtual_address.to_string(), self.address.to_string()];
        let ends = [ends[0].as_str(), ends[1].as_str(), ends[2].as_str()];
        let mark = if self.carried { "*" } else { "" };
        let protocol = format!("{}{mark}", self.protocol);
        columns([&protocol, &expires, &self.state], ends, layout.width)
    }
}

/// The columns of one connection. A carried one has a mark after its protocol. Each of the three
/// addresses has its column; those of IPv4 fit into 80 characters. A longer address moves the ones
/// after it; those that do not fit continue on a line below the client.
fn columns([protocol, expires, state]: [&str; 3], ends: [&str; 3], width: usize) -> String {
    const CLIENT: usize = 21;
    const VIRTUAL: usize = 18;
    let head = format!("{protocol:<4}{expires:>7} {state:<11} ");
    let [client, virtual_address, real] = ends;
    let mut lines = vec![head.clone() + client];
    for (column, end) in [(CLIENT, virtual_address), (CLIENT + 1 + VIRTUAL, real)] {
        // Addresses are in their columns until a line is broken.
        let start = if lines.len() == 1 { head.len() + column } else { 0 };
        let Some(line) = lines.last_mut() else { continue };
        let room = start.max(line.chars().count());
        if room + 1 + end.len() <= width {
            *line = format!("{line:<start$} {end}");
        } else {
            lines.push(format!("{:1$}{end}", "", head.len()));
        }
    }
    lines.join("\n")
}
