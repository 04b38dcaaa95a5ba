//! How a daemon was started, and the answers of its ports, for `vstun doctor`.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::Protocol;

/// How a daemon was started and what it serves.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Setup {
    /// `director` or `realserver`.
    pub role: String,
    /// The program's version.
    pub program: String,
    /// The configuration file as an absolute path; absent if it was started with flags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// The TUN's name.
    pub tun: String,
    /// The virtual IPs.
    pub vips: Vec<IpAddr>,
    /// The hosts that may send tunnelled packets (real server).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub directors: Vec<IpNet>,
    /// How the directors encapsulate packets, as the configuration says (real server).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encap: Option<String>,
    /// The UDP port of GUE (real server).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gue_port: Option<u16>,
}

/// The answers of the ports of all real servers.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Probed {
    /// The ports, in configuration order.
    pub ports: Vec<ProbedPort>,
    /// How many ports were not probed: those in ranges, and those past the bound of one run.
    pub left_out: u64,
}

/// The answer of a virtual IP's port at a real server.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ProbedPort {
    /// The real server.
    pub address: IpAddr,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The virtual IP and port.
    pub destination: SocketAddr,
    /// Whether the port answered. For UDP: whether it did not refuse.
    pub passed: bool,
    /// The result as text.
    pub detail: String,
}

impl ProbedPort {
    /// Whether it is a UDP port.
    #[must_use]
    pub fn is_udp(&self) -> bool {
        self.protocol == Protocol::Udp.to_string()
    }
}
