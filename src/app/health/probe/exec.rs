//! A program's exit code.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::{ProbeAnswer, ProbeOutcome};
use crate::app::health::TakesChanges;
use crate::app::health::socket::ProbeTarget;
use crate::app::program_start;
use crate::control::printable_line;
use crate::health::PlannedCheck;
use crate::health::load::Reported;
use crate::health::spec::ExecProbe;
use crate::sys::process;

/// How much of the program's output is shown, in bytes.
const SHOWN: usize = 200;

/// How long to read the output that the program has left in the pipe at its end.
const REST: Duration = Duration::from_millis(20);

/// An exit code from this value on sets the weight to the difference, as with keepalived's
/// `MISC_CHECK` and `misc_dynamic`.
const LESS: i32 = 2;

/// Runs the program, without a shell. Its environment names the check's subject.
pub(super) async fn probe<B: TakesChanges>(
    target: &mut ProbeTarget<'_, B>,
    exec: &ExecProbe,
) -> ProbeOutcome {
    let (program, arguments) = exec.command.split_first().ok_or("no program is configured")?;
    let mut command = command(program, arguments, target.check);
    let spawn = move || {
        command.spawn().map(|child| RunningProgram { _group: child.id().map(ProcessGroup), child })
    };
    let started = program_start::start(program, spawn).await;
    let started = started.and_then(|started| Ok(started?));
    let mut running = started.map_err(|error| format!("{program} cannot be run: {error:#}"))?;
    target.trace.step("started");
    let (output, mut said) = (running.child.stdout.take(), Vec::new());
    let status = {
        let mut read = std::pin::pin!(first_bytes(output, &mut said));
        tokio::select! {
            status = running.child.wait() => {
                // Its children may hold the pipe open for ever.
                let _ = timeout(REST, read).await;
                status
            }
            () = &mut read => running.child.wait().await,
        }
    };
    let status = status.map_err(|error| format!("{program} was lost: {error}"))?;
    Ok(judge(exec, status, &said))
}

/// The program and what it has started. The fields are dropped in this order.
struct RunningProgram {
    _group: Option<ProcessGroup>,
    child: Child,
}

fn command(program: &str, arguments: &[String], check: &PlannedCheck) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("VSTUN_REAL", check.real.to_string())
        .env("VSTUN_PORT", check.destination.port.to_string())
        // The service manager expects notifications from the director alone.
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // Its own process group, so that its children can be ended with it.
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// Reads to the end, so that the program never waits for its output, and keeps the beginning.
async fn first_bytes(output: Option<ChildStdout>, said: &mut Vec<u8>) {
    let Some(mut output) = output else { return };
    let mut bytes = [0; 4_096];
    while let Ok(read @ 1..) = output.read(&mut bytes).await {
        let room = SHOWN.saturating_sub(said.len());
        said.extend_from_slice(bytes.get(..read.min(room)).unwrap_or_default());
    }
}

fn judge(exec: &ExecProbe, status: ExitStatus, said: &[u8]) -> ProbeAnswer {
    let said = String::from_utf8_lossy(said);
    let line = said.lines().next().unwrap_or_default().trim();
    let line = printable_line(line);
    let line = if line.is_empty() { String::new() } else { format!(": {line}") };
    match status.code() {
        Some(0) => {
            let answer = ProbeAnswer::pass(format!("exit code 0{line}"));
            if exec.dynamic { answer.with(Reported::Weight(None)) } else { answer }
        }
        Some(code @ LESS..) if exec.dynamic => {
            let weight = u32::try_from(code - LESS).ok();
            let answer =
                ProbeAnswer::pass(format!("exit code {code}, weight {}{line}", code - LESS));
            answer.with(Reported::Weight(weight))
        }
        Some(code) => ProbeAnswer::fail(format!("exit code {code}{line}")),
        None => ProbeAnswer::fail(format!("ended by a signal{line}")),
    }
}

/// The program's process group. Processes of it that are left when the probe ends are killed:
/// programs that ignore SIGTERM, and their children.
struct ProcessGroup(u32);

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        // An error means that the group has ended already.
        let _ = process::kill_group(self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use super::*;
    use crate::health::Destination;
    use crate::health::spec::{CheckSpec, Probe, Timing, Via};
    use crate::model::RealSpec;

    /// A program that notifies the service manager would speak for the director.
    #[test]
    fn a_program_knows_its_subject_and_not_the_service_manager_s_socket() {
        let real = IpAddr::from([10, 0, 0, 11]);
        let timing = Timing::DEFAULT;
        let spec = CheckSpec { probe: Probe::Tcp, via: Via::Direct, port: Some(80), timing };
        let check = PlannedCheck {
            real,
            encap: RealSpec::new(real, 1).values.encap,
            destination: Destination { address: real, port: 80 },
            spec: Arc::new(spec),
        };
        let command = command("/check", &[], &check);
        let mut environment: Vec<_> = command.as_std().get_envs().collect();
        environment.sort_unstable();
        let text = |text: &'static str| std::ffi::OsStr::new(text);
        let expected = [
            (text("NOTIFY_SOCKET"), None),
            (text("VSTUN_PORT"), Some(text("80"))),
            (text("VSTUN_REAL"), Some(text("10.0.0.11"))),
        ];
        assert_eq!(environment, expected);
    }
}
