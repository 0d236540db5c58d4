//! The tags of a repository, page by page.
//!
//! Invariant: the list ends: so many pages, each bounded; and what is no tag is refused by name.

use hyper::Uri;
use hyper::header::LINK;
use serde::Deserialize;
use tokio::runtime::Builder;

use super::endpoint::{Ask, Failure};
use super::settings::Access;
use super::transport::Transport;
use super::{Registry, Source};
use crate::error::{Context, ErrorKind, Result, shown};
use crate::image::manifest::DOCUMENT_MAX;
use crate::image::progress::Progress;
use crate::image::reference::Reference;

const PAGES_MAX: usize = 100;
const FIRST: &str = "tags/list?n=1000";

#[derive(Deserialize)]
struct Page {
    /// Null where there are none.
    tags: Option<Vec<String>>,
}

/// Every tag of `repository`'s repository, as a reference.
pub fn tags(repository: &Reference, access: &Access, progress: &dyn Progress) -> Result<Vec<Reference>> {
    let runtime = Builder::new_current_thread().enable_all().build().context(|| "start the HTTP client")?;
    let transport = Transport::new(access, progress);
    let listed = || -> Result<Vec<Reference>> {
        let registry = Registry::new(repository, &transport)?;
        let tags = runtime.block_on(registry.any(async |source| source.tags().await))?;
        tags.iter().map(|tag| format!("{}:{tag}", repository.repository()).parse()).collect()
    };
    listed().map_err(|error| {
        error.context(format!("the tags of {}", repository.familiar_repository())).with_kind(ErrorKind::Image)
    })
}

impl Source<'_> {
    async fn tags(&self) -> Result<Vec<String>> {
        let endpoint = &self.0;
        let mut tags = Vec::new();
        let mut next: Option<Uri> = None;
        for _ in 0..PAGES_MAX {
            let ask = Ask::get("application/json");
            let (uri, answer) = endpoint
                .persist(async || match &next {
                    None => endpoint.ask_from(FIRST, ask).await,
                    Some(uri) => {
                        let answer = endpoint.ask_at(uri.clone(), "tags/list", ask).await?;
                        Ok::<_, Failure>((uri.clone(), answer))
                    }
                })
                .await?;
            let link = answer.headers().get(LINK).and_then(|link| link.to_str().ok()).and_then(next_page);
            let link = link.map(|link| endpoint.absolute(&uri, link)).transpose()?;
            let bytes = endpoint.read_small(answer, DOCUMENT_MAX).await?;
            let page: Page = serde_json::from_slice(&bytes).map_err(|error| {
                endpoint.said(&format!("its list of tags cannot be read: {}", shown(&error.to_string())))
            })?;
            tags.extend(page.tags.unwrap_or_default());
            match link {
                None => return Ok(tags),
                link => next = link,
            }
        }
        Err(endpoint.said(&format!("its list of tags has more than {PAGES_MAX} pages")))
    }
}

/// What a Link header names as the next page (RFC 8288, section 3): `<URL>; rel="next"`.
pub(super) fn next_page(link: &str) -> Option<&str> {
    let (url, parameters) = link.trim_start().strip_prefix('<')?.split_once('>')?;
    let is_next = |parameter: &str| {
        let parameter = parameter.trim();
        parameter.eq_ignore_ascii_case("rel=\"next\"") || parameter.eq_ignore_ascii_case("rel=next")
    };
    parameters.split(';').any(is_next).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_read_out_of_its_header() {
        assert_eq!(
            next_page("</v2/a/tags/list?last=b&n=2>; rel=\"next\""),
            Some("/v2/a/tags/list?last=b&n=2")
        );
        assert_eq!(next_page("<https://r.example/x>;rel=next"), Some("https://r.example/x"));
        for none in ["", "<", "</x>", "</x>; rel=\"prev\"", "/x; rel=\"next\""] {
            assert_eq!(next_page(none), None, "{none}");
        }
    }
}
