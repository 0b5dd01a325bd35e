//! The packet process: its ports and cached flows.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::add;
use crate::datapath::{CachedFlow, Datapath, Port};

/// `dpctl/show`, with `-s` the counters of the ports. Of the counters that the kernel keeps of a
/// device, those that no packet process knows are unknown here too.
pub fn dpctl_show(datapath: &Datapath, statistics: bool) -> String {
    let mut text = format!(
        "{}:\n  lookups: hit:{} missed:{} lost:{}\n  flows: {}\n",
        datapath.name, datapath.hit, datapath.missed, datapath.lost, datapath.flows
    );
    for port in &datapath.ports {
        add!(
            text,
            "  port {}: {} ({})\n",
            port.number,
            port.name,
            port.kind
        );
        if statistics {
            add!(
                text,
                "    RX packets:{} errors:{} dropped:{} overruns:? frame:?\n",
                port.rx_packets,
                port.rx_errors,
                port.rx_dropped
            );
            add!(
                text,
                "    TX packets:{} errors:{} dropped:{} aborted:? carrier:?\n",
                port.tx_packets,
                port.tx_errors,
                port.tx_dropped
            );
            add!(text, "    collisions:?\n");
            add!(
                text,
                "    RX bytes:{}{}  TX bytes:{}{}\n",
                port.rx_bytes,
                human_size(port.rx_bytes),
                port.tx_bytes,
                human_size(port.tx_bytes)
            );
        }
    }
    text
}

/// ` (1.5 KiB)`, or nothing for less than that.
fn human_size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ];
    let unit = UNITS.iter().find(|(size, _)| bytes >= *size);
    unit.map_or_else(String::new, |(size, unit)| {
        format!(" ({:.1} {unit})", bytes as f64 / *size as f64)
    })
}

/// `dpif/show`: bridges with their ports, OpenFlow number and datapath number.
pub fn dpif_show(datapath: &Datapath, bridges: &[String]) -> String {
    let mut text = format!(
        "{}: hit:{} missed:{}\n",
        datapath.name, datapath.hit, datapath.missed
    );
    for bridge in bridges {
        add!(text, "  {bridge}:\n");
        let of_bridge = datapath.ports.iter().filter(|port| port.bridge == *bridge);
        let by_name: BTreeMap<&str, &Port> =
            of_bridge.map(|port| (port.name.as_str(), port)).collect();
        for (name, port) in by_name {
            // LOCAL is a number here: the one that OpenFlow 1.0 gives it.
            let of_port = port.of_port & 0xffff;
            add!(
                text,
                "    {name} {of_port}/{}: ({})\n",
                port.number,
                port.kind
            );
        }
    }
    text
}

/// `dpctl/dump-flows`; `titles` says whose flows follow, which one worker's flows do not need.
pub fn dpctl_dump_flows(flows: &[CachedFlow], titles: bool) -> String {
    let mut text = String::new();
    let mut worker = None;
    for flow in flows {
        if titles && worker != Some(flow.worker) {
            worker = Some(flow.worker);
            match flow.core {
                Some(core) => add!(text, "flow-dump from pmd on cpu core: {core}\n"),
                None => add!(text, "flow-dump from worker {}:\n", flow.worker),
            }
        }
        let used = flow
            .used_s
            .map_or_else(|| "never".into(), |seconds| format!("{seconds:.3}s"));
        add!(
            text,
            "{}, packets:{}, bytes:{}, used:{used}, actions:{}\n",
            flow.flow,
            flow.packets,
            flow.bytes,
            flow.actions
        );
        for rule in &flow.rules {
            let bridge = rule.bridge.as_deref().unwrap_or("(gone)");
            add!(text, "    {bridge}: {}\n", rule.flow);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LOCAL_PORT;
    use crate::datapath::CachedRule;

    fn sample() -> Datapath {
        let port = |number, of_port, name: &str, kind: &str| Port {
            number,
            of_port,
            name: name.into(),
            bridge: "br0".into(),
            kind: kind.into(),
            rx_packets: 3,
            rx_bytes: 1536,
            rx_dropped: 2,
            rx_errors: 1,
            tx_packets: 4,
            tx_bytes: 400,
            tx_dropped: 6,
            tx_errors: 5,
        };
        Datapath {
            name: "netdev@ovs-netdev".into(),
            hit: 10,
            missed: 2,
            lost: 1,
            flows: 4,
            masks: 2,
            ports: vec![
                port(1, LOCAL_PORT, "br0", "internal"),
                port(2, 7, "aa", "tap"),
            ],
        }
    }

    #[test]
    fn ports_are_told_with_the_counters_that_are_known() {
        assert_eq!(
            dpctl_show(&sample(), false),
            "netdev@ovs-netdev:\n  \
             lookups: hit:10 missed:2 lost:1\n  \
             flows: 4\n  \
             port 1: br0 (internal)\n  \
             port 2: aa (tap)\n"
        );
        assert!(dpctl_show(&sample(), true).ends_with(
            "  port 2: aa (tap)\n    \
             RX packets:3 errors:1 dropped:2 overruns:? frame:?\n    \
             TX packets:4 errors:5 dropped:6 aborted:? carrier:?\n    \
             collisions:?\n    \
             RX bytes:1536 (1.5 KiB)  TX bytes:400\n"
        ));
    }

    #[test]
    fn bridges_list_their_ports_by_name() {
        assert_eq!(
            dpif_show(&sample(), &["br0".into(), "br1".into()]),
            "netdev@ovs-netdev: hit:10 missed:2\n  \
             br0:\n    \
             aa 7/2: (tap)\n    \
             br0 65534/1: (internal)\n  \
             br1:\n"
        );
    }

    #[test]
    fn cached_flows_stand_below_their_worker() {
        let flow = |worker, core, used_s| CachedFlow {
            flow: "recirc_id(0),in_port(1),eth_type(0x0800)".into(),
            packets: 9,
            bytes: 882,
            used_s,
            actions: "3,1".into(),
            rules: Vec::new(),
            worker,
            core,
        };
        let flows = [
            flow(0, Some(1), Some(0.5)),
            flow(0, Some(1), None),
            flow(1, None, None),
        ];
        let line = "recirc_id(0),in_port(1),eth_type(0x0800), packets:9, bytes:882";
        let expected = [
            "flow-dump from pmd on cpu core: 1".to_owned(),
            format!("{line}, used:0.500s, actions:3,1"),
            format!("{line}, used:never, actions:3,1"),
            "flow-dump from worker 1:".to_owned(),
            format!("{line}, used:never, actions:3,1"),
        ];
        let text = dpctl_dump_flows(&flows, true);
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
        assert_eq!(dpctl_dump_flows(&flows, false).lines().count(), 3);

        let rule = |bridge: Option<&str>| CachedRule {
            bridge: bridge.map(str::to_owned),
            flow: "cookie=0x1, table=0, priority=0 actions=NORMAL".into(),
        };
        let flows = [CachedFlow {
            rules: vec![rule(Some("br0")), rule(None)],
            ..flow(1, None, None)
        }];
        let expected = [
            format!("{line}, used:never, actions:3,1"),
            "    br0: cookie=0x1, table=0, priority=0 actions=NORMAL".to_owned(),
            "    (gone): cookie=0x1, table=0, priority=0 actions=NORMAL".to_owned(),
        ];
        let text = dpctl_dump_flows(&flows, false);
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }
}
