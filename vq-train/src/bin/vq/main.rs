//! `vq`
fn main() {}
