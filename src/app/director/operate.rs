//! The operator's verbs: each applies the running configuration with one change.

use std::net::IpAddr;

use anyhow::bail;

use super::desired;
use super::health::checks_of;
use super::messages::DirectorMessage;
use super::quorum::Withdrawn;
use super::reload::{RunningDirector, tunnel_route_changes};
use super::selection;
use crate::app::commands::{Answer, CommandResult};
use crate::app::host::Session;
use crate::balancer::{Change, Flush, Flushed, Selection, Snapshot, snapshot};
use crate::config::{self, Edit, Fault, Selected};
use crate::control::{Alteration, Altered, Request, VirtualIp, counted};
use crate::model::{AdminState, RealValue, Target};

/// The weight of a real server added without one, as in a configuration.
const WEIGHT: u32 = 1;

impl RunningDirector {
    pub(super) async fn operate(
        &mut self,
        session: &mut Session,
        request: Request,
    ) -> CommandResult {
        match request {
            Request::SetWeight { real, weight } => {
                self.edit(session, &real, Edit::Set(RealValue::Weight(weight))).await
            }
            Request::AddReal { real, weight } => {
                self.edit(session, &real, Edit::Add(weight.unwrap_or(WEIGHT))).await
            }
            Request::RemoveReal { real } => self.edit(session, &real, Edit::Remove).await,
            Request::Drain { real, deadline } => {
                let deadline = deadline.as_deref().map(config::deadline).transpose()?;
                self.set_state(&real, AdminState::Draining { deadline }).await
            }
            Request::Enable { real } => self.set_state(&real, AdminState::Up).await,
            Request::Disable { real } => self.set_state(&real, AdminState::Disabled).await,
            Request::Flush { service, address, all } => self.flush(service, address, all).await,
            Request::Announce { address } => self.announce(session, &address).await,
            Request::Withdraw { address } => self.withdraw(session, &address).await,
            other => bail!("{} is not a command", other.verb()),
        }
    }

    async fn edit(&mut self, session: &mut Session, real: &Target, edit: Edit) -> CommandResult {
        let wanted = self.config.edited(real, edit)?;
        let changes = config::diff(&self.config, &wanted).map_err(first)?;
        // The host's set-up does not depend on such a value.
        if let Edit::Set(_) = edit {
            let running = self.snapshot().await?;
            let altered = self.altered(&changes, &running);
            self.apply(changes).await?;
            self.config = wanted;
            self.adopt_checks(checks_of(&self.config, &running));
            return Ok(Answer::of(altered));
        }
        let (altered, warnings) = self.switch(session, wanted, changes).await?;
        Ok(Answer::of(altered).with(warnings))
    }

    pub(super) async fn set_state(&mut self, real: &Target, state: AdminState) -> CommandResult {
        let running = self.snapshot().await?;
        let Selected { services, address } = match state {
            AdminState::Up => self.select_to_enable(real, &running)?,
            _ => self.config.select_also(real, &removed(real, &running))?,
        };
        let change = |service: &String| {
            let service = service.clone();
            Change::SetState { service, address, state }
        };
        let changes: Vec<Change> = services.iter().map(change).collect();
        let altered = self.altered(&changes, &running);
        self.apply(changes).await?;
        self.checks.want(services.into_iter().map(|service| (service, address, state)).collect());
        Ok(Answer::of(altered))
    }

    /// The real servers that the target selects. A removed one is enabled by adding it.
    fn select_to_enable(&self, real: &Target, running: &Snapshot) -> anyhow::Result<Selected> {
        self.config.select(real).map_err(|fault| {
            let named =
                |service: &&str| real.service.as_deref().is_none_or(|name| name == *service);
            match removed(real, running).into_iter().find(named) {
                Some(service) => anyhow::anyhow!(
                    "address: {} was removed from service {service} and serves its last \
                     connections; `vstun add-real` brings it back",
                    real.address
                ),
                None => fault.into(),
            }
        })
    }

    async fn flush(
        &mut self,
        service: Option<String>,
        address: Option<String>,
        all: bool,
    ) -> CommandResult {
        if all == (service.is_some() || address.is_some()) {
            bail!(
                "whose connections? write --service NAME, --real ADDRESS or both, or --all alone"
            );
        }
        if let Some(name) = &service {
            self.config.service(name)?;
        }
        let real = match &address {
            Some(text) => Some(self.known(text, service.as_deref()).await?),
            None => None,
        };
        let which = Flush { service, real };
        let (mut connections, mut next) = (0, Some(0));
        while let Some(from) = next {
            let which = which.clone();
            let flushed = self
                .packet_thread
                .ask(|answer| DirectorMessage::Flush { which, from, answer })
                .await?;
            let Flushed { connections: more, next: then } = flushed;
            (connections, next) = (connections + more, then);
        }
        let what = Altered::Flush { connections: connections as u64 };
        let change = Alteration { service: which.service, address: real, what };
        let changes = if connections > 0 { vec![change] } else { Vec::new() };
        Ok(Answer::done(counted(connections as u64, "connection") + " forgotten", changes))
    }

    /// Resolves a real server's address; a removed one counts while it has connections.
    async fn known(&self, text: &str, service: Option<&str>) -> anyhow::Result<IpAddr> {
        let address = config::real(text)?;
        let service = service.map(ToOwned::to_owned);
        let which = Selection { real: Some(address), service, ..Selection::default() };
        selection::check(&which, &self.snapshot().await?.services)?;
        Ok(address)
    }

    async fn announce(&mut self, session: &mut Session, text: &str) -> CommandResult {
        let vip = config::vip(&self.config, text)?;
        let mut withdrawn = self.withdrawn.clone();
        withdrawn.by_operator.remove(&vip);
        let waits = withdrawn.contains(vip);
        let warnings = self.set_withdrawn(session, withdrawn, Some(vip)).await?;
        let announcements = session.announced(vip).join(", ");
        let done = match announcements.is_empty() {
            true if waits => {
                format!("{vip} is announced as soon as one of its services has its quorum")
            }
            true => match session.why_silent(vip) {
                Some(why) => format!("{vip} is announced as soon as this is over: {why}"),
                None => format!("{vip} is announced as soon as it has an uplink"),
            },
            false => format!("{vip} is announced: {announcements}"),
        };
        Ok(Answer::done(done, self.note_announced(vip, false)).with(warnings))
    }

    async fn withdraw(&mut self, session: &mut Session, text: &str) -> CommandResult {
        let vip = config::vip(&self.config, text)?;
        let before = self.withdrawn.clone();
        let mut withdrawn = before.clone();
        withdrawn.by_operator.insert(vip);
        let warnings = self.set_withdrawn(session, withdrawn, None).await?;
        let announcements = session.announced(vip);
        if !announcements.is_empty() {
            self.set_withdrawn(session, before, None).await?;
            bail!("{vip} is still announced: {}; the log says why", announcements.join(", "));
        }
        let done = format!("{vip} is withdrawn; what arrives for it is forwarded as before");
        Ok(Answer::done(done, self.note_announced(vip, false)).with(warnings))
    }

    /// Withdraws exactly these virtual IPs and announces all others; those in `at_once` without a
    /// conflict probe. Returns the new warnings about the host.
    pub(super) async fn set_withdrawn(
        &mut self,
        session: &mut Session,
        withdrawn: Withdrawn,
        at_once: Option<IpAddr>,
    ) -> anyhow::Result<Vec<String>> {
        if !self.config.arp && self.config.announce_table == 0 {
            bail!("nothing announces virtual IPs here: `arp` is false and `announce_table` is 0");
        }
        let desired = desired(&self.config, withdrawn.all(), self.force);
        let plan = session.plan_director(&desired).await?;
        let (tunnel_routes, warnings) = (plan.tunnel_routes(), plan.warnings());
        self.apply(tunnel_route_changes(&tunnel_routes).into()).await?;
        let plan = match at_once {
            Some(vip) => plan.at_once(vip),
            None => plan,
        };
        session.install(plan).await?;
        self.set_tunnel_routes(tunnel_routes);
        self.withdrawn = withdrawn;
        Ok(self.warned(warnings))
    }

    /// Updates the listings with whether the virtual IP is announced, and returns the change.
    pub(super) fn note_announced(&self, vip: IpAddr, by_quorum: bool) -> Vec<Alteration> {
        let announced = !self.withdrawn.contains(vip);
        let mut changes = Vec::new();
        let mut vips = self.vips.get();
        for one in vips.iter_mut().filter(|one| one.address == vip) {
            if one.announced != announced {
                let what = Altered::Announced { announced, by_quorum };
                changes.push(Alteration::of_address(vip, what));
            }
            one.announced = announced;
        }
        self.vips.replace(vips);
        changes
    }
}

/// The virtual IPs for listings.
pub(super) fn virtual_ips(config: &config::Director, withdrawn: &Withdrawn) -> Vec<VirtualIp> {
    let listed = |address| VirtualIp { address, announced: !withdrawn.contains(address) };
    config.vips().into_iter().map(listed).collect()
}

/// The services from which this real server was removed and of which it still has connections.
fn removed<'a>(real: &Target, running: &'a Snapshot) -> Vec<&'a str> {
    // An invalid address is reported when it is resolved.
    let Ok(address) = config::real(&real.address) else { return Vec::new() };
    let has = |service: &&snapshot::ServiceSnapshot| {
        service.reals.iter().any(|real| real.removed && real.address == address)
    };
    running.services.iter().filter(has).map(|service| &*service.name).collect()
}

/// The first of the faults; one edit of a checked configuration causes no more than one.
fn first(faults: Vec<Fault>) -> anyhow::Error {
    match faults.into_iter().next() {
        Some(fault) => fault.into(),
        None => anyhow::anyhow!("the configuration cannot be compared with the running one"),
    }
}
