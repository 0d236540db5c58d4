//! The OCI container engine: a bundle and a state dir become a container.
