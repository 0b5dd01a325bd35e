//! What tests of the control process stand on: a namespace, a run directory, and a datapath's double.
//!
//! The double is the test program run again by a script. It keeps what it is told and the descriptors
//! it is given, and moves no packet: one that is sent out comes back as a packet for the controller.
//! Devices are real, so these tests need root and are skipped without.

#![allow(
    clippy::disallowed_methods,
    reason = "real processes take real time, and the kernel tells vswitchd and not us"
)]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "a part of each test program, none of which needs all of it"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vswitch_dpapi::message::{FlowStats, PollMode, PortStats, Reply, Request, State};
use vswitch_dpapi::{
    Attachment, Change, ChangeRefusal, Connection, CtSettings, Desired, Event, PacketIn, PortId,
};
use vswitch_flow::Match;
use vswitch_flow::action::Reason;
use vswitchd::openflow::tables::Tables;

const DOUBLE: &str = "VSWITCH_TEST_DATAPATH_SOCKET";

/// How long anything may take that takes milliseconds.
pub const LONG: Duration = Duration::from_secs(20);

// ---------------------------------------------------------------- the double

#[derive(Default)]
struct Held {
    desired: Desired,
    ports: BTreeMap<PortId, (Attachment, Vec<OwnedFd>)>,
    tables: BTreeMap<u32, Tables>,
    conntrack: CtSettings,
    /// Connections that are told what happens.
    listeners: Vec<mpsc::Sender<Event>>,
}

/// The priority of flows that the double refuses.
pub const REFUSED: u16 = 666;

/// The datapath's double, when the script says so; every test program has a test of this name.
pub fn double() {
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
            let mut more = Vec::new();
            while let Ok((request, fds)) = connection.receive::<Request>() {
                if request == Request::Events {
                    let (sender, events) = mpsc::channel();
                    held.lock().expect("no panic").listeners.push(sender);
                    connection.send(&Reply::Done, &[]).expect("answered");
                    for event in events {
                        let told = connection.send(&Reply::Event(Box::new(event)), &[]);
                        if told.is_err() {
                            return;
                        }
                    }
                    return;
                }
                if let Some(reply) = page(&held.lock().expect("no panic"), &mut more, &request) {
                    connection.send(&reply, &[]).expect("answered");
                    continue;
                }
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
            conntrack: held.conntrack.clone(),
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
            let refused = |change: &Change| match change {
                Change::Flow(change) => change.rule.priority == REFUSED,
                Change::Group(_) | Change::Meter(_) => false,
            };
            if let Some(at) = changes.iter().position(refused) {
                let reply = Reply::ChangeRefused {
                    at: at as u32,
                    why: ChangeRefusal::Overlap,
                };
                return (reply, Vec::new());
            }
            let tables = held.tables.entry(bridge.0).or_default();
            for change in changes {
                tables.apply(change, None);
            }
            Reply::Done
        }
        Request::PacketOut {
            bridge,
            in_port,
            packet,
            ..
        } => {
            let event = Event::PacketIn(Box::new(PacketIn {
                bridge,
                reason: Reason::Action,
                implicit_miss: false,
                table: 0,
                cookie: u64::MAX,
                controller: 0,
                max_len: 0xffff,
                in_port,
                packet,
                fields: Match::any(),
                userdata: Vec::new(),
                continuation: None,
                lost: 0,
            }));
            held.listeners
                .retain(|listener| listener.send(event.clone()).is_ok());
            Reply::Done
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
        Request::SetConntrack(settings) if settings.max_connections == u32::from(REFUSED) => {
            Reply::Refused {
                why: "the double refuses this number".into(),
            }
        }
        Request::SetConntrack(settings) => {
            held.conntrack = *settings;
            Reply::Done
        }
        Request::FlushConnections(filter) => Reply::Flushed(u64::from(filter.zone == Some(5))),
        Request::ConnectionStats => Reply::ConnectionStats(Box::default()),
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

/// Flows, as many as are asked for at a time.
fn page(held: &Held, more: &mut Vec<FlowStats>, request: &Request) -> Option<Reply> {
    let max = match request {
        Request::Flows {
            bridge,
            select,
            max,
        } => {
            let flows = held.tables.get(&bridge.0).map(Tables::flows);
            let flows = flows
                .into_iter()
                .flatten()
                .filter(|flow| select.selects(flow));
            *more = flows
                .map(|flow| FlowStats {
                    flow,
                    packets: 0,
                    bytes: 0,
                    age_ms: 0,
                    idle_ms: None,
                })
                .collect();
            *max
        }
        Request::MoreFlows { max } => *max,
        _ => return None,
    };
    let rows = more.drain(..more.len().min(max as usize)).collect();
    let more = !more.is_empty();
    Some(Reply::Flows { rows, more })
}

// ---------------------------------------------------------------- the place

/// A network namespace of its own, and a run directory.
pub struct Place {
    dir: tempfile::TempDir,
    netns: String,
    /// Further namespaces to remove at the end.
    others: Vec<String>,
}

pub fn ip(words: &str) {
    let output = Command::new("ip")
        .args(words.split(' '))
        .output()
        .expect("ip is installed");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {words}: {error}");
}

impl Place {
    /// `None` without root.
    pub fn new(name: &str) -> Option<Self> {
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

    pub fn other(&mut self, name: &str) -> String {
        let netns = format!("{}-{name}", self.netns);
        ip(&format!("netns add {netns}"));
        self.others.push(netns.clone());
        netns
    }

    pub fn rundir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// Does something on a thread of this namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.netns);
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let netns = std::fs::File::open(path).expect("the namespace");
                let kind = Some(rustix::thread::LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(netns.as_fd(), kind).expect("entered");
                work()
            });
            inside.join().expect("no panic")
        })
    }

    pub fn ip(&self, words: &str) {
        ip(&format!("-n {} {words}", self.netns));
    }

    /// What `ip -j link show DEV` says in this namespace, or nothing.
    pub fn link(&self, netns: &str, name: &str) -> Option<Value> {
        let output = Command::new("ip")
            .args(["-n", netns, "-j", "-d", "link", "show", name])
            .output()
            .expect("ip is installed");
        let links: Value = serde_json::from_slice(&output.stdout).ok()?;
        links.get(0).cloned()
    }

    pub fn own(&self, name: &str) -> Option<Value> {
        self.link(&self.netns, name)
    }

    pub fn command(&self) -> Command {
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
    pub fn start(&self) -> Daemon {
        let mut child = self.command().spawn().expect("started");
        let stderr = child.stderr.take().expect("piped");
        let (ready, said) = mpsc::channel();
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

pub struct Daemon {
    pub child: Child,
    socket: PathBuf,
    log: Arc<Mutex<String>>,
}

impl Daemon {
    pub fn log(&self) -> String {
        self.log.lock().expect("no panic").clone()
    }

    pub fn call(&self, method: &str, params: Value) -> Result<Value, Value> {
        call(&self.socket, method, params)
    }

    /// A call that must succeed.
    pub fn ok(&self, method: &str, params: Value) -> Value {
        self.call(method, params).unwrap_or_else(|error| {
            panic!("{method}: {error}\n{}", self.log());
        })
    }

    /// A call that must be refused; the sentence.
    pub fn refused(&self, method: &str, params: Value) -> String {
        let error = self.call(method, params).expect_err("it must be refused");
        error["message"].as_str().expect("a sentence").into()
    }

    pub fn port(&self, bridge: &str, name: &str) -> Value {
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

    pub fn datapath_pid(&self) -> Option<u64> {
        self.ok("show", json!({}))["datapath"]["pid"].as_u64()
    }

    pub fn kill(mut self) {
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

pub fn call(socket: &Path, method: &str, params: Value) -> Result<Value, Value> {
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
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
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
