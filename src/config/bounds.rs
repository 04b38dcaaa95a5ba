//! The bounds on services and real servers.

/// The most services of a director.
pub const MAX_SERVICES: usize = 4096;
/// The most listens of all services together.
pub const MAX_LISTENS: usize = 65_536;
/// The most real servers of all services together; one in two services counts twice.
pub const MAX_REALS: usize = 65_536;
/// The most real servers of one service: schedulers compare all of them.
pub const MAX_REALS_PER_SERVICE: usize = 1024;
/// The most decisions that the recorder keeps: about 300 MB.
pub const MAX_RECORDED: u32 = 1_000_000;
/// The longest name of a service in bytes.
pub const MAX_NAME_LEN: usize = 63;
