//! What a container's program sees and does, for podrun's tests.
fn main() {}
