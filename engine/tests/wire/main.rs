//! The wire format from outside: laws, refusals, and the bytes that FORMAT.md prints.

mod frames;
mod golden;
mod handshakes;
mod messages;
mod offers_refused;
mod prechecks;
mod refusals;
mod samples;
