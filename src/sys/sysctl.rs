//! Kernel settings by their path below `/proc/sys`, with slashes:
//! `net/ipv4/conf/eth0.100/forwarding`.
//!
//! `/proc/sys/net` shows the network namespace of the thread that opens the file.

use std::path::{Component, Path, PathBuf};
use std::{fs, io};

/// The value, without its closing newline.
///
/// # Errors
///
/// `NotFound`: the kernel has no such setting, or its interface is gone. `InvalidInput`: the path
/// is not valid.
pub fn read(setting: &str) -> io::Result<String> {
    Ok(fs::read_to_string(path(setting)?)?.trim_end().to_owned())
}

/// Sets the value.
///
/// # Errors
///
/// As [`read`]; `PermissionDenied` or `ReadOnlyFilesystem` in a container without the right to
/// write it.
pub fn write(setting: &str, value: &str) -> io::Result<()> {
    fs::write(path(setting)?, value)
}

/// Whether it may be written. The kernel sets nothing when such a file is opened.
///
/// # Errors
///
/// As [`write()`].
pub fn may_write(setting: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(path(setting)?).map(drop)
}

fn path(setting: &str) -> io::Result<PathBuf> {
    let below = Path::new(setting);
    let plain = below.components().all(|part| matches!(part, Component::Normal(_)));
    if setting.is_empty() || !plain {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{setting:?} is not a setting below /proc/sys"),
        ));
    }
    Ok(Path::new("/proc/sys").join(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_read_without_its_newline() {
        let value = read("kernel/ostype").expect("every Linux has it");
        assert_eq!(value, "Linux");
    }

    #[test]
    fn paths_stay_below_proc_sys() {
        for bad in ["", "/etc/passwd", "../../etc/passwd", "net/../../x"] {
            let error = read(bad).expect_err(bad);
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{bad:?}");
        }
    }

    #[test]
    fn an_interface_that_is_gone_is_not_found() {
        let error = read("net/ipv4/conf/no.such0/forwarding").expect_err("no such interface");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
