//! The recorder: the latest decisions, kept by the packet thread and written to a file if it
//! panics.
//!
//! The ring belongs to the packet thread alone, so it needs no lock. A panic's hook runs on the
//! thread that panics, and finds the ring there.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
#[cfg(debug_assertions)]
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;

use crate::app::panics;
use crate::balancer::Record;
use crate::control::{TraceBegins, TracedDecision, to_hex};
use crate::model::{Millis, Seed};
use crate::sys::folder::Folder;
use crate::trace::pcapng::Writer;
use crate::trace::ring::{RecordedDecision, Ring};

/// The file in the state folder that a panic leaves.
const NAME: &str = "recorder.pcapng";

/// The most decisions that a panic writes, the latest ones: their file is made in memory.
const WRITTEN: usize = 100_000;

thread_local! {
    static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
}

/// The ring, and the values for its file's header.
#[derive(Debug)]
struct Recorder {
    ring: Ring,
    /// The time at which the director's clock was zero.
    epoch: Timestamp,
    seeds: (Seed, Seed),
}

/// A piece of the recorded decisions.
#[derive(Debug)]
pub(super) struct RecordedPiece {
    pub(super) kept: Vec<RecordedDecision>,
    /// The number of the first decision here.
    pub(super) first: u64,
    /// The number to go on from.
    pub(super) next: u64,
    /// The number of the decision that comes next.
    pub(super) count: u64,
    pub(super) capacity: u64,
    pub(super) now: Millis,
    pub(super) seeds: (Seed, Seed),
}

/// Starts recording on this thread, the packet thread.
pub(super) fn begin(capacity: u32, epoch: Timestamp, seeds: (Seed, Seed)) {
    let recorder = Recorder { ring: Ring::new(capacity), epoch, seeds };
    RECORDER.with_borrow_mut(|here| *here = Some(recorder));
}

/// Keeps a decision with its packet's headers.
pub(super) fn keep(record: Record, packet: &[u8]) {
    RECORDER.with_borrow_mut(|here| {
        if let Some(recorder) = here {
            recorder.ring.push(record, packet);
        }
    });
    #[cfg(debug_assertions)]
    fail_on_purpose();
}

/// An environment variable for the test of a failure: a program built for tests panics at the
/// decision with this number.
#[cfg(debug_assertions)]
fn fail_on_purpose() {
    static AT: LazyLock<Option<u64>> =
        LazyLock::new(|| std::env::var("VSTUN_PANIC_AT_DECISION").ok()?.parse().ok());
    if let Some(at) = *AT {
        let count = RECORDER.with_borrow(|here| here.as_ref().map(|here| here.ring.count()));
        assert!(count != Some(at), "decision {at}: on purpose");
    }
}

/// Updates the director's seeds.
pub(super) fn seeds_are(seeds: (Seed, Seed)) {
    RECORDER.with_borrow_mut(|here| {
        if let Some(recorder) = here {
            recorder.seeds = seeds;
        }
    });
}

/// Up to `most` decisions from number `from` on; `None`: nothing is recorded.
pub(super) fn piece(now: Millis, from: u64, most: usize) -> Option<RecordedPiece> {
    RECORDER.with_borrow(|here| {
        let Recorder { ring, seeds, .. } = here.as_ref()?;
        let (kept, next) = ring.since(from, most);
        let kept: Vec<_> = kept.cloned().collect();
        let (first, count) = (next - kept.len() as u64, ring.count());
        let (capacity, seeds) = (ring.capacity() as u64, *seeds);
        Some(RecordedPiece { kept, first, next, count, capacity, now, seeds })
    })
}

/// A kept decision in its listed form, of a director whose clock was zero at `epoch`.
pub(super) fn decision(kept: &RecordedDecision, epoch: Timestamp, packets: bool) -> TracedDecision {
    let time = epoch.checked_add(Duration::from_millis(kept.record.at.0)).unwrap_or(epoch);
    let packet = packets.then(|| to_hex(kept.headers()));
    TracedDecision { packet, ..TracedDecision::new(&kept.record, format!("{time:.3}")) }
}

/// From now on a panic of the recording thread writes the kept decisions into this folder, if the
/// hook of [`panics`] is installed.
pub(super) fn save_at_panic(folder: PathBuf) {
    panics::set_last_step(move || match save(&folder) {
        Ok(None) => {}
        Ok(Some(path)) => log::error!("the latest decisions are in {}", path.display()),
        Err(error) => log::error!("the latest decisions are lost: {error:#}"),
    });
}

/// Writes this thread's recorded decisions; `None`: it does not record.
fn save(folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    // The panic may have happened while the ring was written, or while the thread ended.
    let file = RECORDER.try_with(|here| match here.try_borrow() {
        Ok(here) => here.as_ref().map(|here| file(here, WRITTEN)).transpose(),
        Err(_) => Err(anyhow::anyhow!("the recorder itself has failed")),
    });
    let Some(file) = file.context("the thread has ended")?? else { return Ok(None) };
    Folder::make(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (folder, name) = (Folder::open(folder)?, OsStr::new(NAME));
    folder.replace(name, &file).with_context(|| folder.shown(name).display().to_string())?;
    Ok(Some(folder.shown(name)))
}

/// The file of the latest decisions, at most this many.
fn file(recorder: &Recorder, most: usize) -> anyhow::Result<Vec<u8>> {
    let Recorder { ring, epoch, seeds } = recorder;
    let program = env!("CARGO_PKG_VERSION").to_owned();
    let begins = TraceBegins { program, ..TraceBegins::default() }.with_seeds(*seeds);
    let mut writer = Writer::new(&begins)?;
    let from = ring.count().saturating_sub(most as u64);
    for kept in ring.since(from, most).0 {
        writer.add(&decision(kept, *epoch, true))?;
    }
    Ok(writer.take())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::thread;

    use super::*;
    use crate::balancer::{Balancer, Reason};

    fn record(number: u64) -> Record {
        Balancer::record_of_frame(Millis(number), 3, Reason::NotIp)
    }

    #[test]
    fn a_panic_leaves_the_latest_decisions_in_a_file() {
        let folder = std::env::temp_dir().join(format!("vstun-recorder-{}", std::process::id()));
        save_at_panic(folder.clone());
        panics::install_hook();
        // A thread that records nothing leaves none.
        thread::spawn(|| panic!("on purpose")).join().unwrap_err();
        assert!(!folder.exists());
        let recording = thread::spawn(|| {
            begin(2, Timestamp::UNIX_EPOCH, (Seed(1, 2), Seed(3, 4)));
            (1..=3).for_each(|number| keep(record(number), &[9]));
            panic!("on purpose");
        });
        recording.join().unwrap_err();
        let path = folder.join(NAME);
        let file = fs::read(&path).unwrap();
        let has = |text: &str| file.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(has("\"milliseconds\":3") && has("\"milliseconds\":2"));
        assert!(!has("\"milliseconds\":1,") && has(&format!("{:016x}{:016x}", 3, 4)));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn of_many_decisions_the_latest_are_written() {
        begin(9, Timestamp::UNIX_EPOCH, (Seed(1, 2), Seed(3, 4)));
        (1..=5).for_each(|number| keep(record(number), &[9]));
        let file = RECORDER.with_borrow(|here| file(here.as_ref().unwrap(), 2)).unwrap();
        RECORDER.with_borrow_mut(|here| *here = None);
        let has = |number: u64| {
            let text = format!("\"milliseconds\":{number},");
            file.windows(text.len()).any(|part| part == text.as_bytes())
        };
        assert_eq!([2, 3, 4, 5].map(has), [false, false, true, true]);
    }

    #[test]
    fn a_piece_has_its_first_number_and_the_next_one() {
        assert!(piece(Millis(9), 0, 5).is_none());
        begin(2, Timestamp::UNIX_EPOCH, (Seed(1, 2), Seed(3, 4)));
        (1..=5).for_each(|number| keep(record(number), &[9]));
        let piece = piece(Millis(9), 0, 1).unwrap();
        assert_eq!((piece.first, piece.next, piece.count, piece.capacity), (3, 4, 5, 2));
        assert_eq!(piece.kept[0].record.at, Millis(4));
        RECORDER.with_borrow_mut(|here| *here = None);
    }
}
