//! Parses one text of a check to one checked value. The error is the message: what is wrong and
//! what to write instead.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::config::bounds::MAX_REALS_PER_SERVICE;
use crate::config::fault::quoted;
use crate::config::value::{one_of, within};
use crate::health::pattern;
use crate::health::spec::{Initial, StatusRange, name_of_host};
use crate::health::{Panic, Timing, Via};
use crate::model::MAX_WEIGHT;

/// The largest quorum: as many real servers as a service may have, each of the largest weight.
pub(super) const MAX_QUORUM: u32 = MAX_WEIGHT * 1024;
const _: () = assert!(MAX_QUORUM as usize == MAX_WEIGHT as usize * MAX_REALS_PER_SERVICE);
/// The longest path of a request, and of a file, in bytes.
pub(super) const MAX_PATH_LEN: usize = 2_048;
/// The longest regular expression in bytes.
pub(super) const MAX_PATTERN_LEN: usize = 4_096;
/// The longest name of a host in bytes (RFC 1035 section 2.3.4).
pub(super) const MAX_HOST_LEN: usize = 253;
/// The longest part of such a name between two dots.
const MAX_LABEL_LEN: usize = 63;
/// The longest datagram that is sent, in bytes: it fits into one packet.
pub(super) const MAX_SEND_LEN: usize = 1_024;

pub(super) fn interval(text: &str) -> Result<Duration, String> {
    within(text, Timing::MIN, Timing::MAX)
}

pub(super) fn via(text: &str) -> Result<Via, String> {
    one_of(text, &Via::ALL, Via::name)
}

pub(super) fn initial(text: &str) -> Result<Initial, String> {
    one_of(text, &Initial::ALL, Initial::name)
}

/// The panic threshold: the share of a service's real servers above which its checks are ignored.
pub(super) fn panic(text: &str) -> Result<Panic, String> {
    let digits = text.strip_suffix('%').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    let hundredths = digits.and_then(|digits| digits.parse().ok());
    hundredths.filter(|hundredths| (1..=100).contains(hundredths)).map(Panic).ok_or_else(|| {
        format!("{} is not a share; write \"1%\" to \"100%\", which is never", quoted(text))
    })
}

/// A method (RFC 9110 section 9.1): some letters.
pub(super) fn method(text: &str) -> Result<String, String> {
    let legal =
        (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase());
    if legal && text != "CONNECT" {
        return Ok(text.to_owned());
    }
    Err(format!("{} is not a method; write one such as GET, HEAD or OPTIONS", quoted(text)))
}

/// A path with its query, in the form of a request (RFC 3986 sections 3.3 and 3.4).
pub(super) fn path(text: &str) -> Result<String, String> {
    if text.len() > MAX_PATH_LEN {
        return Err(format!(
            "{} bytes long; at most {MAX_PATH_LEN} are sent, write a shorter one",
            text.len()
        ));
    }
    let legal = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"#\"<>`".contains(&byte));
    if !legal || !(text.starts_with('/') || text == "*") {
        let hint = "write one such as /health, with %20 for a space";
        return Err(format!("{} is not a request path; {hint}", quoted(text)));
    }
    Ok(text.to_owned())
}

/// A host's name or address, with or without a port (RFC 3986 section 3.2.2).
pub(super) fn host(text: &str) -> Result<String, String> {
    let name = name_of_host(text);
    let legal = match text.strip_prefix('[') {
        Some(rest) => name.parse::<Ipv6Addr>().is_ok() && rest.strip_prefix(name).is_some_and(end),
        None => is_name(name) && text.strip_prefix(name).is_some_and(port_or_none),
    };
    if !legal || text.len() > MAX_HOST_LEN {
        let hint = "write one such as www.example";
        return Err(format!("{} is not a host name; {hint}", quoted(text)));
    }
    Ok(text.to_owned())
}

/// What follows an IPv6 address in brackets.
fn end(rest: &str) -> bool {
    rest.strip_prefix(']').is_some_and(port_or_none)
}

fn port_or_none(rest: &str) -> bool {
    let number = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_digit())
            && text.parse::<u16>().is_ok_and(|port| port > 0)
    };
    rest.is_empty() || rest.strip_prefix(':').is_some_and(number)
}

/// The server name that a certificate must have, or its address.
pub(super) fn sni(text: &str) -> Result<String, String> {
    if !(text.parse::<IpAddr>().is_ok() || is_name(text)) {
        return Err(format!("{} is not a name; write one such as www.example", quoted(text)));
    }
    Ok(text.to_owned())
}

/// Whether it is a name that a certificate may have, or an IPv4 address. A name that ends in a
/// number would be read as such an address.
fn is_name(text: &str) -> bool {
    let labels = text.strip_suffix('.').unwrap_or(text);
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let label = |label: &str| {
        (1..=MAX_LABEL_LEN).contains(&label.len())
            && label.bytes().all(legal)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let number = |label: &str| {
        let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
        hex.map_or_else(
            || label.bytes().all(|byte| byte.is_ascii_digit()),
            |digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        )
    };
    let numeric = labels.rsplit('.').next().is_some_and(number);
    let name = text.len() <= MAX_HOST_LEN && labels.split('.').all(label) && !numeric;
    name || text.parse::<Ipv4Addr>().is_ok()
}

/// A range of statuses.
pub(super) fn statuses(text: &str) -> Result<StatusRange, String> {
    let one = |text: &str| text.parse().ok().filter(|status| (100..=599).contains(status));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (one(first), one(last)) {
        (Some(first), Some(last)) if first <= last => Ok(StatusRange { first, last }),
        _ => Err(format!("{} is not a status; write 200 or \"200-299\"", quoted(text))),
    }
}

/// A regular expression, compiled here as for the checks.
pub(super) fn pattern(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > MAX_PATTERN_LEN {
        return Err(format!("{} bytes long; write 1 to {MAX_PATTERN_LEN}", text.len()));
    }
    match pattern::compile(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => {
            let error = error.to_string();
            let last = error.lines().last().unwrap_or_default();
            let why = last.trim_start_matches("error: ");
            Err(format!("{} is not a regular expression: {why}; mend it", quoted(text)))
        }
    }
}

/// The absolute path of a file.
pub(super) fn file(text: &str) -> Result<PathBuf, String> {
    if !text.starts_with('/')
        || text.ends_with('/')
        || text.contains('\0')
        || text.len() > MAX_PATH_LEN
    {
        let hint = "write one such as /etc/ssl/certs/ca.pem";
        return Err(format!("{} is not an absolute path of a file; {hint}", quoted(text)));
    }
    Ok(PathBuf::from(text))
}

/// The payload of a datagram.
pub(super) fn send(text: &str) -> Result<String, String> {
    if text.len() > MAX_SEND_LEN {
        return Err(format!(
            "{} bytes long; at most {MAX_SEND_LEN} are sent, write a shorter one",
            text.len()
        ));
    }
    Ok(text.to_owned())
}

/// A domain name to query (RFC 1035 section 2.3.4).
pub(super) fn query(text: &str) -> Result<String, String> {
    let labels = text.strip_suffix('.').unwrap_or(text);
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    // The first byte may make a wildcard.
    let first = |byte: u8| byte.is_ascii_alphanumeric() || b"_*".contains(&byte);
    let legal = |label: &str| match label.as_bytes() {
        [one, rest @ ..] => {
            label.len() <= MAX_LABEL_LEN && first(*one) && rest.iter().all(|byte| inner(*byte))
        }
        [] => false,
    };
    if text == "." || (text.len() <= MAX_HOST_LEN && labels.split('.').all(legal)) {
        return Ok(text.to_owned());
    }
    Err(format!("{} is not a domain name; write one such as www.example", quoted(text)))
}

const RECORDS: [&str; 9] = ["A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT"];
const RCODES: [&str; 6] = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];

pub(super) fn record(text: &str) -> Result<String, String> {
    one_of(text, &RECORDS, |name| name).map(ToOwned::to_owned)
}

pub(super) fn rcode(text: &str) -> Result<String, String> {
    one_of(text, &RCODES, |name| name).map(ToOwned::to_owned)
}

/// The data of an answer.
pub(super) fn text(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > MAX_PATH_LEN || text.contains(char::is_control) {
        let hint = format!("write 1 to {MAX_PATH_LEN} bytes without control characters");
        return Err(format!("{} is not data of an answer; {hint}", quoted(text)));
    }
    Ok(text.to_owned())
}

/// The data of an answer with record A.
pub(super) fn ipv4(text: &str) -> Result<String, String> {
    address::<Ipv4Addr>(text, "an IPv4 address, as record A has; write one such as 192.0.2.80")
}

/// The data of an answer with record AAAA.
pub(super) fn ipv6(text: &str) -> Result<String, String> {
    address::<Ipv6Addr>(text, "an IPv6 address, as record AAAA has; write one such as 2001:db8::80")
}

/// An address, written as answers show it.
fn address<A: FromStr + ToString>(text: &str, what: &str) -> Result<String, String> {
    let address = text.parse().map(|address: A| address.to_string());
    address.map_err(|_| format!("{} is not {what}", quoted(text)))
}

/// The name of a gRPC service; empty: the server as a whole.
pub(super) fn grpc(text: &str) -> Result<String, String> {
    if text.len() > MAX_HOST_LEN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{} is not a service name; write one such as shop.Cart", quoted(text)));
    }
    Ok(text.to_owned())
}

/// A program's path or one of its arguments.
pub(super) fn argument(text: &str) -> Result<String, String> {
    if text.contains('\0') || text.len() > MAX_PATH_LEN {
        let message = format!("{} is not an argument of a program", quoted(text));
        return Err(format!("{message}; write at most {MAX_PATH_LEN} bytes without zeros"));
    }
    Ok(text.to_owned())
}

/// What determines weights besides the configuration.
pub(super) fn load(text: &str) -> Result<bool, String> {
    match text {
        "agent" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("there is no {}; write \"agent\" or \"off\"", quoted(text))),
    }
}
