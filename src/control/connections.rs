//! The answer to `connections`: in pages, so that a million of them never stand in one buffer.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

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
    /// Seconds until it goes if no packet comes.
    pub expires_seconds: u64,
    /// The state's name as IPVS has it.
    pub state: String,
    /// Whether it counts as active.
    #[serde(default)]
    pub active: bool,
    /// The client.
    pub client: SocketAddr,
    /// The virtual IP and port.
    #[serde(rename = "virtual")]
    pub virtual_address: SocketAddr,
    /// The real server that has it.
    pub real: IpAddr,
}

impl From<&snapshot::ConnectionSnapshot> for Connection {
    fn from(connection: &snapshot::ConnectionSnapshot) -> Self {
        Self {
            protocol: connection.protocol.to_string(),
            expires_seconds: connection.expires.as_secs(),
            state: connection.state.to_owned(),
            active: connection.active,
            client: connection.client,
            virtual_address: connection.virtual_address,
            real: connection.real,
        }
    }
}

impl Connections {
    /// A page; `connections` holds at most [`PAGE`].
    #[must_use]
    pub fn page(connections: &[snapshot::ConnectionSnapshot], more: bool) -> Self {
        Self { connections: connections.iter().map(Connection::from).collect(), more }
    }

    /// Lines for people, without the header: it stands above the first page only.
    #[must_use]
    pub fn human(&self) -> String {
        self.connections.iter().map(|connection| format!("{connection}\n")).collect()
    }

    /// The columns' header for people.
    #[must_use]
    pub fn header() -> String {
        columns(&"PROTO", &"EXPIRES", &"STATE", [&"CLIENT", &"VIRTUAL", &"REAL SERVER"])
    }
}

/// One line for people. The widths are fixed, since the pages are printed as they come.
impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expires = format!("{:02}:{:02}", self.expires_seconds / 60, self.expires_seconds % 60);
        let ends = [&self.client as &dyn fmt::Display, &self.virtual_address, &self.real];
        f.write_str(&columns(&self.protocol, &expires, &self.state, ends))
    }
}

fn columns(
    protocol: &dyn fmt::Display,
    expires: &dyn fmt::Display,
    state: &dyn fmt::Display,
    [client, virtual_address, real]: [&dyn fmt::Display; 3],
) -> String {
    // Socket addresses ignore a width; texts do not. One that is longer moves those after it on its
    // line: the longest IPv6 address would make every line twice as wide.
    let (client, virtual_address) = (client.to_string(), virtual_address.to_string());
    format!("{protocol:<5}  {expires:>8}  {state:<11}  {client:<27}  {virtual_address:<27}  {real}")
}
