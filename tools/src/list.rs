//! `accelbench list`: what there is, and what is missing.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use pageferry_accel::codec::deflate;
use pageferry_accel::queue::{Accelerator, Capabilities};
use serde::Serialize;

use crate::accelerators;
use crate::args::ListFormat;
use crate::console;
use crate::devices::{self, Device, Function, Places};
use crate::error::Error;
use crate::host::Host;
use crate::outcome::SCHEMA;
use crate::quantity::ByteSize;

/// The list as a program reads it.
#[derive(Debug, Serialize)]
struct List {
    schema: u32,
    host: Host,
    /// What `--accelerator` takes here.
    accelerators: Vec<Entry>,
    /// Devices that accelbench drives, there or not.
    devices: Vec<Device>,
}

/// An accelerator that can be used.
#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    provenance: String,
    encode: Vec<&'static str>,
    decode: Vec<&'static str>,
    queues: usize,
    depth: usize,
    memory: String,
    /// The largest deflate window that it decodes.
    deflate_window_bytes: u64,
}

/// Prints the list.
///
/// # Errors
/// [`Error::Print`] if it cannot be printed.
pub(crate) fn list(format: ListFormat) -> Result<(), Error> {
    // Nobody asked what the vendors' libraries have to say.
    console::silence_libraries();
    let list = List::of_this_machine();
    let text = match format {
        ListFormat::Table => list.text(),
        ListFormat::Json => serde_json::to_string_pretty(&list)
            .map(|text| text + "\n")
            .map_err(io::Error::from)
            .map_err(Error::Print)?,
    };
    let mut out = console::out();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::Print)
}

impl List {
    fn of_this_machine() -> Self {
        let devices = devices::look(&Places::default());
        let has_qat = devices.iter().any(|device| device.name == "qat" && device.missing.is_empty());
        let available = accelerators::available(has_qat);
        let accelerators = available.iter().map(|(name, one)| Entry::of(name, &**one)).collect();
        Self { schema: SCHEMA, host: Host::this(), accelerators, devices }
    }

    fn text(&self) -> String {
        let mut text = String::from("Accelerators (--accelerator NAME)\n");
        self.accelerators.iter().for_each(|entry| entry.describe(&mut text));
        text.push_str("\nLibraries\n");
        describe_deflate(&self.host, &mut text);
        let simd = if self.host.simd.is_empty() {
            "none, portable code runs".to_owned()
        } else {
            self.host.simd.join(", ")
        };
        line(&mut text, "vector instructions", &simd);
        text.push_str("\nDevices\n");
        self.devices.iter().for_each(|device| describe_device(device, &mut text));
        text
    }
}

impl Entry {
    fn of(name: &str, accelerator: &dyn Accelerator) -> Self {
        let Capabilities { encode, decode, deflate_window_bits, queues, depth, memory, .. } =
            accelerator.capabilities();
        Self {
            name: name.to_owned(),
            provenance: accelerator.provenance().to_string(),
            encode: encode.iter().map(|method| method.name()).collect(),
            decode: decode.iter().map(|method| method.name()).collect(),
            queues,
            depth,
            memory: memory.to_string(),
            deflate_window_bytes: 1 << deflate_window_bits.min(63),
        }
    }

    fn describe(&self, text: &mut String) {
        text.push_str(&format!("  {}\n", self.name));
        if self.encode == self.decode {
            line(text, "  encodes and decodes", &self.encode.join(", "));
        } else {
            line(text, "  encodes", &self.encode.join(", "));
            line(text, "  decodes", &self.decode.join(", "));
        }
        line(text, "  queues", &format!("{}, {} requests each", self.queues, self.depth));
        line(text, "  reaches memory by", &self.memory);
        if self.decode.contains(&"deflate") {
            line(text, "  deflate window", &ByteSize(self.deflate_window_bytes).to_string());
        }
        line(text, "  figures are", &self.provenance);
    }
}

fn describe_deflate(host: &Host, text: &mut String) {
    line(text, "deflate runs on", &host.deflate_library);
    if let Some(reason) = deflate::why_not_isal() {
        line(text, "ISA-L is not used", &reason.to_string());
    }
}

fn describe_device(device: &Device, text: &mut String) {
    text.push_str(&format!("  {}: {}\n", device.name, device.description));
    for like in device.functions.chunk_by(is_like) {
        let Function { address, id, driver, is_virtual } = &like[0];
        let driver = driver.as_deref().unwrap_or("no driver");
        let virtual_ = if *is_virtual { ", virtual" } else { "" };
        line(
            text,
            "  on this machine",
            &format!("{address}{} ({id}), {driver}{virtual_}", and_more(like.len())),
        );
    }
    if let Some(first) = device.nodes.first() {
        line(text, "  on this machine", &format!("{}{}", first.display(), and_more(device.nodes.len())));
    }
    device.libraries.iter().for_each(|file| line(text, "  library", file));
    device.details.iter().for_each(|detail| line(text, &format!("  {}", detail.name), &detail.value));
    for what in &device.missing {
        line(text, "  missing", what);
    }
    line(text, "  next step", &device.next_step);
}

/// Whether a function needs no line of its own after another one: a device may have dozens of virtual ones.
fn is_like(one: &Function, next: &Function) -> bool {
    one.is_virtual && (&one.id, &one.driver, one.is_virtual) == (&next.id, &next.driver, next.is_virtual)
}

fn and_more(count: usize) -> String {
    if count > 1 { format!(" and {} like it", count - 1) } else { String::new() }
}

fn line(text: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  {name:<22}{value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_functions_of_a_kind_share_a_line() {
        let function = |address: String, is_virtual: bool| Function {
            address,
            id: if is_virtual { "8086:4941".to_owned() } else { "8086:4940".to_owned() },
            driver: Some(if is_virtual { "vfio-pci".to_owned() } else { "4xxx".to_owned() }),
            is_virtual,
        };
        let virtual_ = (1..=16).map(|number| function(format!("6b:{:02x}.{}", number / 8, number % 8), true));
        let physical = ["6b:00.0", "70:00.0"].map(|address| function(address.to_owned(), false));
        let [first, second] = physical;
        let device = Device {
            name: "qat",
            description: "QAT",
            functions: [first].into_iter().chain(virtual_).chain([second]).collect(),
            nodes: ["/dev/vfio/17", "/dev/vfio/18"].map(Into::into).to_vec(),
            libraries: vec!["libqat.so.4".to_owned()],
            details: Vec::new(),
            missing: Vec::new(),
            next_step: "nothing".to_owned(),
        };
        let mut text = String::new();
        describe_device(&device, &mut text);
        let lines: Vec<&str> = text.lines().skip(1).map(|line| line[24..].trim()).collect();
        assert_eq!(
            lines,
            [
                "6b:00.0 (8086:4940), 4xxx",
                "6b:00.1 and 15 like it (8086:4941), vfio-pci, virtual",
                "70:00.0 (8086:4940), 4xxx",
                "/dev/vfio/17 and 1 like it",
                "libqat.so.4",
                "nothing"
            ],
            "{text}"
        );
    }
}
