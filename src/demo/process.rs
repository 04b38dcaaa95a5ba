//! A process of the demonstration: its output goes to a file, and it ends with its handle.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::namespaces;
use crate::netns::output;

/// The time limit of a start or a stop, long enough for a machine that is busy with other work.
const TIME_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// How many log lines are shown when a process fails.
const LOG_LINES: usize = 15;

#[derive(Debug)]
pub(super) struct DemoProcess {
    name: String,
    child: Child,
    log: PathBuf,
}

impl DemoProcess {
    /// Starts `command` in its own process group, so that Ctrl-C at the terminal does not reach it.
    pub(super) fn start(name: &str, command: &mut Command) -> Result<Self> {
        let log = PathBuf::from(namespaces::FOLDER).join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let errors = file.try_clone().context("cannot share a log file")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Waits until `is_ready` returns true; fails at once if the process ends first.
    pub(super) fn wait_until(&mut self, is_ready: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + TIME_LIMIT;
        while !is_ready() {
            if let Some(status) = self.child.try_wait().context("cannot ask for a process")? {
                bail!("{} ended ({status}) before it was ready{}", self.name, self.log_tail());
            }
            ensure!(
                Instant::now() < deadline,
                "{} is not ready after {} s{}",
                self.name,
                TIME_LIMIT.as_secs(),
                self.log_tail()
            );
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Sends SIGTERM and expects exit code 0.
    pub(super) fn stop(mut self) -> Result<()> {
        output(Command::new("kill").arg("-TERM").arg(self.child.id().to_string()))?;
        let deadline = Instant::now() + TIME_LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().context("cannot ask for a process")? {
                ensure!(status.success(), "{} ended with {status}{}", self.name, self.log_tail());
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{} does not end on SIGTERM{}",
                self.name,
                self.log_tail()
            );
            thread::sleep(POLL);
        }
    }

    fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
        if tail.is_empty() {
            return String::new();
        }
        format!("; it said\n    {}", tail.join("\n    "))
    }
}

impl Drop for DemoProcess {
    fn drop(&mut self) {
        // Fails only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
