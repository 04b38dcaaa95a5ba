//! The screen: a heading, the pane, a line of keys.

use std::ops::Range;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Table, Wrap};

use super::rows::{self, Row, RowOrder};
use super::view::{Pane, View};
use super::{detail, keys};
use crate::control::{Layout as Numbers, ListedReal, Rate, counted, total};
use crate::model::duration;

/// Colours, unless the environment disables them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Palette {
    pub(super) colours: bool,
}

impl Palette {
    /// No colours if `NO_COLOR` is set and not empty (no-color.org).
    pub(super) fn of_environment() -> Self {
        Self { colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) }
    }

    fn paint(self, colour: Color, otherwise: Modifier) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new().add_modifier(otherwise) }
    }

    pub(super) fn bad(self) -> Style {
        self.paint(Color::Red, Modifier::BOLD)
    }

    fn doubtful(self) -> Style {
        self.paint(Color::Yellow, Modifier::BOLD)
    }

    pub(super) fn faint(self) -> Style {
        self.paint(Color::DarkGray, Modifier::DIM)
    }

    /// The style of a real server's or a check's state.
    pub(super) fn state(self, state: &str) -> Style {
        match state {
            "up" => self.paint(Color::Green, Modifier::empty()),
            "down" => self.bad(),
            _ => self.doubtful(),
        }
    }
}

/// A number in few digits.
pub(super) fn number(number: u64) -> String {
    Numbers::UNBOUNDED.number(number)
}

pub(super) fn draw(frame: &mut Frame<'_>, view: &mut View, palette: Palette) {
    let parts = [Constraint::Length(2), Constraint::Min(1), Constraint::Length(1)];
    let [heading, body, foot] = Layout::vertical(parts).areas(frame.area());
    let lines = heading_lines(view, heading.width, palette);
    frame.render_widget(Paragraph::new(lines), heading);
    if view.help {
        frame.render_widget(Paragraph::new(help_lines()), body);
    } else if let Some(key) = view.detail.clone() {
        detail::draw(frame, body, view, &key, palette);
    } else {
        draw_pane(frame, body, view, palette);
    }
    frame.render_widget(Paragraph::new(foot_line(view, palette)), foot);
}

/// The narrowest screen with all columns, and with whole words in the heading.
const WIDE: u16 = 100;

/// The words of the heading.
const WORDS: [&str; 4] = ["connections", "packets", "drops", "bytes"];

/// The director's totals, then its worst problem.
fn heading_lines(view: &View, width: u16, palette: Palette) -> Vec<Line<'static>> {
    let list = &view.sample.list;
    let mut sum = Rate::default();
    for rate in list.services.iter().filter_map(|service| service.rate) {
        sum.connections = sum.connections.saturating_add(rate.connections);
        sum.packets = sum.packets.saturating_add(rate.packets);
        sum.bytes = sum.bytes.saturating_add(rate.bytes);
    }
    let drops = total(view.drop_rates.values().copied());
    let up = duration::Text(std::time::Duration::from_secs(list.uptime_milliseconds / 1_000));
    let [connections, packet, drop, byte] =
        if width < WIDE { ["conns", "pkt", "drop", "B"] } else { WORDS };
    // The time is last: a narrow screen may cut it off.
    let first = format!(
        "{connections} {}/{}  {} new/s  {} {packet}/s  {} {drop}/s  {} {byte}/s  up {up}",
        number(list.connections.current),
        number(list.connections.capacity),
        number(sum.connections),
        number(sum.packets),
        number(drops),
        number(sum.bytes),
    );
    vec![Line::styled(first, Style::new().add_modifier(Modifier::BOLD)), problem(view, palette)]
}

fn problem(view: &View, palette: Palette) -> Line<'static> {
    if let Some(fault) = &view.fault {
        let fault = fault.lines().map(str::trim).collect::<Vec<_>>().join(": ");
        return Line::styled(format!("no news: {fault}"), palette.bad());
    }
    let list = &view.sample.list;
    let wrong = list.host.wrong.len() as u64;
    let count = |is: fn(&crate::control::ListedService) -> bool| {
        list.services.iter().filter(|service| is(service)).count() as u64
    };
    let panics = count(|service| service.panic);
    let lost = count(|service| service.quorum == Some(false));
    let outages = list.services.iter().filter_map(|service| service.outage.as_deref());
    let (outage, outages) = (outages.clone().next(), outages.count() as u64);
    let floods = count(|service| service.flood.active);
    let mut problems = Vec::new();
    if wrong > 0 {
        let first = list.host.wrong.first().map(|wrong| wrong.what.clone()).unwrap_or_default();
        problems.push(format!("{} at the host: {first}", counted(wrong, "fault")));
    }
    let outage = outage.map_or_else(String::new, |why| format!(" ({why})"));
    for (number, what, why) in [
        (panics, "panic", ""),
        (outages, "no real server", outage.as_str()),
        (lost, "quorum lost", ""),
        (floods, "flood", ""),
    ] {
        if number > 0 {
            problems.push(format!("{what} in {}{why}", counted(number, "service")));
        }
    }
    let gap = if problems.is_empty() { "" } else { "; " };
    let withdrawn = withdrawn(view).map(|text| Span::raw(format!("{gap}{text}")));
    let problems = Span::styled(problems.join("; "), palette.bad());
    Line::from_iter([problems].into_iter().chain(withdrawn))
}

/// The virtual IPs that this director does not announce: no fault, since a standby announces none.
fn withdrawn(view: &View) -> Option<String> {
    const MOST: usize = 2;
    let vips = view.sample.list.vips.iter().filter(|vip| !vip.announced);
    let names: Vec<_> = vips.clone().take(MOST).map(|vip| vip.address.to_string()).collect();
    let more = vips.count().checked_sub(MOST + 1).map(|more| format!(" and {} more", more + 1));
    let names = Some(names.join(", ")).filter(|names| !names.is_empty())?;
    Some(format!("not announced: {names}{}", more.unwrap_or_default()))
}

fn foot_line(view: &View, palette: Palette) -> Line<'static> {
    if view.typing {
        return Line::from(format!("/{}_  Enter keeps, Esc clears", view.filter));
    }
    let mut spans = Vec::new();
    for (at, (pane, name)) in Pane::ALL.iter().enumerate() {
        let shown = *pane == view.pane && view.detail.is_none();
        let style = if shown { Modifier::REVERSED } else { Modifier::empty() };
        let label = format!("{} {name}", at + 1);
        spans.extend([Span::styled(label, Style::new().add_modifier(style)), Span::raw("  ")]);
    }
    let mut rest = "? keys  q end  / filter  s sort  Enter open".to_owned();
    if !view.filter.is_empty() {
        rest = format!("only \"{}\" (Esc: all)  {rest}", view.filter);
    }
    spans.push(Span::styled(rest, palette.faint()));
    Line::from(spans)
}

fn help_lines() -> Vec<Line<'static>> {
    keys::help().map(|(name, what)| Line::from(format!("  {name:<15} {what}"))).collect()
}

fn draw_pane(frame: &mut Frame<'_>, whole: Rect, view: &mut View, palette: Palette) {
    let area = if view.pane == Pane::Drops { draw_remedy(frame, whole, view) } else { whole };
    view.height = usize::from(area.height).saturating_sub(1);
    let at = view.at();
    let last_first = at.saturating_sub(view.height.saturating_sub(1));
    // A window that has grown shows no empty lines below the last row.
    let full = view.count().saturating_sub(view.height);
    view.offset = view.offset.min(full).clamp(last_first, at);
    let window = view.offset..view.offset + view.height;
    let table = match view.pane {
        Pane::Services => services(view, window, area.width, palette),
        Pane::Checks => checks(view, window, palette),
        Pane::Drops => drops(view, window, palette),
        Pane::Events => return draw_events(frame, area, view, palette),
    };
    frame.render_widget(table, area);
    let y = area.y.saturating_add(1).saturating_add(u16::try_from(at - view.offset).unwrap_or(0));
    let row = Rect { y, height: 1, ..area }.intersection(area);
    frame.buffer_mut().set_style(row, Style::new().add_modifier(Modifier::REVERSED));
}

/// Writes what the reason with the cursor means and what to do about it below the drops, unless
/// the screen is too low; returns the rest of the area.
fn draw_remedy(frame: &mut Frame<'_>, area: Rect, view: &View) -> Rect {
    const LINES: u16 = 4;
    if area.height < 3 * LINES {
        return area;
    }
    let parts = [Constraint::Min(1), Constraint::Length(LINES)];
    let [above, below] = Layout::vertical(parts).areas(area);
    if let Some((name, ..)) = view.drops().nth(view.at()) {
        let text = format!("{name}: {}", view.sample.drops.about(name));
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }), below);
    }
    above
}

fn table<'a>(
    rows: Vec<TableRow<'a>>,
    widths: &[Constraint],
    header: &[&'a str],
    sorted: &str,
) -> Table<'a> {
    let header = header.iter().map(|&name| {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let style = if name.trim_start() == sorted && !sorted.is_empty() {
            bold.add_modifier(Modifier::UNDERLINED)
        } else {
            bold
        };
        Cell::new(Line::styled(name, style))
    });
    Table::new(rows, widths.to_vec()).header(TableRow::new(header)).column_spacing(1)
}

fn services(view: &View, window: Range<usize>, width: u16, palette: Palette) -> Table<'static> {
    let rows = view.rows();
    let rows = rows.into_iter().skip(window.start).take(window.len()).map(|row| match row {
        Row::Service(service, folded) => {
            let sign = if folded { "▸" } else { "▾" };
            let up = service.reals.iter().filter(|real| real.state == "up").count();
            let name = format!("{sign} {} {}", service.name, service.listen.join(" "));
            let state = format!("{up} of {} up", service.reals.len());
            let style = Style::new().add_modifier(Modifier::BOLD);
            let inactive = total(service.reals.iter().map(|real| real.inactive));
            let connections = [rows::active(service), inactive];
            let why = service.outage.as_deref().unwrap_or_default();
            let cells = cells(name, Line::from(state), "", connections, service.rate, why);
            fitting(cells, width).style(style)
        }
        Row::Real(_, real) => fitting(real_cells(real, palette), width),
    });
    let columns = COLUMNS.iter().filter(|(.., from)| width >= *from);
    let widths: Vec<_> = columns.clone().map(|&(_, width, _)| width).collect();
    let header: Vec<_> = columns.map(|&(name, ..)| name).collect();
    let sorted = RowOrder::ALL.iter().find(|(order, _)| *order == view.order).map_or("", |of| of.1);
    table(rows.collect(), &widths, &header, sorted)
}

/// The columns of services and real servers: name, width, and the narrowest screen that has it.
const COLUMNS: [(&str, Constraint, u16); 9] = [
    ("SERVICE, REAL SERVER", Constraint::Fill(1), 0),
    ("STATE", Constraint::Length(12), 0),
    ("WEIGHT", Constraint::Length(6), WIDE),
    ("  ACTIVE", Constraint::Length(8), 0),
    ("INACTIVE", Constraint::Length(8), WIDE),
    ("    CPS", Constraint::Length(7), 0),
    ("   INPPS", Constraint::Length(8), 0),
    ("   INBPS", Constraint::Length(8), 0),
    ("WHY", Constraint::Fill(1), WIDE),
];

/// The cells whose columns a screen of this width has.
fn fitting(cells: [Cell<'static>; 9], width: u16) -> TableRow<'static> {
    let shown = cells.into_iter().zip(COLUMNS).filter(|(_, (.., from))| width >= *from);
    TableRow::new(shown.map(|(cell, _)| cell))
}

/// Whether the file or a verb has set its state.
pub(super) fn is_set(real: &ListedReal) -> bool {
    !matches!(real.wanted.as_str(), "" | "up")
}

fn real_cells(real: &ListedReal, palette: Palette) -> [Cell<'static>; 9] {
    let state = match real.deadline_seconds {
        Some(left) => format!("{} {left}s", real.state),
        None if real.full => format!("{}, full", real.state),
        None if real.removed => "removed".to_owned(),
        None if real.last_resort && real.state == "up" => "last resort".to_owned(),
        None => real.state.clone(),
    };
    let weight = real
        .effective_weight
        .map_or_else(|| real.weight.to_string(), |effective| f64::from(effective).to_string());
    let state = Line::styled(state, palette.state(&real.state));
    // The checks' result does not explain a state that was set.
    let set =
        is_set(real).then(|| real.wanted_since.as_deref().map(|since| format!("since {since}")));
    let checks = || real.why.clone().filter(|_| real.state != "up");
    let why = set.unwrap_or_else(checks).unwrap_or_default();
    let name = format!("    {}", real.address);
    cells(name, state, &weight, [real.active, real.inactive], real.rate, &why)
}

fn cells(
    name: String,
    state: Line<'static>,
    weight: &str,
    connections: [u64; 2],
    rate: Option<Rate>,
    why: &str,
) -> [Cell<'static>; 9] {
    let right = |text: String| Cell::new(Line::from(text).right_aligned());
    let rate = |of: fn(Rate) -> u64| right(rate.map_or_else(|| "-".to_owned(), |r| number(of(r))));
    [
        Cell::new(name),
        Cell::new(state),
        right(weight.to_owned()),
        right(number(connections[0])),
        right(number(connections[1])),
        rate(|rate| rate.connections),
        rate(|rate| rate.packets),
        rate(|rate| rate.bytes),
        Cell::new(why.to_owned()),
    ]
}

fn checks<'a>(view: &'a View, window: Range<usize>, palette: Palette) -> Table<'a> {
    let rows = view.checks().skip(window.start).take(window.len()).map(|check| {
        let last = check.results.first();
        let took = last.map_or(0, |last| last.microseconds);
        TableRow::new([
            Cell::new(check.address.as_str()),
            Cell::new(check.check.as_str()),
            Cell::new(Line::styled(check.state.as_str(), palette.state(&check.state))),
            Cell::new(Line::from(format!("{}s", check.since_seconds)).right_aligned()),
            Cell::new(
                Line::from(format!("{}.{}ms", took / 1_000, took % 1_000 / 100)).right_aligned(),
            ),
            Cell::new(last.map_or("not run yet", |last| last.detail.as_str())),
        ])
    });
    let widths = [
        Constraint::Fill(2),
        Constraint::Fill(2),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(9),
        Constraint::Fill(3),
    ];
    let header = ["REAL SERVER", "CHECK", "STATE", "   SINCE", "     TOOK", "LAST RESULT"];
    table(rows.collect(), &widths, &header, "")
}

fn drops<'a>(view: &'a View, window: Range<usize>, palette: Palette) -> Table<'a> {
    let rows = view.drops().skip(window.start).take(window.len()).map(|row| {
        let (name, count, rate, answered) = row;
        let meaning = view.sample.drops.meanings.get(name).map_or("", String::as_str);
        let style = if rate > 0 { palette.bad() } else { Style::new() };
        TableRow::new([
            Cell::new(name.to_owned()),
            Cell::new(Line::from(number(count)).right_aligned()),
            Cell::new(Line::styled(number(rate), style).right_aligned()),
            Cell::new(Line::from(number(answered)).right_aligned()),
            Cell::new(meaning),
        ])
    });
    let widths = [
        Constraint::Length(24),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Length(9),
        Constraint::Fill(1),
    ];
    let header = ["REASON", "  DROPPED", " PER SEC", " ANSWERED", "MEANING"];
    table(rows.collect(), &widths, &header, "")
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, view: &View, palette: Palette) {
    let mut lines = vec![Line::styled("EVENTS, newest first", Modifier::BOLD)];
    if view.missed > 0 {
        let text = format!("{} did not arrive", counted(view.missed, "event"));
        lines.push(Line::styled(text, palette.bad()));
    }
    if view.events.is_empty() {
        lines.push(Line::styled("none since this program's start", palette.faint()));
    }
    let events = view.events().skip(view.at()).take(view.height);
    lines.extend(events.map(|event| Line::from(format!("{} {event}", event.time))));
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), area);
}
