//! News of flows, and what is asked for it (`ofputil_flow_update_format` and
//! `ofputil_flow_monitor_request_format` of Open vSwitch).

use vswitch_flow::OfPort;
use vswitch_flow::rule::GROUP_ANY;
use vswitch_openflow::flow_monitor::{
    FlowEvent, FlowMonitorRequest, FlowNews, FlowUpdate, MonitorCommand, MonitorFlags,
};

use super::flow::{UNSAID_PRIORITY, instructions, matches};
use super::{Style, news, port};

/// Each on a line of its own, after the header's.
pub(super) fn updates(found: &[FlowUpdate], style: Style<'_>, to: &mut String) {
    for update in found {
        to.push('\n');
        match update {
            FlowUpdate::Flow(flow) => event(flow, style, to),
            FlowUpdate::Own(xid) => *to += &format!(" event=ABBREV xid={xid:#x}"),
            FlowUpdate::Paused => *to += " event=PAUSED",
            FlowUpdate::Resumed => *to += " event=RESUMED",
        }
    }
    to.push('\n');
}

fn event(flow: &FlowNews, style: Style<'_>, to: &mut String) {
    let name = match flow.event {
        FlowEvent::Initial => "INITIAL",
        FlowEvent::Added => "ADDED",
        FlowEvent::Removed => "DELETED",
        FlowEvent::Modified => "MODIFIED",
    };
    *to += &format!(" event={name}");
    if let Some(reason) = flow.reason {
        *to += &format!(" reason={}", news::removed_name(reason));
    }
    let table = style.names.and_then(|names| names.table_name(flow.table));
    match table {
        Some(name) => *to += &format!(" table={name}"),
        None => *to += &format!(" table={}", flow.table),
    }
    for (name, seconds) in [
        ("idle_timeout", flow.idle_timeout),
        ("hard_timeout", flow.hard_timeout),
    ] {
        if seconds != 0 {
            *to += &format!(" {name}={seconds}");
        }
    }
    *to += " cookie=";
    *to += &match flow.cookie {
        0 => "0".to_owned(),
        cookie => format!("{cookie:#x}"),
    };
    to.push(' ');
    *to += &matches(&flow.matches, UNSAID_PRIORITY, style);
    if flow.instructions != Default::default() {
        if !to.ends_with(' ') {
            to.push(' ');
        }
        *to += &format!("actions={}", instructions(&flow.instructions, style));
    }
}

/// Monitors to begin, change or end.
pub(super) fn requests(asked: &[FlowMonitorRequest], style: Style<'_>, to: &mut String) {
    for request in asked {
        *to += &format!("\n id={}", request.id);
        if request.command == MonitorCommand::Delete {
            *to += " command=delete";
            continue;
        }
        *to += &format!(" flags={}", flags(request.flags));
        let select = &request.select;
        if select.out_port != OfPort::ANY {
            *to += &format!(" out_port={}", port::number(select.out_port, style.names));
        }
        if select.out_group != GROUP_ANY {
            *to += &format!(" out_group={}", select.out_group);
        }
        if let Some(table) = select.table {
            *to += &format!(" table={table}");
        }
        let shown = matches(&select.matches, UNSAID_PRIORITY, style);
        if !shown.is_empty() {
            *to += &format!(" {shown}");
        }
    }
    to.push('\n');
}

fn flags(found: MonitorFlags) -> String {
    let names = [
        (MonitorFlags::INITIAL, "initial"),
        (MonitorFlags::ADD, "add"),
        (MonitorFlags::REMOVED, "delete"),
        (MonitorFlags::MODIFY, "modify"),
        (MonitorFlags::INSTRUCTIONS, "actions"),
        (MonitorFlags::NO_ABBREV, "no-abbrev"),
        (MonitorFlags::ONLY_OWN, "own"),
    ];
    let set = names.iter().filter(|(flag, _)| found.has(*flag));
    let set: Vec<&str> = set.map(|(_, name)| *name).collect();
    set.join(",")
}
