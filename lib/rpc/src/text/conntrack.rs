//! Connections, fragments, and how they are tracked.

use std::fmt::Write as _;

use super::add;
use crate::dpctl::{
    Answer, Buckets, Connection, Counter, CtStats, Expectation, FragmentFamily, FragmentStatus,
    Limits, Options, Timeouts,
};

/// What a `dpctl` command prints.
pub fn dpctl(answer: &Answer, options: &Options) -> String {
    let on = |is: bool| if is { "enabled" } else { "disabled" };
    match answer {
        Answer::Connections(rows) => {
            let mut text = String::new();
            for row in rows {
                connection(&mut text, row, options);
            }
            text
        }
        Answer::Expectations(rows) => rows.iter().map(expectation).collect(),
        Answer::Flushed(_) => String::new(),
        Answer::Stats(stats) => ct_stats(stats, options.more),
        Answer::Buckets(buckets) => ct_bkts(buckets),
        Answer::MaxConnections(number) => format!("{number}\n"),
        Answer::ConnectionCount(number) => format!("{number}\n"),
        Answer::TcpSeqChk(is) => format!("TCP sequence checking: {}\n", on(*is)),
        Answer::TcpLoose(is) => format!("TCP loose pick-up: {}\n", on(*is)),
        Answer::Limits(limits) => ct_limits(limits),
        Answer::Timeouts(policies) => policies.iter().map(timeouts).collect(),
        Answer::Fragments(status) => ipf_status(status, options.more),
        Answer::Done(said) if said.is_empty() => String::new(),
        Answer::Done(said) => format!("{said}\n"),
    }
}

fn zone_mark_labels(text: &mut String, mark: u32, labels: &str) {
    if mark != 0 {
        add!(text, ",mark={mark}");
    }
    if !labels.is_empty() && labels != "0x0" {
        add!(text, ",labels={labels}");
    }
}

fn connection(text: &mut String, row: &Connection, options: &Options) {
    let counter = |counter: &Counter| match counter {
        Counter { packets, bytes } if options.statistics && packets | bytes != 0 => {
            format!(",packets={packets},bytes={bytes}")
        }
        _ => String::new(),
    };
    add!(
        text,
        "{},orig=({}{}),reply=({}{})",
        row.protocol,
        row.original,
        counter(&row.original_counter),
        row.reply,
        counter(&row.reply_counter)
    );
    if options.more {
        add!(text, ",id={}", row.id);
    }
    if row.zone != 0 {
        add!(text, ",zone={}", row.zone);
    }
    if options.more {
        add!(text, ",status={}", flags(&row.status));
    }
    if options.statistics {
        add!(text, ",timeout={}", row.timeout_s);
    }
    zone_mark_labels(text, row.mark, &row.labels);
    match (&row.state, &row.ends) {
        (_, Some([one, two])) if options.more => {
            add!(
                text,
                ",protoinfo=(state_orig={},state_reply={}",
                one.state,
                two.state
            );
            let scales = [one.wscale.unwrap_or(0), two.wscale.unwrap_or(0)];
            if scales != [0, 0] {
                add!(
                    text,
                    ",wscale_orig={},wscale_reply={}",
                    scales[0],
                    scales[1]
                );
            }
            for (name, end) in [("orig", one), ("reply", two)] {
                let scaled = end.wscale.map(|_| "WINDOW_SCALE".to_owned());
                let missed = end.missed.then(|| "BE_LIBERAL".to_owned());
                let of_end: Vec<_> = scaled.into_iter().chain(missed).collect();
                add!(text, ",flags_{name}={}", flags(&of_end));
            }
            text.push(')');
        }
        (Some(state), _) => add!(text, ",protoinfo=(state={state})"),
        _ => {}
    }
    if let Some(helper) = &row.helper {
        add!(text, ",helper={helper}");
    }
    if let Some(parent) = row.parent.filter(|_| options.more) {
        add!(text, ",parent=({parent})");
    }
    text.push('\n');
}

fn flags(names: &[String]) -> String {
    if names.is_empty() {
        return "0".into();
    }
    names.join("|")
}

fn expectation(row: &Expectation) -> String {
    let mut text = format!("{},orig=({})", row.protocol, row.original);
    if row.zone != 0 {
        add!(text, ",zone={}", row.zone);
    }
    zone_mark_labels(&mut text, row.mark, &row.labels);
    add!(text, ",parent=({})\n", row.parent);
    text
}

/// `ct-stats-show`. ICMPv6, which Open vSwitch counts and does not print, has a line of its own.
fn ct_stats(stats: &CtStats, more: bool) -> String {
    const NAMED: [(&str, &str); 8] = [
        ("tcp", "TCP"),
        ("udp", "UDP"),
        ("udplite", "UDPLITE"),
        ("sctp", "SCTP"),
        ("icmp", "ICMP"),
        ("icmpv6", "ICMPV6"),
        ("dccp", "DCCP"),
        ("igmp", "IGMP"),
    ];
    /// In the order of Open vSwitch's states.
    const STATES: [&str; 11] = [
        "CLOSED",
        "LISTEN",
        "SYN_SENT",
        "SYN_RECV",
        "ESTABLISHED",
        "CLOSE_WAIT",
        "FIN_WAIT_1",
        "CLOSING",
        "LAST_ACK",
        "FIN_WAIT_2",
        "TIME_WAIT",
    ];
    let mut text = format!("Connections Stats:\n    Total: {}\n", stats.total);
    let mut other = stats.total;
    for (protocol, name) in NAMED {
        let count = stats.protocols.get(protocol).copied().unwrap_or(0);
        other = other.saturating_sub(count);
        if count > 0 {
            add!(text, "  {name}: {count}\n");
        }
        if count > 0 && protocol == "tcp" && more {
            text += "    Conn per TCP states:\n";
            for state in STATES {
                if let Some(count) = stats.tcp_states.get(state).filter(|count| **count > 0) {
                    add!(text, "\t  [{state}]={count}\n");
                }
            }
        }
    }
    if other > 0 {
        add!(text, "  Other: {other}\n");
    }
    text
}

fn ct_bkts(buckets: &Buckets) -> String {
    const PER_ROW: usize = 8;
    let all = &buckets.connections;
    let total: u64 = all.iter().sum();
    let mut text = format!(
        "Total Buckets: {}\nCurrent Connections: {total}\n\n",
        all.len()
    );
    if total == 0 {
        return text;
    }
    let line = format!("+{}+{}+", "-".repeat(11), "-".repeat(41));
    add!(
        text,
        "{line}\n|  Buckets  |         Connections per Buckets         |\n{line}"
    );
    for (row, counts) in all.chunks(PER_ROW).enumerate() {
        let first = row * PER_ROW;
        add!(text, "\n {first:>3}..{:>3}   | ", first + PER_ROW - 1);
        for count in counts {
            if *count > buckets.more_than.into() {
                add!(text, "{count:>5}");
            } else {
                text += "    .";
            }
        }
    }
    text + "\n\n"
}

fn ct_limits(limits: &Limits) -> String {
    let mut text = format!("default limit={}\n", limits.default);
    for zone in &limits.zones {
        add!(
            text,
            "zone={},limit={},count={}\n",
            zone.zone,
            zone.limit,
            zone.count
        );
    }
    text
}

/// `ct-get-timeouts`, which Open vSwitch does not have: as it would be typed in.
fn timeouts(policy: &Timeouts) -> String {
    let zone = policy
        .zone
        .map_or_else(|| "default".into(), |zone| format!("zone={zone}"));
    let seconds = policy.seconds.iter();
    let words: Vec<_> = seconds
        .map(|(key, seconds)| format!("{key}={seconds}"))
        .collect();
    format!("{zone} {}\n", words.join(" "))
}

fn ipf_status(status: &FragmentStatus, more: bool) -> String {
    const INDENT: &str = "        ";
    let mut text = String::new();
    let mut line = |words: String| add!(text, "{INDENT}{words}\n");
    line("Fragmentation Module Status".into());
    line("---------------------------".into());
    line(format!("v4 enabled: {}", u8::from(status.v4.enabled)));
    line(format!("v6 enabled: {}", u8::from(status.v6.enabled)));
    line(format!("max num frags (v4/v6): {}", status.max));
    line(format!("num frag: {}", status.held));
    let mut family = |name: &str, family: &FragmentFamily| {
        line(format!("min {name} frag size: {}", family.min_size));
        line(format!("{name} frags accepted: {}", family.accepted));
        line(format!("{name} frags completed: {}", family.completed));
        line(format!("{name} frags expired: {}", family.expired));
        line(format!("{name} frags too small: {}", family.too_small));
        line(format!("{name} frags overlapped: {}", family.overlapped));
        line(format!("{name} frags purged: {}", family.purged));
    };
    family("v4", &status.v4);
    family("v6", &status.v6);
    if more {
        add!(text, "\n{INDENT}Fragment Lists:\n\n");
        for list in &status.lists {
            let kind = if list.src.is_ipv4() { 0x800 } else { 0x86dd };
            add!(
                text,
                "(src={},dst={},recirc_id=0,ip_id={},dl_type={kind:#x},zone={},nw_proto={},\
                 num_fragments={},state={})\n",
                list.src,
                list.dst,
                list.ident,
                list.zone,
                list.protocol,
                list.fragments,
                list.state
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpctl::{Ends, FragmentList, TcpEnd, Tuple, ZoneLimit};

    fn tuple(src: &str, dst: &str, ends: Ends) -> Tuple {
        Tuple {
            src: src.parse().expect("an address"),
            dst: dst.parse().expect("an address"),
            ends,
        }
    }

    fn ports(src: &str, dst: &str, sport: u16, dport: u16) -> Tuple {
        tuple(src, dst, Ends::Ports { sport, dport })
    }

    fn end(state: &str, wscale: Option<u8>, missed: bool) -> TcpEnd {
        TcpEnd {
            state: state.into(),
            wscale,
            missed,
        }
    }

    fn tcp() -> Connection {
        Connection {
            protocol: "tcp".into(),
            original: ports("10.1.1.1", "10.1.1.2", 40000, 80),
            reply: ports("10.1.1.2", "10.1.1.240", 80, 40000),
            id: 77,
            zone: 5,
            status: vec!["SEEN_REPLY".into(), "CONFIRMED".into()],
            mark: 170,
            labels: "0xaa00000000".into(),
            state: Some("ESTABLISHED".into()),
            ends: Some([
                end("ESTABLISHED", Some(7), false),
                end("SYN_SENT", None, true),
            ]),
            helper: Some("ftp".into()),
            parent: Some(ports("10.1.1.1", "10.1.1.2", 40001, 21)),
            timeout_s: 86_399,
            age_s: 3,
            original_counter: Counter {
                packets: 4,
                bytes: 300,
            },
            reply_counter: Counter::default(),
        }
    }

    fn ping() -> Connection {
        let query = |src, dst, kind| {
            let icmp = Ends::Icmp {
                id: 9,
                r#type: kind,
                code: 0,
            };
            tuple(src, dst, icmp)
        };
        Connection {
            protocol: "icmpv6".into(),
            original: query("fc00::1", "fc00::2", 128),
            reply: query("fc00::2", "fc00::1", 129),
            zone: 0,
            status: Vec::new(),
            mark: 0,
            labels: "0x0".into(),
            state: None,
            ends: None,
            helper: None,
            parent: None,
            ..tcp()
        }
    }

    fn shown(answer: &Answer, words: &str) -> String {
        let words: Vec<String> = words.split_whitespace().map(Into::into).collect();
        let (options, _) = Options::read(&words).expect("options");
        dpctl(answer, &options)
    }

    #[test]
    fn connections_stand_in_lines_that_scripts_know() {
        let rows = Answer::Connections(vec![tcp(), ping()]);
        assert_eq!(
            shown(&rows, ""),
            "tcp,orig=(src=10.1.1.1,dst=10.1.1.2,sport=40000,dport=80),\
             reply=(src=10.1.1.2,dst=10.1.1.240,sport=80,dport=40000),zone=5,mark=170,\
             labels=0xaa00000000,protoinfo=(state=ESTABLISHED),helper=ftp\n\
             icmpv6,orig=(src=fc00::1,dst=fc00::2,id=9,type=128,code=0),\
             reply=(src=fc00::2,dst=fc00::1,id=9,type=129,code=0)\n"
        );
        let rows = Answer::Connections(vec![tcp()]);
        assert_eq!(
            shown(&rows, "-m -s"),
            "tcp,orig=(src=10.1.1.1,dst=10.1.1.2,sport=40000,dport=80,packets=4,bytes=300),\
             reply=(src=10.1.1.2,dst=10.1.1.240,sport=80,dport=40000),id=77,zone=5,\
             status=SEEN_REPLY|CONFIRMED,timeout=86399,mark=170,labels=0xaa00000000,\
             protoinfo=(state_orig=ESTABLISHED,state_reply=SYN_SENT,wscale_orig=7,\
             wscale_reply=0,flags_orig=WINDOW_SCALE,flags_reply=BE_LIBERAL),helper=ftp,\
             parent=(src=10.1.1.1,dst=10.1.1.2,sport=40001,dport=21)\n"
        );
        let rows = Answer::Connections(vec![ping()]);
        assert!(shown(&rows, "--more").ends_with(",id=77,status=0\n"));
    }

    #[test]
    fn connections_survive_json() {
        let rows = Answer::Connections(vec![tcp(), ping()]);
        let json = serde_json::to_value(&rows).expect("JSON");
        let first = &json["connections"][0];
        assert_eq!(first["original"]["sport"], 40000);
        assert_eq!(json["connections"][1]["reply"]["type"], 129);
        assert_eq!(
            serde_json::from_value::<Answer>(json).expect("the same"),
            rows
        );
    }

    #[test]
    fn what_is_expected_names_its_parent() {
        let rows = vec![Expectation {
            protocol: "tcp".into(),
            original: ports("10.1.1.2", "10.1.1.1", 0, 2000),
            zone: 1,
            mark: 2,
            labels: "0x3".into(),
            parent: ports("10.1.1.1", "10.1.1.2", 40001, 21),
        }];
        assert_eq!(
            shown(&Answer::Expectations(rows), ""),
            "tcp,orig=(src=10.1.1.2,dst=10.1.1.1,sport=0,dport=2000),zone=1,mark=2,labels=0x3,\
             parent=(src=10.1.1.1,dst=10.1.1.2,sport=40001,dport=21)\n"
        );
    }

    #[test]
    fn counts_are_told_by_protocol_and_with_more_by_state() {
        let count = |pairs: &[(&str, u64)]| {
            let pairs = pairs.iter();
            pairs
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect()
        };
        let stats = Answer::Stats(Box::new(CtStats {
            total: 10,
            protocols: count(&[("tcp", 5), ("udp", 2), ("icmp", 1), ("47", 2)]),
            tcp_states: count(&[("TIME_WAIT", 1), ("ESTABLISHED", 4)]),
            events: count(&[("created", 99)]),
        }));
        let head = "Connections Stats:\n    Total: 10\n  TCP: 5\n";
        let rest = "  UDP: 2\n  ICMP: 1\n  Other: 2\n";
        assert_eq!(shown(&stats, ""), format!("{head}{rest}"));
        let states = "    Conn per TCP states:\n\t  [ESTABLISHED]=4\n\t  [TIME_WAIT]=1\n";
        assert_eq!(shown(&stats, "-m"), format!("{head}{states}{rest}"));
    }

    #[test]
    fn buckets_stand_in_rows_of_eight() {
        let buckets = |connections: &[u64], more_than| {
            let connections = connections.to_vec();
            Answer::Buckets(Buckets {
                connections,
                more_than,
            })
        };
        assert_eq!(
            shown(&buckets(&[0], 0), ""),
            "Total Buckets: 1\nCurrent Connections: 0\n\n"
        );
        assert_eq!(
            shown(&buckets(&[3, 0, 1, 0, 0, 0, 0, 0, 12345], 1), ""),
            "Total Buckets: 9\nCurrent Connections: 12349\n\n\
             +-----------+-----------------------------------------+\n\
             |  Buckets  |         Connections per Buckets         |\n\
             +-----------+-----------------------------------------+\n   \
               0..  7   |     3    .    .    .    .    .    .    .\n   \
               8.. 15   | 12345\n\n"
        );
    }

    #[test]
    fn settings_are_told() {
        let cases = [
            (Answer::MaxConnections(10), "10\n"),
            (Answer::ConnectionCount(3), "3\n"),
            (Answer::TcpSeqChk(true), "TCP sequence checking: enabled\n"),
            (Answer::TcpLoose(false), "TCP loose pick-up: disabled\n"),
            (Answer::Flushed(3), ""),
            (Answer::Done(String::new()), ""),
            (Answer::Done("done".into()), "done\n"),
        ];
        for (answer, text) in cases {
            assert_eq!(shown(&answer, ""), text);
        }
        let zone = |zone, limit, count| ZoneLimit { zone, limit, count };
        let limits = Limits {
            default: 10,
            zones: vec![zone(1, 5, 4), zone(3, 0, 0)],
        };
        assert_eq!(
            shown(&Answer::Limits(limits), ""),
            "default limit=10\nzone=1,limit=5,count=4\nzone=3,limit=0,count=0\n"
        );
        let seconds = |seconds| [("udp_first".to_owned(), seconds)].into();
        let policies = vec![
            Timeouts {
                zone: None,
                seconds: seconds(60),
            },
            Timeouts {
                zone: Some(5),
                seconds: seconds(3),
            },
        ];
        assert_eq!(
            shown(&Answer::Timeouts(policies), ""),
            "default udp_first=60\nzone=5 udp_first=3\n"
        );
    }

    #[test]
    fn fragments_are_told_and_with_more_those_that_wait() {
        let family = |min_size| FragmentFamily {
            enabled: true,
            min_size,
            accepted: 5,
            ..FragmentFamily::default()
        };
        let list = FragmentList {
            src: "10.1.1.1".parse().expect("an address"),
            dst: "10.1.1.2".parse().expect("an address"),
            ident: 7,
            zone: 9,
            protocol: 17,
            fragments: 2,
            state: "first frag".into(),
        };
        let status = Answer::Fragments(Box::new(FragmentStatus {
            max: 1000,
            held: 2,
            v4: family(1200),
            v6: family(1280),
            lists: vec![list],
        }));
        let text = shown(&status, "");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 20);
        assert_eq!(lines[0], "        Fragmentation Module Status");
        assert_eq!(lines[2], "        v4 enabled: 1");
        assert_eq!(lines[4], "        max num frags (v4/v6): 1000");
        assert_eq!(lines[7], "        v4 frags accepted: 5");
        assert_eq!(lines[13], "        min v6 frag size: 1280");
        assert_eq!(
            shown(&status, "-m").strip_prefix(&text),
            Some(
                "\n        Fragment Lists:\n\n\
                 (src=10.1.1.1,dst=10.1.1.2,recirc_id=0,ip_id=7,dl_type=0x800,zone=9,\
                 nw_proto=17,num_fragments=2,state=first frag)\n"
            )
        );
    }
}
