//! Every command, one row each: its name, what follows it, and how much of that there may be. The
//! names, usages and numbers are those of Open vSwitch 3.1.0.
//!
//! How a command is carried out is in [`crate::command`]; it matches on [`Command`], so a row
//! without an answer does not compile.

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `bridge/dump-flows`
    BridgeDumpFlows,
    /// `coverage/read-counter`
    CoverageReadCounter,
    /// `coverage/show`
    CoverageShow,
    /// `dpctl/dump-conntrack`
    DpctlDumpConntrack,
    /// `dpctl/dump-dps` and `dpif/dump-dps`
    DumpDps,
    /// `dpctl/dump-flows`
    DpctlDumpFlows,
    /// `dpctl/flush-conntrack`
    DpctlFlushConntrack,
    /// `dpctl/show`
    DpctlShow,
    /// `dpif-netdev/pmd-perf-show`
    PmdPerfShow,
    /// `dpif-netdev/pmd-rxq-show`
    PmdRxqShow,
    /// `dpif-netdev/pmd-stats-clear`
    PmdStatsClear,
    /// `dpif-netdev/pmd-stats-show`
    PmdStatsShow,
    /// `dpif/show`
    DpifShow,
    /// `exit`
    Exit,
    /// `fdb/flush`
    FdbFlush,
    /// `fdb/show`
    FdbShow,
    /// `fdb/stats-show`
    FdbStatsShow,
    /// `list-commands`
    ListCommands,
    /// `memory/show`
    MemoryShow,
    /// `ofproto/list`
    OfprotoList,
    /// `ofproto/trace`
    OfprotoTrace,
    /// `ofproto/trace-packet-out`
    OfprotoTracePacketOut,
    /// `revalidator/purge` and `revalidator/wait`
    Revalidator,
    /// `upcall/show`
    UpcallShow,
    /// `version`
    Version,
    /// `vlog/close`
    VlogClose,
    /// `vlog/list`
    VlogList,
    /// `vlog/reopen`
    VlogReopen,
    /// `vlog/set`
    VlogSet,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// As it is called.
    pub name: &'static str,
    /// What follows it, for people.
    pub usage: &'static str,
    /// At least so many arguments.
    pub min: usize,
    /// At most so many.
    pub max: usize,
    /// What it stands for.
    pub command: Command,
}

const fn row(
    name: &'static str,
    usage: &'static str,
    min: usize,
    max: usize,
    command: Command,
) -> Row {
    Row {
        name,
        usage,
        min,
        max,
        command,
    }
}

const ANY: usize = usize::MAX;

/// All rows, sorted by name.
pub const ROWS: &[Row] = &[
    row(
        "bridge/dump-flows",
        "[--offload-stats] bridge",
        1,
        2,
        Command::BridgeDumpFlows,
    ),
    row(
        "coverage/read-counter",
        "COUNTER",
        1,
        1,
        Command::CoverageReadCounter,
    ),
    row("coverage/show", "", 0, 0, Command::CoverageShow),
    row(
        "dpctl/dump-conntrack",
        "[-m] [-s] [dp] [zone=N]",
        0,
        4,
        Command::DpctlDumpConntrack,
    ),
    row("dpctl/dump-dps", "", 0, 0, Command::DumpDps),
    row(
        "dpctl/dump-flows",
        "[-m] [--names] [dp] [filter=..] [type=..] [pmd=..]",
        0,
        6,
        Command::DpctlDumpFlows,
    ),
    row(
        "dpctl/flush-conntrack",
        "[dp] [zone=N] [ct-orig-tuple] [ct-reply-tuple]",
        0,
        4,
        Command::DpctlFlushConntrack,
    ),
    row("dpctl/show", "[-s] [dp...]", 0, ANY, Command::DpctlShow),
    row(
        "dpif-netdev/pmd-perf-show",
        "[-nh] [-it iter-history-len] [-ms ms-history-len] [-pmd core] [dp]",
        0,
        8,
        Command::PmdPerfShow,
    ),
    row(
        "dpif-netdev/pmd-rxq-show",
        "[-pmd core] [-secs secs] [dp]",
        0,
        5,
        Command::PmdRxqShow,
    ),
    row(
        "dpif-netdev/pmd-stats-clear",
        "[-pmd core] [dp]",
        0,
        3,
        Command::PmdStatsClear,
    ),
    row(
        "dpif-netdev/pmd-stats-show",
        "[-pmd core] [dp]",
        0,
        3,
        Command::PmdStatsShow,
    ),
    row("dpif/dump-dps", "", 0, 0, Command::DumpDps),
    row("dpif/show", "", 0, 0, Command::DpifShow),
    row("exit", "[--cleanup]", 0, 1, Command::Exit),
    row("fdb/flush", "[bridge]", 0, 1, Command::FdbFlush),
    row("fdb/show", "bridge", 1, 1, Command::FdbShow),
    row("fdb/stats-show", "bridge", 1, 1, Command::FdbStatsShow),
    row("list-commands", "", 0, 0, Command::ListCommands),
    row("memory/show", "", 0, 0, Command::MemoryShow),
    row("ofproto/list", "", 0, 0, Command::OfprotoList),
    row(
        "ofproto/trace",
        "{[dp_name] odp_flow | bridge br_flow} [OPTIONS...] [-generate|packet]",
        1,
        ANY,
        Command::OfprotoTrace,
    ),
    row(
        "ofproto/trace-packet-out",
        "[-consistent] {[dp_name] odp_flow | bridge br_flow} [OPTIONS...] [-generate|packet] actions",
        2,
        ANY,
        Command::OfprotoTracePacketOut,
    ),
    row("revalidator/purge", "", 0, 0, Command::Revalidator),
    row("revalidator/wait", "", 0, 0, Command::Revalidator),
    row("upcall/show", "", 0, 0, Command::UpcallShow),
    row("version", "", 0, 0, Command::Version),
    row("vlog/close", "", 0, 0, Command::VlogClose),
    row("vlog/list", "", 0, 0, Command::VlogList),
    row("vlog/reopen", "", 0, 0, Command::VlogReopen),
    row(
        "vlog/set",
        "{spec | PATTERN:destination:pattern}",
        0,
        ANY,
        Command::VlogSet,
    ),
];

/// A call that no row takes, in the words of Open vSwitch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCall {
    /// No such command.
    #[error(
        "\"{0}\" is not a valid command (use \"list-commands\" to see a list of valid commands)"
    )]
    Unknown(String),
    /// Too little follows.
    #[error("\"{0}\" command requires at least {1} arguments")]
    TooFew(&'static str, usize),
    /// Too much follows.
    #[error("\"{0}\" command takes at most {1} arguments")]
    TooMany(&'static str, usize),
    /// Something else than text follows.
    #[error("\"{0}\" command has non-string argument")]
    NotText(String),
}

/// The row of a command that so many arguments follow.
pub fn find(name: &str, args: usize) -> Result<&'static Row, BadCall> {
    let row = ROWS.iter().find(|row| row.name == name);
    let row = row.ok_or_else(|| BadCall::Unknown(name.to_owned()))?;
    if args < row.min {
        return Err(BadCall::TooFew(row.name, row.min));
    }
    if args > row.max {
        return Err(BadCall::TooMany(row.name, row.max));
    }
    Ok(row)
}

/// `list-commands`.
pub fn list() -> String {
    let line = |row: &Row| format!("  {:<23} {}\n", row.name, row.usage);
    let head = "The available commands are:\n".to_owned();
    head + &ROWS.iter().map(line).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_unique() {
        assert!(ROWS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }

    #[test]
    fn arguments_are_counted() {
        let text = |name, args| match find(name, args) {
            Ok(row) => row.name.to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(text("fdb/show", 1), "fdb/show");
        assert_eq!(
            text("fdb/show", 0),
            "\"fdb/show\" command requires at least 1 arguments"
        );
        assert_eq!(
            text("exit", 2),
            "\"exit\" command takes at most 1 arguments"
        );
        assert_eq!(text("vlog/set", 100), "vlog/set");
        assert_eq!(
            text("fdb-show", 1),
            "\"fdb-show\" is not a valid command \
             (use \"list-commands\" to see a list of valid commands)"
        );
    }

    #[test]
    fn the_list_stands_in_columns() {
        let text = list();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("The available commands are:"));
        assert_eq!(
            lines.next(),
            Some("  bridge/dump-flows       [--offload-stats] bridge")
        );
        assert!(text.contains("\n  dpif-netdev/pmd-stats-clear [-pmd core] [dp]\n"));
        assert!(text.contains("\n  version                 \n"));
    }
}
