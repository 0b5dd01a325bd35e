//! The switch as a whole.

use vswitch_rpc::method::Shutdown;
use vswitch_rpc::port::VlanMode;
use vswitch_rpc::show::{self, Bridge, Controller, DatapathState, Show, Switch};
use vswitch_rpc::text::of_port;
use vswitch_rpc::{mirror, port};

use super::Argument::Optional;
use super::{Command, Run, example, nothing, prints};
use crate::args::Typed;
use crate::output::Page;
use crate::output::Tone::{Bad, Faint, Good, Odd, Plain, Strong};
use crate::output::number::span;
use crate::output::table::Align::{Left, Right};
use crate::output::table::{Cell, Table};

pub(super) const SHOW: Command = Command {
    words: &["show"],
    aliases: &[],
    arguments: &[Optional(
        "BRIDGE",
        "What OpenFlow says of this bridge instead",
    )],
    help: "Show the switch: its workers, bridges, ports, mirrors and uplinks",
    long: "For each port it says which kind was chosen and why, and what the device is like now. \
           Exit status 0 means that vswitchd is ready. With a bridge, OpenFlow features and ports \
           as ovs-ofctl show prints them.",
    examples: &[
        example("vsctl show", "Everything at a glance"),
        example("vsctl show --json", "The same for a program"),
        example("vsctl show br0", "A bridge as OpenFlow controllers see it"),
    ],
    run: Run::Either(
        super::openflow::ports::show,
        |_| Ok(Show {}.into()),
        prints!(Show, print_switch),
    ),
};

pub(super) const SHUTDOWN: Command = Command {
    words: &["shutdown"],
    aliases: &[],
    arguments: &[],
    help: "End both processes and give every device back",
    long: "Forwarding stops. Devices that the switch made are removed, those it took are as they \
           were before. Bridges and ports are remembered and come back at the next start. To end \
           only the control process, as an upgrade does, send it SIGTERM. Returns when vswitchd \
           has ended.",
    examples: &[example("vsctl shutdown", "Stop the switch")],
    run: Run::Ask(|_| Ok(Shutdown {}.into()), prints!(Shutdown, nothing)),
};

fn print_switch(switch: &Switch, _: &Typed<'_>, page: &mut Page) {
    page.line(format_args!("vswitch {}", switch.version));
    print_datapath(&switch.datapath, page);
    for bridge in &switch.bridges {
        print_bridge(bridge, page);
    }
    if !switch.uplinks.is_empty() || switch.socket.is_some() {
        page.line("");
        super::uplink::print(switch.uplinks.iter().chain(&switch.socket), page);
    }
}

fn print_datapath(datapath: &show::Datapath, page: &mut Page) {
    let tone = match datapath.state {
        DatapathState::Running => Good,
        DatapathState::Starting => Odd,
        DatapathState::Down => Bad,
    };
    let mut line = format!("datapath {}", page.paint(datapath.state.name(), tone));
    if let Some(pid) = datapath.pid {
        line += &format!(", pid {pid}, up {}", span(datapath.uptime_s));
    }
    line += &format!(", poll={}", datapath.mode.name());
    page.line(line);
    let columns = [("WORKER", Right), ("CORE", Right), ("PORTS", Left)];
    let mut table = Table::new(2, &columns);
    for worker in &datapath.workers {
        table.row([
            worker.id.into(),
            worker.core.map_or_else(|| "-".into(), Cell::from),
            worker.ports.join(" ").into(),
        ]);
    }
    table.print(page);
}

fn print_bridge(bridge: &Bridge, page: &mut Page) {
    page.line("");
    page.line(format_args!(
        "bridge {}, fail_mode={}, datapath_id={}, mac_table_size={}, mac_aging_time={}",
        page.paint(&bridge.name, Strong),
        bridge.fail_mode.name(),
        bridge.datapath_id,
        bridge.mac_table_size,
        bridge.mac_aging_time,
    ));
    for controller in &bridge.controllers {
        print_controller(controller, page);
    }
    let columns = [
        ("PORT", Left),
        ("NUMBER", Right),
        ("TYPE", Left),
        ("STATE", Left),
        ("VLAN", Left),
        ("DEVICE", Left),
    ];
    let mut table = Table::new(2, &columns);
    for port in &bridge.ports {
        let detail: Vec<_> = port
            .detail
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        table.row([
            Cell::toned(&port.name, Plain),
            of_port(port.of_port).into(),
            port.kind.into(),
            Cell::toned(port.state.name(), port.state.into()),
            vlan(&port.vlan).into(),
            detail.join(" ").into(),
        ]);
        if !port.why.is_empty() {
            table.note(Cell::toned(&port.why, Faint));
        }
        if let Some(error) = &port.error {
            table.note(Cell::toned(format!("error: {error}"), Bad));
        }
    }
    table.print(page);
    for mirror in &bridge.mirrors {
        page.line(format_args!("  mirror {}: {}", mirror.name, copies(mirror)));
    }
}

fn print_controller(controller: &Controller, page: &mut Page) {
    let tone = match controller.state.as_str() {
        "active" | "listening" => Good,
        _ => Odd,
    };
    let mut words = vec![page.paint(&controller.state, tone)];
    words.push(format!("for {}", span(controller.since_s)));
    if let Some(version) = &controller.version {
        words.push(format!("OpenFlow {version}"));
    }
    words.extend(controller.role.clone());
    if controller.connections > 1 {
        words.push(format!("{} connections", controller.connections));
    }
    page.line(format_args!(
        "  controller {}: {}",
        controller.target,
        words.join(", ")
    ));
    if let Some(error) = &controller.error {
        page.line(format_args!("      {}", page.paint(error, Bad)));
    }
}

/// `access 5`, `trunk 1,2`, or a dash for a port that treats no VLAN in a special way.
fn vlan(vlan: &port::Vlan) -> String {
    if *vlan == port::Vlan::default() {
        return "-".into();
    }
    let mut parts = vec![vlan.mode.name().to_string()];
    parts.extend(vlan.tag.map(|tag| tag.to_string()));
    if !vlan.trunks.is_empty() {
        let list = list(&vlan.trunks);
        parts.push(if vlan.mode == VlanMode::Trunk {
            list
        } else {
            format!("trunks {list}")
        });
    }
    parts.join(" ")
}

fn copies(mirror: &mirror::Info) -> String {
    let mut parts = Vec::new();
    if mirror.select_all {
        parts.push("select_all=true".to_string());
    }
    let mut add = |key: &str, value: String| {
        if !value.is_empty() {
            parts.push(format!("{key}={value}"));
        }
    };
    add("select_src", mirror.select_src.join(","));
    add("select_dst", mirror.select_dst.join(","));
    add("select_vlan", list(&mirror.select_vlan));
    add(
        "output_port",
        mirror.output_port.clone().unwrap_or_default(),
    );
    add(
        "output_vlan",
        mirror
            .output_vlan
            .map(|vlan| vlan.to_string())
            .unwrap_or_default(),
    );
    parts.join(" ")
}

fn list(numbers: &[u16]) -> String {
    numbers
        .iter()
        .map(u16::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::page_of;

    #[test]
    fn the_whole_switch_lines_up() {
        let reply = serde_json::json!({
            "version": "0.1.0",
            "datapath": {
                "pid": 42, "state": "running", "uptime_s": 125, "mode": "adaptive",
                "workers": [
                    {"id": 0, "core": 1, "ports": ["sw1", "sw2"]},
                    {"id": 1, "ports": []},
                ],
            },
            "bridges": [{
                "name": "br0", "fail_mode": "standalone", "datapath_id": "0000024f1a2b3c4d",
                "mac_table_size": 8192, "mac_aging_time": 300,
                "controllers": [
                    {"target": "tcp:10.0.0.1:6653", "state": "active", "connections": 1,
                     "version": "1.3", "role": "primary", "since_s": 61},
                    {"target": "tcp:10.0.0.2:6653", "state": "backoff", "connections": 0,
                     "since_s": 3, "error": "connection refused"},
                ],
                "ports": [
                    {"name": "sw1", "of_port": 1, "kind": "afxdp", "state": "up",
                     "why": "a veth takes AF_XDP in native mode",
                     "detail": {"mode": "native", "queues": "1"},
                     "vlan": {"mode": "access", "tag": 5}},
                    {"name": "sw10", "of_port": 10, "kind": "tap", "state": "error",
                     "error": "the device is busy",
                     "vlan": {"mode": "native-tagged", "tag": 5, "trunks": [5, 6]}},
                    {"name": "br0", "of_port": 4294967294u32, "kind": "internal", "state": "down"},
                ],
                "mirrors": [{"name": "m0", "select_src": ["sw1"], "output_port": "sw10"}],
            }],
        });
        let switch: Switch = serde_json::from_value(reply).unwrap();
        let matches = clap::ArgMatches::default();
        let text = page_of(|page| print_switch(&switch, &Typed::new(&matches), page));
        assert_eq!(
            text,
            "\
vswitch 0.1.0
datapath running, pid 42, up 2m 5s, poll=adaptive
  WORKER  CORE  PORTS
       0     1  sw1 sw2
       1     -

bridge br0, fail_mode=standalone, datapath_id=0000024f1a2b3c4d, mac_table_size=8192, mac_aging_time=300
  controller tcp:10.0.0.1:6653: active, for 1m 1s, OpenFlow 1.3, primary
  controller tcp:10.0.0.2:6653: backoff, for 3s
      connection refused
  PORT  NUMBER  TYPE      STATE  VLAN                        DEVICE
  sw1        1  afxdp     up     access 5                    mode=native queues=1
      a veth takes AF_XDP in native mode
  sw10      10  tap       error  native-tagged 5 trunks 5,6
      error: the device is busy
  br0    LOCAL  internal  down   -
  mirror m0: select_src=sw1 output_port=sw10
"
        );
    }
}
