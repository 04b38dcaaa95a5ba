//! The verdict of an nftables ruleset on a packet, from `nft -j list ruleset`
//! (libnftables-json(5)). iptables-nft makes such rules too.
//!
//! A condition that is not understood, or that depends on unknown fields of the packet, makes a
//! verdict uncertain, never wrong.
//!
//! 1. `packet`: the packet to be judged.
//! 2. `field`, `operand`, `names`: its fields, as far as they are known, and their values.
//! 3. `condition`, `sets`: whether it meets a condition.
//! 4. `ruleset`, `legacy`, `devices`: its path through the chains.
//! 5. `new_source`: what a rule that translates makes of its source.

mod condition;
mod devices;
mod drop_point;
mod field;
mod legacy;
mod names;
mod new_source;
mod operand;
mod packet;
mod ruleset;
mod sets;

pub use drop_point::DropPoint;
pub(in crate::doctor) use legacy::table as legacy_table;
pub use new_source::NewSource;
pub use packet::{ARP, CtState, JudgedPacket};
pub use ruleset::{FirewallVerdict, Hook, Ruleset};
