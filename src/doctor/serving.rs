//! Findings about what operators have set: real servers out of service, and virtual IPs that the
//! director does not announce.

use crate::control::{ListedReal, ListedService, VirtualIp};

use super::{Cause, Finding, Severity};
use crate::model::Listen;

/// The most commands of a finding.
const MOST_COMMANDS: usize = 10;

/// The findings.
pub(super) fn findings(services: &[ListedService], vips: &[VirtualIp]) -> Vec<Finding> {
    let out = services.iter().filter_map(|service| out(service, services));
    out.chain(vips.iter().filter_map(|vip| withdrawn(vip, services))).collect()
}

/// Real servers that get no new connection because of the file or a verb.
fn out(service: &ListedService, all: &[ListedService]) -> Option<Finding> {
    let reals = || service.reals.iter().filter(|real| !real.removed);
    let commands: Vec<String> = reals()
        .filter_map(|real| {
            let has = |one: &&ListedService| one.reals.iter().any(|it| it.address == real.address);
            // The verbs refuse an address of several services without the service.
            let several = all.iter().filter(has).count() > 1;
            let service =
                if several { format!(" --service {}", service.name) } else { String::new() };
            Some(back(real)? + &service)
        })
        .take(MOST_COMMANDS)
        .collect();
    if commands.is_empty() {
        return None;
    }
    let name = &service.name;
    let found = match &service.outage {
        Some(why) => Finding::new(
            Cause::Outage,
            Severity::Fault,
            format!("no real server of service {name} takes new connections: {why}"),
        ),
        None => {
            let (out, all) = (reals().filter_map(back).count(), reals().count());
            let text = format!(
                "{out} of {all} real servers of service {name} take no new connections: they are \
                 disabled, draining or of weight 0"
            );
            Finding::new(Cause::Outage, Severity::Note, text)
        }
    };
    Some(commands.into_iter().fold(found, Finding::mended_by))
}

/// The command that puts it back into service, if an operator has taken it out.
fn back(real: &ListedReal) -> Option<String> {
    let address = &real.address;
    match real.wanted.as_str() {
        "disabled" | "draining" => Some(format!("vstun enable {address}")),
        _ if real.weight == 0 => Some(format!("vstun set-weight {address} --weight 1")),
        _ => None,
    }
}

/// Another director may announce it.
fn withdrawn(vip: &VirtualIp, services: &[ListedService]) -> Option<Finding> {
    let address = vip.address;
    let is_at =
        |listen: &String| listen.parse::<Listen>().is_ok_and(|listen| listen.address == address);
    let mut at = services.iter().filter(|service| service.listen.iter().any(is_at)).peekable();
    if !vip.announced && at.peek().is_some() && at.all(|one| one.quorum == Some(false)) {
        let text = format!(
            "this director does not announce {address}, since none of its services has its quorum: \
             too few real servers pass their checks; clients need another director that does"
        );
        let found = Finding::new(Cause::Withdrawn, Severity::Note, text).about(address);
        return Some(found.mended_by("vstun checks"));
    }
    let text = format!(
        "this director does not announce {address}: `announce` is false, or it was \
         withdrawn; clients need another director that does"
    );
    let found = Finding::new(Cause::Withdrawn, Severity::Note, text).about(address);
    (!vip.announced).then(|| found.mended_by(format!("vstun announce {address}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn service(outage: &str, reals: &[(&str, u32)]) -> ListedService {
        let real = |(index, (wanted, weight)): (usize, &(&str, u32))| {
            format!(
                r#"{{"address": "10.0.0.{index}", "weight": {weight}, "state": "up",
                "wanted": "{wanted}", "active": 0, "inactive": 0, "connections": 0, "packets": 0,
                "bytes": 0}}"#
            )
        };
        let reals: Vec<String> = reals.iter().enumerate().map(real).collect();
        let text = format!(
            r#"{{"name": "web", "listen": [], "scheduler": "rr", {outage} "reals": [{}]}}"#,
            reals.join(", ")
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn what_an_operator_has_taken_out_is_a_fault_if_nothing_is_left() {
        let of = |service| findings(&[service], &[]);
        assert!(of(service("", &[("up", 1), ("up", 2)])).is_empty());
        // Health checks have findings of their own.
        assert!(of(service(r#""outage": "2 down","#, &[("up", 1), ("up", 1)])).is_empty());
        let [partly] = &of(service("", &[("up", 1), ("draining", 1)]))[..] else { panic!() };
        assert_eq!(
            (partly.severity, &partly.mend[..]),
            (Severity::Note, &["vstun enable 10.0.0.1".to_owned()][..])
        );
        let all =
            service(r#""outage": "1 of weight 0, 1 disabled","#, &[("up", 0), ("disabled", 1)]);
        let [all] = &of(all)[..] else { panic!() };
        assert_eq!(all.severity, Severity::Fault);
        assert_eq!(all.mend, ["vstun set-weight 10.0.0.0 --weight 1", "vstun enable 10.0.0.1"]);
        // The verbs refuse an address of several services.
        let other = ListedService { name: "other".to_owned(), ..service("", &[("up", 1)]) };
        let both = findings(&[service("", &[("disabled", 1), ("disabled", 1)]), other], &[]);
        assert_eq!(both[0].mend, ["vstun enable 10.0.0.0 --service web", "vstun enable 10.0.0.1"]);
    }

    #[test]
    fn a_virtual_ip_that_is_not_announced_is_noted() {
        let vip = |announced| VirtualIp { address: [192, 0, 2, 10].into(), announced };
        assert!(findings(&[], &[vip(true)]).is_empty());
        let [note] = &findings(&[], &[vip(false)])[..] else { panic!() };
        assert_eq!(
            (note.severity, &note.mend[0][..]),
            (Severity::Note, "vstun announce 192.0.2.10")
        );
        let mut service = service("", &[("up", 1)]);
        service.listen = vec!["192.0.2.10:80/tcp".to_owned()];
        for (quorum, mend) in
            [(Some(false), "vstun checks"), (Some(true), "vstun announce 192.0.2.10")]
        {
            service.quorum = quorum;
            let found = findings(std::slice::from_ref(&service), &[vip(false)]);
            assert_eq!(found[0].mend, [mend]);
        }
    }
}
