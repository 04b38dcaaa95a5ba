//! `vstun`'s changes, plans and saves.

use super::*;

/// The text of a `plan`.
const PLANNED: &str = "[director]\n";

/// The request that a command line makes.
#[test]
fn verbs_are_requests_and_their_answers_are_shown() {
    for (number, (args, request)) in [
        (
            &["set-weight", "10.0.0.11", "--weight", "3"][..],
            r#""verb":"set-weight","address":"10.0.0.11","weight":3"#,
        ),
        (
            &["set-weight", "--service", "web", "--weight", "0", "2001:db8::11"],
            r#""verb":"set-weight","address":"2001:db8::11","service":"web","weight":0"#,
        ),
        (
            &["drain", "10.0.0.11", "--deadline", "10m", "--all-services"],
            r#""verb":"drain","address":"10.0.0.11","all_services":true,"deadline":"10m""#,
        ),
        (&["enable", "10.0.0.11"], r#""verb":"enable","address":"10.0.0.11""#),
        (&["disable", "10.0.0.11"], r#""verb":"disable","address":"10.0.0.11""#),
        (
            &["add-real", "--service", "web", "--weight", "1", "10.0.0.11"],
            r#""verb":"add-real","address":"10.0.0.11","service":"web","weight":1"#,
        ),
        (&["add-real", "10.0.0.11"], r#""verb":"add-real","address":"10.0.0.11""#),
        (&["remove-real", "10.0.0.11"], r#""verb":"remove-real","address":"10.0.0.11""#),
        (&["flush", "--all"], r#""verb":"flush","all":true"#),
        (
            &["flush", "--service", "web", "--real", "10.0.0.11"],
            r#""verb":"flush","service":"web","address":"10.0.0.11""#,
        ),
        (&["announce", "192.0.2.10"], r#""verb":"announce","address":"192.0.2.10""#),
        (&["withdraw", "2001:db8::10"], r#""verb":"withdraw","address":"2001:db8::10""#),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = format!("{STATUS},\"done\":\"what was done\"}}\n");
        let (output, sent) =
            Daemon::start(&format!("verb{number}"), vec![answer.clone()]).serve(args);
        assert_eq!(sent, format!("{{\"version\":1,{request}}}\n"), "{args:?}");
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "what was done\n"));
        let json = [args, &["--json"]].concat();
        let (output, _) =
            Daemon::start(&format!("json{number}"), vec![answer.clone()]).serve(&json);
        assert_eq!(text(&output.stdout), answer);
    }
}

/// The list of a daemon with a draining real server.
fn draining(connections: u64, more: &str) -> String {
    let line = counted(1_000, 9).replace("\"state\":\"up\"", "\"state\":\"draining\"");
    line.replace("\"active\":0", &format!("\"active\":{connections}{more}"))
}

#[test]
fn a_drain_waits_for_the_last_connection_or_its_time() {
    let ordered = format!("{STATUS},\"done\":\"what was done\"}}\n");
    let (two, none) = (draining(2, ""), draining(0, ""));
    let over = draining(2, ",\"deadline_seconds\":0");
    let up = counted(1_000, 9);
    let none_left = "10.0.0.11: no connection is left\n";
    let ended =
        "10.0.0.11: the deadline is reached; 2 connections left, ended by the next packet\n";
    let left = "10.0.0.11: 2 connections left; it goes on draining\n";
    for (name, lists, timeout, code, said) in [
        ("emptied", vec![&two, &two, &none], "1h", 0, none_left),
        ("deadline", vec![&two, &over], "1h", 0, ended),
        ("late", vec![&two], "0s", 4, left),
        ("back", vec![&two, &up], "1h", 1, ""),
    ] {
        let answers = [&ordered].into_iter().chain(lists).map(|line| vec![line.clone()]).collect();
        let daemon = Daemon::start_for(name, answers);
        let (output, request) =
            daemon.serve(&["drain", "10.0.0.11", "--wait", "--timeout", timeout]);
        assert_eq!(request, "{\"version\":1,\"verb\":\"list\"}\n");
        assert_eq!(output.status.code(), Some(code), "{name}: {output:?}");
        assert_eq!(text(&output.stdout), format!("what was done\n{said}"), "{name}");
    }
    let lines = vec![vec![ordered.clone()], vec![two]];
    let (output, _) = Daemon::start_for("waitjson", lines).serve(&[
        "drain",
        "10.0.0.11",
        "--wait",
        "--timeout",
        "0s",
        "--json",
    ]);
    let waited = text(&output.stdout).strip_prefix(&ordered).unwrap();
    assert!(waited.contains(r#""connections_left":2,"drained":false"#), "{waited}");
}

#[test]
fn a_plan_s_exit_code_says_whether_something_would_change() {
    let file = std::env::temp_dir().join(format!("vstun-{}-plan.toml", std::process::id()));
    std::fs::write(&file, PLANNED).unwrap();
    let nothing = r#"{"version":1,"changes":[],"connections_lost":0,"connections_drained":0}"#;
    let change = r#"{"what":"weight","before":"1","after":"2","connections":3,"fate":"kept"}"#;
    let something = nothing.replace("[]", &format!("[{change}]"));
    let refusal = r#"{"version":1,"error":"x:1: director: no"}"#;
    for (name, answer, code) in
        [("same", nothing, 0), ("other", something.as_str(), 3), ("faulty", refusal, 1)]
    {
        let daemon = Daemon::start(name, vec![format!("{answer}\n")]);
        let (output, request) = daemon.serve(&["plan", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(
            request.contains("\"verb\":\"plan\"") && request.contains("\"bytes\":11"),
            "{request}"
        );
    }
    std::fs::write(&file, "#".repeat((16 << 20) + 1)).unwrap();
    let output = vstun(&scratch("unasked")).arg("plan").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("at most 16777216 are read"), "{output:?}");
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_save_is_the_file_with_the_running_state() {
    let file = std::env::temp_dir().join(format!("vstun-{}-save.toml", std::process::id()));
    let before = "[[service]]\nname = \"web\"\n[[service.real]]\naddress = \"10.0.0.11\"  # here\n";
    std::fs::write(&file, before).unwrap();
    let list = counted(1, 1).replace("\"weight\":1", "\"weight\":3,\"wanted\":\"disabled\"");
    let plan = "{\"version\":1,\"changes\":[],\"connections_lost\":0,\"connections_drained\":0}\n";
    let refused = "{\"version\":1,\"error\":\"you may not\"}\n";
    let after = format!("{before}weight = 3\nstate = \"disabled\"\n");
    let name = file.to_str().unwrap();
    let answers = |plan: &str| vec![vec![list.clone()], vec![plan.to_owned()]];
    let (output, _) = Daemon::start_for("save", answers(plan)).serve(&["save", name]);
    assert_eq!((text(&output.stdout), text(&output.stderr)), (after.as_str(), ""));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    let (output, _) = Daemon::start_for("unplanned", answers(refused)).serve(&["save", name]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), after.as_str()));
    assert!(text(&output.stderr).contains("cannot compare all of"), "{output:?}");
    let (output, _) =
        Daemon::start_for("savewrite", answers(plan)).serve(&["save", name, "--write"]);
    assert_eq!(text(&output.stdout), format!("{name} is saved\n"), "{output:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), after);
    std::fs::write(&file, "").unwrap();
    let (output, _) =
        Daemon::start_for("saveempty", vec![vec![list.clone()]]).serve(&["save", name]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("none of the services that run"), "{output:?}");
    std::fs::remove_file(&file).unwrap();
}

/// Warnings about the host caused by a command go to stderr, apart from the answer, and are in the
/// JSON.
#[test]
fn warnings_of_a_command_are_shown() {
    let answer =
        format!("{STATUS},\"done\":\"added\",\"warnings\":[\"10.0.0.1 is this host\"]}}\n");
    let args = ["add-real", "10.0.0.1"];
    let (output, _) = Daemon::start("warned", vec![answer.clone()]).serve(&args);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "added\n"));
    assert_eq!(text(&output.stderr), "vstun: warning: 10.0.0.1 is this host\n");
    let args = ["add-real", "10.0.0.1", "--json"];
    let (output, _) = Daemon::start("warnedjson", vec![answer.clone()]).serve(&args);
    assert_eq!(text(&output.stdout), answer);
}
