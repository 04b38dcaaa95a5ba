//! The client's requests, and the packets counted meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::cables::FamilyAddresses;
use super::namespaces::{FOLDER, sibling};
use super::programs;
use crate::netns::{at, output};

/// The size of a large download in bytes.
pub(super) const DOWNLOAD_BYTES: u64 = 100_000_000;
const LARGE_FILE: &str = "large";
/// Bytes written at a time.
const CHUNK: usize = 1 << 20;
/// The time limit in seconds for the requests over a family, or for a download.
const TIME_LIMIT: &str = "30";

/// How many requests each real server served.
pub(super) type RequestsByReal = BTreeMap<String, usize>;

/// Packets from a VIP.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replies {
    /// Packets that the router forwarded to the client.
    pub(super) direct: u64,
    /// Packets that reached the director.
    pub(super) through_director: u64,
}

/// Sends `count` requests over a family, each on its own connection.
pub(super) fn requests(family: &FamilyAddresses, count: usize) -> Result<RequestsByReal> {
    let answers = output(
        at("client", "curl")
            .args(["-sS", "--fail-early", "--max-time", TIME_LIMIT, "-H", "Connection: close"])
            .arg(format!("http://{}/?[1-{count}]", family.host())),
    )?;
    let mut served = RequestsByReal::new();
    for name in answers.lines() {
        *served.entry(name.to_owned()).or_default() += 1;
    }
    Ok(served)
}

/// Downloads the large file over a family; bytes per second.
pub(super) fn download(family: &FamilyAddresses) -> Result<f64> {
    let figures = output(
        at("client", "curl")
            .args(["-sSf", "--max-time", TIME_LIMIT, "-o", "/dev/null"])
            .args(["-w", "%{size_download} %{speed_download}"])
            .arg(format!("http://{}/{LARGE_FILE}", family.host())),
    )?;
    let (size, speed) = figures.split_once(' ').context("curl prints no figures")?;
    ensure!(size == DOWNLOAD_BYTES.to_string(), "the download ended after {size} bytes");
    speed.trim().parse().context("curl prints no speed")
}

/// The counters of replies over a family.
pub(super) fn replies(family: &FamilyAddresses) -> Result<Replies> {
    let counter = |host| counter(host, family.name);
    Ok(Replies { direct: counter("router")?, through_director: counter("director")? })
}

fn counter(host: &str, name: &str) -> Result<u64> {
    let text = output(at(host, "nft").args(["list", "counter", "inet", "demo", name]))?;
    let mut words = text.split_whitespace().skip_while(|word| *word != "packets").skip(1);
    words.next().and_then(|word| word.parse().ok()).context("nft prints no counter")
}

/// `vstun list`.
pub(super) fn list() -> Result<String> {
    output(
        Command::new(sibling("vstun")?)
            .arg("--socket")
            .arg(programs::socket("director"))
            .arg("list"),
    )
}

/// Puts the large file into a web server's folder. It is written once; the other folders have
/// links.
pub(super) fn write_large_file(root: &Path) -> Result<()> {
    let shared = Path::new(FOLDER).join(LARGE_FILE);
    if !shared.exists() {
        write_pattern(&shared)
            .context("cannot write the large file; are 100 MB of memory free?")?;
    }
    fs::hard_link(&shared, root.join(LARGE_FILE)).context("cannot link the large file")
}

fn write_pattern(path: &Path) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = fs::File::create(path)?;
    let chunk = vec![b'v'; CHUNK];
    let mut left = DOWNLOAD_BYTES;
    while left > 0 {
        let len = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        file.write_all(&chunk[..len])?;
        left -= len as u64;
    }
    Ok(())
}
