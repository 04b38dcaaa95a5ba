//! What a plan says before it is installed.

use std::net::IpAddr;

use crate::host::{AdvertisedMss, TunnelRoutes};

use super::Prepared;

impl Prepared {
    /// Takes the virtual IP over: it is announced without a conflict probe, since another host is
    /// known to have it, and again if it is announced already, since neighbours may have received
    /// the other host's announcement last.
    #[must_use]
    pub fn at_once(self, vip: IpAddr) -> Self {
        Self { at_once: Some(vip), ..self }
    }

    /// The warnings about the host, and its problems.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let problems = self.plan.problems.iter().map(|problem| problem.text.clone());
        self.plan.warnings.iter().cloned().chain(problems).collect()
    }

    /// The TUN's planned MTU in bytes.
    #[must_use]
    pub fn tun_mtu(&self) -> u16 {
        self.plan.tun_mtu
    }

    /// The MSS that this host advertises for its virtual IPs (real server).
    #[must_use]
    pub fn advertised_mss(&self) -> AdvertisedMss {
        self.plan.advertised_mss
    }

    /// The largest MTU of this host's links in bytes (real server).
    #[must_use]
    pub fn link_mtu(&self) -> u32 {
        self.plan.link_mtu
    }

    /// The paths to the real servers (director). [`Session::follow`](super::Session::follow)
    /// returns when they change.
    #[must_use]
    pub fn tunnel_routes(&self) -> TunnelRoutes {
        self.plan.tunnel_routes.clone()
    }
}
