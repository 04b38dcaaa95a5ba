//! Marked packets: frames like a client's or a director's, which arrive at an interface of this
//! host, and whose path through nftables the kernel reports (`meta nftrace set 1`). They end before
//! the daemon: nothing answers them.
//!
//! 1. `frame`: the packets.
//! 2. `table`: the tables of nftables that mark them, see them at each hook, and end their path.
//! 3. `report`: the kernel's reports.
//! 4. `ending`: how the path of a packet ended.

mod ending;
mod frame;
mod report;
mod table;

pub use ending::{Ending, MarkedClient, MarkedFlow, Point, Translation};
pub use frame::{Mark, MarkedPacket, client_packet, ethernet};
pub use report::Reports;
pub use table::{Interface, TraceTables};
