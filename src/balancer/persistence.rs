//! Persistence: a client's new flows go to the real server of its earlier flows.
//!
//! A template stores the real server of a client, or of a network of clients. There is one for each
//! client of a service, whatever the port, so all listens of a service share it (IPVS needs
//! firewall marks for that). A new flow restarts its timeout, and it does not expire while one of
//! its flows lives. Only flows without a connection use it: a connection's packets never touch a
//! template. A flood creates no templates but uses existing ones as always.

use std::time::Duration;

use super::Balancer;
use super::flow::Key;
use super::placement::PlacementKey;
use super::pool::Eligible;
use super::real::Life;
use super::service::Service;
use super::table::Handle;
use crate::model::{Millis, Persistence, Quiescent, RealId, SchedulerKind, ServiceId};

/// The real server of a new flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    /// `None`: no real server takes it.
    pub(super) real: Option<RealId>,
    pub(super) by: By,
    pub(super) template: TemplateStep,
}

/// What decided the real server of a new flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum By {
    Template,
    Hash,
    /// With the index that it has picked.
    Scheduler(Option<usize>),
}

/// How the client's template changes when its flow is forwarded as decided.
#[derive(Clone, Copy, Debug)]
pub(super) enum TemplateStep {
    /// It has none and gets none.
    None,
    /// It names this real server; its timeout restarts.
    Arm(Handle),
    /// It names this real server from now on.
    Move(Handle),
    /// It has one with this key from now on.
    New(Key),
}

impl Balancer {
    /// The real server of a new flow: that of its client's earlier flows, else the scheduler's or
    /// the hash's choice. A flood makes no template.
    #[inline]
    pub(super) fn choose(
        &self,
        now: Millis,
        key: &Key,
        id: ServiceId,
        by_hash: Option<Eligible>,
        flooded: bool,
    ) -> Choice {
        let service = &self.registry.services[id];
        let Some(persistence) = service.policy.persistence else {
            let (real, by) = self.ask(now, service, key, by_hash);
            return Choice { real, by, template: TemplateStep::None };
        };
        self.choose_persistent(now, key, id, by_hash, flooded, persistence)
    }

    fn choose_persistent(
        &self,
        now: Millis,
        key: &Key,
        id: ServiceId,
        by_hash: Option<Eligible>,
        flooded: bool,
        persistence: Persistence,
    ) -> Choice {
        let service = &self.registry.services[id];
        let client = key.of_persistent_client(&persistence, number(id));
        let known = self.tables.templates.find(&client);
        if let Some((template, real)) = known
            && self.honoured(now, real, persistence.quiescent)
        {
            let template = TemplateStep::Arm(template);
            return Choice { real: Some(real), by: By::Template, template };
        }
        if !self.registry.moved_listens.former.is_empty()
            && let Some(real) = self.followed_template(key, id)
            && self.honoured(now, real, persistence.quiescent)
        {
            let template = match known {
                Some((template, _)) => TemplateStep::Move(template),
                None if flooded => TemplateStep::None,
                None => TemplateStep::New(client),
            };
            return Choice { real: Some(real), by: By::Template, template };
        }
        // Without space for a template the hash decides: it too gives all flows of a client to one
        // real server.
        let no_room =
            known.is_none() && self.tables.templates.len() >= self.tables.templates.capacity();
        let by_hash = by_hash.or_else(|| no_room.then_some(Eligible::InRotation));
        let (real, by) = self.ask(now, service, &placed(key, persistence, service.kind), by_hash);
        let template = match known {
            Some((template, _)) => TemplateStep::Move(template),
            // Forged sources would fill the table. The hash too gives all flows of a client to one
            // real server.
            None if flooded => TemplateStep::None,
            None => TemplateStep::New(client),
        };
        Choice { real, by, template }
    }

    /// Asks the hash, or else the scheduler.
    #[inline]
    fn ask(
        &self,
        now: Millis,
        service: &Service,
        key: &Key,
        by_hash: Option<Eligible>,
    ) -> (Option<RealId>, By) {
        let flow = PlacementKey { key, seed: self.settings.hash_seed };
        let reals = &self.registry.reals;
        match by_hash {
            Some(eligible) => (service.place(now, flow, eligible, reals), By::Hash),
            None => {
                let (picked, real) = service.schedule(now, flow, reals);
                (real, By::Scheduler(picked))
            }
        }
    }

    /// The client's flow goes to this real server: its template, if it has one from now on.
    pub(super) fn keep_template(
        &mut self,
        now: Millis,
        id: ServiceId,
        real: RealId,
        step: TemplateStep,
    ) -> Option<Handle> {
        let timeout = self.registry.services[id].policy.persistence?.timeout;
        match step {
            TemplateStep::None => None,
            TemplateStep::New(client) => self.new_template(client, real, now, timeout),
            TemplateStep::Arm(template) => {
                self.tables.templates.arm(template, now, timeout);
                Some(template)
            }
            TemplateStep::Move(template) => {
                self.move_template(template, real);
                self.tables.templates.arm(template, now, timeout);
                Some(template)
            }
        }
    }

    /// Whether a template with this real server applies to a new flow. The thresholds are ignored,
    /// as in IPVS.
    fn honoured(&self, now: Millis, real: RealId, quiescent: Quiescent) -> bool {
        self.registry.reals[real].persists(now, quiescent)
    }

    fn new_template(
        &mut self,
        client: Key,
        real: RealId,
        now: Millis,
        timeout: Duration,
    ) -> Option<Handle> {
        let Ok(template) = self.tables.templates.insert(client, real, now, timeout) else {
            self.counters.without_template += 1;
            return None;
        };
        self.registry.reals[real].remember();
        Some(template)
    }

    /// The template of a connection that this real server has taken over from another service: its
    /// client's, if that names the real server too, else a new one. A removed service may have had
    /// the same number: a template of it names the real server from now on.
    pub(super) fn template_of_moved(
        &mut self,
        now: Millis,
        key: &Key,
        real: RealId,
    ) -> Option<Handle> {
        let id = self.registry.reals[real].service();
        let persistence = self.registry.services[id].policy.persistence?;
        let client = key.of_persistent_client(&persistence, number(id));
        match self.tables.templates.find(&client) {
            Some((template, named)) if named == real => Some(template),
            Some((template, named)) => {
                let (named, new) = (&self.registry.reals[named], &self.registry.reals[real]);
                if named.life() != Life::Gone || named.address() != new.address() {
                    return None;
                }
                self.move_template(template, real);
                Some(template)
            }
            None => self.new_template(client, real, now, persistence.timeout),
        }
    }

    fn move_template(&mut self, template: Handle, to: RealId) {
        let from = self.tables.templates.set_real(template, to);
        self.registry.reals[to].remember();
        if let Some(from) = from {
            self.forget_template(from);
        }
    }

    /// Removes expired templates.
    pub(super) fn expire_templates(&mut self, now: Millis, budget: &mut usize) {
        while let Some(real) = self.tables.templates.expire(now, budget) {
            self.forget_template(real);
        }
    }

    fn forget_template(&mut self, id: RealId) {
        self.registry.reals[id].forget();
        self.free_if_idle(id);
    }
}

/// The key that places a persistent client's flow: its client alone, so that all flows of a client
/// belong to one real server in every director, with or without templates. Destination hashing uses
/// the virtual address instead.
fn placed(key: &Key, persistence: Persistence, scheduler: SchedulerKind) -> Key {
    match scheduler {
        SchedulerKind::DestinationHashing => *key,
        _ => key.of_persistent_client(&persistence, 0),
    }
}

/// The service in a template's key. A removed service's index may be reused: the old templates name
/// real servers that are gone.
fn number(id: ServiceId) -> u32 {
    id.index
}
