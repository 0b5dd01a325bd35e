//! A flow of a table, and changes to flows (OpenFlow 1.3.5 §6.4).
//!
//! Which flows a change concerns is decided here, because the datapath does it to its tables and
//! `vswitchd` does it to what it remembers of them.

use serde::{Deserialize, Serialize};

use crate::action::{Action, Instructions, OfPort};
use crate::matches::Match;

/// Number of the highest table.
pub const TABLE_MAX: u8 = 253;

/// A group's number that stands for all or any.
pub const GROUP_ANY: u32 = 0xffff_ffff;

/// What is said of a flow besides its match and instructions (`ofp_flow_mod_flags`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FlowFlags(pub u16);

impl FlowFlags {
    /// The controller wants to hear when the flow goes.
    pub const SEND_FLOW_REM: Self = Self(1);
    /// Refuse the flow where it overlaps one of the same priority. Not kept with the flow.
    pub const CHECK_OVERLAP: Self = Self(1 << 1);
    /// Begin the counters again when the flow replaces one.
    pub const RESET_COUNTS: Self = Self(1 << 2);
    /// Packets need not be counted.
    pub const NO_PACKET_COUNTS: Self = Self(1 << 3);
    /// Bytes need not be counted.
    pub const NO_BYTE_COUNTS: Self = Self(1 << 4);
    /// Not OpenFlow's: outputs were said with a length, which means nothing for ports other than
    /// the controller's but is said back, since clients compare. A client of Open vSwitch says none,
    /// other controllers say `OFPCML_MAX`.
    pub const OUTPUT_LEN: Self = Self(1 << 15);

    /// Whether all of `flags` are set.
    #[must_use]
    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// These and those.
    #[must_use]
    pub fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    /// These without those.
    #[must_use]
    pub fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }
}

/// A flow of an OpenFlow table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRule {
    /// Table number, up to [`TABLE_MAX`].
    pub table: u8,
    /// The highest matching priority wins.
    pub priority: u16,
    /// The owner's mark; the switch does not read it.
    pub cookie: u64,
    /// Which packets.
    pub matches: Match,
    /// What happens to them; nothing means drop.
    pub instructions: Instructions,
    /// Seconds without a packet after which the flow goes; 0 is never.
    pub idle_timeout: u16,
    /// Seconds after which the flow goes; 0 is never.
    pub hard_timeout: u16,
    /// Flows of lower importance go first when a table is full (OpenFlow 1.4).
    pub importance: u16,
    /// What else is said of it.
    pub flags: FlowFlags,
}

/// Which flows, as requests for statistics and non-strict changes say it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowSelect {
    /// Only of this table.
    pub table: Option<u8>,
    /// Only flows that this match covers.
    pub matches: Match,
    /// Only flows whose cookie agrees with `cookie` in the bits of `cookie_mask`.
    pub cookie: u64,
    /// See `cookie`; 0 is any cookie.
    pub cookie_mask: u64,
    /// Only flows that send to this port; [`OfPort::ANY`] is no condition.
    pub out_port: OfPort,
    /// Only flows that send to this group; [`GROUP_ANY`] is no condition.
    pub out_group: u32,
}

impl Default for FlowSelect {
    fn default() -> Self {
        Self {
            table: None,
            matches: Match::any(),
            cookie: 0,
            cookie_mask: 0,
            out_port: OfPort::ANY,
            out_group: GROUP_ANY,
        }
    }
}

/// What a change does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FlowCommand {
    /// Adds a flow; one with the same table, priority and match is replaced.
    Add,
    /// Gives new instructions to the flows that the match covers.
    Modify,
    /// Gives new instructions to the flow with this priority and match.
    ModifyStrict,
    /// Deletes the flows that the match covers.
    Delete,
    /// Deletes the flow with this priority and match.
    DeleteStrict,
}

/// A change to flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowMod {
    /// What it does.
    pub command: FlowCommand,
    /// The flow to add, or the match, priority and new instructions. Its table is looked at where
    /// `all_tables` does not say otherwise.
    pub rule: FlowRule,
    /// Deletes from, or modifies, every table.
    pub all_tables: bool,
    /// Modifies and deletes only flows whose cookie agrees with this in the bits of `cookie_mask`.
    pub cookie: u64,
    /// See `cookie`; 0 is any cookie.
    pub cookie_mask: u64,
    /// Deletes only flows that send to this port; [`OfPort::ANY`] is no condition.
    pub out_port: OfPort,
    /// Deletes only flows that send to this group; [`GROUP_ANY`] is no condition.
    pub out_group: u32,
    /// A modification that finds no flow adds one (OpenFlow 1.0 and 1.1).
    pub upsert: bool,
    /// A modification gives its flows the cookie of `rule` (OpenFlow 1.0).
    pub new_cookie: bool,
}

impl FlowMod {
    /// A change without conditions.
    #[must_use]
    pub fn new(command: FlowCommand, rule: FlowRule) -> Self {
        Self {
            command,
            rule,
            all_tables: false,
            cookie: 0,
            cookie_mask: 0,
            out_port: OfPort::ANY,
            out_group: GROUP_ANY,
            upsert: false,
            new_cookie: false,
        }
    }

    /// Deletes from one table, or all, what a match covers.
    #[must_use]
    pub fn delete(table: Option<u8>, matches: Match) -> Self {
        let rule = FlowRule {
            table: table.unwrap_or_default(),
            matches,
            ..FlowRule::default()
        };
        Self {
            all_tables: table.is_none(),
            ..Self::new(FlowCommand::Delete, rule)
        }
    }

    /// The flows that a modification or deletion concerns, apart from the priority, which strict
    /// ones look at too ([`FlowMod::concerns`]).
    #[must_use]
    pub fn select(&self) -> FlowSelect {
        let condition = self.condition();
        FlowSelect {
            table: condition.table,
            matches: condition.matches.clone(),
            cookie: condition.cookie,
            cookie_mask: condition.cookie_mask,
            out_port: condition.out_port,
            out_group: condition.out_group,
        }
    }

    fn condition(&self) -> Condition<'_> {
        let deletes = matches!(
            self.command,
            FlowCommand::Delete | FlowCommand::DeleteStrict
        );
        Condition {
            table: (!self.all_tables).then_some(self.rule.table),
            matches: &self.rule.matches,
            cookie: self.cookie,
            cookie_mask: self.cookie_mask,
            out_port: if deletes { self.out_port } else { OfPort::ANY },
            out_group: if deletes { self.out_group } else { GROUP_ANY },
        }
    }

    /// Whether a modification or deletion concerns a flow.
    #[must_use]
    pub fn concerns(&self, rule: &FlowRule) -> bool {
        let strict = match self.command {
            FlowCommand::ModifyStrict | FlowCommand::DeleteStrict => true,
            FlowCommand::Modify | FlowCommand::Delete => false,
            FlowCommand::Add => return false,
        };
        (!strict || rule.priority == self.rule.priority && rule.matches == self.rule.matches)
            && self.condition().holds(rule)
    }
}

/// What chooses flows, on loan: many are looked at for one change.
struct Condition<'a> {
    table: Option<u8>,
    matches: &'a Match,
    cookie: u64,
    cookie_mask: u64,
    out_port: OfPort,
    out_group: u32,
}

impl Condition<'_> {
    fn holds(&self, rule: &FlowRule) -> bool {
        self.table.is_none_or(|table| table == rule.table)
            && (rule.cookie ^ self.cookie) & self.cookie_mask == 0
            && (self.out_port == OfPort::ANY || rule.sends_to(self.out_port))
            && (self.out_group == GROUP_ANY || rule.uses_group(self.out_group))
            && self.matches.covers(&rule.matches)
    }
}

impl FlowSelect {
    /// Whether a flow is one of them.
    #[must_use]
    pub fn selects(&self, rule: &FlowRule) -> bool {
        let condition = Condition {
            table: self.table,
            matches: &self.matches,
            cookie: self.cookie,
            cookie_mask: self.cookie_mask,
            out_port: self.out_port,
            out_group: self.out_group,
        };
        condition.holds(rule)
    }
}

impl FlowRule {
    /// All actions, those within others included.
    pub fn each_action(&self, see: &mut impl FnMut(&Action)) {
        each_action(&self.instructions.apply, see);
        each_action(&self.instructions.write, see);
    }

    /// Whether some action names the port as one to send to.
    #[must_use]
    pub fn sends_to(&self, to: OfPort) -> bool {
        let mut found = false;
        self.each_action(&mut |action| {
            found |= match action {
                Action::Output(port)
                | Action::OutputTruncated { port, .. }
                | Action::Enqueue { port, .. } => *port == to,
                Action::Controller(_) => to == OfPort::CONTROLLER,
                Action::Bundle(bundle) => bundle.members.contains(&to),
                _ => false,
            };
        });
        found
    }

    /// Whether some action names the group.
    #[must_use]
    pub fn uses_group(&self, group: u32) -> bool {
        let mut found = false;
        self.each_action(&mut |action| {
            found |= matches!(action, Action::Group(id) if *id == group);
        });
        found
    }
}

/// Shows every action of a list, those within others included.
pub fn each_action(actions: &[Action], see: &mut impl FnMut(&Action)) {
    for action in actions {
        see(action);
        match action {
            Action::Clone(inner) => each_action(inner, see),
            Action::Ct(ct) => each_action(&ct.exec, see),
            _ => {}
        }
    }
}
