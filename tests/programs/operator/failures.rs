//! `vstun` with a daemon that refuses, breaks off or is missing.

use super::*;

#[test]
fn a_refusal_is_an_error() {
    let refusal = "{\"version\":1,\"error\":\"ask the director\"}\n".to_owned();
    let (output, _) = Daemon::start("refusal", vec![refusal.clone()]).serve(&["list", "--json"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), refusal.as_str()));
    assert_eq!(text(&output.stderr), "vstun: ask the director\n");
}

/// With `--json` every failure is an object on standard output, wherever it arises, and a sentence
/// on standard error.
#[test]
fn failures_are_json_too() {
    let missing = scratch("jsonnobody");
    for (args, code, error) in [
        (&["list", "--json"][..], 1, "no daemon answers"),
        (&["plan", "/does/not/exist", "--json"], 1, "/does/not/exist"),
        (&["lisst", "--json"], 2, "unrecognized subcommand 'lisst'"),
        (&["--json", "set-weight", "10.0.0.11"], 2, "required arguments were not provided"),
        (&["trace", "--json", "--snaplen", "40"], 2, "--write <FILE>"),
        (&["trace", "--json", "--verdict", "maybe"], 2, "[possible values: tunnel, reply, "),
        (&["explain", "tcp 198.51.100.7", "--json"], 2, "a flow has 3 words, not 2"),
    ] {
        let output = vstun(&missing).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let (line, said) = (text(&output.stdout), text(&output.stderr));
        assert!(
            line.starts_with("{\"version\":1,\"error\":\"") && line.ends_with("\"}\n"),
            "{line}"
        );
        assert!(line.contains(error) && said.contains(error), "{args:?}: {output:?}");
    }
}

#[test]
fn a_cleanup_is_json_too() {
    let socket = scratch("cleanup");
    let output = vstun(&socket).args(["cleanup", "--json"]).output().unwrap();
    let path = socket.display();
    let expected = format!(
        "{{\"version\":1,\"socket\":\"{path}\",\"steps\":[],\
         \"done\":\"nothing to clean up at {path}\"}}\n"
    );
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), expected.as_str()));
    let output = vstun(&socket).arg("cleanup").output().unwrap();
    assert_eq!(text(&output.stdout), format!("nothing to clean up at {path}\n"));
}

#[test]
fn a_refusal_before_the_request_is_read_is_shown() {
    let socket = scratch("busy");
    let listener = UnixListener::bind(&socket).unwrap();
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"{\"version\":1,\"error\":\"busy: try again\"}\n").unwrap();
    });
    let output = vstun(&socket).arg("list").output().unwrap();
    served.join().unwrap();
    std::fs::remove_file(&socket).unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), "vstun: busy: try again\n"));
}

#[test]
fn a_daemon_that_breaks_off_is_an_error() {
    for (name, lines) in [("nothing", vec![]), ("half", vec!["{\"version\":1,".to_owned()])] {
        let (output, _) = Daemon::start(name, lines).serve(&["stats"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("closed the connection; see its log"), "{output:?}");
    }
    let (output, _) = Daemon::start("lost", vec![page(4001, true)]).serve(&["connections"]);
    assert_eq!(output.status.code(), Some(1));
    let (output, _) = Daemon::start("garbage", vec!["what?\n".to_owned()]).serve(&["list"]);
    assert!(text(&output.stderr).contains("cannot read the daemon's reply"), "{output:?}");
}

#[test]
fn a_line_without_end_is_cut_off_at_the_bound() {
    let endless = vec!["x".repeat(1 << 20); 65];
    let (output, _) = Daemon::start("endless", endless).serve(&["list"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("a line of more than 67108864 bytes"), "{output:?}");
}

#[test]
fn a_closed_output_pipe_is_no_error() {
    let pages: Vec<_> = (0..20_000).map(|port| page(port, port < 19_999)).collect();
    let daemon = Daemon::start("pipe", pages);
    let mut child = vstun(&daemon.socket)
        .arg("connections")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 5];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"PRO E");
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    daemon.served.join().unwrap();
    std::fs::remove_file(&daemon.socket).unwrap();
}

#[test]
fn without_a_daemon_it_names_the_sockets_and_the_remedy() {
    let socket = scratch("missing");
    let output = vstun(&socket).arg("list").output().unwrap();
    let expected = format!(
        "vstun: no daemon answers\n  {}: is not there; start the daemon, or give --socket PATH as \
         its `control` key has it\n",
        socket.display()
    );
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), expected.as_str()));

    let socket = scratch("dead");
    drop(UnixListener::bind(&socket).unwrap());
    let output = vstun(&socket).arg("list").output().unwrap();
    assert!(text(&output.stderr).contains("run vstun cleanup"), "{output:?}");
    std::fs::remove_file(&socket).unwrap();
}
