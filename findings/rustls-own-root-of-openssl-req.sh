#!/usr/bin/env bash
# rustls 0.23.46 (ring): the certificate that `openssl req -x509` makes by default, trusted as its own root, is refused with
# CaUsedAsEndEntity, since OpenSSL marks it CA:TRUE; the same certificate with CA:FALSE, trusted in the same way, is accepted. A
# health check or client that is given "the server's own certificate" as `ca` fails with a message about CAs, while curl with the
# same file succeeds.
#
# Seen: rustls: CA:TRUE -> CaUsedAsEndEntity, CA:FALSE -> ok; OpenSSL's own client with -CAfile: both verify (code 0).
# Expected: the same answer from both, or a documented way to pin an end entity that is marked as a CA.
set -euo pipefail
dir=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$dir"' EXIT; cd "$dir"; mkdir src
command -v openssl >/dev/null || { echo "needs openssl"; exit 77; }
openssl version
cat >Cargo.toml <<'T'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"
[dependencies]
rustls = { version = "=0.23.46", default-features = false, features = ["ring", "std", "tls12"] }
rustls-pki-types = { version = "1", features = ["std"] }
T
cat >src/main.rs <<'R'
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

fn main() {
    let mut arguments = std::env::args().skip(1);
    while let (Some(name), Some(port)) = (arguments.next(), arguments.next()) {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(format!("{name}.pem")).unwrap()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let server = ServerName::try_from("www.example").unwrap();
        let connection = ClientConnection::new(Arc::new(config), server).unwrap();
        let tcp = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
        let mut stream = StreamOwned::new(connection, tcp);
        match stream.write_all(b"x").and_then(|()| stream.flush()) {
            Ok(()) => println!("rustls {name}: ok"),
            Err(error) => println!("rustls {name}: {error}"),
        }
    }
}
R
ports=()
for name in ca-true ca-false; do
    extensions=(-addext subjectAltName=DNS:www.example)
    [[ $name == ca-true ]] || extensions+=(-addext basicConstraints=critical,CA:FALSE)
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=www.example \
        "${extensions[@]}" -keyout "$name.key" -out "$name.pem" 2>/dev/null
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    openssl s_server -accept "127.0.0.1:$port" -cert "$name.pem" -key "$name.key" -quiet >/dev/null 2>&1 &
    ports+=("$name" "$port")
    until python3 -c "import socket; socket.create_connection(('127.0.0.1', $port))" 2>/dev/null; do sleep 0.05; done
    echo "openssl $name: $(openssl s_client -connect "127.0.0.1:$port" -servername www.example -verify_hostname www.example \
        -CAfile "$name.pem" </dev/null 2>/dev/null | grep -m 1 'Verify return code')" >>out
done
cargo run -q -- "${ports[@]}" >>out 2>build.log || { echo "cannot build:"; tail -n 5 build.log; exit 77; }
cat out
diff - <(sed 's/: *Verify/: Verify/' out) <<'X' || { echo changed; exit 1; }
openssl ca-true: Verify return code: 0 (ok)
openssl ca-false: Verify return code: 0 (ok)
rustls ca-true: invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))
rustls ca-false: ok
X
