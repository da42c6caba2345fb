//! The adaptive selector against every fixed method, on the same input, the same link and the same CPU budget.
//!
//! What pages cost is measured on this machine, what their order and the pipeline make of it is simulated in virtual time
//! ([`pageferry_tools::simulation`]): a link of 100 Gbit/s and two hosts are not here.

mod case;
mod input;
mod oracle;
mod table;

pub use case::{Case, Outcome, Race, race};
pub use input::{INPUTS, Named, after, beside, input};
pub use oracle::shortest;
pub use table::table;

use pageferry_accel::method::Method;

/// The methods that are held against the selector, each alone, and that it may pick.
pub const METHODS: [Method; 6] =
    [Method::Raw, Method::Deflate, Method::Zstd, Method::Lz4, Method::Xbzrle, Method::Delta];
