//! What a guest of either kind does, and what it notices.
#![allow(missing_docs, reason = "tests")]

mod setup;

mod basics;
mod damage;
mod moves;
