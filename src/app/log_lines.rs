//! The form of log lines: text, or one JSON object a line. Under systemd each line has its
//! priority, and text has no time stamp, because the journal adds its own (sd-daemon(3)).

use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

use clap::ValueEnum;
use env_logger::fmt::Formatter;
use log::kv::{Error, Key, Value, VisitSource, VisitValue};
use log::{Level, LevelFilter, Record};
use serde::Serialize;
use serde_json::Map;

use crate::control::{Event, printable, printable_line};

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum LogFormat {
    #[default]
    Text,
    Json,
}

/// The format of the running daemon, for lines that do not come from the logger.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// The name of a record's pair that holds a whole event as JSON: its fields become the line's.
const EVENT: &str = "event";

/// The module of lines that do not come from the logger: the program as a whole.
const PROGRAM: &str = env!("CARGO_CRATE_NAME");

/// A log line as JSON. Further fields have the names of events and listings.
#[derive(Debug, Serialize)]
struct JsonLine<'a> {
    /// UTC by RFC 3339.
    time: String,
    level: &'a str,
    /// The part of the program, as in text lines.
    module: &'a str,
    /// The text of the line.
    text: &'a str,
    #[serde(flatten)]
    fields: Map<String, serde_json::Value>,
}

/// Sets the format of all lines to standard error.
pub(super) fn choose(format: LogFormat) {
    let _ = FORMAT.set(format);
}

fn format() -> LogFormat {
    FORMAT.get().copied().unwrap_or_default()
}

/// Starts the logger. Without a `level` it uses that of `RUST_LOG`, or else info.
pub(super) fn start(level: Option<LevelFilter>) {
    let mut log = env_logger::Builder::new();
    // The netlink library warns about every answer whose caller has stopped waiting, which is
    // normal here.
    log.filter_module("netlink_proto", LevelFilter::Error);
    match level {
        Some(level) => log.filter_level(level),
        None => log.filter_level(LevelFilter::Info).parse_default_env(),
    };
    let journal = is_journal();
    match format() {
        LogFormat::Json => {
            log.format(move |out, record| write_json(out, record, journal));
        }
        LogFormat::Text if journal => {
            log.format(write_text);
        }
        LogFormat::Text => {}
    }
    log.init();
}

/// Writes a panic's message if lines are JSON and the logger has started; else it returns `false`.
pub(super) fn write_panic(panic: &PanicHookInfo<'_>) -> bool {
    let writes = format() == LogFormat::Json && log::log_enabled!(Level::Error);
    if writes {
        log::error!("{panic}");
    }
    writes
}

/// Writes an error of the program itself to standard error: each line of the text is one.
pub(super) fn print_error(text: &str) {
    print(Level::Error, text);
}

/// Writes a warning of the program itself to standard error, in the same form.
pub(super) fn print_warning(text: &str) {
    print(Level::Warn, text);
}

fn print(level: Level, text: &str) {
    let journal = is_journal();
    for line in text.lines() {
        let line = match format() {
            LogFormat::Json => json(level, PROGRAM, line, Map::new()),
            LogFormat::Text => printable_line(line).into_owned(),
        };
        let line = if journal { prefixed(level, &line) } else { format!("{line}\n") };
        // With `eprint!` a terminal that is gone would be a panic.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

/// Logs an event with this text. A JSON line has the event's fields.
pub(super) fn event(level: Level, event: &Event, text: impl Display) {
    if log::log_enabled!(target: "vstun::events", level) {
        let fields = serde_json::to_string(event).unwrap_or_default();
        log::log!(target: "vstun::events", level, event = fields.as_str(); "{text}");
    }
}

/// Whether stderr is the journal's stream. `JOURNAL_STREAM` (systemd.exec(5)) may be inherited and
/// name another one.
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let own = fs::metadata("/proc/self/fd/2").map(|meta| format!("{}:{}", meta.dev(), meta.ino()));
    own.is_ok_and(|own| own == stream)
}

/// Writes a record in the journal's form.
fn write_text(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let text = format!("{}: {}", record.target(), record.args());
    out.write_all(prefixed(record.level(), &printable(&text)).as_bytes())
}

fn write_json(out: &mut Formatter, record: &Record<'_>, journal: bool) -> io::Result<()> {
    let mut fields = Fields::default();
    // Collecting does not fail.
    let _ = record.key_values().visit(&mut fields);
    let text = record.args().to_string();
    let line = json(record.level(), record.target(), &text, fields.0);
    let line = if journal { prefixed(record.level(), &line) } else { line + "\n" };
    out.write_all(line.as_bytes())
}

fn json(
    level: Level,
    module: &str,
    text: &str,
    mut fields: Map<String, serde_json::Value>,
) -> String {
    let time = match fields.remove("time") {
        // The event's own time, so that the line and `vstun events` agree.
        Some(serde_json::Value::String(time)) => time,
        _ => format!("{:.3}", jiff::Timestamp::now()),
    };
    let name = level.as_str().to_lowercase();
    // Serialising strings and numbers does not fail.
    serde_json::to_string(&JsonLine { time, level: &name, module, text, fields })
        .unwrap_or_default()
}

/// The text with the priority at the start of each line.
fn prefixed(level: Level, text: &str) -> String {
    // syslog(3): error, warning, informational, debug.
    let priority = match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    text.lines().map(|line| format!("<{priority}>{line}\n")).collect()
}

/// The pairs of a record as JSON; those without a value are left out.
#[derive(Debug, Default)]
struct Fields(Map<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        if key.as_str() == EVENT {
            let event = value.to_borrowed_str().and_then(|text| serde_json::from_str(text).ok());
            self.0.append(&mut event.unwrap_or_default());
            return Ok(());
        }
        let mut field = PairValue::default();
        value.visit(&mut field)?;
        self.0.extend(field.0.map(|value| (key.as_str().to_owned(), value)));
        Ok(())
    }
}

/// A value of a pair.
#[derive(Debug, Default)]
struct PairValue(Option<serde_json::Value>);

impl<'v> VisitValue<'v> for PairValue {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), Error> {
        self.0 = Some(value.to_string().into());
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), Error> {
        self.0 = Some(value.into());
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), Error> {
        self.0 = Some(value.into());
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), Error> {
        self.0 = Some(value.into());
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::control::{Alteration, Altered, Credentials, Origin};

    #[test]
    fn every_line_has_its_priority() {
        assert_eq!(prefixed(Level::Error, "one\ntwo"), "<3>one\n<3>two\n");
        assert_eq!(prefixed(Level::Warn, "x"), "<4>x\n");
        assert_eq!(prefixed(Level::Info, "x"), "<6>x\n");
        assert_eq!(prefixed(Level::Debug, "x"), "<7>x\n");
    }

    fn line(record: &Record<'_>) -> serde_json::Value {
        let mut fields = Fields::default();
        record.key_values().visit(&mut fields).unwrap();
        let text = record.args().to_string();
        let line = json(record.level(), record.target(), &text, fields.0);
        assert!(!line.contains('\n'), "{line}");
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn a_json_line_has_the_text_and_the_fields_of_its_record() {
        let pairs: [(&str, Value<'_>); 4] = [
            ("address", Value::from("10.0.0.11")),
            ("count", Value::from(3_u64)),
            ("pid", Value::from(-1_i64)),
            ("gid", Value::null()),
        ];
        let value = line(
            &Record::builder()
                .level(Level::Warn)
                .target("vstun::app::quorum")
                .args(format_args!("one\n\"two\""))
                .key_values(&pairs)
                .build(),
        );
        assert_eq!((&value["level"], &value["text"]), (&"warn".into(), &"one\n\"two\"".into()));
        assert_eq!(value["module"], "vstun::app::quorum");
        assert_eq!((&value["address"], &value["count"]), (&"10.0.0.11".into(), &3.into()));
        assert_eq!((&value["pid"], value.get("gid")), (&(-1).into(), None));
        assert!(value["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    }

    #[test]
    fn an_event_has_the_same_names_in_the_log_and_among_events() {
        let change = Alteration::of_service("web", Altered::FloodMode { active: true });
        let time = "2026-11-25T22:40:41.310Z".parse().unwrap();
        let operator = Origin::Operator(Credentials { uid: 0, gid: 0, pid: None });
        let event = Event { time, origin: operator, verb: "set-weight", change };
        let text = serde_json::to_string(&event).unwrap();
        let pairs = [(EVENT, Value::from(text.as_str()))];
        let record = Record::builder().level(Level::Info).key_values(&pairs).build();
        let mut value = line(&record);
        for added in ["level", "module", "text"] {
            assert!(value.as_object_mut().unwrap().remove(added).is_some());
        }
        assert_eq!(value, serde_json::to_value(&event).unwrap());
    }
}
