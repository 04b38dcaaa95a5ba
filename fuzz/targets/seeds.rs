//! Writes the seeds to the directories that libFuzzer starts from: `seeds CORPUS`.

// The coverage hooks that every program here is compiled with live in libFuzzer.
extern crate libfuzzer_sys as _;

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let corpus = PathBuf::from(env::args_os().nth(1).unwrap_or_else(|| "corpus".into()));
    for (target, seeds) in vstun_fuzz::seeds::all() {
        let directory = corpus.join(target);
        fs::create_dir_all(&directory)?;
        for (index, seed) in seeds.iter().enumerate() {
            fs::write(directory.join(format!("seed-{index:02}")), seed)?;
        }
    }
    Ok(())
}
