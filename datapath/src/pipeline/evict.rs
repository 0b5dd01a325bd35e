//! Which flow makes room in a full table.
//!
//! Of the flows that have a timeout, the least important goes, and of equally important ones the
//! one that would expire first; a flow without a timeout never goes. That is what Open vSwitch does
//! (`choose_rule_to_evict`, `rule_eviction_priority`) when no fields are named to group flows by.
//!
//! Law: a queue is in the order in which its flows were to go when they were put in. Traffic makes
//! a flow go later, never earlier, so who takes the first one looks at it again and puts it back if
//! it has moved. Cost: a look at the whole table when it is full for the first time, then the
//! logarithm of its length for each flow.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use vswitch_dpapi::BridgeId;

use super::classifier::Table;
use super::rule::Rule;

/// A flow and when it is to go: importance, then the tick of its expiry.
#[derive(Debug)]
struct Candidate {
    importance: u16,
    expiry: u64,
    rule: Arc<Rule>,
}

impl Candidate {
    fn new(rule: &Arc<Rule>) -> Option<Self> {
        Some(Self {
            importance: rule.flow().importance,
            expiry: rule.expiry()?.0.0,
            rule: Arc::clone(rule),
        })
    }

    fn order(&self) -> (u16, u64) {
        (self.importance, self.expiry)
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

type Queue = BinaryHeap<Reverse<Candidate>>;

/// The queues of tables that were full.
#[derive(Debug, Default)]
pub struct Evictions(HashMap<(BridgeId, u8), Queue>);

impl Evictions {
    /// A flow has come into a table.
    pub(super) fn added(&mut self, bridge: BridgeId, rule: &Arc<Rule>) {
        if let Some(queue) = self.0.get_mut(&(bridge, rule.flow().table)) {
            queue.extend(Candidate::new(rule).map(Reverse));
        }
    }

    /// The flow that makes room in a table.
    pub(super) fn choose(
        &mut self,
        bridge: BridgeId,
        number: u8,
        table: &Table,
    ) -> Option<Arc<Rule>> {
        let all = || {
            table
                .iter()
                .filter_map(Candidate::new)
                .map(Reverse)
                .collect()
        };
        let queue = self.0.entry((bridge, number)).or_insert_with(all);
        // What has gone otherwise is still in the queue.
        if queue.len() > 2 * table.len() + 64 {
            *queue = all();
        }
        while let Some(Reverse(first)) = queue.pop() {
            let flow = first.rule.flow();
            let there = table.find(&flow.matches, flow.priority);
            if !there.is_some_and(|rule| Arc::ptr_eq(rule, &first.rule)) {
                continue;
            }
            match Candidate::new(&first.rule) {
                Some(now) if now.expiry > first.expiry => queue.push(Reverse(now)),
                Some(_) => return Some(first.rule),
                None => {}
            }
        }
        None
    }

    /// Forgets what is known of a bridge's tables.
    pub fn forget(&mut self, bridge: BridgeId) {
        self.0.retain(|(of, _), _| *of != bridge);
    }
}
