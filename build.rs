//! How the programs of a development build are linked.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |variable, value| env::var(variable).is_ok_and(|found| found == value);
    // The tests start these programs thousands of times. A position-independent one relocates
    // itself each time, and an unoptimised one holds many addresses: a third of its start.
    if is("PROFILE", "debug") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
