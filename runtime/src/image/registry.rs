//! A registry over HTTP: the pull half of the distribution spec.
//!
//! Invariant: credentials go to the registry they are for and to the token server it names, over TLS
//! or to the loopback, and never along with a redirect to another host; no body is read without a
//! bound; and what is tried again ends, after so many tries or so many connections.

mod auth;
mod retry;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, RANGE,
    USER_AGENT, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use self::auth::Challenge;
use super::digest::Digest;
use super::manifest::{DOCKER_LIST, DOCKER_MANIFEST, DOCUMENT_MAX, Descriptor, OCI_INDEX, OCI_MANIFEST};
use super::pull::PullOptions;
use super::reference::Reference;
use crate::error::{Error, ErrorKind, Result};

const REDIRECTS_MAX: usize = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a registry may say nothing at all.
const SILENCE_MAX: Duration = Duration::from_secs(120);
const TOKEN_MAX: u64 = 1024 * 1024;
const ERROR_BODY_MAX: u64 = 64 * 1024;

type PlainClient = HyperClient<HttpConnector, Empty<Bytes>>;
type TlsClient = HyperClient<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// One repository of one registry.
pub(super) struct Registry {
    /// `host` or `host:port`, as in the URL.
    authority: String,
    plain_http: bool,
    repository: String,
    insecure: Vec<String>,
    credentials: Option<(String, String)>,
    /// The value of the Authorization header, once the registry asked for one.
    authorization: Mutex<Option<String>>,
    plain: PlainClient,
    /// Made when the first `https` URL is met: reading the system's certificates takes its time.
    tls: OnceLock<TlsClient>,
}

/// Why a request was not answered.
enum Failure {
    /// The answer may be another one a moment later, or after the time that the server asks for.
    Passing(Error, Option<Duration>),
    Final(Error),
}

impl Failure {
    fn of(status: StatusCode, error: Error, asked: Option<Duration>) -> Self {
        if retry::is_passing(status) { Self::Passing(error, asked) } else { Self::Final(error) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// What is asked of the registry.
#[derive(Debug, Clone, Copy)]
struct Ask<'a> {
    /// What follows the repository in the URL.
    what: &'a str,
    accept: &'a str,
    /// The first byte that is wanted of a blob.
    from: u64,
    /// Whether the headers alone are wanted.
    head: bool,
}

fn failed(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Image, what)
}

/// Whether `authority` is this machine: there, plain HTTP gives nobody anything to read.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || host.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback())
}

fn may_be_plain(authority: &str, insecure: &[String]) -> bool {
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    is_loopback(authority) || insecure.iter().any(|entry| entry == authority || entry == host)
}

impl Registry {
    pub(super) fn new(reference: &Reference, options: &PullOptions) -> Result<Self> {
        let authority = match reference.domain() {
            "docker.io" => "registry-1.docker.io".to_owned(),
            domain => domain.to_owned(),
        };
        let credentials = match &options.credentials {
            Some(given) => Some(given.clone()),
            None => auth::from_files(&options.auth_files, reference)?,
        };
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        Ok(Self {
            plain_http: may_be_plain(&authority, &options.insecure_registries),
            authority,
            repository: reference.path().to_owned(),
            insecure: options.insecure_registries.clone(),
            credentials,
            authorization: Mutex::new(None),
            plain: HyperClient::builder(TokioExecutor::new()).build(connector),
            tls: OnceLock::new(),
        })
    }

    /// Fetches the manifest or index that `target` (a tag or a digest) names: its bytes, its digest and
    /// its type.
    pub(super) async fn manifest(&self, target: &str) -> Result<(Vec<u8>, Digest, Option<String>)> {
        let accept = manifest_types();
        let what = format!("manifests/{target}");
        let response = self.get(Ask { what: &what, accept: &accept, from: 0, head: false }).await?;
        let media_type = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .map(|value| value.trim().to_owned())
            // What a server says when it knows nothing says nothing.
            .filter(|value| {
                !matches!(value.as_str(), "application/json" | "text/plain" | "application/octet-stream")
            });
        let promised = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        let promised = promised.map(str::parse::<Digest>).transpose()?;
        let bytes = self.read_small(response, DOCUMENT_MAX).await?;
        let digest = Digest::of(&bytes);
        let wanted = target.parse::<Digest>().ok();
        for expected in [wanted, promised].into_iter().flatten() {
            if expected.algorithm() == digest.algorithm() && expected != digest {
                return Err(failed(format!(
                    "wrong digest: the manifest's content is {digest}, not {expected}"
                )));
            }
        }
        Ok((bytes, digest, media_type))
    }

    /// The digest of the manifest that `tag` names now, if the registry tells without sending it.
    pub(super) async fn digest_of(&self, tag: &str) -> Option<Digest> {
        let (what, accept) = (format!("manifests/{tag}"), manifest_types());
        let ask = Ask { what: &what, accept: &accept, from: 0, head: true };
        // Whatever is wrong is said when the manifest itself is asked for.
        let response = self.get_once(ask).await.ok()?;
        response.headers().get("docker-content-digest")?.to_str().ok()?.parse().ok()
    }

    /// Fetches a small blob whole, and checks it.
    pub(super) async fn small_blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        if descriptor.size > DOCUMENT_MAX {
            return Err(failed(format!("blob {} is larger than {DOCUMENT_MAX} bytes", descriptor.digest)));
        }
        let mut bytes = Vec::new();
        self.blob(descriptor, |piece| {
            bytes.extend_from_slice(piece);
            if bytes.len() as u64 > descriptor.size {
                return Err(failed(format!(
                    "blob {} is longer than {} bytes",
                    descriptor.digest, descriptor.size
                )));
            }
            Ok(())
        })
        .await?;
        Ok(bytes)
    }

    /// Fetches a blob; `take` gets it piece by piece, and can end it by an error. Where the connection
    /// breaks off it is taken up again from the byte that was reached.
    pub(super) async fn blob(
        &self,
        descriptor: &Descriptor,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let what = format!("blobs/{}", descriptor.digest);
        let (mut got, mut fruitless) = (0, 0);
        for _ in 0..retry::RESUMES {
            let before = got;
            let response = self.get(Ask { what: &what, accept: "*/*", from: got, head: false }).await?;
            let skip = check_range(&response, descriptor, got)?;
            let broken = match self.read_blob(response, skip, &mut got, &mut take).await? {
                None => return Ok(()),
                // All of it came, whatever became of the connection.
                Some(_) if got == descriptor.size => return Ok(()),
                Some(broken) => broken,
            };
            fruitless = if got > before { 0 } else { fruitless + 1 };
            let Some(pause) = retry::pause(fruitless.max(1), None) else {
                return Err(broken_off(descriptor, got, &broken));
            };
            tokio::time::sleep(pause).await;
        }
        Err(broken_off(descriptor, got, &format!("{} times", retry::RESUMES)))
    }

    /// Gives the body behind its first `skip` bytes to `take`, and says why it broke off, if it did.
    async fn read_blob(
        &self,
        response: Response<Incoming>,
        mut skip: u64,
        got: &mut u64,
        take: &mut impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<Option<String>> {
        let mut body = response.into_body();
        while let Some(frame) = within(body.frame()).await.map_err(|error| self.said(&error))? {
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => return Ok(Some(reason(&error))),
            };
            let Some(mut piece) = frame.data_ref().map(|data| &data[..]) else { continue };
            let skipped = usize::try_from(skip).map_or(piece.len(), |skip| skip.min(piece.len()));
            piece = &piece[skipped..];
            skip -= skipped as u64;
            *got += piece.len() as u64;
            take(piece)?;
        }
        Ok(None)
    }

    /// Asks until there is an answer that stays.
    async fn get(&self, ask: Ask<'_>) -> Result<Response<Incoming>> {
        let mut tried = 0;
        loop {
            let (error, asked) = match self.get_once(ask).await {
                Ok(response) => return Ok(response),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(error, asked)) => (error, asked),
            };
            tried += 1;
            match (retry::pause(tried, asked), asked) {
                (Some(pause), _) => tokio::time::sleep(pause).await,
                (None, Some(asked)) if tried < retry::TRIES => {
                    return Err(error.hint(format!("it asks to come back in {} seconds", asked.as_secs())));
                }
                (None, _) => return Err(error.hint(format!("it was tried {tried} times"))),
            }
        }
    }

    async fn get_once(&self, ask: Ask<'_>) -> Result<Response<Incoming>, Failure> {
        let scheme = if self.plain_http { "http" } else { "https" };
        let url = format!("{scheme}://{}/v2/{}/{}", self.authority, self.repository, ask.what);
        let mut uri: Uri = url.parse().map_err(|error| failed(format!("{url}: {error}")))?;
        let mut authorized = false;
        for _ in 0..=REDIRECTS_MAX {
            let own = uri.authority().is_some_and(|authority| authority.as_str() == self.authority);
            let sent = if own { self.current_authorization() } else { None };
            let response = self.send(&uri, ask, sent.as_deref()).await?;
            match response.status() {
                status if status.is_success() => return Ok(response),
                StatusCode::UNAUTHORIZED if own && !authorized => {
                    authorized = true;
                    self.authorize(&response).await?;
                }
                status if status.is_redirection() => uri = self.redirect(&uri, &response)?,
                status => {
                    let asked = retry::asked(response.headers(), SystemTime::now());
                    let error = self.refused(ask.what, status, response).await;
                    return Err(Failure::of(status, error, asked));
                }
            }
        }
        Err(self.said("redirects without end").into())
    }

    fn current_authorization(&self) -> Option<String> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn redirect(&self, from: &Uri, response: &Response<Incoming>) -> Result<Uri> {
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| self.said("a redirect to nowhere"))?;
        let absolute = if location.starts_with('/') && !location.starts_with("//") {
            let authority = from.authority().map_or("", |authority| authority.as_str());
            format!("{}://{authority}{location}", from.scheme_str().unwrap_or("https"))
        } else {
            location.to_owned()
        };
        absolute.parse().map_err(|_| self.said("a redirect to what is no URL"))
    }

    /// Sends one GET; plain HTTP only where it may be.
    async fn send(
        &self,
        uri: &Uri,
        ask: Ask<'_>,
        authorization: Option<&str>,
    ) -> Result<Response<Incoming>, Failure> {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let method = if ask.head { Method::HEAD } else { Method::GET };
        let mut request = Request::builder()
            .method(method)
            .uri(uri.clone())
            .header(USER_AGENT, concat!("podrun/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, ask.accept);
        if ask.from > 0 {
            request = request.header(RANGE, format!("bytes={}-", ask.from));
        }
        if let Some(value) = authorization {
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| self.said("credentials that cannot stand in a header"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(Empty::new()).map_err(|error| failed(error.to_string()))?;
        let pending = match uri.scheme_str() {
            Some("http") if may_be_plain(authority, &self.insecure) => self.plain.request(request),
            Some("https") => self.tls()?.request(request),
            _ => return Err(self.said(&format!("it sends us to {authority} without TLS")).into()),
        };
        match within(pending).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if !error.is_connect() => {
                Err(Failure::Passing(failed(format!("registry {authority}: {}", reason(&error))), None))
            }
            Ok(Err(error)) => {
                let tls_wanted = !self.plain_http && authority == self.authority && speaks_otherwise(&error);
                let error = failed(format!("registry {authority}: {}", reason(&error)));
                Err(Failure::Final(if tls_wanted {
                    error.hint("a registry without TLS must be listed as insecure in the config file")
                } else {
                    error
                }))
            }
            Err(silence) => Err(failed(format!("registry {authority}: {silence}")).into()),
        }
    }

    fn tls(&self) -> Result<&TlsClient> {
        if let Some(client) = self.tls.get() {
            return Ok(client);
        }
        let mut http = HttpConnector::new();
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        http.enforce_http(false);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| {
                failed(format!("the system's certificates: {error}"))
                    .hint("install the package ca-certificates")
            })?
            .https_only()
            .enable_all_versions()
            .wrap_connector(http);
        Ok(self.tls.get_or_init(|| HyperClient::builder(TokioExecutor::new()).build(connector)))
    }

    /// Answers the registry's demand for credentials, for this and all later requests.
    async fn authorize(&self, response: &Response<Incoming>) -> Result<(), Failure> {
        let challenges: Vec<Challenge> = response
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(auth::parse_challenges)
            .collect();
        let find = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let value = if let Some(bearer) = find("bearer") {
            format!("Bearer {}", self.token(bearer).await?)
        } else if let (Some(_), Some((user, password))) = (find("basic"), &self.credentials) {
            auth::basic(user, password)
        } else {
            return Err(self.unauthorized().into());
        };
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        Ok(())
    }

    /// Gets a token from the server that the registry names.
    async fn token(&self, challenge: &Challenge) -> Result<String, Failure> {
        let realm = challenge.get("realm").ok_or_else(|| self.said("a token server without an address"))?;
        let mut url = format!("{realm}{}", if realm.contains('?') { '&' } else { '?' });
        if let Some(service) = challenge.get("service") {
            url.push_str(&format!("service={}&", auth::percent_encode(service)));
        }
        let scope = format!("repository:{}:pull", self.repository);
        url.push_str(&format!("scope={}", auth::percent_encode(&scope)));
        let uri: Uri = url.parse().map_err(|_| self.said("a token server whose address is no URL"))?;
        let basic = self.credentials.as_ref().map(|(user, password)| auth::basic(user, password));
        let ask = Ask { what: "", accept: "application/json", from: 0, head: false };
        let response = self.send(&uri, ask, basic.as_deref()).await?;
        match response.status() {
            status if status.is_success() => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(self.unauthorized().into()),
            status => {
                let error = self.said(&format!("its token server answers {status}"));
                let asked = retry::asked(response.headers(), SystemTime::now());
                return Err(Failure::of(status, error, asked));
            }
        }
        let bytes = self.read_small(response, TOKEN_MAX).await?;
        let answer: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|_| self.said("its token server's answer is no JSON"))?;
        ["token", "access_token"]
            .iter()
            .find_map(|key| answer.get(*key).and_then(serde_json::Value::as_str))
            .map(str::to_owned)
            .ok_or_else(|| self.said("its token server's answer has no token").into())
    }

    fn unauthorized(&self) -> Error {
        let (what, hint) = match self.credentials {
            Some(_) => ("the credentials are refused", "look at the registry's entry in the auth file"),
            None => (
                "unauthorized: it wants credentials, and there are none",
                "log in, or check the image's name",
            ),
        };
        self.said(what).hint(hint)
    }

    /// The error that a status stands for.
    async fn refused(&self, what: &str, status: StatusCode, response: Response<Incoming>) -> Error {
        let said = self.read_small(response, ERROR_BODY_MAX).await.ok().and_then(|body| {
            let body: serde_json::Value = serde_json::from_slice(&body).ok()?;
            let message = body.get("errors")?.get(0)?.get("message")?.as_str()?;
            Some(message.chars().take(200).collect::<String>().escape_debug().to_string())
        });
        match status {
            StatusCode::NOT_FOUND => {
                let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
                self.said(&format!("{what} not found{said}"))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.unauthorized(),
            _ => self.said(&format!(
                "{what}: {status}{}",
                said.map(|said| format!(": {said}")).unwrap_or_default()
            )),
        }
    }

    fn said(&self, what: &str) -> Error {
        failed(format!("registry {}: {what}", self.authority))
    }

    async fn read_small(&self, response: Response<Incoming>, max: u64) -> Result<Vec<u8>> {
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = within(body.frame()).await.map_err(|error| self.said(&error))? {
            let frame =
                frame.map_err(|error| self.said(&format!("truncated answer ({})", reason(&error))))?;
            if let Some(piece) = frame.data_ref() {
                if (bytes.len() + piece.len()) as u64 > max {
                    return Err(self.said(&format!("an answer of more than {max} bytes")));
                }
                bytes.extend_from_slice(piece);
            }
        }
        Ok(bytes)
    }
}

fn manifest_types() -> String {
    [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST].join(", ")
}

/// Whether the body that comes is what was asked for: how many bytes at its beginning are known already.
/// A length that is not the promised one is refused before anything is read.
fn check_range(response: &Response<Incoming>, descriptor: &Descriptor, from: u64) -> Result<u64> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let is_part = response.status() == StatusCode::PARTIAL_CONTENT;
    if is_part && !header(CONTENT_RANGE).is_some_and(|range| range.starts_with(&format!("bytes {from}-"))) {
        return Err(failed(format!(
            "blob {}: another part came than the one from byte {from}",
            descriptor.digest
        )));
    }
    let known = if is_part { from } else { 0 };
    let Some(length) = header(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok()) else {
        return Ok(from - known);
    };
    match known.saturating_add(length) {
        whole if whole < descriptor.size => Err(failed(format!(
            "blob {} is truncated: the registry has {whole} of {} bytes",
            descriptor.digest, descriptor.size
        ))),
        whole if whole > descriptor.size => Err(failed(format!(
            "blob {} is longer than the {} bytes it should have: the registry has {whole}",
            descriptor.digest, descriptor.size
        ))),
        _ => Ok(from - known),
    }
}

fn broken_off(descriptor: &Descriptor, got: u64, why: &str) -> Error {
    failed(format!(
        "blob {} is truncated: the connection ended after {got} of {} bytes ({why})",
        descriptor.digest, descriptor.size
    ))
}

/// Whether somebody answered, and not with TLS.
fn speaks_otherwise(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{ConnectionReset, InvalidData, UnexpectedEof};
    let mut errors = std::iter::successors(Some(error), |error| error.source());
    errors.any(|error| {
        let io = error.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| matches!(io.kind(), ConnectionReset | InvalidData | UnexpectedEof))
    })
}

/// The innermost reason of an HTTP error, in words.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    match innermost.downcast_ref::<std::io::Error>() {
        Some(io) => match io.kind() {
            std::io::ErrorKind::ConnectionRefused => "connection refused".into(),
            std::io::ErrorKind::ConnectionReset => "connection reset".into(),
            std::io::ErrorKind::UnexpectedEof => "the connection was closed".into(),
            _ => io.to_string(),
        },
        None => innermost.to_string(),
    }
}

/// Waits, but not for a server that says nothing any more.
async fn within<F: Future>(future: F) -> std::result::Result<F::Output, String> {
    tokio::time::timeout(SILENCE_MAX, future)
        .await
        .map_err(|_| format!("nothing was heard for {} seconds", SILENCE_MAX.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_the_loopback_and_for_what_is_listed() {
        for yes in
            ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:80", "plain.example:80"]
        {
            assert!(may_be_plain(yes, &["plain.example".into()]), "{yes}");
        }
        for no in
            ["localhost.example", "127.0.0.1.example", "10.0.0.1:5000", "[::2]", "example:80", "1270.0.0.1"]
        {
            assert!(!may_be_plain(no, &["plain.example".into()]), "{no}");
        }
    }
}
