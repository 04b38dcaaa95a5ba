//! The keys, and what each does.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::view::{Pane, View};

/// What a key does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Action {
    Quit,
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Show(Pane),
    NextPane,
    Fold,
    FoldAll,
    Sort,
    Filter,
    Open,
    Back,
    Help,
}

/// The keys, their actions, and their names in the help. Keys without a name belong to the line
/// above.
const KEYS: &[(&[KeyCode], Action, &str, &str)] = {
    use Action::*;
    use KeyCode as K;
    &[
        (&[K::Char('q')], Quit, "q, Ctrl-C", "end"),
        (&[K::Up, K::Char('k')], Up, "↑ ↓, k j", "move"),
        (&[K::Down, K::Char('j')], Down, "", ""),
        (&[K::PageUp], PageUp, "PgUp PgDn", "a screen up, down"),
        (&[K::PageDown], PageDown, "", ""),
        (&[K::Home, K::Char('g')], First, "Home End, g G", "first, last"),
        (&[K::End, K::Char('G')], Last, "", ""),
        (&[K::Char('1')], Show(Pane::Services), "1 2 3 4, Tab", "services, checks, drops, events"),
        (&[K::Char('2')], Show(Pane::Checks), "", ""),
        (&[K::Char('3')], Show(Pane::Drops), "", ""),
        (&[K::Char('4')], Show(Pane::Events), "", ""),
        (&[K::Tab], NextPane, "", ""),
        (&[K::Char(' ')], Fold, "Space", "fold or unfold the service"),
        (&[K::Char('f')], FoldAll, "f", "fold or unfold all services"),
        (&[K::Char('s')], Sort, "s", "sort by the next column"),
        (&[K::Char('/')], Filter, "/", "show only rows with a text; Enter keeps it, Esc clears it"),
        (&[K::Enter, K::Right], Open, "Enter", "everything about the real server"),
        (&[K::Esc, K::Left, K::Backspace], Back, "Esc", "back; clears the filter"),
        (&[K::Char('?'), K::Char('h')], Help, "?", "this list"),
    ]
};

/// The lines of the help: keys, and what they do.
pub(super) fn help() -> impl Iterator<Item = (&'static str, &'static str)> {
    KEYS.iter().map(|&(_, _, name, what)| (name, what)).filter(|(name, _)| !name.is_empty())
}

/// Carries out a key's action. Returns true if the program ends.
pub(super) fn press(view: &mut View, key: KeyEvent) -> bool {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(key.code, KeyCode::Char('c'));
    }
    if view.typing {
        type_filter(view, key.code);
        return false;
    }
    let found = KEYS.iter().find(|(codes, ..)| codes.contains(&key.code));
    let Some(&(_, action, ..)) = found else { return false };
    if action == Action::Quit {
        return true;
    }
    // Any key leaves the help.
    if view.help && action != Action::Help {
        view.help = false;
        return false;
    }
    act(view, action);
    false
}

fn act(view: &mut View, action: Action) {
    let screen = isize::try_from(view.height.max(1)).unwrap_or(isize::MAX);
    match action {
        Action::Quit => {}
        Action::Up => view.step(-1),
        Action::Down => view.step(1),
        Action::PageUp => view.step(-screen),
        Action::PageDown => view.step(screen),
        Action::First => view.step(isize::MIN),
        Action::Last => view.step(isize::MAX),
        Action::Show(pane) => view.show(pane),
        Action::NextPane => view.show(view.pane.next()),
        Action::Fold => view.fold(),
        Action::FoldAll => view.fold_all(),
        Action::Sort => view.order = view.order.next(),
        Action::Filter => view.typing = true,
        Action::Open => view.open(),
        Action::Back => view.back(),
        Action::Help => view.help = !view.help,
    }
}

fn type_filter(view: &mut View, code: KeyCode) {
    match code {
        KeyCode::Char(letter) => view.filter.push(letter),
        KeyCode::Backspace => _ = view.filter.pop(),
        KeyCode::Enter => view.typing = false,
        KeyCode::Esc => {
            view.typing = false;
            view.filter.clear();
        }
        _ => {}
    }
}
