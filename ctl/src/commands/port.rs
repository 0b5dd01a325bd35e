//! Ports: attach, detach, list, settings, counters.

use vswitch_rpc::port::{
    AddPort, Added, Counters, DelPort, DumpPorts, ListPorts, ReadPort, SetPort,
};
use vswitch_rpc::text::of_port;

use super::Argument::{Optional, Options};
use super::{BRIDGE, Command, PORT, Run, example, names, nothing, prints, settings};
use crate::args::Typed;
use crate::output::Page;
use crate::output::table::Align::{Left, Right};
use crate::output::table::Table;

pub(super) const ADD: Command = Command {
    words: &["add-port"],
    aliases: &[],
    arguments: &[
        BRIDGE,
        PORT,
        Options {
            help: "Type and settings of the port",
            required: false,
        },
    ],
    help: "Attach a device to a bridge, or make one",
    long: "Without a type, a device that exists gets the kind of port that serves it best, and one \
           that does not is made as a TAP. The answer says what was chosen and why.\n\n\
           type=TYPE        afxdp, tap, packet, internal, patch, null, pcap, vxlan, geneve or router\n\
           of_port=N        the port's OpenFlow number, 1 to 65279\n\
           tag=N            its own VLAN\n\
           trunks=N,N-N     the VLANs it carries\n\
           vlan_mode=MODE   access, trunk, native-tagged or native-untagged\n\
           mtu=N            bytes of a packet without the Ethernet header\n\
           queues=N         receive queues; for afxdp, tap and internal\n\
           netns=WHERE      the device's network namespace: a name, a path, or the number of a \
           process in it\n\
           ifname=NAME      the device's name, if it is not the port's\n\
           addr=MAC         the address of a device that is made\n\
           mode=MODE        for afxdp: native, generic or zerocopy\n\
           peer=PORT        for patch: the port at the other end, which may come later\n\
           file=PATH        for pcap: the capture to play\n\
           speed=SPEED      for pcap: paced, full or loop\n\
           capture=PATH     for pcap: the capture to write\n\
           remote_ip=ADDR   for vxlan and geneve: the far end, or `flow`\n\
           local_ip=ADDR    for vxlan and geneve: the near end, or `flow`\n\
           key=N            for vxlan and geneve: the network, or `flow`; in_key and out_key set \
           one direction\n\
           dst_port=N       for vxlan and geneve: the UDP port, 4789 or 6081 unless given\n\
           csum=BOOL        for vxlan and geneve: outer UDP checksums\n\
           ttl=N            for vxlan and geneve: outer TTL, or `inherit`\n\
           tos=N            for vxlan and geneve: outer TOS, or `inherit`; dscp=N is another way to \
           say it\n\
           df=BOOL          for vxlan and geneve: the network may not cut packets\n\
           underlay=WAY     for vxlan and geneve: auto, bridge, uplink or socket\n\
           check_source=BOOL  for vxlan and geneve: drop packets from where no route leads",
    examples: &[
        example(
            "vsctl add-port br0 eth1",
            "Take the device eth1 in the best way",
        ),
        example(
            "vsctl add-port br0 vm1 type=tap tag=5",
            "Make a TAP in VLAN 5",
        ),
        example(
            "vsctl add-port br0 vx0 type=vxlan remote_ip=192.0.2.1 key=42",
            "A tunnel to another host",
        ),
        example(
            "vsctl add-port br0 p0 type=patch peer=p1",
            "One end of a cable to another bridge",
        ),
    ],
    run: Run::Ask(
        |typed| {
            let (bridge, name) = (typed.text("BRIDGE"), typed.text("PORT"));
            Ok(AddPort {
                bridge,
                name,
                options: typed.options()?,
            }
            .into())
        },
        prints!(AddPort, print_added),
    ),
};

pub(super) const DEL: Command = Command {
    words: &["del-port"],
    aliases: &[],
    arguments: &[BRIDGE, PORT],
    help: "Detach a device from its bridge",
    long: "A device that the switch made is removed, one that it took is given back.",
    examples: &[example("vsctl del-port br0 eth1", "Give eth1 back")],
    run: Run::Ask(
        |typed| {
            Ok(DelPort {
                bridge: typed.text("BRIDGE"),
                name: typed.text("PORT"),
            }
            .into())
        },
        prints!(DelPort, nothing),
    ),
};

pub(super) const LIST: Command = Command {
    words: &["list-ports"],
    aliases: &[],
    arguments: &[BRIDGE],
    help: "List the ports of a bridge",
    long: "One name on a line, in the order of their numbers; LOCAL is left out.",
    examples: &[example("vsctl list-ports br0", "The names of br0's ports")],
    run: Run::Ask(
        |typed| {
            Ok(ListPorts {
                bridge: typed.text("BRIDGE"),
            }
            .into())
        },
        prints!(ListPorts, names),
    ),
};

pub(super) const SET: Command = Command {
    words: &["set-port"],
    aliases: &[],
    arguments: &[
        BRIDGE,
        PORT,
        Options {
            help: "What to change",
            required: true,
        },
    ],
    help: "Change settings of a port",
    long: "Settings that are not named stay as they are; an empty value puts one back to its \
           default. Either all are changed or, if one is refused, none. What can change while a \
           port works: tag, trunks, vlan_mode, mtu and peer.",
    examples: &[
        example(
            "vsctl set-port br0 eth1 vlan_mode=trunk trunks=10,20",
            "Carry two VLANs",
        ),
        example("vsctl set-port br0 vm1 tag=", "Back to no VLAN"),
    ],
    run: Run::Ask(
        |typed| {
            let (bridge, name) = (typed.text("BRIDGE"), typed.text("PORT"));
            Ok(SetPort {
                bridge,
                name,
                options: typed.options()?,
            }
            .into())
        },
        prints!(SetPort, nothing),
    ),
};

pub(super) const SHOW_SETTINGS: Command = Command {
    words: &["get-port"],
    aliases: &[],
    arguments: &[BRIDGE, PORT],
    help: "Show the settings of a port",
    long: "One key=value on a line, defaults included, as set-port takes them.",
    examples: &[example("vsctl get-port br0 eth1", "All settings of eth1")],
    run: Run::Ask(
        |typed| {
            Ok(ReadPort {
                bridge: typed.text("BRIDGE"),
                name: typed.text("PORT"),
            }
            .into())
        },
        prints!(ReadPort, settings),
    ),
};

pub(super) const DUMP: Command = Command {
    words: &["ports"],
    aliases: &[],
    arguments: &[BRIDGE, Optional("PORT", "Only this port")],
    help: "Show the counters of a bridge's ports",
    long: "rx is into the switch, tx is out of it. A super-frame, which a device with segmentation \
           offload gives and takes whole, counts as one packet.\n\n\
           DROPPED   rx: lost before the switch, no free frame or ring full; tx: no room, or the \
           device is down or gone\n\
           ERRORS    rx: unusable; tx: refused by the kernel",
    examples: &[
        example("vsctl ports br0", "Counters of all ports of br0"),
        example(
            "vsctl ports br0 eth1 --json",
            "All counters of one port for a program",
        ),
    ],
    run: Run::Ask(
        |typed| {
            Ok(DumpPorts {
                bridge: typed.text("BRIDGE"),
                port: typed.optional("PORT"),
            }
            .into())
        },
        prints!(DumpPorts, print_counters),
    ),
};

fn print_added(added: &Added, typed: &Typed<'_>, page: &mut Page) {
    let name = typed.text("PORT");
    let mut line = format!("{name} is port {} ({})", of_port(added.of_port), added.kind);
    if !added.why.is_empty() {
        line += &format!(": {}", added.why);
    }
    page.line(line);
}

fn print_counters(ports: &Vec<Counters>, _: &Typed<'_>, page: &mut Page) {
    let columns = [
        ("PORT", Left),
        ("NUMBER", Right),
        ("RX PACKETS", Right),
        ("BYTES", Right),
        ("DROPPED", Right),
        ("ERRORS", Right),
        ("TX PACKETS", Right),
        ("BYTES", Right),
        ("DROPPED", Right),
        ("ERRORS", Right),
    ];
    let mut table = Table::new(0, &columns);
    for port in ports {
        table.row([
            port.port.as_str().into(),
            of_port(port.of_port).into(),
            port.rx_packets.into(),
            port.rx_bytes.into(),
            port.rx_dropped.into(),
            port.rx_errors.into(),
            port.tx_packets.into(),
            port.tx_bytes.into(),
            port.tx_dropped.into(),
            port.tx_errors.into(),
        ]);
    }
    table.print(page);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::page_of;
    use vswitch_rpc::port::Kind;

    fn typed_for_add(print: impl FnOnce(&Typed<'_>)) {
        let matches = crate::args::parser()
            .try_get_matches_from(["vsctl", "add-port", "br0", "sw1"])
            .unwrap();
        let (_, matches) = crate::args::deepest(&matches);
        print(&Typed::new(matches));
    }

    #[test]
    fn a_new_port_says_what_was_chosen() {
        typed_for_add(|typed| {
            let why = "there is no device sw1, so a TAP was made".to_string();
            let added = Added {
                of_port: 3,
                kind: Kind::Tap,
                why,
            };
            let text = page_of(|page| print_added(&added, typed, page));
            assert_eq!(
                text,
                "sw1 is port 3 (tap): there is no device sw1, so a TAP was made\n"
            );
        });
    }

    #[test]
    fn counters_line_up() {
        typed_for_add(|typed| {
            let ports = vec![
                Counters {
                    of_port: 1,
                    port: "sw1".into(),
                    rx_packets: 1_000_000,
                    rx_bytes: 64_000_000,
                    tx_dropped: 7,
                    ..Counters::default()
                },
                Counters {
                    of_port: vswitch_rpc::LOCAL_PORT,
                    port: "br0".into(),
                    ..Counters::default()
                },
            ];
            let text = page_of(|page| print_counters(&ports, typed, page));
            assert_eq!(
                text,
                "\
PORT  NUMBER  RX PACKETS     BYTES  DROPPED  ERRORS  TX PACKETS  BYTES  DROPPED  ERRORS
sw1        1     1000000  64000000        0       0           0      0        7       0
br0    LOCAL           0         0        0       0           0      0        0       0
"
            );
        });
    }
}
