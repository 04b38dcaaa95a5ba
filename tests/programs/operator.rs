//! `vstun` against a fake daemon: a socket with scripted answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::{self, JoinHandle};

mod changes;
mod failures;
mod help;
mod listings;

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

const STATUS: &str = r#"{"version":1,"role":"director","program":"0","uptime_seconds":1"#;
