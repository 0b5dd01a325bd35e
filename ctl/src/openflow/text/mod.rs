//! Messages as text, as `ovs-ofctl` prints them (`lib/ofp-print.c` and the files it calls).
//!
//! One function for each kind of thing; [`message`] puts the message's name, version and xid before
//! it. Names of ports are shown where the caller knows them.

mod bits;
mod flow;
mod group;
mod meter;
mod monitor;
mod news;
mod packet;
mod port;
mod table;

use vswitch_flow::OfPort;
use vswitch_flow::text::Names;
use vswitch_openflow::Version;
use vswitch_openflow::config::{ConfigFlags, SwitchConfig};
use vswitch_openflow::error::ErrorKind;
use vswitch_openflow::features::SwitchFeatures;
use vswitch_openflow::message::{Decoded, Layout, Message};
use vswitch_openflow::multipart::{Reply, Request, SwitchDesc};

pub use flow::{flow_mod, flow_stats};
pub use packet::packet;
pub use port::desc as port_desc;

/// How a message is printed.
#[derive(Clone, Copy, Debug)]
pub struct Style<'a> {
    /// Names of ports and tables to show.
    pub names: Option<&'a Names>,
}

/// A whole message: its name, version and xid, and what it says. Ends with a line's end.
pub fn message(decoded: &Decoded, style: Style<'_>) -> String {
    let mut text = header(&decoded.message, decoded.version, decoded.xid);
    body(&decoded.message, decoded.version, style, &mut text);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// `OFPT_FLOW_MOD (OF1.3) (xid=0x2):`
pub fn header(message: &Message, version: Version, xid: u32) -> String {
    let version_shown = match version {
        Version::V10 => String::new(),
        version => format!(" (OF{version})"),
    };
    format!("{}{version_shown} (xid={xid:#x}):", name(message, version))
}

/// `OFPST_PORT reply (OF1.3) (xid=0x2):`, for an answer that came in parts.
pub fn reply_header(reply: &Reply, version: Version, xid: u32) -> String {
    let version_shown = match version {
        Version::V10 => String::new(),
        version => format!(" (OF{version})"),
    };
    format!(
        "{} reply{version_shown} (xid={xid:#x}):",
        reply_name(reply, version)
    )
}

/// One line or more about an error that the switch sent.
pub fn refusal(decoded: &Decoded) -> String {
    message(decoded, Style { names: None })
        .trim_end()
        .to_owned()
}

fn reply_name(reply: &Reply, version: Version) -> &'static str {
    match reply {
        Reply::Desc(_) => "OFPST_DESC",
        Reply::Flow(Layout::Nicira, _) => "NXST_FLOW",
        Reply::Flow(..) => "OFPST_FLOW",
        Reply::Aggregate(Layout::Nicira, _) => "NXST_AGGREGATE",
        Reply::Aggregate(..) => "OFPST_AGGREGATE",
        Reply::Table(_) => "OFPST_TABLE",
        Reply::Port(_) => "OFPST_PORT",
        Reply::Queue(_) => "OFPST_QUEUE",
        Reply::Group(_) => "OFPST_GROUP",
        Reply::GroupDesc(_) => "OFPST_GROUP_DESC",
        Reply::GroupFeatures(_) => "OFPST_GROUP_FEATURES",
        Reply::Meter(_) => "OFPST_METER",
        Reply::MeterConfig(_) => "OFPST_METER_CONFIG",
        Reply::MeterFeatures(_) => "OFPST_METER_FEATURES",
        Reply::TableFeatures(_) => "OFPST_TABLE_FEATURES",
        Reply::PortDesc(_) => "OFPST_PORT_DESC",
        Reply::TableDesc(_) => "OFPST_TABLE_DESC",
        Reply::QueueDesc(_) => "OFPST_QUEUE_DESC",
        Reply::FlowMonitor(_) => monitor_name(version),
    }
}

fn request_name(request: &Request, version: Version) -> &'static str {
    match request {
        Request::Desc => "OFPST_DESC",
        Request::Flow(flow) if flow.layout == Layout::Nicira => "NXST_FLOW",
        Request::Flow(_) => "OFPST_FLOW",
        Request::Aggregate(flow) if flow.layout == Layout::Nicira => "NXST_AGGREGATE",
        Request::Aggregate(_) => "OFPST_AGGREGATE",
        Request::Table => "OFPST_TABLE",
        Request::Port(_) => "OFPST_PORT",
        Request::Queue(_) => "OFPST_QUEUE",
        Request::Group(_) => "OFPST_GROUP",
        Request::GroupDesc(_) => "OFPST_GROUP_DESC",
        Request::GroupFeatures => "OFPST_GROUP_FEATURES",
        Request::Meter(_) => "OFPST_METER",
        Request::MeterConfig(_) => "OFPST_METER_CONFIG",
        Request::MeterFeatures => "OFPST_METER_FEATURES",
        Request::TableFeatures(_) => "OFPST_TABLE_FEATURES",
        Request::PortDesc(_) => "OFPST_PORT_DESC",
        Request::TableDesc => "OFPST_TABLE_DESC",
        Request::QueueDesc(_) => "OFPST_QUEUE_DESC",
        Request::FlowMonitor(_) => monitor_name(version),
    }
}

const fn monitor_name(version: Version) -> &'static str {
    match version {
        Version::V10 => "NXST_FLOW_MONITOR",
        Version::V13 => "ONFST_FLOW_MONITOR",
        Version::V14 | Version::V15 => "OFPST_FLOW_MONITOR",
    }
}

fn name(message: &Message, version: Version) -> String {
    let onf = |name: &str| match version {
        Version::V10 => format!("NXT_{name}"),
        Version::V13 => format!("ONFT_{name}"),
        Version::V14 | Version::V15 => format!("OFPT_{name}"),
    };
    let name = match message {
        Message::Hello(_) => "OFPT_HELLO",
        Message::Error(_) => "OFPT_ERROR",
        Message::EchoRequest(_) => "OFPT_ECHO_REQUEST",
        Message::EchoReply(_) => "OFPT_ECHO_REPLY",
        Message::FeaturesRequest => "OFPT_FEATURES_REQUEST",
        Message::FeaturesReply(_) => "OFPT_FEATURES_REPLY",
        Message::ConfigRequest => "OFPT_GET_CONFIG_REQUEST",
        Message::ConfigReply(_) => "OFPT_GET_CONFIG_REPLY",
        Message::SetConfig(_) => "OFPT_SET_CONFIG",
        Message::PacketIn(packet) => news::packet_in_name(packet),
        Message::FlowRemoved(removed) if removed.layout == Layout::Nicira => "NXT_FLOW_REMOVED",
        Message::FlowRemoved(_) => "OFPT_FLOW_REMOVED",
        Message::PortStatus(_) => "OFPT_PORT_STATUS",
        Message::PacketOut(_) => "OFPT_PACKET_OUT",
        Message::FlowMod(_) if version == Version::V10 => "NXT_FLOW_MOD",
        Message::FlowMod(_) => "OFPT_FLOW_MOD",
        Message::GroupMod(_) if version == Version::V10 => "NXT_GROUP_MOD",
        Message::GroupMod(_) => "OFPT_GROUP_MOD",
        Message::PortMod(_) => "OFPT_PORT_MOD",
        Message::TableMod(_) => "OFPT_TABLE_MOD",
        Message::MeterMod(_) => "OFPT_METER_MOD",
        Message::BarrierRequest => "OFPT_BARRIER_REQUEST",
        Message::BarrierReply => "OFPT_BARRIER_REPLY",
        Message::MultipartRequest(request, _) => {
            return format!("{} request", request_name(request, version));
        }
        Message::MultipartReply(reply, _) => {
            return format!("{} reply", reply_name(reply, version));
        }
        Message::QueueConfigRequest(_) => "OFPT_QUEUE_GET_CONFIG_REQUEST",
        Message::QueueConfigReply(_) => "OFPT_QUEUE_GET_CONFIG_REPLY",
        Message::RoleRequest(role) if role.layout == Layout::Nicira => "NXT_ROLE_REQUEST",
        Message::RoleRequest(_) => "OFPT_ROLE_REQUEST",
        Message::RoleReply(role) if role.layout == Layout::Nicira => "NXT_ROLE_REPLY",
        Message::RoleReply(_) => "OFPT_ROLE_REPLY",
        Message::RoleStatus(_) => return onf("ROLE_STATUS"),
        Message::AsyncRequest => "OFPT_GET_ASYNC_REQUEST",
        Message::AsyncReply(_) => "OFPT_GET_ASYNC_REPLY",
        Message::SetAsync(_) if version == Version::V10 => "NXT_SET_ASYNC_CONFIG",
        Message::SetAsync(_) => "OFPT_SET_ASYNC",
        Message::TableStatus(_) => "OFPT_TABLE_STATUS",
        Message::RequestForward(_) => return onf("REQUESTFORWARD"),
        Message::BundleControl(_) => return onf("BUNDLE_CONTROL"),
        Message::BundleAdd(_) => return onf("BUNDLE_ADD_MESSAGE"),
        Message::SetFlowFormat(_) => "NXT_SET_FLOW_FORMAT",
        Message::FlowModTableId(_) => "NXT_FLOW_MOD_TABLE_ID",
        Message::SetPacketInFormat(_) => "NXT_SET_PACKET_IN_FORMAT",
        Message::FlowAge => "NXT_FLOW_AGE",
        Message::SetControllerId(_) => "NXT_SET_CONTROLLER_ID",
        Message::TlvTableMod(_) => "NXT_TLV_TABLE_MOD",
        Message::TlvTableRequest => "NXT_TLV_TABLE_REQUEST",
        Message::TlvTableReply(_) => "NXT_TLV_TABLE_REPLY",
        Message::Resume(_) => "NXT_RESUME",
        Message::CtFlushZone(_) => "NXT_CT_FLUSH_ZONE",
        Message::CtFlush(_) => "NXT_CT_FLUSH",
        Message::FlowMonitorCancel(_) => return onf("FLOW_MONITOR_CANCEL"),
        Message::FlowMonitorPaused => return onf("FLOW_MONITOR_PAUSED"),
        Message::FlowMonitorResumed => return onf("FLOW_MONITOR_RESUMED"),
    };
    name.to_owned()
}

fn body(message: &Message, version: Version, style: Style<'_>, to: &mut String) {
    match message {
        Message::Hello(hello) => {
            let versions = Version::ALL
                .iter()
                .filter(|version| hello.speaks(**version));
            let versions: Vec<_> = versions
                .map(|version| format!("0x{:02x}", version.number()))
                .collect();
            *to += &format!("\n version bitmap: {}\n", versions.join(", "));
        }
        Message::Error(error) => {
            *to += &match error.kind {
                ErrorKind::Known(code) => format!(" {}\n", code.name()),
                ErrorKind::Other { kind, code } => format!(" type {kind}, code {code}\n"),
            };
            match Message::decode(&error.data) {
                Ok(inner) => *to += &self::message(&inner, style),
                Err(_) if error.data.is_ascii() && !error.data.is_empty() => {
                    *to += &format!("{}\n", String::from_utf8_lossy(&error.data));
                }
                Err(_) => *to += &packet::hex_dump(&error.data),
            }
        }
        Message::EchoRequest(bytes) | Message::EchoReply(bytes) => {
            *to += &format!(" {} bytes of payload\n", bytes.len());
        }
        Message::FeaturesReply(found) => features(found, version, style, to),
        Message::ConfigReply(config) | Message::SetConfig(config) => switch_config(*config, to),
        Message::PacketIn(packet) | Message::Resume(packet) => {
            news::packet_in(packet, style, to);
        }
        Message::FlowRemoved(removed) => news::flow_removed(removed, style, to),
        Message::PortStatus(status) => news::port_status(status, to),
        Message::PacketOut(out) => news::packet_out(out, style, to),
        Message::FlowMod(change) => {
            to.push(' ');
            *to += &flow_mod(change, style);
        }
        Message::GroupMod(change) => group::change(change, version, style, to),
        Message::PortMod(change) => port::change(change, to),
        Message::TableMod(table) => table::change(table, version, to),
        Message::MeterMod(change) => meter::change(change, to),
        Message::MultipartRequest(request, _) => requested(request, style, to),
        Message::MultipartReply(reply, _) => self::reply(reply, version, style, to),
        Message::QueueConfigRequest(queried) => {
            *to += &format!(" port={}\n", port::number(*queried, style.names));
        }
        Message::QueueConfigReply(config) => port::queues(config, to),
        Message::RoleRequest(role) | Message::RoleReply(role) => news::role(role, to),
        Message::RoleStatus(status) => news::role_status(status, to),
        Message::AsyncReply(wanted) | Message::SetAsync(wanted) => news::asynchronous(wanted, to),
        Message::TableStatus(status) => table::status(status, to),
        Message::RequestForward(forward) => match forward.inner() {
            Ok(inner) => *to += &format!("\n {}", self::message(&inner, style)),
            Err(_) => *to += &packet::hex_dump(&forward.request),
        },
        Message::BundleControl(control) => news::bundle_control(control, to),
        Message::BundleAdd(add) => {
            *to += &format!(
                "\n bundle_id={:#x} flags={}\n",
                add.bundle,
                bits::bundle(add.flags)
            );
            match add.inner() {
                Ok(inner) => *to += &self::message(&inner, style),
                Err(_) => *to += &packet::hex_dump(&add.message),
            }
        }
        Message::SetFlowFormat(format) => *to += &format!(" format={format:?}\n"),
        Message::FlowModTableId(set) => {
            *to += if *set { " enable\n" } else { " disable\n" };
        }
        Message::SetPacketInFormat(format) => {
            *to += &format!(" format={}\n", news::format_name(*format));
        }
        Message::SetControllerId(id) => *to += &format!(" id={id}\n"),
        Message::CtFlushZone(zone) => *to += &format!(" zone_id={zone}\n"),
        Message::FlowMonitorCancel(id) => *to += &format!(" id={id}\n"),
        Message::FeaturesRequest
        | Message::ConfigRequest
        | Message::BarrierRequest
        | Message::BarrierReply
        | Message::AsyncRequest
        | Message::FlowAge
        | Message::TlvTableMod(_)
        | Message::TlvTableRequest
        | Message::TlvTableReply(_)
        | Message::CtFlush(_)
        | Message::FlowMonitorPaused
        | Message::FlowMonitorResumed => to.push('\n'),
    }
}

fn requested(request: &Request, style: Style<'_>, to: &mut String) {
    match request {
        Request::Flow(flow) | Request::Aggregate(flow) => {
            *to += &format!(" {}\n", flow::select(&flow.select, style));
        }
        Request::Port(queried) | Request::PortDesc(queried) if *queried != OfPort::ANY => {
            *to += &format!(" port_no={}\n", port::number(*queried, style.names));
        }
        Request::Queue(queue) | Request::QueueDesc(queue) => {
            *to += &format!(
                " port={} queue={}\n",
                port::number(queue.port, style.names),
                queue.queue
            );
        }
        Request::Group(id) | Request::GroupDesc(id) => *to += &format!(" group_id={id}\n"),
        Request::Meter(id) | Request::MeterConfig(id) => *to += &format!(" meter={id}\n"),
        Request::FlowMonitor(monitors) => monitor::requests(monitors, style, to),
        _ => to.push('\n'),
    }
}

/// What an answer says, without its header.
pub fn reply(reply: &Reply, version: Version, style: Style<'_>, to: &mut String) {
    match reply {
        Reply::Desc(desc) => switch_desc(desc, to),
        Reply::Flow(_, flows) => {
            to.push('\n');
            for flow in flows {
                *to += &format!(" {}\n", flow_stats(flow, true, style));
            }
        }
        Reply::Aggregate(_, sum) => {
            *to += &format!(
                " packet_count={} byte_count={} flow_count={}\n",
                sum.packets, sum.bytes, sum.flows
            );
        }
        Reply::Table(tables) => table::stats(tables, version, to),
        Reply::Port(ports) => port::stats(ports, style, to),
        Reply::Queue(queues) => port::queue_stats(queues, style, to),
        Reply::Group(groups) => group::stats(groups, to),
        Reply::GroupDesc(groups) => group::descs(groups, version, style, to),
        Reply::GroupFeatures(features) => group::features(features, to),
        Reply::Meter(meters) => meter::stats(meters, to),
        Reply::MeterConfig(meters) => meter::configs(meters, to),
        Reply::MeterFeatures(features) => meter::features(features, to),
        Reply::TableFeatures(tables) => table::features(tables, to),
        Reply::PortDesc(ports) => {
            to.push('\n');
            for port in ports {
                *to += &port_desc(port);
            }
        }
        Reply::TableDesc(tables) => table::descs(tables, to),
        Reply::FlowMonitor(updates) => monitor::updates(updates, style, to),
        Reply::QueueDesc(_) => to.push('\n'),
    }
}

fn switch_desc(desc: &SwitchDesc, to: &mut String) {
    *to += &format!(
        "\nManufacturer: {}\nHardware: {}\nSoftware: {}\nSerial Num: {}\nDP Description: {}\n",
        desc.manufacturer.to_text(),
        desc.hardware.to_text(),
        desc.software.to_text(),
        desc.serial.to_text(),
        desc.datapath.to_text()
    );
}

fn features(found: &SwitchFeatures, version: Version, _: Style<'_>, to: &mut String) {
    *to += &format!(" dpid:{:016x}\n", found.datapath_id);
    *to += &format!("n_tables:{}, n_buffers:{}", found.tables, found.buffers);
    if found.auxiliary != 0 {
        *to += &format!(", auxiliary_id:{}", found.auxiliary);
    }
    *to += &format!(
        "\ncapabilities: {}\n",
        bits::capabilities(found.capabilities, version)
    );
    if version == Version::V10 {
        *to += &format!("actions: {}\n", bits::actions_10(found.actions));
        for port in &found.ports {
            *to += &port_desc(port);
        }
    }
}

/// What flows see of fragments.
pub fn fragments(flags: ConfigFlags) -> &'static str {
    match flags.0 & ConfigFlags::FRAG_MASK.0 {
        0 => "normal",
        1 => "drop",
        2 => "reassemble",
        _ => "nx-match",
    }
}

fn switch_config(config: SwitchConfig, to: &mut String) {
    let frags = fragments(config.flags);
    *to += &format!(" frags={frags} miss_send_len={}\n", config.miss_send_len);
}
