//! Flows, changes to them, and requests for them.

use std::time::Duration;

use vswitch_flow::rule::GROUP_ANY;
use vswitch_flow::text::{DumpLine, Named, Past, print_duration};
use vswitch_flow::{FlowCommand, FlowFlags, FlowSelect, Instructions, Match, OfPort};
use vswitch_openflow::flow_mod::FlowModMessage;
use vswitch_openflow::flow_stats::FlowStats;

use super::{Style, port};

/// Priority of flows that say none.
pub(super) const UNSAID_PRIORITY: u16 = 32768;

/// A time span as dumps spell it.
pub(super) fn duration(span: Duration) -> String {
    struct Spelled(Duration);
    impl std::fmt::Display for Spelled {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            print_duration(self.0, f)
        }
    }
    Spelled(span).to_string()
}

/// A line of a dump, without its leading blank.
pub fn flow_stats(flow: &FlowStats, with_past: bool, style: Style<'_>) -> String {
    let count = |count: u64| (count != u64::MAX).then_some(count);
    let past = Past {
        duration: Duration::from(flow.duration),
        packets: count(flow.packets),
        bytes: count(flow.bytes),
        idle_age: flow.idle_age.map(u32::from),
        hard_age: flow.hard_age.map(u32::from),
    };
    DumpLine {
        rule: &flow.rule,
        past: with_past.then_some(&past),
        names: style.names,
    }
    .to_string()
}

pub(super) fn matches(found: &Match, priority: u16, style: Style<'_>) -> String {
    let shown = match style.names {
        Some(names) => Named(found, names).to_string(),
        None => found.to_string(),
    };
    match (priority, shown.is_empty()) {
        (UNSAID_PRIORITY, _) => shown,
        (priority, true) => format!("priority={priority}"),
        (priority, false) => format!("priority={priority},{shown}"),
    }
}

pub(super) fn instructions(found: &Instructions, style: Style<'_>) -> String {
    match style.names {
        Some(names) => Named(found, names).to_string(),
        None => found.to_string(),
    }
}

/// A change to flows.
pub fn flow_mod(message: &FlowModMessage, style: Style<'_>) -> String {
    let (change, rule) = (&message.change, &message.change.rule);
    let mut text = match change.command {
        FlowCommand::Add => "ADD",
        FlowCommand::Modify => "MOD",
        FlowCommand::ModifyStrict => "MOD_STRICT",
        FlowCommand::Delete => "DEL",
        FlowCommand::DeleteStrict => "DEL_STRICT",
    }
    .to_owned();
    if change.all_tables {
        text += " table:255";
    } else if rule.table != 0 {
        text += &format!(" table:{}", rule.table);
    }
    text.push(' ');
    text += &matches(&rule.matches, rule.priority, style);
    if !text.ends_with(' ') {
        text.push(' ');
    }
    if rule.cookie != 0 && rule.cookie != u64::MAX {
        text += &format!("cookie:{:#x} ", rule.cookie);
    }
    if change.cookie_mask != 0 {
        text += &format!("cookie:{:#x}/{:#x} ", change.cookie, change.cookie_mask);
    }
    for (label, value) in [
        ("idle", rule.idle_timeout),
        ("hard", rule.hard_timeout),
        ("importance", rule.importance),
    ] {
        if value != 0 {
            text += &format!("{label}:{value} ");
        }
    }
    if let Some(buffer) = message.buffer {
        text += &format!("buf:{buffer:#x} ");
    }
    if change.out_port != OfPort::ANY {
        text += &format!("out_port:{} ", port::number(change.out_port, style.names));
    }
    for (name, flag) in [
        ("send_flow_rem", FlowFlags::SEND_FLOW_REM),
        ("check_overlap", FlowFlags::CHECK_OVERLAP),
        ("reset_counts", FlowFlags::RESET_COUNTS),
        ("no_packet_counts", FlowFlags::NO_PACKET_COUNTS),
        ("no_byte_counts", FlowFlags::NO_BYTE_COUNTS),
    ] {
        if rule.flags.has(flag) {
            text += &format!("{name} ");
        }
    }
    text + &format!("actions={}", instructions(&rule.instructions, style))
}

/// Which flows a request asks for.
pub(super) fn select(select: &FlowSelect, style: Style<'_>) -> String {
    let mut text = String::new();
    if let Some(table) = select.table {
        text += &format!("table={table} ");
    }
    if select.out_port != OfPort::ANY {
        text += &format!("out_port={} ", port::number(select.out_port, style.names));
    }
    if select.out_group != GROUP_ANY {
        text += &format!("out_group={} ", select.out_group);
    }
    if select.cookie_mask != 0 {
        text += &format!("cookie={:#x}/{:#x} ", select.cookie, select.cookie_mask);
    }
    text + &matches(&select.matches, UNSAID_PRIORITY, style)
}
