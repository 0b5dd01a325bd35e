//! Connections and fragments: `vswitchd` reads the words and knows the errors, which are those of
//! `ovs-appctl dpctl/...`.

use vswitch_rpc::dpctl::{Answer, Dpctl, Options};
use vswitch_rpc::text;

use super::{Argument, Command, Example, Run, example, prints};
use crate::args::Typed;
use crate::output::Page;

const WORDS: Argument = Argument::Several("ARG", "What follows the command");
const MORE: Argument = Argument::Flag("more", Some('m'), "More of each");
const STATISTICS: Argument = Argument::Flag("statistics", Some('s'), "Counters too");

/// A row, without its call.
const fn row(
    words: &'static [&'static str],
    arguments: &'static [Argument],
    help: &'static str,
    long: &'static str,
    examples: &'static [Example],
    run: Run,
) -> Command {
    Command {
        words,
        aliases: &[],
        arguments,
        help,
        long,
        examples,
        run,
    }
}

/// The call of a command: its name cannot be had from what was typed after it.
macro_rules! ask {
    ($name:literal) => {
        Run::Ask(
            |typed| Ok(call($name, typed).into()),
            prints!(Dpctl, |answer, typed, page| print(answer, typed, page)),
        )
    };
}

fn call(command: &str, typed: &Typed<'_>) -> Dpctl {
    Dpctl {
        command: command.into(),
        args: typed.rest("ARG"),
    }
}

fn print(answer: &Answer, typed: &Typed<'_>, page: &mut Page) {
    let options = Options {
        more: typed.has_flag("more"),
        statistics: typed.has_flag("statistics"),
        names: false,
    };
    page.text(&text::dpctl(answer, &options));
}

pub(super) const DUMP_CONNTRACK: Command = row(
    &["dpctl", "dump-conntrack"],
    &[MORE, STATISTICS, WORDS],
    "Show the connections that are tracked",
    "-m shows more of each, -s packets, bytes and the seconds left. zone=N, \
     mark=X[/M], labels=Y[/N] and the addresses, protocol and ports of the original \
     direction and perhaps of the reply choose connections. The format is that of \
     ovs-appctl dpctl/dump-conntrack.",
    &[
        example("vsctl dpctl dump-conntrack", "All connections"),
        example(
            "vsctl dpctl dump-conntrack -m zone=5 ct_nw_src=10.1.1.1,ct_nw_proto=6",
            "TCP connections of a host in a zone",
        ),
    ],
    ask!("dump-conntrack"),
);

pub(super) const DUMP_EXPECTED: Command = row(
    &["dpctl", "dump-conntrack-exp"],
    &[WORDS],
    "Show the connections that helpers expect",
    "A helper such as that of FTP reads of them in the payload of another connection, \
     which is shown as the parent. Source port 0 is any.",
    &[example(
        "vsctl dpctl dump-conntrack-exp zone=5",
        "What is expected in a zone",
    )],
    ask!("dump-conntrack-exp"),
);

pub(super) const FLUSH_CONNTRACK: Command = row(
    &["dpctl", "flush-conntrack"],
    &[WORDS],
    "Forget connections",
    "Without arguments all are forgotten, else those of a zone, with a mark or with \
     labels, and of these those with the addresses, protocol and ports that are given \
     for the original direction and perhaps for the reply. A whole tuple and nothing \
     else means one connection, seen from either end, in zone 0 unless one is given.",
    &[
        example("vsctl dpctl flush-conntrack", "Forget everything"),
        example(
            "vsctl dpctl flush-conntrack zone=5 ct_nw_src=10.1.1.1,ct_nw_proto=17",
            "Forget some",
        ),
    ],
    ask!("flush-conntrack"),
);

pub(super) const STATS: Command = row(
    &["dpctl", "ct-stats-show"],
    &[MORE, WORDS],
    "Show how many connections there are by protocol",
    "-m also tells TCP's states; --json also what has happened to connections since \
     the packet process began.",
    &[example(
        "vsctl dpctl ct-stats-show -m zone=5",
        "Those of a zone",
    )],
    ask!("ct-stats-show"),
);

pub(super) const BUCKETS: Command = row(
    &["dpctl", "ct-bkts"],
    &[WORDS],
    "Show how connections spread over the table",
    "There is one bucket, as in Open vSwitch 3.1.",
    &[example("vsctl dpctl ct-bkts", "All connections")],
    ask!("ct-bkts"),
);

pub(super) const COUNT: Command = row(
    &["dpctl", "ct-get-nconns"],
    &[WORDS],
    "Show how many connections are held",
    "Those are counted too whose time is over and that nobody has taken out yet.",
    &[example("vsctl dpctl ct-get-nconns", "A number")],
    ask!("ct-get-nconns"),
);

pub(super) const MAX: Command = row(
    &["dpctl", "ct-get-maxconns"],
    &[WORDS],
    "Show how many connections there may be",
    "3000000 unless another number was set.",
    &[example("vsctl dpctl ct-get-maxconns", "A number")],
    ask!("ct-get-maxconns"),
);

pub(super) const SET_MAX: Command = row(
    &["dpctl", "ct-set-maxconns"],
    &[WORDS],
    "Set how many connections there may be",
    "At most 33554432. Connections over a lower limit stay until their time is over.",
    &[example("vsctl dpctl ct-set-maxconns 1000000", "A million")],
    ask!("ct-set-maxconns"),
);

pub(super) const LIMITS: Command = row(
    &["dpctl", "ct-get-limits"],
    &[WORDS],
    "Show how many connections zones may have, and have",
    "Without zones those with a limit of their own. The default limit holds for the \
     others; 0 is none.",
    &[example("vsctl dpctl ct-get-limits zone=1,2", "Two zones")],
    ask!("ct-get-limits"),
);

pub(super) const SET_LIMITS: Command = row(
    &["dpctl", "ct-set-limits"],
    &[WORDS],
    "Set how many connections zones may have",
    "A zone's own limit of 0 permits none; the default of 0 permits any number.",
    &[example(
        "vsctl dpctl ct-set-limits default=10000 zone=1,limit=500",
        "For most zones and one",
    )],
    ask!("ct-set-limits"),
);

pub(super) const DEL_LIMITS: Command = row(
    &["dpctl", "ct-del-limits"],
    &[WORDS],
    "Let the default limit hold for zones again",
    "The word default sets the default limit to none.",
    &[example("vsctl dpctl ct-del-limits zone=1,2", "Two zones")],
    ask!("ct-del-limits"),
);

pub(super) const SEQ_CHK: Command = row(
    &["dpctl", "ct-get-tcp-seq-chk"],
    &[WORDS],
    "Show whether TCP segments outside the window are invalid",
    "They are unless this was disabled.",
    &[example(
        "vsctl dpctl ct-get-tcp-seq-chk",
        "Enabled or disabled",
    )],
    ask!("ct-get-tcp-seq-chk"),
);

pub(super) const ENABLE_SEQ_CHK: Command = row(
    &["dpctl", "ct-enable-tcp-seq-chk"],
    &[WORDS],
    "Have TCP segments outside the window be invalid",
    "As in the beginning.",
    &[example("vsctl dpctl ct-enable-tcp-seq-chk", "Check")],
    ask!("ct-enable-tcp-seq-chk"),
);

pub(super) const DISABLE_SEQ_CHK: Command = row(
    &["dpctl", "ct-disable-tcp-seq-chk"],
    &[WORDS],
    "Let TCP segments have any sequence number",
    "For devices that count in their own way.",
    &[example(
        "vsctl dpctl ct-disable-tcp-seq-chk",
        "Do not check",
    )],
    ask!("ct-disable-tcp-seq-chk"),
);

pub(super) const LOOSE: Command = row(
    &["dpctl", "ct-get-tcp-loose"],
    &[WORDS],
    "Show whether a TCP connection may be seen first in its middle",
    "It may unless this was disabled.",
    &[example(
        "vsctl dpctl ct-get-tcp-loose",
        "Enabled or disabled",
    )],
    ask!("ct-get-tcp-loose"),
);

pub(super) const ENABLE_LOOSE: Command = row(
    &["dpctl", "ct-enable-tcp-loose"],
    &[WORDS],
    "Let TCP connections be seen first in their middle",
    "As in the beginning: connections go on after they were forgotten.",
    &[example("vsctl dpctl ct-enable-tcp-loose", "Pick them up")],
    ask!("ct-enable-tcp-loose"),
);

pub(super) const DISABLE_LOOSE: Command = row(
    &["dpctl", "ct-disable-tcp-loose"],
    &[WORDS],
    "Have TCP connections begin with a SYN only",
    "Other first segments are invalid.",
    &[example(
        "vsctl dpctl ct-disable-tcp-loose",
        "Do not pick them up",
    )],
    ask!("ct-disable-tcp-loose"),
);

pub(super) const TIMEOUTS: Command = row(
    &["dpctl", "ct-get-timeouts"],
    &[WORDS],
    "Show after how many seconds connections are forgotten",
    "Of a zone, or the default ones and those of every zone that has its own.",
    &[example("vsctl dpctl ct-get-timeouts", "All of them")],
    ask!("ct-get-timeouts"),
);

pub(super) const SET_TIMEOUT: Command = row(
    &["dpctl", "ct-set-timeout"],
    &[WORDS],
    "Set after how many seconds connections are forgotten",
    "Without a zone for all zones that have no timeouts of their own. The keys are \
     those of Open vSwitch's timeout policies: tcp_syn_sent, tcp_syn_recv, \
     tcp_established, tcp_fin_wait, tcp_time_wait, tcp_close, udp_first, udp_single, \
     udp_multiple, icmp_first, icmp_reply. A connection takes a change over with its \
     next packet.",
    &[example(
        "vsctl dpctl ct-set-timeout zone=5 udp_first=10 udp_multiple=20",
        "Of one zone",
    )],
    ask!("ct-set-timeout"),
);

pub(super) const DEL_TIMEOUT: Command = row(
    &["dpctl", "ct-del-timeout"],
    &[WORDS],
    "Let the default timeouts hold for a zone again",
    "The word default instead of a zone makes the default ones what they were in the \
     beginning.",
    &[example("vsctl dpctl ct-del-timeout zone=5", "Of one zone")],
    ask!("ct-del-timeout"),
);

pub(super) const IPF_STATUS: Command = row(
    &["dpctl", "ipf-get-status"],
    &[MORE, WORDS],
    "Show what becomes of fragments on their way to tracking",
    "-m also shows the packets that are not whole yet.",
    &[example(
        "vsctl dpctl ipf-get-status -m",
        "Settings, counters and packets",
    )],
    ask!("ipf-get-status"),
);

pub(super) const IPF_ENABLE: Command = row(
    &["dpctl", "ipf-set-enabled"],
    &[WORDS],
    "Have fragments of a family collected",
    "As in the beginning.",
    &[example("vsctl dpctl ipf-set-enabled v4", "IPv4")],
    ask!("ipf-set-enabled"),
);

pub(super) const IPF_DISABLE: Command = row(
    &["dpctl", "ipf-set-disabled"],
    &[WORDS],
    "Let fragments of a family pass untracked",
    "They are invalid to ct then.",
    &[example("vsctl dpctl ipf-set-disabled v6", "IPv6")],
    ask!("ipf-set-disabled"),
);

pub(super) const IPF_MIN_FRAG: Command = row(
    &["dpctl", "ipf-set-min-frag"],
    &[WORDS],
    "Set the smallest fragment that is not a last one",
    "Bytes of the IP packet, at least 400. In the beginning 1200 for IPv4 and 1280 for \
     IPv6.",
    &[example("vsctl dpctl ipf-set-min-frag v4 1000", "IPv4")],
    ask!("ipf-set-min-frag"),
);

pub(super) const IPF_MAX_NFRAGS: Command = row(
    &["dpctl", "ipf-set-max-nfrags"],
    &[WORDS],
    "Set how many fragments may be held",
    "Of both families together, at most 5000. In the beginning 1000.",
    &[example(
        "vsctl dpctl ipf-set-max-nfrags 2000",
        "More of them",
    )],
    ask!("ipf-set-max-nfrags"),
);
