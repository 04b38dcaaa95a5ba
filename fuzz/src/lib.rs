//! What the fuzz targets do, apart from libFuzzer: `tests/packets/fuzz_smoke.rs` runs the same code.

pub mod bodies;
pub mod seeds;
