//! OpenFlow over TLS with the programs of others: `ovs-ofctl` against our listener, our agent towards
//! `ovs-testcontroller`, files made by `ovs-pki`; and who is turned away.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use tempfile::TempDir;
use vswitch_tests::authority::{Authority, Papers};
use vswitch_tests::process::Switch;
use vswitch_tests::programs::{limited, must};
use vswitch_tests::topology::Kind;
use vswitch_tests::{ovs, wait};

use crate::controllers::{self, Controller};
use crate::failed;

/// Where the switch or the controller listens.
const PORT: &str = "6653";

/// How long a state may take to come about on a busy machine.
const READY: Duration = Duration::from_secs(20);

/// Connections of a listener, as docs/openflow.md has it.
const LINKS_MAX: usize = 512;

/// How long a handshake may take, as docs/openflow.md has it.
const HANDSHAKE: Duration = Duration::from_secs(10);

pub(crate) fn trials() -> Vec<Trial> {
    type Row = (&'static str, fn() -> Result<()>);
    let trials: [Row; 6] = [
        ("clients", clients),
        ("files_of_ovs_pki", files_of_ovs_pki),
        ("strangers_are_turned_away", strangers),
        ("half_handshakes_end", half_handshakes),
        ("controller", controller),
        ("controller_of_another_ca", controller_of_another_ca),
    ];
    let missing = ["ovs-ofctl", "ovs-testcontroller"]
        .into_iter()
        .find(|program| !Path::new("/usr/bin").join(program).exists());
    trials
        .into_iter()
        .map(|(name, trial)| {
            let name = match missing {
                Some(program) => format!("tls/{name} (needs {program})"),
                None => format!("tls/{name}"),
            };
            Trial::test(name, move || trial().map_err(|error| failed(&error)))
                .with_ignored_flag(missing.is_some())
        })
        .collect()
}

/// The options that name these files, of `ovs-ofctl`, `ovs-testcontroller` and `vsctl` alike.
fn options(papers: &Papers) -> Result<[String; 3]> {
    let [key, certificate, ca] = papers.words()?;
    Ok([
        format!("--private-key={key}"),
        format!("--certificate={certificate}"),
        format!("--ca-cert={ca}"),
    ])
}

/// A switch that listens for clients who prove who they are.
struct Listening {
    switch: Switch,
    files: TempDir,
    ca: Authority,
}

impl Listening {
    fn new() -> Result<Self> {
        let files = TempDir::with_prefix_in("tls-", "/run")?;
        let ca = Authority::new(files.path(), "ca")?;
        let ours = ca.sign("switch")?;
        let switch = Switch::start()?;
        listen(&switch, &ours)?;
        Ok(Self { switch, files, ca })
    }

    fn ofctl(&self, papers: &Papers, words: &[&str]) -> Result<String> {
        let options = options(papers)?;
        let mut all = vec!["-O", "OpenFlow13"];
        all.extend(options.iter().map(String::as_str));
        all.extend(words);
        ovs::ofctl(self.switch.rundir(), &all)
    }

    fn vsctl(&self, papers: &Papers, words: &[&str]) -> Result<String> {
        let options = options(papers)?;
        let mut all: Vec<&str> = options.iter().map(String::as_str).collect();
        all.extend(words);
        self.switch.vsctl(&all)
    }
}

/// Makes a bridge that listens over TLS.
fn listen(switch: &Switch, ours: &Papers) -> Result<()> {
    let [key, certificate, ca] = ours.words()?;
    switch.vsctl(&["set-ssl", key, certificate, ca])?;
    switch.vsctl(&["add-br", "br0", "fail_mode=secure"])?;
    let listener = format!("controller=pssl:{PORT}:127.0.0.1");
    switch.vsctl(&["set-br", "br0", &listener])?;
    state(switch, "listening")
}

/// Waits until the controller of the bridge is in this state.
fn state(switch: &Switch, word: &str) -> Result<()> {
    wait::until(READY, &format!("the controller is {word}"), || {
        let shown = switch.vsctl(&["show"])?;
        let line = shown.lines().find(|line| line.contains("controller "));
        let line = line.context("no controller is shown")?;
        ensure!(line.contains(&format!(": {word}")), "it shows {shown}");
        Ok(Some(()))
    })
}

fn target() -> String {
    format!("ssl:127.0.0.1:{PORT}")
}

/// A load that does not fit one record, or one write, in either direction.
fn load(count: u32) -> String {
    let flow = |i: u32| format!("priority={},in_port={i},actions=output:1\n", i % 1000 + 1);
    (1..=count).map(flow).collect()
}

fn clients() -> Result<()> {
    const FLOWS: u32 = 20_000;
    let place = Listening::new()?;
    let client = place.ca.sign("client")?;
    let target = target();
    let shown = place.ofctl(&client, &["show", &target])?;
    ensure!(shown.contains("OFPT_FEATURES_REPLY"), "{shown}");
    let file = place.files.path().join("flows");
    fs::write(&file, load(FLOWS))?;
    let file = file.to_str().context("a path of text")?;
    place.ofctl(&client, &["add-flows", &target, file])?;
    let count = |text: &str| text.matches("in_port=").count();
    let dumped = place.ofctl(&client, &["dump-flows", &target])?;
    ensure!(count(&dumped) == FLOWS as usize, "{} flows", count(&dumped));
    // The same with the older version of TLS.
    let old = place.ofctl(&client, &["--ssl-protocols=TLSv1.2", "dump-flows", &target])?;
    ensure!(count(&old) == FLOWS as usize, "{} flows", count(&old));
    // vsctl says the same as over the bridge's own socket.
    let dump = ["dump-flows", &target, "--no-stats"];
    let over = place.vsctl(&client, &dump)?;
    let beside = place.switch.vsctl(&["dump-flows", "br0", "--no-stats"])?;
    ensure!(count(&over) == FLOWS as usize, "{} flows", count(&over));
    ensure!(over == beside, "vsctl prints other flows over TLS");
    place.vsctl(&client, &["replace-flows", &target, file])?;
    place.vsctl(&client, &["del-flows", &target])?;
    let left = place.ofctl(&client, &["dump-flows", &target])?;
    ensure!(count(&left) == 0, "left: {left}");
    // The identity outlives the process.
    let mut place = place;
    place.switch.kill_control()?;
    place.switch.start_control()?;
    state(&place.switch, "listening")?;
    place.ofctl(&client, &["probe", &target])?;
    // New files under the same names count from the next connection on.
    let other = Authority::new(place.files.path(), "ca")?;
    other.sign("switch")?;
    let newcomer = other.sign("newcomer")?;
    place.ofctl(&newcomer, &["probe", &target])?;
    place.switch.vsctl(&["del-ssl"])?;
    let shown = place.switch.vsctl(&["get-ssl"])?;
    ensure!(shown.is_empty(), "{shown}");
    ensure!(
        place.ofctl(&newcomer, &["probe", &target]).is_err(),
        "nobody can be met without files"
    );
    Ok(())
}

fn files_of_ovs_pki() -> Result<()> {
    let files = TempDir::with_prefix_in("pki-", "/run")?;
    let pki = |words: &[&str]| {
        let directory = format!("--dir={}", files.path().join("pki").display());
        let log = format!("--log={}", files.path().join("log").display());
        let mut command = limited("ovs-pki");
        must(
            command
                .args([&directory, &log])
                .args(words)
                .current_dir(files.path()),
        )
    };
    pki(&["init"])?;
    pki(&["req+sign", "switch", "switch"])?;
    pki(&["req+sign", "client", "controller"])?;
    let papers = |name: &str, other: &str| Papers {
        key: files.path().join(format!("{name}-privkey.pem")),
        certificate: files.path().join(format!("{name}-cert.pem")),
        ca: files.path().join(format!("pki/{other}ca/cacert.pem")),
    };
    let switch = Switch::start()?;
    listen(&switch, &papers("switch", "controller"))?;
    let client = papers("client", "switch");
    let options = options(&client)?;
    let target = target();
    let mut words: Vec<&str> = options.iter().map(String::as_str).collect();
    words.extend(["probe", &target]);
    ovs::ofctl(switch.rundir(), &words)?;
    switch.vsctl(&words)?;
    Ok(())
}

fn strangers() -> Result<()> {
    let place = Listening::new()?;
    let target = target();
    let other = Authority::new(place.files.path(), "other")?;
    let stranger = other.sign("stranger")?;
    let refused = |papers: &Papers, what: &str| -> Result<()> {
        let Err(error) = place.vsctl(papers, &["probe", &target]) else {
            bail!("a stranger got in");
        };
        let error = format!("{error:#}");
        ensure!(error.contains(what), "vsctl said {error}");
        let lines = error.matches("vsctl: ").count();
        ensure!(lines == 1, "vsctl said {error}");
        Ok(())
    };
    // The log tells of one a second, so some have to come.
    let logged = |what: &str, come: &dyn Fn() -> Result<()>| {
        wait::until(READY, &format!("the log says {what}"), || {
            come()?;
            Ok(place.switch.log_tail().contains(what).then_some(()))
        })
        .with_context(|| place.switch.log_tail())
    };
    // Neither believes the other: the client is the first to see it.
    logged(
        "it refuses our certificate: its CA did not sign it",
        &|| refused(&stranger, "its certificate was not signed by our CA"),
    )?;
    // It believes us and we do not believe it.
    let mut sneak = stranger;
    sneak.ca.clone_from(&place.ca.ca());
    logged("its certificate was not signed by our CA", &|| {
        refused(&sneak, "it refuses our certificate: its CA did not sign it")
    })?;
    ensure!(
        place.ofctl(&sneak, &["probe", &target]).is_err(),
        "a stranger got in"
    );
    // Nobody at all, and who does not speak TLS.
    let output = place.switch.try_vsctl(&["probe", &target])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        said.contains("name their files with -p, -c and -C"),
        "{said}"
    );
    let plain = format!("tcp:127.0.0.1:{PORT}");
    logged("it does not speak TLS", &|| {
        let probed = ovs::ofctl(place.switch.rundir(), &["probe", &plain]);
        ensure!(probed.is_err(), "who speaks no TLS got in");
        Ok(())
    })?;
    // Wrong files are refused before they count.
    let papers = place.ca.sign("switch")?;
    let [key, certificate, ca] = papers.words()?;
    for words in [
        [certificate, certificate, ca],
        [key, key, ca],
        [key, certificate, "/nowhere"],
    ] {
        let output = place
            .switch
            .try_vsctl(&["set-ssl", words[0], words[1], words[2]])?;
        ensure!(output.status.code() == Some(1), "{output:?}");
    }
    let client = place.ca.sign("client")?;
    place.ofctl(&client, &["probe", &target])?;
    Ok(())
}

fn half_handshakes() -> Result<()> {
    let place = Listening::new()?;
    let begun = Instant::now();
    let crowd: Vec<TcpStream> = (0..LINKS_MAX + 100)
        .map(|_| Ok(TcpStream::connect(("127.0.0.1", PORT.parse()?))?))
        .collect::<Result<_>>()?;
    // The head of a record, and nothing of what it promises.
    for mut stream in &crowd {
        let _ = stream.write_all(&[22, 3, 1, 1, 0]);
    }
    let closed = |stream: &TcpStream| -> Result<bool> {
        stream.set_nonblocking(true)?;
        let mut bytes = [0; 64];
        let mut stream = stream;
        Ok(match stream.read(&mut bytes) {
            Ok(size) => size == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        })
    };
    let count = || -> Result<usize> {
        let mut sum = 0;
        for stream in &crowd {
            sum += usize::from(closed(stream)?);
        }
        Ok(sum)
    };
    wait::until(HANDSHAKE / 2, "those beyond the limit are closed", || {
        Ok((count()? == 100).then_some(()))
    })
    .with_context(|| format!("{:?} are closed", count()))?;
    // The switch goes on meanwhile.
    place.switch.vsctl(&["dump-flows", "br0"])?;
    wait::until(HANDSHAKE * 2, "all of them are closed", || {
        Ok((count()? == crowd.len()).then_some(()))
    })
    .with_context(|| format!("{:?} are closed", count()))?;
    let took = begun.elapsed();
    ensure!(took >= HANDSHAKE, "they had {took:?} only");
    let client = place.ca.sign("client")?;
    place.ofctl(&client, &["probe", &target()])?;
    let said = place.switch.log_tail();
    ensure!(
        said.contains("it did not finish the TLS handshake within 10 s"),
        "{said}"
    );
    Ok(())
}

/// Starts `ovs-testcontroller` over TLS.
fn start_controller(papers: &Papers) -> Result<Controller> {
    let options = options(papers)?;
    Controller::start("ovs-testcontroller", |command, files| {
        command
            .args(options)
            // In 1.5 its packets out have a match that it never set, and end it now and then.
            .args(["-O", "OpenFlow13"])
            .arg(format!("pssl:{PORT}:127.0.0.1"))
            .arg(format!("--unixctl={}", files.join("ctl").display()));
        Ok(())
    })
}

fn controller() -> Result<()> {
    let files = TempDir::with_prefix_in("tls-", "/run")?;
    let ca = Authority::new(files.path(), "ca")?;
    let target = target();
    let (topology, hosts) = controllers::network(&[Kind::Tap, Kind::Packet], &target)?;
    state(&topology.switch, "backoff")?;
    let shown = topology.switch.vsctl(&["show"])?;
    ensure!(shown.contains("vsctl set-ssl"), "it shows {shown}");
    let ours = ca.sign("switch")?;
    let [key, certificate, authority] = ours.words()?;
    topology
        .switch
        .vsctl(&["set-ssl", key, certificate, authority])?;
    let controller = start_controller(&ca.sign("controller")?)?;
    state(&topology.switch, "active")?;
    controllers::learned(&topology, &hosts, &controller)
}

fn controller_of_another_ca() -> Result<()> {
    let files = TempDir::with_prefix_in("tls-", "/run")?;
    let ca = Authority::new(files.path(), "ca")?;
    let other = Authority::new(files.path(), "other")?;
    let switch = Switch::start()?;
    let ours = ca.sign("switch")?;
    let [key, certificate, authority] = ours.words()?;
    switch.vsctl(&["set-ssl", key, certificate, authority])?;
    let _controller = start_controller(&other.sign("controller")?)?;
    switch.vsctl(&["add-br", "br0", "fail_mode=secure"])?;
    switch.vsctl(&["set-br", "br0", &format!("controller={}", target())])?;
    wait::until(READY, "the controller is turned away", || {
        let shown = switch.vsctl(&["show"])?;
        ensure!(
            shown.contains("its certificate was not signed by our CA"),
            "it shows {shown}"
        );
        Ok(Some(()))
    })?;
    let said = switch.log_tail();
    let lines = said.matches("its certificate was not signed by our CA");
    ensure!(lines.count() == 1, "the log says {said}");
    Ok(())
}
