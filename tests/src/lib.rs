//! pageferry-tests
