//! A flow as it is remembered: bytes in a row, the part that tells flows apart first.
//!
//! There may be a hundred thousand, and most are never looked at: packed a flow takes a third of the
//! memory that it takes to be worked with. The bytes are what postcard writes. Two flows with the same
//! priority and match begin with the same bytes, and no other does, because postcard writes a value in
//! one way only and says where it ends; so a flow is found without unpacking any.

use serde::{Deserialize, Serialize};
use vswitch_flow::{FlowFlags, FlowRule, Instructions, Match};

/// Why packing never fails.
const WRITABLE: &str = "a flow has nothing that cannot be written";

/// Why unpacking never fails.
const READABLE: &str = "what was written here can be read";

/// What a flow says besides its table, priority and match.
#[derive(Deserialize, Serialize)]
struct Rest {
    cookie: u64,
    instructions: Instructions,
    idle_timeout: u16,
    hard_timeout: u16,
    importance: u16,
    flags: FlowFlags,
}

/// A flow of a table, packed.
#[derive(Debug)]
pub struct Packed(Box<[u8]>);

/// The priority and match of flows, packed.
#[derive(Debug)]
pub struct PackedKey(Vec<u8>);

impl PackedKey {
    /// Those of a flow.
    pub fn of(rule: &FlowRule) -> Self {
        Self(postcard::to_allocvec(&(rule.priority, &rule.matches)).expect(WRITABLE))
    }

    /// What tells it from others, to be hashed.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The flow that has it, packed.
    pub fn with(self, rule: FlowRule) -> Packed {
        let FlowRule {
            table: _,
            priority: _,
            matches: _,
            cookie,
            instructions,
            idle_timeout,
            hard_timeout,
            importance,
            flags,
        } = rule;
        let rest = Rest {
            cookie,
            instructions,
            idle_timeout,
            hard_timeout,
            importance,
            flags,
        };
        Packed(
            postcard::to_extend(&rest, self.0)
                .expect(WRITABLE)
                .into_boxed_slice(),
        )
    }
}

impl Packed {
    /// Whether a flow has this priority and match.
    pub fn has(&self, key: &PackedKey) -> bool {
        self.0.starts_with(&key.0)
    }

    /// The flow, which is of this table.
    pub fn rule(&self, table: u8) -> FlowRule {
        let ((priority, matches), rest) =
            postcard::take_from_bytes::<(u16, Match)>(&self.0).expect(READABLE);
        let rest: Rest = postcard::from_bytes(rest).expect(READABLE);
        FlowRule {
            table,
            priority,
            cookie: rest.cookie,
            matches,
            instructions: rest.instructions,
            idle_timeout: rest.idle_timeout,
            hard_timeout: rest.hard_timeout,
            importance: rest.importance,
            flags: rest.flags,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vswitch_flow::{Action, Field, OfPort};

    fn rule(priority: u16, port: u128) -> FlowRule {
        FlowRule {
            table: 7,
            priority,
            cookie: u64::MAX,
            matches: Match::any().with(Field::InPort, port),
            instructions: Instructions {
                goto: Some(9),
                ..Instructions::apply(vec![Action::Output(OfPort(3)), Action::Group(300)])
            },
            idle_timeout: 1,
            hard_timeout: 300,
            importance: 5,
            flags: FlowFlags::SEND_FLOW_REM,
        }
    }

    #[test]
    fn a_packed_flow_is_what_it_was_and_is_known_by_its_key() {
        let rules = [rule(1, 1), rule(1, 129), rule(300, 1), FlowRule::default()];
        for one in &rules {
            let packed = PackedKey::of(one).with(one.clone());
            assert_eq!(packed.rule(one.table), *one);
            for other in &rules {
                assert_eq!(packed.has(&PackedKey::of(other)), one == other);
            }
        }
        let other = FlowRule {
            cookie: 1,
            ..rule(1, 1)
        };
        let packed = PackedKey::of(&other).with(other);
        assert!(packed.has(&PackedKey::of(&rule(1, 1))));
    }

    #[test]
    fn an_ordinary_flow_takes_few_bytes() {
        let flow = FlowRule {
            priority: 100,
            matches: Match::any()
                .with(Field::EthType, 0x0800)
                .with(Field::Ipv4Dst, 0x0a00_0001),
            instructions: Instructions::apply(vec![Action::Output(OfPort(2))]),
            ..FlowRule::default()
        };
        let packed = PackedKey::of(&flow).with(flow);
        assert!(packed.0.len() < 64, "{} bytes", packed.0.len());
    }
}
