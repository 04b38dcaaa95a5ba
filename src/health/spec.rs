//! One check as configured: what is sent, to which address, how often, and which answer passes.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::Protocol;

/// A check of every real server of a service.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct CheckSpec {
    /// What is sent and which answer passes.
    pub probe: Probe,
    /// The path of the probe.
    pub via: Via,
    /// The port; `None`: that of the service.
    pub port: Option<u16>,
    /// How often, how long, how many in a row.
    pub timing: Timing,
}

/// The path of a probe to the real server.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Via {
    /// To the virtual IP through the tunnel, like a client's packets.
    #[default]
    Tunnel,
    /// To the real server's own address.
    Direct,
}

impl Via {
    /// Both, in the order used in messages.
    pub const ALL: [Self; 2] = [Self::Tunnel, Self::Direct];

    /// The name in configuration and listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tunnel => "tunnel",
            Self::Direct => "direct",
        }
    }
}

/// The state of a real server until its check has a result.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Initial {
    /// It takes new flows.
    #[default]
    Up,
    /// It takes no new flow until the check has passed.
    Down,
}

impl Initial {
    /// Both, in the order used in messages.
    pub const ALL: [Self; 2] = [Self::Up, Self::Down];

    /// The name in configuration and listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// When a check runs, and how many results in a row change its state.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Timing {
    /// From the start of a probe to the start of the next.
    pub interval: Duration,
    /// The same while the state is in doubt, after a result that contradicts it.
    pub fast_interval: Duration,
    /// A probe that takes longer has failed.
    pub timeout: Duration,
    /// This many passes in a row change the state to up.
    pub rise: u32,
    /// This many failures in a row change the state to down.
    pub fall: u32,
    /// Its state at the start.
    pub initial: Initial,
}

impl Timing {
    /// The defaults of the configuration.
    pub const DEFAULT: Self = Self {
        interval: Duration::from_secs(2),
        fast_interval: Duration::from_millis(200),
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 3,
        initial: Initial::Up,
    };
    /// The shortest interval, fast interval and timeout.
    pub const MIN: Duration = Duration::from_millis(10);
    /// The longest interval, fast interval and timeout.
    pub const MAX: Duration = Duration::from_secs(24 * 60 * 60);
    /// The largest `rise` and `fall`.
    pub const MAX_COUNT: u32 = 1_000;
}

impl Default for Timing {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What a probe sends and which answer passes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Probe {
    /// A TCP handshake.
    Tcp,
    /// An HTTP request; with `tls` an HTTPS one.
    Http(HttpProbe),
    /// A TLS handshake.
    Tls(TlsProbe),
    /// A datagram.
    Udp(UdpProbe),
    /// A DNS question.
    Dns(DnsProbe),
    /// An ICMP echo request.
    Icmp,
    /// A question by grpc.health.v1.
    Grpc(GrpcProbe),
    /// A program.
    Exec(ExecProbe),
    /// A question to an agent that speaks HAProxy's agent-check protocol.
    Agent,
}

/// The types by their names in configuration, in the order used in help texts.
pub const TYPES: [&str; 10] =
    ["tcp", "http", "https", "tls", "udp", "dns", "icmp", "grpc", "exec", "agent"];

impl Probe {
    /// The type's name in configuration and listings.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http(HttpProbe { tls: None, .. }) => "http",
            Self::Http(HttpProbe { tls: Some(_), .. }) => "https",
            Self::Tls(_) => "tls",
            Self::Udp(_) => "udp",
            Self::Dns(_) => "dns",
            Self::Icmp => "icmp",
            Self::Grpc(_) => "grpc",
            Self::Exec(_) => "exec",
            Self::Agent => "agent",
        }
    }

    /// The regular expression that the answer has to match, if any.
    #[must_use]
    pub fn pattern(&self) -> Option<&str> {
        match self {
            Self::Http(http) => http.expect_body.as_deref(),
            Self::Udp(udp) => udp.expect.as_deref(),
            _ => None,
        }
    }

    /// The transport whose port the probe uses; `None`: it uses no port.
    #[must_use]
    pub fn transport(&self) -> Option<Protocol> {
        match self {
            Self::Tcp | Self::Http(_) | Self::Tls(_) | Self::Grpc(_) | Self::Agent => {
                Some(Protocol::Tcp)
            }
            Self::Udp(_) | Self::Dns(_) => Some(Protocol::Udp),
            Self::Icmp | Self::Exec(_) => None,
        }
    }
}

/// An HTTP request and the answer that passes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct HttpProbe {
    /// The method, such as `GET`.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The `Host` header; `None`: the address that is asked.
    pub host: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// The version.
    pub version: HttpVersion,
    /// The statuses that pass, as ranges.
    pub expect_status: Vec<StatusRange>,
    /// A regular expression that the first [`MAX_BODY`] bytes of the body must match.
    pub expect_body: Option<String>,
    /// How TLS is spoken; `None`: not at all.
    pub tls: Option<TlsProbe>,
}

/// How many bytes of a body are matched.
pub const MAX_BODY: usize = 64 << 10;

impl HttpProbe {
    /// `GET /`, any status from 200 to 399.
    #[must_use]
    pub fn new() -> Self {
        Self {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            host: None,
            headers: Vec::new(),
            version: HttpVersion::Http11,
            expect_status: vec![StatusRange { first: 200, last: 399 }],
            expect_body: None,
            tls: None,
        }
    }

    /// Whether the status passes.
    #[must_use]
    pub fn expects(&self, status: u16) -> bool {
        self.expect_status.iter().any(|range| (range.first..=range.last).contains(&status))
    }
}

impl Default for HttpProbe {
    fn default() -> Self {
        Self::new()
    }
}

/// The name or address of a `Host` header, without its port and without the brackets of IPv6.
#[must_use]
pub fn name_of_host(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    }
}

/// The version of HTTP.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum HttpVersion {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2, without TLS by prior knowledge (RFC 9113 3.3).
    Http2,
}

/// A range of statuses, both ends included.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct StatusRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// How TLS is spoken.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct TlsProbe {
    /// The server name to ask for and to find in the certificate; `None`: the host of the request
    /// if that is a name, otherwise the address.
    pub sni: Option<String>,
    /// A file of certificates to trust; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// A certificate and its key to show.
    pub client: Option<ClientCertificate>,
    /// Whether the certificate is verified.
    pub verify: bool,
}

impl TlsProbe {
    /// Verified by the system's certificates.
    #[must_use]
    pub const fn new() -> Self {
        Self { sni: None, ca: None, client: None, verify: true }
    }
}

impl Default for TlsProbe {
    fn default() -> Self {
        Self::new()
    }
}

/// A client certificate.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ClientCertificate {
    /// The file with the certificate and its intermediate certificates.
    pub certificate: PathBuf,
    /// The file of its key.
    pub key: PathBuf,
}

/// A datagram and the answer that passes.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct UdpProbe {
    /// What is sent.
    pub send: String,
    /// A regular expression that the answer must match; `None`: the probe passes if no "port
    /// unreachable" arrives within the timeout.
    pub expect: Option<String>,
}

/// A DNS question and the answer that passes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct DnsProbe {
    /// The name.
    pub query: String,
    /// The record type, such as `A`.
    pub record: String,
    /// The response code that passes, such as `NOERROR`.
    pub expect_rcode: String,
    /// The data of a record that must be among the answers.
    pub expect_answer: Option<String>,
}

/// A question by grpc.health.v1.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct GrpcProbe {
    /// The service's name; empty: the server as a whole.
    pub service: String,
    /// How TLS is spoken; `None`: not at all.
    pub tls: Option<TlsProbe>,
}

/// A program: exit code 0 passes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ExecProbe {
    /// The program's path and its arguments, run without a shell.
    pub command: Vec<String>,
    /// Whether exit codes from 2 to 255 pass and set the weight to the code minus 2.
    pub dynamic: bool,
}

/// `http GET /health port 80 via tunnel`, for listings.
impl fmt::Display for CheckSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.probe.name())?;
        match &self.probe {
            Probe::Http(HttpProbe { method, path, .. }) => write!(f, " {method} {path}"),
            Probe::Dns(DnsProbe { query, record, .. }) => write!(f, " {query} {record}"),
            Probe::Grpc(GrpcProbe { service, .. }) if !service.is_empty() => {
                write!(f, " {service}")
            }
            Probe::Exec(ExecProbe { command, .. }) => {
                write!(f, " {}", command.first().map_or("", String::as_str))
            }
            _ => Ok(()),
        }
    }
}
