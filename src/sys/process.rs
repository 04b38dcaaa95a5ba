//! Figures of this process, and process groups.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

/// Seconds of CPU that the process has used, in user space and in the kernel (getrusage(2)).
#[must_use]
pub fn cpu_seconds() -> f64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel writes one rusage into memory of that size; zeroes are a valid value if
    // the call fails.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    // Both numbers are far below 2^53.
    #[allow(clippy::cast_precision_loss)]
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// The CPU time that the calling thread has used (clock_gettime(2)). While it waits, or while other
/// threads have the CPU, it does not grow.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec. The call cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let seconds = Duration::from_secs(time.tv_sec.try_into().unwrap_or_default());
    seconds + Duration::from_nanos(time.tv_nsec.try_into().unwrap_or_default())
}

/// Bytes of the process's memory that are in RAM (proc_pid_statm(5)).
///
/// # Errors
/// /proc is not mounted.
pub fn resident_bytes() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages = text.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let pages = pages.ok_or(io::ErrorKind::InvalidData)?;
    Ok(pages * super::memory::page_size() as u64)
}

/// The number of open files and sockets.
///
/// # Errors
/// /proc is not mounted.
pub fn open_fds() -> io::Result<u64> {
    // Reading the folder opens one descriptor more.
    Ok(fs::read_dir("/proc/self/fd")?.count().saturating_sub(1) as u64)
}

/// The limit of open files (getrlimit(2), `RLIMIT_NOFILE`).
#[must_use]
pub fn max_fds() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit.rlim_cur
}

/// The process group of a process; `None`: there is no such process.
#[must_use]
pub fn group_of(pid: i32) -> Option<u32> {
    // getpgid(2) takes 0 for this process itself.
    let pid = Some(pid).filter(|pid| *pid > 0)?;
    // SAFETY: no memory is passed.
    u32::try_from(unsafe { libc::getpgid(pid) }).ok()
}

/// The parent of a process; `None`: there is no such process, or /proc is not mounted.
#[must_use]
pub fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold any byte (proc_pid_stat(5)).
    let stat = String::from_utf8_lossy(&stat);
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Kills every process of the group with that leader's process ID.
///
/// # Errors
/// The group has ended, or the ID is not one of a single group.
pub fn kill_group(leader: u32) -> io::Result<()> {
    // kill(2) takes 0 for this process's own group, and -1 for every process.
    let group = libc::pid_t::try_from(leader).ok().filter(|leader| *leader > 1);
    let group = group.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: no memory is passed.
    if unsafe { libc::kill(-group, libc::SIGKILL) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The nice value of the calling thread.
#[must_use]
pub fn niceness() -> i32 {
    // SAFETY: no memory is passed. 0 is the calling thread, for which the call cannot fail.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

/// Raises the nice value of the calling thread by `more`, up to 19: of one CPU it gets a smaller
/// share than threads that want the CPU at the same time. Threads and processes that it starts
/// later inherit the value.
///
/// # Errors
/// `more` is negative, and the process may not lower the value.
pub fn give_way(more: i32) -> io::Result<()> {
    // SAFETY: no memory is passed. Linux takes 0 for the calling thread, not for the whole process.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness() + more) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_gives_way_and_those_that_it_starts_later() {
        let before = niceness();
        let inherited = thread::spawn(|| {
            give_way(1).expect("a thread may give way");
            thread::spawn(niceness).join().expect("it ends")
        });
        // A test that was started with the largest value stays there.
        assert_eq!(inherited.join().expect("it ends"), (before + 1).min(19));
        assert_eq!(niceness(), before, "other threads keep theirs");
    }

    #[test]
    fn cpu_time_grows_while_the_thread_works_and_not_while_it_waits() {
        let begun = thread_cpu_time();
        while thread_cpu_time() - begun < Duration::from_millis(2) {}
        let busy = thread_cpu_time();
        let other = thread::spawn(|| while thread_cpu_time() < Duration::from_millis(200) {});
        other.join().expect("it ends");
        assert!(thread_cpu_time() - busy < Duration::from_millis(100));
    }

    #[test]
    fn a_parent_is_found_whatever_its_childs_name_is() {
        let name = std::env::temp_dir().join(format!(") R 1 {}", std::process::id()));
        std::os::unix::fs::symlink("/bin/sleep", &name).expect("a link");
        let mut child = std::process::Command::new(&name).arg("600").spawn().expect("it starts");
        let parent = parent_of(child.id());
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        fs::remove_file(&name).expect("it is there");
        assert_eq!(parent, Some(std::process::id()));
        assert_eq!(parent_of(child.id()), None, "it has ended");
    }

    #[test]
    fn the_figures_are_this_processs() {
        let before = open_fds().expect("/proc is there");
        let file = fs::File::open("/proc/self/statm").expect("/proc is there");
        // Other tests open files at the same time.
        assert!(open_fds().expect("/proc is there") > 0 && before > 0);
        drop(file);
        assert!(max_fds() >= before);
        // As the kernel shows them elsewhere: in hundredths of a second (proc_pid_stat(5)), and in
        // kilobytes. Other tests go on meanwhile.
        let stat = fs::read_to_string("/proc/self/stat").expect("/proc is there");
        let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
        let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<f64>);
        let shown: f64 = ticks.map(|one| one.expect("a number") / 100.0).sum();
        assert!((shown - 0.1..shown + 3.0).contains(&cpu_seconds()), "{shown}");
        let status = fs::read_to_string("/proc/self/status").expect("/proc is there");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        let shown: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        let (resident, shown) = (resident_bytes().expect("/proc is there"), shown * 1_024);
        assert!(shown > 0 && (shown / 2..shown * 2).contains(&resident), "{resident} {shown}");
    }

    #[test]
    fn ids_of_no_single_group_are_refused() {
        for leader in [0, 1, u32::MAX] {
            let refused = kill_group(leader).map_err(|error| error.kind());
            assert_eq!(refused, Err(io::ErrorKind::InvalidInput));
        }
    }
}
