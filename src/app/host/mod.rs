//! The host set-up of a daemon, from the lock on its control socket to the last sysctl put back.
//!
//! ```text
//! Session::open → plan_* → (the caller makes the TUN) → install → follow … → undo
//! ```
//!
//! Each step is written to the state file before it is made, so that whatever a killed daemon
//! leaves behind is known by name: the next start takes it over, and `vstun cleanup` removes it
//! without a start.

mod announcing;
mod apply;
mod conflict;
mod control_files;
mod failures;
mod follow;
mod gather;
mod heard;
mod install;
mod listening;
mod messages;
mod neighbour_socket;
mod report;
mod routes;
mod state;
mod undo;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use log::warn;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::control::{Alteration, HostStatus};
use crate::host::contest::Contest;
use crate::host::defence::Defence;
use crate::host::rename::Uplinks;
use crate::host::{
    self, Announcement, Facts, HostPlan, Mss, Object, OuterSources, Problem, Routes, Step,
    director, realserver,
};
use crate::sys::folder::NotOurs;
use crate::sys::host_events::HostEvents;
use crate::sys::netlink::{Events, Netlink};
use crate::sys::netns;
use crate::sys::sysctl;

pub use crate::host::director::DesiredDirector;
pub use crate::host::realserver::DesiredRealServer;

use control_files::{ControlFiles, LOCK, STATE, beside};
use heard::{Concern, Unseen};
use listening::Listening;
use report::Report;
use state::State;

/// A daemon's hold on its host.
#[derive(Debug)]
pub struct Session {
    netlink: Netlink,
    state: State,
    /// What was asked for, once it is installed.
    role: Option<Role>,
    /// The host when it was last looked at.
    last: Facts,
    /// The interfaces' numbers when they were last looked at: another number is another interface.
    indices: BTreeMap<String, u32>,
    /// What the configured uplinks are called by now.
    uplinks: Uplinks,
    /// The tunnels' source addresses that the caller knows of.
    told: OuterSources,
    /// Those that the host had when it was last looked at.
    sources: OuterSources,
    /// What has been warned about.
    warned: BTreeSet<String>,
    /// What is being announced, and the tasks that say it again.
    announcing: Vec<(Vec<Announcement>, JoinHandle<()>)>,
    /// What others on the uplinks have been told, after it was asked whether another host has it.
    announced: BTreeSet<Announcement>,
    /// What is not announced because another host has it, which that is, and when it was last
    /// asked.
    rivals: BTreeMap<Announcement, ([u8; 6], Instant)>,
    /// What is known of claims by others to what is announced.
    defences: BTreeMap<Announcement, Defence>,
    /// Hears such claims.
    listening: Listening,
    /// What is known of steps that somebody else undoes, by their subject.
    contests: BTreeMap<String, Contest>,
    /// Interfaces that were down since the last look.
    bounced: BTreeSet<u32>,
    /// Interfaces that ask to be announced.
    readdressed: BTreeSet<u32>,
    /// Says what is wrong.
    report: Report,
    /// Hears of changes.
    events: Option<(Events, HostEvents)>,
    /// Something has changed on the host that was not looked at yet.
    changed: bool,
    /// What that is, as far as it was said.
    unseen: Unseen,
    /// The host as it was last looked at, where all has been made as planned since: with the routes
    /// that matter, but for a real server's copies.
    known: Option<Known>,
    /// No whole look at the host before this.
    not_before: Instant,
    /// Something is to be looked at that no route tells of.
    look_due: bool,
    /// When the host is looked at although nothing was heard.
    next_look: Instant,
    /// Looks without an event since the routes were read.
    light_looks: u32,
    /// Last, so that the lock outlives all the rest.
    files: ControlFiles,
}

/// A plan and what it was made from, ready to be installed.
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
    /// What fits into the tunnels, see [`host::copies::Copier::room`].
    room: Option<u32>,
}

#[derive(Clone, Debug)]
enum Role {
    Director(DesiredDirector),
    RealServer(DesiredRealServer),
}

impl Session {
    /// Takes the lock beside the control socket, makes the socket's directory where it is missing,
    /// removes a dead daemon's socket and reads what it has left on the host. Needs a tokio runtime
    /// with IO and time.
    ///
    /// # Errors
    ///
    /// Another daemon has the lock; files or netlink cannot be used. Nothing has changed then.
    pub fn open(control: &Path) -> Result<Self> {
        Self::enter(control, Elsewhere::Ignore)
    }

    /// As [`Self::open`], to undo what is left and no more.
    ///
    /// # Errors
    ///
    /// As [`Self::open`]; the state file was written in another network namespace, where it has to
    /// be undone.
    pub(crate) fn open_to_clean(control: &Path) -> Result<Self> {
        Self::enter(control, Elsewhere::Refuse)
    }

    /// Whether there is any file of a daemon at that control socket.
    pub(crate) fn leftovers(control: &Path) -> bool {
        let files = [control.to_owned(), beside(control, STATE), beside(control, LOCK)];
        files.iter().any(|file| file.symlink_metadata().is_ok())
    }

    fn enter(control: &Path, elsewhere: Elsewhere) -> Result<Self> {
        let mut files = ControlFiles::take(control)?;
        let namespace = netns::identity().context("cannot tell the network namespace")?;
        let state = inherit(&mut files, &namespace, elsewhere)?;
        let netlink = Netlink::open().context("cannot open a netlink socket")?;
        Ok(Self {
            netlink,
            state,
            role: None,
            last: Facts::default(),
            indices: BTreeMap::new(),
            uplinks: Uplinks::default(),
            told: OuterSources::new(),
            sources: OuterSources::new(),
            warned: BTreeSet::new(),
            announcing: Vec::new(),
            announced: BTreeSet::new(),
            rivals: BTreeMap::new(),
            defences: BTreeMap::new(),
            listening: Listening::new(),
            contests: BTreeMap::new(),
            bounced: BTreeSet::new(),
            readdressed: BTreeSet::new(),
            report: Report::new(),
            events: None,
            changed: true,
            unseen: Unseen::default(),
            known: None,
            not_before: Instant::now(),
            look_due: true,
            next_look: Instant::now(),
            light_looks: 0,
            files,
        })
    }

    /// What a director's host needs. Changes nothing. After a reload: the same again, then
    /// [`Self::install`].
    ///
    /// # Errors
    ///
    /// The host cannot be looked at, or a [`Refusal`](crate::host::Refusal) with what mends it.
    pub async fn plan_director(&mut self, desired: &DesiredDirector) -> Result<Prepared> {
        self.prepare(Role::Director(desired.clone())).await
    }

    /// What a real server's host needs. Changes nothing.
    ///
    /// # Errors
    ///
    /// As [`Self::plan_director`].
    pub async fn plan_realserver(&mut self, desired: &DesiredRealServer) -> Result<Prepared> {
        self.prepare(Role::RealServer(desired.clone())).await
    }

    /// What is wrong with the host, as it is shown.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<HostStatus> {
        self.report.status()
    }

    /// What begins to be wrong, ends to be, or was put back, as it happens; for the first who asks.
    pub fn news(&mut self) -> UnboundedReceiver<Vec<Alteration>> {
        self.report.events()
    }

    async fn prepare(&mut self, role: Role) -> Result<Prepared> {
        let prepared = self.look_ahead(role).await?;
        self.warn(&prepared.plan.warnings);
        Ok(prepared)
    }

    /// As [`Self::plan_director`], for somebody who only asks: nothing is warned about.
    ///
    /// # Errors
    ///
    /// As [`Self::plan_director`].
    pub async fn preview_director(&self, desired: &DesiredDirector) -> Result<Prepared> {
        self.look_ahead(Role::Director(desired.clone())).await
    }

    /// A first start is refused for anything that keeps the plan from being carried out as a whole,
    /// a change while running only for what is wrong with what it brings.
    async fn look_ahead(&self, role: Role) -> Result<Prepared> {
        let facts = self.look(&role, self.role.is_some()).await?;
        let plan = self.current(&role, &facts).plan_items(&facts)?;
        let known = match &self.role {
            Some(running) => self.current(running, &facts).plan_items(&facts)?.problems,
            None => Vec::new(),
        };
        let new = |problem: &&Problem| !known.iter().any(|known| known.is(problem));
        let refusal = plan.problems.iter().filter(new).find_map(|problem| problem.refusal.clone());
        match refusal {
            Some(refusal) => Err(refusal.into()),
            None => Ok(Prepared { role, plan, at_once: None }),
        }
    }

    /// The role with what is known of the host: the uplinks by their names of now, the sources in
    /// use.
    fn current(&self, role: &Role, facts: &Facts) -> Role {
        let mut role = role.clone();
        if let Role::Director(desired) = &mut role {
            // With another `source`, what was in use before is not kept.
            let kept = match &self.role {
                Some(Role::Director(running)) => running.sources == desired.sources,
                _ => true,
            };
            if kept {
                desired.known_sources.clone_from(&self.sources);
            }
            if let Some(names) = &mut desired.uplinks {
                *names = self.uplinks.clone().current(names, facts);
            }
        }
        role
    }

    /// Where others are told of the virtual IP: each proxy entry and each route for routing daemons
    /// that is recorded.
    #[must_use]
    pub fn announced(&self, vip: IpAddr) -> Vec<String> {
        let Some(Role::Director(DesiredDirector { announce_table, .. })) = &self.role else {
            return Vec::new();
        };
        let place = |step: &Step| match step {
            Step::Add(Object::Proxy { address, link }) if *address == vip => Some(link.clone()),
            Step::Add(Object::Route { address, table, .. })
                if *address == vip && table == announce_table =>
            {
                Some(format!("table {table}"))
            }
            _ => None,
        };
        self.state.steps.iter().filter_map(place).collect()
    }

    /// Looks at the host. `installed`: a TUN of that name is ours.
    async fn look(&self, role: &Role, installed: bool) -> Result<Facts> {
        self.look_with(role, installed, None).await
    }

    /// As [`Self::look`], where the routes may be known.
    async fn look_with(
        &self,
        role: &Role,
        installed: bool,
        routes: Option<Routes>,
    ) -> Result<Facts> {
        let destinations = match role {
            Role::Director(desired) => desired.reals.as_slice(),
            Role::RealServer(_) => &[],
        };
        let concern = Concern::of(role);
        let facts = gather::facts(&self.netlink, destinations, installed, &concern, routes).await?;
        Ok(Facts { originals: self.state.originals(), ..facts })
    }

    /// Each warning once.
    fn warn(&mut self, warnings: &[String]) {
        for warning in warnings {
            if self.warned.insert(warning.clone()) {
                warn!("{warning}");
            }
        }
    }

    /// Writes the state down; where nothing is left to undo, that is no file.
    async fn save(&mut self) -> Result<()> {
        let text = (!self.state.steps.is_empty()).then(|| self.state.text()).transpose()?;
        self.files.write_state(text).await
    }
}

impl Prepared {
    /// Takes the virtual IP over: it is announced without a question whether another host has it,
    /// since the answer is known, and even where it is announced already, since neighbours may have
    /// heard the other one last.
    #[must_use]
    pub fn at_once(self, vip: IpAddr) -> Self {
        Self { at_once: Some(vip), ..self }
    }

    /// What is odd about the host, and what is wrong with it.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let problems = self.plan.problems.iter().map(|problem| problem.text.clone());
        self.plan.warnings.iter().cloned().chain(problems).collect()
    }

    /// The MTU in bytes that the TUN is to have.
    #[must_use]
    pub fn tun_mtu(&self) -> u16 {
        self.plan.tun_mtu
    }

    /// The MSS that this host tells clients of its virtual IPs (real server).
    #[must_use]
    pub fn advertised_mss(&self) -> Mss {
        self.plan.advertised_mss
    }

    /// Bytes of the longest packet that a link of this host takes (real server).
    #[must_use]
    pub fn link_mtu(&self) -> u32 {
        self.plan.link_mtu
    }

    /// The source addresses of tunnels to the real servers (director). [`Session::follow`] tells
    /// when they change.
    #[must_use]
    pub fn outer_sources(&self) -> OuterSources {
        self.plan.outer_sources.clone()
    }
}

impl Role {
    fn vips(&self) -> &[IpAddr] {
        match self {
            Self::Director(desired) => &desired.vips,
            Self::RealServer(desired) => &desired.vips,
        }
    }

    fn outer_sources(&self, facts: &Facts) -> OuterSources {
        match self {
            Self::Director(desired) => director::outer_sources(desired, facts),
            Self::RealServer(_) => OuterSources::new(),
        }
    }

    /// See [`director::hiding`].
    fn hiding(&self, facts: &Facts) -> Vec<Step> {
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

/// What to do about a state file of another network namespace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Elsewhere {
    Ignore,
    Refuse,
}

/// The state a dead predecessor left, or an empty one.
fn inherit(files: &mut ControlFiles, namespace: &str, elsewhere: Elsewhere) -> Result<State> {
    let path = files.state();
    let mut state = State::new(namespace.to_owned(), files.made().to_vec());
    let left = match State::load(files.folder(), files.state_name()) {
        Ok(Some(left)) => left,
        Ok(None) => return Ok(state),
        Err(error) => match error.downcast_ref::<NotOurs>() {
            Some(stranger) if elsewhere == Elsewhere::Ignore => {
                warn!("{}", state::not_believed(stranger));
                return Ok(state);
            }
            Some(stranger) => bail!("{}", state::not_believed(stranger)),
            None => return Err(error),
        },
    };
    if left.namespace != namespace {
        let what = format!(
            "{} was written by process {} in another network namespace or before a reboot",
            path.display(),
            left.pid
        );
        if elsewhere == Elsewhere::Refuse {
            bail!("{what}; clean up there, or remove the file if that namespace is gone");
        }
        warn!("{what}; what it names is not on this host");
        return Ok(state);
    }
    state.steps = left.steps;
    state.steps.retain(|step| step.link().is_none_or(link_exists));
    if elsewhere == Elsewhere::Ignore {
        for step in &state.steps {
            warn!("left on this host by process {}, taken over: {step}", left.pid);
        }
    }
    files.inherit(left.directories);
    state.directories = files.made().to_vec();
    Ok(state)
}

/// Whether there is anything left of what was made on the interface: a TUN is gone with its daemon.
/// Every interface that speaks IPv4 has this setting.
fn link_exists(link: &str) -> bool {
    match sysctl::read(&host::sysctl::conf(link, "forwarding")) {
        Err(error) => error.kind() != io::ErrorKind::NotFound,
        Ok(_) => true,
    }
}
