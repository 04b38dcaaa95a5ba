//! Which steps of a plan may fail, and how failures are handled.

use std::collections::HashSet;
use std::net::IpAddr;

use anyhow::Result;

use crate::host::{Problem, ProblemKind};

/// The steps and items of the running plan.
#[derive(Debug, Default)]
pub(super) struct KnownParts {
    /// The subjects of its steps.
    pub(super) steps: HashSet<String>,
    pub(super) vips: HashSet<IpAddr>,
}

/// Which steps must succeed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Strict<'a> {
    /// None: the host has drifted without a command.
    No,
    /// All except those with these subjects: a step that the host refuses already does not block
    /// other changes.
    But(&'a HashSet<String>),
}

/// Failed steps: an error if they must succeed, else problems.
pub(super) struct Failures<'a> {
    pub(super) strict: Strict<'a>,
    pub(super) problems: Vec<Problem>,
}

impl Failures<'_> {
    pub(super) fn note<T>(&mut self, subject: &str, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(done) => Ok(Some(done)),
            Err(error) if self.strict.includes(subject) => Err(error),
            Err(error) => {
                self.problems.push(Problem::new(ProblemKind::Step, subject, format!("{error:#}")));
                Ok(None)
            }
        }
    }
}

impl Strict<'_> {
    fn includes(self, subject: &str) -> bool {
        match self {
            Self::No => false,
            Self::But(known) => !known.contains(subject),
        }
    }
}
