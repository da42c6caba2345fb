//! What the benchmarks share: an accelerator that costs nothing, a destination that agrees to all, this machine's
//! limits, the stages of the data path held against them, and what it costs to track dirty pages.

pub mod clock;
pub mod host_cost;
pub mod instant;
pub mod limits;
pub mod null;
pub mod sink;
pub mod stages;
pub mod tracking;
