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
    /// `dpctl/dump-dps` and `dpif/dump-dps`
    DumpDps,
    /// `dpctl/dump-flows`
    DpctlDumpFlows,
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
    /// `dpctl/` on connections and fragments
    Tracking(Tracking),
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

/// What a `dpctl/` row on connections or fragments stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// `dpctl/dump-conntrack`
    Dump,
    /// `dpctl/dump-conntrack-exp`
    DumpExpected,
    /// `dpctl/flush-conntrack`
    Flush,
    /// `dpctl/ct-stats-show`
    Stats,
    /// `dpctl/ct-bkts`
    Buckets,
    /// `dpctl/ct-get-nconns`
    Count,
    /// `dpctl/ct-get-maxconns`
    Max,
    /// `dpctl/ct-set-maxconns`
    SetMax,
    /// `dpctl/ct-get-tcp-seq-chk`
    SeqChk,
    /// `dpctl/ct-enable-tcp-seq-chk` and `dpctl/ct-disable-tcp-seq-chk`
    SetSeqChk(bool),
    /// `dpctl/ct-get-tcp-loose`
    Loose,
    /// `dpctl/ct-enable-tcp-loose` and `dpctl/ct-disable-tcp-loose`
    SetLoose(bool),
    /// `dpctl/ct-get-limits`
    Limits,
    /// `dpctl/ct-set-limits`
    SetLimits,
    /// `dpctl/ct-del-limits`
    DelLimits,
    /// `dpctl/ct-get-timeouts`
    Timeouts,
    /// `dpctl/ct-set-timeout`
    SetTimeouts,
    /// `dpctl/ct-del-timeout`
    DelTimeouts,
    /// `dpctl/ipf-set-enabled` and `dpctl/ipf-set-disabled`
    Collect(bool),
    /// `dpctl/ipf-set-min-frag`
    MinFragment,
    /// `dpctl/ipf-set-max-nfrags`
    MaxFragments,
    /// `dpctl/ipf-get-status`
    Fragments,
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

const fn tracking(
    name: &'static str,
    usage: &'static str,
    min: usize,
    max: usize,
    command: Tracking,
) -> Row {
    row(name, usage, min, max, Command::Tracking(command))
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
    tracking("dpctl/ct-bkts", "[dp] [gt=N]", 0, 2, Tracking::Buckets),
    tracking(
        "dpctl/ct-del-limits",
        "[dp] [default] [zone=N1[,N2]...]",
        1,
        3,
        Tracking::DelLimits,
    ),
    tracking(
        "dpctl/ct-del-timeout",
        "[dp] default|zone=N",
        1,
        2,
        Tracking::DelTimeouts,
    ),
    tracking(
        "dpctl/ct-disable-tcp-loose",
        "[dp]",
        0,
        1,
        Tracking::SetLoose(false),
    ),
    tracking(
        "dpctl/ct-disable-tcp-seq-chk",
        "[dp]",
        0,
        1,
        Tracking::SetSeqChk(false),
    ),
    tracking(
        "dpctl/ct-enable-tcp-loose",
        "[dp]",
        0,
        1,
        Tracking::SetLoose(true),
    ),
    tracking(
        "dpctl/ct-enable-tcp-seq-chk",
        "[dp]",
        0,
        1,
        Tracking::SetSeqChk(true),
    ),
    tracking(
        "dpctl/ct-get-limits",
        "[dp] [zone=N1[,N2]...]",
        0,
        2,
        Tracking::Limits,
    ),
    tracking("dpctl/ct-get-maxconns", "[dp]", 0, 1, Tracking::Max),
    tracking("dpctl/ct-get-nconns", "[dp]", 0, 1, Tracking::Count),
    tracking("dpctl/ct-get-tcp-loose", "[dp]", 0, 1, Tracking::Loose),
    tracking("dpctl/ct-get-tcp-seq-chk", "[dp]", 0, 1, Tracking::SeqChk),
    tracking(
        "dpctl/ct-get-timeouts",
        "[dp] [zone=N]",
        0,
        2,
        Tracking::Timeouts,
    ),
    tracking(
        "dpctl/ct-set-limits",
        "[dp] [default=L] [zone=N,limit=L]...",
        1,
        ANY,
        Tracking::SetLimits,
    ),
    tracking(
        "dpctl/ct-set-maxconns",
        "[dp] maxconns",
        1,
        2,
        Tracking::SetMax,
    ),
    tracking(
        "dpctl/ct-set-timeout",
        "[dp] [zone=N] KEY=SECONDS...",
        1,
        ANY,
        Tracking::SetTimeouts,
    ),
    tracking(
        "dpctl/ct-stats-show",
        "[-m] [dp] [zone=N]",
        0,
        4,
        Tracking::Stats,
    ),
    tracking(
        "dpctl/dump-conntrack",
        "[-m] [-s] [dp] [zone=N] [mark=X[/M]] [labels=Y[/N]] [ct-orig-tuple [ct-reply-tuple]]",
        0,
        8,
        Tracking::Dump,
    ),
    tracking(
        "dpctl/dump-conntrack-exp",
        "[dp] [zone=N]",
        0,
        2,
        Tracking::DumpExpected,
    ),
    row("dpctl/dump-dps", "", 0, 0, Command::DumpDps),
    row(
        "dpctl/dump-flows",
        "[-m] [--names] [dp] [filter=..] [type=..] [pmd=..]",
        0,
        6,
        Command::DpctlDumpFlows,
    ),
    tracking(
        "dpctl/flush-conntrack",
        "[dp] [zone=N] [mark=X[/M]] [labels=Y[/N]] [ct-orig-tuple [ct-reply-tuple]]",
        0,
        6,
        Tracking::Flush,
    ),
    tracking(
        "dpctl/ipf-get-status",
        "[-m] [dp]",
        0,
        2,
        Tracking::Fragments,
    ),
    tracking(
        "dpctl/ipf-set-disabled",
        "[dp] v4|v6",
        1,
        2,
        Tracking::Collect(false),
    ),
    tracking(
        "dpctl/ipf-set-enabled",
        "[dp] v4|v6",
        1,
        2,
        Tracking::Collect(true),
    ),
    tracking(
        "dpctl/ipf-set-max-nfrags",
        "[dp] maxfrags",
        1,
        2,
        Tracking::MaxFragments,
    ),
    tracking(
        "dpctl/ipf-set-min-frag",
        "[dp] v4|v6 minfragment",
        2,
        3,
        Tracking::MinFragment,
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
