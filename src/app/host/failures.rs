//! Which steps of a plan may fail, and what becomes of those that do.

use std::collections::HashSet;
use std::net::IpAddr;

use anyhow::Result;

use crate::host::{Problem, ProblemKind};

/// What the running plan consists of.
#[derive(Debug, Default)]
pub(super) struct KnownParts {
    /// The subjects of its steps.
    pub(super) steps: HashSet<String>,
    pub(super) vips: HashSet<IpAddr>,
}

/// Which steps must succeed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Strict<'a> {
    /// None: the host drifts while nobody has asked for anything.
    No,
    /// All but those with these subjects: what the host refuses already keeps no other change from
    /// being made.
    But(&'a HashSet<String>),
}

/// Failed steps: an error where they must succeed, else problems.
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
