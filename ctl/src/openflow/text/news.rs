//! What a switch tells without being asked, and what controllers say about it.

use std::time::Duration;

use vswitch_flow::action::Reason;
use vswitch_openflow::async_config::AsyncConfig;
use vswitch_openflow::bundle::{BundleCommand, BundleControl};
use vswitch_openflow::flow_removed::{FlowRemoved, RemovedReason};
use vswitch_openflow::message::Layout;
use vswitch_openflow::nicira::PacketInFormat;
use vswitch_openflow::packet_in::PacketIn;
use vswitch_openflow::packet_out::PacketOut;
use vswitch_openflow::port::{PortReason, PortStatus};
use vswitch_openflow::role::{Role, RoleReason, RoleRequest, RoleStatus};

use super::flow::{UNSAID_PRIORITY, duration, matches};
use super::packet::packet;
use super::{Style, bits, port};

/// The name of a packet-in by its form.
pub(super) fn packet_in_name(packet: &PacketIn) -> &'static str {
    match packet.format {
        PacketInFormat::Standard => "OFPT_PACKET_IN",
        PacketInFormat::Nicira => "NXT_PACKET_IN",
        PacketInFormat::Nicira2 => "NXT_PACKET_IN2",
    }
}

/// The name of a form of packet-ins.
pub(super) fn format_name(format: PacketInFormat) -> &'static str {
    match format {
        PacketInFormat::Standard => "openflow10",
        PacketInFormat::Nicira => "nxt_packet_in",
        PacketInFormat::Nicira2 => "nxt_packet_in2",
    }
}

fn hex(bytes: &[u8]) -> String {
    let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(".")
}

/// A packet for the controller.
pub(super) fn packet_in(message: &PacketIn, style: Style<'_>, to: &mut String) {
    if message.table != 0 {
        *to += &format!(" table_id={}", message.table);
    }
    if let Some(cookie) = message.cookie {
        *to += &format!(" cookie={cookie:#x}");
    }
    let reason = match message.reason {
        Reason::NoMatch => "no_match",
        Reason::Action => "action",
        Reason::InvalidTtl => "invalid_ttl",
        Reason::ActionSet => "action_set",
        Reason::Group => "group",
        Reason::PacketOut => "packet_out",
    };
    *to += &format!(
        " total_len={} {} (via {reason}) data_len={}",
        message.total_len,
        matches(&message.metadata, UNSAID_PRIORITY, style),
        message.packet.len()
    );
    match message.buffer {
        Some(buffer) => *to += &format!(" buffer={buffer:#010x}"),
        None => {
            *to += " (unbuffered)";
            if message.total_len as usize != message.packet.len() {
                *to += " (***total_len != data_len***)";
            }
        }
    }
    to.push('\n');
    if !message.userdata.is_empty() {
        *to += &format!(" userdata={}\n", hex(&message.userdata));
    }
    if let Some(continuation) = &message.continuation {
        *to += &format!(" continuation={}\n", hex(continuation));
    }
    *to += &format!("{}\n", packet(&message.packet));
}

/// Why a flow is gone.
pub(super) fn removed_name(reason: RemovedReason) -> &'static str {
    match reason {
        RemovedReason::IdleTimeout => "idle",
        RemovedReason::HardTimeout => "hard",
        RemovedReason::Delete => "delete",
        RemovedReason::GroupDelete => "group_delete",
        RemovedReason::MeterDelete => "meter_delete",
        RemovedReason::Eviction => "eviction",
    }
}

/// A flow that is gone.
pub(super) fn flow_removed(removed: &FlowRemoved, style: Style<'_>, to: &mut String) {
    let reason = removed_name(removed.reason);
    *to += &format!(
        " {} reason={reason}",
        matches(&removed.matches, removed.priority, style)
    );
    if let Some(table) = removed.table {
        *to += &format!(" table_id={table}");
    }
    if removed.cookie != 0 {
        *to += &format!(" cookie:{:#x}", removed.cookie);
    }
    *to += &format!(
        " duration{} idle{}",
        duration(Duration::from(removed.duration)),
        removed.idle_timeout
    );
    if removed.hard_timeout != 0 {
        *to += &format!(" hard{}", removed.hard_timeout);
    }
    *to += &format!(" pkts{} bytes{}\n", removed.packets, removed.bytes);
}

/// News of a port.
pub(super) fn port_status(status: &PortStatus, to: &mut String) {
    let reason = match status.reason {
        PortReason::Add => "ADD",
        PortReason::Delete => "DEL",
        PortReason::Modify => "MOD",
    };
    *to += &format!(" {reason}:{}", port::desc(&status.desc));
}

/// A packet from the controller.
pub(super) fn packet_out(out: &PacketOut, style: Style<'_>, to: &mut String) {
    let actions = match style.names {
        Some(names) => vswitch_flow::text::Named(out.actions.as_slice(), names).to_string(),
        None => vswitch_flow::text::Actions(&out.actions).to_string(),
    };
    let brought = match out.metadata.is_any() {
        true => String::new(),
        false => format!("{},", matches(&out.metadata, UNSAID_PRIORITY, style)),
    };
    *to += &format!(
        " {brought}in_port={} actions={actions}",
        port::number(out.in_port, style.names)
    );
    match out.buffer {
        Some(buffer) => *to += &format!(" buffer={buffer:#010x}\n"),
        None => {
            *to += &format!(" data_len={}\n{}\n", out.packet.len(), packet(&out.packet));
        }
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::NoChange => "nochange",
        Role::Equal => "equal",
        Role::Primary => "primary",
        Role::Secondary => "secondary",
    }
}

/// A role asked for or given.
pub(super) fn role(request: &RoleRequest, to: &mut String) {
    *to += &format!(" role={}", role_name(request.role));
    match request.layout {
        Layout::Standard => *to += &format!(" generation_id={}\n", request.generation),
        Layout::Nicira => to.push('\n'),
    }
}

/// News of a role.
pub(super) fn role_status(status: &RoleStatus, to: &mut String) {
    let reason = match status.reason {
        RoleReason::PrimaryRequest => "primary_request",
        RoleReason::Config => "configuration_changed",
        RoleReason::Experimenter => "experimenter_data_changed",
    };
    *to += &format!(
        " role={} generation_id={} reason={reason}\n",
        role_name(status.role),
        status.generation
    );
}

/// What a controller wants to hear.
pub(super) fn asynchronous(wanted: &AsyncConfig, to: &mut String) {
    let rows = [
        ("PACKET_IN", wanted.packet_in),
        ("PORT_STATUS", wanted.port_status),
        ("FLOW_REMOVED", wanted.flow_removed),
        ("ROLE_STATUS", wanted.role_status),
        ("TABLE_STATUS", wanted.table_status),
        ("REQUESTFORWARD", wanted.request_forward),
    ];
    let said = |bits: Option<u32>| match bits {
        Some(bits) => format!("{bits:#x}"),
        None => "(default)".to_owned(),
    };
    *to += "\n primary:\n";
    for (name, reasons) in &rows {
        *to += &format!("{name:>15}: {}\n", said(reasons.primary));
    }
    *to += "\n secondary:\n";
    for (name, reasons) in &rows {
        *to += &format!("{name:>15}: {}\n", said(reasons.secondary));
    }
}

/// A command to a bundle.
pub(super) fn bundle_control(control: &BundleControl, to: &mut String) {
    let command = match control.command {
        BundleCommand::OpenRequest => "OPEN_REQUEST",
        BundleCommand::OpenReply => "OPEN_REPLY",
        BundleCommand::CloseRequest => "CLOSE_REQUEST",
        BundleCommand::CloseReply => "CLOSE_REPLY",
        BundleCommand::CommitRequest => "COMMIT_REQUEST",
        BundleCommand::CommitReply => "COMMIT_REPLY",
        BundleCommand::DiscardRequest => "DISCARD_REQUEST",
        BundleCommand::DiscardReply => "DISCARD_REPLY",
    };
    *to += &format!(
        "\n bundle_id={:#x} type={command} flags={}\n",
        control.bundle,
        bits::bundle(control.flags)
    );
}
