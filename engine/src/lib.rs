//! pageferry-engine
