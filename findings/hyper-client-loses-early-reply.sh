#!/usr/bin/env bash
# hyper 1.12.0, client::conn::http1: a server that answers as soon as it accepts (an overloaded proxy's 503, nginx at its
# connection limit, HAProxy's `http-request deny` before the head is read) and closes: the answer has arrived before the request is
# sent, and send_request fails with "operation was canceled". The status is lost, so a client cannot tell "503, try later" from a
# broken connection. curl shows the 503.
#
# Seen: 20 of 20 answers lost where the request is sent once the answer has arrived; curl gets 503 from the same server.
# Expected: the response that was read, or an error that carries it.
set -euo pipefail
dir=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$dir"' EXIT; cd "$dir"; mkdir src
cat >Cargo.toml <<'T'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"
[dependencies]
hyper = { version = "=1.12.0", features = ["client", "http1"] }
hyper-util = { version = "0.1", features = ["tokio"] }
http-body-util = "0.1"
tokio = { version = "1", features = ["rt", "net", "time"] }
T
cat >src/main.rs <<'R'
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

fn main() {
    let port: u16 = std::env::args().nth(1).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut lost, mut last) = (0, String::new());
        for _ in 0..20 {
            let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
            let reading = tokio::spawn(async move { drop(connection.await) });
            // It ends by itself once the answer has arrived.
            let _ = tokio::time::timeout(Duration::from_secs(20), reading).await;
            let request = Request::get("/").header("Host", "x").body(Empty::<Bytes>::new()).unwrap();
            if let Err(error) = sender.send_request(request).await {
                lost += 1;
                last = error.to_string();
            }
        }
        println!("hyper: {lost} of 20 answers lost: {last}");
    });
}
R
python3 - <<'PY' >port &
import socket, threading
listener = socket.create_server(("127.0.0.1", 0), backlog=64)
print(listener.getsockname()[1], flush=True)
def serve(client):
    client.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    client.shutdown(socket.SHUT_WR)
    while client.recv(4096):
        pass
    client.close()
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
PY
until [[ -s port ]]; do sleep 0.05; done
cargo run -q -- "$(<port)" >out 2>build.log || { echo "cannot build:"; tail -n 5 build.log; exit 77; }
echo "curl: $(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$(<port)/")" >>out
cat out
diff - out <<'X' || { echo changed; exit 1; }
hyper: 20 of 20 answers lost: operation was canceled
curl: 503
X
