//! The demonstration's requirements.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Result, bail};

use super::namespaces;
use crate::netns;

const TUN: &str = "/dev/net/tun";
/// The kernel's list of IPv6 addresses; absent without IPv6 or with `ipv6.disable=1`.
const IPV6: &str = "/proc/net/if_inet6";

/// Programs, and the Debian package of each.
const PROGRAMS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("curl", "curl"),
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("sysctl", "procps"),
    ("kill", "procps"),
];

/// vstun's own programs, next to this one.
const SIBLINGS: &[&str] = &["vstun-director", "vstun-realserver"];

/// The web servers, of which one is needed.
const WEB_SERVERS: &[&str] = &["nginx", "python3"];

/// Reports everything that is missing, with its remedy, in one error.
pub(super) fn check() -> Result<()> {
    let missing: Vec<String> =
        [siblings(), programs(), web_server(), tun(), ipv6(), own_namespaces()]
            .into_iter()
            .flatten()
            .collect();
    if !missing.is_empty() {
        bail!("this machine lacks what the demo needs\n  - {}", missing.join("\n  - "));
    }
    Ok(())
}

fn siblings() -> Option<String> {
    let errors = SIBLINGS.iter().filter_map(|program| namespaces::sibling(program).err());
    errors.map(|error| error.to_string()).reduce(|all, error| format!("{all}; {error}"))
}

fn programs() -> Option<String> {
    let missing: Vec<_> =
        PROGRAMS.iter().filter(|(program, _)| netns::find(program).is_none()).collect();
    let names: Vec<_> = missing.iter().map(|(program, _)| *program).collect();
    let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    (!missing.is_empty())
        .then(|| format!("programs {}: `apt-get install {}`", names.join(", "), packages.join(" ")))
}

fn web_server() -> Option<String> {
    WEB_SERVERS
        .iter()
        .all(|program| netns::find(program).is_none())
        .then(|| "a web server, nginx or python3: `apt-get install nginx-light`".to_owned())
}

fn tun() -> Option<String> {
    let error = OpenOptions::new().read(true).write(true).open(TUN).err()?;
    Some(match error.kind() {
        ErrorKind::NotFound => format!(
            "{TUN}: `modprobe tun`; a container wants `--device {TUN}`, \
             or `mkdir -p /dev/net && mknod {TUN} c 10 200 && chmod 666 {TUN}`"
        ),
        ErrorKind::PermissionDenied => {
            format!("access to {TUN}: run as root, or `chmod 666 {TUN}`")
        }
        _ => format!("{TUN}: {error}; in a container allow the device (`--device {TUN}`)"),
    })
}

fn ipv6() -> Option<String> {
    (!Path::new(IPV6).exists()).then(|| {
        "IPv6: `modprobe ipv6`, or start the kernel without the parameter `ipv6.disable=1`"
            .to_owned()
    })
}

fn own_namespaces() -> Option<String> {
    netns::find("unshare")?;
    let works = namespaces::unshare()
        .arg("true")
        .env("PATH", netns::SEARCH_PATH)
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    (!works).then(|| {
        "namespaces of its own: run as root, or allow user namespaces \
         (`sysctl -w kernel.unprivileged_userns_clone=1 \
         kernel.apparmor_restrict_unprivileged_userns=0`); a container wants `--cap-add SYS_ADMIN \
         --cap-add NET_ADMIN --security-opt apparmor=unconfined`"
            .to_owned()
    })
}
