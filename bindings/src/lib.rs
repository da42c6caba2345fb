//! pageferry-bindings
pub mod isal;
