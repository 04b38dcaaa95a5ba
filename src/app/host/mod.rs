//! The host set-up of a daemon, from the lock of its control socket to the restoration of the last
//! sysctl.
//!
//! ```text
//! Session::open → plan_* → (the caller makes the TUN) → install → follow … → undo
//! ```
//!
//! Each step is recorded in the state file before it is applied, so that everything a killed daemon
//! leaves behind is known: the next start takes it over, and `vstun cleanup` removes it without a
//! start.

mod announcing;
mod apply;
mod conflict;
mod control_files;
mod due;
mod failures;
mod follow;
pub(super) mod gather;
mod in_turn;
mod inherit;
mod install;
mod listening;
mod messages;
mod neighbour_socket;
mod pending;
mod prepared;
pub(crate) mod reply_lookup;
mod report;
mod routes;
mod state;
pub(crate) mod survey;
mod undo;
mod waiting;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use log::warn;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::app::latest::Latest;
use crate::control::{Event, HostStatus};
use crate::host::contest::Contest;
use crate::host::default_route::DefaultRoute;
use crate::host::defence::Defence;
use crate::host::own_macs::OwnMacs;
use crate::host::rename::Uplinks;
use crate::host::{
    Announcement, Facts, Family, HostPlan, HostStep, Object, Problem, Routes, SelectiveRule,
    TunnelRoutes, director, ipsec, realserver, selective,
};
use crate::sys::host_events::HostEvents;
use crate::sys::netlink::{Netlink, NetlinkEvents};
use crate::sys::netns;

pub(crate) use apply::WRITABLE;

pub use crate::host::DesiredDirector;
pub use crate::host::DesiredRealServer;

use control_files::{ControlFiles, LOCK, STATE, beside};
use in_turn::InTurn;
use inherit::{OtherNamespace, inherit};
use listening::ClaimListener;
use pending::{Concern, PendingEvents};
use report::HostReport;
use state::StateFile;

/// A daemon's session with its host.
#[derive(Debug)]
pub struct Session {
    netlink: Netlink,
    state: StateFile,
    /// The installed role.
    role: Option<Role>,
    /// The routes that matter to it.
    concern: Concern,
    /// The host at the last check.
    last: Facts,
    /// The interfaces' indexes at the last check: another index is another interface.
    indices: BTreeMap<String, u32>,
    /// The index of the TUN, once it is set up.
    tun: Option<u32>,
    /// The current names of the configured uplinks.
    uplinks: Uplinks,
    /// The paths to the real servers last returned to the caller.
    reported_tunnel_routes: TunnelRoutes,
    /// The paths to the real servers at the last check.
    tunnel_routes: TunnelRoutes,
    /// Warnings already logged.
    warned: BTreeSet<String>,
    /// The current announcements, and the tasks that repeat them.
    announcing: Vec<(Vec<Announcement>, JoinHandle<()>)>,
    /// The addresses announced on the uplinks, after a conflict probe.
    announced: BTreeSet<Announcement>,
    /// The announcements held back because another host has the address, with its hardware address
    /// and the time of the last probe.
    rivals: BTreeMap<Announcement, ([u8; 6], Instant)>,
    /// The state of claims by other hosts to announced addresses.
    defences: BTreeMap<Announcement, Defence>,
    /// The hardware addresses by which neighbours know this host's own addresses.
    own_macs: OwnMacs,
    /// The last default route, without which clients' packets may be dropped.
    default_route: DefaultRoute,
    /// Receives such claims.
    listening: ClaimListener,
    /// The state of steps that another program undoes, by their subject.
    contests: BTreeMap<String, Contest>,
    /// Settings that were as planned at the last check without a step of ours.
    as_planned: BTreeSet<String>,
    /// The MTU that the TUN was set to.
    tun_mtu: Option<u16>,
    /// Whether its MTU is set: not if another program sets another one again and again.
    keep_tun_mtu: bool,
    /// The families that the real server's table had copies of at the last check.
    had_copies: Vec<Family>,
    /// Whether copies that another program has undone were left so at the last check.
    left_copies: bool,
    /// Interfaces that were down since the last check.
    bounced: BTreeSet<u32>,
    /// Interfaces that have lost an address since the last check.
    unaddressed: BTreeSet<u32>,
    /// Interfaces that need a new announcement.
    readdressed: BTreeSet<u32>,
    /// Reports problems.
    report: HostReport,
    /// Receives changes.
    events: Option<(NetlinkEvents, HostEvents)>,
    /// The host has changed since the last check.
    changed: bool,
    /// Since when a check is due.
    due_since: Option<Instant>,
    /// The events since the last check.
    unseen: PendingEvents,
    /// The host as last checked, if everything has been as planned since: with the routes that
    /// matter, but without a real server's copies.
    known: Option<Known>,
    /// The earliest time of the next full check.
    not_before: Instant,
    /// Whether the state file has not been written since the last change.
    unsaved: bool,
    /// A check is needed for something other than route events.
    look_due: bool,
    /// When the host is checked without an event.
    next_look: Instant,
    /// Checks without an event since the routes were read.
    light_looks: u32,
    /// The real servers whose routes the next quiet check looks up.
    reals_in_turn: InTurn,
    /// Whether the daemon stops; `None`: not told yet, as at a real server.
    stopping: Option<Latest<bool>>,
    /// The last field, so that the lock is released after everything else.
    files: ControlFiles,
}

/// A plan and its inputs, ready to be installed.
#[derive(Clone, Debug)]
pub struct Prepared {
    role: Role,
    plan: HostPlan,
    /// See [`Self::at_once`].
    at_once: Option<IpAddr>,
}

/// See [`Session::known`].
#[derive(Debug)]
struct Known {
    facts: Facts,
    /// The size that fits into the tunnels, see [`crate::host::copies::Copier::room`].
    room: Option<u32>,
}

#[derive(Clone, Debug)]
enum Role {
    Director(DesiredDirector),
    RealServer(DesiredRealServer),
}

impl Session {
    /// Takes the lock of the control socket, creates the socket's directory if it is missing,
    /// removes a killed daemon's socket and reads its state file. Needs a tokio runtime with IO and
    /// time.
    ///
    /// # Errors
    ///
    /// Another daemon has the lock; files or netlink cannot be used. Then nothing has changed.
    pub fn open(control: &Path) -> Result<Self> {
        Self::enter(control, OtherNamespace::Ignore)
    }

    /// As [`Self::open`], only to undo the steps of a killed daemon.
    ///
    /// # Errors
    ///
    /// As [`Self::open`]; the state file was written in another network namespace and has to be
    /// undone there.
    pub(crate) fn open_to_clean(control: &Path) -> Result<Self> {
        Self::enter(control, OtherNamespace::Refuse)
    }

    /// Whether any file of a daemon with that control socket exists.
    pub(crate) fn leftovers(control: &Path) -> bool {
        let files = [control.to_owned(), beside(control, STATE), beside(control, LOCK)];
        files.iter().any(|file| file.symlink_metadata().is_ok())
    }

    fn enter(control: &Path, other: OtherNamespace) -> Result<Self> {
        let namespace = netns::identity().context("cannot tell the network namespace")?;
        let mut files = ControlFiles::take(control)?;
        let state = inherit(&mut files, &namespace, other)?;
        let netlink = Netlink::open().context("cannot open a netlink socket")?;
        Ok(Self {
            netlink,
            state,
            role: None,
            concern: Concern::Leaving,
            last: Facts::default(),
            indices: BTreeMap::new(),
            tun: None,
            uplinks: Uplinks::default(),
            reported_tunnel_routes: TunnelRoutes::default(),
            tunnel_routes: TunnelRoutes::default(),
            warned: BTreeSet::new(),
            announcing: Vec::new(),
            announced: BTreeSet::new(),
            rivals: BTreeMap::new(),
            defences: BTreeMap::new(),
            own_macs: OwnMacs::default(),
            default_route: DefaultRoute::default(),
            listening: ClaimListener::new(),
            contests: BTreeMap::new(),
            as_planned: BTreeSet::new(),
            tun_mtu: None,
            keep_tun_mtu: true,
            had_copies: Vec::new(),
            left_copies: false,
            bounced: BTreeSet::new(),
            unaddressed: BTreeSet::new(),
            readdressed: BTreeSet::new(),
            report: HostReport::new(),
            events: None,
            changed: true,
            due_since: None,
            unseen: PendingEvents::default(),
            known: None,
            not_before: Instant::now(),
            unsaved: false,
            look_due: true,
            next_look: Instant::now(),
            light_looks: 0,
            reals_in_turn: InTurn::default(),
            stopping: None,
            files,
        })
    }

    /// From now on a control socket whose file is not this one, by device and inode, is a problem.
    pub(in crate::app) fn listens_on(&mut self, file: (u64, u64)) {
        self.files.listens_on(file);
    }

    /// Plans a director's host. Changes nothing. For a reload call it again, then
    /// [`Self::install`].
    ///
    /// # Errors
    ///
    /// The host cannot be read, or a [`HostRefusal`](crate::host::HostRefusal) with its remedy.
    pub async fn plan_director(&mut self, desired: &DesiredDirector) -> Result<Prepared> {
        self.prepare(Role::Director(desired.clone())).await
    }

    /// Plans a real server's host. Changes nothing.
    ///
    /// # Errors
    ///
    /// As [`Self::plan_director`].
    pub async fn plan_realserver(&mut self, desired: &DesiredRealServer) -> Result<Prepared> {
        self.prepare(Role::RealServer(desired.clone())).await
    }

    /// The problems of the host, for listings.
    #[must_use]
    pub fn status(&self) -> Latest<HostStatus> {
        self.report.status()
    }

    /// Problems that begin or end, and restored steps, as they happen; for the first caller.
    pub fn news(&mut self) -> UnboundedReceiver<Vec<Event>> {
        self.report.events()
    }

    /// Replaces the problems that the daemon finds itself; they are reported with the host's.
    pub fn report_own(&mut self, problems: Vec<Problem>) {
        self.report.set_own(problems, &self.tunnel_routes.sources);
    }

    async fn prepare(&mut self, role: Role) -> Result<Prepared> {
        let prepared = self.look_ahead(role).await?;
        self.warn(&prepared.plan.warnings);
        Ok(prepared)
    }

    /// As [`Self::plan_director`], for a preview: it logs no warnings.
    ///
    /// # Errors
    ///
    /// As [`Self::plan_director`].
    pub async fn preview_director(&self, desired: &DesiredDirector) -> Result<Prepared> {
        self.look_ahead(Role::Director(desired.clone())).await
    }

    /// As [`Self::plan_realserver`], without logging warnings.
    ///
    /// # Errors
    ///
    /// As [`Self::plan_director`].
    pub async fn preview_realserver(&self, desired: &DesiredRealServer) -> Result<Prepared> {
        self.look_ahead(Role::RealServer(desired.clone())).await
    }

    /// A first start is refused for any reason that prevents the whole plan, a change while running
    /// only for problems of what it adds.
    async fn look_ahead(&self, role: Role) -> Result<Prepared> {
        let facts = self.look(&role, self.role.is_some()).await?;
        let plan = self.current(&role, &facts).plan_items(&facts)?;
        let known = match &self.role {
            Some(running) => self.current(running, &facts).plan_items(&facts)?.problems,
            None => Vec::new(),
        };
        let known: HashSet<_> = known.iter().map(Problem::key).collect();
        let new = |problem: &&Problem| !known.contains(&problem.key());
        let refusal = plan.problems.iter().filter(new).find_map(|problem| problem.refusal.clone());
        match refusal {
            Some(refusal) => Err(refusal.into()),
            None => Ok(Prepared { role, plan, at_once: None }),
        }
    }

    /// The role with the state of the host: the uplinks' current names, the sources in use.
    fn current(&self, role: &Role, facts: &Facts) -> Role {
        let mut role = role.clone();
        if let Some(tun) = self.tun.and_then(|index| facts.link_at(index)) {
            role.set_tun(&tun.name);
        }
        if let Role::Director(desired) = &mut role {
            // With another `source`, the sources in use are not kept.
            let kept = match &self.role {
                Some(Role::Director(running)) => running.sources == desired.sources,
                _ => true,
            };
            if kept {
                desired.known_sources.clone_from(&self.tunnel_routes.sources);
            }
            if let Some(names) = &mut desired.uplinks {
                *names = self.uplinks.clone().current(names, facts);
            }
        }
        role
    }

    /// Where the virtual IP is announced: each recorded proxy entry and each recorded route for
    /// routing daemons.
    #[must_use]
    pub fn announced(&self, vip: IpAddr) -> Vec<String> {
        let Some(Role::Director(DesiredDirector { announce_table, .. })) = &self.role else {
            return Vec::new();
        };
        let described = |step: &HostStep| match step {
            HostStep::Add(Object::Proxy { address, link }) if *address == vip => Some(link.clone()),
            HostStep::Add(Object::Route { address, table, .. })
                if *address == vip && table == announce_table =>
            {
                Some(format!("table {table}"))
            }
            _ => None,
        };
        self.state.steps.iter().filter_map(described).collect()
    }

    /// Why a virtual IP that should be announced is announced nowhere.
    #[must_use]
    pub fn why_silent(&self, vip: IpAddr) -> Option<String> {
        self.report.why_silent(vip).map(|problem| problem.text.clone())
    }

    /// Reads the host. `installed`: a TUN of that name is this daemon's.
    async fn look(&self, role: &Role, installed: bool) -> Result<Facts> {
        self.look_with(role, installed, None, role.reals()).await
    }

    /// As [`Self::look`], with the routes if they are known, and the lookups of these destinations.
    async fn look_with(
        &self,
        role: &Role,
        installed: bool,
        routes: Option<Routes>,
        destinations: &[IpAddr],
    ) -> Result<Facts> {
        let concern = Concern::of(role);
        let facts = gather::facts(&self.netlink, destinations, installed, &concern, routes).await?;
        Ok(Facts { originals: self.state.originals(), ..facts })
    }

    /// Logs each warning once.
    fn warn(&mut self, warnings: &[String]) {
        for warning in warnings {
            if self.warned.insert(warning.clone()) {
                warn!("{warning}");
            }
        }
    }

    /// Writes the state file, or removes it if there is nothing left to undo.
    async fn save(&mut self) -> Result<()> {
        self.unsaved = true;
        self.state.note_links(&self.indices);
        let text = (!self.state.steps.is_empty()).then(|| self.state.text()).transpose()?;
        self.files.write_state(text).await?;
        self.unsaved = false;
        Ok(())
    }
}

impl Role {
    fn vips(&self) -> &[IpAddr] {
        match self {
            Self::Director(desired) => &desired.vips,
            Self::RealServer(desired) => &desired.vips,
        }
    }

    /// The real servers that a director sends packets to.
    fn reals(&self) -> &[IpAddr] {
        match self {
            Self::Director(desired) => &desired.reals,
            Self::RealServer(_) => &[],
        }
    }

    /// The TUN's configured name.
    fn tun(&self) -> &str {
        match self {
            Self::Director(desired) => &desired.tun,
            Self::RealServer(desired) => &desired.tun,
        }
    }

    /// The TUN has this name now.
    fn set_tun(&mut self, name: &str) {
        let tun = match self {
            Self::Director(desired) => &mut desired.tun,
            Self::RealServer(desired) => &mut desired.tun,
        };
        name.clone_into(tun);
    }

    fn tunnel_routes(&self, facts: &Facts) -> TunnelRoutes {
        match self {
            Self::Director(desired) => director::tunnel_routes(desired, facts),
            Self::RealServer(_) => TunnelRoutes::default(),
        }
    }

    /// Rules that match a part of the packets, and IPsec policies.
    fn suspicions(&self, plan: &HostPlan, facts: &Facts) -> Vec<SelectiveRule> {
        match self {
            Self::Director(desired) => {
                let rules = selective::at_director(&desired.tun, plan, &desired.served, facts);
                rules.into_iter().chain(ipsec::at_director(desired, plan, facts)).collect()
            }
            Self::RealServer(desired) => {
                let rules = selective::at_realserver(desired, plan, facts);
                rules.into_iter().chain(ipsec::at_realserver(desired, facts)).collect()
            }
        }
    }

    /// See [`director::hiding`].
    fn hiding(&self, facts: &Facts) -> Vec<HostStep> {
        match self {
            Self::Director(desired) => director::hiding(desired, facts),
            Self::RealServer(_) => Vec::new(),
        }
    }

    fn plan_items(&self, facts: &Facts) -> Result<HostPlan> {
        Ok(match self {
            Self::Director(desired) => director::plan_items(desired, facts)?,
            Self::RealServer(desired) => realserver::plan_items(desired, facts)?,
        })
    }
}
