//! TLS: what a handshake shows, and how often files are read for it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{HandshakeKind, ServerConfig, ServerConnection, Stream};

use super::*;
use crate::health::spec::TlsProbe;

/// The files of a certificate for `www.example` and of its key.
fn certificate() -> &'static (PathBuf, PathBuf) {
    static FILES: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    FILES.get_or_init(|| {
        let file = |name: &str| {
            std::env::temp_dir().join(format!("vstun-tls-{}-{name}", std::process::id()))
        };
        let (certificate, key) = (file("cert.pem"), file("key.pem"));
        let mut openssl = Command::new("openssl");
        openssl.args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes".split(' '));
        openssl.args(["-subj", "/CN=www.example", "-addext", "subjectAltName=DNS:www.example"]);
        openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
        assert!(openssl.output().unwrap().status.success());
        (certificate, key)
    })
}

/// Servers with the same certificate and the same sessions, and the handshakes that they have had.
fn servers<const COUNT: usize>() -> ([u16; COUNT], Arc<Mutex<Vec<HandshakeKind>>>) {
    let (certificate, key) = certificate();
    let certificates = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    let config = Arc::new(config);
    let kinds: Arc<Mutex<Vec<HandshakeKind>>> = Arc::default();
    let ports = [(); COUNT].map(|()| {
        let (config, kinds) = (Arc::clone(&config), Arc::clone(&kinds));
        server(move |mut stream| {
            let mut session = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = Stream::new(&mut session, &mut stream);
            let _ = tls.read(&mut [0; 1_024]);
            let _ = tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            kinds.lock().unwrap().extend(session.handshake_kind());
            while stream.read(&mut [0; 512]).is_ok_and(|read| read > 0) {}
        })
    });
    (ports, kinds)
}

/// A resumed session shows no certificate: that of the second server might be another one, or have
/// expired.
#[test]
fn each_handshake_shows_the_server_s_certificate() {
    let (ports, kinds) = servers::<2>();
    let tls = TlsProbe {
        sni: Some("www.example".to_owned()),
        ca: Some(certificate().0.clone()),
        ..TlsProbe::new()
    };
    let https = HttpProbe { tls: Some(tls), expect_body: Some("^ok$".to_owned()), ..http() };
    for port in [ports[0], ports[1], ports[0], ports[1]] {
        let (passed, detail, _) = found(Probe::Http(https.clone()), port);
        assert!(passed, "{detail}");
    }
    let end = Instant::now() + PATIENCE;
    while kinds.lock().unwrap().len() < 4 {
        assert!(Instant::now() < end, "{kinds:?}");
        std::thread::yield_now();
    }
    let full = |kind: &HandshakeKind| *kind != HandshakeKind::Resumed;
    assert!(kinds.lock().unwrap().iter().all(full), "{kinds:?}");
}

/// The name of the certificate is `sni`, else the request's host, else the address.
#[test]
fn the_name_that_a_certificate_must_have() {
    let (ports, _) = servers::<1>();
    let (right, wrong) = (Some("www.example"), Some("other.example"));
    for (sni, host, passed) in [
        (right, wrong, true),
        (wrong, right, false),
        (None, right, true),
        (None, Some("www.example:8443"), true),
        (None, wrong, false),
        (None, None, false),
    ] {
        let [sni, host] = [sni, host].map(|name| name.map(ToOwned::to_owned));
        let shown = format!("{sni:?} {host:?}");
        let tls = TlsProbe { sni, ca: Some(certificate().0.clone()), ..TlsProbe::new() };
        let https = HttpProbe { host, tls: Some(tls), ..http() };
        let (found, detail, _) = found(Probe::Http(https), ports[0]);
        assert_eq!(found, passed, "{shown}: {detail}");
        assert!(passed || detail.starts_with("TLS: invalid peer certificate"), "{detail}");
    }
}

/// A pipe has its content for one reader.
#[test]
fn the_files_of_many_probes_at_the_same_time_are_read_once() {
    let pipe = std::env::temp_dir().join(format!("vstun-tls-{}-pipe", std::process::id()));
    let _ = std::fs::remove_file(&pipe);
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let handshake_failure = b"\x15\x03\x03\x00\x02\x02\x28";
    let tls = TlsProbe { ca: Some(pipe.clone()), ..TlsProbe::new() };
    let spec = CheckSpec { probe: Probe::Tls(tls), via: Via::Direct, port: None, timing: PATIENT };
    let destination =
        crate::health::Destination { address: HERE, port: answering(handshake_failure) };
    let encap = RealSpec::new(HERE, 1).values.encap;
    let check = PlannedCheck { real: HERE, encap, destination, spec: Arc::new(spec) };
    let writes = {
        let pipe = pipe.clone();
        std::thread::spawn(move || {
            let text = std::fs::read(&certificate().0).unwrap();
            std::fs::write(pipe, text).unwrap();
        })
    };
    let found =
        with_checks(Plan::default(), async |checks, _| checks.probe(vec![check.clone(); 20]).await);
    writes.join().unwrap();
    std::fs::remove_file(&pipe).unwrap();
    assert_eq!(found.len(), 20);
    for one in found {
        assert!(one.detail.starts_with("TLS: received fatal alert"), "{}", one.detail);
    }
}
