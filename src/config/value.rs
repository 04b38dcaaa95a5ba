//! Parses one text to one checked value. The error is the message: what is wrong and what to write
//! instead.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::hash::Hash;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::balancer::maglev;
use crate::model::duration;
use crate::model::{AdminState, Existing, SchedulerKind, Timeouts};
use crate::wire::encap::{Encap, SourcePorts, gue};

use super::bounds::MAX_SERVICES;
use super::fault::{Faults, quoted};
use super::keys;
use super::section::{ConfigEntry, Section};

/// The largest connection table: 16 Mi, as in IPVS.
pub const MAX_CONNECTIONS: u32 = 16_777_216;
/// The longest interface name in bytes (the kernel's `IFNAMSIZ` less the final zero).
pub const MAX_INTERFACE_LEN: usize = 15;
/// The most uplinks in a configuration.
pub const MAX_UPLINKS: usize = 64;
/// The longest path of a control socket in bytes (`sun_path` of unix(7) less the final zero).
pub const MAX_CONTROL_LEN: usize = 107;

/// The longest path of a folder in bytes: it leaves space for a file name (`PATH_MAX` is 4096).
pub(super) const MAX_FOLDER_LEN: usize = 4_000;
/// The most words of [`Director::hooks`](super::Director::hooks): the program and its arguments.
pub const MAX_HOOK_WORDS: usize = 64;
/// The longest word in bytes.
pub const MAX_HOOK_WORD_LEN: usize = 4_095;

/// The most slots of all Maglev tables together, 512 MB: the largest number of services with the
/// default table each. One CPU computes a table slot by slot, at the start and at each reload.
pub const MAX_MAGLEV_SLOTS: u64 = MAX_SERVICES as u64 * maglev::SLOTS as u64;

/// The shortest hash seed in bytes: a client that guesses it could choose its real server.
pub const MIN_HASH_SEED_LEN: usize = 8;
/// The longest hash seed in bytes.
pub const MAX_HASH_SEED_LEN: usize = 256;
/// The longest time that an idle packet loop polls before it sleeps.
pub const MAX_BUSY_POLL: Duration = Duration::from_secs(1);

/// The name of a network interface (the kernel's `dev_valid_name`). `%` is refused too: TUNSETIFF
/// would treat the name as a pattern.
pub(super) fn interface(text: &str) -> Result<String, String> {
    let legal = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%');
    if text.is_empty() || text.len() > MAX_INTERFACE_LEN {
        return Err(format!(
            "{} is not an interface name; write 1 to {MAX_INTERFACE_LEN} characters",
            quoted(text)
        ));
    }
    if matches!(text, "." | "..") || !text.bytes().all(legal) {
        return Err(format!(
            "{} is not an interface name; write letters and digits without space, '/', ':' or '%'",
            quoted(text)
        ));
    }
    Ok(text.to_owned())
}

/// The path of the control socket.
pub(super) fn control(text: &str) -> Result<PathBuf, String> {
    if !text.starts_with('/') || text.ends_with('/') || text.contains('\0') {
        return Err(format!("{} is not an absolute path of a file", quoted(text))
            + "; write one such as /run/vstun/director.sock");
    }
    if text.len() > MAX_CONTROL_LEN {
        return Err(format!(
            "path of {} bytes; a socket's path has at most {MAX_CONTROL_LEN}, write a shorter one",
            text.len()
        ));
    }
    Ok(PathBuf::from(text))
}

/// The absolute path of a folder; the empty text means none.
pub(super) fn folder(text: &str) -> Result<Option<PathBuf>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.starts_with('/') || text.contains('\0') || text.len() > MAX_FOLDER_LEN {
        let hint = "write one such as /var/lib/vstun, or \"\" for none";
        return Err(format!(
            "{} is not an absolute path of at most {MAX_FOLDER_LEN} bytes; {hint}",
            quoted(text)
        ));
    }
    Ok(Some(PathBuf::from(text)))
}

/// A word of the hook command; the first one is the program's path.
pub(super) fn hook_word(text: &str, is_path: bool) -> Result<String, String> {
    if is_path && (!text.starts_with('/') || text.ends_with('/')) {
        return Err(format!("{} is not an absolute path of a program", quoted(text))
            + "; write one such as [\"/etc/vstun/hook\"]");
    }
    if text.contains('\0') || text.len() > MAX_HOOK_WORD_LEN {
        return Err(format!("has a zero byte or more than {MAX_HOOK_WORD_LEN} bytes"));
    }
    Ok(text.to_owned())
}

/// Where the load agent answers.
pub(super) fn agent_address(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 => Ok(address),
        _ => Err(format!("{} is not an address with a port", quoted(text))
            + "; write one such as 10.0.0.11:9181 or [2001:db8::11]:9181"),
    }
}

/// A file or folder that the load agent reads.
pub(super) fn agent_path(text: &str) -> Result<PathBuf, String> {
    let path = folder(text)?;
    path.ok_or_else(|| "is empty; write an absolute path, or take it out".to_owned())
}

/// The name of a routing table if it is the kernel's own (`RT_TABLE_*` of rtnetlink(7)).
pub(super) fn kernel_table(table: u32) -> Option<&'static str> {
    match table {
        253 => Some("default"),
        254 => Some("main"),
        255 => Some("local"),
        _ => None,
    }
}

/// A timeout of a flow, or how long a real server drains.
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    within(text, Timeouts::MIN, Timeouts::MAX)
}

/// How long an idle packet loop polls before it sleeps.
pub(super) fn busy_poll(text: &str) -> Result<Duration, String> {
    within(text, Duration::ZERO, MAX_BUSY_POLL)
}

pub(super) fn within(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let Some(value) = duration::parse(text) else {
        return Err(format!(
            "{} is not a duration; write one such as \"15m\", \"2s\" or \"1h30m\"",
            quoted(text)
        ));
    };
    if !(least..=most).contains(&value) {
        let (least, most) = (duration::Text(least), duration::Text(most));
        return Err(format!("{text} is out of range; write from {least} to {most}"));
    }
    Ok(value)
}

/// The seed shared by directors; faults do not show it, since it is a secret.
pub(super) fn hash_seed(text: &str) -> Result<String, String> {
    if (MIN_HASH_SEED_LEN..=MAX_HASH_SEED_LEN).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "is {} bytes long; write {MIN_HASH_SEED_LEN} to {MAX_HASH_SEED_LEN} that are hard to guess",
        text.len()
    ))
}

/// What happens to the connections of a real server that goes down or is disabled.
pub(super) fn existing(text: &str) -> Result<Existing, String> {
    one_of(text, &Existing::ALL, Existing::name)
}

/// A real server's state at the start.
pub(super) fn state(text: &str) -> Result<AdminState, String> {
    let states = [
        AdminState::Up,
        AdminState::Draining { deadline: None },
        AdminState::Disabled,
        AdminState::Down,
    ];
    one_of(text, &states, AdminState::name)
}

/// An encapsulation by its name.
pub(super) fn encap(text: &str) -> Result<Encap, String> {
    one_of(text, &Encap::ALL, Encap::name)
}

/// The UDP port for GUE; the registered one by default.
pub(super) fn gue_port(section: &Section<'_>, faults: &mut Faults) -> u16 {
    let port = section.entry("gue_port");
    let port = port.and_then(|entry| entry.number(1..=u32::from(u16::MAX), faults));
    port.and_then(|port| u16::try_from(port).ok()).unwrap_or(gue::PORT)
}

/// The UDP source ports of a director's packets in GUE.
pub(super) fn source_ports(text: &str) -> Result<SourcePorts, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten().filter(|port: &u16| *port > 0)
    };
    let (Some(first), Some(last)) = (port(first), port(last)) else {
        let shown = quoted(text);
        return Err(format!("{shown} is not a range of ports; write one such as \"61440-61455\""));
    };
    if last < first {
        return Err(format!("{text} is the wrong way round; write {last}-{first}"));
    }
    SourcePorts::new(first, last).ok_or_else(|| {
        let (count, most) = (u32::from(last - first) + 1, SourcePorts::MOST);
        format!("{text} are {count} ports; at most {most} are taken, write fewer")
    })
}

/// The value of that name.
pub(super) fn one_of<T: Copy>(
    text: &str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<T, String> {
    all.iter().copied().find(|&value| name(value) == text).ok_or_else(|| {
        let names: Vec<_> = all.iter().copied().map(name).collect();
        let meant = keys::nearest(&names, text)
            .map(|meant| format!("did you mean {meant}? "))
            .unwrap_or_default();
        format!("{} is unknown here; {meant}write one of {}", quoted(text), names.join(", "))
    })
}

/// A part of the connection table in hundredths, `"1%"` to `"100%"`; `"off"` is 0.
pub(super) fn table_use(text: &str) -> Result<u8, String> {
    if text == "off" {
        return Ok(0);
    }
    let digits = text.strip_suffix('%').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    let hundredths = digits.and_then(|digits| digits.parse().ok());
    hundredths.filter(|hundredths| (1..=100).contains(hundredths)).ok_or_else(|| {
        format!("{} is not a part of the table; write \"1%\" to \"100%\", or \"off\"", quoted(text))
    })
}

/// A scheduler by its name.
pub(super) fn scheduler(text: &str) -> Result<SchedulerKind, String> {
    SchedulerKind::from_name(text).ok_or_else(|| {
        let names = SchedulerKind::ALL.map(SchedulerKind::name);
        let meant = keys::nearest(&names, text)
            .map(|meant| format!("did you mean {meant}? "))
            .unwrap_or_default();
        format!("there is no scheduler {}; {meant}write one of {}", quoted(text), names.join(", "))
    })
}

/// The elements of a list, each checked by `parse`; a fault for a duplicate, and one for a list
/// longer than `most`.
pub(super) fn set<T: Clone + Eq + Hash + ToString>(
    entry: &ConfigEntry<'_>,
    most: usize,
    parse: impl Fn(&str) -> Result<T, String>,
    faults: &mut Faults,
) -> Vec<T> {
    let elements = entry.list(faults);
    if elements.len() > most {
        entry.fault(
            format!("{} elements; at most {most} are taken, write fewer", elements.len()),
            faults,
        );
        return Vec::new();
    }
    let mut first_lines = HashMap::new();
    let mut values = Vec::with_capacity(elements.len());
    for element in elements {
        let Some(value) = element.parsed(&parse, faults) else { continue };
        match first_lines.entry(value) {
            Slot::Occupied(first) => {
                let (shown, line) = (first.key().to_string(), first.get());
                element.fault(format!("{shown} is listed twice, first at line {line}"), faults);
            }
            Slot::Vacant(slot) => {
                values.push(slot.key().clone());
                slot.insert(element.line);
            }
        }
    }
    values
}
