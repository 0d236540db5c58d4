//! `podrun load`: images from an archive or a directory.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use runtime::image::{ImageStore, LoadOptions, LoadedImage, Platform};
use runtime::{Error, ErrorKind, Result};

use super::progress::Shown;
use crate::context::Context;
use crate::exit::Failures;
use crate::output;

/// Load images from an archive or an OCI layout
///
/// Takes an OCI layout (a directory), an oci-archive or an archive of `docker save`, plain or compressed. Behind a colon stands
/// the one image that is wanted: its name, its tag or its digest. Of several images each is loaded or refused by itself: those
/// that were loaded are printed, and for those that were not the exit code is 6. Artifacts are named and passed over.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  podrun load app.tar
  podrun load ./layout/
  podrun load ./layout/:app:v1
  docker save app:v1 | podrun load
  podrun load -i app.tar")]
pub(crate) struct Args {
    /// The archive or directory, or one image of it; - is standard input [default: standard input, where it is no terminal]
    #[arg(value_name = "FILE[:IMAGE]|DIR[:IMAGE]|-", value_hint = clap::ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
    /// An archive, as docker and podman take it
    #[arg(short, long, value_name = "FILE[:IMAGE]", value_hint = clap::ValueHint::AnyPath)]
    input: Vec<PathBuf>,
    /// The platform to take from an image for several [default: this host's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Print the images' names (ids, where they have none) and nothing else
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let mut paths: Vec<&Path> = args.paths.iter().chain(&args.input).map(PathBuf::as_path).collect();
    if paths.is_empty() {
        // An archive is not typed.
        if output::stdin_is_terminal() {
            return Err(
                Error::new(ErrorKind::Usage, "missing: FILE").hint("`podrun load --help` has examples")
            );
        }
        paths.push(Path::new("-"));
    }
    let store = ImageStore::open(&context.host)?;
    let mut failures = Failures::default();
    for path in paths {
        let (path, only) = split(path, Path::exists);
        let options = LoadOptions { platform: args.platform.clone(), only: only.map(str::to_owned) };
        let shown = Shown::new(args.quiet);
        match store.load(path, &options, &shown) {
            Ok(loads) => {
                shown.finish();
                loads.images.iter().try_for_each(|loaded| print(loaded, args.quiet))?;
                let passed_over = loads.passed_over.iter();
                passed_over.for_each(|what| output::note(format_args!("passed over {what}")));
                loads.failed.into_iter().for_each(|error| failures.add(error));
            }
            // The other archives are still loaded.
            Err(error) if error.kind() == ErrorKind::Image => failures.add(error),
            Err(error) => return Err(error),
        }
    }
    failures.result()
}

/// The path, and the image of it that is wanted: behind the first colon with something before it that `is_there`.
fn split(path: &Path, is_there: impl Fn(&Path) -> bool) -> (&Path, Option<&str>) {
    let Some(text) = path.to_str().filter(|_| !is_there(path)) else { return (path, None) };
    let parts = text.match_indices(':').map(|(at, _)| (Path::new(&text[..at]), &text[at + 1..]));
    let mut parts = parts.filter(|(path, image)| !image.is_empty() && is_there(path));
    parts.next().map_or((path, None), |(path, image)| (path, Some(image)))
}

/// The names under which the image came, each on a line; of one without a name the id.
fn print(loaded: &LoadedImage, quiet: bool) -> Result<()> {
    let what = if quiet { "" } else { "loaded " };
    if let Some(tag) = &loaded.lone_tag {
        let id = loaded.image.id.short();
        output::note(format_args!(
            "{id} came as the tag {tag} of no repository, and so without a name: `podrun tag {id} NAME:{tag}` gives it one"
        ));
    }
    if loaded.names.is_empty() {
        return output::line(format_args!("{what}{}", loaded.image.id));
    }
    loaded.names.iter().try_for_each(|name| output::line(format_args!("{what}{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_begins_an_image_where_no_path_goes_on() {
        let split = |text: &'static str| {
            let there =
                |path: &Path| ["dir", "a:b", "a", "/x/y.tar"].iter().any(|known| path == Path::new(known));
            let (path, image) = split(Path::new(text), there);
            (path.to_str().unwrap(), image)
        };
        for (text, wanted) in [
            ("dir", ("dir", None)),
            ("dir:app:v1", ("dir", Some("app:v1"))),
            ("a:b", ("a:b", None)),
            ("a:c", ("a", Some("c"))),
            ("a:b:c", ("a", Some("b:c"))),
            ("/x/y.tar:localhost:5000/app:v1", ("/x/y.tar", Some("localhost:5000/app:v1"))),
            ("dir:", ("dir:", None)),
            ("none:app", ("none:app", None)),
        ] {
            assert_eq!(split(text), wanted, "{text}");
        }
    }
}
