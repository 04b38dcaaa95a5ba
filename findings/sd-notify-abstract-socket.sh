#!/usr/bin/env bash
# sd-notify 0.5.0: a NOTIFY_SOCKET in the abstract name space ("@name", as sd_notify(3) describes and container managers set it) is
# not supported: the "@" is taken for the first letter of a file name, and notify() fails with "No such file or
# directory" (ENOENT). The program is never seen as ready by such a manager.
#
# Seen: a listener bound to the abstract name gets nothing, notify() is Err(NotFound); with a path it arrives.
# Expected: "@" stands for a zero byte, as in libsystemd.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"; mkdir src
cat >Cargo.toml <<'T'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"
[dependencies]
sd-notify = "=0.5.0"
T
cat >src/main.rs <<'R'
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
fn tell(name: &str, listener: &UnixDatagram) {
    unsafe { std::env::set_var("NOTIFY_SOCKET", name) };
    let sent = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    listener.set_nonblocking(true).unwrap();
    let mut bytes = [0; 64];
    let got = listener.recv(&mut bytes).map(|len| String::from_utf8_lossy(&bytes[..len]).into_owned());
    let kind = if name.starts_with('@') { "abstract" } else { "path" };
    println!("{kind}: notify {:?}, received {:?}", sent.map_err(|error| error.kind()), got.ok());
}
fn main() {
    let path = std::env::temp_dir().join(format!("finding-{}", std::process::id()));
    tell(path.to_str().unwrap(), &UnixDatagram::bind(&path).unwrap());
    std::fs::remove_file(path).unwrap();
    let name = format!("finding-{}", std::process::id());
    let listener = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    tell(&format!("@{name}"), &listener);
}
R
cargo run -q >out 2>build.log || { echo "cannot build:"; tail -n 5 build.log; exit 77; }
cat out
diff - out <<'X' || { echo changed; exit 1; }
path: notify Ok(()), received Some("READY=1\n")
abstract: notify Err(NotFound), received None
X
