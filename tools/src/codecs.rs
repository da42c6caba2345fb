//! How codecs are set.

use pageferry_accel::codec::deflate::Window;
use pageferry_accel::cpu::CpuConfig;

use crate::accelerator_name::AcceleratorNames;
use crate::methods::Levels;
use crate::quantity::ByteSize;

/// How the codecs of an accelerator are set.
#[derive(Clone, Copy, Debug)]
pub struct Codecs {
    /// Levels of deflate and zstd.
    pub levels: Levels,
    /// How far back deflate refers.
    pub window: Window,
    /// Whether pages that are all zero travel as none.
    pub zero_detection: bool,
}

/// A window that deflate does not have here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--window {0}: use 4K or 32K")]
pub struct UnknownWindow(ByteSize);

impl Default for Codecs {
    /// As a destination has them, which follows what the frames say.
    fn default() -> Self {
        let CpuConfig { deflate_level, zstd_level, deflate_window, detect_zero, .. } = CpuConfig::default();
        let levels = Levels { deflate: deflate_level, zstd: zstd_level };
        Self { levels, window: deflate_window, zero_detection: detect_zero }
    }
}

/// The window of this size; if none is asked for, the largest that the accelerators can do with.
///
/// # Errors
/// [`UnknownWindow`] if there is no such window.
pub fn window(size: Option<ByteSize>, accelerators: &AcceleratorNames) -> Result<Window, UnknownWindow> {
    let Some(size) = size else {
        let short = accelerators.may_have_iaa() && !accelerators.look_far_back();
        return Ok(if short { Window::Kib4 } else { Window::Kib32 });
    };
    let windows = [Window::Kib4, Window::Kib32];
    windows.into_iter().find(|window| 1 << window.bits() == size.0).ok_or(UnknownWindow(size))
}
