//! The daemon's data: a sample at each interval, and events as they happen.

use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::super::daemon::Daemon;
use crate::control::{self, Checks, Drops, EventText, Missed, Request, ServiceList, Status};

/// How long until an ended subscription to events is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// A sample of the director's state.
#[derive(Debug, Default)]
pub(super) struct Sample {
    pub(super) list: ServiceList,
    pub(super) checks: Checks,
    pub(super) drops: Drops,
}

/// A piece of new data.
#[derive(Debug)]
pub(super) enum News {
    Sample(Box<Sample>),
    /// There is no sample, for this reason.
    Silent(String),
    Event(Box<EventText>),
    /// Events that the daemon could not deliver.
    Missed(u64),
}

/// The first sample.
///
/// # Errors
/// No director answers.
pub(super) fn first(sockets: &[PathBuf]) -> anyhow::Result<News> {
    Ok(News::Sample(Box::new(sample(&mut Daemon::connect(sockets)?)?)))
}

/// Starts the threads that send news until the receiver is gone.
///
/// # Errors
/// A thread cannot be started.
pub(super) fn start(
    sockets: &[PathBuf],
    interval: Duration,
    news: &Sender<News>,
) -> anyhow::Result<()> {
    let (own, sender) = (sockets.to_vec(), news.clone());
    thread::Builder::new()
        .name("samples".into())
        .spawn(move || samples(&own, interval, &sender))?;
    let (own, sender) = (sockets.to_vec(), news.clone());
    thread::Builder::new().name("events".into()).spawn(move || events(&own, &sender))?;
    Ok(())
}

fn samples(sockets: &[PathBuf], interval: Duration, news: &Sender<News>) {
    let mut connected = None;
    let mut next = Instant::now();
    loop {
        next = (next + interval).max(Instant::now());
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let daemon = connected.take().map_or_else(|| Daemon::connect(sockets), Ok);
        let sampled = daemon.and_then(|mut daemon| {
            let sample = sample(&mut daemon)?;
            Ok((daemon, sample))
        });
        let sent = match sampled {
            Ok((daemon, sample)) => {
                connected = Some(daemon);
                news.send(News::Sample(Box::new(sample)))
            }
            Err(error) => news.send(News::Silent(format!("{error:#}"))),
        };
        if sent.is_err() {
            return;
        }
    }
}

fn sample(daemon: &mut Daemon) -> anyhow::Result<Sample> {
    Ok(Sample {
        list: ask(daemon, &Request::List)?,
        checks: ask(daemon, &Request::Checks)?,
        drops: ask(daemon, &Request::Drops)?,
    })
}

fn ask<T: DeserializeOwned>(daemon: &mut Daemon, request: &Request) -> anyhow::Result<T> {
    daemon.ask(request, &[])?;
    Ok(control::decode(&daemon.line()?)?)
}

fn events(sockets: &[PathBuf], news: &Sender<News>) {
    loop {
        // The samples report why no daemon answers; this only continues when one does.
        if let Ok(mut daemon) = Daemon::connect(sockets) {
            let request = Request::Events { since: None, until_now: false };
            let subscribed = ask::<Status>(&mut daemon, &request);
            if subscribed.is_ok() && daemon.remove_time_limit().is_ok() {
                while let Some(one) = daemon.line().ok().and_then(|line| event(&line)) {
                    if news.send(one).is_err() {
                        return;
                    }
                }
            }
        }
        thread::sleep(AGAIN);
    }
}

fn event(line: &[u8]) -> Option<News> {
    if let Ok(Missed { missed }) = control::decode(line) {
        return Some(News::Missed(missed));
    }
    control::decode(line).ok().map(|event| News::Event(Box::new(event)))
}
