//! The forwarding table: which address is behind which port.

use vswitch_rpc::bridge::{FdbCounters, FdbEntry, FdbFlush, FdbShow, FdbStats};
use vswitch_rpc::method::Removed;

use super::Argument::Optional;
use super::{BRIDGE, Command, example, prints};
use crate::args::Typed;
use crate::output::Page;
use crate::output::number::of_port;

pub(super) const SHOW: Command = Command {
    words: &["fdb", "show"],
    aliases: &[],
    arguments: &[BRIDGE],
    help: "Show the addresses a bridge has learnt",
    long: "The format is that of ovs-appctl fdb/show: port number, VLAN, address, and the seconds \
           since the address was last seen as a source.",
    examples: &[example(
        "vsctl fdb show br0",
        "Which address is behind which port",
    )],
    call: |typed| {
        Ok(FdbShow {
            bridge: typed.text("BRIDGE"),
        }
        .into())
    },
    print: prints!(FdbShow, print_entries),
};

pub(super) const FLUSH: Command = Command {
    words: &["fdb", "flush"],
    aliases: &[],
    arguments: &[
        BRIDGE,
        Optional("PORT", "Only what was learnt on this port"),
    ],
    help: "Forget the addresses a bridge has learnt",
    long: "Packets to a forgotten address are flooded until it is learnt again.",
    examples: &[
        example("vsctl fdb flush br0", "Forget everything"),
        example("vsctl fdb flush br0 eth1", "Forget what is behind eth1"),
    ],
    call: |typed| {
        Ok(FdbFlush {
            bridge: typed.text("BRIDGE"),
            port: typed.optional("PORT"),
        }
        .into())
    },
    print: prints!(FdbFlush, print_removed),
};

pub(super) const STATS: Command = Command {
    words: &["fdb", "stats"],
    aliases: &[],
    arguments: &[BRIDGE],
    help: "Show how full the forwarding table is and how it changes",
    long: "Many moves mean a loop or an address in use twice. Evictions mean that mac_table_size \
           is too small for the network, or that somebody invents addresses.",
    examples: &[example(
        "vsctl fdb stats br0",
        "Entries, moves and evictions",
    )],
    call: |typed| {
        Ok(FdbStats {
            bridge: typed.text("BRIDGE"),
        }
        .into())
    },
    print: prints!(FdbStats, print_stats),
};

// Scripts written for ovs-appctl read these columns, so the widths are its own.
fn print_entries(entries: &Vec<FdbEntry>, _: &Typed<'_>, page: &mut Page) {
    page.line(" port  VLAN  MAC                Age");
    for entry in entries {
        let (port, vlan, mac, age) = (of_port(entry.of_port), entry.vlan, &entry.mac, entry.age_s);
        page.line(format_args!("{port:>5}  {vlan:>4}  {mac}  {age:>3}"));
    }
}

fn print_removed(removed: &Removed, _: &Typed<'_>, page: &mut Page) {
    page.line(match removed.removed {
        1 => "1 address forgotten".into(),
        count => format!("{count} addresses forgotten"),
    });
}

fn print_stats(stats: &FdbCounters, _: &Typed<'_>, page: &mut Page) {
    page.line(format_args!(
        "entries  {} of {}",
        stats.entries, stats.limit
    ));
    page.line(format_args!("learned  {}", stats.learned));
    page.line(format_args!("moved    {}", stats.moved));
    page.line(format_args!("expired  {}", stats.expired));
    page.line(format_args!("evicted  {}", stats.evicted));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::page_of;

    #[test]
    fn the_table_looks_like_that_of_ovs_appctl() {
        let matches = clap::ArgMatches::default();
        let entry = |of_port, vlan, mac: &str, age_s| FdbEntry {
            of_port,
            port: "sw".into(),
            vlan,
            mac: mac.into(),
            age_s,
        };
        let entries = vec![
            entry(3, 0, "50:54:00:00:00:05", 1),
            entry(vswitch_rpc::LOCAL_PORT, 100, "50:54:00:00:00:06", 299),
            entry(100_000, 4095, "50:54:00:00:00:07", 1000),
        ];
        let text = page_of(|page| print_entries(&entries, &Typed::new(&matches), page));
        assert_eq!(
            text,
            "
 port  VLAN  MAC                Age
    3     0  50:54:00:00:00:05    1
LOCAL   100  50:54:00:00:00:06  299
100000  4095  50:54:00:00:00:07  1000
"
            .trim_start_matches('\n')
        );
    }
}
