//! One change of the host, and its inverse.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::sysctl;

/// The protocol number of vstun's routes, rules and proxy neighbour entries (`ip route show table
/// all proto 176`), free in iproute2's `rt_protos`.
pub const PROTOCOL: u8 = 176;

/// The main routing table.
pub const MAIN: u32 = 254;

/// The kernel's routing table of local addresses, which no plan changes.
pub const LOCAL: u32 = 255;

/// Whether the kernel itself uses the routing table: the default, main and local tables.
pub(super) fn is_kernel_table(table: u32) -> bool {
    (253..=LOCAL).contains(&table)
}

/// One change of the host. It is recorded in the state file before it is made.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HostStep {
    /// Sets a kernel setting.
    Write {
        /// Its path below `/proc/sys`, with slashes, since interface names may contain dots.
        sysctl: String,
        /// The value before.
        from: String,
        /// The value after.
        to: String,
        /// The previous values of other settings that the kernel sets together with this one; those
        /// that were equal to `from` are left out.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        beside: BTreeMap<String, String>,
    },
    /// Adds an object.
    Add(Object),
    /// Removes an object.
    Remove(Object),
}

/// An object on a host.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Object {
    /// A proxy neighbour entry: the kernel answers ARP or neighbour discovery for the address on
    /// the interface.
    Proxy {
        /// The virtual IP.
        address: IpAddr,
        /// The interface's name.
        link: String,
    },
    /// A local address with a full-length prefix.
    Address {
        /// The virtual IP.
        address: IpAddr,
        /// The interface's name.
        link: String,
    },
    /// A route of one address into an interface.
    Route {
        /// The virtual IP.
        address: IpAddr,
        /// The interface's name.
        link: String,
        /// The routing table.
        table: u32,
        /// Source address of the host's own connections to the virtual IP.
        source: Option<IpAddr>,
    },
    /// A route to one address on a directly connected network with itself as gateway, in the main
    /// table.
    Neighbour {
        /// The real server.
        address: IpAddr,
        /// The interface's name.
        link: String,
        /// The preferred source of the network's own route.
        source: Option<IpAddr>,
    },
    /// A rule that sends packets from an address to a table.
    Rule {
        /// The virtual IP.
        from: IpAddr,
        /// The routing table.
        table: u32,
        /// The rule's priority.
        priority: u32,
    },
    /// All routes with vstun's protocol number in vstun's own table. One step stands for all of
    /// them, since they follow the main table's changes.
    Copies {
        /// The routing table.
        table: u32,
    },
}

impl HostStep {
    /// The step that undoes this one.
    #[must_use]
    pub fn inverse(&self) -> Self {
        match self {
            Self::Write { sysctl, from, to, beside } => Self::Write {
                sysctl: sysctl.clone(),
                from: to.clone(),
                to: from.clone(),
                beside: beside.clone(),
            },
            Self::Add(object) => Self::Remove(object.clone()),
            Self::Remove(object) => Self::Add(object.clone()),
        }
    }

    /// Whether both steps lead to the same state, from any previous state.
    #[must_use]
    pub fn same_end(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Write { sysctl, to, .. }, Self::Write { sysctl: other, to: other_to, .. }) => {
                sysctl == other && to == other_to
            }
            _ => self == other,
        }
    }

    /// What the step concerns, without the previous state.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::Write { sysctl, to, .. } => format!("sysctl {sysctl} = {to}"),
            _ => self.to_string(),
        }
    }

    /// Whether it hides another program's route. Then it has to be removed as soon as it is in no
    /// plan.
    #[must_use]
    pub fn hides(&self) -> bool {
        matches!(self, Self::Add(Object::Neighbour { .. }))
    }

    /// The interface of the step; the kernel removes the step's object together with it.
    #[must_use]
    pub fn link(&self) -> Option<&str> {
        match self {
            Self::Write { sysctl, .. } => sysctl::link(sysctl),
            Self::Add(object) | Self::Remove(object) => match object {
                Object::Proxy { link, .. }
                | Object::Address { link, .. }
                | Object::Route { link, .. }
                | Object::Neighbour { link, .. } => Some(link),
                Object::Rule { .. } | Object::Copies { .. } => None,
            },
        }
    }

    /// The same step after interfaces were renamed: the new names by the old ones.
    #[must_use]
    pub fn renamed(&self, names: &BTreeMap<String, String>) -> Self {
        let setting = |path: &str| sysctl::renamed(path, names);
        match self {
            Self::Write { sysctl, from, to, beside } => Self::Write {
                sysctl: setting(sysctl),
                from: from.clone(),
                to: to.clone(),
                beside: beside.iter().map(|(path, was)| (setting(path), was.clone())).collect(),
            },
            Self::Add(object) => Self::Add(object.renamed(names)),
            Self::Remove(object) => Self::Remove(object.renamed(names)),
        }
    }

    /// Whether traffic flows without it, so that its refusal by a kernel or container is not a
    /// reason to stop: `proxy_delay` costs up to 0.8 s per answer, unneeded IPv6 on a TUN and an
    /// address or router advertisements there cost a few dropped packets, a neighbour route saves
    /// work.
    #[must_use]
    pub fn optional(&self) -> bool {
        if matches!(self, Self::Add(Object::Neighbour { .. })) {
            return true;
        }
        let Self::Write { sysctl, to, .. } = self else { return false };
        match (sysctl.rsplit('/').next().unwrap_or_default(), to.as_str()) {
            ("proxy_delay" | "addr_gen_mode", _) | ("disable_ipv6", "1") | ("accept_ra", "0") => {
                true
            }
            // Without `accept_ra` the host would lose its default routes when the first step turns
            // forwarding on.
            _ => false,
        }
    }

    /// Whether it protects the host from effects of other steps, so that it is undone after all of
    /// them.
    #[must_use]
    pub fn guards(&self) -> bool {
        matches!(self, Self::Write { sysctl, .. } if sysctl.ends_with("/accept_ra"))
    }
}

impl Object {
    /// Whether it is a route that prefers a source address. If the host loses that, IPv4 removes
    /// the route and IPv6 the preference.
    #[must_use]
    pub fn prefers_a_source(&self) -> bool {
        matches!(
            self,
            Self::Route { source: Some(_), .. } | Self::Neighbour { source: Some(_), .. }
        )
    }

    fn renamed(&self, names: &BTreeMap<String, String>) -> Self {
        let mut object = self.clone();
        if let Self::Proxy { link, .. }
        | Self::Address { link, .. }
        | Self::Route { link, .. }
        | Self::Neighbour { link, .. } = &mut object
            && let Some(new) = names.get(link)
        {
            link.clone_from(new);
        }
        object
    }
}

impl fmt::Display for HostStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { sysctl, from, to, .. } => {
                write!(f, "sysctl {sysctl} = {to} (was {from})")
            }
            Self::Add(object) => write!(f, "{object}"),
            Self::Remove(object) => write!(f, "removal of {object}"),
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proxy { address, link } => {
                write!(f, "proxy neighbour entry {address} dev {link}")
            }
            Self::Address { address, link } => write!(f, "address {address} dev {link}"),
            Self::Route { address, link, table, .. } => {
                write!(f, "route {address} dev {link} table {table}")
            }
            Self::Neighbour { address, link, .. } => {
                write!(f, "route {address} via itself dev {link}")
            }
            Self::Rule { from, table, priority } => {
                write!(f, "rule {priority}: from {from} lookup {table}")
            }
            Self::Copies { table } => write!(f, "copied routes in table {table}"),
        }
    }
}
