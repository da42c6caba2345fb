//! What users type, and what is done about it.

mod cli;
pub(crate) mod control;
mod events;
mod guest_args;
mod migrate;
pub(crate) mod move_args;
mod on_stall;
mod output;
mod receive;
mod report;
mod run;
mod serve_args;

pub use cli::ferryvm;
