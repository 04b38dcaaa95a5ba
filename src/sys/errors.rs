//! Errors of libraries as those of the system.

use std::io;

/// The error with all its causes; aya shows only the first.
pub(super) fn because(what: &str, error: &dyn std::error::Error) -> io::Error {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    io::Error::other(format!("{what}: {}", causes.join(": ")))
}

/// The system's error number among the error's causes.
pub(super) fn number_of(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.filter_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error()).next()
}
