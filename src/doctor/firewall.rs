//! The verdict of an nftables ruleset on a packet, from `nft -j list ruleset`
//! (libnftables-json(5)). iptables-nft makes such rules too.
//!
//! A condition that is not understood, or that depends on unknown fields of the packet, makes a
//! verdict uncertain, never wrong.

mod condition;
mod legacy;
mod ruleset;
mod sets;

pub use condition::{CtState, JudgedPacket};
pub(in crate::doctor) use legacy::table as legacy_table;
pub use ruleset::{DropPoint, FirewallVerdict, Hook, Ruleset};
