//! What the fuzz targets do, apart from libFuzzer: `tests/fuzz_smoke.rs` runs the same code.

pub mod bodies;
pub mod seeds;
