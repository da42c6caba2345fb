//! From a value to a place, and the ticks between.

/// How values are laid out along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// Evenly, from 0, or from below it where an axis may go there.
    Linear,
    /// By their logarithm, from this value on.
    Log(f64),
}

/// An axis: values from its least to its most, along a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    scale: Scale,
    /// Where a linear axis begins.
    least: f64,
    most: f64,
    /// Where the least is, and the most.
    from: f64,
    to: f64,
}

/// More ticks than this crowd an axis.
const TICKS: f64 = 6.0;

impl Axis {
    /// An axis whose end is at or behind the largest of `values`; where its ticks end if `round`, at the value if not.
    pub(super) fn new(scale: Scale, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let largest = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        let most = match scale {
            Scale::Linear if largest <= 0.0 => 1.0,
            Scale::Linear => {
                let step = step(largest);
                (largest / step).ceil() * step
            }
            Scale::Log(least) => largest.max(least * 10.0),
        };
        Self { scale, least: 0.0, most, from, to }
    }

    /// A linear axis from the least of `values`, if that is below 0, to the largest; both ends at ticks.
    pub(super) fn both_ways(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let least = values.clone().filter(|value| value.is_finite()).fold(0.0, f64::min);
        let above = Self::new(Scale::Linear, values, from, to);
        let step = step(above.most.max(-least));
        let up = |value: f64| (value / step).ceil() * step;
        Self { least: -up(-least), most: up(above.most), ..above }
    }

    /// The same, with its end exactly at `most`.
    pub(super) fn until(scale: Scale, most: f64, from: f64, to: f64) -> Self {
        Self { scale, least: 0.0, most: if most > 0.0 { most } else { 1.0 }, from, to }
    }

    /// Where a value is; one beyond an end is at the end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.least) / (self.most - self.least),
            Scale::Log(least) => (value.max(least) / least).ln() / (self.most / least).ln(),
        };
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        self.from + share * (self.to - self.from)
    }

    /// Round values along it.
    pub(super) fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let step = step(self.most.max(-self.least));
                let first = (self.least / step).round();
                (0..20_u32)
                    .map(|tick| (first + f64::from(tick)) * step)
                    .take_while(|&tick| tick <= self.most * 1.0001)
                    .collect()
            }
            Scale::Log(least) => {
                let decades = (self.most / least).log10();
                let within = if decades > 3.0 { &[1.0][..] } else { &[1.0, 2.0, 5.0] };
                let first = least.log10().floor();
                let decade = (0..30_u32).map(|number| 10_f64.powf(first + f64::from(number)));
                let all = decade.flat_map(|decade| within.iter().map(move |&times| decade * times));
                all.filter(|&tick| tick >= least * 0.999 && tick <= self.most * 1.0001).collect()
            }
        }
    }
}

/// A round step that leads to `most` in not too many.
fn step(most: f64) -> f64 {
    let exact = most / TICKS;
    let power = 10_f64.powf(exact.log10().floor());
    let times = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|times| times * power >= exact * 0.999);
    times.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_reach_the_largest_value() {
        for largest in [0.003, 1.0, 7.3, 386_952.0, 1e9] {
            let axis = Axis::new(Scale::Linear, [largest, 0.0].into_iter(), 0.0, 100.0);
            let ticks = axis.ticks();
            assert!((2..=8).contains(&ticks.len()), "{largest}: {ticks:?}");
            assert!(*ticks.last().unwrap() >= largest * 0.999, "{largest}: {ticks:?}");
            assert!(axis.at(largest) <= 100.0 && axis.at(largest) > 70.0, "{largest}");
        }
    }

    #[test]
    fn an_axis_both_ways_has_0_among_its_ticks_and_the_least_within() {
        let axis = Axis::both_ways([-14.0, 99.0].into_iter(), 0.0, 120.0);
        assert_eq!(axis.ticks(), [-20.0, 0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!((axis.at(-20.0), axis.at(0.0), axis.at(100.0)), (0.0, 20.0, 120.0));
        let axis = Axis::both_ways([-99.0, 14.0].into_iter(), 0.0, 120.0);
        assert_eq!((axis.at(-100.0), axis.at(0.0), axis.at(20.0)), (0.0, 100.0, 120.0));
    }

    #[test]
    fn a_logarithmic_axis_has_its_decades_at_equal_distances() {
        let axis = Axis::new(Scale::Log(1.0), [10_000.0].into_iter(), 0.0, 100.0);
        assert_eq!(axis.ticks(), [1.0, 10.0, 100.0, 1000.0, 10_000.0]);
        assert!((axis.at(100.0) - 50.0).abs() < 1e-9);
        assert_eq!((axis.at(0.0), axis.at(1e9)), (0.0, 100.0));
    }

    #[test]
    fn no_value_at_all_still_makes_an_axis() {
        let axis = Axis::new(Scale::Linear, [0.0, f64::NAN].into_iter(), 0.0, 100.0);
        assert_eq!((axis.at(f64::NAN), axis.at(0.0)), (0.0, 0.0));
        assert!(axis.ticks().len() > 1);
    }
}
