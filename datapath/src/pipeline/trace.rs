//! A translation that explains itself, as `ofproto/trace` of Open vSwitch prints it.
//!
//! The text is for people and for scripts that read the last line, `Datapath actions:`.

use std::fmt::Write;

use vswitch_flow::{Action, Field, FlowKey, Match, OfPort};

use super::rule::Rule;
use super::tables::Tables;
use super::translate::translate;
use super::{DpAction, Translation};
use crate::port::PortIndex;

/// The lines of a trace.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    lines: Vec<String>,
}

impl Trace {
    /// The lines so far.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    fn push(&mut self, depth: usize, text: &str) {
        self.lines.push(format!("{:1$}{text}", "", 4 * depth));
    }

    pub(super) fn line(&mut self, depth: usize, text: &str) {
        self.push(depth, &format!("     >> {text}"));
    }

    pub(super) fn bridge(&mut self, depth: usize, name: &str) {
        let title = format!("bridge(\"{name}\")");
        self.push(0, "");
        self.push(depth, &title);
        self.push(depth, &"-".repeat(title.len()));
    }

    pub(super) fn rule(&mut self, depth: usize, rule: &Rule) {
        let flow = rule.flow();
        let matches = match_text(&flow.matches);
        let comma = if matches.is_empty() { "" } else { ", " };
        let mut line = format!(
            "{:>2}. {matches}{comma}priority {}",
            flow.table, flow.priority
        );
        if flow.cookie != 0 {
            let _ = write!(line, ", cookie {:#x}", flow.cookie);
        }
        self.push(depth, &line);
        if flow.actions.is_empty() {
            self.push(depth, "    drop");
        }
    }

    pub(super) fn action(&mut self, depth: usize, action: &Action) {
        self.push(depth, &format!("    {}", action_text(action)));
    }
}

/// What would happen to a packet that comes in by a port: the lines, and the answer.
#[must_use]
pub fn trace(tables: &Tables, key: &FlowKey, in_port: PortIndex) -> (Vec<String>, Translation) {
    let mut key = *key;
    let port = tables.port(in_port);
    key.set(Field::InPort, port.map_or(0, |port| port.of_port.0.into()));
    let mut trace = Trace::default();
    trace.push(0, &format!("Flow: {}", key_text(&key)));
    let translation = translate(tables, &key, in_port, Some(&mut trace));
    trace.push(0, "");
    let megaflow = Match::new(&key, &translation.mask);
    trace.push(0, &format!("Megaflow: {}", match_text(&megaflow)));
    let actions = actions_text(&translation.actions, |index| {
        match tables.port(index) {
            // On other bridges the number would be taken for one of this bridge.
            Some(to) if port.is_some_and(|from| from.bridge == to.bridge) => port_text(to.of_port),
            Some(to) => to.name.clone(),
            None => index.0.to_string(),
        }
    });
    trace.push(0, &format!("Datapath actions: {actions}"));
    (trace.lines, translation)
}

/// Datapath actions as Open vSwitch spells them, with ports as `port` names them.
#[must_use]
pub fn actions_text(actions: &[DpAction], port: impl Fn(PortIndex) -> String) -> String {
    if actions.is_empty() {
        return "drop".to_owned();
    }
    let texts: Vec<_> = actions
        .iter()
        .map(|action| match action {
            DpAction::Output(index) => port(*index),
            DpAction::SetField { field, value, mask } => {
                format!("set({})", field_text(*field, *value, *mask))
            }
            DpAction::PushVlan { tpid, tci } => {
                let service = if *tpid == super::vlan::TPID_CUSTOMER {
                    String::new()
                } else {
                    format!("tpid={tpid:#06x},")
                };
                format!("push_vlan({service}vid={},pcp={})", tci & 0xfff, tci >> 13)
            }
            DpAction::PopVlan => "pop_vlan".to_owned(),
        })
        .collect();
    texts.join(",")
}

fn port_text(port: OfPort) -> String {
    match port {
        OfPort::IN_PORT => "IN_PORT".to_owned(),
        OfPort::TABLE => "TABLE".to_owned(),
        OfPort::NORMAL => "NORMAL".to_owned(),
        OfPort::FLOOD => "FLOOD".to_owned(),
        OfPort::ALL => "ALL".to_owned(),
        OfPort::CONTROLLER => "CONTROLLER".to_owned(),
        OfPort::LOCAL => "LOCAL".to_owned(),
        OfPort(number) => number.to_string(),
    }
}

fn action_text(action: &Action) -> String {
    match action {
        Action::Output(port) => match *port {
            OfPort(number) if *port <= OfPort::MAX => format!("output:{number}"),
            port => port_text(port),
        },
        Action::SetField { field, value, mask } => {
            let max = field.info().max();
            if mask & max == max {
                format!("set_field:{value:#x}->{field}")
            } else {
                format!("set_field:{value:#x}/{mask:#x}->{field}")
            }
        }
        Action::PushVlan(tpid) => format!("push_vlan:{tpid:#06x}"),
        Action::PopVlan => "pop_vlan".to_owned(),
    }
}

fn field_text(field: Field, value: u128, mask: u128) -> String {
    let max = field.info().max();
    if mask & max == max {
        format!("{field}={value:#x}")
    } else {
        format!("{field}={value:#x}/{mask:#x}")
    }
}

fn match_text(matches: &Match) -> String {
    let fields = Field::all().filter_map(|field| {
        let mask = matches.mask().field(field);
        let there = mask != 0 && field.info().prerequisite.holds(matches.key());
        there.then(|| field_text(field, matches.key().field(field), mask))
    });
    fields.collect::<Vec<_>>().join(",")
}

fn key_text(key: &FlowKey) -> String {
    let fields = Field::all().filter_map(|field| {
        let value = key.field(field);
        let there = value != 0 && field.info().prerequisite.holds(key);
        there.then(|| field_text(field, value, field.info().max()))
    });
    fields.collect::<Vec<_>>().join(",")
}
