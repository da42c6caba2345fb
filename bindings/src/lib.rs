//! pageferry-bindings
