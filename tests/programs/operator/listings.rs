//! `vstun`'s output: lists, rates, connections, events, explanations.

use super::*;

#[test]
fn json_is_the_daemons_unchanged_answer() {
    let answer = LIST.replace("\"services\"", "\"newer\":1,\"services\"") + "\n";
    let (output, request) = Daemon::start("json", vec![answer.clone()]).serve(&["list", "--json"]);
    assert_eq!(text(&output.stdout), answer);
    assert_eq!(request, "{\"version\":1,\"verb\":\"list\"}\n");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

#[test]
fn the_text_output_has_columns() {
    let (output, _) = Daemon::start("human", vec![format!("{LIST}\n")]).serve(&["list"]);
    assert!(text(&output.stdout).starts_with("1 of 2 connections\n"), "{output:?}");
    let texts = r#""meanings":{"a":"About a."},"remedies":{"a":"mend"}"#;
    let drops = format!(r#"{{"version":1,"drops":{{"a":1,"b":0}},{texts}}}"#);
    let (output, _) = Daemon::start("some", vec![format!("{drops}\n")]).serve(&["drops"]);
    assert_eq!(text(&output.stdout).lines().nth(1), Some("a             1  About a. To do: mend."));
    let (output, _) = Daemon::start("all", vec![format!("{drops}\n")]).serve(&["drops", "--all"]);
    assert_eq!(text(&output.stdout).lines().count(), 3);
}

/// What a daemon or a check's peer sends is text, not a command to the terminal.
#[test]
fn control_characters_of_a_daemon_do_not_reach_the_terminal() {
    let hostile = r"\u001b]0;pwned\u0007\u001b[2J\nweb \u009b1m";
    let list = LIST.replace("not_ip", hostile).replace(
        r#""services":[]"#,
        &format!(r#""services":[{{"name":"{hostile}","listen":[],"scheduler":"rr","reals":[]}}]"#),
    );
    let drops = format!(r#"{{"version":1,"drops":{{"{hostile}":1}},"meanings":{{}}}}"#);
    let refusal = format!(r#"{{"version":1,"error":"{hostile}"}}"#);
    let decision = [
        r#"{"version":1,"program":"1"}"#,
        "\n",
        r#"{"version":1,"milliseconds":1,"bytes":1,"#,
        &format!(r#""packets":1,"verdict":"drop","time":"{hostile}"}}"#),
    ]
    .concat();
    for (name, verb, answer) in [
        ("esclist", "list", list),
        ("escdrops", "drops", drops),
        ("escrefusal", "list", refusal),
        ("esctrace", "trace", decision),
    ] {
        let answer = answer.replace(r"\u009b", "\u{9b}") + "\n";
        for json in [&[][..], &["--json"]] {
            let args = [&[verb][..], json].concat();
            let (output, _) = Daemon::start(name, vec![answer.clone()]).serve(&args);
            let shown = [output.stdout.as_slice(), &output.stderr].concat();
            let shown = String::from_utf8(shown).unwrap();
            assert!(shown.contains("pwned"), "{args:?}: {shown:?}");
            assert!(!shown.replace('\n', "").contains(char::is_control), "{args:?}: {shown:?}");
        }
    }
}

#[test]
fn rates_are_computed_from_two_lists() {
    let lists = [counted(1_000, 10), counted(3_000, 30)].map(|line| vec![line]).to_vec();
    let (output, _) = Daemon::start_for("rate", lists.clone()).serve(&["list", "--rate"]);
    let shown = text(&output.stdout);
    assert!(shown.starts_with("per second, over the last 2.0 s\n"), "{output:?}");
    assert!(shown.contains("  10.0.0.11    up      10      0      0\n"), "{shown}");
    let (output, _) = Daemon::start_for("ratejson", lists).serve(&["list", "--rate", "--json"]);
    let rate = r#""rate":{"connections":10,"packets":0,"bytes":0}"#;
    assert!(text(&output.stdout).contains(rate), "{output:?}");
}

#[test]
fn a_watch_without_a_terminal_prints_one_list_after_the_other() {
    let lists = [1, 2, 3].map(|many| vec![counted(many * 1_000, many)]).to_vec();
    let watch = ["list", "--watch", "100ms"];
    let (output, _) = Daemon::start_for("watch", lists.clone()).serve(&watch);
    // At the fourth one there is no daemon.
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let lists_seen: Vec<_> = text(&output.stdout).split("\n\n1 of 2 connections\n").collect();
    assert_eq!(lists_seen.len(), 3, "{output:?}");
    assert!(lists_seen[2].contains("10.0.0.11         1  up          0         0      3"));
    assert!(!text(&output.stdout).contains('\x1b'), "{output:?}");
    let (output, _) = Daemon::start_for("watchjson", lists.clone())
        .serve(&["list", "--json", "--watch", "100ms"]);
    assert!(text(&output.stdout).starts_with(&lists.concat().concat()), "{output:?}");
    let (output, _) =
        Daemon::start_for("watchrate", lists).serve(&["list", "--rate", "--watch", "100ms"]);
    assert_eq!(text(&output.stdout).matches("over the last 1.0 s\n").count(), 2, "{output:?}");
}

#[test]
fn an_interrupt_ends_a_watch_and_events_successfully() {
    let status = format!("{STATUS}}}\n");
    let event = "{\"version\":1}\n".to_owned();
    for (name, args, line) in [
        ("watched", &["list", "--watch", "24h"][..], counted(1, 1)),
        ("listened", &["events"], status + &event),
    ] {
        let socket = scratch(name);
        let listener = UnixListener::bind(&socket).unwrap();
        let mut child =
            vstun(&socket).args(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (stream, _) = listener.accept().unwrap();
        answer(&stream, vec![line]);
        let mut first = [0; 1];
        child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
        std::fs::remove_file(&socket).unwrap();
    }
}

#[test]
fn connections_go_on_to_the_last_page() {
    let pages = vec![page(4001, true), page(4002, true), page(4003, false)];
    let (output, request) =
        Daemon::start("pages", pages.clone()).serve(&["connections", "--limit", "3"]);
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[0].starts_with("PRO ") && lines[3].contains("198.51.100.7:4003"), "{lines:?}");
    assert_eq!(request, "{\"version\":1,\"verb\":\"connections\",\"limit\":3}\n");
    let select = ["connections", "--client", "198.51.100.0/24", "--real", "10.0.0.11"];
    let select = [&select[..], &["--state", "SYN_RECV", "--service", "web"]].concat();
    let (_, request) = Daemon::start("selected", vec![page(4001, false)]).serve(&select);
    let which =
        r#""client":"198.51.100.0/24","address":"10.0.0.11","state":"SYN_RECV","service":"web""#;
    assert_eq!(request, format!("{{\"version\":1,\"verb\":\"connections\",{which}}}\n"));
    let (output, _) = Daemon::start("jsonpages", pages.clone()).serve(&["--json", "connections"]);
    assert_eq!(text(&output.stdout), pages.concat());
}

#[test]
fn a_flow_may_be_one_word_or_three() {
    let answer =
        r#"{"version":1,"flow":"f","address":"10.0.0.11","why":"hash","because":"so it is"}"#;
    for (name, args) in [
        ("three", &["explain", "tcp", "198.51.100.7:1", "192.0.2.10:80"][..]),
        ("one", &["explain", "tcp 198.51.100.7:1 192.0.2.10:80"]),
    ] {
        let (output, request) = Daemon::start(name, vec![format!("{answer}\n")]).serve(args);
        let flow = "tcp 198.51.100.7:1 192.0.2.10:80";
        assert_eq!(
            request,
            format!("{{\"version\":1,\"verb\":\"explain\",\"flow\":\"{flow}\"}}\n")
        );
        assert!(text(&output.stdout).contains("real server  10.0.0.11\n"), "{output:?}");
    }
}

#[test]
fn events_are_printed_as_they_come_until_the_daemon_ends() {
    let event = r#"{"version":1,"time":"t","who":"operator","verb":"enable","what":"state"}"#;
    let lines = vec![format!("{STATUS}}}\n"), format!("{event}\n"), format!("{event}\n")];
    let (output, request) = Daemon::start("events", lines).serve(&["events"]);
    assert_eq!(request, "{\"version\":1,\"verb\":\"events\"}\n");
    assert_eq!(text(&output.stdout), format!("{event}\n{event}\n"));
    assert_eq!(output.status.code(), Some(1), "it ended by itself");
    let busy = vec!["{\"version\":1,\"error\":\"busy\"}\n".to_owned()];
    let (output, _) = Daemon::start("busyevents", busy).serve(&["events"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), "vstun: busy\n"));
}
