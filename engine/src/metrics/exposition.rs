//! Families of samples, written down one after the other.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::frame::End;

/// Takes families of samples, and gives each sample the label that says of which end it is.
pub(super) struct Exposition<'a> {
    encoder: DescriptorEncoder<'a>,
    end: &'static str,
}

/// What a family is, but for its samples. Its name in the text has the prefix before it, the unit behind it, and `_total` if it
/// counts.
#[derive(Clone, Copy)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) unit: Option<&'static Unit>,
}

/// Labels by name, and a value.
pub(super) type Sample<'a, V> = (Vec<(&'static str, &'a str)>, V);

impl<'a> Exposition<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>, end: End) -> Self {
        let end = match end {
            End::Source => "source",
            End::Destination => "destination",
        };
        Self { encoder, end }
    }

    /// What only grows.
    pub(super) fn counters<'s, V: EncodeCounterValue>(
        &mut self,
        family: Family,
        samples: impl IntoIterator<Item = Sample<'s, V>>,
    ) -> fmt::Result {
        self.family(family, samples, ConstCounter::new)
    }

    /// What grows and shrinks.
    pub(super) fn gauges<'s>(
        &mut self,
        family: Family,
        samples: impl IntoIterator<Item = Sample<'s, f64>>,
    ) -> fmt::Result {
        self.family(family, samples, ConstGauge::new)
    }

    /// A family without samples is left out.
    fn family<'s, V, M: EncodeMetric>(
        &mut self,
        family: Family,
        samples: impl IntoIterator<Item = Sample<'s, V>>,
        metric: impl Fn(V) -> M,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().map(|(labels, value)| (labels, metric(value))).peekable();
        let Some((_, first)) = samples.peek() else { return Ok(()) };
        let Family { name, help, unit } = family;
        let mut encoder = self.encoder.encode_descriptor(name, help, unit, first.metric_type())?;
        samples.try_for_each(|(labels, metric)| sample(&mut encoder, self.end, labels, &metric))
    }
}

fn sample(
    encoder: &mut MetricEncoder<'_>,
    end: &'static str,
    mut labels: Vec<(&'static str, &str)>,
    metric: &impl EncodeMetric,
) -> fmt::Result {
    labels.insert(0, ("end", end));
    metric.encode(encoder.encode_family(&labels)?)
}
