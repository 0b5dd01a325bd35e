//! The control process as a process: started, asked, killed, started again.
//!
//! The datapath is a double: this test program run again by a script, which keeps what it is told
//! and the descriptors it is given, and moves no packet. Devices are real, in a namespace made for
//! each test, so these tests need root and are skipped without.

#![allow(
    clippy::disallowed_methods,
    reason = "real processes take real time, and the kernel tells vswitchd and not us"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vswitch_dpapi::message::{FlowStats, PollMode, PortStats, Reply, Request, State};
use vswitch_dpapi::{Attachment, Connection, Desired, PortId};
use vswitchd::openflow::tables::Tables;

const DOUBLE: &str = "VSWITCH_TEST_DATAPATH_SOCKET";

/// How long anything may take that takes milliseconds.
const LONG: Duration = Duration::from_secs(20);

// ---------------------------------------------------------------- the double

#[derive(Default)]
struct Held {
    desired: Desired,
    ports: BTreeMap<PortId, (Attachment, Vec<OwnedFd>)>,
    tables: BTreeMap<u32, Tables>,
}

/// Not a test: the datapath's double, when the script says so.
#[test]
fn double() {
    let Some(path) = std::env::var_os(DOUBLE) else {
        return;
    };
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).expect("a socket for the double");
    let held = Arc::new(Mutex::new(Held::default()));
    for stream in listener.incoming() {
        let held = Arc::clone(&held);
        std::thread::spawn(move || {
            let mut connection = Connection::new(stream.expect("a connection"));
            while let Ok((request, fds)) = connection.receive::<Request>() {
                let last = request == Request::Shutdown;
                let (reply, fds) = answer(&mut held.lock().expect("no panic"), request, fds);
                let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
                connection.send(&reply, &fds).expect("answered");
                if last {
                    std::process::exit(0);
                }
            }
        });
    }
}

fn answer(held: &mut Held, request: Request, fds: Vec<OwnedFd>) -> (Reply, Vec<OwnedFd>) {
    let copy = |fds: &[OwnedFd]| -> Vec<OwnedFd> {
        fds.iter().map(|fd| fd.try_clone().expect("dup")).collect()
    };
    let reply = match request {
        Request::Hello { version } => Reply::Hello {
            version,
            pid: std::process::id(),
        },
        Request::State => Reply::State(Box::new(State {
            uptime: 0,
            desired: held.desired.clone(),
            attached: held.ports.keys().copied().collect(),
            poll: PollMode::Adaptive,
        })),
        Request::SetDesired(desired) => {
            if desired.ports.iter().any(|port| port.name == "refuseme") {
                let why = "the double refuses this name".into();
                return (Reply::Refused { why }, Vec::new());
            }
            held.desired = *desired;
            let ids: Vec<PortId> = held.desired.ports.iter().map(|port| port.id).collect();
            held.ports.retain(|id, _| ids.contains(id));
            let has = |id: &PortId| held.ports.contains_key(id);
            Reply::Applied {
                unattached: ids.into_iter().filter(|id| !has(id)).collect(),
            }
        }
        Request::Attach { port, attachment } => {
            held.ports.insert(port, (attachment, fds));
            Reply::Done
        }
        Request::Detach { port } => {
            held.ports.remove(&port);
            Reply::Done
        }
        Request::Export { port } => match held.ports.get(&port) {
            Some((attachment, fds)) => {
                return (Reply::Attachment(attachment.clone()), copy(fds));
            }
            None => Reply::Refused {
                why: "not attached".into(),
            },
        },
        Request::SetTables { bridge, flows, .. } => {
            held.tables.insert(bridge.0, Tables::with_flows(flows));
            Reply::Done
        }
        Request::Change { bridge, changes } => {
            let tables = held.tables.entry(bridge.0).or_default();
            changes.into_iter().for_each(|change| tables.apply(change));
            Reply::Done
        }
        Request::Flows { bridge, .. } => {
            let flows = held.tables.get(&bridge.0).map(Tables::flows);
            let rows = flows.into_iter().flatten().cloned().map(|flow| FlowStats {
                flow,
                packets: 0,
                bytes: 0,
                age_ms: 0,
                idle_ms: None,
            });
            Reply::Flows {
                rows: rows.collect(),
                more: false,
            }
        }
        Request::Ports => Reply::Ports(
            held.ports
                .keys()
                .map(|port| PortStats {
                    port: *port,
                    attached: true,
                    workers: vec![0],
                    detail: String::new(),
                    counters: Default::default(),
                })
                .collect(),
        ),
        Request::Workers => Reply::Workers(Vec::new()),
        Request::Drops => Reply::Drops(Vec::new()),
        Request::Fdb { .. } => Reply::Fdb(Vec::new()),
        Request::FdbStats { .. } => Reply::FdbStats(Default::default()),
        Request::Shutdown => Reply::Done,
        _ => Reply::Refused {
            why: "the double knows nothing of it".into(),
        },
    };
    (reply, Vec::new())
}

// ---------------------------------------------------------------- the place

/// A network namespace of its own, and a run directory.
struct Place {
    dir: tempfile::TempDir,
    netns: String,
    /// Further namespaces to remove at the end.
    others: Vec<String>,
}

fn ip(words: &str) {
    let output = Command::new("ip")
        .args(words.split(' '))
        .output()
        .expect("ip is installed");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {words}: {error}");
}

impl Place {
    /// `None` without root.
    fn new(name: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: it needs root");
            return None;
        }
        let netns = format!("vsctrl-{name}-{}", std::process::id());
        ip(&format!("netns add {netns}"));
        ip(&format!("-n {netns} link set lo up"));
        let place = Self {
            dir: tempfile::tempdir().expect("a directory"),
            netns,
            others: Vec::new(),
        };
        let script = place.dir.path().join("datapath");
        let exe = std::env::current_exe().expect("our own path");
        let text = format!(
            "#!/bin/sh\n{DOUBLE}=\"$2\" exec {} --exact double --nocapture\n",
            exe.display()
        );
        std::fs::write(&script, text).expect("the script");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&script, mode).expect("executable");
        Some(place)
    }

    fn other(&mut self, name: &str) -> String {
        let netns = format!("{}-{name}", self.netns);
        ip(&format!("netns add {netns}"));
        self.others.push(netns.clone());
        netns
    }

    fn rundir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    fn ip(&self, words: &str) {
        ip(&format!("-n {} {words}", self.netns));
    }

    /// What `ip -j link show DEV` says in this namespace, or nothing.
    fn link(&self, netns: &str, name: &str) -> Option<Value> {
        let output = Command::new("ip")
            .args(["-n", netns, "-j", "-d", "link", "show", name])
            .output()
            .expect("ip is installed");
        let links: Value = serde_json::from_slice(&output.stdout).ok()?;
        links.get(0).cloned()
    }

    fn own(&self, name: &str) -> Option<Value> {
        self.link(&self.netns, name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.netns])
            .arg(env!("CARGO_BIN_EXE_vswitchd"))
            .arg("--rundir")
            .arg(self.rundir())
            .arg("--datapath")
            .arg(self.dir.path().join("datapath"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// Starts it and waits until it answers.
    fn start(&self) -> Daemon {
        let mut child = self.command().spawn().expect("started");
        let stderr = child.stderr.take().expect("piped");
        let (ready, said) = std::sync::mpsc::channel();
        let log = Arc::new(Mutex::new(String::new()));
        let copy = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let is_ready = line.contains("ready");
                *copy.lock().expect("no panic") += &format!("{line}\n");
                if is_ready {
                    let _ = ready.send(());
                }
            }
        });
        let daemon = Daemon {
            child,
            socket: self.rundir().join("vswitchd.sock"),
            log,
        };
        if said.recv_timeout(LONG).is_err() {
            panic!("not ready: {}", daemon.log());
        }
        daemon
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The datapath's double outlives its starter on purpose.
        if let Ok(stream) = UnixStream::connect(self.rundir().join("datapath.sock")) {
            let mut connection = Connection::new(stream);
            if connection.send(&Request::Shutdown, &[]).is_ok() {
                let _ = connection.receive::<Reply>();
            }
        }
        for netns in self.others.iter().chain([&self.netns]) {
            let _ = Command::new("ip").args(["netns", "del", netns]).status();
        }
    }
}

struct Daemon {
    child: Child,
    socket: PathBuf,
    log: Arc<Mutex<String>>,
}

impl Daemon {
    fn log(&self) -> String {
        self.log.lock().expect("no panic").clone()
    }

    fn call(&self, method: &str, params: Value) -> Result<Value, Value> {
        call(&self.socket, method, params)
    }

    /// A call that must succeed.
    fn ok(&self, method: &str, params: Value) -> Value {
        self.call(method, params).unwrap_or_else(|error| {
            panic!("{method}: {error}\n{}", self.log());
        })
    }

    /// A call that must be refused; the sentence.
    fn refused(&self, method: &str, params: Value) -> String {
        let error = self.call(method, params).expect_err("it must be refused");
        error["message"].as_str().expect("a sentence").into()
    }

    fn port(&self, bridge: &str, name: &str) -> Value {
        let show = self.ok("show", json!({}));
        let find = |list: &Value, name: &str| -> Value {
            let mut items = list.as_array().expect("a list").iter();
            let found = items.find(|item| item["name"] == name);
            found
                .unwrap_or_else(|| panic!("no {name} in {list}"))
                .clone()
        };
        find(&find(&show["bridges"], bridge)["ports"], name)
    }

    fn datapath_pid(&self) -> Option<u64> {
        self.ok("show", json!({}))["datapath"]["pid"].as_u64()
    }

    fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn call(socket: &Path, method: &str, params: Value) -> Result<Value, Value> {
    let mut stream = UnixStream::connect(socket).expect("it listens");
    stream.set_read_timeout(Some(LONG)).expect("a timeout");
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    writeln!(stream, "{request}").expect("sent");
    let mut line = String::new();
    BufReader::new(stream)
        .read_line(&mut line)
        .expect("answered");
    let answer: Value = serde_json::from_str(&line).expect("JSON");
    match answer.get("error") {
        Some(error) => Err(error.clone()),
        None => Ok(answer["result"].clone()),
    }
}

/// Asks until it is so.
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LONG;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "it never came: {what}");
        // The kernel tells vswitchd and not us, so there is no event to wait for.
        std::thread::sleep(Duration::from_millis(5));
    }
}

// ---------------------------------------------------------------- the tests

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
