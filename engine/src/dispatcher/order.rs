//! In which order the queues of an accelerator are tried: those next to the pages first, in turn among themselves.

/// The queues of one accelerator by the NUMA nodes that they are on, worked out once.
///
/// Where nothing is known of nodes, or all queues are on the same one, there is one group, which holds all of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// The first one is for pages that are on no node that a queue is on.
    groups: Vec<Group>,
}

/// The order for the pages of one node.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    node: Option<u32>,
    near: Vec<usize>,
    far: Vec<usize>,
}

impl Order {
    /// The order of queues that are on these nodes, as far as that is known.
    pub(super) fn new(nodes: &[Option<u32>]) -> Self {
        let mut groups = vec![Group { node: None, near: (0..nodes.len()).collect(), far: Vec::new() }];
        for &node in nodes {
            let known = node.is_none() || groups.iter().any(|group| group.node == node);
            let (near, far): (Vec<_>, Vec<_>) = (0..nodes.len()).partition(|&queue| nodes[queue] == node);
            if !known && !far.is_empty() {
                groups.push(Group { node, near, far });
            }
        }
        Self { groups }
    }

    /// Whether it makes a difference on which node the pages are.
    pub(super) fn depends_on_node(&self) -> bool {
        self.groups.len() > 1
    }

    /// How many groups there are. Each takes turns of its own: were there one turn for all, pages of two nodes that
    /// come alternately would each find every other queue only.
    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The group for pages on `node`.
    pub(super) fn group(&self, node: Option<u32>) -> usize {
        let preferring = node.and_then(|_| self.groups.iter().position(|group| group.node == node));
        preferring.unwrap_or(0)
    }

    /// Every queue once: the near ones, begun where `turn` says, and then the far ones likewise.
    pub(super) fn queues(&self, group: usize, turn: usize) -> impl Iterator<Item = usize> {
        let Group { near, far, .. } = &self.groups[group];
        rotated(near, turn).chain(rotated(far, turn))
    }
}

fn rotated(queues: &[usize], turn: usize) -> impl Iterator<Item = usize> {
    let (before, from) = queues.split_at(turn.checked_rem(queues.len()).unwrap_or(0));
    from.iter().chain(before).copied()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Two sockets with four devices each, one queue a device, listed as sysfs may list them.
    const TWO_SOCKETS: [Option<u32>; 8] =
        [Some(0), Some(1), Some(0), Some(1), Some(0), Some(0), Some(1), Some(1)];

    fn queues(order: &Order, node: Option<u32>, turn: usize) -> Vec<usize> {
        order.queues(order.group(node), turn).collect()
    }

    #[test]
    fn of_two_sockets_the_near_devices_come_first_and_each_in_its_turn() {
        let order = Order::new(&TWO_SOCKETS);
        assert!(order.depends_on_node());
        assert_eq!(order.groups(), 3);
        assert_eq!(queues(&order, Some(0), 0), [0, 2, 4, 5, 1, 3, 6, 7]);
        assert_eq!(queues(&order, Some(0), 3), [5, 0, 2, 4, 7, 1, 3, 6]);
        assert_eq!(queues(&order, Some(1), 1), [3, 6, 7, 1, 2, 4, 5, 0]);
        assert_eq!(queues(&order, Some(1), 4), queues(&order, Some(1), 0));
    }

    #[test]
    fn pages_of_an_unknown_node_or_one_without_devices_take_every_queue_in_turn() {
        let order = Order::new(&TWO_SOCKETS);
        for node in [None, Some(7)] {
            assert_eq!(order.group(node), 0);
            assert_eq!(queues(&order, node, 6), [6, 7, 0, 1, 2, 3, 4, 5]);
        }
    }

    #[test]
    fn a_device_of_an_unknown_node_is_as_far_as_any() {
        let order = Order::new(&[None, Some(1), None, Some(1)]);
        assert!(order.depends_on_node());
        assert_eq!(queues(&order, Some(1), 1), [3, 1, 2, 0]);
        assert_eq!(queues(&order, None, 1), [1, 2, 3, 0]);
    }

    #[test]
    fn one_node_and_no_known_node_make_no_difference() {
        for nodes in [&[Some(0); 4][..], &[None; 4], &[Some(3)], &[]] {
            let order = Order::new(nodes);
            assert!(!order.depends_on_node(), "{nodes:?}");
            assert_eq!(order.group(Some(0)), 0);
            let turned: Vec<usize> = (0..nodes.len()).map(|queue| (queue + 1) % nodes.len()).collect();
            assert_eq!(queues(&order, Some(0), 1), turned);
        }
    }

    #[test]
    fn every_queue_is_tried_once_and_takes_its_share_of_first_turns() {
        for nodes in [&TWO_SOCKETS[..], &[None, Some(1), Some(2)], &[Some(0), Some(1)]] {
            let order = Order::new(nodes);
            for node in [None, Some(0), Some(1), Some(2)] {
                let near = nodes.iter().filter(|&&found| found == node && node.is_some()).count();
                let near = if near == 0 { nodes.len() } else { near };
                let mut first = vec![0; nodes.len()];
                for turn in 0..4 * near {
                    let mut tried = queues(&order, node, turn);
                    first[tried[0]] += 1;
                    tried.sort_unstable();
                    assert_eq!(tried, (0..nodes.len()).collect::<Vec<_>>());
                }
                let shares: Vec<_> = first.into_iter().filter(|&share| share > 0).collect();
                assert_eq!(shares, vec![4; near], "{nodes:?}, pages on {node:?}");
            }
        }
    }
}
