//! The fuzz targets' code without libFuzzer: `tests/packets/fuzz_smoke.rs` runs it too.

pub mod bodies;
pub mod seeds;
