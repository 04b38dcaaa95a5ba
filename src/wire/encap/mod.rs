//! Encapsulation: the outer headers that carry a client's packet to a real server.

mod error;
pub mod gre;
pub mod gue;
mod gue_ports;
pub mod ipip;
pub mod joins;
mod kind;
mod opened;
mod outer;
pub mod pieces;
mod shim;

pub use error::{OpenError, ShimError};
pub use gue_ports::{GuePorts, SourcePorts};
pub use kind::{Encap, MAX_OUTER_LEN, MAX_SHIM_LEN};
pub use opened::{Opened, open};
pub use outer::Outer;
pub use shim::{Shim, write};
