//! A TCP handshake.

use super::{ProbeAnswer, ProbeOutcome};
use crate::app::health::TakesChanges;
use crate::app::health::socket::{ProbeTarget, Sends};

pub(super) async fn probe<B: TakesChanges>(target: &mut ProbeTarget<'_, B>) -> ProbeOutcome {
    let stream = target.connect(Sends::Nothing).await?;
    target.keep(stream);
    Ok(ProbeAnswer::pass("connected"))
}
