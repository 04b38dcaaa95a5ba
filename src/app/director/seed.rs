//! The random seed for placing flows if the configuration has no `hash_seed`. It is kept in the
//! state folder: with a new seed after a restart, connections that are adopted by hash would go to
//! other real servers.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, bail};

use crate::app::slow_io;
use crate::model::Seed;
use crate::sys::folder::Folder;
use crate::sys::random;

/// The file's name in the state folder.
const NAME: &str = "hash_seed";

/// The length of the file in bytes: two numbers of 16 hexadecimal digits, and a newline.
const LEN: u64 = 33;

/// Loads the kept seed, or makes and keeps a new one. If it cannot be kept, this logs a warning.
///
/// # Errors
/// The kernel has no random numbers.
pub(super) async fn load(state: Option<&Path>, needed: bool) -> anyhow::Result<Seed> {
    let [first, second] = random::words().context("no random numbers from the kernel")?;
    let new = Seed(first, second);
    let Some(folder) = state.filter(|_| needed) else { return Ok(new) };
    let path = folder.to_owned();
    let kept = slow_io::run("reading the seed", move || keep(&path, new)).await;
    Ok(kept.flatten().unwrap_or_else(|error| {
        log::warn!(
            "no seed is kept in {}: {error:#}; connections that are placed by hash may meet other \
             real servers after a restart, so write hash_seed, or let vstun use the folder",
            folder.display()
        );
        new
    }))
}

fn keep(path: &Path, new: Seed) -> anyhow::Result<Seed> {
    Folder::make(path).context("cannot make the folder")?;
    let folder = Folder::open(path)?;
    let mode = fs::metadata(folder.at(OsStr::new(".")))?.mode();
    if mode & 0o077 != 0 {
        bail!(
            "the folder has mode {:04o}, and the seed is a secret; `chmod 700` it",
            mode & 0o7777
        );
    }
    let name = OsStr::new(NAME);
    if let Some(text) = folder.read(name, LEN)? {
        let text = String::from_utf8(text).ok();
        let seed = text.as_deref().and_then(parse);
        return seed.with_context(|| format!("{NAME} is not a seed; remove the file"));
    }
    let Seed(first, second) = new;
    folder.replace(name, format!("{first:016x}{second:016x}\n").as_bytes())?;
    Ok(new)
}

fn parse(text: &str) -> Option<Seed> {
    let digits = text.strip_suffix('\n')?;
    let hexadecimal = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (first, second) = digits.split_at_checked(16).filter(|_| hexadecimal)?;
    let number = |digits| u64::from_str_radix(digits, 16).ok();
    Some(Seed(number(first)?, number(second)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_seed_is_kept_and_a_failure_to_keep_it_is_an_error() {
        let path = std::env::temp_dir().join(format!("vstun-seed-{}", std::process::id()));
        let same = |one: Seed, other: Seed| (one.0, one.1) == (other.0, other.1);
        assert!(same(keep(&path, Seed(1, 2)).unwrap(), Seed(1, 2)));
        assert!(same(keep(&path, Seed(3, u64::MAX)).unwrap(), Seed(1, 2)));
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join(NAME))), (0o700, 0o600));

        fs::write(path.join(NAME), "x\n").unwrap();
        assert!(keep(&path, Seed(3, 4)).unwrap_err().to_string().contains("not a seed"));
        fs::remove_file(path.join(NAME)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(keep(&path, Seed(3, 4)).unwrap_err().to_string().contains("mode 0750"));
        fs::remove_dir(&path).unwrap();
        assert!(keep(&path.join("below"), Seed(3, 4)).is_err());
    }

    #[test]
    fn only_32_hexadecimal_digits_are_a_seed() {
        assert!(parse(&format!("{}\n", "0".repeat(32))).is_some());
        for bad in [
            "",
            "\n",
            &"0".repeat(33),
            &format!("+{}\n", "0".repeat(31)),
            &format!("é{}\n", "0".repeat(30)),
        ] {
            assert!(parse(bad).is_none(), "{bad:?}");
        }
    }
}
