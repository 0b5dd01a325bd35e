//! The control process as a process: started, asked, killed, started again.

#![allow(
    clippy::disallowed_methods,
    reason = "real processes take real time, and the kernel tells vswitchd and not us"
)]

mod place;

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vswitch_dpapi::conntrack::CtTimeout;
use vswitch_dpapi::message::{Reply, Request, State};
use vswitch_dpapi::{Connection, CtSettings};

use place::{Daemon, Place, ip, until};

/// Not a test: the datapath's double, when a script says so.
#[test]
fn double() {
    place::double();
}

#[test]
fn bridges_and_taps_come_and_go_with_their_devices() {
    let Some(mut place) = Place::new("tap") else {
        return;
    };
    let blue = place.other("blue");
    let daemon = place.start();
    daemon.ok("add-br", json!({"name": "br0"}));
    let local = place.own("br0").expect("LOCAL's device");
    assert_eq!(local["linkinfo"]["info_kind"], "tun");

    let options = json!({"type": "tap", "mtu": "1400", "addr": "02:00:00:00:00:07"});
    let added = daemon.ok(
        "add-port",
        json!({"bridge": "br0", "name": "t1", "options": options}),
    );
    assert_eq!(added["of_port"], 1);
    let device = place.own("t1").expect("the device");
    assert_eq!(
        (&device["mtu"], &device["address"]),
        (&json!(1400), &json!("02:00:00:00:00:07"))
    );

    // Made in another namespace under another name, and up there.
    let options = json!({"netns": blue, "ifname": "eth0", "of_port": "9"});
    let added = daemon.ok(
        "add-port",
        json!({"bridge": "br0", "name": "t2", "options": options}),
    );
    assert_eq!(
        (&added["of_port"], &added["kind"]),
        (&json!(9), &json!("tap"))
    );
    assert!(
        added["why"].as_str().unwrap().contains("a TAP was made"),
        "{added}"
    );
    let device = place.link(&blue, "eth0").expect("moved");
    assert!(device["flags"].as_array().unwrap().contains(&json!("UP")));
    let port = daemon.port("br0", "t2");
    assert_eq!(
        (&port["state"], &port["detail"]["netns"]),
        (&json!("up"), &json!(blue))
    );

    assert_eq!(
        daemon.ok("list-ports", json!({"bridge": "br0"})),
        json!(["t1", "t2"])
    );
    daemon.ok("del-port", json!({"bridge": "br0", "name": "t2"}));
    assert_eq!(place.link(&blue, "eth0"), None);
    daemon.ok("del-br", json!({"name": "br0"}));
    assert_eq!(place.own("br0"), None);
    assert_eq!(place.own("t1"), None);
    assert_eq!(daemon.ok("list-br", json!({})), json!([]));
}

#[test]
fn a_refused_change_leaves_nothing_behind() {
    let Some(place) = Place::new("refuse") else {
        return;
    };
    let daemon = place.start();
    daemon.ok("add-br", json!({"name": "br0"}));
    let add = |name: &str, options: Value| {
        daemon.refused(
            "add-port",
            json!({"bridge": "br0", "name": name, "options": options}),
        )
    };
    assert_eq!(
        add("bad0", json!({"type": "afxdp", "n_rxq": "42"})),
        "there is no device bad0"
    );
    assert_eq!(
        add("bad0", json!({"type": "packet"})),
        "there is no device bad0"
    );
    assert!(add("t0", json!({"netns": "nowhere-at-all"})).contains("nowhere-at-all"));
    assert!(add("lo", json!({"type": "packet"})).contains("it is the loopback device"));
    assert!(add("t0", json!({"type": "tap", "mtu": "65535"})).contains("MTU"));
    assert_eq!(place.own("t0"), None, "taken back");
    // The datapath's own refusal, after the device was made and the store written.
    assert_eq!(
        add("refuseme", json!({"type": "tap"})),
        "the double refuses this name"
    );
    assert_eq!(place.own("refuseme"), None);
    assert_eq!(daemon.ok("list-ports", json!({"bridge": "br0"})), json!([]));
    // And the name is free again.
    place.ip("link add v0 type veth peer name v1");
    assert!(add("v0", json!({"type": "tap"})).contains("v0"));
    daemon.ok(
        "add-port",
        json!({"bridge": "br0", "name": "v0", "options": {}}),
    );
    let taken = add("again", json!({"ifname": "v0"}));
    assert_eq!(taken, "the device v0 belongs to the port v0 already");
    assert_eq!(daemon.port("br0", "v0")["kind"], "packet");
}

#[test]
fn the_control_process_may_be_killed() {
    let Some(place) = Place::new("kill") else {
        return;
    };
    let daemon = place.start();
    daemon.ok("add-br", json!({"name": "br0"}));
    daemon.ok(
        "add-port",
        json!({"bridge": "br0", "name": "t1", "options": {"type": "tap"}}),
    );
    daemon.ok(
        "add-flow",
        json!({"bridge": "br0", "flow": "priority=7,in_port=t1,actions=drop"}),
    );
    place.ip("link set t1 up");
    let before = place.own("t1").expect("there");
    let pid = daemon.datapath_pid();
    daemon.kill();
    let meanwhile = place.own("t1").expect("the datapath holds it");
    assert_eq!(meanwhile["ifindex"], before["ifindex"]);

    let daemon = place.start();
    assert_eq!(daemon.datapath_pid(), pid, "adopted");
    let after = place.own("t1").expect("there");
    assert_eq!(
        (&after["ifindex"], &after["operstate"]),
        (&before["ifindex"], &before["operstate"])
    );
    assert_eq!(daemon.port("br0", "t1")["state"], "up");
    let flows = daemon.ok("dump-flows", json!({"bridge": "br0"}));
    assert_eq!(flows.as_array().expect("a list").len(), 2);
    assert_eq!(flows[0]["priority"], 7);

    // What was adopted is held as what was made: the device outlives the datapath.
    kill(pid.expect("it runs"));
    until("a new datapath", || {
        let now = daemon.datapath_pid();
        (now.is_some() && now != pid).then_some(())
    });
    assert_eq!(
        place.own("t1").expect("there")["ifindex"],
        before["ifindex"]
    );
}

fn kill(pid: u64) {
    let pid = rustix::process::Pid::from_raw(pid as i32).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
}

#[test]
fn the_datapath_may_be_killed() {
    let Some(place) = Place::new("dpkill") else {
        return;
    };
    place.ip("link add v0 type veth peer name v1");
    place.ip("link add x0 type veth peer name x1");
    let daemon = place.start();
    daemon.ok("add-br", json!({"name": "br0"}));
    for (name, kind) in [
        ("t1", "tap"),
        ("v0", "packet"),
        ("x0", "afxdp"),
        ("n", "null"),
    ] {
        let options = json!({"type": kind});
        daemon.ok(
            "add-port",
            json!({"bridge": "br0", "name": name, "options": options}),
        );
    }
    place.ip("link set t1 up");
    let ifindex = place.own("t1").expect("there")["ifindex"].clone();
    for _ in 0..3 {
        let pid = daemon.datapath_pid().expect("it runs");
        let killed = Instant::now();
        kill(pid);
        until("a new datapath", || {
            let now = daemon.datapath_pid();
            (now.is_some() && now != Some(pid)).then_some(())
        });
        assert!(
            killed.elapsed() < Duration::from_secs(1),
            "{:?}",
            killed.elapsed()
        );
        let device = place.own("t1").expect("held by us");
        assert_eq!(device["ifindex"], ifindex);
        let flags = device["flags"].as_array().expect("a list");
        assert!(flags.contains(&json!("LOWER_UP")), "{device}");
        // A change goes to the new one.
        daemon.ok(
            "set-port",
            json!({"bridge": "br0", "name": "t1", "options": {"tag": "5"}}),
        );
    }
    let state = dump(&place);
    assert_eq!(state.attached.len(), 5, "{state:?}");
    assert!(daemon.port("br0", "x0")["error"].is_null());
}

/// What the datapath holds.
#[test]
fn how_connections_are_tracked_is_remembered_and_told_to_every_datapath() {
    let Some(place) = Place::new("track") else {
        return;
    };
    let daemon = place.start();
    let dpctl = |daemon: &Daemon, command: &str, args: &[&str]| {
        daemon.ok("dpctl", json!({"command": command, "args": args}))
    };
    assert_eq!(dump(&place).conntrack, CtSettings::default());
    dpctl(&daemon, "ct-set-limits", &["default=4", "zone=5,limit=6"]);
    dpctl(&daemon, "ct-set-timeout", &["zone=5", "udp_first=7"]);
    dpctl(&daemon, "ipf-set-disabled", &["v6"]);
    let mut settings = CtSettings {
        default_limit: 4,
        ..CtSettings::default()
    };
    settings.limits.insert(5, 6);
    settings
        .zone_timeouts
        .insert(5, [(CtTimeout::UdpFirst, 7)].into());
    settings.fragments_v6.collect = false;
    assert_eq!(dump(&place).conntrack, settings);

    // What the datapath refuses has changed nothing.
    let refused = daemon.refused(
        "dpctl",
        json!({"command": "ct-set-maxconns", "args": ["666"]}),
    );
    assert_eq!(refused, "the double refuses this number");
    assert_eq!(dump(&place).conntrack, settings);
    let max = dpctl(&daemon, "ct-get-maxconns", &[]);
    assert_eq!(max, json!({"max_connections": 3_000_000}));

    // Neither knows it of the other.
    let pid = daemon.datapath_pid();
    daemon.kill();
    kill(pid.expect("it runs"));
    let daemon = place.start();
    assert_ne!(daemon.datapath_pid(), pid);
    assert_eq!(dump(&place).conntrack, settings);
    let whole = "ct_nw_src=10.1.1.1,ct_nw_dst=10.1.1.2,ct_nw_proto=6,ct_tp_src=1,ct_tp_dst=2";
    let flushed = dpctl(&daemon, "flush-conntrack", &["zone=5", whole]);
    assert_eq!(flushed, json!({"flushed": 1}));
    let refused = daemon.refused(
        "dpctl",
        json!({"command": "flush-conntrack", "args": [whole]}),
    );
    let none = "ovs-vswitchd: failed to flush conntrack (No such file or directory)";
    assert_eq!(refused, none);
    let refused = daemon.refused("dpctl", json!({"command": "show", "args": []}));
    assert!(
        refused.starts_with("\"dpctl/show\" is not a valid command"),
        "{refused}"
    );
}

fn dump(place: &Place) -> State {
    let stream = UnixStream::connect(place.rundir().join("datapath.sock")).expect("it listens");
    let mut connection = Connection::new(stream);
    connection.send(&Request::State, &[]).expect("sent");
    match connection.receive().expect("answered").0 {
        Reply::State(state) => *state,
        other => panic!("{other:?}"),
    }
}

#[test]
fn shutdown_gives_everything_back_and_sigterm_nothing() {
    let Some(place) = Place::new("end") else {
        return;
    };
    place.ip("link add v0 type veth peer name v1");
    let mut daemon = place.start();
    daemon.ok("add-br", json!({"name": "br0"}));
    let options = json!({"type": "afxdp"});
    daemon.ok(
        "add-port",
        json!({"bridge": "br0", "name": "v0", "options": options}),
    );
    assert!(place.own("v0").expect("there").get("xdp").is_some());
    let pid = rustix::process::Pid::from_child(&daemon.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("told");
    assert!(daemon.child.wait().expect("ended").success());
    assert!(place.own("br0").is_some());
    assert!(place.own("v0").expect("there").get("xdp").is_some());

    let mut daemon = place.start();
    daemon.ok("shutdown", json!({}));
    assert!(daemon.child.wait().expect("ended").success());
    assert_eq!(place.own("br0"), None);
    assert!(place.own("v0").expect("veths stay").get("xdp").is_none());
    assert!(UnixStream::connect(place.rundir().join("datapath.sock")).is_err());

    // What should be is still known.
    let daemon = place.start();
    assert!(place.own("br0").is_some());
    assert_eq!(daemon.port("br0", "v0")["kind"], "afxdp");
    daemon.ok("shutdown", json!({}));
}

#[test]
fn a_second_one_is_refused_with_the_number_of_the_first() {
    let Some(place) = Place::new("second") else {
        return;
    };
    let daemon = place.start();
    let output = place.command().output().expect("run");
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    let pid = daemon.child.id();
    assert!(error.contains(&format!("process {pid}")), "{error}");
    assert_eq!(
        daemon.ok("list-br", json!({})),
        json!([]),
        "the first goes on"
    );
    daemon.ok("shutdown", json!({}));
}

#[test]
fn a_veth_is_followed_into_another_namespace_and_over_a_restart() {
    let Some(mut place) = Place::new("follow") else {
        return;
    };
    let blue = place.other("blue");
    place.ip("link add v0 type veth peer name v1");
    place.ip("link add x0 type veth peer name x1");
    let daemon = place.start();
    daemon.ok("add-br", json!({"name": "br0"}));
    for (name, kind) in [("v0", "packet"), ("x0", "afxdp")] {
        let options = json!({"type": kind});
        daemon.ok(
            "add-port",
            json!({"bridge": "br0", "name": name, "options": options}),
        );
    }
    for name in ["v0", "x0"] {
        place.ip(&format!("link set {name} netns {blue} name {name}new"));
    }
    let follow = |daemon: &Daemon| {
        for name in ["v0", "x0"] {
            until("the port in its new place", || {
                let port = daemon.port("br0", name);
                let (detail, new) = (&port["detail"], format!("{name}new"));
                let there = detail["netns"] == blue.as_str() && detail["device"] == new.as_str();
                (there && port["error"].is_null()).then_some(())
            });
        }
    };
    follow(&daemon);
    let attached = dump(&place).attached.len();
    assert_eq!(attached, 3);
    daemon.kill();
    let daemon = place.start();
    follow(&daemon);
    assert_eq!(dump(&place).attached.len(), 3);
    daemon.ok("shutdown", json!({}));
}

#[test]
fn devices_may_be_moved_renamed_set_down_deleted_and_made_again() {
    let Some(mut place) = Place::new("change") else {
        return;
    };
    let blue = place.other("blue");
    place.ip("link add v0 type veth peer name v1");
    place.ip("link set v1 up");
    let daemon = place.start();
    daemon.ok("add-br", json!({"name": "br0"}));
    for (name, kind) in [("t1", "tap"), ("v0", "packet")] {
        let options = json!({"type": kind});
        daemon.ok(
            "add-port",
            json!({"bridge": "br0", "name": name, "options": options}),
        );
    }
    let detail = |name: &str, key: &str| daemon.port("br0", name)["detail"][key].clone();
    let state = |name: &str| daemon.port("br0", name)["state"].clone();

    place.ip(&format!("link set t1 netns {blue} name eth0"));
    until("the move", || {
        (detail("t1", "netns") == blue.as_str()).then_some(())
    });
    assert_eq!(detail("t1", "device"), "eth0");
    assert_eq!(state("t1"), "down");
    ip(&format!("-n {blue} link set eth0 up mtu 1300"));
    until("up", || (state("t1") == "up").then_some(()));
    until("the MTU", || (detail("t1", "mtu") == "1300").then_some(()));
    let told = || {
        let ports = dump(&place).desired.ports;
        let port = ports.into_iter().find(|port| port.name == "t1");
        port.map(|port| (port.mtu, port.up))
    };
    until("the datapath's news", || {
        (told() == Some((1300, true))).then_some(())
    });

    until("up", || (state("v0") == "up").then_some(()));
    place.ip("link set v0 down");
    until("down", || (state("v0") == "down").then_some(()));
    place.ip("link set v0 name other0");
    until("the new name", || {
        (detail("v0", "device") == "other0").then_some(())
    });
    place.ip("link del other0");
    until("its end", || (state("v0") == "missing").then_some(()));
    place.ip("link add v0 type veth peer name v1");
    place.ip("link set v1 up");
    until("its return", || (state("v0") == "up").then_some(()));
    let id = dump(&place)
        .desired
        .ports
        .iter()
        .find(|port| port.name == "v0")
        .map(|p| p.id);
    assert!(dump(&place).attached.contains(&id.expect("it is there")));

    ip(&format!("netns del {blue}"));
    until("the end of the TAP", || (state("t1") != "up").then_some(()));
    daemon.ok("del-br", json!({"name": "br0"}));
    daemon.ok("shutdown", json!({}));
}
