//! Waits at the start until the host's network is complete: at boot an address or an interface may
//! appear later than the service.

use std::time::{Duration, Instant};

use crate::app::daemon::{self, Signals};
use crate::app::host::{DesiredDirector, Prepared, Session};
use crate::host::HostRefusal;

/// How often the host is checked meanwhile.
const PAUSE: Duration = Duration::from_millis(500);

/// Plans the host's set-up. Waits up to `wait` for uplinks, routes and addresses that are not there
/// yet; `None`: a stop signal came meanwhile.
///
/// # Errors
/// The host does not fit the configuration, or not within `wait`.
pub(super) async fn plan(
    session: &mut Session,
    desired: &DesiredDirector,
    signals: &mut Signals,
    wait: Duration,
) -> anyhow::Result<Option<Prepared>> {
    let began = Instant::now();
    let mut logged = String::new();
    loop {
        let error = match session.plan_director(desired).await {
            Ok(plan) => {
                if !logged.is_empty() {
                    log::info!(
                        "the host's network is complete after {} s",
                        began.elapsed().as_secs()
                    );
                }
                return Ok(Some(plan));
            }
            Err(error) => error,
        };
        let may_come = error.downcast_ref::<HostRefusal>().is_some_and(HostRefusal::may_pass);
        let left = wait.saturating_sub(began.elapsed());
        if !may_come || left.is_zero() {
            return Err(error);
        }
        let why = format!("{error:#}");
        if why != logged {
            let seconds = left.as_secs_f64().ceil();
            log::info!("waiting for the host's network, for {seconds} s at most: {why}");
            daemon::status(&format!("waiting: {why}"));
            logged = why;
        }
        tokio::select! {
            () = signals.stop() => return Ok(None),
            () = tokio::time::sleep(PAUSE.min(left)) => {}
        }
    }
}
