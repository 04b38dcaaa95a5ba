//! IPsec policies, as the kernel has them.

use std::fmt;

use ipnet::IpNet;

/// An IPsec policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IpsecPolicy {
    /// Which packets it is for.
    pub direction: PolicyDirection,
    /// Their source.
    pub source: IpNet,
    /// Their destination.
    pub destination: IpNet,
    /// Whether it matches a part of these packets only, by protocol, ports, interface or mark.
    pub partial: bool,
    /// Policies with a smaller number come first.
    pub priority: u32,
    /// What it does.
    pub action: PolicyAction,
}

/// Which packets a policy is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PolicyDirection {
    /// Those for this host.
    In,
    /// Those that leave, forwarded ones too.
    Out,
    /// Those that are forwarded, as they arrive.
    Forward,
}

/// What a policy does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PolicyAction {
    /// Nothing.
    Allow,
    /// It encrypts or authenticates; what arrives otherwise is discarded.
    Transform,
    /// It discards.
    Block,
}

/// As `ip xfrm policy` takes it.
impl fmt::Display for IpsecPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            PolicyDirection::In => "in",
            PolicyDirection::Out => "out",
            PolicyDirection::Forward => "fwd",
        };
        write!(f, "dir {direction} src {} dst {}", self.source, self.destination)
    }
}
