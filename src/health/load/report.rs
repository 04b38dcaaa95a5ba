//! A load agent's report: the line of JSON in answer to [`GREETING`].

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::reply::Rotation;

/// The line, with its newline, that a director sends first. HAProxy sends nothing, or its
/// `agent-send`, and gets a line of words.
pub const GREETING: &str = "vstun 1\n";

/// The most entries of [`LoadReport::listening`].
pub const MAX_LISTENING: usize = 256;

/// The longest report that is read, in bytes with its newline: it has space for all entries.
pub const MAX_REPORT_LEN: usize = 64 << 10;

/// All of the time, in the unit of the pressures here.
pub const FULL: u32 = 1_000;

/// A real server's report of its load.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct LoadReport {
    /// Whether its owner has it in rotation.
    pub state: Rotation,
    /// Established TCP connections to the virtual IPs, with those in accept queues; absent if the
    /// kernel does not report them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub established: Option<u64>,
    /// How many of them no program has accepted yet.
    #[serde(default)]
    pub queued: u64,
    /// The same for each virtual IP and port, most connections first; at most [`MAX_LISTENING`].
    #[serde(default)]
    pub listening: Vec<ListenQueue>,
    /// The share of time in the last seconds in which tasks stalled; absent if the kernel does not
    /// report it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure: Option<Pressure>,
    /// Runnable and waiting tasks per CPU in the last minute, in thousandths.
    #[serde(default)]
    pub load_per_cpu: u32,
}

/// Connections to one port of a virtual IP.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ListenQueue {
    /// The virtual IP.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// Established connections.
    pub established: u64,
    /// How many of them wait to be accepted.
    pub queued: u64,
}

/// Pressure stall information: the share of time for which some task waited, in thousandths.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Pressure {
    /// For a CPU.
    pub cpu: u32,
    /// For memory.
    pub memory: u32,
    /// For input and output.
    pub io: u32,
}

impl Pressure {
    /// The largest of them, at most [`FULL`].
    #[must_use]
    pub fn worst(self) -> u32 {
        self.cpu.max(self.memory).max(self.io).min(FULL)
    }
}

impl LoadReport {
    /// The share of its weight that the real server should have, in per cent from 1 to 100: the
    /// share of time without stalled tasks. Without pressure stall information it depends on the
    /// load: 100 at one task per CPU, 50 at two.
    #[must_use]
    pub fn percent(&self) -> u32 {
        let bearable = match self.pressure {
            Some(pressure) => FULL - pressure.worst(),
            None => FULL * FULL / self.load_per_cpu.max(FULL),
        };
        (bearable / 10).max(1)
    }

    /// The report in the words of HAProxy's protocol.
    #[must_use]
    pub fn words(&self) -> String {
        match self.state {
            Rotation::Up => format!("ready up {}%\n", self.percent()),
            Rotation::Drain => "drain up\n".to_owned(),
            Rotation::Maint => "maint\n".to_owned(),
            Rotation::Down => "ready down #by its owner\n".to_owned(),
        }
    }

    /// Established connections to these virtual IPs and ports; `None` if the kernel does not report
    /// them, or if the report has no space for all ports with connections.
    #[must_use]
    pub fn established_to(&self, listens: impl Fn(IpAddr, u16) -> bool) -> Option<u64> {
        let all = self.established?;
        let sum = |counted: &dyn Fn(IpAddr, u16) -> bool| {
            let here = self.listening.iter().filter(|one| counted(one.address, one.port));
            here.fold(0_u64, |sum, one| sum.saturating_add(one.established))
        };
        (sum(&|_, _| true) >= all).then(|| sum(&listens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn under(pressure: Option<Pressure>, load_per_cpu: u32) -> u32 {
        LoadReport { pressure, load_per_cpu, ..LoadReport::default() }.percent()
    }

    #[test]
    fn the_percentage_is_the_time_without_stalls_and_never_zero() {
        let of = |cpu, memory, io| Some(Pressure { cpu, memory, io });
        let rows = [
            (of(0, 0, 0), 9_000, 100),
            (of(250, 0, 0), 0, 75),
            (of(0, 400, 100), 0, 60),
            (of(0, 0, 1_000), 0, 1),
            (of(u32::MAX, 0, 0), 0, 1),
            (None, 0, 100),
            (None, 1_000, 100),
            (None, 2_000, 50),
            (None, u32::MAX, 1),
        ];
        for (pressure, load, percent) in rows {
            assert_eq!(under(pressure, load), percent, "{pressure:?} {load}");
        }
    }

    #[test]
    fn connections_are_unknown_where_the_kernel_reports_none() {
        let address = IpAddr::from([192, 0, 2, 10]);
        let one = ListenQueue { address, port: 80, established: 3, queued: 1 };
        let report = LoadReport { listening: vec![one], ..LoadReport::default() };
        assert_eq!(report.established_to(|_, _| true), None);
        let report = LoadReport { established: Some(3), ..report };
        assert_eq!(report.established_to(|_, port| port == 80), Some(3));
        assert_eq!(report.established_to(|_, port| port == 81), Some(0));
        // One of them is to a port that is not listed.
        let report = LoadReport { established: Some(4), ..report };
        assert_eq!(report.established_to(|_, port| port == 80), None);
    }

    #[test]
    fn the_longest_report_fits() {
        let entry = ListenQueue {
            address: "2001:db8:1111:2222:3333:4444:5555:6666".parse().expect("an address"),
            port: u16::MAX,
            established: u64::MAX,
            queued: u64::MAX,
        };
        let report = LoadReport {
            state: Rotation::Maint,
            established: Some(u64::MAX),
            queued: u64::MAX,
            listening: vec![entry; MAX_LISTENING],
            pressure: Some(Pressure { cpu: u32::MAX, memory: u32::MAX, io: u32::MAX }),
            load_per_cpu: u32::MAX,
        };
        let text = serde_json::to_string(&report).expect("plain fields");
        assert!(text.len() < MAX_REPORT_LEN, "{}", text.len());
        assert_eq!(serde_json::from_str::<LoadReport>(&text).expect("its own text"), report);
    }
}
