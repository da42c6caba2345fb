//! What is simulated: two hosts, their accelerators, and the link between them.

use std::time::Duration;

use pageferry_accel::method::Method;
use serde::{Deserialize, Serialize};

/// Two hosts and what is between them.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Pages a request has at most.
    pub max_pages: u32,
    /// What the sender's and the receiver's own threads cost.
    pub host: HostCosts,
    /// The host that the guest leaves.
    pub source: Host,
    /// The host that it comes to.
    pub destination: Host,
    /// Whether the two are one machine, with the CPUs of `source`.
    pub one_machine: bool,
    /// What is between them.
    pub link: Link,
    /// How many baselines the source has room for.
    pub baseline_pages: usize,
    /// How much CPU time a second all the source's threads may use, in CPUs.
    pub cpu_budget: Option<f64>,
}

/// One end.
#[derive(Clone, Debug)]
pub struct Host {
    /// How many CPUs its threads share.
    pub cpus: f64,
    /// What encodes, or decodes, in the order of preference.
    pub lanes: Vec<Lane>,
}

/// An accelerator.
#[derive(Clone, Debug)]
pub enum Lane {
    /// Threads.
    Cpu(CpuLane),
    /// One or more devices of a kind.
    Device(DeviceLane),
}

/// CPU workers, each of them a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuLane {
    /// How many.
    pub workers: usize,
    /// How many requests each may hold, the one it works on included.
    pub depth: usize,
}

/// Devices, as the driver uses them.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceLane {
    /// The name in reports.
    pub name: String,
    /// Queues of all devices.
    pub queues: usize,
    /// Requests that each may hold.
    pub depth: usize,
    /// Parts of all devices that work side by side, each of them on one request at a time.
    pub engines: usize,
    /// What it does when it encodes.
    pub encode: Vec<DeviceMethod>,
    /// What it does when it decodes.
    pub decode: Vec<DeviceMethod>,
    /// CPU time of the thread that submits, for composing a request's descriptors and handing them over.
    pub submit_ns: f64,
    /// CPU time of the poller, for looking at a request's records and making a payload of what came.
    pub collect_ns: f64,
    /// Whether the submitting thread looks for zero pages; otherwise the device does.
    pub host_finds_zeros: bool,
}

/// What a device does by one method.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeviceMethod {
    /// The method.
    pub method: Method,
    /// Bytes of pages that one engine gets through in a second.
    pub bytes_per_s: f64,
    /// What passes beside the work itself between the submission and the completion; no engine is held up by it.
    pub latency: Duration,
    /// Bytes of its payload for each byte that the CPU's codec makes of the same pages.
    pub relative_bytes: f64,
    /// Whether the bytes that were sent are known afterwards, so that they can become baselines.
    pub keeps_baselines: bool,
    /// What the poller does for the device, as a share of the CPU time that the CPU's codec takes for the same pages.
    pub cpu_share: f64,
}

/// What is between the two ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Bytes that it carries in a second; none for two ends of one machine, where only buffers limit.
    pub bytes_per_s: Option<f64>,
    /// How long a byte is on its way.
    pub propagation: Duration,
    /// Bytes that the source's end buffers.
    pub send_buffer_bytes: f64,
    /// Bytes that the destination's end buffers.
    pub receive_buffer_bytes: f64,
}

/// CPU time of the sender's and the receiver's own threads, in nanoseconds, beside what accelerators do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostCosts {
    /// Migration thread: a request, from taking it to handing it over.
    pub compose_request_ns: f64,
    /// Migration thread: a page of it.
    pub compose_page_ns: f64,
    /// Migration thread: a page of it where baselines are kept.
    pub baseline_page_ns: f64,
    /// Source's worker: a request, beside what its pages cost a worker alone.
    pub encode_request_ns: f64,
    /// Source's worker: a byte of payload, which another CPU has read before and will read next.
    pub encode_byte_ns: f64,
    /// Source's worker: a page whose baseline is kept, beside what that costs a worker alone.
    pub keep_page_ns: f64,
    /// Source's poller: a request, from its completion to its being back in the pool.
    pub send_request_ns: f64,
    /// Source's poller: a byte written.
    pub send_byte_ns: f64,
    /// Reader: a frame, from its header to handing it over.
    pub read_request_ns: f64,
    /// Reader: a byte read.
    pub read_byte_ns: f64,
    /// Destination's worker: a request, beside what its pages cost a worker alone.
    pub decode_request_ns: f64,
    /// Destination's worker: a byte of payload, which another CPU has written.
    pub decode_byte_ns: f64,
    /// Destination's poller: a request.
    pub collect_request_ns: f64,
    /// How long a poller naps that has only devices to ask, which do not ring.
    pub nap_wall_ns: f64,
    /// CPU time of such a nap.
    pub nap_cpu_ns: f64,
    /// What a round takes beside its pages, on the wall.
    pub round_wall_ns: f64,
}

impl Link {
    /// Between two processes of one machine: a pair of Unix sockets, with Linux's default buffer of 208 KiB
    /// (`net.core.wmem_default`).
    #[must_use]
    pub fn local() -> Self {
        Self {
            bytes_per_s: None,
            propagation: Duration::ZERO,
            send_buffer_bytes: 0.0,
            receive_buffer_bytes: 212_992.0,
        }
    }

    /// A network of so many Gbit/s, between hosts of one data centre, with the most that Linux lets TCP's buffers grow to by
    /// default (`net.ipv4.tcp_wmem` and `tcp_rmem`: 4 MiB and 6 MiB). The share of it that is not headers of Ethernet, IP and
    /// TCP is 94.1%: 1448 of 1538 bytes a frame of 1500.
    #[must_use]
    pub fn network(gbit_per_s: f64, propagation: Duration) -> Self {
        let bytes_per_s = gbit_per_s * 1e9 / 8.0 * (1448.0 / 1538.0);
        Self {
            bytes_per_s: Some(bytes_per_s),
            propagation,
            send_buffer_bytes: f64::from(4 << 20),
            receive_buffer_bytes: f64::from(6 << 20),
        }
    }
}

impl Lane {
    /// What it does by `method` when it encodes, or decodes; for a CPU nothing need be said of it.
    pub(super) fn device(&self) -> Option<&DeviceLane> {
        match self {
            Self::Cpu(_) => None,
            Self::Device(device) => Some(device),
        }
    }

    /// Whether it encodes by `method`.
    #[must_use]
    pub fn encodes(&self, method: Method) -> bool {
        self.device().is_none_or(|device| device.encode.iter().any(|one| one.method == method))
    }

    /// Whether it decodes `method`.
    #[must_use]
    pub fn decodes(&self, method: Method) -> bool {
        self.device().is_none_or(|device| device.decode.iter().any(|one| one.method == method))
    }

    /// How many requests it holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        match self {
            Self::Cpu(cpu) => cpu.workers * cpu.depth,
            Self::Device(device) => device.queues * device.depth,
        }
    }
}
