//! The tags of a repository, page by page.
//!
//! Invariant: the list ends: the number of pages and their size are bounded; an invalid tag is refused by name.

use hyper::Uri;
use hyper::header::LINK;
use serde::Deserialize;
use tokio::runtime::Builder;

use super::auth::parse_value;
use super::endpoint::Ask;
use super::settings::Access;
use super::transport::Transport;
use super::{Registry, Source};
use crate::error::{Context, ErrorKind, Result, shown};
use crate::image::model::manifest::DOCUMENT_MAX;
use crate::image::model::reference::Reference;
use crate::image::progress::Progress;

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
                    Some(uri) => endpoint.ask_at(uri.clone(), "tags/list", ask).await,
                })
                .await?;
            let mut links = answer.headers().get_all(LINK).iter().filter_map(|link| link.to_str().ok());
            let link =
                links.find_map(next_page).map(|link| endpoint.absolute(&uri, link, "Link")).transpose()?;
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

/// The next page of a Link header, among other links (RFC 8288, section 3): `<URL>; rel="prev next", <URL>; …`.
pub(super) fn next_page(links: &str) -> Option<&str> {
    let mut rest = links;
    loop {
        let (url, mut after) =
            rest.trim_start_matches([' ', '\t', ',']).strip_prefix('<')?.split_once('>')?;
        let mut relation = None;
        while let Some(parameter) = after.trim_start().strip_prefix(';') {
            let end = parameter.find(['=', ';', ',']).unwrap_or(parameter.len());
            let (name, mut behind) = parameter.split_at(end);
            let mut value = String::new();
            if let Some(text) = behind.strip_prefix('=') {
                (value, behind) = parse_value(text.trim_start())?;
            }
            // The first one counts.
            if name.trim().eq_ignore_ascii_case("rel") && relation.is_none() {
                relation = Some(value);
            }
            after = behind;
        }
        let relation = relation.unwrap_or_default();
        if relation.split_ascii_whitespace().any(|kind| kind.eq_ignore_ascii_case("next")) {
            return Some(url);
        }
        rest = after.trim_start().strip_prefix(',')?;
    }
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
        for several in [
            "</p>; rel=prev, </n>; rel=next",
            "</p,q>;rel=\"first prev\",</n>; title=\"a; b, \\\"c\" ; REL=\"last NEXT\"",
            "</n>; rel=\"next\"; rel=prev",
            "</n>; flag; rel = \"next\"",
        ] {
            assert_eq!(next_page(several), Some("/n"), "{several}");
        }
        for none in [
            "",
            "<",
            "</x>",
            "</x>; rel=\"prev\"",
            "/x; rel=\"next\"",
            "</x>; rel=prev; rel=next",
            "</x>; title=\"; rel=next\"",
            "</x>; rel=\"next",
        ] {
            assert_eq!(next_page(none), None, "{none}");
        }
    }
}
