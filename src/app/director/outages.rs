//! Says which services no real server serves: to the log and the listeners when it begins and ends,
//! and to an operator whose command concerns them.

use super::reload::Running;
use crate::app::commands::{Answer, Done};
use crate::balancer::{Outage, OutageNotice};
use crate::control::{Alteration, Altered, Origin};

impl Running {
    /// Publishes that services are served no longer, or again.
    pub(super) async fn tell_outages(&self, notices: Vec<OutageNotice>) {
        let mut changes = Vec::new();
        for OutageNotice { service, outage } in notices {
            match outage {
                Some(outage) => {
                    log::warn!(service:% = service; "{}", sentence(&service, outage));
                }
                None => log::info!(
                    service:% = service;
                    "service {service}: a real server serves again"
                ),
            }
            changes.push(Alteration::of_service(&service, Altered::Served { outage }));
        }
        self.tell(Origin::Director, "outage", &changes).await;
    }

    /// The answer with a warning for each service that it concerns and that no real server serves.
    pub(super) async fn warned_of_outages(&self, verb: &str, answer: Answer) -> Answer {
        let Answer::Done(mut done) = answer else { return answer };
        // A reload answers for the whole file.
        let whole = verb == "reload";
        if whole || !done.changes.is_empty() {
            // A packet thread that has ended is noticed where its end is waited for.
            let Ok(running) = self.snapshot().await else { return Answer::Done(done) };
            for service in running.services {
                if let Some(outage) = service.outage
                    && (whole || concerns(&done, &service.name))
                {
                    done.warnings.push(sentence(&service.name, outage));
                }
            }
        }
        Answer::Done(done)
    }
}

fn concerns(done: &Done, service: &str) -> bool {
    done.changes.iter().any(|change| change.service.as_deref() == Some(service))
}

fn sentence(service: &str, outage: Outage) -> String {
    format!("service {service}: no real server serves: {outage}; new connections are refused")
}
