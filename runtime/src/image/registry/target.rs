//! One repository to push to: the push half of the distribution spec.
//!
//! Invariant: a blob is asked for before it is sent, and an upload that fails begins anew.

use hyper::header::LOCATION;
use hyper::{Method, StatusCode, Uri};

use super::auth::percent_encode;
use super::endpoint::{Ask, Endpoint, Failure, Payload};
use super::settings::Access;
use super::transport::Transport;
use super::upload::Upload;
use crate::error::{ErrorKind, Result};
use crate::image::model::digest::Digest;
use crate::image::model::reference::Reference;

/// One repository of one registry.
pub(in crate::image) struct Target<'a> {
    endpoint: Endpoint<'a>,
    /// Repositories of the same registry that may have the same blobs.
    siblings: Vec<String>,
}

impl<'a> Target<'a> {
    /// The repository of `reference`; blobs may be lent by its `siblings`.
    pub(in crate::image) fn new(
        reference: &Reference,
        siblings: &[String],
        transport: &'a Transport<'a>,
    ) -> Result<Self> {
        let access: &Access = transport.access;
        let mut scopes = vec![format!("repository:{}:pull,push", reference.path())];
        scopes.extend(siblings.iter().map(|path| format!("repository:{path}:pull")));
        let path = reference.path().to_owned();
        let endpoint =
            Endpoint::new(transport, reference.domain(), path, scopes, access.credentials.clone())?;
        Ok(Self { endpoint, siblings: siblings.to_vec() })
    }

    /// Whether the repository has the blob.
    pub(in crate::image) async fn has(&self, digest: &Digest) -> Result<bool> {
        let ask = Ask::with(&Method::HEAD, Payload::Nothing);
        match self.endpoint.ask(&format!("blobs/{digest}"), ask).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Puts the blob into the repository: mounted from a sibling, else from `upload`; returns whether it could
    /// be had.
    pub(in crate::image) async fn give(&self, digest: &Digest, upload: Option<&Upload<'_>>) -> Result<bool> {
        for sibling in &self.siblings {
            let what = format!("blobs/uploads/?mount={digest}&from={}", percent_encode(sibling));
            let answer = self.endpoint.ask(&what, Ask::with(&Method::POST, Payload::Nothing)).await;
            // One that does not lend is asked for nothing else.
            if answer.is_ok_and(|answer| answer.status() == StatusCode::CREATED) {
                return Ok(true);
            }
        }
        let Some(upload) = upload else { return Ok(false) };
        self.endpoint.persist(async || self.upload(digest, upload).await).await?;
        Ok(true)
    }

    /// Asks for a place and puts the blob there, all at once.
    async fn upload(&self, digest: &Digest, upload: &Upload<'_>) -> Result<(), Failure> {
        let what = "blobs/uploads/";
        let (place, begun) = self.endpoint.ask_from(what, Ask::with(&Method::POST, Payload::Nothing)).await?;
        if !begun.headers().contains_key(LOCATION) {
            return Err(self.endpoint.said("it gives no place for an upload").into());
        }
        let place = self.endpoint.location(&place, &begun)?;
        let begin = if place.query().is_some() { '&' } else { '?' };
        let place: Uri = format!("{place}{begin}digest={digest}")
            .parse()
            .map_err(|_| self.endpoint.said("it gives a place for an upload that is no URL"))?;
        let ask = Ask::with(&Method::PUT, Payload::Blob(upload));
        self.endpoint.ask_at(place, what, ask).await.map(drop)
    }

    /// Puts the manifest under a tag or its digest; gives the digest that the registry found.
    pub(in crate::image) async fn put_manifest(
        &self,
        name: &str,
        bytes: &[u8],
        media_type: &str,
    ) -> Result<Option<Digest>> {
        let ask = Ask::with(&Method::PUT, Payload::Bytes(bytes, media_type));
        let answer = self.endpoint.ask(&format!("manifests/{name}"), ask).await?;
        let digest = answer.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        Ok(digest.and_then(|digest| digest.parse().ok()))
    }
}
