//! Replies as Open vSwitch prints them, for people and scripts that know its tools.
//!
//! `vsctl` prints them of what it was answered, `vswitchd` of what it answers to `ovs-appctl`: one
//! function here for each text, so that the two never differ. What Open vSwitch does not print has
//! no place here.
//!
//! Law: column by column, word by word, as version 3.1.0 prints it. A line whose number this switch
//! does not know says `?`, as there; a number is never made up.
//!
//! Spec: `lib/dpctl.c`, `lib/dpif-netdev.c`, `lib/dpif-netdev-perf.c`, `ofproto/ofproto-dpif.c`,
//! `ofproto/ofproto.c` of Open vSwitch.

mod conntrack;
mod datapath;
mod workers;

use std::fmt::Write as _;

pub use conntrack::dpctl;
pub use datapath::{dpctl_dump_flows, dpctl_show, dpif_show};
pub use workers::{Measured, pmd_perf_show, pmd_rxq_show, pmd_stats_show};

use crate::LOCAL_PORT;
use crate::bridge::{FdbCounters, FdbEntry};
use crate::flow::{Row, Story};

/// The priority of a flow that names none (`OFP_DEFAULT_PRIORITY`).
pub const DEFAULT_PRIORITY: u16 = 0x8000;

/// Adds formatted text.
macro_rules! add {
    ($text:expr, $($format:tt)*) => {
        write!($text, $($format)*).expect("a String takes everything")
    };
}
use add;

/// The OpenFlow number of a port as it is printed.
pub fn of_port(number: u32) -> String {
    if number == LOCAL_PORT {
        "LOCAL".into()
    } else {
        number.to_string()
    }
}

/// `fdb/show`.
pub fn fdb_show(entries: &[FdbEntry]) -> String {
    let mut text = " port  VLAN  MAC                Age\n".to_owned();
    for entry in entries {
        let (port, vlan, mac, age) = (of_port(entry.of_port), entry.vlan, &entry.mac, entry.age_s);
        add!(text, "{port:>5}  {vlan:>4}  {mac}  {age:>3}\n");
    }
    text
}

/// `fdb/stats-show`. There are no static addresses: all are learned.
pub fn fdb_stats_show(bridge: &str, counters: &FdbCounters) -> String {
    format!(
        "Statistics for bridge \"{bridge}\":\n  \
           Current/maximum MAC entries in the table: {}/{}\n  \
           Current static MAC entries in the table : 0\n  \
           Total number of learned MAC entries     : {}\n  \
           Total number of expired MAC entries     : {}\n  \
           Total number of evicted MAC entries     : {}\n  \
           Total number of port moved MAC entries  : {}\n",
        counters.entries,
        counters.limit,
        counters.learned,
        counters.expired,
        counters.evicted,
        counters.moved,
    )
}

/// `bridge/dump-flows`.
pub fn bridge_dump_flows(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        if row.table != 0 {
            add!(text, "table_id={}, ", row.table);
        }
        add!(
            text,
            "duration={}s, n_packets={}, n_bytes={}, ",
            row.duration_s.trunc(),
            row.packets,
            row.bytes
        );
        let mut parts = Vec::new();
        if row.priority != DEFAULT_PRIORITY {
            parts.push(format!("priority={}", row.priority));
        }
        if !row.matches.is_empty() {
            parts.push(row.matches.clone());
        }
        add!(text, "{},actions={}\n", parts.join(","), row.actions);
    }
    text
}

/// `ofproto/trace`.
pub fn trace(story: &Story) -> String {
    let mut text = String::new();
    for line in &story.lines {
        add!(text, "{line}\n");
    }
    add!(text, "Datapath actions: {}\n", story.datapath_actions);
    if let Some(failure) = &story.failure {
        add!(text, "{failure}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_stand_in_columns() {
        let entry = |of_port, vlan, mac: &str, age_s| FdbEntry {
            of_port,
            port: "sw".into(),
            vlan,
            mac: mac.into(),
            age_s,
        };
        let entries = [
            entry(3, 0, "50:54:00:00:00:05", 1),
            entry(LOCAL_PORT, 100, "50:54:00:00:00:06", 299),
            entry(100_000, 4095, "50:54:00:00:00:07", 1000),
        ];
        let expected = [
            " port  VLAN  MAC                Age",
            "    3     0  50:54:00:00:00:05    1",
            "LOCAL   100  50:54:00:00:00:06  299",
            "100000  4095  50:54:00:00:00:07  1000",
        ];
        assert_eq!(fdb_show(&entries).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn learning_is_told_as_open_vswitch_tells_it() {
        let counters = FdbCounters {
            entries: 1,
            limit: 8192,
            learned: 5,
            expired: 4,
            evicted: 3,
            moved: 2,
            by_port: Vec::new(),
        };
        assert_eq!(
            fdb_stats_show("br0", &counters),
            "Statistics for bridge \"br0\":\n  \
             Current/maximum MAC entries in the table: 1/8192\n  \
             Current static MAC entries in the table : 0\n  \
             Total number of learned MAC entries     : 5\n  \
             Total number of expired MAC entries     : 4\n  \
             Total number of evicted MAC entries     : 3\n  \
             Total number of port moved MAC entries  : 2\n"
        );
    }

    #[test]
    fn flows_of_a_bridge_name_table_and_priority_where_they_are_not_the_usual_ones() {
        let row = |table, priority, matches: &str| Row {
            table,
            priority,
            cookie: 7,
            duration_s: 1.9,
            packets: 2,
            bytes: 84,
            matches: matches.into(),
            actions: "NORMAL".into(),
            text: String::new(),
        };
        let rows = [
            row(0, 0, ""),
            row(3, DEFAULT_PRIORITY, "ip,in_port=1"),
            row(0, 5, "arp"),
        ];
        let expected = [
            "duration=1s, n_packets=2, n_bytes=84, priority=0,actions=NORMAL",
            "table_id=3, duration=1s, n_packets=2, n_bytes=84, ip,in_port=1,actions=NORMAL",
            "duration=1s, n_packets=2, n_bytes=84, priority=5,arp,actions=NORMAL",
        ];
        assert_eq!(
            bridge_dump_flows(&rows).lines().collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn a_trace_ends_with_what_is_done() {
        let story = Story {
            lines: vec!["Flow: in_port=1".into(), "bridge(\"br0\")".into()],
            datapath_actions: "2,3".into(),
            failure: None,
        };
        assert_eq!(
            trace(&story),
            "Flow: in_port=1\nbridge(\"br0\")\nDatapath actions: 2,3\n"
        );
        let failed = Story {
            lines: Vec::new(),
            datapath_actions: "drop".into(),
            failure: Some("Too deep.".into()),
        };
        assert_eq!(trace(&failed), "Datapath actions: drop\nToo deep.\n");
    }
}
