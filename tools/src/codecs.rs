//! How codecs are set.

use pageferry_accel::codec::deflate::Window;
use pageferry_accel::cpu::CpuConfig;

use crate::methods::Levels;

/// How the codecs of an accelerator are set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Codecs {
    pub(crate) levels: Levels,
    pub(crate) window: Window,
    pub(crate) zero_detection: bool,
}

impl Default for Codecs {
    /// As a destination has them, which follows what the frames say.
    fn default() -> Self {
        let CpuConfig { deflate_level, zstd_level, deflate_window, detect_zero, .. } = CpuConfig::default();
        let levels = Levels { deflate: deflate_level, zstd: zstd_level };
        Self { levels, window: deflate_window, zero_detection: detect_zero }
    }
}
