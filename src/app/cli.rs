//! Command lines: parse, run, exit code.

use std::process::ExitCode;

/// `vstun-director`.
#[must_use]
pub fn director() -> ExitCode {
    ExitCode::from(2)
}

/// `vstun-realserver`.
#[must_use]
pub fn realserver() -> ExitCode {
    ExitCode::from(2)
}

/// `vstun`.
#[must_use]
pub fn operator() -> ExitCode {
    ExitCode::from(2)
}
