//! What the benchmarks share: an accelerator that costs nothing, a destination that agrees to all, this machine's
//! limits, the stages of the data path held against them, what it costs to track dirty pages, and how fast a guest may write
//! them and still be moved.

pub mod clock;
pub mod dirty_rate;
pub mod host_cost;
pub mod instant;
pub mod limits;
pub mod null;
pub mod selection;
pub mod sink;
pub mod stages;
pub mod tracking;
