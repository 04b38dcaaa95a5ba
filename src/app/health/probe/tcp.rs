//! A TCP handshake.

use super::{Answer, Outcome};
use crate::app::health::TakesChanges;
use crate::app::health::socket::{Sends, Target};

pub(super) async fn probe<B: TakesChanges>(target: &mut Target<'_, B>) -> Outcome {
    target.connect(Sends::Nothing).await?;
    Ok(Answer::pass("connected"))
}
