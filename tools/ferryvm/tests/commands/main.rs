//! `ferryvm` as it is typed: real processes, over loopback and Unix sockets alone.
#![allow(missing_docs, reason = "tests")]

mod cancelled;
mod control;
mod moved;
mod process;
mod protected;
mod readme;
mod refused;
mod run;
mod soak;
mod trip;
mod watched;
