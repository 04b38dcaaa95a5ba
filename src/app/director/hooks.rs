//! Runs the program that reacts to changes (`hooks`): once for each change, in order, one at a
//! time, with a time limit. Nothing else waits for it.

use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{timeout, timeout_at};

use crate::app::log_throttle::LogThrottle;
use crate::app::program_start;
use crate::control::{Event, HookCounts, counted, hook_environment};
use crate::sys::process;

/// The time limit of a run; then the program's process group is killed.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// Changes queued for the program; further ones are dropped and counted.
pub(super) const QUEUE: usize = 1_024;

/// How long the program may run for queued changes when the director stops.
const AT_THE_END: Duration = Duration::from_secs(2);

/// Between two looks whether a start has ended.
const START_PAUSE: Duration = Duration::from_millis(1);

/// One run: the program with its arguments and environment.
#[derive(Debug)]
struct Run {
    words: Arc<[String]>,
    environment: Vec<(&'static str, String)>,
}

/// Counters of the runs.
#[derive(Debug, Default)]
pub(super) struct HookCounters {
    run: AtomicU64,
    failed: AtomicU64,
    killed: AtomicU64,
    dropped: AtomicU64,
    /// Changes that wait for the program.
    queued: AtomicU64,
    starts: Mutex<Starts>,
}

/// The starts of the program.
#[derive(Clone, Copy, Debug, Default)]
struct Starts {
    /// Those that have begun.
    begun: u64,
    /// Those that have ended: the program runs, or cannot be started.
    ended: u64,
    /// The process group of the last one that has ended; 0: it failed.
    group: u32,
    /// Whether that one's program runs still.
    runs: bool,
}

impl HookCounters {
    /// Whether that process belongs to the current run. Another thread starts the program, which
    /// may ask before the runner has heard of its start: this waits until it has.
    pub(super) async fn is_of_run(&self, pid: i32) -> bool {
        let Some(group) = process::group_of(pid).filter(|group| *group != 0) else { return false };
        let now = self.starts();
        if now.begun == now.ended {
            return now.runs && now.group == group;
        }
        // The program is a child of this process. Others need not wait for a start, which may hang.
        if process::parent_of(group) != Some(std::process::id()) {
            return false;
        }
        let end = Instant::now() + LIMIT;
        while self.starts().ended < now.begun && Instant::now() < end {
            tokio::time::sleep(START_PAUSE).await;
        }
        // Also if the program has ended meanwhile: it has asked before.
        self.starts().group == group
    }

    fn starts(&self) -> Starts {
        *self.starts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change_starts(&self, change: impl FnOnce(&mut Starts)) {
        change(&mut self.starts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn read(&self) -> HookCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        HookCounts {
            run: read(&self.run),
            failed: read(&self.failed),
            killed: read(&self.killed),
            dropped: read(&self.dropped),
            queued: read(&self.queued),
        }
    }
}

/// Queues changes for the program.
#[derive(Debug)]
pub(super) struct Hooks {
    words: Option<Arc<[String]>>,
    queue: mpsc::Sender<Run>,
    counts: Arc<HookCounters>,
}

/// Runs the program for queued changes.
#[derive(Debug)]
pub(super) struct HookRunner {
    queue: mpsc::Receiver<Run>,
    counts: Arc<HookCounters>,
    limit: Duration,
    complaints: LogThrottle,
}

/// A running [`HookRunner`].
#[derive(Debug)]
pub(super) struct HookTask(JoinHandle<()>);

impl Hooks {
    pub(super) fn new(words: Option<&[String]>) -> (Self, HookRunner) {
        Self::with_queue(words, QUEUE)
    }

    fn with_queue(words: Option<&[String]>, len: usize) -> (Self, HookRunner) {
        let (queue, runs) = mpsc::channel(len);
        let counts = Arc::new(HookCounters::default());
        let complaints = LogThrottle::default();
        let runner =
            HookRunner { queue: runs, counts: Arc::clone(&counts), limit: LIMIT, complaints };
        (Self { words: words.map(Arc::from), queue, counts }, runner)
    }

    /// Sets the program for further changes; `None`: there is none.
    pub(super) fn set(&mut self, words: Option<&[String]>) {
        self.words = words.map(Arc::from);
    }

    pub(super) fn counts(&self) -> Arc<HookCounters> {
        Arc::clone(&self.counts)
    }

    /// Queues the events for which the program runs; others are ignored.
    pub(super) fn give(&self, events: &[Event]) {
        let Some(words) = &self.words else { return };
        for environment in events.iter().filter_map(hook_environment) {
            let run = Run { words: Arc::clone(words), environment };
            // Counted before the runner can take it, so that the count does not fall below zero.
            self.counts.queued.fetch_add(1, Ordering::Relaxed);
            if self.queue.try_send(run).is_err() {
                self.counts.queued.fetch_sub(1, Ordering::Relaxed);
                self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl HookRunner {
    /// Starts the runner in the background.
    pub(super) fn start(self) -> HookTask {
        HookTask(tokio::spawn(self.run()))
    }

    async fn run(mut self) {
        while let Some(run) = self.queue.recv().await {
            self.counts.queued.fetch_sub(1, Ordering::Relaxed);
            let words = Arc::clone(&run.words);
            let outcome = self.once(run).await;
            self.counts.run.fetch_add(1, Ordering::Relaxed);
            let Err(error) = outcome else { continue };
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
            if let Some(count) = self.complaints.note(Instant::now()) {
                let program = words.first().map_or("", String::as_str);
                let times = counted(count, "time");
                log::warn!(who = "hook", count; "hook {program}: {error:#} ({times})");
            }
        }
    }

    async fn once(&self, run: Run) -> anyhow::Result<()> {
        let limit = tokio::time::Instant::now() + self.limit;
        let lost = self.counts.dropped.load(Ordering::Relaxed);
        let program = run.words.first().cloned().unwrap_or_default();
        let starting = program_start::start(&program, move || HookProcess::start(&run, lost));
        self.counts.change_starts(|starts| starts.begun += 1);
        let started = timeout_at(limit, starting).await;
        let slow = || format!("not started within {} s", self.limit.as_secs_f64());
        let started = started.with_context(slow).flatten().flatten();
        let leader = started.as_ref().ok().and_then(|group| group.leader);
        self.counts.change_starts(|starts| {
            *starts = Starts {
                ended: starts.begun,
                group: leader.unwrap_or_default(),
                runs: leader.is_some(),
                ..*starts
            };
        });
        let outcome = self.wait(&mut started?, limit).await;
        self.counts.change_starts(|starts| starts.runs = false);
        outcome
    }

    /// Waits for the end of the program, up to the limit.
    async fn wait(
        &self,
        group: &mut HookProcess,
        limit: tokio::time::Instant,
    ) -> anyhow::Result<()> {
        match timeout_at(limit, group.child.wait()).await {
            Ok(status) => {
                group.ended = true;
                success(status.context("cannot wait for its end")?)
            }
            Err(_) => {
                self.counts.killed.fetch_add(1, Ordering::Relaxed);
                group.kill();
                let _ = group.child.wait().await;
                bail!("killed after {} s", self.limit.as_secs_f64())
            }
        }
    }
}

impl HookTask {
    /// Runs the program for the queued changes, with a time limit; [`Hooks`] must have been
    /// dropped.
    pub(super) async fn finish(self) {
        self.finish_within(AT_THE_END).await;
    }

    async fn finish_within(self, limit: Duration) {
        let Self(mut task) = self;
        if timeout(limit, &mut task).await.is_err() {
            log::warn!("the hook program has not run for every event: the director stops");
            task.abort();
            let _ = task.await;
        }
    }
}

/// The program's process group: killed when dropped.
#[derive(Debug)]
struct HookProcess {
    child: Child,
    leader: Option<u32>,
    ended: bool,
}

impl HookProcess {
    fn start(run: &Run, lost: u64) -> anyhow::Result<Self> {
        let (program, arguments) = run.words.split_first().context("no program")?;
        let child = Command::new(program)
            .args(arguments)
            .envs(run.environment.iter().map(|(key, value)| (key, value)))
            .env("VSTUN_LOST", lost.to_string())
            // The service manager expects notifications from the director alone.
            .env_remove("NOTIFY_SOCKET")
            .current_dir("/")
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot be started")?;
        Ok(Self { leader: child.id(), child, ended: false })
    }

    fn kill(&mut self) {
        if let Some(leader) = self.leader.take() {
            // The program may have ended meanwhile.
            let _ = process::kill_group(leader);
        }
    }
}

impl Drop for HookProcess {
    fn drop(&mut self) {
        if !self.ended {
            self.kill();
        }
    }
}

fn success(status: ExitStatus) -> anyhow::Result<()> {
    if status.success() { Ok(()) } else { bail!("{status}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::IpAddr;
    use std::path::PathBuf;

    use super::*;
    use crate::app::commands::event;
    use crate::control::{Alteration, Altered, Origin};
    use crate::health::{CheckCause, CheckFailure};
    use crate::model::Health;

    /// Programs start slowly on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn block_on(future: impl Future<Output = ()>) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap().block_on(future);
    }

    fn down(number: usize) -> Event {
        let real: IpAddr = "10.0.0.11".parse().unwrap();
        let found = Some(format!("number {number}"));
        let why = Some(CheckCause::Failing(CheckFailure { check: "tcp", found }));
        let what = Altered::Health { before: Some(Health::Up), after: Health::Down, why };
        check(Alteration::of_real("web", real, what))
    }

    fn check(change: Alteration) -> Event {
        event(Origin::Health, "check", change)
    }

    /// A shell with this script, and a file for its output.
    fn shell(name: &str, script: &str) -> (Vec<String>, PathBuf) {
        let path = std::env::temp_dir().join(format!("vstun-hook-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let words = ["/bin/sh", "-c", script, "sh"].map(str::to_owned);
        let words = words.into_iter().chain([path.display().to_string()]);
        (words.collect(), path)
    }

    fn taken(path: &PathBuf) -> String {
        let text = std::fs::read_to_string(path).unwrap();
        std::fs::remove_file(path).unwrap();
        text
    }

    #[test]
    fn the_program_runs_for_every_change_in_order() {
        let script = "echo $VSTUN_EVENT $VSTUN_SERVICE $VSTUN_ADDRESS $VSTUN_AFTER $VSTUN_WHY >>$1";
        let (words, path) = shell("order", script);
        block_on(async {
            let (hooks, runner) = Hooks::new(Some(&words));
            let counts = hooks.counts();
            let task = runner.start();
            for number in 0..5 {
                hooks.give(&[down(number), check(Alteration::of(Altered::AddVip))]);
            }
            drop(hooks);
            task.finish_within(PATIENCE).await;
            assert_eq!(counts.read(), HookCounts { run: 5, ..HookCounts::default() });
        });
        let expected: String = (0..5)
            .map(|number| format!("health web 10.0.0.11 down tcp check failed: number {number}\n"))
            .collect();
        assert_eq!(taken(&path), expected);
    }

    #[test]
    fn a_program_that_ignores_sigterm_and_forks_is_killed_with_its_children() {
        let mut tries = 0;
        let child = loop {
            if let Some(child) = child_of_a_killed_program() {
                break child;
            }
            tries += 1;
            assert!(tries < 20, "each program is killed before it has a child");
        };
        let state = || std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let dead = |stat: &str| stat.is_empty() || stat.contains(") Z");
        let end = Instant::now() + PATIENCE;
        while !dead(&state()) {
            assert!(Instant::now() < end, "{}", state());
            std::thread::yield_now();
        }
    }

    /// `None` if the program had no child yet, as on a busy machine.
    fn child_of_a_killed_program() -> Option<u32> {
        let script = "trap '' TERM; (trap '' TERM; sleep 600) & echo $! >>$1; wait";
        let (words, path) = shell("slow", script);
        block_on(async {
            let (hooks, runner) = Hooks::new(Some(&words));
            let counts = hooks.counts();
            let task = HookRunner { limit: Duration::from_secs(1), ..runner }.start();
            hooks.give(&[down(0)]);
            while counts.read().killed == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            drop(hooks);
            task.finish_within(PATIENCE).await;
        });
        path.exists().then(|| taken(&path))?.trim().parse().ok()
    }

    /// The second program has ended when it is asked for; the kernel knows it until it is waited
    /// for.
    #[test]
    fn a_program_that_asks_before_its_start_has_returned_is_of_the_run() {
        for script in ["echo $$ >>$1; while [ -e $1 ]; do sleep 0.01; done", "echo $$ >>$1"] {
            block_on(async {
                let mut tries = 0;
                while !asked_before_its_start_has_returned(script).await {
                    tries += 1;
                    assert!(tries < 100, "each start returns before anything waits for it");
                }
            });
        }
    }

    /// False if the start had returned already, as it may on a busy machine: nothing was checked
    /// then.
    async fn asked_before_its_start_has_returned(script: &str) -> bool {
        let (mut words, path) = shell("soon", script);
        // Other tests start /bin/sh too, of which few starts run at the same time.
        words[0] = "/bin/../bin/sh".to_owned();
        let (hooks, runner) = Hooks::new(Some(&words));
        let counts = hooks.counts();
        let task = runner.start();
        hooks.give(&[down(0)]);
        tokio::task::yield_now().await;
        let in_time = counts.starts().ended == 0;
        // The program runs, and the runner cannot hear of it: this thread runs no other task.
        let end = Instant::now() + PATIENCE;
        let text = || std::fs::read_to_string(&path).unwrap_or_default();
        while !text().ends_with('\n') {
            assert!(Instant::now() < end, "the program has not run");
            std::thread::yield_now();
        }
        if in_time {
            let other = i32::try_from(std::process::id()).unwrap();
            assert!(!counts.is_of_run(other).await);
            assert_eq!(counts.starts().ended, 0, "who is no child does not wait");
            assert!(counts.is_of_run(text().trim().parse().unwrap()).await, "{script}");
            assert!(!counts.is_of_run(other).await);
        }
        taken(&path);
        drop(hooks);
        task.finish_within(PATIENCE).await;
        in_time
    }

    #[test]
    fn one_change_more_than_there_is_room_for_is_dropped_and_counted() {
        let words = vec!["/bin/true".to_owned()];
        let (hooks, _runner) = Hooks::new(Some(&words));
        (0..QUEUE).for_each(|number| hooks.give(&[down(number)]));
        let full = HookCounts { queued: QUEUE as u64, ..HookCounts::default() };
        assert_eq!(hooks.counts().read(), full);
        hooks.give(&[down(QUEUE)]);
        assert_eq!(hooks.counts().read(), HookCounts { dropped: 1, ..full });
    }

    #[test]
    fn the_program_is_told_how_many_changes_were_dropped() {
        let (words, path) = shell("lost", "echo $VSTUN_WHY $VSTUN_LOST >>$1");
        block_on(async {
            let (hooks, runner) = Hooks::with_queue(Some(&words), 2);
            (0..5).for_each(|number| hooks.give(&[down(number)]));
            let task = runner.start();
            drop(hooks);
            task.finish_within(PATIENCE).await;
        });
        let told = taken(&path);
        assert_eq!(told, "tcp check failed: number 0 3\ntcp check failed: number 1 3\n");
    }

    #[test]
    fn a_failing_or_missing_program_is_counted_and_further_changes_still_run_it() {
        for program in ["/bin/false", "/nowhere/at/all"] {
            block_on(async {
                let (hooks, runner) = Hooks::new(Some(&[program.to_owned()]));
                let counts = hooks.counts();
                let task = runner.start();
                hooks.give(&[down(0), down(1)]);
                drop(hooks);
                task.finish_within(PATIENCE).await;
                let expected = HookCounts { run: 2, failed: 2, ..HookCounts::default() };
                assert_eq!(counts.read(), expected, "{program}");
            });
        }
    }
}
