//! TLS: a handshake alone, or under HTTP and gRPC.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::{ProbeAnswer, ProbeOutcome};
use crate::app::health::TakesChanges;
use crate::app::health::socket::{ProbeTarget, Sends};
use crate::health::spec::{ClientCertificate, TlsProbe, name_of_host};

/// How long certificates that were read from files are used, so that renewed ones are read soon.
const KEPT: Duration = Duration::from_secs(60);

/// How long a server may take to refuse after the handshake. With TLS 1.3 a server requests a
/// client certificate in the handshake and refuses it afterwards (RFC 8446 4.4.2.4).
const REFUSAL: Duration = Duration::from_millis(100);

/// A configuration, and when it was made. It is locked while it is made: all probes that want it at
/// that time wait for one reading of its files.
type CachedConfiguration = Arc<tokio::sync::Mutex<Option<(Instant, Arc<ClientConfig>)>>>;

/// Configurations by their inputs.
type CachedConfigurations = HashMap<(TlsProbe, Alpn), CachedConfiguration>;

/// The configurations of the latest probes. Reading the system's certificates takes longer than a
/// probe.
static CONFIGURATIONS: LazyLock<Mutex<CachedConfigurations>> = LazyLock::new(Mutex::default);

/// The protocol that is requested in the handshake (RFC 7301).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Alpn {
    /// None.
    Nothing,
    /// `http/1.1`.
    Http11,
    /// `h2`.
    Http2,
}

/// A handshake, and the server's alert after it, if any.
pub(super) async fn probe<B: TakesChanges>(
    target: &mut ProbeTarget<'_, B>,
    tls: &TlsProbe,
) -> ProbeOutcome {
    let mut stream = connect(target, tls, None, Alpn::Nothing).await?;
    // Within a fraction of the timeout, so that a slow server does not time out here.
    let refusal = REFUSAL.min(target.check.spec.timing.timeout / 4);
    match tokio::time::timeout(refusal, stream.read(&mut [0])).await {
        // Servers close in different ways, and some wait.
        Ok(Ok(_)) | Err(_) => Ok(ProbeAnswer::pass("handshake")),
        Ok(Err(error)) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(refused @ rustls::Error::AlertReceived(_)) => Err(format!("TLS: {refused}")),
            _ => Ok(ProbeAnswer::pass("handshake")),
        },
    }
}

/// A connection with TLS. `host` is the name of the request, for a check without `sni`.
///
/// # Errors
/// The reason as text.
pub(super) async fn connect<B: TakesChanges>(
    target: &mut ProbeTarget<'_, B>,
    tls: &TlsProbe,
    host: Option<&str>,
    alpn: Alpn,
) -> Result<TlsStream<TcpStream>, String> {
    let name = server_name(tls, host, target)?;
    let config = configuration(tls, alpn).await?;
    let stream = target.connect(Sends::Messages).await?;
    let stream = TlsConnector::from(config).connect(name, stream).await;
    let stream = stream.map_err(|error| format!("TLS: {error}"))?;
    target.trace.step("TLS handshake done");
    Ok(stream)
}

fn server_name<B: TakesChanges>(
    tls: &TlsProbe,
    host: Option<&str>,
    target: &ProbeTarget<'_, B>,
) -> Result<ServerName<'static>, String> {
    match tls.sni.as_deref().or_else(|| host.map(name_of_host)) {
        Some(name) => {
            ServerName::try_from(name.to_owned()).map_err(|_| format!("{name:?} is not a name"))
        }
        None => Ok(target.destination().ip().into()),
    }
}

/// The configuration, made or kept.
async fn configuration(tls: &TlsProbe, alpn: Alpn) -> Result<Arc<ClientConfig>, String> {
    let mut kept = cached(tls, alpn).lock_owned().await;
    if let Some((_, config)) = kept.as_ref().filter(is_fresh) {
        return Ok(Arc::clone(config));
    }
    // Files may be on a slow file system: what is made is kept even if this probe has timed out.
    let tls = tls.clone();
    let make = move || {
        let config = Arc::new(make(&tls, alpn)?);
        *kept = Some((Instant::now(), Arc::clone(&config)));
        Ok(config)
    };
    spawn_blocking(make).await.map_err(|error| error.to_string())?
}

fn is_fresh((made, _): &&(Instant, Arc<ClientConfig>)) -> bool {
    made.elapsed() < KEPT
}

/// The cache's entry for the configuration. Removes entries that no probe wants any more.
fn cached(tls: &TlsProbe, alpn: Alpn) -> CachedConfiguration {
    let key = (tls.clone(), alpn);
    let mut all = CONFIGURATIONS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = all.get(&key) {
        return Arc::clone(known);
    }
    all.retain(|_, one| match one.try_lock() {
        Ok(kept) => kept.as_ref().is_some_and(|kept| is_fresh(&kept)),
        // It is being made.
        Err(_) => true,
    });
    Arc::clone(all.entry(key).or_default())
}

fn make(tls: &TlsProbe, alpn: Alpn) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier::new(tls, &provider)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &tls.client {
        None => config.with_no_client_auth(),
        Some(ClientCertificate { certificate, key }) => {
            let file = key.display();
            let key =
                PrivateKeyDer::from_pem_file(key).map_err(|error| format!("{file}: {error}"))?;
            let shown = config.with_client_auth_cert(certificates(certificate)?, key);
            shown.map_err(|error| format!("client certificate: {error}"))?
        }
    };
    // With a session of an earlier handshake a server, or another one with the same ticket key,
    // would not have to show its certificate.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = match alpn {
        Alpn::Nothing => Vec::new(),
        Alpn::Http11 => vec![b"http/1.1".to_vec()],
        Alpn::Http2 => vec![b"h2".to_vec()],
    };
    Ok(config)
}

/// The certificates of a file.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let cannot = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| cannot(&error))?.collect();
    let found = found.map_err(|error| cannot(&error))?;
    if found.is_empty() { Err(cannot(&"there is no certificate in it")) } else { Ok(found) }
}

/// Verifies a server's certificate.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    /// `None`: every certificate is accepted.
    trusted: Option<Arc<WebPkiServerVerifier>>,
    /// The certificates of `ca`. A server may present one of these itself.
    own: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn new(tls: &TlsProbe, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let provider = Arc::clone(provider);
        if !tls.verify {
            return Ok(Self { provider, trusted: None, own: Vec::new() });
        }
        let own = tls.ca.as_deref().map(certificates).transpose()?.unwrap_or_default();
        let mut roots = RootCertStore::empty();
        match &tls.ca {
            Some(path) => {
                for certificate in &own {
                    let added = roots.add(certificate.clone());
                    added.map_err(|error| format!("{}: {error}", path.display()))?;
                }
            }
            None => {
                let system = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(system.certs);
            }
        }
        if roots.is_empty() {
            return Err("this host has no certificates to trust; write ca = FILE".to_owned());
        }
        let trusted =
            WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
        let trusted = trusted.build().map_err(|error| error.to_string())?;
        Ok(Self { provider, trusted: Some(trusted), own })
    }

    /// The result for a server that presents a certificate of `ca` that is marked as an
    /// authority's, as `openssl req -x509` does. Then it is its own root, and like a root's its
    /// dates are not checked, only its names. `None`: it is not one.
    fn own_root(
        &self,
        shown: &CertificateDer<'_>,
        name: &ServerName<'_>,
        error: &rustls::Error,
    ) -> Option<Result<(), rustls::Error>> {
        let rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) = error
        else {
            return None;
        };
        let is_own = other.to_string().contains("CaUsedAsEndEntity")
            && self.own.iter().any(|own| own.as_ref() == shown.as_ref());
        let named = || verify_server_name(&ParsedCertificate::try_from(shown)?, name);
        is_own.then(named)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(trusted) = &self.trusted else { return Ok(ServerCertVerified::assertion()) };
        let verified = trusted.verify_server_cert(shown, intermediates, name, ocsp, now);
        match verified.as_ref().err().and_then(|error| self.own_root(shown, name, error)) {
            Some(named) => named.map(|()| ServerCertVerified::assertion()),
            None => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration of its own for this name, whose age the test may choose.
    fn named(name: &str) -> TlsProbe {
        TlsProbe { sni: Some(name.to_owned()), verify: false, ..TlsProbe::new() }
    }

    fn is_cached(tls: &TlsProbe) -> bool {
        let all = CONFIGURATIONS.lock().unwrap_or_else(PoisonError::into_inner);
        all.contains_key(&(tls.clone(), Alpn::Nothing))
    }

    #[test]
    fn files_are_read_again_when_what_was_made_of_them_is_a_minute_old() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (tls, other) = (named("old.example"), named("new.example"));
        let made = |tls: &TlsProbe| {
            runtime.block_on(configuration(tls, Alpn::Nothing)).expect("a configuration")
        };
        let first = made(&tls);
        let aged = |age: Duration| {
            let mut kept = runtime.block_on(cached(&tls, Alpn::Nothing).lock_owned());
            let (at, _) = kept.as_mut().expect("it was made");
            *at = Instant::now().checked_sub(age).expect("the host has run for longer");
        };
        // Half of the time is left for a busy machine.
        aged(KEPT / 2);
        assert!(Arc::ptr_eq(&first, &made(&tls)));
        aged(KEPT);
        assert!(!Arc::ptr_eq(&first, &made(&tls)));
        // One that no probe wants is removed when another one is made.
        aged(KEPT / 2);
        made(&other);
        assert!(is_cached(&tls));
        aged(KEPT);
        made(&named("third.example"));
        assert!(!is_cached(&tls) && is_cached(&other));
    }
}
