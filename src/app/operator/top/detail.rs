//! Everything about one real server: its figures, graphs, checks and events.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Sparkline};

use super::draw::{Palette, is_set, number};
use super::view::{RowKey, View};
use crate::control::{ListedCheck, ListedReal, Rate};

/// Lines of a graph.
const GRAPH: u16 = 2;

/// The title of a graph, and the part of a rate that it shows.
type Graph = (&'static str, fn(&Rate) -> u64);

const GRAPHS: [Graph; 3] = [
    ("new/s", |rate| rate.connections),
    ("packets/s", |rate| rate.packets),
    ("bytes/s", |rate| rate.bytes),
];

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, view: &View, key: &RowKey, palette: Palette) {
    let services = view.sample.list.services.iter();
    let mut services = services.filter(|service| service.name == key.service);
    let reals = services.next().into_iter().flat_map(|service| &service.reals);
    let address = key.real.as_deref().unwrap_or_default();
    let Some(real) = { reals }.find(|real| real.address == address) else {
        let gone = format!("{} {address} is not there any more. Esc goes back.", key.service);
        return frame.render_widget(Paragraph::new(gone), area);
    };
    let figures = figures(&key.service, real, palette);
    let height = u16::try_from(figures.len()).unwrap_or(u16::MAX);
    let parts = [
        Constraint::Length(height),
        Constraint::Length(GRAPH),
        Constraint::Length(GRAPH),
        Constraint::Length(GRAPH),
        Constraint::Min(0),
    ];
    let [top, first, second, third, rest] = Layout::vertical(parts).areas(area);
    frame.render_widget(Paragraph::new(figures), top);
    for (area, (name, of)) in [first, second, third].into_iter().zip(GRAPHS) {
        let [label, graph] =
            Layout::horizontal([Constraint::Length(20), Constraint::Fill(1)]).areas(area);
        let values: Vec<u64> = view.history(key).map(of).collect();
        let last = values.last().copied().unwrap_or_default();
        let most = values.iter().copied().max().unwrap_or_default();
        let lines = [
            format!("{name:<10}{:>8}", number(last)),
            format!("{:<10}{:>8}", "  most", number(most)),
        ];
        frame.render_widget(Paragraph::new(lines.map(Line::from).to_vec()), label);
        let room = usize::from(graph.width);
        let shown = values.iter().skip(values.len().saturating_sub(room));
        frame.render_widget(Sparkline::default().data(shown), graph);
    }
    frame.render_widget(Paragraph::new(happenings(view, address, palette)), rest);
}

/// Its state and counters.
fn figures<'a>(service: &str, real: &'a ListedReal, palette: Palette) -> Vec<Line<'a>> {
    let mut state = vec![
        Span::raw("state "),
        Span::styled(real.state.as_str(), palette.state(&real.state)),
        Span::raw(format!(" (wanted {})", real.wanted)),
    ];
    // A state that was set has a time of its own, and the checks' result is apart from it.
    let set = is_set(real);
    let since = |time: &Option<String>| {
        time.as_ref().map(|since| format!(" since {since}")).unwrap_or_default()
    };
    state.push(Span::raw(since(if set { &real.wanted_since } else { &real.since })));
    if real.last_resort {
        state.push(Span::raw(", last resort"));
    }
    let mut lines = vec![
        Line::styled(format!("{} of service {service}", real.address), Modifier::BOLD),
        Line::from(state),
    ];
    match &real.why {
        Some(why) if set => lines.push(Line::from(format!("checks {why}{}", since(&real.since)))),
        Some(why) => lines.push(Line::from(format!("why   {why}"))),
        None => {}
    }
    let mut weight = format!("weight {}", real.weight);
    if let Some(effective) = real.effective_weight {
        weight += &format!(", effective {}", f64::from(effective));
    }
    if let Some(reported) = real.reported {
        weight += &format!("; {reported} connections by its own report");
    }
    if real.full {
        weight += "; takes no more: upper threshold";
    }
    lines.push(Line::from(weight));
    lines.push(Line::from(format!(
        "connections: {} active ({} half open), {} inactive, {} ever",
        real.active, real.half_open, real.inactive, real.connections
    )));
    lines.push(Line::from(format!("{} packets, {} bytes", real.packets, real.bytes)));
    let mut errors = format!(
        "tunnel errors: {} protocol unreachable, {} others",
        real.protocol_unreachable, real.unreachable
    );
    if let Some(mtu) = real.path_mtu {
        errors += &format!("; path MTU {mtu}");
    }
    let style = if real.protocol_unreachable > 0 { palette.bad() } else { palette.faint() };
    lines.push(Line::styled(errors, style));
    lines
}

/// Its checks with their last results, then its events.
fn happenings<'a>(view: &'a View, address: &str, palette: Palette) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    for check in view.sample.checks.checks.iter().filter(|check| check.address == address) {
        lines.push(check_line(check, palette));
        lines.extend(check.results.iter().take(3).map(|result| {
            let sign = if result.passed { "passed" } else { "failed" };
            Line::from(format!("  {} {sign}: {}", result.time, result.detail))
        }));
    }
    let of_it = |event: &&crate::control::EventText| {
        event.change.address.is_some_and(|of| of.to_string() == address)
    };
    lines.extend(
        view.events.iter().filter(of_it).map(|event| Line::from(format!("{} {event}", event.time))),
    );
    lines
}

fn check_line<'a>(check: &'a ListedCheck, palette: Palette) -> Line<'a> {
    Line::from(vec![
        Span::raw("check "),
        Span::raw(check.check.as_str()),
        Span::raw(" to "),
        Span::raw(check.destination.as_str()),
        Span::raw(": "),
        Span::styled(check.state.as_str(), palette.state(&check.state)),
    ])
}
