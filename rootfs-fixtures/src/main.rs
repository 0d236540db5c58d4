//! Makes the images of podrun's tests and demo out of Debian packages.
fn main() {}
