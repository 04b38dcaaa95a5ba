//! The screen, drawn on the library's test back end.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Cell;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;

use super::draw::{self, Palette};
use super::feed::{News, Sample};
use super::keys;
use super::view::{MAX_EVENTS, SAMPLES, View};
use crate::control::{self, Counts, Drops, EventText, ServiceList, VirtualIp};

/// Two services; `connections` of the first one's second real server.
fn list(uptime: u64, connections: u64) -> ServiceList {
    let real = |address: &str, state: &str, connections: u64| {
        format!(
            r#"{{"address":"{address}","weight":1,"state":"{state}","active":{connections},
            "inactive":0,"connections":{connections},"packets":{connections},"bytes":0
            {}}}"#,
            if state == "down" { r#","why":"http check failed: status 503""# } else { "" }
        )
    };
    let service = |name: &str, reals: &[String]| {
        format!(
            r#"{{"name":"{name}","listen":["192.0.2.10:80/tcp"],"scheduler":"rr",
            "reals":[{}]}}"#,
            reals.join(",")
        )
    };
    let web = [real("10.0.0.11", "down", 3), real("10.0.0.12", "up", connections)];
    let mail = [real("10.0.0.21", "up", 1)];
    let services = [service("web", &web), service("mail", &mail)].join(",");
    let text = format!(
        r#"{{"version":1,"connections":{{"current":7,"capacity":65536}},
        "uptime_milliseconds":{uptime},"services":[{services}],
        "drops":{{"not_ip":0,"ttl":{uptime}}}}}"#
    );
    control::decode(text.as_bytes()).unwrap()
}

fn sample(uptime: u64, connections: u64) -> News {
    let list = list(uptime, connections);
    let answered = Counts(vec![("no_real_server".to_owned(), 9), ("echo".to_owned(), 0)]);
    let drops = Drops { drops: list.drops.clone(), answered, ..Drops::default() };
    News::Sample(Box::new(Sample { list, drops, ..Sample::default() }))
}

/// Two seconds in, 40 new connections a second at 10.0.0.12.
fn view() -> View {
    let mut view = View::default();
    view.take(sample(1_000, 10));
    view.take(sample(2_000, 50));
    view
}

fn press(view: &mut View, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '\t' => KeyCode::Tab,
            '↓' => KeyCode::Down,
            '↑' => KeyCode::Up,
            letter => KeyCode::Char(letter),
        };
        assert!(!keys::press(view, KeyEvent::new(code, KeyModifiers::NONE)), "{key} ends");
    }
}

fn terminal(view: &mut View, width: u16, height: u16, colours: bool) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::draw(frame, view, Palette { colours })).unwrap();
    terminal
}

fn screen(view: &mut View) -> Vec<String> {
    let terminal = terminal(view, 130, 24, true);
    let buffer = terminal.backend().buffer();
    let lines = buffer.content.chunks(usize::from(buffer.area.width));
    lines.map(|line| line.iter().map(Cell::symbol).collect::<String>()).collect()
}

/// The first words of the rows of the pane.
fn names(view: &mut View) -> Vec<String> {
    let lines = screen(view).into_iter().skip(3);
    let named = lines.map(|line| line.trim().split("  ").next().unwrap_or_default().to_owned());
    named.take_while(|name| !name.is_empty() && name != "1 services").collect()
}

#[track_caller]
fn expect(view: &mut View, text: &str) {
    let screen = screen(view).join("\n");
    assert!(screen.contains(text), "no {text:?} in\n{screen}");
}

#[test]
fn services_and_real_servers_have_their_states_and_rates() {
    let mut view = view();
    let services = ["▾ web 192.0.2.10:80/tcp", "10.0.0.11", "10.0.0.12"];
    assert_eq!(names(&mut view)[..3], services);
    expect(&mut view, "connections 7/65536  40 new/s");
    expect(&mut view, "1 of 2 up");
    expect(&mut view, "http check failed: status 503");
    let row = screen(&mut view).into_iter().find(|line| line.contains("10.0.0.12")).unwrap();
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!(cells, ["10.0.0.12", "up", "1", "50", "0", "40", "40", "0"]);
}

#[test]
fn eighty_columns_hold_a_long_address_and_all_that_changes() {
    let mut view = view();
    let mut long = list(3_000, 90);
    long.services[0].reals[1].address = "2001:db8:100:200::1234:5678".to_owned();
    view.take(News::Sample(Box::new(Sample { list: long, ..Sample::default() })));
    let terminal = terminal(&mut view, 80, 24, true);
    let buffer = terminal.backend().buffer();
    let lines = buffer.content.chunks(80).map(|line| line.iter().map(Cell::symbol));
    let row = lines.map(Iterator::collect::<String>).find(|line| line.contains("2001:")).unwrap();
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!(cells, ["2001:db8:100:200::1234:5678", "up", "90", "90", "90", "0"]);
}

#[test]
fn services_fold_one_by_one_and_all_at_once() {
    let mut view = view();
    press(&mut view, "↓ ");
    let folded = ["▸ web 192.0.2.10:80/tcp", "▾ mail 192.0.2.10:80/tcp", "10.0.0.21"];
    assert_eq!(names(&mut view), folded);
    press(&mut view, "f");
    assert_eq!(names(&mut view).len(), 2);
    press(&mut view, "f");
    assert_eq!(names(&mut view).len(), 5);
    press(&mut view, "f\n");
    assert_eq!(names(&mut view).len(), 4, "Enter unfolds the service with the cursor");
}

#[test]
fn rows_are_sorted_by_the_column_that_s_chooses() {
    let mut view = view();
    press(&mut view, "s");
    assert_eq!(names(&mut view)[1], "10.0.0.11", "what is not up comes first");
    press(&mut view, "s");
    assert_eq!(names(&mut view)[1], "10.0.0.12", "the most active one comes first");
    press(&mut view, "ssss");
    assert_eq!(names(&mut view)[1], "10.0.0.11", "as configured");
}

#[test]
fn the_cursor_follows_its_row_and_keeps_its_position_when_the_row_goes() {
    let mut view = view();
    press(&mut view, "↓");
    press(&mut view, "ss");
    assert_eq!(view.rows()[view.at()].key().real.unwrap(), "10.0.0.11");
    assert_eq!(view.at(), 2);
    let mut less = list(3_000, 90);
    less.services[0].reals.remove(0);
    view.take(News::Sample(Box::new(Sample { list: less, ..Sample::default() })));
    assert!(view.at() < view.rows().len());
    for _ in 0..10 {
        press(&mut view, "↓");
    }
    assert_eq!(view.at(), view.rows().len() - 1);
    press(&mut view, "g");
    assert_eq!(view.at(), 0);
}

#[test]
fn a_filter_names_services_or_real_servers_and_escape_ends_it() {
    let mut view = view();
    press(&mut view, "/0.21");
    assert_eq!(names(&mut view), ["▾ mail 192.0.2.10:80/tcp", "10.0.0.21"]);
    press(&mut view, "\n");
    expect(&mut view, "only \"0.21\"");
    press(&mut view, "\x1b/WEB\n");
    assert_eq!(names(&mut view).len(), 3);
    press(&mut view, "/q\x1b");
    assert_eq!(names(&mut view).len(), 5, "letters of a filter are not commands");
}

#[test]
fn a_state_that_was_set_has_its_own_time_and_a_withdrawn_address_is_no_fault() {
    let mut view = view();
    let mut next = list(3_000, 90);
    let real = &mut next.services[0].reals[0];
    (real.state, real.wanted) = ("disabled".to_owned(), "disabled".to_owned());
    real.since = Some("2026-11-29T01:00:00.000Z".to_owned());
    real.wanted_since = Some("2026-11-29T02:00:00.000Z".to_owned());
    real.why = Some("all checks pass".to_owned());
    next.services[0].reals[1].last_resort = true;
    next.services[1].outage = Some("1 of weight 0".to_owned());
    let vip = |last| VirtualIp { address: [192, 0, 2, last].into(), announced: last == 10 };
    next.vips = [10, 11, 12, 13, 14].map(vip).into();
    view.take(News::Sample(Box::new(Sample { list: next, ..Sample::default() })));
    let row = screen(&mut view).into_iter().find(|line| line.contains("10.0.0.11")).unwrap();
    assert!(row.contains("since 2026-11-29T02") && !row.contains("checks pass"), "{row}");
    expect(&mut view, "last resort");
    let problems = screen(&mut view).swap_remove(1);
    assert_eq!(
        problems.trim(),
        "no real server in 1 service (1 of weight 0); not announced: 192.0.2.11, 192.0.2.12 and 2 \
         more"
    );
    let terminal = terminal(&mut view, 130, 24, true);
    let colour = |at: usize| terminal.backend().buffer().content[130 + at].fg;
    assert_eq!(colour(0), Color::Red);
    assert_ne!(colour(problems.find("not announced").unwrap()), Color::Red);
    press(&mut view, "↓\n");
    expect(&mut view, "(wanted disabled) since 2026-11-29T02:00:00.000Z");
    expect(&mut view, "checks all checks pass since 2026-11-29T01:00:00.000Z");
}

#[test]
fn enter_opens_a_real_server_until_escape_or_until_it_is_gone() {
    let mut view = view();
    press(&mut view, "↓\n");
    expect(&mut view, "10.0.0.11 of service web");
    expect(&mut view, "why   http check failed: status 503");
    let mut less = list(3_000, 90);
    less.services[0].reals.remove(0);
    view.take(News::Sample(Box::new(Sample { list: less, ..Sample::default() })));
    expect(&mut view, "10.0.0.11 is not there any more");
    press(&mut view, "\x1b");
    expect(&mut view, "SERVICE, REAL SERVER");
}

#[test]
fn drops_show_what_grows_first_and_events_the_newest() {
    let mut view = view();
    press(&mut view, "3");
    assert_eq!(names(&mut view)[..2], ["ttl", "no_real_server"]);
    assert!(!screen(&mut view).join("").contains("not_ip"), "it never occurred");
    press(&mut view, "\t");
    expect(&mut view, "none since");
    for time in ["2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z"] {
        view.take(News::Event(Box::new(EventText {
            time: time.to_owned(),
            ..EventText::default()
        })));
    }
    let lines = screen(&mut view).join("\n");
    assert!(lines.find("00:02Z").unwrap() < lines.find("00:01Z").unwrap());
    view.take(News::Missed(2));
    expect(&mut view, "2 events did not arrive");
}

#[test]
fn a_drop_is_explained_with_what_to_do() {
    let text = |of: &str| [("ttl".to_owned(), of.to_owned())].into();
    let long = format!("{}the end", "many words ".repeat(20));
    let drops = Counts(vec![("ttl".to_owned(), 1)]);
    let (meanings, remedies) = (text("Too old."), text(&long));
    let drops = Drops { drops, meanings, remedies, ..Drops::default() };
    let mut view = view();
    view.take(News::Sample(Box::new(Sample { list: list(3_000, 50), drops, ..Sample::default() })));
    press(&mut view, "3");
    expect(&mut view, "ttl: Too old. To do: many words");
    expect(&mut view, "the end.");
}

#[test]
fn missing_samples_are_reported_beside_the_last_figures() {
    let mut view = view();
    view.take(News::Silent("no daemon answers\n  /run/x: is not there".to_owned()));
    expect(&mut view, "no news: no daemon answers: /run/x: is not there");
    expect(&mut view, "10.0.0.12");
    view.take(sample(3_000, 50));
    assert!(!screen(&mut view).join("\n").contains("no news"));
}

#[test]
fn a_restarted_daemon_has_no_rates_from_before() {
    let mut view = view();
    view.take(sample(500, 2));
    expect(&mut view, "10.0.0.12");
    assert!(view.drop_rates.is_empty());
}

#[test]
fn what_is_kept_is_bounded() {
    let mut view = view();
    for event in 0..=MAX_EVENTS {
        view.take(News::Event(Box::new(EventText {
            time: event.to_string(),
            ..EventText::default()
        })));
        assert!(view.events.len() <= MAX_EVENTS);
    }
    assert_eq!(view.events.back().unwrap().time, "1");
    for second in 3..=SAMPLES as u64 + 3 {
        view.take(sample(second * 1_000, 50));
    }
    let key = view.rows()[1].key();
    assert_eq!(view.history(&key).count(), SAMPLES);
}

#[test]
fn every_size_of_terminal_is_drawn_in_every_pane() {
    let mut view = view();
    for keys in ["1", "2", "3", "4", "?", "1↓\n"] {
        press(&mut view, keys);
        for (width, height) in [(1, 1), (3, 2), (20, 4), (80, 24), (300, 100)] {
            terminal(&mut view, width, height, true);
        }
    }
}

/// A list with numbers of any size: what listens on the socket need not be a director.
fn sample_of(uptime: u64, number: u64) -> News {
    let mut list = list(uptime, number);
    list.connections.current = number;
    list.connections.capacity = number;
    list.drops = Counts(vec![("not_ip".to_owned(), number), ("ttl".to_owned(), number)]);
    for real in list.services.iter_mut().flat_map(|service| &mut service.reals) {
        (real.active, real.inactive, real.half_open) = (number, number, number);
        (real.connections, real.packets, real.bytes) = (number, number, number);
    }
    let answered = Counts(vec![("ttl".to_owned(), number), ("echo".to_owned(), number)]);
    let drops = Drops { drops: list.drops.clone(), answered, ..Drops::default() };
    News::Sample(Box::new(Sample { list, drops, ..Sample::default() }))
}

#[test]
fn the_largest_numbers_are_drawn_in_every_pane() {
    let mut view = View::default();
    view.take(sample_of(1_000, 0));
    view.take(sample_of(2_000, u64::MAX));
    view.take(News::Missed(u64::MAX));
    view.take(News::Missed(u64::MAX));
    for keys in ["1", "ssssss", "2", "3", "4", "1↓\n"] {
        press(&mut view, keys);
        expect(&mut view, "connections 18446P/18446P  18446P new/s  18446P packets/s");
    }
    expect(&mut view, "new/s       18446P");
}

#[test]
fn eighty_columns_hold_the_heading_with_numbers_of_all_their_digits() {
    const MOST_DIGITS: u64 = 9_999_999;
    let mut view = View::default();
    view.take(sample_of(1_000, 0));
    view.take(sample_of(2_000, MOST_DIGITS / 3));
    let terminal = terminal(&mut view, 80, 24, true);
    let heading: String =
        terminal.backend().buffer().content[..80].iter().map(Cell::symbol).collect();
    let expected =
        "conns 3333333/3333333  9999999 new/s  9999999 pkt/s  6666666 drop/s  9999999 B/s";
    assert_eq!(heading.trim(), expected);
}

#[test]
fn a_thousand_services_scroll_with_the_cursor() {
    let mut many = list(1_000, 1);
    let web = many.services[0].clone();
    many.services = (0..1_000)
        .map(|number| control::ListedService { name: format!("s{number}"), ..web.clone() })
        .collect();
    let mut view = View::default();
    view.take(News::Sample(Box::new(Sample { list: many, ..Sample::default() })));
    press(&mut view, "f");
    for _ in 0..30 {
        press(&mut view, "↓");
        screen(&mut view);
    }
    assert_eq!(names(&mut view).last().unwrap(), "▸ s30 192.0.2.10:80/tcp");
    press(&mut view, "G");
    assert_eq!(names(&mut view).last().unwrap(), "▸ s999 192.0.2.10:80/tcp");
}

#[test]
fn a_window_that_grows_again_shows_the_first_rows_too() {
    let mut view = view();
    press(&mut view, "↓");
    terminal(&mut view, 20, 4, true);
    assert_eq!(names(&mut view).len(), 5);
    press(&mut view, "G");
    terminal(&mut view, 20, 4, true);
    assert_eq!(names(&mut view).len(), 5);
}

#[test]
fn without_colours_there_are_none() {
    for (colours, coloured) in [(true, true), (false, false)] {
        let terminal = terminal(&mut view(), 80, 24, colours);
        let mut cells = terminal.backend().buffer().content.iter();
        assert_eq!(cells.any(|cell| cell.fg != Color::Reset), coloured);
    }
}

#[test]
fn names_with_control_characters_are_text() {
    let mut hostile = list(1_000, 1);
    hostile.services[0].name = "\x1b[2Jevil\t".to_owned();
    let mut view = View::default();
    view.take(News::Sample(Box::new(Sample { list: hostile, ..Sample::default() })));
    let screen = screen(&mut view).join("");
    assert!(screen.contains("evil") && !screen.contains('\x1b') && !screen.contains('\t'));
}

#[test]
fn ctrl_c_ends_while_a_filter_is_typed_too() {
    let mut view = view();
    press(&mut view, "/");
    assert!(keys::press(&mut view, KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
    press(&mut view, "\x1b");
    assert!(keys::press(&mut view, KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE)));
}
