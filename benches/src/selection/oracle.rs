//! The time that nobody can do without: what an oracle needs that knows beforehand what every page costs by every method.

use pageferry_accel::method::Method;
use pageferry_tools::page_costs::{Cost, PageCosts};
use pageferry_tools::simulation::{HostCosts, Lane, Setup};

use super::METHODS;

/// What a page takes of each resource, in nanoseconds: link, CPU budget, poller, workers, reader, decoders.
type Use = [f64; 6];

/// Of a round's pages every so many-th is looked at, so that no more than this are.
const LOOKED_AT: usize = 2000;

/// How often the prices are set anew.
const STEPS: u32 = 300;

/// Seconds that all rounds take at least, in that set-up.
///
/// Pages may be divided among methods as finely as one likes, baselines cost nothing, and nothing waits but for the busiest
/// resource. Then a round is a linear program, and every price of the resources gives a bound to it from below (its dual); the
/// highest that is found by multiplicative weights is taken. No selector can be faster.
#[must_use]
pub fn shortest(setup: &Setup, costs: &PageCosts) -> f64 {
    // Of a guest in which the same memory lies several times, the costs say what one of them takes.
    let times = f64::from(costs.pages()) / costs.round(0).dirty().len().max(1) as f64;
    let rounds = (0..).take(costs.rounds().len());
    let overhead = setup.host.round_wall_ns / 1e9 + 2.0 * setup.link.propagation.as_secs_f64();
    rounds.map(|round| times * shortest_round(setup, costs, round) + overhead).sum()
}

fn shortest_round(setup: &Setup, costs: &PageCosts, round: u32) -> f64 {
    let known = costs.round(round);
    let every = known.dirty().len().div_ceil(LOOKED_AT).max(1);
    let mut pages: Vec<Vec<Use>> = Vec::new();
    for &page in known.dirty().iter().step_by(every) {
        if costs.is_zero(round, page) {
            pages.push(vec![uses(setup, costs.zero())]);
            continue;
        }
        let ways = METHODS.iter().filter(|method| round > 0 || !method.needs_baseline());
        let ways = ways.filter_map(|&method: &Method| costs.cost(round, page, method));
        pages.push(ways.map(|cost| uses(setup, cost)).collect());
    }
    bound(&pages) * every as f64 / 1e9
}

/// The highest of the bounds that prices give.
fn bound(pages: &[Vec<Use>]) -> f64 {
    let mut weights = [0.0_f64; 6];
    let (mut best, mut scale) = (0.0_f64, 0.0_f64);
    for step in 0..STEPS {
        let top = weights.iter().copied().fold(f64::MIN, f64::max);
        let raised = weights.map(|weight| (weight - top).exp());
        let sum: f64 = raised.iter().sum();
        let prices = raised.map(|price| price / sum);
        let (mut value, mut used) = (0.0, [0.0; 6]);
        for ways in pages {
            let price = |way: &Use| way.iter().zip(prices).map(|(ns, price)| ns * price).sum::<f64>();
            let Some(way) = ways.iter().min_by(|one, other| price(one).total_cmp(&price(other))) else {
                continue;
            };
            value += price(way);
            used.iter_mut().zip(way).for_each(|(used, ns)| *used += ns);
        }
        best = best.max(value);
        scale = scale.max(used.iter().copied().fold(0.0, f64::max));
        if scale == 0.0 {
            return 0.0;
        }
        // Steps that become shorter find the place, and do not circle around it.
        let length = 2.0 / f64::from(step + 1).sqrt() / scale;
        weights.iter_mut().zip(used).for_each(|(weight, used)| *weight += length * used);
    }
    best
}

/// What a page takes that costs so much.
fn uses(setup: &Setup, cost: Cost) -> Use {
    let HostCosts { compose_request_ns, compose_page_ns, send_request_ns, send_byte_ns, .. } = setup.host;
    let HostCosts { read_request_ns, read_byte_ns, encode_request_ns, decode_request_ns, .. } = setup.host;
    let request = 1.0 / f64::from(setup.max_pages);
    let bytes = f64::from(cost.payload_bytes);
    let encode = f64::from(cost.encode_ns) + request * encode_request_ns;
    let decode = f64::from(cost.decode_ns) + request * decode_request_ns;
    let poller = request * send_request_ns + bytes * send_byte_ns;
    let compose = request * compose_request_ns + compose_page_ns;
    let link = setup.link.bytes_per_s.map_or(0.0, |rate| bytes * 1e9 / rate);
    [
        link,
        (encode + poller + compose) / setup.cpu_budget.unwrap_or(setup.source.cpus),
        poller,
        encode / workers(&setup.source.lanes),
        request * read_request_ns + bytes * read_byte_ns,
        decode / workers(&setup.destination.lanes),
    ]
}

fn workers(lanes: &[Lane]) -> f64 {
    let workers = lanes.iter().map(|lane| match lane {
        Lane::Cpu(cpu) => cpu.workers,
        Lane::Device(device) => device.engines,
    });
    workers.sum::<usize>().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ways_are_divided_so_that_both_resources_are_busy() {
        // 9/28 of the pages by the second way: link 10 - 9 x, CPU 1 + 19 x.
        let way = |link, cpu| [link, cpu, 0.0, 0.0, 0.0, 0.0];
        let pages = vec![vec![way(10.0, 1.0), way(1.0, 20.0)]; 1000];
        let expected = 1000.0 * (10.0 - 81.0 / 28.0);
        let found = bound(&pages);
        assert!((0.99..=1.0).contains(&(found / expected)), "{found}, and {expected} is right");
    }

    #[test]
    fn every_page_goes_its_own_way_where_that_is_best_for_all() {
        let way = |link, cpu| [link, cpu, 0.0, 0.0, 0.0, 0.0];
        let shrinks = vec![way(10.0, 0.1), way(1.0, 0.2)];
        let does_not = vec![way(10.0, 0.1), way(10.0, 0.2)];
        let found = bound(&[vec![shrinks; 100], vec![does_not; 100]].concat());
        assert!((0.99..=1.0).contains(&(found / 1100.0)), "{found}");
    }
}
