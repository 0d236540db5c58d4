//! TLS with a registry: trusted authorities, the client's certificate, and failures in words.
//!
//! Invariant: a certificate is checked unless the caller says otherwise, and even then the handshake is.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::settings::TlsFiles;
use super::transport::chain;
use crate::error::{Error, ErrorKind, Result};

/// How many names of a certificate for another registry are shown, and how long one may be (RFC 1035, section 2.3.4).
const NAMES_SHOWN: usize = 5;
const NAME_MAX: usize = 253;

/// TLS with one registry.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    shown: Arc<Shown>,
}

/// The TLS configuration for one registry.
pub(super) fn prepare(files: &TlsFiles, skip_verify: bool) -> Result<Tls> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(format!("TLS: {error}")))?;
    let builder = if skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Unchecked(provider)))
    } else {
        builder.with_root_certificates(roots(files)?)
    };
    let mut shown = Shown::default();
    if let Some((cert, key)) = files.clients.first() {
        let chain = certificates(cert)?;
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| bad_file(key, &error))?;
        let pair = CertifiedKey::from_der(chain, private, &ring::default_provider())
            .map_err(|error| failed(format!("{} with {}: {error}", cert.display(), key.display())))?;
        shown.pair = Some(Arc::new(pair));
    }
    let shown = Arc::new(shown);
    let resolver: Arc<Shown> = Arc::clone(&shown);
    let mut config = builder.with_client_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Tls { config: Arc::new(config), shown })
}

impl Tls {
    /// The suspicion about a connection that the registry closed: in TLS 1.3 it checks the client's certificate
    /// after the handshake, and HTTP/2 does not pass on the reason.
    pub(super) fn suspicion(&self) -> Option<&'static str> {
        let wanted = self.shown.wanted.load(Ordering::Relaxed);
        wanted.then_some(match self.shown.pair {
            None => "it wants a client's certificate, and there is none",
            Some(_) => "it may not like the client's certificate",
        })
    }
}

/// The client's certificate, and whether the registry asked for one.
#[derive(Debug, Default)]
struct Shown {
    pair: Option<Arc<CertifiedKey>>,
    wanted: AtomicBool,
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.wanted.store(true, Ordering::Relaxed);
        self.pair.clone()
    }

    fn has_certs(&self) -> bool {
        self.pair.is_some()
    }
}

/// The system's certificates and the registry's own.
fn roots(files: &TlsFiles) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    for ca in &files.cas {
        for certificate in certificates(ca)? {
            roots.add(certificate).map_err(|error| failed(format!("{}: {error}", ca.display())))?;
        }
    }
    if roots.is_empty() {
        let why = native.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(failed(format!("this host trusts no certificates{why}"))
            .hint("install the package ca-certificates"));
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let all: Vec<_> = read.map_err(|error| bad_file(path, &error))?;
    if all.is_empty() {
        return Err(failed(format!("{}: holds no certificate in PEM", path.display())));
    }
    Ok(all)
}

fn bad_file(path: &Path, error: &rustls::pki_types::pem::Error) -> Error {
    match error {
        rustls::pki_types::pem::Error::Io(_) => match std::fs::File::open(path) {
            Err(error) => Error::from(error).context(path.display()),
            Ok(_) => failed(format!("{}: cannot be read", path.display())),
        },
        // Its words name the kind of section, never its content.
        other => failed(format!("{}: {other}", path.display())),
    }
}

fn failed(what: String) -> Error {
    Error::new(ErrorKind::Image, what)
}

/// The TLS failure, with its remedy, if `error` is about TLS.
pub(super) fn refusal(
    error: &(dyn std::error::Error + 'static),
    authority: &str,
) -> Option<(String, String)> {
    let error = chain(error).find_map(|error| error.downcast_ref::<rustls::Error>())?;
    let ca = || {
        format!(
            "put its CA into /etc/containers/certs.d/{authority}/ca.crt, or name it in the config file: \
             `registries: {{{authority:?}: {{ca: FILE}}}}`"
        )
    };
    Some(match error {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::UnknownIssuer => {
                ("its certificate is signed by nobody whom this host trusts".into(), ca())
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
                "its certificate has expired".into(),
                "look at this host's clock, or ask the registry's owner".into(),
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                ("its certificate is not valid yet".into(), "look at this host's clock".into())
            }
            CertificateError::NotValidForName => for_another_name(&[]),
            CertificateError::NotValidForNameContext { presented, .. } => for_another_name(presented),
            other => (format!("its certificate is refused: {other}"), ca()),
        },
        rustls::Error::InvalidMessage(_) => ("it does not speak TLS".into(), hint_no_tls(authority)),
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            ("it wants a client's certificate, and there is none".into(), hint_client(authority))
        }
        rustls::Error::AlertReceived(
            AlertDescription::UnknownCA | AlertDescription::BadCertificate | AlertDescription::AccessDenied,
        ) => ("it refuses the client's certificate".into(), hint_client(authority)),
        other => (format!("TLS: {other}"), "it may want another version of TLS".into()),
    })
}

/// The message about a certificate for these names: `DnsName("registry.lan")`, as webpki writes them.
fn for_another_name(presented: &[String]) -> (String, String) {
    let named = presented.iter().filter_map(|name| name.split_once('(')?.1.strip_suffix(')'));
    let names = named.map(|name| name.trim_matches('"')).filter(|name| name.len() <= NAME_MAX);
    let names: Vec<&str> = names.take(NAMES_SHOWN).collect();
    let which = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
    (
        format!("its certificate is for another name{which}"),
        "name the registry as its certificate does".into(),
    )
}

/// Whether the answer was no TLS at all.
pub(super) fn is_no_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut errors = chain(error).filter_map(|error| error.downcast_ref::<rustls::Error>());
    errors.any(|error| matches!(error, rustls::Error::InvalidMessage(_)))
}

pub(super) fn hint_client(authority: &str) -> String {
    format!("give `cert` and `key` in the config file, of `registries: {{{authority:?}: …}}`")
}

pub(super) fn hint_no_tls(authority: &str) -> String {
    format!(
        "if it speaks plain HTTP, say so in the config file: `registries: {{{authority:?}: {{http: true}}}}`"
    )
}

/// Believes any certificate, and still wants the peer to hold its key.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
