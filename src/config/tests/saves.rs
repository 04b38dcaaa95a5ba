//! A configuration with the changes that verbs have made.

use crate::config::{RunningReal, RunningService, SaveError, saved};
use crate::model::AdminState;

const FILE: &str = r#"# The whole site.
[director]
uplinks = ["eth0"]  # the public one

[[service]]
name = "web"
listen = ["192.0.2.10:80/tcp"]

[[service.real]]
address = "10.0.0.11"
weight = 2  # the old machine

# New in March.
[[service.real]]
address = "10.0.0.12"
state = "disabled"

[[service]]
name = "dns"
listen = ["192.0.2.10:53/udp"]
"#;

fn running(name: &str, reals: &[(&str, u32, AdminState)]) -> RunningService {
    let real = |&(address, weight, wanted): &(&str, u32, AdminState)| {
        let address = address.parse().unwrap();
        RunningReal { address, weight, wanted }
    };
    RunningService { name: name.to_owned(), reals: reals.iter().map(real).collect() }
}

/// The running services of a configuration.
fn of(text: &str) -> Vec<RunningService> {
    let service = |spec: &crate::model::ServiceSpec| {
        let reals: Vec<_> = spec
            .reals
            .iter()
            .filter(|real| !real.last_resort)
            .map(|real| RunningReal {
                address: real.address,
                weight: real.values.weight,
                wanted: real.state,
            })
            .collect();
        RunningService { name: spec.name.clone(), reals }
    };
    crate::config::director(text).unwrap().specs().map(service).collect()
}

#[test]
fn unchanged_text_stays_byte_for_byte() {
    assert_eq!(saved(FILE, &of(FILE)).unwrap(), FILE);
    let all = include_str!("../../../config.example");
    assert_eq!(saved(all, &of(all)).unwrap(), all);
}

#[test]
fn changes_of_verbs_are_written_and_comments_stay() {
    let now = [
        running(
            "web",
            &[
                ("10.0.0.11", 5, AdminState::Draining { deadline: None }),
                ("10.0.0.12", 1, AdminState::Up),
                ("2001:db8::13", 3, AdminState::Up),
            ],
        ),
        running("dns", &[("10.0.0.11", 1, AdminState::Disabled)]),
    ];
    let text = saved(FILE, &now).unwrap();
    assert_eq!(of(&text), now);
    for kept in [
        "# The whole site.",
        "# the public one",
        "weight = 5  # the old machine",
        "# New in March.",
    ] {
        assert!(text.contains(kept), "{kept}: {text}");
    }
    // And back again.
    assert_eq!(of(&saved(&text, &of(FILE)).unwrap()), of(FILE));
}

#[test]
fn a_removed_real_server_is_removed_from_the_file() {
    let now = [running("web", &[("10.0.0.12", 1, AdminState::Disabled)]), running("dns", &[])];
    let text = saved(FILE, &now).unwrap();
    assert_eq!(of(&text), now);
    assert!(!text.contains("10.0.0.11"), "{text}");
    let none = [running("web", &[]), running("dns", &[])];
    assert_eq!(of(&saved(FILE, &none).unwrap()), none);
}

#[test]
fn a_file_that_cannot_be_the_running_one_is_refused() {
    let now = of(FILE);
    assert_eq!(saved("", &now), Err(SaveError::NoService));
    assert_eq!(saved("[[service]]\nname = \"other\"\n", &now), Err(SaveError::NoService));
    assert!(matches!(saved("[[service", &now), Err(SaveError::Syntax(_))));
    assert_eq!(saved("service = [{ name = \"web\" }]", &now), Err(SaveError::Inline("service")));
    let inline = "[[service]]\nname = \"web\"\nreal = [{ address = \"10.0.0.11\" }]\n";
    assert_eq!(saved(inline, &now), Err(SaveError::Inline("service.real")));
}
