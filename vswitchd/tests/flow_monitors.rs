//! Flow monitors as controllers meet them: real sockets, a datapath's double.

#![allow(
    clippy::disallowed_methods,
    reason = "real processes take real time, and a peer can only wait"
)]

mod peer;
mod place;

use std::os::unix::net::UnixStream;

use vswitch_flow::action::Action;
use vswitch_flow::{
    Field, FlowCommand, FlowMod, FlowRule, FlowSelect, Instructions, Match, OfPort,
};
use vswitch_openflow::flow_monitor::{
    FlowEvent, FlowMonitorRequest, FlowUpdate, MonitorCommand, MonitorFlags,
};
use vswitch_openflow::flow_removed::RemovedReason;
use vswitch_openflow::multipart::{Reply, Request};
use vswitch_openflow::{Decoded, ErrorCode, Message, Version};

use peer::{Peer, add, errors, rule, start};

/// Not a test: the datapath's double, when a script says so.
#[test]
fn double() {
    place::double();
}

const ALL: MonitorFlags = MonitorFlags(0x1f);

/// The peer's own changes in full, as a version says it.
fn own(version: Version) -> MonitorFlags {
    if version >= Version::V14 {
        MonitorFlags::ONLY_OWN
    } else {
        MonitorFlags::NO_ABBREV
    }
}

fn monitor(id: u32, flags: MonitorFlags, select: FlowSelect) -> FlowMonitorRequest {
    FlowMonitorRequest {
        id,
        command: MonitorCommand::Add,
        flags,
        select,
    }
}

fn watch(monitors: Vec<FlowMonitorRequest>) -> Message {
    Message::MultipartRequest(Request::FlowMonitor(monitors), false)
}

/// 1.0 does not say a table, and adds what is not there.
fn modify(version: Version, rule: FlowRule) -> Message {
    let old = version == Version::V10;
    let change = FlowMod {
        all_tables: old,
        upsert: old,
        new_cookie: old,
        ..FlowMod::new(FlowCommand::ModifyStrict, rule)
    };
    Message::FlowMod(Box::new(change.into()))
}

fn delete(select: Match) -> Message {
    Message::FlowMod(Box::new(FlowMod::delete(None, select).into()))
}

/// A word for each piece of news: event, priority, port that packets are sent to.
fn told(decoded: &Decoded) -> Vec<String> {
    let Message::MultipartReply(Reply::FlowMonitor(updates), _) = &decoded.message else {
        return vec![decoded.message.name().to_owned()];
    };
    let word = |update: &FlowUpdate| match update {
        FlowUpdate::Flow(news) => {
            let to = match *news.instructions.apply {
                [Action::Output(OfPort(port))] => format!(" to {port}"),
                _ => String::new(),
            };
            let reason = news.reason.map(|reason| format!(" {reason:?}"));
            let reason = reason.unwrap_or_default();
            format!("{:?} {}{to}{reason}", news.event, news.priority)
        }
        FlowUpdate::Own(xid) => format!("own {xid}"),
        other => format!("{other:?}"),
    };
    updates.iter().map(word).collect()
}

fn all_told(messages: &[Decoded]) -> Vec<Vec<String>> {
    messages.iter().map(told).collect()
}

/// The next news; peers who changed something have had their answer, so it is on its way.
fn next(peer: &mut Peer<UnixStream>) -> Vec<String> {
    told(&peer.next())
}

#[test]
fn monitors_hear_of_what_is_there_and_of_each_change() {
    let Some((place, _daemon)) = start("watch") else {
        return;
    };
    for version in Version::ALL {
        let mut author = Peer::mgmt(&place, version);
        let mut watcher = Peer::mgmt(&place, version);
        author.send(1, &add(rule(1, 1)));
        author.send(2, &add(rule(2, 2)));
        assert!(author.barrier().is_empty());
        // Only flows that packets from the first port may take, or that send there.
        let some = FlowSelect {
            out_port: OfPort(9),
            ..FlowSelect::default()
        };
        let flags = ALL.with(own(version));
        watcher.send(5, &watch(vec![monitor(3, flags, FlowSelect::default())]));
        let first = watcher.next();
        assert_eq!(first.xid, 5);
        let event = if version >= Version::V14 {
            "Initial"
        } else {
            "Added"
        };
        let want = [1, 2].map(|priority| format!("{event} {priority} to 1"));
        assert_eq!(told(&first), want);
        let mut picky = Peer::mgmt(&place, version);
        picky.send(6, &watch(vec![monitor(3, flags, some)]));
        assert_eq!(next(&mut picky), [""; 0]);

        let to_9 = |priority, port| FlowRule {
            instructions: Instructions::apply(vec![Action::Output(OfPort(9))]),
            ..rule(priority, port)
        };
        author.send(10, &add(rule(3, 3)));
        author.send(11, &modify(version, to_9(3, 3)));
        // The same again changes nothing.
        author.send(12, &modify(version, to_9(3, 3)));
        author.send(13, &modify(version, rule(3, 3)));
        author.send(14, &add(to_9(2, 2)));
        author.send(15, &delete(Match::any()));
        assert!(author.barrier().is_empty());
        let mut heard: Vec<Vec<String>> = (0..5).map(|_| next(&mut watcher)).collect();
        let mut gone = heard.pop().expect("five");
        assert_eq!(
            heard,
            [
                ["Added 3 to 1"],
                ["Modified 3 to 9"],
                ["Modified 3 to 1"],
                ["Added 2 to 9"]
            ]
        );
        gone.sort();
        let want = [(1, 1), (2, 9), (3, 1)];
        let want = want.map(|(priority, to)| format!("Removed {priority} to {to} Delete"));
        assert_eq!(gone, want);
        let heard: Vec<Vec<String>> = (0..4).map(|_| next(&mut picky)).collect();
        let want = [
            ["Modified 3 to 9"],
            // It did send there.
            ["Modified 3 to 1"],
            ["Added 2 to 9"],
            ["Removed 2 to 9 Delete"],
        ];
        assert_eq!(heard, want);
        assert!(watcher.barrier().is_empty());
        assert!(picky.barrier().is_empty());
    }
}

#[test]
fn own_changes_are_told_in_order_and_in_short() {
    let Some((place, _daemon)) = start("own") else {
        return;
    };
    for version in Version::ALL {
        let mut peer = Peer::mgmt(&place, version);
        let without = MonitorFlags(ALL.0 & !MonitorFlags::INITIAL.0);
        peer.send(1, &watch(vec![monitor(1, without, FlowSelect::default())]));
        peer.send(2, &add(rule(1, 1)));
        peer.send(3, &add(rule(place::REFUSED, 1)));
        peer.send(4, &add(rule(2, 2)));
        peer.send(5, &delete(Match::any()));
        let before = peer.barrier();
        assert_eq!(errors(&before[2..3]), [(3, ErrorCode::FmfcOverlap)]);
        let mut words = all_told(&before);
        words.remove(2);
        let none: &[&str] = &[];
        assert_eq!(words, [none, &["own 2"], &["own 4"], &["own 5"]]);

        // A monitor that wants its own changes in full.
        let end = if version >= Version::V14 {
            let mut end = monitor(1, MonitorFlags::default(), FlowSelect::default());
            end.command = MonitorCommand::Delete;
            watch(vec![end])
        } else {
            Message::FlowMonitorCancel(1)
        };
        peer.send(6, &end);
        let flags = without.with(own(version));
        peer.send(7, &watch(vec![monitor(1, flags, FlowSelect::default())]));
        peer.send(8, &add(rule(1, 1)));
        peer.send(9, &delete(Match::any()));
        let words = all_told(&peer.barrier());
        let told: Vec<&String> = words.iter().flatten().collect();
        assert_eq!(told, ["Added 1 to 1", "Removed 1 to 1 Delete"]);
        // Without instructions, and nothing at all when it has ended.
        peer.send(10, &end);
        let bare = MonitorFlags::ADD.with(own(version));
        peer.send(11, &watch(vec![monitor(2, bare, FlowSelect::default())]));
        peer.send(12, &add(rule(1, 1)));
        peer.send(13, &delete(Match::any()));
        let words = all_told(&peer.barrier());
        assert_eq!(words.concat(), ["Added 1"]);
    }
}

#[test]
fn wrong_monitors_are_refused() {
    let Some((place, _daemon)) = start("wrong") else {
        return;
    };
    for version in Version::ALL {
        let mut peer = Peer::mgmt(&place, version);
        let any = FlowSelect::default;
        let silent = monitor(1, MonitorFlags::INITIAL, any());
        peer.send(1, &watch(vec![silent]));
        peer.send(2, &watch(vec![monitor(1, ALL, any())]));
        // The second is there already, so the first is not made either.
        peer.send(
            3,
            &watch(vec![monitor(7, ALL, any()), monitor(1, ALL, any())]),
        );
        peer.send(4, &watch(vec![monitor(7, ALL, any())]));
        if version < Version::V14 {
            peer.send(5, &Message::FlowMonitorCancel(9));
        } else {
            let mut other = monitor(9, ALL, any());
            other.command = MonitorCommand::Modify;
            peer.send(5, &watch(vec![other]));
        }
        let mut before = peer.barrier();
        before.retain(|decoded| matches!(decoded.message, Message::Error(_)));
        let want = [
            (1, ErrorCode::MofcBadFlags),
            (3, ErrorCode::MofcMonitorExists),
            (5, ErrorCode::MofcUnknownMonitor),
        ];
        assert_eq!(errors(&before), want);
    }
}

#[test]
fn a_failed_bundle_is_no_news_and_a_made_one_is_told_at_once() {
    use vswitch_openflow::bundle::{BundleAdd, BundleCommand, BundleControl, BundleFlags};
    let Some((place, _daemon)) = start("atonce") else {
        return;
    };
    let version = Version::V14;
    let mut watcher = Peer::mgmt(&place, version);
    watcher.send(1, &watch(vec![monitor(1, ALL, FlowSelect::default())]));
    assert_eq!(next(&mut watcher), [""; 0]);
    let mut author = Peer::mgmt(&place, version);
    let flags = BundleFlags::ATOMIC.with(BundleFlags::ORDERED);
    let control = |command| {
        Message::BundleControl(BundleControl {
            bundle: 3,
            command,
            flags,
        })
    };
    for last in [place::REFUSED, 3] {
        author.send(1, &control(BundleCommand::OpenRequest));
        for (xid, rule) in (11..).zip([rule(1, 1), rule(2, 2), rule(last, 3)]) {
            let inner = BundleAdd::new(3, flags, &add(rule), version, xid).expect("a message");
            author.send(xid, &Message::BundleAdd(inner));
        }
        author.send(20, &control(BundleCommand::CommitRequest));
    }
    author.barrier();
    let want = [1, 2, 3].map(|priority| format!("Added {priority} to 1"));
    assert_eq!(next(&mut watcher), want);
    assert!(watcher.barrier().is_empty());
}

/// The flows that a peer knows of who does as it is told.
#[derive(Default)]
struct Known {
    flows: std::collections::BTreeMap<(u16, u128), u32>,
    pauses: usize,
    over: usize,
}

impl Known {
    fn hear(&mut self, decoded: &Decoded) {
        match &decoded.message {
            Message::FlowMonitorPaused => self.pauses += 1,
            Message::FlowMonitorResumed => self.over += 1,
            Message::MultipartReply(Reply::FlowMonitor(updates), _) => {
                updates.iter().for_each(|update| self.update(update));
            }
            other => panic!("no news: {other:?}"),
        }
    }

    fn update(&mut self, update: &FlowUpdate) {
        match update {
            FlowUpdate::Paused => self.pauses += 1,
            FlowUpdate::Resumed => self.over += 1,
            FlowUpdate::Own(_) => panic!("it changed nothing"),
            FlowUpdate::Flow(news) => {
                let key = (news.priority, news.matches.field(Field::InPort).0);
                let to = match *news.instructions.apply {
                    [Action::Output(OfPort(port))] => port,
                    ref other => panic!("{other:?}"),
                };
                match news.event {
                    FlowEvent::Removed => {
                        assert_eq!(news.reason, Some(RemovedReason::Delete));
                        let known = self.flows.remove(&key);
                        assert!(known.is_some(), "{key:?} was not known");
                    }
                    FlowEvent::Modified => {
                        assert!(self.flows.insert(key, to).is_some(), "{key:?}");
                    }
                    FlowEvent::Added | FlowEvent::Initial => {
                        self.flows.insert(key, to);
                    }
                }
            }
        }
    }
}

/// A peer that reads nothing for a while gets a pause, and knows all flows after it.
#[test]
fn a_slow_peer_gets_a_pause_and_misses_nothing() {
    let Some((place, _daemon)) = start("pause") else {
        return;
    };
    for version in Version::ALL {
        let mut watcher = Peer::mgmt(&place, version);
        let mut known = Known::default();
        watcher.send(1, &watch(vec![monitor(1, ALL, FlowSelect::default())]));
        known.hear(&watcher.next());
        let mut author = Peer::mgmt(&place, version);
        let to = |priority, port, to| FlowRule {
            instructions: Instructions::apply(vec![Action::Output(OfPort(to))]),
            ..rule(priority, port)
        };
        // Far more than what sockets and queues hold.
        for port in 1..=12_000 {
            author.send(port, &add(to(1, port, 1)));
            if port % 1000 == 0 {
                author.barrier();
            }
        }
        for port in (1..=12_000).step_by(70) {
            author.send(port, &modify(version, to(1, port, 2)));
        }
        for port in (1..=12_000).step_by(50) {
            author.send(port, &delete(Match::any().with(Field::InPort, port.into())));
        }
        assert!(author.barrier().is_empty());
        while known.pauses == 0 || known.over < known.pauses {
            known.hear(&watcher.next());
        }
        for decoded in watcher.barrier() {
            known.hear(&decoded);
        }
        assert_eq!(known.pauses, known.over);
        let want = (1..=12_000_u32).filter(|port| port % 50 != 1);
        let want = want.map(|port| ((1, u128::from(port)), if port % 70 == 1 { 2 } else { 1 }));
        assert!(known.flows.into_iter().eq(want), "it knows what is there");
        author.send(1, &delete(Match::any()));
        author.barrier();
    }
}
