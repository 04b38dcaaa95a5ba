//! The daemon's process, with the names of Prometheus's own client libraries.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::families::Families;

/// The process's resource usage.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// Seconds of CPU, in user space and in the kernel.
    pub cpu_seconds: f64,
    /// Bytes of memory that are in RAM.
    pub resident_bytes: u64,
    /// When it was started, in seconds since 1970.
    pub start_time_seconds: f64,
    /// Open files and sockets.
    pub open_fds: u64,
    /// The limit of them (`RLIMIT_NOFILE`).
    pub max_fds: u64,
}

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        let cpu = "Seconds of CPU that the process has used";
        families.counter_f64("process_cpu_seconds", cpu, self.cpu_seconds)?;
        let memory = "Bytes of memory that the process has in RAM";
        families.gauge("process_resident_memory_bytes", memory, self.resident_bytes)?;
        let start = "When the process was started, in seconds since 1970";
        families.gauge("process_start_time_seconds", start, self.start_time_seconds)?;
        families.gauge("process_open_fds", "Open files and sockets", self.open_fds)?;
        families.gauge("process_max_fds", "The bound of open files and sockets", self.max_fds)
    }
}
