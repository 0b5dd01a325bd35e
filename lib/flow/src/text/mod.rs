//! Flows as text, in the spelling of Open vSwitch's tools.
//!
//! `ovs-ofctl` text both ways (`priority=10,tcp,nw_dst=10.0.0.0/8 actions=output:2`) and, only to
//! be read, the text of cached flows as `dpctl dump-flows` shows it. Not for statistics: who dumps
//! flows puts counters before them.
//!
//! Law: what is printed can be typed in again and gives the same value, for every match whose fields
//! have their prerequisites (`ovs-fields(7)`), and for every list of actions. Names, widths and
//! spelling come from the field table; the only names beyond it are those that Open vSwitch has for
//! several fields at once (`tcp`, `tp_dst`, `dl_vlan`).
//!
//! Text comes from people: no text makes the parser panic, and an error says where it stopped, what
//! was wrong and what is allowed.
//!
//! Spec: `ovs-ofctl(8)`, `ovs-fields(7)`, `ovs-actions(7)`.

mod action_print;
mod actions;
mod choice;
mod conntrack;
mod datapath;
mod flow;
mod group;
mod match_print;
mod matches;
mod meter;
mod names;
mod nested;
mod rewrite;
mod subfield;
mod token;
mod value;

#[cfg(test)]
mod tests;

use thiserror::Error;

use crate::check::Fault;

pub use action_print::{Actions, IsNow};
pub use actions::parse_actions;
pub use conntrack::{CtFilterError, parse_ct_filter};
pub use datapath::DatapathFlow;
pub use flow::{
    DumpLine, Past, content, lines, parse_flow, parse_flow_mod, parse_flow_select, print_duration,
};
pub use group::{GroupCommand, GroupLine, parse_group_mod};
pub use matches::parse_match;
pub use meter::{MeterCommand, parse_meter_mod};
pub use names::{Named, Names, PortNames, no_names};

/// The priority of a flow that names none (`OFP_DEFAULT_PRIORITY`).
pub const DEFAULT_PRIORITY: u16 = 0x8000;

/// Why text is not a flow.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{problem}, at character {} (\"{found}\")", .at + 1)]
pub struct ParseError {
    /// Where the text that is wrong begins, bytes from the start.
    pub at: usize,
    /// The text that is wrong.
    pub found: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a piece of text.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Problem {
    /// Neither a field nor a keyword.
    #[error("unknown field; {allowed}")]
    UnknownField {
        /// What would be understood.
        allowed: String,
    },
    /// Not an action.
    #[error(
        "unknown action; actions are listed in ovs-actions(7), and a port's number or name sends"
    )]
    UnknownAction,
    /// A field or action without its value.
    #[error("{name} needs a value: {allowed}")]
    NoValue {
        /// Which.
        name: String,
        /// What is allowed.
        allowed: String,
    },
    /// A keyword that stands alone was given a value.
    #[error("{name} takes no value")]
    UnwantedValue {
        /// Which.
        name: String,
    },
    /// The value is not of the field's kind or too large for it.
    #[error("{name} must be {allowed}")]
    Value {
        /// Which field.
        name: String,
        /// What is allowed.
        allowed: String,
    },
    /// A mask on a field that is matched whole.
    #[error("{name} takes no mask: it is matched whole or not at all")]
    Mask {
        /// Which field.
        name: String,
    },
    /// Two parts of the text say different things of the same bits.
    #[error("{name} contradicts what was said before it")]
    Contradiction {
        /// The later field.
        name: String,
    },
    /// The field exists only in packets that the match does not promise.
    #[error("{name} needs {needs} in the match")]
    Prerequisite {
        /// Which field.
        name: String,
        /// What must be said as well.
        needs: &'static str,
    },
    /// It contradicts the match, the actions before it, or what a switch can do.
    #[error("{0}")]
    Fault(Fault),
    /// No such bits.
    #[error("bits are written [], [bit] or [first..last]{}", width(*.bits))]
    Bits {
        /// Width of the field, where it is known.
        bits: Option<u8>,
    },
    /// Bits are copied to as many bits.
    #[error("{src} bits do not fill {dst} bits")]
    Widths {
        /// How many are read.
        src: u8,
        /// How many are written.
        dst: u8,
    },
    /// No `->` where there must be one.
    #[error("there must be -> and a field after it")]
    NoArrow,
    /// A key that the action does not have.
    #[error("{of} takes {allowed}")]
    UnknownKey {
        /// Which action, group or meter.
        of: String,
        /// The keys that it has.
        allowed: String,
    },
    /// A keyword that has no sense in this command.
    #[error("{name} cannot be said here: {hint}")]
    NotHere {
        /// Which.
        name: String,
        /// Where it can.
        hint: &'static str,
    },
    /// Something that can be said once was said twice.
    #[error("{0} is said twice")]
    Twice(&'static str),
    /// Something that must be said was not.
    #[error("{0} must be said")]
    Missing(&'static str),
    /// An opening parenthesis without the closing one.
    #[error("this parenthesis is not closed")]
    Unclosed,
    /// Text right behind a closing parenthesis.
    #[error("after a closing parenthesis there is a comma, a blank, -> or the end")]
    AfterParenthesis,
    /// `->` behind an action that has no result.
    #[error("only check_pkt_larger has a result to be written with ->")]
    UnwantedTarget,
    /// Too many parentheses within each other.
    #[error("actions within actions go 32 levels deep")]
    Depth,
    /// An instruction within an action.
    #[error(
        "this is an instruction: it stands in the flow's actions, not within an action or group"
    )]
    Instruction,
    /// `apply_actions`.
    #[error("actions are applied without saying so: write them without apply_actions")]
    Apply,
    /// Instructions in another order than they are done in.
    #[error(
        "instructions stand once each and in this order: meter, actions, clear_actions, \
         write_actions, write_metadata, goto_table"
    )]
    Order,
    /// Actions in a deletion.
    #[error("a deletion has no actions")]
    ActionsOfDelete,
    /// `drop` beside another action.
    #[error("drop stands alone: it means that there is no action")]
    DropWithOthers,
    /// A flow without `actions=`.
    #[error("the flow has no actions; write actions=drop to drop packets")]
    NoActions,
    /// A flow's action list in a match.
    #[error("actions are not part of a match")]
    Actions,
}

fn width(bits: Option<u8>) -> String {
    bits.map_or_else(String::new, |bits| format!(", and the field has {bits}"))
}
