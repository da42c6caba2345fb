//! The proxy does what its plan says, and nothing more: otherwise a migration that survives it has survived nothing.

mod bytes;
mod closing;
mod network;
mod waiting;
