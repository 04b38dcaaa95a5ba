//! A TCP handshake.

use super::{ProbeAnswer, ProbeOutcome};
use crate::app::health::TakesChanges;
use crate::app::health::socket::{Sends, Target};

pub(super) async fn probe<B: TakesChanges>(target: &mut Target<'_, B>) -> ProbeOutcome {
    let stream = target.connect(Sends::Nothing).await?;
    target.keep(stream);
    Ok(ProbeAnswer::pass("connected"))
}
