//! What a ruleset of nftables does with a packet, from `nft -j list ruleset`
//! (libnftables-json(5)). iptables-nft makes such rules too.
//!
//! A condition that is not understood, or that depends on what is not known of the packet, makes a
//! verdict uncertain, never wrong.

mod condition;
mod ruleset;
mod sets;

pub use condition::{CtState, Probe};
pub use ruleset::{Hook, Place, Ruleset, Verdict};
