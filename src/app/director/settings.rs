//! The changes of a reload outside of the balancer: virtual IPs, keys for the host or the packet
//! loop, the seed for placing flows, and health checks.

use crate::config;
use crate::control::{Alteration, Altered};

/// The differences for which there is no [`Change`](crate::balancer::Change).
pub(super) fn altered(old: &config::Director, new: &config::Director) -> Vec<Alteration> {
    let mut altered = Alteration::of_virtual_ips(&old.vips(), &new.vips());
    let of_director = config::director_differences(old, new).into_iter();
    altered.extend(of_director.map(|one| Alteration::of(Altered::Setting(one))));
    let of_health = config::health_differences(old, new).into_iter();
    let of_service =
        |(service, one): (String, _)| Alteration::of_service(&service, Altered::Setting(one));
    altered.extend(of_health.map(of_service));
    altered
}
