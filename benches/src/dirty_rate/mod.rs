//! The largest rate at which a guest may write its memory and still be moved within a downtime limit.
//!
//! The guest, both ends of the migration and the link share one machine. So a method is limited by the link, which is held to
//! a rate, or by the CPUs, which all of them share, or by how fast the guest writes at all; a row says which.

pub mod plot;
pub mod report;
pub mod row;
pub mod search;
pub mod trial;
