//! The forwarding table: which address is behind which port.

use super::{BRIDGE, Command, Run, example, nothing, prints};
use crate::args::Typed;
use crate::output::Page;
use crate::output::table::Align::{Left, Right};
use crate::output::table::Table;
use vswitch_rpc::bridge::{FdbCounters, FdbFlush, FdbShow, FdbStats};
use vswitch_rpc::text;

pub(super) const SHOW: Command = Command {
    words: &["fdb", "show"],
    aliases: &[],
    arguments: &[BRIDGE],
    help: "Show the addresses a bridge has learned",
    long: "The format is that of ovs-appctl fdb/show: port number, VLAN, address, and the seconds \
           since the address was last seen as a source.",
    examples: &[example(
        "vsctl fdb show br0",
        "Which address is behind which port",
    )],
    run: Run::Ask(
        |typed| {
            Ok(FdbShow {
                bridge: typed.text("BRIDGE"),
            }
            .into())
        },
        prints!(FdbShow, |reply, _, page| page.text(&text::fdb_show(reply))),
    ),
};

pub(super) const FLUSH: Command = Command {
    words: &["fdb", "flush"],
    aliases: &[],
    arguments: &[BRIDGE],
    help: "Forget the addresses a bridge has learned",
    long: "Packets to a forgotten address are flooded until it is learned again.",
    examples: &[example("vsctl fdb flush br0", "Forget everything")],
    run: Run::Ask(
        |typed| {
            Ok(FdbFlush {
                bridge: typed.text("BRIDGE"),
            }
            .into())
        },
        prints!(FdbFlush, nothing),
    ),
};

pub(super) const STATS: Command = Command {
    words: &["fdb", "stats"],
    aliases: &[],
    arguments: &[BRIDGE],
    help: "Show how full the forwarding table is, and who fills it",
    long: "When the table is full, the port with the most addresses loses its oldest one. A port \
           with far more addresses than machines behind it invents them.",
    examples: &[example(
        "vsctl fdb stats br0",
        "How many addresses, by port",
    )],
    run: Run::Ask(
        |typed| {
            Ok(FdbStats {
                bridge: typed.text("BRIDGE"),
            }
            .into())
        },
        prints!(FdbStats, print_stats),
    ),
};

fn print_stats(stats: &FdbCounters, _: &Typed<'_>, page: &mut Page) {
    page.line(format_args!(
        "{} of {} addresses",
        stats.entries, stats.limit
    ));
    page.line(format_args!(
        "{} learned so far, {} expired, {} evicted, {} moved",
        stats.learned, stats.expired, stats.evicted, stats.moved
    ));
    let mut table = Table::new(2, &[("PORT", Left), ("ADDRESSES", Right)]);
    for share in &stats.by_port {
        table.row([share.port.as_str().into(), share.entries.into()]);
    }
    table.print(page);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::page_of;
    use vswitch_rpc::bridge::FdbShare;

    #[test]
    fn fullness_is_told_by_port() {
        let matches = clap::ArgMatches::default();
        let share = |port: &str, entries| FdbShare {
            port: port.into(),
            entries,
        };
        let by_port = vec![share("sw1", 2), share("vm10", 4000)];
        let stats = FdbCounters {
            entries: 4002,
            limit: 8192,
            learned: 5000,
            expired: 998,
            evicted: 0,
            moved: 1,
            by_port,
        };
        let text = page_of(|page| print_stats(&stats, &Typed::new(&matches), page));
        assert_eq!(
            text,
            "4002 of 8192 addresses\n\
             5000 learned so far, 998 expired, 0 evicted, 1 moved\n  PORT  ADDRESSES\n  sw1           2\n  vm10       4000\n"
        );
    }
}
