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

mod datapath;
mod parse;
mod print;
mod value;

#[cfg(test)]
mod tests;

use thiserror::Error;

use crate::action::OfPort;

pub use datapath::DatapathFlow;
pub use parse::{parse_actions, parse_flow, parse_match};
pub use print::Actions;

/// Finds a port by its name, where text may say a name instead of a number.
pub type PortNames<'a> = &'a dyn Fn(&str) -> Option<OfPort>;

/// No port has a name, except the reserved ones.
#[must_use]
pub fn no_names(_: &str) -> Option<OfPort> {
    None
}

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
        "unknown action; known are output, drop, normal, flood, all, in_port, local, controller, \
         set_field, push_vlan, pop_vlan, strip_vlan and the mod_* family"
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
    /// The field cannot be written.
    #[error("{name} cannot be set")]
    ReadOnly {
        /// Which field.
        name: String,
    },
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
