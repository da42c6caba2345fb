//! What a whole is made of, over time: a band for each of several rows.

use super::axis::{Axis, Scale};
use super::canvas::{Canvas, Ink, SMALL, TEXT, WIDTH, path};
use super::figure::{Figure, Grid};
use super::slot::Slot;
use super::text;

/// A chart of bands.
#[derive(Clone, Debug)]
pub struct Stacks {
    /// As in [`Figure`].
    pub id: String,
    /// As in [`Figure`].
    pub title: String,
    /// As in [`Figure`].
    pub sentence: String,
    /// What the axis from left to right counts, with its unit.
    pub across: String,
    /// The bands, from top to bottom.
    pub stacks: Vec<Stack>,
    /// The figures behind it.
    pub grid: Grid,
}

/// A band.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Its name.
    pub label: String,
    /// What it was made of, in the order of time.
    pub moments: Vec<Moment>,
}

/// What it was made of for some time.
#[derive(Clone, Debug)]
pub struct Moment {
    /// When that begins.
    pub from: f64,
    /// When it ends.
    pub to: f64,
    /// The parts, in any order.
    pub shares: Vec<Share>,
}

/// A part.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Of what.
    pub slot: Slot,
    /// How much; only its relation to the others counts.
    pub value: f64,
}

const BAND: f64 = 38.0;
const STEP: f64 = 50.0;
const TOP: f64 = 42.0;
const BELOW: f64 = 50.0;
const MARGIN: f64 = 16.0;
const RIGHT: f64 = WIDTH - 28.0;
/// The widest that names may get.
const NAMES: f64 = 340.0;

impl Stacks {
    /// Draws it.
    #[must_use]
    pub fn draw(self) -> Figure {
        let mut canvas = Canvas::new(&self.id, &[]);
        let names = self.stacks.iter().map(|stack| text::width(&stack.label, TEXT)).fold(40.0, f64::max);
        let left = MARGIN + names.min(NAMES) + 10.5;
        let longest = self.moments().map(|moment| moment.to).filter(|to| to.is_finite()).fold(0.0, f64::max);
        let axis = Axis::until(Scale::Linear, longest, left, RIGHT);
        let bottom = TOP + STEP * self.stacks.len() as f64;
        for tick in axis.ticks() {
            let x = axis.at(tick);
            canvas.grid((x, TOP - 4.0), (x, bottom + 2.0));
            canvas.text("small soft middle", x, bottom + 20.0, &text::compact(tick));
        }
        canvas.text("small soft", left, bottom + 40.0, &self.across);
        let used: Vec<Slot> = Slot::ALL.into_iter().filter(|&slot| self.has(slot)).collect();
        legend(&mut canvas, left, &used);
        for (number, stack) in self.stacks.iter().enumerate() {
            let top = TOP + STEP * number as f64;
            let label = text::fitted(&stack.label, TEXT, left - MARGIN - 10.0);
            canvas.text("end", left - 10.0, top + BAND / 2.0 + 4.5, &label);
            stack.draw(&mut canvas, &axis, top, &used);
        }
        let Self { id, title, sentence, grid, .. } = self;
        Figure { id, title, sentence, grid, height: bottom + BELOW, body: canvas.finish() }
    }

    fn moments(&self) -> impl Iterator<Item = &Moment> {
        self.stacks.iter().flat_map(|stack| &stack.moments)
    }

    fn has(&self, slot: Slot) -> bool {
        self.moments().flat_map(|moment| &moment.shares).any(|share| share.slot == slot && share.value > 0.0)
    }
}

/// What the colours are, in the order in which they lie on each other.
pub(super) fn legend(canvas: &mut Canvas, left: f64, slots: &[Slot]) {
    let mut x = left;
    for &slot in slots {
        canvas.swatch(Ink { slot, modelled: false }, (x, 10.0), 12.0);
        canvas.text("small", x + 18.0, 20.5, slot.name());
        x += 18.0 + text::width(slot.name(), SMALL) + 20.0;
    }
}

impl Stack {
    fn draw(&self, canvas: &mut Canvas, axis: &Axis, top: f64, slots: &[Slot]) {
        for (index, &slot) in slots.iter().enumerate() {
            // The lower edge of a colour is the upper edge of all below it.
            let edge = |count: usize| -> Vec<(f64, f64)> {
                let steps = self.moments.iter().flat_map(|moment| {
                    let y = top + BAND * (1.0 - moment.share(&slots[..count]));
                    [(axis.at(moment.from), y), (axis.at(moment.to), y)]
                });
                steps.collect()
            };
            let (lower, upper) = (edge(index), edge(index + 1));
            if lower == upper {
                continue;
            }
            let around = upper.into_iter().chain(lower.into_iter().rev());
            let told = format!("{}: {}", self.label, slot.name());
            canvas.area(Ink { slot, modelled: false }, &format!("{}Z", path(around)), &told);
        }
    }
}

impl Moment {
    /// Which share these have of all.
    fn share(&self, slots: &[Slot]) -> f64 {
        let sum = |of: &dyn Fn(&Share) -> bool| {
            self.shares.iter().filter(|&share| of(share)).map(|share| share.value).sum::<f64>()
        };
        let (all, part) = (sum(&|_| true), sum(&|share| slots.contains(&share.slot)));
        if all > 0.0 { part / all } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use pageferry_accel::method::Method;

    use super::*;

    fn stacks() -> Stacks {
        let share = |method, value| Share { slot: Slot::Method(method), value };
        let moment = |from, to, raw, zstd| Moment {
            from,
            to,
            shares: vec![share(Method::Raw, raw), share(Method::Zstd, zstd), share(Method::Lz4, 0.0)],
        };
        Stacks {
            id: "mix".to_owned(),
            title: "Mix".to_owned(),
            sentence: "Look.".to_owned(),
            across: "seconds".to_owned(),
            stacks: vec![Stack {
                label: "selector".to_owned(),
                moments: vec![moment(0.0, 0.5, 3.0, 1.0), moment(0.5, 1.0, 0.0, 7.0)],
            }],
            grid: Grid::default(),
        }
    }

    #[test]
    fn the_bands_of_a_moment_fill_its_height_by_their_shares() {
        let svg = stacks().draw().svg();
        let paths: Vec<&str> = svg.lines().filter(|line| line.starts_with("<path class=\"mark")).collect();
        assert_eq!(paths.len(), 2, "what was never there has no band: {svg}");
        let middle = TOP + BAND * 0.25;
        let path = |class: &str| *paths.iter().find(|line| line.contains(class)).unwrap();
        assert!(path("f-raw").contains(&format!(" {middle}L")), "{paths:?}");
        assert!(path("f-zstd").contains(&format!(" {TOP}L")), "{paths:?}");
        assert!(svg.contains(">raw</text>") && !svg.contains(">lz4</text>"), "{svg}");
    }

    #[test]
    fn a_moment_in_which_nothing_was_sent_is_empty() {
        let mut empty = stacks();
        empty.stacks[0].moments[0].shares.clear();
        assert_eq!(empty.stacks[0].moments[0].share(&[Slot::Method(Method::Raw)]), 0.0);
    }
}
