//! The answer of `/readyz`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::host::HostStatus;
use super::list::ServiceList;

/// Whether clients' packets would be served.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Readiness {
    /// Whether they would.
    pub ready: bool,
    /// The reasons if not; otherwise empty.
    pub reasons: Vec<String>,
}

impl Readiness {
    /// Ready if there is no reason against it.
    #[must_use]
    pub fn unless(reasons: Vec<String>) -> Self {
        Self { ready: reasons.is_empty(), reasons }
    }

    /// A real server is ready while its host has no problem.
    #[must_use]
    pub fn of_realserver(host: &HostStatus) -> Self {
        Self::unless(host.wrong.iter().map(|wrong| wrong.text.clone()).collect())
    }
}

/// A director is ready while a service has a real server for new connections, and a VIP has no
/// problem. It need not announce a VIP: a standby is ready too.
impl From<&ServiceList> for Readiness {
    fn from(list: &ServiceList) -> Self {
        let mut reasons = Vec::new();
        let serves = |service: &super::ListedService| {
            service.quorum != Some(false)
                && service.reals.iter().any(|real| real.state == "up" && real.weight > 0)
        };
        if !list.services.iter().any(serves) {
            reasons.push("no service has a real server for new connections".to_owned());
        }
        let wrong = list.host.wrong.iter();
        let faulty: BTreeSet<IpAddr> = wrong.filter_map(|wrong| wrong.address).collect();
        if !list.vips.is_empty() && list.vips.iter().all(|vip| faulty.contains(&vip.address)) {
            let texts = list.host.wrong.iter().filter(|wrong| wrong.address.is_some());
            reasons.extend(texts.map(|wrong| wrong.text.clone()));
        }
        Self::unless(reasons)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{ListedReal, ListedService, VirtualIp, Wrong};

    fn list(state: &str, weight: u32) -> ServiceList {
        let real = format!(
            r#"{{"address":"10.0.0.11","weight":{weight},"state":"{state}","active":0,
            "inactive":0,"connections":0,"packets":0,"bytes":0}}"#
        );
        let real: ListedReal = serde_json::from_str(&real).expect("a real server");
        let service = r#"{"name":"web","listen":[],"scheduler":"rr","reals":[]}"#;
        let service: ListedService = serde_json::from_str(service).expect("a service");
        ServiceList {
            services: vec![ListedService { reals: vec![real], ..service }],
            vips: ["192.0.2.10", "192.0.2.11"]
                .map(|vip| VirtualIp {
                    address: vip.parse().expect("an address"),
                    announced: false,
                })
                .into(),
            ..ServiceList::default()
        }
    }

    fn wrong(address: &str) -> Wrong {
        let address = address.parse().ok();
        Wrong { address, text: "captured elsewhere".to_owned(), ..Wrong::default() }
    }

    #[test]
    fn a_director_needs_a_real_server_and_a_vip_without_faults() {
        assert!(Readiness::from(&list("up", 1)).ready);
        for (state, weight) in [("up", 0), ("down", 1), ("disabled", 1), ("draining", 1)] {
            let found = Readiness::from(&list(state, weight));
            assert_eq!(found.reasons, ["no service has a real server for new connections"]);
        }
        let mut without = list("up", 1);
        without.services[0].quorum = Some(false);
        assert!(!Readiness::from(&without).ready);
        let mut one = list("up", 1);
        one.host.wrong.push(wrong("192.0.2.10"));
        assert!(Readiness::from(&one).ready);
        one.host.wrong.push(wrong("192.0.2.11"));
        assert_eq!(Readiness::from(&one).reasons.len(), 2);
    }

    #[test]
    fn a_real_server_needs_a_host_without_faults() {
        let mut host = HostStatus::default();
        assert!(Readiness::of_realserver(&host).ready);
        host.wrong.push(wrong("192.0.2.10"));
        assert_eq!(Readiness::of_realserver(&host).reasons, ["captured elsewhere"]);
    }
}
