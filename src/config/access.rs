//! Access to a control socket: its file mode and its group.

use super::fault::{Faults, quoted};
use super::section::Section;

/// The longest name of a group in bytes (useradd(8), groupadd(8)).
pub const MAX_GROUP_LEN: usize = 32;

/// The mode and the group of a control socket.
///
/// To connect, a client needs write permission on the socket's file (unix(7)). Every client that
/// can connect may read. Only root, the socket's owner and its group may make changes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Access {
    /// The file mode's permission bits.
    pub mode: u32,
    /// The group's name or ID; `None`: the daemon's own group.
    pub group: Option<String>,
}

impl Access {
    /// The default of `control_mode`.
    pub const MODE: u32 = 0o660;

    pub(super) fn read(section: &Section<'_>, faults: &mut Faults) -> Self {
        let mode = section.entry("control_mode").and_then(|entry| entry.parsed(mode, faults));
        let group = section.entry("control_group").and_then(|entry| entry.parsed(group, faults));
        Self { mode: mode.unwrap_or(Self::MODE), group }
    }
}

impl Default for Access {
    fn default() -> Self {
        Self { mode: Self::MODE, group: None }
    }
}

/// Parses a mode. Each class has read and write permission or none; the execute bit has no effect
/// on a socket. The owner always has permission: the daemon itself needs it.
fn mode(text: &str) -> Result<u32, String> {
    const OWNER: u32 = 0o600;
    const ALL: u32 = 0o666;
    let digits = text.strip_prefix('0').unwrap_or(text);
    let octal = digits.len() == 3 && digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    let mode = octal.then(|| u32::from_str_radix(digits, 8).ok()).flatten();
    mode.filter(|mode| mode & OWNER == OWNER && mode & !ALL == 0).ok_or_else(|| {
        let hint = "write 0600 (the owner alone), 0660 (and the group) or 0666 (all users)";
        format!("{} is not a mode of a control socket; {hint}", quoted(text))
    })
}

fn group(text: &str) -> Result<String, String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let fine = !text.is_empty() && text.len() <= MAX_GROUP_LEN && !text.starts_with('-');
    if fine && text.bytes().all(legal) {
        return Ok(text.to_owned());
    }
    let hint = format!("write 1 to {MAX_GROUP_LEN} letters, digits, '-', '_' and '.'");
    Err(format!("{} is not a name or number of a group; {hint}", quoted(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_give_read_and_write_to_the_owner_at_least() {
        for (text, expected) in
            [("0600", 0o600), ("600", 0o600), ("0660", 0o660), ("0666", 0o666), ("0620", 0o620)]
        {
            assert_eq!(mode(text), Ok(expected), "{text}");
        }
        for text in [
            "", "0", "66", "0060", "0066", "0400", "0661", "0770", "1660", "00660", "0680", "rw",
            "-660",
        ] {
            let message = mode(text).expect_err(text);
            assert!(message.contains("write 0600"), "{message}");
        }
    }

    #[test]
    fn group_names_up_to_the_bound() {
        assert_eq!(group("vstun"), Ok("vstun".to_owned()));
        assert_eq!(group("1234"), Ok("1234".to_owned()));
        assert!(group(&"g".repeat(MAX_GROUP_LEN)).is_ok());
        for text in
            [String::new(), "-x".into(), "a b".into(), "a:b".into(), "g".repeat(MAX_GROUP_LEN + 1)]
        {
            assert!(group(&text).is_err(), "{text}");
        }
    }
}
