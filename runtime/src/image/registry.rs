//! A registry over HTTP: the distribution spec, for pulls, pushes and logins.
//!
//! Invariant: no body is read without a bound; a mirror is asked before the registry and never instead of it;
//! retries end after a number of tries or connections.

mod auth;
mod credentials;
mod endpoint;
mod helper;
mod login;
mod relative;
mod retry;
mod settings;
mod tags;
mod target;
mod tls;
mod transport;
mod upload;

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use hyper::{Method, Response, StatusCode};

pub use self::credentials::Credentials;
use self::endpoint::{Ask, Endpoint, Failure};
pub use self::login::{Login, forget, forget_all, login, logins};
use self::settings::split_mirror;
pub use self::settings::{Access, Proxies, RegistrySettings};
pub use self::tags::tags;
pub(super) use self::target::Target;
pub(super) use self::transport::Transport;
use self::transport::{reason, within};
pub(super) use self::upload::Upload;
use super::model::digest::Digest;
use super::model::manifest::{
    DOCKER_LIST, DOCKER_MANIFEST, DOCUMENT_MAX, Descriptor, OCI_INDEX, OCI_MANIFEST, media_type,
};
use super::model::reference::Reference;
use crate::error::{Error, ErrorKind, Result};

/// Reads the parsed headers, for the fuzz target: `text` as each of them.
#[cfg(fuzzing)]
pub(super) fn read_headers(text: &str) {
    for challenge in auth::parse_challenges(text) {
        assert!(!challenge.scheme.is_empty() && challenge.scheme.len() <= text.len(), "{challenge:?}");
        for key in ["realm", "service", "scope"] {
            let value = challenge.get(key).unwrap_or_default();
            let encoded = auth::percent_encode(value);
            assert!(encoded.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'&'), "{encoded:?}");
        }
    }
    let mut headers = hyper::HeaderMap::new();
    if let Ok(value) = text.parse() {
        headers.insert(hyper::header::RETRY_AFTER, value);
        let asked = retry::asked(&headers, std::time::SystemTime::now());
        assert!(retry::pause(1, asked).is_none_or(|pause| pause <= retry::LONGEST_PAUSE), "{asked:?}");
    }
    if let Some(next) = tags::next_page(text) {
        assert!(!next.contains('>') && text.contains(next), "{next:?}");
    }
    if let Some(bytes) = auth::decode(text) {
        assert!(bytes.len() <= text.len(), "more bytes than digits");
    }
}

fn failed(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Image, what)
}

/// One repository: at its registry's mirrors, then at the registry itself.
pub(super) struct Registry<'a> {
    transport: &'a Transport<'a>,
    sources: Vec<Source<'a>>,
    /// The first source that has not failed.
    current: AtomicUsize,
}

impl<'a> Registry<'a> {
    /// The repository of `reference`, to pull from.
    pub(super) fn new(reference: &Reference, transport: &'a Transport<'a>) -> Result<Self> {
        let (access, name) = (transport.access, reference.domain());
        let mut sources = Vec::new();
        for mirror in &access.settings(settings::authority_of(name)).mirrors {
            let (host, prefix) = split_mirror(mirror).ok_or_else(|| {
                failed(format!("the mirror {mirror:?} of {name} is not host[:port][/path]"))
            })?;
            let slash = if prefix.is_empty() { "" } else { "/" };
            let repository = format!("{prefix}{slash}{}", reference.path());
            let scopes = vec![format!("repository:{repository}:pull")];
            sources.push(Source(Endpoint::new(transport, host, repository, scopes, None)?));
        }
        let (path, given) = (reference.path().to_owned(), access.credentials.clone());
        let scopes = vec![format!("repository:{path}:pull")];
        sources.push(Source(Endpoint::new(transport, name, path, scopes, given)?));
        Ok(Self { transport, sources, current: AtomicUsize::new(0) })
    }

    /// Asks the mirrors one after the other, then the registry itself, until one answers. A failed one is not
    /// asked again.
    pub(super) async fn any<T>(&self, ask: impl AsyncFn(&Source<'a>) -> Result<T>) -> Result<T> {
        let last = self.sources.len() - 1;
        loop {
            let at = self.current.load(Ordering::Relaxed);
            let error = match ask(&self.sources[at]).await {
                Err(error) if at < last && error.kind() != ErrorKind::Interrupted => error,
                outcome => return outcome,
            };
            // Another layer may have gone on already.
            if self.current.compare_exchange(at, at + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                let (mirror, next) = (&self.sources[at].0.name, &self.sources[at + 1].0.name);
                self.transport.warn(&format!("mirror {mirror}: {}; going on with {next}", error.message()));
            }
        }
    }
}

/// One place that may have the repository.
pub(super) struct Source<'a>(Endpoint<'a>);

impl Source<'_> {
    /// Fetches the manifest or index that `target` (a tag or a digest) names: its bytes, its digest and
    /// its type.
    pub(super) async fn manifest(&self, target: &str) -> Result<(Vec<u8>, Digest, Option<String>)> {
        let accept = manifest_types();
        let what = format!("manifests/{target}");
        let response = self.0.ask(&what, Ask::get(&accept)).await?;
        let said = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(media_type)
            // Drop placeholders of servers without a value.
            .filter(|value| {
                !matches!(value.as_str(), "application/json" | "text/plain" | "application/octet-stream")
            });
        let promised = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        let promised = promised.map(str::parse::<Digest>).transpose()?;
        let bytes = self.0.read_small(response, DOCUMENT_MAX).await?;
        let wanted = target.parse::<Digest>().ok();
        for expected in [&wanted, &promised].into_iter().flatten() {
            let found = Digest::with(expected.algorithm(), &bytes);
            if found != *expected {
                return Err(failed(format!(
                    "wrong digest: the manifest's content is {found}, not {expected}"
                )));
            }
        }
        // The digest under which it is requested again: the wanted one, else the registry's.
        let digest = wanted.or(promised).unwrap_or_else(|| Digest::of(&bytes));
        Ok((bytes, digest, said))
    }

    /// The digest of the manifest that `tag` names now, without the manifest itself; nothing if the registry does not tell.
    pub(super) async fn digest_of(&self, tag: &str) -> Result<Option<Digest>> {
        let (what, accept) = (format!("manifests/{tag}"), manifest_types());
        let ask = Ask { method: &Method::HEAD, ..Ask::get(&accept) };
        let response = self.0.ask_once(&what, ask).await.map_err(Failure::into_error)?;
        let digest = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        Ok(digest.and_then(|digest| digest.parse().ok()))
    }

    /// Fetches a blob from the byte `from` on; `take` gets it piece by piece, and can end it by an error. Where the
    /// connection breaks off it is taken up again from the byte that was reached, and `pieced` is set; of a registry that
    /// does not give a part, all of it is asked, that once.
    pub(super) async fn blob(
        &self,
        descriptor: &Descriptor,
        from: u64,
        pieced: &Cell<bool>,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let what = format!("blobs/{}", descriptor.digest);
        let (mut got, mut fruitless, mut by_range) = (from, 0, true);
        for _ in 0..retry::RESUMES {
            pieced.set(got > 0);
            let (before, asked) = (got, if by_range { got } else { 0 });
            let response = match self.0.ask(&what, Ask { from: asked, ..Ask::get("*/*") }).await {
                Err(_) if asked > 0 => {
                    by_range = false;
                    continue;
                }
                answer => answer?,
            };
            let (skip, end) = match check_range(&response, descriptor, got) {
                Err(_) if asked > 0 => {
                    by_range = false;
                    continue;
                }
                part => part?,
            };
            let broken = match self.read_blob(response, skip, &mut got, &mut take).await? {
                // All of it came, even if the connection broke.
                _ if got == descriptor.size => return Ok(()),
                None if got < end || end == descriptor.size => return Ok(()),
                None => "it sent a part".to_owned(),
                Some(broken) => broken,
            };
            fruitless = if got > before { 0 } else { fruitless + 1 };
            // A refused range may be granted now.
            by_range = true;
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
        while let Some(frame) = within(body.frame()).await.map_err(|error| self.0.said(&error))? {
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
}

fn manifest_types() -> String {
    [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST].join(", ")
}

/// Checks that the body is the requested range: how many of its first bytes are known already, and where in the
/// blob it ends. A wrong length is refused before anything is read.
fn check_range(response: &Response<Incoming>, descriptor: &Descriptor, from: u64) -> Result<(u64, u64)> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let length = header(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if response.status() == StatusCode::PARTIAL_CONTENT {
        let part = header(CONTENT_RANGE).and_then(|range| part_of(range, descriptor.size));
        let fits = |(first, end): &(u64, u64)| {
            (*first..*end).contains(&from) && length.is_none_or(|length| length == end - first)
        };
        return part.filter(fits).map(|(first, end)| (from - first, end)).ok_or_else(|| {
            failed(format!("blob {}: another part came than the one from byte {from}", descriptor.digest))
        });
    }
    match length {
        Some(whole) if whole < descriptor.size => Err(failed(format!(
            "blob {} is truncated: the registry has {whole} of {} bytes",
            descriptor.digest, descriptor.size
        ))),
        Some(whole) if whole > descriptor.size => Err(failed(format!(
            "blob {} is longer than the {} bytes it should have: the registry has {whole}",
            descriptor.digest, descriptor.size
        ))),
        _ => Ok((from, descriptor.size)),
    }
}

/// The first byte and the one behind the last that a Content-Range names (RFC 9110, section 14.4), if it is one of `size`.
fn part_of(range: &str, size: u64) -> Option<(u64, u64)> {
    let (unit, rest) = range.trim().split_once(' ')?;
    let (part, whole) = rest.trim().split_once('/')?;
    let (first, last) = part.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let fits = unit.eq_ignore_ascii_case("bytes") && first <= last && last < size;
    (fits && (whole == "*" || whole.parse() == Ok(size))).then(|| (first, last + 1))
}

fn broken_off(descriptor: &Descriptor, got: u64, why: &str) -> Error {
    failed(format!(
        "blob {} is truncated: the connection ended after {got} of {} bytes ({why})",
        descriptor.digest, descriptor.size
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_one_of_the_blob() {
        for (range, part) in [
            ("bytes 0-9/10", Some((0, 10))),
            ("Bytes 3-3/*", Some((3, 4))),
            ("bytes 0-9/11", None),
            ("bytes 0-10/*", None),
            ("bytes 4-3/10", None),
            ("bytes */10", None),
            ("items 0-9/10", None),
            ("bytes 0-9", None),
            ("bytes 0-18446744073709551615/10", None),
            ("", None),
        ] {
            assert_eq!(part_of(range, 10), part, "{range}");
        }
    }
}
