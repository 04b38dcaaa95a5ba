//! The cost of a process or a kernel thread.

use std::fs;

use anyhow::{Context, Result};

/// CPU time of all threads of a process so far, in nanoseconds (first field of schedstat).
///
/// The kernel adds a running thread's time at its next tick or switch: up to 4 ms are missing for a
/// thread that runs during the read, so works read before the load begins and after it has drained.
pub(crate) fn cpu_ns(process: u32) -> Result<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let spent = text.split_whitespace().next().context("empty schedstat")?;
        total += spent.parse::<u64>()?;
    }
    Ok(total)
}

/// Times that any thread of the process has gone to sleep so far.
pub(crate) fn sleeps(process: u32) -> Result<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        total += status(&format!("{}/status", task?.path().display()), "voluntary_ctxt_switches")?;
    }
    Ok(total)
}

/// Resident memory of a process, in kB.
pub(crate) fn resident_kb(process: u32) -> Result<u64> {
    status(&format!("/proc/{process}/status"), "VmRSS")
}

fn status(path: &str, key: &str) -> Result<u64> {
    let text = fs::read_to_string(path)?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let value = value.and_then(|value| value.split_whitespace().next());
    Ok(value.with_context(|| format!("no {key} in {path}"))?.parse()?)
}
