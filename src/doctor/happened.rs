//! Findings from what the director itself has observed lately: its events.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::observed::{DirectorFacts, RouteToReal};
use super::{Cause, Finding, Severity};
use crate::control::{EventText, counted};

/// The most commands of a finding.
const MOST_COMMANDS: usize = 5;

/// The real servers whose tunnels have another source than before, with that source and the event.
pub(super) fn moved(facts: &DirectorFacts) -> BTreeMap<IpAddr, (IpAddr, &EventText)> {
    let latest = |route: &RouteToReal| {
        let of_it = |event: &&EventText| {
            event.change.what == "source" && event.change.address == Some(route.real)
        };
        let event = facts.events.iter().rev().find(of_it)?;
        let address = |text: &Option<String>| text.as_ref()?.parse::<IpAddr>().ok();
        let (before, after) = (address(&event.change.before)?, address(&event.change.after));
        // Or it has come back.
        let mut earlier = facts.events.iter().filter(of_it);
        let is_new = earlier.all(|event| address(&event.change.before) != route.source);
        (after == route.source && is_new).then_some((route.real, (before, event)))
    };
    facts.routes.iter().filter_map(latest).collect()
}

/// Real servers of which none has answered since the source of their tunnels moved. `silent`: the
/// ones that answer nothing.
pub(super) fn source(facts: &DirectorFacts, silent: &[IpAddr]) -> Vec<Finding> {
    let mut by_change = BTreeMap::<_, Vec<(IpAddr, &EventText)>>::new();
    for (real, (before, event)) in moved(facts).iter().filter(|(real, _)| silent.contains(real)) {
        let route = facts.routes.iter().find(|route| route.real == *real);
        let after = route.and_then(|route| route.source);
        by_change.entry((*before, after)).or_default().push((*real, event));
    }
    by_change
        .into_iter()
        .map(|((before, after), reals)| change(before, after, &reals, facts))
        .collect()
}

fn change(
    before: IpAddr,
    after: Option<IpAddr>,
    reals: &[(IpAddr, &EventText)],
    facts: &DirectorFacts,
) -> Finding {
    let after = after.map_or_else(|| "another one".to_owned(), |after| after.to_string());
    let names: Vec<String> = reals.iter().map(|(real, _)| real.to_string()).collect();
    let link = reals
        .first()
        .and_then(|(real, _)| facts.routes.iter().find(|route| route.real == *real)?.link.clone());
    let link = link.map_or_else(String::new, |link| format!(" by {link}"));
    let down = facts.down.iter().find(|(_, addresses)| addresses.contains(&before));
    let why = match down {
        Some((link, _)) => format!("{link}, which has {before}, is down"),
        None => format!("no interface that is up has a route to them and {before}"),
    };
    let text = format!(
        "the source of the tunnels has changed from {before} to {after}, since packets now leave\
         {link}: {why}. Real servers that do not admit {after} refuse them: put the address and \
         the route back, or add {after} to `directors` there"
    );
    let (shown, more) =
        (names.iter().take(MOST_COMMANDS), names.len().saturating_sub(MOST_COMMANDS));
    let shown = shown.map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let time = reals.first().map_or("", |(_, event)| event.time.as_str());
    let found = Finding::new(Cause::Source, Severity::Fault, text)
        .seen(format!("the director's event of {time}; no answer from {shown}{more} since"));
    match down {
        Some((link, _)) => found.mended_by(format!("ip link set {link} up")),
        None => found.mended_by(format!("ip route get {}", names[0])),
    }
}

/// Clients' handshakes that do not end, at real servers whose probes are answered.
pub(super) fn handshakes<'a>(
    facts: &'a DirectorFacts,
    blamed: &'a [IpAddr],
) -> impl Iterator<Item = Finding> + use<'a> {
    let mut latest: BTreeMap<IpAddr, &EventText> = BTreeMap::new();
    for event in facts.events.iter().filter(|event| event.change.what == "unanswered") {
        latest.extend(event.change.address.map(|real| (real, event)));
    }
    latest.into_iter().filter(|(real, _)| !blamed.contains(real)).filter_map(|(real, event)| {
        let client = facts.handshakes.get(&real)?;
        let vip = facts.vips.iter().find(|vip| vip.address.is_ipv4() == client.is_ipv4())?;
        let vip = vip.address;
        let text = format!(
            "clients' handshakes at real server {real} do not end, although what this director \
             sends is answered: replies to clients as {client} do not leave there, leave by \
             another interface, or are dropped on the way"
        );
        let why = event.change.why.as_deref().unwrap_or("unanswered SYNs");
        let found = Finding::new(Cause::ReplyPath, Severity::Fault, text).about(real);
        Some(
            found
                .seen(format!("the director's event of {}: {why}", event.time))
                .mended_by("vstun doctor")
                .mended_by(format!("ip route get {client} from {vip}"))
                .mended_by(format!("tcpdump -c 5 -ni any 'src {vip} and dst {client}'"))
                .on(format!("real server {real}")),
        )
    })
}

/// Services that nothing else explains.
pub(super) fn outages(facts: &DirectorFacts, findings: &[Finding]) -> Vec<Finding> {
    let down = facts.services.iter().filter_map(|service| {
        let why = service.outage.as_ref()?;
        let explained = findings.iter().any(|found| {
            found.severity == Severity::Fault
                && (found.address.is_none_or(|address| {
                    service.reals.iter().any(|real| real.address == address.to_string())
                }) || found.cause == Cause::Outage)
        });
        if explained {
            return None;
        }
        let reals = service.reals.iter().filter(|real| !real.removed);
        let text =
            format!("no real server of service {} takes new connections: {why}", service.name);
        let found = Finding::new(Cause::Outage, Severity::Fault, text);
        let checks = reals.map(|real| format!("vstun check {}", real.address));
        Some(checks.take(MOST_COMMANDS).fold(found, Finding::mended_by))
    });
    let states = facts.services.iter().flat_map(|service| {
        let name = &service.name;
        let panic = service.panic.then(|| {
            let text = format!(
                "the health checks of service {name} are ignored, since too many of its real \
                 servers fail them"
            );
            Finding::new(Cause::Check, Severity::Warning, text).mended_by("vstun checks")
        });
        let flood = service.flood.active.then(|| {
            let text = format!(
                "service {name} is in flood mode: new connections have no entries ({} so far)",
                counted(service.flood.without_entry, "packet")
            );
            Finding::new(Cause::Host, Severity::Note, text).mended_by("vstun list")
        });
        [panic, flood].into_iter().flatten()
    });
    down.chain(states).collect()
}
