//! Where labels stand so that none covers another.

use super::text;

/// A box on the chart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Area {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Area {
    fn meets(&self, other: &Self) -> bool {
        self.x < other.x + other.width
            && other.x < self.x + self.width
            && self.y < other.y + other.height
            && other.y < self.y + self.height
    }

    fn is_within(&self, other: &Self) -> bool {
        self.x >= other.x
            && self.y >= other.y
            && self.x + self.width <= other.x + other.width
            && self.y + self.height <= other.y + other.height
    }
}

/// Where a label stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    /// Where it begins, by its baseline.
    pub(super) at: (f64, f64),
    /// Where a line from its dot ends, if it is so far away that one is needed.
    pub(super) lead: Option<(f64, f64)>,
}

/// Places for labels of dots of `radius`; none for one that has no free place.
pub(super) fn beside(
    dots: &[((f64, f64), &str)],
    size: f64,
    radius: f64,
    bounds: Area,
) -> Vec<Option<Place>> {
    let height = size * 1.15;
    let mut taken: Vec<Area> = dots
        .iter()
        .map(|&((x, y), _)| Area { x: x - radius, y: y - radius, width: 2.0 * radius, height: 2.0 * radius })
        .collect();
    let place = |&((x, y), words): &((f64, f64), &str)| {
        let width = text::width(words, size);
        let gap = radius + 4.0;
        let (level, above, below) = (y - height / 2.0, y - gap - height, y + gap);
        // A label may move aside by some lines before it is left out.
        let near = [
            (x + gap, level),
            (x - gap - width, level),
            (x - width / 2.0, above),
            (x - width / 2.0, below),
            (x + gap, above + height / 2.0),
            (x + gap, below - height / 2.0),
            (x - gap - width, above + height / 2.0),
            (x - gap - width, below - height / 2.0),
            (x, above),
            (x, below),
            (x - width, above),
            (x - width, below),
        ];
        // Farther away, where a line leads to it.
        let far = (1..6).flat_map(|lines| {
            let (up, down) = (above - height * f64::from(lines), below + height * f64::from(lines));
            let aside = 14.0 * f64::from(lines);
            [(x + aside, up), (x + aside, down), (x - width - aside, up), (x - width - aside, down)]
        });
        let free = |(x, y): (f64, f64)| {
            let area = Area { x, y, width, height };
            (area.is_within(&bounds) && !taken.iter().any(|other| other.meets(&area))).then_some(area)
        };
        let (area, is_far) = match near.into_iter().find_map(&free) {
            Some(area) => (area, false),
            None => (far.into_iter().find_map(&free)?, true),
        };
        taken.push(area);
        let end = if area.x > x { area.x - 2.0 } else { area.x + width };
        let lead = is_far.then_some((end, area.y + height / 2.0));
        Some(Place { at: (area.x, area.y + height * 0.8), lead })
    };
    dots.iter().map(place).collect()
}

/// Heights near those that are wanted, `step` apart at least, between `top` and `bottom`.
pub(super) fn apart(wanted: &[f64], step: f64, top: f64, bottom: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|&one, &other| wanted[one].total_cmp(&wanted[other]));
    let mut placed = wanted.to_vec();
    let mut least = top;
    for &index in &order {
        placed[index] = wanted[index].max(least);
        least = placed[index] + step;
    }
    let mut most = bottom;
    for &index in order.iter().rev() {
        placed[index] = placed[index].min(most);
        most = placed[index] - step;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_dots_close_together_do_not_meet() {
        let dots = [((50.0, 50.0), "raw"), ((52.0, 51.0), "deflate"), ((54.0, 52.0), "zstd")];
        let bounds = Area { x: 0.0, y: 0.0, width: 300.0, height: 100.0 };
        let places: Vec<_> = beside(&dots, 13.0, 5.0, bounds).into_iter().flatten().collect();
        assert_eq!(places.len(), 3);
        let areas: Vec<Area> = places
            .iter()
            .zip(dots)
            .map(|(&Place { at: (x, y), .. }, (_, words))| Area {
                x,
                y: y - 12.0,
                width: text::width(words, 13.0),
                height: 14.0,
            })
            .collect();
        for (index, area) in areas.iter().enumerate() {
            assert!(!areas[index + 1..].iter().any(|other| other.meets(area)), "{areas:?}");
        }
    }

    #[test]
    fn heights_are_apart_and_within_their_bounds() {
        let placed = apart(&[50.0, 51.0, 52.0, 99.0], 10.0, 0.0, 100.0);
        let mut sorted = placed.clone();
        sorted.sort_by(f64::total_cmp);
        assert!(sorted.windows(2).all(|two| two[1] - two[0] >= 9.99), "{placed:?}");
        assert!(sorted[0] >= 0.0 && sorted[3] <= 100.0, "{placed:?}");
        assert_eq!(apart(&[10.0, 90.0], 10.0, 0.0, 100.0), [10.0, 90.0]);
    }
}
