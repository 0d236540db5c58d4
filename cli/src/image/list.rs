//! `podrun images`: what is in the store.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use runtime::image::{Image, ImageStore, Reference};
use runtime::{Error, Result};

use crate::args::Context;
use crate::output;
use crate::table::Table;

/// List images
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  podrun images
  podrun images --digests --no-trunc
  podrun images -o json")]
pub(crate) struct Args {
    /// Show the digests under which registries know the images
    #[arg(long)]
    digests: bool,
    /// Show whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Print ids and nothing else
    #[arg(short, long)]
    quiet: bool,
    /// json: everything that is known
    #[arg(short, long, value_name = "FORMAT", value_parser = ["json"], conflicts_with = "quiet",
          hide_possible_values = true)]
    output: Option<String>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let images = ImageStore::open(&context.host)?.list()?;
    if args.output.is_some() {
        let text = serde_json::to_string_pretty(&images).map_err(|error| Error::failed(error.to_string()))?;
        output::line(text)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.quiet {
        for image in &images {
            output::line(shown_id(image, args.no_trunc))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut columns = vec!["REPOSITORY", "TAG"];
    if args.digests {
        columns.push("DIGEST");
    }
    columns.extend(["IMAGE ID", "CREATED", "SIZE"]);
    let mut table = Table::new(columns);
    for image in &images {
        for (repository, tag, digest) in names(image) {
            let mut row = vec![repository, tag];
            if args.digests {
                row.push(digest);
            }
            row.extend([shown_id(image, args.no_trunc), created(image), size(image)]);
            table.row(row);
        }
    }
    output::text(table.render(true))?;
    Ok(ExitCode::SUCCESS)
}

/// A row for each name of the image; one without a name has a row, too.
fn names(image: &Image) -> Vec<(String, String, String)> {
    const NONE: &str = "<none>";
    let digest_of = |repository: &str| {
        let prefix = format!("{repository}@");
        let found = image.digests.iter().find_map(|digest| digest.strip_prefix(&prefix));
        found.unwrap_or(NONE).to_owned()
    };
    let rows: Vec<_> = image
        .names
        .iter()
        .filter_map(|name| name.parse::<Reference>().ok())
        .map(|name| {
            (name.familiar_repository(), name.tag().unwrap_or(NONE).to_owned(), digest_of(&name.repository()))
        })
        .collect();
    if !rows.is_empty() {
        return rows;
    }
    let first = image.digests.first().and_then(|digest| digest.parse::<Reference>().ok());
    let repository = first.as_ref().map_or(NONE.to_owned(), Reference::familiar_repository);
    let digest = first.as_ref().map_or(NONE.to_owned(), |first| digest_of(&first.repository()));
    vec![(repository, NONE.to_owned(), digest)]
}

fn shown_id(image: &Image, whole: bool) -> String {
    if whole { image.id.to_string() } else { image.id.short().to_owned() }
}

/// How long ago the image was built, in kubectl's words.
fn created(image: &Image) -> String {
    if let Some(why) = &image.damage {
        return format!("<damaged: {why}>");
    }
    let Some(then) = image.created.as_deref().and_then(seconds) else { return "<unknown>".into() };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let Some(age) = now.checked_sub(then) else { return "0s".into() };
    match age {
        0..120 => format!("{age}s"),
        120..7200 => format!("{}m", age / 60),
        7200..172_800 => format!("{}h", age / 3600),
        172_800..63_072_000 => format!("{}d", age / 86_400),
        _ => format!("{}y", age / 31_536_000),
    }
}

/// The seconds since 1970 of an RFC 3339 time in UTC (another zone is a day off at most, which an
/// age in days does not show).
fn seconds(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if year < 1970 || !(1..=12).contains(&month) {
        return None;
    }
    // Years that begin in March end with their leap day.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    let days = days.checked_sub(719_469)?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Bytes as people read them: `5.1MB`.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn size(image: &Image) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = image.size as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 99.95 {
        format!("{value:.0}{}", UNITS[unit])
    } else {
        format!("{value:.1}{}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2001-09-09T01:46:40.5Z"), Some(1_000_000_000));
        assert_eq!(seconds("2024-02-29T12:00:00Z"), Some(1_709_208_000));
        assert_eq!(seconds("yesterday"), None);
        assert_eq!(seconds("0001-01-01T00:00:00Z"), None);
    }
}
