//! The operating system: TUN, raw sockets, netlink, sysctls, locks. The only layer with `unsafe`.
//!
//! Plain values in and out, `io::Result` for errors; imports no other module of vstun.
#![allow(unsafe_code)]

pub mod arp;
pub mod arrival;
pub mod disconnect;
mod errors;
pub mod fast_path;
pub mod folder;
mod frames;
pub mod hangup;
pub mod host_events;
pub mod ingress;
pub mod interfaces;
pub mod ipsec;
pub mod limits;
pub mod lock;
pub mod memory;
pub mod ndisc;
pub mod netlink;
mod netlink_dump;
pub mod netns;
pub mod nft_trace;
pub mod peer;
pub mod process;
pub mod random;
pub mod raw;
pub mod real_path;
pub mod sock_diag;
pub mod sysctl;
pub mod tun;
pub mod tun_packets;
