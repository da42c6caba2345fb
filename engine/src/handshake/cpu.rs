//! The processor in an offer: two texts on the wire, and what of it must fit.

use std::collections::BTreeSet;

use super::{HandshakeError, Mismatch, MissingFeatures};
use crate::text;
use crate::vm::{Architecture, Machine};

pub(super) const MAX_MODEL_BYTES: usize = 128;
pub(super) const MAX_FEATURES_BYTES: usize = 8192;

/// As much of a name that is none as an error repeats.
const MAX_NAMED_BYTES: usize = 64;

/// The model and the features of a processor as they are sent; both empty where there is none.
pub(super) fn texts(machine: Option<&Machine>) -> Result<(String, String), HandshakeError> {
    let Some(machine) = machine else { return Ok(Default::default()) };
    if let Some(name) = machine.cpu_features.iter().find(|name| !is_name(name)) {
        return Err(no_feature(name));
    }
    let features = machine.cpu_features.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    let (bytes, max) = (features.len(), MAX_FEATURES_BYTES);
    if bytes > max {
        return Err(HandshakeError::TextLength { message: "offer", text: "CPU features", bytes, max });
    }
    Ok((model(&machine.cpu_model), features))
}

/// A processor as it was sent; nothing where nothing was stated of it.
pub(super) fn read(
    architecture: Architecture,
    model: &[u8],
    features: &[u8],
) -> Result<Option<Machine>, HandshakeError> {
    let cpu_model = text::harmless_line(model, MAX_MODEL_BYTES);
    let cpu_features = read_features(features)?;
    let stated = architecture.is_known() || !cpu_model.is_empty() || !cpu_features.is_empty();
    Ok(stated.then_some(Machine { architecture, cpu_model, cpu_features }))
}

/// What keeps a guest of `source` from running on `destination`. What either does not state is not checked.
pub(super) fn mismatch(source: Option<&Machine>, destination: Option<&Machine>) -> Option<Mismatch> {
    let (source, destination) = (source?, destination?);
    let (source_cpu, destination_cpu) = (model(&source.cpu_model), model(&destination.cpu_model));
    let (source_has, destination_has) = (source.architecture, destination.architecture);
    if source_has.is_known() && destination_has.is_known() && source_has != destination_has {
        return Some(Mismatch::Architecture { source_has, source_cpu, destination_has, destination_cpu });
    }
    let missing: BTreeSet<_> = source.cpu_features.difference(&destination.cpu_features).cloned().collect();
    let missing = MissingFeatures(missing);
    (!missing.0.is_empty()).then_some(Mismatch::CpuFeatures { missing, source_cpu, destination_cpu })
}

fn model(cpu_model: &str) -> String {
    text::harmless_line(cpu_model.as_bytes(), MAX_MODEL_BYTES)
}

fn read_features(text: &[u8]) -> Result<BTreeSet<String>, HandshakeError> {
    let mut features = BTreeSet::new();
    if text.is_empty() {
        return Ok(features);
    }
    for name in text.split(|&byte| byte == b' ') {
        let name = String::from_utf8_lossy(name);
        let ascends = features.last().is_none_or(|last: &String| **last < *name);
        if !is_name(&name) || !ascends {
            return Err(no_feature(&name));
        }
        features.insert(name.into_owned());
    }
    Ok(features)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic())
}

fn no_feature(name: &str) -> HandshakeError {
    HandshakeError::CpuFeatures { found: text::harmless_line(name.as_bytes(), MAX_NAMED_BYTES) }
}
