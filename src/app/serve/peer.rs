//! The credentials of the process at the other end of the control socket, from the kernel.

use std::fmt;
use std::os::fd::AsFd;

use anyhow::{Context, bail};
use tokio::net::UnixStream;

use crate::control::Credentials;
use crate::sys::peer;

/// Who may make changes: root, this user and this group. Every client that can connect may read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::app) struct Writers {
    /// The owner of the socket's file: the daemon's own user.
    pub(in crate::app) owner: u32,
    /// Its group.
    pub(in crate::app) group: u32,
}

/// A client, with its credentials from when it connected (`SO_PEERCRED` of unix(7)).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::app) struct Peer {
    pub(in crate::app) credentials: Credentials,
    groups: Vec<u32>,
    writers: Writers,
}

impl Peer {
    /// Reads the credentials of the peer.
    pub(in crate::app) fn of(stream: &UnixStream, writers: Writers) -> anyhow::Result<Self> {
        let credentials = stream.peer_cred().context("cannot tell who asks")?;
        // Without supplementary groups only the primary one counts.
        let groups = peer::groups(stream.as_fd()).unwrap_or_default();
        let pid = credentials.pid().filter(|pid| *pid > 0);
        let credentials = Credentials { uid: credentials.uid(), gid: credentials.gid(), pid };
        Ok(Self { credentials, groups, writers })
    }

    /// A client of HTTP, which may read only.
    pub(in crate::app) fn of_http() -> Self {
        Self::of_user(u32::MAX, Writers { owner: 0, group: 0 })
    }

    /// A user whose only group has the same number.
    pub(super) fn of_user(uid: u32, writers: Writers) -> Self {
        let credentials = Credentials { uid, gid: uid, pid: None };
        Self { credentials, groups: Vec::new(), writers }
    }

    /// Whether a socket file with that mode and this owner and group would let the client connect:
    /// connecting needs write permission (unix(7)). Checked here since the file may not have the
    /// group.
    ///
    /// # Errors
    /// The client may not connect; the message says who may.
    pub(super) fn may_connect(&self, mode: u32) -> anyhow::Result<()> {
        if mode & 0o002 != 0 || self.may_write().is_ok() {
            return Ok(());
        }
        let Writers { owner, group } = self.writers;
        bail!("{self} may not ask: root, user {owner} and the members of group {group} may")
    }

    /// Whether the client may make changes.
    ///
    /// # Errors
    /// The client may not; the message says who may.
    pub(in crate::app) fn may_write(&self) -> anyhow::Result<()> {
        let Writers { owner, group } = self.writers;
        let Credentials { uid, gid, pid: _ } = self.credentials;
        let member = gid == group || self.groups.contains(&group);
        if uid == 0 || uid == owner || member {
            return Ok(());
        }
        bail!(
            "{self} may read but not change anything, nor plan it: root, user {owner} and the \
             members of group {group} may, as `control_group` says"
        )
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.credentials.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_user_connects_only_if_the_mode_admits_others() {
        let may = |uid, gid, mode| {
            let writers = Writers { owner: 500, group: 600 };
            let credentials = Credentials { uid, gid, pid: None };
            Peer { credentials, groups: Vec::new(), writers }.may_connect(mode).is_ok()
        };
        assert!(may(0, 0, 0o660) && may(500, 1, 0o660) && may(1000, 600, 0o660));
        assert!(!may(1000, 1000, 0o660));
        assert!(!may(1000, 1000, 0o664));
        assert!(may(1000, 1000, 0o666));
    }

    #[test]
    fn only_root_the_owner_and_the_group_may_write() {
        let may = |uid, gid, groups: &[u32]| {
            let writers = Writers { owner: 500, group: 600 };
            let credentials = Credentials { uid, gid, pid: None };
            Peer { credentials, groups: groups.to_vec(), writers }.may_write().is_ok()
        };
        assert!(may(0, 0, &[]));
        assert!(may(500, 1, &[]));
        assert!(may(1000, 600, &[]));
        assert!(may(1000, 1000, &[4, 600]));
        assert!(!may(1000, 1000, &[4, 24]));
        assert!(!may(600, 500, &[500, 0]), "numbers of users and groups are not the same");
    }
}
