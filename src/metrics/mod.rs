//! Metrics: a daemon's counters and states as a page that Prometheus scrapes.
//!
//! The page is made from the control socket's answers, so both agree. Names and units follow
//! <https://prometheus.io/docs/practices/naming/>. `docs/metrics.md` lists them.

mod director;
mod families;
mod latency;
mod process;
mod realserver;
mod turns;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::registry::Registry;

pub use director::DirectorPage;
pub use process::Process;
pub use realserver::RealServerPage;

/// The prefix of all names except the process's.
const PREFIX: &str = "vstun";

/// The text format of a page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// Prometheus's text format, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The format for an HTTP `Accept` header: OpenMetrics if the client names its media type with
    /// at least the weight of `text/plain`, the Prometheus text otherwise.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let weight = |wanted: &str| {
            let media = accept.split(',').map(|media| media.split(';').map(str::trim));
            let named = media.filter_map(|mut parts| {
                (parts.next() == Some(wanted)).then(|| parts.find_map(quality).unwrap_or(1.0))
            });
            named.fold(0.0, f32::max)
        };
        let open = weight("application/openmetrics-text");
        if open > 0.0 && open >= weight("text/plain") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// The value of `Content-Type`. Prometheus 3 refuses a page without one.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The weight of a media type (RFC 9110 12.4.2); one that cannot be read counts nothing.
fn quality(parameter: &str) -> Option<f32> {
    Some(parameter.strip_prefix("q=")?.parse().unwrap_or(0.0))
}

/// A daemon's values.
pub trait Page: Collector {
    /// Appends the families that are too large for the library, in the text of both formats.
    fn append_large(&self, _text: &mut String) {}
}

/// The families of a page that the library writes.
#[derive(Debug)]
struct Collected<P>(Arc<P>);

impl<P: Page> Collector for Collected<P> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }
}

/// Writes a page.
///
/// # Errors
/// Never: writing to memory does not fail.
pub fn write(format: Format, page: impl Page, process: Process) -> Result<String, fmt::Error> {
    let page = Arc::new(page);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(process));
    let collected = Box::new(Collected(Arc::clone(&page)));
    registry.sub_registry_with_prefix(PREFIX).register_collector(collected);
    let mut written = String::new();
    match format {
        Format::Prometheus => prometheus_text::encode(&mut written, &registry)?,
        Format::OpenMetrics => text::encode_registry(&mut written, &registry)?,
    }
    page.append_large(&mut written);
    if format == Format::OpenMetrics {
        text::encode_eof(&mut written)?;
    }
    Ok(written)
}
