//! One HTTP request to one host: connections, TLS, proxies.
//!
//! Invariant: plain HTTP goes only to the loopback and to hosts whose settings allow it; an unchecked
//! certificate is warned of; a proxy is used for other machines only.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderValue, PROXY_AUTHORIZATION};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tower_service::Service;

use super::settings::{Access, is_loopback};
use super::tls::{self, Tls};
use crate::error::{Error, ErrorKind, Result};
use crate::image::progress::{Event, Progress};
use crate::sys::errno_name;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a registry may say nothing at all.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// How often an upload is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The body of a request.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Why there was no answer.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) error: Error,
    /// Whether it may go better a moment later.
    pub(super) passing: bool,
    /// Whether the peer answered in the other protocol.
    pub(super) otherwise: bool,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self { error, passing: false, otherwise: false }
    }
}

/// The client of one pull, push or login.
pub(in crate::image) struct Transport<'a> {
    pub(super) access: &'a Access,
    progress: &'a dyn Progress,
    routes: Arc<Routes>,
    client: HyperClient<Connector, Body>,
}

/// The connector's inputs.
struct Routes {
    proxies: Matcher,
    tls: Mutex<HashMap<String, Tls>>,
}

impl Routes {
    fn proxy(&self, uri: &Uri) -> Option<hyper_util::client::proxy::matcher::Intercept> {
        if uri.authority().is_some_and(|authority| is_loopback(authority.as_str())) {
            return None;
        }
        self.proxies.intercept(uri)
    }
}

impl<'a> Transport<'a> {
    pub(in crate::image) fn new(access: &'a Access, progress: &'a dyn Progress) -> Self {
        let proxies = &access.proxies;
        let matcher = Matcher::builder()
            .http(proxies.http.clone())
            .https(proxies.https.clone())
            .no(proxies.except.clone())
            .build();
        let routes = Arc::new(Routes { proxies: matcher, tls: Mutex::default() });
        let connector = Connector { routes: Arc::clone(&routes) };
        Self { access, progress, routes, client: HyperClient::builder(TokioExecutor::new()).build(connector) }
    }

    /// Passes a warning to the watcher.
    pub(super) fn warn(&self, what: &str) {
        self.progress.event(&Event::Warning(what));
    }

    /// Whether `authority` may be spoken to in plain HTTP.
    pub(super) fn may_be_plain(&self, authority: &str) -> bool {
        is_loopback(authority) || self.access.skip_verify || self.access.settings(authority).http
    }

    /// Sends a request and waits for the head of its answer, or until nothing was heard for too long. `sent` counts
    /// the bytes of the body that are on their way, if it is long; `watch` is told.
    pub(super) async fn send(
        &self,
        mut request: Request<Body>,
        sent: Option<(&AtomicU64, &(dyn Fn(u64) + Sync))>,
    ) -> Result<Response<Incoming>, Trouble> {
        let uri = request.uri().clone();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        match uri.scheme_str() {
            Some("http") if self.may_be_plain(authority) => {
                // To a proxy for plain HTTP the request itself carries the credentials; the connector opens a
                // tunnel.
                if let Some(value) = self.routes.proxy(&uri).and_then(|proxy| proxy.basic_auth().cloned()) {
                    request.headers_mut().insert(PROXY_AUTHORIZATION, sensitive(value));
                }
            }
            Some("https") => self.prepare_tls(authority)?,
            _ => {
                let message = format!("registry {authority}: it may not be spoken to without TLS");
                let hint =
                    format!("`registries: {{{authority:?}: {{http: true}}}}` in the config file allows it");
                return Err(Error::new(ErrorKind::Image, message).hint(hint).into());
            }
        }
        match self.answer(request, sent).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.trouble(&uri, authority, &error)),
            Err(silence) => {
                Err(Error::new(ErrorKind::Image, format!("registry {authority}: {silence}")).into())
            }
        }
    }

    async fn answer(
        &self,
        request: Request<Body>,
        sent: Option<(&AtomicU64, &(dyn Fn(u64) + Sync))>,
    ) -> Result<Result<Response<Incoming>, hyper_util::client::legacy::Error>, String> {
        let mut pending = self.client.request(request);
        let Some((counter, watch)) = sent else { return within(pending).await };
        let (mut seen, mut moved) = (0, Instant::now());
        loop {
            if let Ok(answer) = tokio::time::timeout(LOOK_EVERY, &mut pending).await {
                return Ok(answer);
            }
            let now = counter.load(Ordering::Relaxed);
            if now != seen {
                (seen, moved) = (now, Instant::now());
                watch(now);
            } else if moved.elapsed() >= SILENCE_MAX {
                return Err(silent());
            }
        }
    }

    fn prepare_tls(&self, authority: &str) -> Result<()> {
        let mut known = self.routes.tls.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains_key(authority) {
            return Ok(());
        }
        let skip = self.access.skip_verify || self.access.settings(authority).skip_verify;
        let files = self.access.tls_files(authority)?;
        let prepared = tls::prepare(&files, skip).map_err(|error| {
            error.context(format_args!("registry {authority}")).with_kind(ErrorKind::Image)
        })?;
        known.insert(authority.to_owned(), prepared);
        drop(known);
        if skip {
            let why = if self.access.skip_verify { "--tls-verify=false" } else { "skipVerify" };
            self.warn(&format!("registry {authority}: its certificate is not checked ({why})"));
        }
        Ok(())
    }

    fn trouble(&self, uri: &Uri, authority: &str, error: &hyper_util::client::legacy::Error) -> Trouble {
        let through = self.routes.proxy(uri).map_or(String::new(), |proxy| {
            let proxy = proxy.uri().authority().map_or("", |authority| authority.as_str());
            format!(" (through the proxy {proxy})")
        });
        if let Some((what, hint)) = tls::refusal(error, authority) {
            let otherwise = tls::is_no_tls(error);
            let error = Error::new(ErrorKind::Image, format!("registry {authority}{through}: {what}"));
            return Trouble { error: error.hint(hint), passing: false, otherwise };
        }
        let mut found = Error::new(ErrorKind::Image, reason(error));
        let tls = self.routes.tls(authority).filter(|_| uri.scheme_str() == Some("https"));
        if let Some(suspicion) = tls.as_ref().and_then(Tls::suspicion) {
            found = found.context(suspicion).hint(tls::hint_client(authority));
        }
        let found = found.context(format_args!("registry {authority}{through}"));
        if !error.is_connect() {
            let unreadable =
                chain(error).any(|error| error.downcast_ref().is_some_and(hyper::Error::is_parse));
            return Trouble { error: found, passing: !unreadable, otherwise: unreadable };
        }
        let cut = uri.scheme_str() == Some("https") && was_cut_off(error);
        let found = if cut { found.hint(tls::hint_no_tls(authority)) } else { found };
        Trouble { error: found, passing: false, otherwise: cut }
    }
}

/// Whether a peer accepted and hung up.
fn was_cut_off(error: &(dyn std::error::Error + 'static)) -> bool {
    use io::ErrorKind::{ConnectionReset, UnexpectedEof};
    chain(error).any(|error| {
        let io = error.downcast_ref::<io::Error>();
        io.is_some_and(|io| matches!(io.kind(), ConnectionReset | UnexpectedEof))
    })
}

/// An error and its causes. An `io::Error` stands for the error in it, which its `source` would skip.
pub(super) fn chain<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'e (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        match error.downcast_ref::<io::Error>().map(io::Error::get_ref) {
            Some(Some(inner)) => Some(inner as &(dyn std::error::Error + 'static)),
            _ => error.source(),
        }
    })
}

/// The innermost reason of an HTTP error, in words.
pub(super) fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let innermost = chain(error).last().unwrap_or(error);
    match innermost.downcast_ref::<io::Error>() {
        Some(io) => match io.kind() {
            io::ErrorKind::ConnectionRefused => "connection refused".into(),
            io::ErrorKind::ConnectionReset => "connection reset".into(),
            io::ErrorKind::UnexpectedEof => "the connection was closed".into(),
            _ => io.raw_os_error().map_or_else(|| io.to_string(), errno_name),
        },
        None => innermost.to_string(),
    }
}

/// Waits, but not for a server that says nothing any more.
pub(super) async fn within<F: Future>(future: F) -> Result<F::Output, String> {
    tokio::time::timeout(SILENCE_MAX, future).await.map_err(|_| silent())
}

fn silent() -> String {
    format!("nothing was heard for {} seconds", SILENCE_MAX.as_secs())
}

pub(super) fn sensitive(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

/// Opens connections: to the host itself or to its proxy, with TLS inside where the URL says so.
#[derive(Clone)]
struct Connector {
    routes: Arc<Routes>,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let routes = Arc::clone(&self.routes);
        Box::pin(async move { routes.connect(uri).await })
    }
}

impl Routes {
    fn tls(&self, authority: &str) -> Option<Tls> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner).get(authority).cloned()
    }

    async fn connect(&self, uri: Uri) -> Result<Stream, BoxError> {
        let mut http = HttpConnector::new();
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        http.set_nodelay(true);
        http.enforce_http(false);
        let proxy = self.proxy(&uri);
        if let Some(other) =
            proxy.as_ref().and_then(|proxy| proxy.uri().scheme_str()).filter(|scheme| *scheme != "http")
        {
            return Err(format!("a proxy that is spoken to by {other} is not supported, only by http").into());
        }
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let tls = self.tls(authority);
        match (uri.scheme_str(), proxy) {
            (Some("https"), proxy) => {
                let tls = tls.ok_or("no TLS was prepared")?.config;
                let stream = match proxy {
                    None => HttpsConnector::from((http, tls)).call(uri).await?,
                    Some(proxy) => {
                        let mut tunnel = Tunnel::new(proxy.uri().clone(), http);
                        if let Some(value) = proxy.basic_auth() {
                            tunnel = tunnel.with_auth(value.clone());
                        }
                        HttpsConnector::from((tunnel, tls)).call(uri).await?
                    }
                };
                Ok(Stream { inner: stream, proxied: false })
            }
            (_, Some(proxy)) => {
                let tcp = http.call(proxy.uri().clone()).await?;
                Ok(Stream { inner: MaybeHttpsStream::Http(tcp), proxied: true })
            }
            (_, None) => {
                let tcp = http.call(uri).await?;
                Ok(Stream { inner: MaybeHttpsStream::Http(tcp), proxied: false })
            }
        }
    }
}

/// A connection, and whether a proxy of plain HTTP is at its end, which wants whole URLs.
struct Stream {
    inner: MaybeHttpsStream<TokioIo<TcpStream>>,
    proxied: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = self.inner.connected();
        if self.proxied { connected.proxy(true) } else { connected }
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, buffers)
    }
}
