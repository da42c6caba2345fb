//! pageferry-tools
