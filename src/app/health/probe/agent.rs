//! A load agent. vstun's own agent answers the greeting with a report, any other with HAProxy's
//! words.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{ProbeAnswer, ProbeOutcome};
use crate::app::health::TakesChanges;
use crate::app::health::socket::{ProbeTarget, Sends, describe};
use crate::app::health::trace::ANSWERED;
use crate::control;
use crate::health::load::{GREETING, LoadReport, MAX_REPORT_LEN, Reported};

pub(super) async fn probe<B: TakesChanges>(target: &mut ProbeTarget<'_, B>) -> ProbeOutcome {
    let mut stream = target.connect(Sends::Request).await?;
    // A foreign agent may answer and close before it reads anything.
    let _ = stream.write_all(GREETING.as_bytes()).await;
    let mut line = Vec::new();
    let end = loop {
        if let Some(end) = line.iter().position(|&byte| byte == b'\n') {
            break end;
        }
        if line.len() >= MAX_REPORT_LEN {
            return Err(format!("its line is longer than {MAX_REPORT_LEN} bytes"));
        }
        match stream.read_buf(&mut line).await {
            Ok(0) if line.is_empty() => return Err("closed without an answer".to_owned()),
            Ok(0) => return Err("incomplete line: closed before its newline".to_owned()),
            Ok(_) => target.trace.step(ANSWERED),
            Err(error) => return Err(describe(&error)),
        }
    };
    answer(line.get(..end).unwrap_or_default())
}

fn answer(line: &[u8]) -> ProbeOutcome {
    if line.starts_with(b"{") {
        let report: LoadReport =
            control::decode(line).map_err(|error| format!("no report: {error}"))?;
        let detail = match report.established {
            Some(established) => format!(
                "{}, {}%, {established} established, {} queued",
                report.state.name(),
                report.percent(),
                report.queued
            ),
            None => format!("{}, {}%", report.state.name(), report.percent()),
        };
        return Ok(ProbeAnswer::pass(detail).with(Reported::Report(Box::new(report))));
    }
    let line = String::from_utf8_lossy(line);
    let shown: String = line.chars().filter(|one| !one.is_control()).take(80).collect();
    Ok(ProbeAnswer::pass(shown).with(Reported::Line(line.into_owned())))
}
