//! A device model in the pipeline, and the same device in the simulation.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use pageferry_accel::idxd::iaa::{Iaa, IaaConfig};
use pageferry_accel::idxd::vfio::{Settings, VfioDevice};
use pageferry_accel::method::Method;
use pageferry_accel::model::fault::FaultPlan;
use pageferry_accel::model::profile::Profile;
use pageferry_accel::model::{Model, Timing};
use pageferry_accel::queue::Accelerator;

use super::ValidationError;
use crate::page_costs::PageCosts;
use crate::simulation::{DeviceLane, DeviceMethod, Lane};

/// How fast a modelled IAA is. It must be slower than the CPU that models it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceTiming {
    /// What passes between the end of a descriptor's work and its completion record.
    pub latency: Duration,
    /// Bytes that all engines together get through in a second.
    pub bytes_per_s: u64,
    /// Requests that a queue holds.
    pub requests: usize,
}

impl DeviceTiming {
    /// The device in the pipeline, and in the simulation.
    ///
    /// The model's engines work on the pieces of a request side by side; so in the simulation there is one engine, as fast as all
    /// of them. The driver has every piece compressed, and what came of it decompressed, to verify it: two latencies, and the
    /// engines also see the compressed bytes. Pieces that do not shrink are not verified.
    pub(super) fn device(&self, costs: &PageCosts) -> Result<(Arc<dyn Accelerator>, Lane), ValidationError> {
        let failed = |error: String| ValidationError::Input(format!("the device model: {error}"));
        let engines = u64::from(Profile::spr_iaa().engines);
        let timing =
            Timing { latency: self.latency, bytes_per_s: NonZeroU64::new(self.bytes_per_s / engines) };
        let model = Model::new(Profile::spr_iaa(), timing, FaultPlan::default());
        let model = model.map_err(|error| failed(error.to_string()))?;
        let settings = Settings { queues: Some(1), ..Settings::default() };
        let device = VfioDevice::new(Arc::new(model.function()), settings);
        let device = device.map_err(|error| failed(error.to_string()))?;
        let config = IaaConfig { requests: self.requests, ..IaaConfig::default() };
        let iaa = Iaa::new(Arc::new(device), config).map_err(|error| failed(error.to_string()))?;
        let capabilities = iaa.capabilities();
        let verified = Some(compressed_share(costs)).filter(|&share| share < 1.0);
        let work = DeviceMethod {
            method: Method::Deflate,
            bytes_per_s: self.bytes_per_s as f64 / (1.0 + verified.unwrap_or(0.0)),
            latency: if verified.is_some() { self.latency * 2 } else { self.latency },
            relative_bytes: 1.0,
            keeps_baselines: false,
            cpu_share: 0.0,
        };
        let lane = Lane::Device(DeviceLane {
            name: "model".into(),
            queues: capabilities.queues,
            depth: capabilities.depth,
            engines: 1,
            encode: vec![work],
            decode: Vec::new(),
            submit_ns: 0.0,
            collect_ns: 0.0,
            host_finds_zeros: true,
        });
        Ok((Arc::new(iaa), lane))
    }
}

/// Bytes of payload for each byte of a page, of those that are not zero.
fn compressed_share(costs: &PageCosts) -> f64 {
    let (mut pages, mut payload) = (0.0, 0.0);
    for round in costs.rounds() {
        pages += (round.dirty().len() - round.zero_pages()) as f64;
        payload += round.of(Method::Deflate).iter().map(|cost| f64::from(cost.payload_bytes)).sum::<f64>();
    }
    payload / (pages * f64::from(costs.page_bytes())).max(1.0)
}
