//! Command lines: parse, run, exit code.

use std::process::ExitCode;

/// `vstun-director`.
#[must_use]
pub fn director() -> ExitCode {
    env_logger::init();
    let path = std::env::args().nth(2).unwrap();
    let config = crate::config::director(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let r = super::director::run(
        config,
        super::director::Options { config_path: path.into(), force: false },
    );
    if let Err(e) = r {
        eprintln!("{e:#}");
        return ExitCode::from(1);
    }
    ExitCode::from(0)
}

/// `vstun-realserver`.
#[must_use]
pub fn realserver() -> ExitCode {
    env_logger::init();
    let path = std::env::args().nth(2).unwrap();
    let config = crate::config::realserver(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let r = super::realserver::run(config);
    if let Err(e) = r {
        eprintln!("{e:#}");
        return ExitCode::from(1);
    }
    ExitCode::from(0)
}

/// `vstun`.
#[must_use]
pub fn operator() -> ExitCode {
    ExitCode::from(2)
}
