//! `ferryvm`: a guest that proves what it holds.
fn main() {}
