//! `vstun` against a fake daemon: a socket with scripted answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::{self, JoinHandle};

const LIST: &str =
    r#"{"version":1,"connections":{"current":1,"capacity":2},"services":[],"drops":{"not_ip":0}}"#;

/// A daemon that takes one connection, reads one request, answers `lines`, and closes.
struct Daemon {
    socket: PathBuf,
    served: JoinHandle<String>,
}

impl Daemon {
    fn start(name: &str, lines: Vec<String>) -> Self {
        Self::start_for(name, vec![lines])
    }

    /// The same for several clients in sequence, each with its answer; returns the last request.
    fn start_for(name: &str, clients: Vec<Vec<String>>) -> Self {
        let socket = scratch(name);
        let listener = UnixListener::bind(&socket).unwrap();
        let served = thread::spawn(move || {
            let mut request = String::new();
            for lines in clients {
                let (stream, _) = listener.accept().unwrap();
                request = answer(&stream, lines);
            }
            request
        });
        Self { socket, served }
    }

    /// Runs `vstun` against it; returns the output and the request.
    fn serve(self, args: &[&str]) -> (Output, String) {
        let output = vstun(&self.socket).args(args).output().unwrap();
        let request = self.served.join().unwrap();
        std::fs::remove_file(&self.socket).unwrap();
        (output, request)
    }
}

/// Reads a request and answers it.
fn answer(mut stream: &UnixStream, lines: Vec<String>) -> String {
    let mut request = String::new();
    let mut reader = BufReader::new(stream);
    reader.read_line(&mut request).unwrap();
    // The body of a `plan`: the file of the test that has one.
    if let Some((_, bytes)) = request.split_once("\"bytes\":") {
        let bytes = bytes.split(|c: char| !c.is_ascii_digit()).next().unwrap();
        reader.read_exact(&mut vec![0; bytes.parse().unwrap()]).unwrap();
    }
    for line in lines {
        // The client may have closed already.
        if stream.write_all(line.as_bytes()).is_err() {
            break;
        }
    }
    request
}

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("vstun-{}-{name}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

fn vstun(socket: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vstun"));
    command.arg("--socket").arg(socket);
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn page(port: usize, more: bool) -> String {
    format!(
        "{{\"version\":1,\"connections\":[{{\"protocol\":\"tcp\",\"expires_seconds\":61,\
         \"state\":\"ESTABLISHED\",\"client\":\"198.51.100.7:{port}\",\
         \"virtual\":\"192.0.2.10:80\",\"address\":\"10.0.0.11\"}}],\"more\":{more}}}\n"
    )
}

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
    let drops = r#"{"version":1,"drops":{"a":1,"b":0},"meanings":{"a":"About a."}}"#;
    let (output, _) = Daemon::start("some", vec![format!("{drops}\n")]).serve(&["drops"]);
    assert_eq!(text(&output.stdout).lines().nth(1), Some("a             1  About a."));
    let (output, _) = Daemon::start("all", vec![format!("{drops}\n")]).serve(&["drops", "--all"]);
    assert_eq!(text(&output.stdout).lines().count(), 3);
}

/// The list of a daemon with this uptime and number of connections.
fn counted(milliseconds: u64, connections: u64) -> String {
    let real = format!(
        "{{\"address\":\"10.0.0.11\",\"weight\":1,\"state\":\"up\",\"active\":0,\"inactive\":0,\
         \"connections\":{connections},\"packets\":0,\"bytes\":0}}"
    );
    let service =
        format!("{{\"name\":\"web\",\"listen\":[],\"scheduler\":\"rr\",\"reals\":[{real}]}}");
    LIST.replace("\"services\":[]", &format!("\"services\":[{service}]"))
        .replace("\"drops\"", &format!("\"uptime_milliseconds\":{milliseconds},\"drops\""))
        + "\n"
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

/// The text of a `plan`.
const PLANNED: &str = "[director]\n";

const STATUS: &str = r#"{"version":1,"role":"director","program":"0","uptime_seconds":1"#;

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

/// As above, of a real server that drains.
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
fn a_save_is_the_file_with_what_runs() {
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
    let place = socket.display();
    let expected = format!(
        "{{\"version\":1,\"socket\":\"{place}\",\"steps\":[],\
         \"done\":\"nothing to clean up at {place}\"}}\n"
    );
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), expected.as_str()));
    let output = vstun(&socket).arg("cleanup").output().unwrap();
    assert_eq!(text(&output.stdout), format!("nothing to clean up at {place}\n"));
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
fn without_a_daemon_it_says_what_was_tried_and_what_to_do() {
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

#[test]
fn wrong_usage_is_exit_code_2_and_help_is_0() {
    for (program, args, code) in [
        (env!("CARGO_BIN_EXE_vstun"), &["lisst"][..], 2),
        (env!("CARGO_BIN_EXE_vstun"), &[], 2),
        (env!("CARGO_BIN_EXE_vstun"), &["set-weight", "10.0.0.11"], 2),
        (env!("CARGO_BIN_EXE_vstun"), &["set-weight", "10.0.0.11", "--weight", "65536"], 2),
        (
            env!("CARGO_BIN_EXE_vstun"),
            &["drain", "10.0.0.11", "--service", "a", "--all-services"],
            2,
        ),
        (env!("CARGO_BIN_EXE_vstun"), &["flush"], 2),
        (env!("CARGO_BIN_EXE_vstun"), &["list", "--watch", "99ms"], 2),
        (env!("CARGO_BIN_EXE_vstun"), &["drain", "10.0.0.11", "--timeout", "1m"], 2),
        (env!("CARGO_BIN_EXE_vstun"), &["drain", "10.0.0.11", "--wait", "--timeout", "1"], 2),
        (env!("CARGO_BIN_EXE_vstun"), &["flush", "--all", "--service", "web"], 2),
        (env!("CARGO_BIN_EXE_vstun"), &["explain"], 2),
        (env!("CARGO_BIN_EXE_vstun"), &["explain", "tcp", "198.51.100.7:1"], 2),
        (env!("CARGO_BIN_EXE_vstun"), &["explain", "tcp 198.51.100.7:1"], 2),
        (env!("CARGO_BIN_EXE_vstun-director"), &[], 2),
        (env!("CARGO_BIN_EXE_vstun-director"), &["--config", "x", "--log", "loud"], 2),
        (env!("CARGO_BIN_EXE_vstun-realserver"), &["--check"], 2),
        (env!("CARGO_BIN_EXE_vstun-realserver"), &["--config", "x", "--vip", "192.0.2.1"], 2),
        (env!("CARGO_BIN_EXE_vstun"), &["--help"], 0),
        (env!("CARGO_BIN_EXE_vstun-director"), &["--help"], 0),
        (env!("CARGO_BIN_EXE_vstun-realserver"), &["--help"], 0),
    ] {
        let output = Command::new(program).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{program} {args:?}");
        if code == 0 {
            let help = text(&output.stdout);
            assert!(help.contains("Exit codes:") && help.contains("Examples:"), "{help}");
        }
    }
}

#[test]
fn help_fits_80_columns() {
    let vstun = env!("CARGO_BIN_EXE_vstun");
    let help = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().unwrap();
        let text = text(&output.stdout).to_owned();
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{program} {args:?}: {line}");
        }
        text
    };
    let short = help(vstun, &["-h"]);
    let verbs = short.lines().skip_while(|line| *line != "Commands:").skip(1);
    let verbs = verbs.take_while(|line| line.starts_with("  "));
    let verbs: Vec<_> = verbs
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(verbs.contains(&"list") && verbs.contains(&"cleanup"), "{verbs:?}");
    for verb in verbs {
        help(vstun, &[verb, "--help"]);
    }
    help(vstun, &["--help"]);
    for program in [env!("CARGO_BIN_EXE_vstun-director"), env!("CARGO_BIN_EXE_vstun-realserver")] {
        help(program, &["-h"]);
        help(program, &["--help"]);
    }
}

/// The text of `vstun VERB --help`, in one line.
fn help(verb: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_vstun")).args([verb, "--help"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    text(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn help_explains_required_arguments_and_forgotten_connections() {
    let explain = help("explain");
    let usage = "vstun explain [OPTIONS] <TRANSPORT> <CLIENT[:PORT]> <VIP:PORT>";
    assert!(explain.contains(usage) && !explain.contains("[CLIENT[:PORT]]"), "{explain}");
    let flush = help("flush");
    assert!(flush.contains("a reset, or adopted") && flush.contains("mh"), "{flush}");
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
