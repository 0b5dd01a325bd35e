//! Uplinks: devices that the switch shares with the host.

use vswitch_rpc::uplink::{Info, UplinkAdd, UplinkLs, UplinkRm};

use super::Argument::{Options, Required};
use super::{Argument, Command, Run, example, nothing, prints};
use crate::args::Typed;
use crate::output::Page;
use crate::output::Tone::{Bad, Faint, Plain};
use crate::output::table::Align::{Left, Right};
use crate::output::table::{Cell, Table};

const DEVICE: Argument = Required("DEVICE", "The device");

pub(super) const ADD: Command = Command {
    words: &["uplink", "add"],
    aliases: &[],
    arguments: &[
        DEVICE,
        Options {
            help: "What is the switch's, and how it gets there",
            required: false,
        },
    ],
    help: "Share a device with the host: what is named is the switch's, the rest the host's",
    long: "An XDP program hands the switch what steer= names, and leaves everything else to the \
           host: its address, its services, its connections. Tunnels add what they need by \
           themselves; this is for the rest.\n\n\
           steer=RULE,..   PROTOCOL:PORTS or PROTOCOL:ADDRESS:PORTS; protocols are tcp, udp, sctp \
           and icmp, PORTS one port or FIRST-LAST, of icmp identifiers of echo replies; without an \
           ADDRESS every address that the device has, followed as they change; an IPv6 address in []\n\
           mode=MODE       native, generic or zerocopy, else the best one that the device has\n\
           queues=N        must be as many as the device has",
    examples: &[
        example(
            "vsctl uplink add eth0 steer=udp:4789",
            "VXLAN to any address of eth0 is the switch's",
        ),
        example(
            "vsctl uplink add eth0 steer=tcp:192.0.2.1:8000-8100,udp:[2001:db8::1]:6081",
            "Two rules",
        ),
    ],
    run: Run::Ask(
        |typed| {
            Ok(UplinkAdd {
                device: typed.text("DEVICE"),
                options: typed.options()?,
            }
            .into())
        },
        prints!(UplinkAdd, print_added),
    ),
};

pub(super) const RM: Command = Command {
    words: &["uplink", "rm"],
    aliases: &["del"],
    arguments: &[DEVICE],
    help: "Give a device back to the host",
    long: "What uplink add asked for is taken back. A device that tunnels send by stays an uplink \
           for them.",
    examples: &[example(
        "vsctl uplink rm eth0",
        "Everything is the host's again",
    )],
    run: Run::Ask(
        |typed| {
            Ok(UplinkRm {
                device: typed.text("DEVICE"),
            }
            .into())
        },
        prints!(UplinkRm, nothing),
    ),
};

pub(super) const LIST: Command = Command {
    words: &["uplink", "ls"],
    aliases: &["list"],
    arguments: &[],
    help: "Show the devices shared with the host, and what is steered to the switch",
    long: "For each device its state, how XDP works there and why, and below it what is the \
           switch's and for whom.",
    examples: &[example("vsctl uplink ls", "All uplinks")],
    run: Run::Ask(
        |_| Ok(UplinkLs {}.into()),
        prints!(UplinkLs, |uplinks, _, page| print(uplinks, page)),
    ),
};

fn print_added(uplink: &Info, _: &Typed<'_>, page: &mut Page) {
    let mode = uplink.detail.get("mode").map_or("-", String::as_str);
    page.line(format_args!("{} is an uplink ({mode})", uplink.name));
}

/// Prints ports that are on no bridge.
pub(super) fn print<'a>(ports: impl IntoIterator<Item = &'a Info>, page: &mut Page) {
    let columns = [
        ("UPLINK", Left),
        ("STATE", Left),
        ("RX", Right),
        ("TX", Right),
        ("DEVICE", Left),
    ];
    let mut table = Table::new(2, &columns);
    for port in ports {
        let detail: Vec<_> = port
            .detail
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        table.row([
            Cell::toned(&port.name, Plain),
            Cell::toned(port.state.name(), port.state.into()),
            port.rx_packets.into(),
            port.tx_packets.into(),
            detail.join(" ").into(),
        ]);
        for steered in &port.steered {
            let note = format!("{} for {}", steered.rule, steered.users.join(", "));
            table.note(Cell::toned(note, Plain));
        }
        if !port.why.is_empty() {
            table.note(Cell::toned(&port.why, Faint));
        }
        if let Some(error) = &port.error {
            table.note(Cell::toned(format!("error: {error}"), Bad));
        }
    }
    table.print(page);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::page_of;

    #[test]
    fn an_uplink_says_what_is_steered_and_for_whom() {
        let uplinks: Vec<Info> = serde_json::from_value(serde_json::json!([
            {
                "name": "eth0", "state": "up", "asked": true,
                "why": "driver veth offers no zero-copy AF_XDP",
                "detail": {"device": "eth0", "mode": "native", "queues": "1"},
                "steered": [
                    {"rule": "udp:192.0.2.1:4789", "users": ["uplink add", "vx0"]},
                ],
                "rx_packets": 12, "tx_packets": 3,
            },
            {
                "name": "eth1", "state": "missing", "asked": false, "error": "the device is gone",
                "rx_packets": 0, "tx_packets": 0,
            },
        ]))
        .unwrap();
        assert_eq!(
            page_of(|page| print(&uplinks, page)),
            "  UPLINK  STATE    RX  TX  DEVICE
  eth0    up       12   3  device=eth0 mode=native queues=1
      udp:192.0.2.1:4789 for uplink add, vx0
      driver veth offers no zero-copy AF_XDP
  eth1    missing   0   0
      error: the device is gone
"
        );
    }
}
