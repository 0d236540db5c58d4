//! The images, one recipe each: which packages, and how they become layers and a config.

mod base;
mod debian;
mod layers;
mod probe;
mod servers;

use std::path::Path;

use anyhow::Result;

use crate::oci::{Image, Layout};
use crate::packages::{Architecture, Packages};

/// What a recipe cooks with.
#[derive(Debug)]
pub(crate) struct Kitchen {
    pub(crate) packages: Packages,
    pub(crate) architecture: Architecture,
}

/// One image. `make` writes its layout to the first path, and whatever else it brings to the second.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) packages: fn() -> Result<Vec<String>>,
    pub(crate) uses_probe: bool,
    /// Whether it is made only where it is asked for by name: it takes minutes, and a gigabyte of the disk.
    pub(crate) is_big: bool,
    pub(crate) make: fn(&Kitchen, &Path, &Path) -> Result<()>,
}

/// Every image that can be made.
pub(crate) const RECIPES: [Recipe; 10] = [
    Recipe { name: "busybox", packages: base::packages, uses_probe: false, is_big: false, make: base::make },
    Recipe {
        name: "nginx",
        packages: servers::nginx_packages,
        uses_probe: false,
        is_big: false,
        make: servers::make_nginx,
    },
    Recipe {
        name: "httpd",
        packages: servers::httpd_packages,
        uses_probe: false,
        is_big: false,
        make: servers::make_httpd,
    },
    Recipe {
        name: "redis",
        packages: servers::redis_packages,
        uses_probe: false,
        is_big: false,
        make: servers::make_redis,
    },
    Recipe {
        name: "debian",
        packages: debian::packages,
        uses_probe: false,
        is_big: false,
        make: debian::make,
    },
    Recipe {
        name: "system",
        packages: debian::system_packages,
        uses_probe: false,
        is_big: true,
        make: debian::make_system,
    },
    Recipe { name: "probe", packages: no_packages, uses_probe: true, is_big: false, make: probe::make },
    Recipe { name: "pause", packages: no_packages, uses_probe: true, is_big: false, make: probe::make_pause },
    Recipe {
        name: "layers",
        packages: no_packages,
        uses_probe: true,
        is_big: false,
        make: layers::make_layers,
    },
    Recipe {
        name: "platforms",
        packages: no_packages,
        uses_probe: true,
        is_big: false,
        make: layers::make_platforms,
    },
];

/// The name an image is known by: it carries a tag, since `latest` would mean pulling every time.
pub(crate) fn reference(name: &str) -> String {
    format!("localhost/podrun/{name}:1")
}

fn no_packages() -> Result<Vec<String>> {
    Ok(Vec::new())
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Writes the layout of an image for this machine alone.
fn write_single(folder: &Path, name: &str, image: &Image) -> Result<()> {
    let layout = Layout::create(folder)?;
    let descriptor = layout.image(image)?;
    layout.finish(descriptor, &reference(name))
}
