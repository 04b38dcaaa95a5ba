//! Findings about what operators have set: real servers out of service, and virtual IPs that the
//! director does not announce.

use crate::control::{ListedReal, ListedService, VirtualIp};

use super::{Cause, Finding, Severity};

/// The most commands of a finding.
const MOST_COMMANDS: usize = 10;

/// The findings.
pub(super) fn findings(services: &[ListedService], vips: &[VirtualIp]) -> Vec<Finding> {
    services.iter().filter_map(out).chain(vips.iter().filter_map(withdrawn)).collect()
}

/// Real servers that get no new connection because of the file or a verb.
fn out(service: &ListedService) -> Option<Finding> {
    let reals = || service.reals.iter().filter(|real| !real.removed);
    let commands: Vec<String> = reals().filter_map(back).take(MOST_COMMANDS).collect();
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
fn withdrawn(vip: &VirtualIp) -> Option<Finding> {
    let address = vip.address;
    let text = format!(
        "this director does not announce {address}: `announce` is false, it was withdrawn, or its \
         services lack their quorum; clients need another director that does"
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
    }
}
