//! The states that operators have set, over a restart.

use std::time::Duration;

use crate::balancer::{Balancer, Change, Limits};
use crate::config::{
    Director, OperatorState, director, operator_states_text, parse_operator_states,
};
use crate::model::{AdminState, Millis, Seed};

const FILE: &str = "
[director]
[[service]]
name = \"web\"
listen = [\"192.0.2.10:80/tcp\"]
real = [{ address = \"10.0.0.11\" }, { address = \"10.0.0.12\" }, \
        { address = \"10.0.0.13\", state = \"disabled\" }, { address = \"10.0.0.14\" }]
[[service]]
name = \"other\"
listen = [\"192.0.2.10:81/tcp\"]
real = [{ address = \"10.0.0.11\" }]
";
/// Of the clock, in seconds.
const THEN: u64 = 1_764_400_000;

/// The states of all real servers.
fn states(config: &Director) -> Vec<AdminState> {
    config.specs().flat_map(|spec| &spec.reals).map(|real| real.state).collect()
}

fn draining(seconds: u64) -> AdminState {
    AdminState::Draining { deadline: Some(Duration::from_secs(seconds)) }
}

/// What is kept after an operator has set states of the service web.
fn kept(set: &[(u8, AdminState)]) -> Vec<OperatorState> {
    let config = director(FILE).unwrap();
    let limits = Limits { connections: 10, refusals_per_second: 1 };
    let mut balancer = Balancer::new(limits, Seed(1, 2));
    let services = config.specs().cloned().map(Change::AddService);
    let set = set.iter().map(|&(host, state)| Change::SetState {
        service: "web".to_owned(),
        address: [10, 0, 0, host].into(),
        state,
    });
    let changes: Vec<Change> = services.chain(set).collect();
    balancer.apply_all(Millis(0), &changes).unwrap();
    let kept = config.operator_states(&balancer.snapshot(), THEN);
    assert_eq!(parse_operator_states(&operator_states_text(&kept)), Some(kept.clone()));
    kept
}

#[test]
fn states_of_operators_outlast_a_restart_with_what_is_left_of_their_deadlines() {
    let disabled = AdminState::Disabled;
    let set = [(11, disabled), (12, draining(600)), (13, AdminState::Up)];
    let kept = kept(&set);
    assert_eq!(kept.len(), 3, "{kept:?}");
    let (begun, over) = director(FILE).unwrap().with_operator_states(&kept, THEN + 100);
    assert_eq!(over, []);
    let expected = [disabled, draining(500), AdminState::Up, AdminState::Up, AdminState::Up];
    assert_eq!(states(&begun), expected);
    // A deadline that has passed ends the connections at once.
    let (begun, _) = director(FILE).unwrap().with_operator_states(&kept, THEN + 1_000);
    assert_eq!(states(&begun)[1], draining(1));
}

#[test]
fn nothing_is_kept_of_states_that_the_file_has() {
    assert_eq!(kept(&[]), []);
    assert_eq!(kept(&[(13, AdminState::Disabled), (14, AdminState::Up)]), []);
}

#[test]
fn another_state_in_the_file_takes_precedence_and_so_does_a_removal() {
    let kept = kept(&[(11, AdminState::Disabled), (12, draining(600)), (13, AdminState::Up)]);
    let file = FILE
        .replace("\"10.0.0.11\" }, {", "\"10.0.0.11\", state = \"draining\" }, {")
        .replace("{ address = \"10.0.0.12\" }, ", "");
    let (begun, over) = director(&file).unwrap().with_operator_states(&kept, THEN);
    let over: Vec<String> = over.iter().map(|set| set.address.to_string()).collect();
    assert_eq!(over, ["10.0.0.11", "10.0.0.12"]);
    let plain = AdminState::Draining { deadline: None };
    assert_eq!(states(&begun), [plain, AdminState::Up, AdminState::Up, AdminState::Up]);
}

#[test]
fn a_damaged_text_is_none() {
    let title = "vstun states 1\n";
    assert_eq!(parse_operator_states(title), Some(Vec::new()));
    let line = "web 10.0.0.11 up disabled -\n";
    assert_eq!(parse_operator_states(&format!("{title}{line}")).map(|all| all.len()), Some(1));
    for bad in [
        "",
        line,
        "vstun states 2\n",
        &format!("{title}{}", line.replace("disabled", "off")),
        &format!("{title}{}", line.replace(" -", "")),
        &format!("{title}{}", line.replace(" -", " soon")),
        &format!("{title}{}", line.replace(" -", " - -")),
        &format!("{title}{}", line.replace("10.0.0.11", "real1")),
        &format!("{title}\n{line}"),
    ] {
        assert_eq!(parse_operator_states(bad), None, "{bad:?}");
    }
}
