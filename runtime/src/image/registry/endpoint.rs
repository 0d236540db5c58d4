//! One repository of one registry, or of a mirror: requests, with the authentication it asks for.
//!
//! Invariant: credentials go to their registry and to the token server it names, over TLS or to the loopback,
//! and never along with a redirect to another host; no answer is read without a bound; retries end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION, RANGE, USER_AGENT,
    WWW_AUTHENTICATE,
};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode, Uri};
use tokio::sync::Mutex as AsyncMutex;

use super::auth::{self, Challenge};
use super::credentials::{self, Credentials};
use super::relative;
use super::retry;
use super::settings::{authority_of, is_loopback};
use super::transport::{Body, Transport, Trouble, reason, sensitive, within};
use super::upload::Upload;
use crate::error::{Error, ErrorKind, Result, shown};

const REDIRECTS_MAX: usize = 10;
const TOKEN_MAX: u64 = 1024 * 1024;
const ERROR_BODY_MAX: u64 = 64 * 1024;

/// Why a request was not answered.
pub(super) enum Failure {
    /// The answer may be another one a moment later, or after the time that the server asks for.
    Passing(Error, Option<std::time::Duration>),
    Final(Error),
}

impl Failure {
    fn of(status: StatusCode, error: Error, asked: Option<std::time::Duration>) -> Self {
        if retry::is_passing(status) { Self::Passing(error, asked) } else { Self::Final(error) }
    }

    pub(super) fn into_error(self) -> Error {
        let (Self::Passing(error, _) | Self::Final(error)) = self;
        error
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        if trouble.passing { Self::Passing(trouble.error, None) } else { Self::Final(trouble.error) }
    }
}

/// The body of a request.
#[derive(Clone, Copy)]
pub(super) enum Payload<'a> {
    Nothing,
    /// A small document and its type.
    Bytes(&'a [u8], &'a str),
    /// A blob of the store; the watcher is told its progress.
    Blob(&'a Upload<'a>),
}

/// A request to the registry.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) method: &'a Method,
    pub(super) accept: &'a str,
    /// The first byte that is wanted of a blob.
    pub(super) from: u64,
    pub(super) payload: Payload<'a>,
}

impl<'a> Ask<'a> {
    pub(super) fn get(accept: &'a str) -> Self {
        Self { method: &Method::GET, accept, from: 0, payload: Payload::Nothing }
    }

    fn is_reading(&self) -> bool {
        *self.method == Method::GET || *self.method == Method::HEAD
    }

    /// Whether it is repeated at the redirect of an answer with this `status`: another method than GET only
    /// where the status keeps it (RFC 9110, section 15.4).
    fn goes_on(&self, status: StatusCode) -> bool {
        let keeps_method = matches!(status.as_u16(), 307 | 308);
        keeps_method || (self.is_reading() && matches!(status.as_u16(), 301..=303))
    }

    pub(super) fn with(method: &'a Method, payload: Payload<'a>) -> Self {
        Self { method, accept: "*/*", from: 0, payload }
    }
}

/// One repository of one registry.
pub(super) struct Endpoint<'a> {
    transport: &'a Transport<'a>,
    /// The name that people use: `docker.io`, `localhost:5000`.
    pub(super) name: String,
    /// `host` or `host:port`, as in the URL.
    authority: String,
    /// Empty where the registry itself is asked.
    repository: String,
    /// The requested rights, in the token server's words: `repository:<path>:pull`.
    scopes: Vec<String>,
    /// Credentials for this registry that stand above the files'.
    given: Option<Credentials>,
    /// The value of the Authorization header, once the registry asked for one.
    authorization: Mutex<Option<String>>,
    /// Whether it is spoken to with TLS.
    tls: AtomicBool,
    /// Whether it may turn out to speak the other protocol; locked by the request that finds out.
    undecided: AsyncMutex<bool>,
}

impl<'a> Endpoint<'a> {
    pub(super) fn new(
        transport: &'a Transport<'a>,
        name: &str,
        repository: String,
        scopes: Vec<String>,
        given: Option<Credentials>,
    ) -> Result<Self> {
        let authority = authority_of(name).to_owned();
        let (access, settings) = (transport.access, transport.access.settings(&authority));
        let wants_tls = settings.skip_verify || !access.tls_files(&authority)?.is_empty();
        let loopback = is_loopback(&authority);
        Ok(Self {
            tls: AtomicBool::new(wants_tls || !(settings.http || loopback)),
            undecided: AsyncMutex::new(!settings.http && !wants_tls && (loopback || access.skip_verify)),
            transport,
            name: name.to_owned(),
            authority,
            repository,
            scopes,
            given,
            authorization: Mutex::new(None),
        })
    }

    /// The URL of `what` in the repository.
    fn url(&self, what: &str) -> Result<Uri> {
        let scheme = if self.tls.load(Ordering::Relaxed) { "https" } else { "http" };
        let slash = if self.repository.is_empty() { "" } else { "/" };
        let url = format!("{scheme}://{}/v2/{}{slash}{what}", self.authority, self.repository);
        url.parse().map_err(|error| Error::new(ErrorKind::Image, format!("{url}: {error}")))
    }

    /// Asks until there is an answer that stays.
    pub(super) async fn ask(&self, what: &str, ask: Ask<'_>) -> Result<Response<Incoming>> {
        self.persist(async || self.ask_once(what, ask).await).await
    }

    /// Tries until there is an outcome that stays.
    pub(super) async fn persist<T>(&self, attempt: impl AsyncFn() -> Result<T, Failure>) -> Result<T> {
        let mut tried = 0;
        loop {
            let (error, asked) = match attempt().await {
                Ok(outcome) => return Ok(outcome),
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

    /// Asks once: after authenticating as asked for, and wherever it redirects.
    pub(super) async fn ask_once(&self, what: &str, ask: Ask<'_>) -> Result<Response<Incoming>, Failure> {
        self.ask_from(what, ask).await.map(|(_, response)| response)
    }

    /// The same, with the URL that answered: the answer may be relative to it.
    pub(super) async fn ask_from(
        &self,
        what: &str,
        ask: Ask<'_>,
    ) -> Result<(Uri, Response<Incoming>), Failure> {
        self.ask_at(self.url(what)?, what, ask).await
    }

    /// The same for a URL that the registry gave.
    pub(super) async fn ask_at(
        &self,
        mut uri: Uri,
        what: &str,
        ask: Ask<'_>,
    ) -> Result<(Uri, Response<Incoming>), Failure> {
        let mut authorized = false;
        for _ in 0..=REDIRECTS_MAX {
            let own = is_site(&uri, &self.authority);
            let sent = if own { self.current_authorization() } else { None };
            let response = self.send(&uri, ask, sent.as_deref()).await;
            if own && self.speaks_otherwise(&uri, &response).await? {
                uri = self.url(what)?;
                continue;
            }
            let response = response?;
            match response.status() {
                status if status.is_success() => return Ok((uri, response)),
                StatusCode::UNAUTHORIZED if own && !authorized => {
                    authorized = true;
                    self.authorize(&response).await?;
                }
                status if ask.goes_on(status) => uri = self.location(&uri, &response)?,
                status => {
                    let asked = retry::asked(response.headers(), SystemTime::now());
                    let error = self.refused(what, status, response).await;
                    return Err(Failure::of(status, error, asked));
                }
            }
        }
        Err(self.said("redirects without end").into())
    }

    /// Whether the answer at `uri`, of a registry that may speak either way, came from one that speaks the other.
    async fn speaks_otherwise(
        &self,
        uri: &Uri,
        answer: &Result<Response<Incoming>, Trouble>,
    ) -> Result<bool> {
        let with_tls = uri.scheme_str() == Some("https");
        let suspicious = match answer {
            // The answer of TLS servers to a plain request.
            Ok(response) => !with_tls && response.status() == StatusCode::BAD_REQUEST,
            Err(trouble) => trouble.otherwise,
        };
        let mut undecided = self.undecided.lock().await;
        if suspicious && self.tls.load(Ordering::Relaxed) != with_tls {
            // A request beside this one has found out.
            return Ok(true);
        }
        if !std::mem::take(&mut *undecided) || !suspicious {
            return Ok(false);
        }
        let scheme = if with_tls { "http" } else { "https" };
        let uri = format!("{scheme}://{}/v2/", self.authority).parse();
        let uri: Uri = uri.map_err(|_| self.said("its name is no part of a URL"))?;
        let probe = Ask { method: &Method::HEAD, ..Ask::get("*/*") };
        let other = self.send(&uri, probe, None).await;
        // A certificate that is refused is an answer, too.
        let speaks = !other.is_err_and(|trouble| trouble.otherwise);
        if speaks {
            self.tls.store(!with_tls, Ordering::Relaxed);
        }
        Ok(speaks)
    }

    /// Whether the registry asked for authentication.
    pub(super) fn was_asked(&self) -> bool {
        self.current_authorization().is_some()
    }

    fn current_authorization(&self) -> Option<String> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where an answer sends us.
    pub(super) fn location(&self, from: &Uri, response: &Response<Incoming>) -> Result<Uri> {
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| self.said("a redirect to nowhere"))?;
        self.absolute(from, location, "Location")
    }

    /// The URL that `reference`, the value of `header`, is, as seen from the one that gave it. None leads from TLS to
    /// plain HTTP.
    pub(super) fn absolute(&self, from: &Uri, reference: &str, header: &str) -> Result<Uri> {
        let none = || self.said(&format!("its {header} header names what is no URL: {}", shown(reference)));
        let uri = relative::resolve(from, reference).ok_or_else(none)?;
        if from.scheme_str() == Some("https") && uri.scheme_str() != Some("https") {
            let authority = uri.authority().map_or("", |authority| authority.as_str());
            return Err(self.said(&format!("it sends us from TLS to {authority} without")).hint(
                "behind a proxy that does its TLS, a registry has to be told so: X-Forwarded-Proto, or its own URL",
            ));
        }
        Ok(uri)
    }

    /// Sends one request.
    async fn send(
        &self,
        uri: &Uri,
        ask: Ask<'_>,
        authorization: Option<&str>,
    ) -> Result<Response<Incoming>, Trouble> {
        let mut request = Request::builder()
            .method(ask.method)
            .uri(uri.clone())
            .header(USER_AGENT, concat!("podrun/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, ask.accept);
        if ask.from > 0 {
            request = request.header(RANGE, format!("bytes={}-", ask.from));
        }
        if let Some(value) = authorization {
            let value = HeaderValue::from_str(value)
                .map_err(|_| self.said("credentials that cannot stand in a header"))?;
            request = request.header(AUTHORIZATION, sensitive(value));
        }
        let counter = std::sync::Arc::new(AtomicU64::new(0));
        let (body, watch): (Body, Option<&(dyn Fn(u64) + Sync)>) = match ask.payload {
            Payload::Nothing => {
                if !ask.is_reading() {
                    request = request.header(CONTENT_LENGTH, 0);
                }
                (Empty::new().map_err(|never| match never {}).boxed_unsync(), None)
            }
            Payload::Bytes(bytes, media_type) => {
                request = request.header(CONTENT_TYPE, media_type);
                (
                    Full::new(Bytes::copy_from_slice(bytes)).map_err(|never| match never {}).boxed_unsync(),
                    None,
                )
            }
            Payload::Blob(upload) => {
                request = request.header(CONTENT_TYPE, "application/octet-stream");
                request = request.header(CONTENT_LENGTH, upload.size);
                (upload.body(std::sync::Arc::clone(&counter))?, Some(upload.watch))
            }
        };
        let request = request.body(body).map_err(|error| self.said(&error.to_string()))?;
        self.transport.send(request, watch.map(|watch| (&*counter, watch))).await
    }

    /// The credentials for this registry: those given with the call, else a file's or a helper's.
    fn credentials(&self) -> Result<Option<Credentials>> {
        if let Some(given) = &self.given {
            return Ok(Some(given.clone()));
        }
        let slash = if self.repository.is_empty() { "" } else { "/" };
        credentials::find(
            &self.transport.access.auth_files,
            &format!("{}{slash}{}", self.name, self.repository),
        )
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
        let credentials = self.credentials()?;
        let value = match (find("bearer"), find("basic"), &credentials) {
            (Some(_), _, Some(Credentials::Bearer(token))) => format!("Bearer {token}"),
            (Some(bearer), ..) => format!("Bearer {}", self.token(bearer, credentials.as_ref()).await?),
            (None, Some(_), Some(Credentials::Password { user, password })) => auth::basic(user, password),
            (None, Some(_), Some(_)) => {
                return Err(self.said("it wants a user name and a password, and there is a token").into());
            }
            _ => return Err(self.unauthorized(credentials.is_some()).into()),
        };
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        Ok(())
    }

    /// The query of a token request, each field with its `&`.
    fn token_query(&self, challenge: &Challenge, credentials: Option<&Credentials>) -> String {
        let mut query = String::new();
        if let Some(service) = challenge.get("service") {
            query.push_str(&format!("service={}&", auth::percent_encode(service)));
        }
        let oauth = matches!(credentials, Some(Credentials::Identity(_)));
        // A form has one field of them all, a query has one for each.
        let scopes: Vec<String> = if oauth { vec![self.scopes.join(" ")] } else { self.scopes.clone() };
        for scope in scopes.iter().filter(|scope| !scope.is_empty()) {
            query.push_str(&format!("scope={}&", auth::percent_encode(scope)));
        }
        query
    }

    /// Gets a token from the server that the registry names.
    async fn token(
        &self,
        challenge: &Challenge,
        credentials: Option<&Credentials>,
    ) -> Result<String, Failure> {
        let realm = challenge.get("realm").ok_or_else(|| self.said("a token server without an address"))?;
        let mut query = self.token_query(challenge, credentials);
        let form;
        let (url, ask, basic) = if let Some(Credentials::Identity(token)) = credentials {
            // OAuth's refresh, as the distribution project's token server has it.
            form = format!(
                "grant_type=refresh_token&{query}client_id=podrun&refresh_token={}",
                auth::percent_encode(token)
            );
            let payload = Payload::Bytes(form.as_bytes(), "application/x-www-form-urlencoded");
            (realm.to_owned(), Ask { accept: "application/json", ..Ask::with(&Method::POST, payload) }, None)
        } else {
            let basic = match credentials {
                Some(Credentials::Password { user, password }) => {
                    query.push_str(&format!("account={}&", auth::percent_encode(user)));
                    Some(auth::basic(user, password))
                }
                _ => None,
            };
            let begin = if realm.contains('?') { '&' } else { '?' };
            (format!("{realm}{begin}{}", query.trim_end_matches('&')), Ask::get("application/json"), basic)
        };
        let uri: Uri = url.parse().map_err(|_| self.said("a token server whose address is no URL"))?;
        let response = self.ask_token_server(uri, ask, basic.as_deref()).await?;
        match response.status() {
            status if status.is_success() => {}
            // A token server of OAuth says so of a token that is no longer good.
            StatusCode::BAD_REQUEST if matches!(credentials, Some(Credentials::Identity(_))) => {
                return Err(self.unauthorized(true).into());
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(self.unauthorized(credentials.is_some()).into());
            }
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
            .filter_map(|key| answer.get(*key).and_then(serde_json::Value::as_str))
            // Go's token servers write the one that they do not use as an empty text.
            .find(|token| !token.is_empty())
            .map(str::to_owned)
            .ok_or_else(|| self.said("its token server's answer has no token").into())
    }

    /// Asks at the registry's token server, and wherever that redirects; the message names the first host
    /// alone.
    async fn ask_token_server(
        &self,
        mut uri: Uri,
        ask: Ask<'_>,
        basic: Option<&str>,
    ) -> Result<Response<Incoming>, Failure> {
        let first = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
        for _ in 0..=REDIRECTS_MAX {
            let own = is_site(&uri, &first);
            // The form that is posted has a token in it.
            if !own && !ask.is_reading() {
                return Err(self.said("its token server sends the token to another host").into());
            }
            let response = self.send(&uri, ask, basic.filter(|_| own)).await?;
            if !ask.goes_on(response.status()) {
                return Ok(response);
            }
            uri = self.location(&uri, &response)?;
        }
        Err(self.said("its token server redirects without end").into())
    }

    fn unauthorized(&self, had_credentials: bool) -> Error {
        let login = format!("`podrun login {}`", self.name);
        let (what, hint) = match (had_credentials, &self.given) {
            (true, Some(_)) => {
                ("the credentials are refused", "look at the user name and the password".to_owned())
            }
            (true, None) => (
                "the credentials are refused",
                format!("{login} replaces them; or they do not reach as far as this image"),
            ),
            (false, _) => (
                "unauthorized: it wants credentials, and there are none",
                format!("log in by {login}, or check the image's name"),
            ),
        };
        self.said(what).hint(hint)
    }

    /// The error that a status stands for.
    async fn refused(&self, what: &str, status: StatusCode, response: Response<Incoming>) -> Error {
        let said = self.read_small(response, ERROR_BODY_MAX).await.ok().and_then(|body| {
            let body: serde_json::Value = serde_json::from_slice(&body).ok()?;
            let message = body.get("errors")?.get(0)?.get("message")?.as_str()?;
            Some(shown(message).to_string())
        });
        match status {
            StatusCode::NOT_FOUND => {
                let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
                self.said(&format!("{} not found{said}", called(what))).with_kind(ErrorKind::NotFound)
            }
            StatusCode::PAYLOAD_TOO_LARGE => self.said(&format!("{what}: {status}")).hint(
                "a blob goes in one request: the registry, or a proxy before it, allows none of this size",
            ),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                self.unauthorized(self.credentials().is_ok_and(|credentials| credentials.is_some()))
            }
            _ => self.said(&format!(
                "{what}: {status}{}",
                said.map(|said| format!(": {said}")).unwrap_or_default()
            )),
        }
    }

    pub(super) fn said(&self, what: &str) -> Error {
        Error::new(ErrorKind::Image, format!("registry {}: {what}", self.name))
    }

    /// Reads an answer that has at most `max` bytes.
    pub(super) async fn read_small(&self, response: Response<Incoming>, max: u64) -> Result<Vec<u8>> {
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

/// Whether a URL leads to the host and port that `authority` names; the port that a scheme has by itself may be left out.
fn is_site(uri: &Uri, authority: &str) -> bool {
    let Ok(site) = authority.parse::<Authority>() else { return false };
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    uri.host().is_some_and(|host| host.eq_ignore_ascii_case(site.host()))
        && uri.port_u16().unwrap_or(default) == site.port_u16().unwrap_or(default)
}

/// The name of a path below a repository, in words.
fn called(what: &str) -> String {
    match what.split_once('/') {
        Some(("manifests", name)) if name.contains(':') => format!("manifest {name}"),
        Some(("manifests", name)) => format!("tag {name}"),
        Some(("blobs", name)) if !name.starts_with("uploads") => format!("blob {name}"),
        Some(("tags", _)) => "the repository".to_owned(),
        _ => what.to_owned(),
    }
}
