//! What a check sends and which answer passes, for each type.

use crate::health::Probe;
use crate::health::spec::{
    ClientCertificate, DnsProbe, ExecProbe, GrpcProbe, HttpProbe, HttpVersion, StatusRange,
    TlsProbe, UdpProbe,
};

use super::value;
use crate::config::fault::{Faults, quoted};
use crate::config::section::{ConfigEntry, Section};

/// The most headers of a request.
pub(super) const MAX_HEADERS: usize = 32;
/// The most ranges of statuses.
const MAX_STATUSES: usize = 64;
/// The most elements of a command.
const MAX_ARGUMENTS: usize = 64;

/// Headers that control how a message is sent, or that have their own key.
const OWN_HEADERS: [&str; 5] =
    ["host", "connection", "content-length", "transfer-encoding", "upgrade"];

/// The keys of TLS, which a check of type grpc has only with `tls = true`.
const TLS_KEYS: [&str; 5] = ["sni", "ca", "client_certificate", "client_key", "verify"];

pub(super) fn read(section: &Section<'_>, kind: &str, faults: &mut Faults) -> Option<Probe> {
    let tls = kind == "https" || flag(section, "tls", faults).unwrap_or(false);
    Some(match kind {
        "tcp" => Probe::Tcp,
        "http" | "https" => Probe::Http(HttpProbe {
            tls: tls.then(|| self::tls(section, faults)),
            ..http(section, faults)
        }),
        "tls" => Probe::Tls(self::tls(section, faults)),
        "udp" => Probe::Udp(udp(section, faults)?),
        "dns" => Probe::Dns(dns(section, faults)?),
        "icmp" => Probe::Icmp,
        "grpc" => Probe::Grpc(grpc(section, tls, faults)),
        "exec" => Probe::Exec(exec(section, faults)?),
        _ => Probe::Agent,
    })
}

fn flag(section: &Section<'_>, key: &'static str, faults: &mut Faults) -> Option<bool> {
    section.entry(key)?.boolean(faults)
}

fn http(section: &Section<'_>, faults: &mut Faults) -> HttpProbe {
    let unsaid = HttpProbe::new();
    let method = section.entry("method").and_then(|entry| entry.parsed(value::method, faults));
    let path = section.entry("path").and_then(|entry| entry.parsed(value::path, faults));
    let host = section.entry("host").and_then(|entry| entry.parsed(value::host, faults));
    let version = section.entry("http_version").and_then(|entry| entry.parsed(version, faults));
    if let Some(entry) = section.entry("path").filter(|_| path.as_deref() == Some("*"))
        && (method.as_deref() != Some("OPTIONS") || version == Some(HttpVersion::Http2))
    {
        // RFC 9112 section 3.2.4.
        let hint = "write one such as /health, or method = \"OPTIONS\"";
        entry.fault(format!("\"*\" is for method OPTIONS in HTTP/1; {hint}"), faults);
    }
    let statuses = section.entry("expect_status").map(|entry| statuses(&entry, faults));
    let body = section.entry("expect_body");
    if let Some(entry) = body.filter(|_| method.as_deref() == Some("HEAD")) {
        let hint = "write method = \"GET\", or take expect_body out";
        entry.fault(format!("the answer to HEAD has no body; {hint}"), faults);
    }
    HttpProbe {
        method: method.unwrap_or(unsaid.method),
        path: path.unwrap_or(unsaid.path),
        host,
        headers: section.entry("headers").map(|entry| headers(&entry, faults)).unwrap_or_default(),
        version: version.unwrap_or(unsaid.version),
        expect_status: statuses.unwrap_or(unsaid.expect_status),
        expect_body: body.and_then(|entry| entry.parsed(value::pattern, faults)),
        tls: None,
    }
}

fn version(text: &str) -> Result<HttpVersion, String> {
    match text {
        "1.0" => Ok(HttpVersion::Http10),
        "1.1" => Ok(HttpVersion::Http11),
        "2" => Ok(HttpVersion::Http2),
        _ => Err(format!("{} is not supported; write \"1.0\", \"1.1\" or \"2\"", quoted(text))),
    }
}

fn statuses(entry: &ConfigEntry<'_>, faults: &mut Faults) -> Vec<StatusRange> {
    let elements = entry.list(faults);
    if entry.is_empty_list() {
        entry.fault("the list is empty; write expect_status = [200, \"300-399\"]", faults);
    }
    if elements.len() > MAX_STATUSES {
        let message =
            format!("{} elements; at most {MAX_STATUSES} are taken, write fewer", elements.len());
        entry.fault(message, faults);
        return Vec::new();
    }
    let one = |element: ConfigEntry<'_>| {
        if !element.is_number() {
            return element.parsed(value::statuses, faults);
        }
        let status = u16::try_from(element.number(100..=599, faults)?).ok()?;
        Some(StatusRange { first: status, last: status })
    };
    elements.into_iter().filter_map(one).collect()
}

fn headers(entry: &ConfigEntry<'_>, faults: &mut Faults) -> Vec<(String, String)> {
    let pairs = entry.pairs(faults);
    if pairs.len() > MAX_HEADERS {
        let message =
            format!("{} headers; at most {MAX_HEADERS} are sent, write fewer", pairs.len());
        entry.fault(message, faults);
        return Vec::new();
    }
    let mut headers = Vec::with_capacity(pairs.len());
    for (name, entry) in pairs {
        let Some(text) = entry.text(faults) else { continue };
        // RFC 9110 section 5.6.2 and 5.5.
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            let hint = "write one such as X-Health";
            entry.fault(format!("{} is not a header name; {hint}", quoted(name)), faults);
        } else if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            let hint = match name.eq_ignore_ascii_case("host") {
                true => "write it as host = \"www.example\"",
                false => "take it out",
            };
            entry.fault(format!("{name} is not for this list; {hint}"), faults);
        } else if !text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            let hint = "write visible ASCII characters and spaces";
            entry
                .fault(format!("{} is not a value of header {name}; {hint}", quoted(text)), faults);
        } else {
            headers.push((name.to_owned(), text.to_owned()));
        }
    }
    headers
}

fn grpc(section: &Section<'_>, tls: bool, faults: &mut Faults) -> GrpcProbe {
    let service = section.entry("grpc_service");
    for key in TLS_KEYS.into_iter().filter(|_| !tls) {
        if let Some(entry) = section.entry(key) {
            entry.fault("has no effect without TLS; write tls = true, or take it out", faults);
        }
    }
    GrpcProbe {
        service: service.and_then(|entry| entry.parsed(value::grpc, faults)).unwrap_or_default(),
        tls: tls.then(|| self::tls(section, faults)),
    }
}

fn tls(section: &Section<'_>, faults: &mut Faults) -> TlsProbe {
    let mut file = |key| section.entry(key).and_then(|entry| entry.parsed(value::file, faults));
    let (ca, certificate, key) = (file("ca"), file("client_certificate"), file("client_key"));
    let verify = flag(section, "verify", faults).unwrap_or(true);
    if let Some(entry) = section.entry("ca").filter(|_| !verify) {
        let hint = "take it out, or write verify = true";
        entry.fault(format!("has no effect without verification; {hint}"), faults);
    }
    for (one, other) in [("client_certificate", "client_key"), ("client_key", "client_certificate")]
    {
        if let (Some(entry), None) = (section.entry(one), section.entry(other)) {
            entry.fault(format!("has no effect without {other}; write both"), faults);
        }
    }
    TlsProbe {
        sni: section.entry("sni").and_then(|entry| entry.parsed(value::sni, faults)),
        ca,
        client: certificate
            .zip(key)
            .map(|(certificate, key)| ClientCertificate { certificate, key }),
        verify,
    }
}

fn udp(section: &Section<'_>, faults: &mut Faults) -> Option<UdpProbe> {
    let expect = section.entry("expect").and_then(|entry| entry.parsed(value::pattern, faults));
    let hint = "write what is sent, as in send = \"ping\"";
    let send = section.required_entry("send", hint, faults)?.parsed(value::send, faults)?;
    Some(UdpProbe { send, expect })
}

fn dns(section: &Section<'_>, faults: &mut Faults) -> Option<DnsProbe> {
    let mut text = |key, parse: fn(&str) -> Result<String, String>| {
        section.entry(key).and_then(|entry| entry.parsed(parse, faults))
    };
    let record = text("record", value::record).unwrap_or_else(|| "A".to_owned());
    let expect_rcode = text("expect_rcode", value::rcode).unwrap_or_else(|| "NOERROR".to_owned());
    let expect_answer = match record.as_str() {
        "A" => text("expect_answer", value::ipv4),
        "AAAA" => text("expect_answer", value::ipv6),
        _ => text("expect_answer", value::text),
    };
    let hint = "write the name to ask for, as in query = \"www.example\"";
    let query = section.required_entry("query", hint, faults)?.parsed(value::query, faults)?;
    Some(DnsProbe { query, record, expect_rcode, expect_answer })
}

fn exec(section: &Section<'_>, faults: &mut Faults) -> Option<ExecProbe> {
    let hint = "write the program and its arguments, as in command = [\"/usr/lib/check\", \"-q\"]";
    let entry = section.required_entry("command", hint, faults)?;
    let words = entry.list(faults);
    if entry.is_empty_list() {
        entry.fault(format!("the list is empty; {hint}"), faults);
    }
    if words.len() > MAX_ARGUMENTS {
        let message =
            format!("{} words; at most {MAX_ARGUMENTS} are taken, write fewer", words.len());
        entry.fault(message, faults);
        return None;
    }
    let parse = |index: usize| if index == 0 { program } else { value::argument };
    let word = |(index, word): (usize, &ConfigEntry<'_>)| word.parsed(parse(index), faults);
    let command: Vec<String> = words.iter().enumerate().filter_map(word).collect();
    let dynamic = flag(section, "dynamic", faults).unwrap_or(false);
    (!command.is_empty()).then_some(ExecProbe { command, dynamic })
}

fn program(text: &str) -> Result<String, String> {
    value::file(text).map(|_| text.to_owned()).map_err(|_| {
        let hint = "no shell looks for it, write one such as /usr/lib/check";
        format!("{} is not an absolute path of a program; {hint}", quoted(text))
    })
}
