//! The program against a server on a real socket that gives prepared answers.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use vswitch_rpc::frame::{self, Decoder};
use vswitch_rpc::{Call, Code, Refusal, Request, Response, SOCKET_NAME};

/// A run directory whose socket answers one call.
struct Server {
    rundir: TempDir,
    thread: JoinHandle<Call>,
}

impl Server {
    /// Answers with what `answer` makes of the call's id.
    fn start(answer: impl FnOnce(Value, &mut UnixStream) + Send + 'static) -> Self {
        let rundir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(rundir.path().join(SOCKET_NAME)).unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut decoder = Decoder::default();
            let mut bytes = [0; 4096];
            loop {
                let size = stream.read(&mut bytes).unwrap();
                assert!(size > 0, "the client left before it asked");
                decoder.push(&bytes[..size]);
                if let Some(line) = decoder.next_message().unwrap() {
                    let (id, call) = Request::parse(line).unwrap();
                    answer(id, &mut stream);
                    return call;
                }
            }
        });
        Self { rundir, thread }
    }

    fn replying(result: Value) -> Self {
        Self::start(move |id, stream| send(stream, &Response::result(id, result)))
    }

    /// Runs `vsctl` and returns what the server was asked and what the program said.
    fn ask(self, words: &[&str]) -> (Call, Output) {
        let output = vsctl(self.rundir.path(), words);
        (self.thread.join().unwrap(), output)
    }
}

fn send(stream: &mut UnixStream, response: &Response) {
    stream.write_all(&frame::encode(response).unwrap()).unwrap();
}

fn program(rundir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vsctl"));
    command.env("VSWITCH_RUNDIR", rundir).stdin(Stdio::null());
    command
}

fn vsctl(rundir: &Path, words: &[&str]) -> Output {
    program(rundir).args(words).output().unwrap()
}

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn a_question_goes_out_and_the_answer_is_printed() {
    let entry =
        json!({"of_port": 3, "port": "sw3", "vlan": 0, "mac": "50:54:00:00:00:05", "age_s": 1});
    let (call, output) = Server::replying(json!([entry])).ask(&["fdb", "show", "br0"]);
    assert_eq!(call.name(), "fdb-show");
    assert_eq!(call.params(), json!({"bridge": "br0"}));
    assert_eq!(
        out(&output),
        " port  VLAN  MAC                Age\n    3     0  50:54:00:00:00:05    1\n"
    );
    assert_eq!((err(&output), output.status.code()), ("", Some(0)));
}

#[test]
fn json_prints_the_reply_as_it_came() {
    let reply = json!(["br0", "br1"]);
    let (_, output) = Server::replying(reply).ask(&["list-br", "--json"]);
    assert_eq!(out(&output), "[\"br0\",\"br1\"]\n");
    // A field this vsctl does not know is kept.
    let reply = json!({"removed": 2, "from_a_later_version": true});
    let (_, output) = Server::replying(reply.clone()).ask(&["--json", "fdb", "flush", "br0"]);
    assert_eq!(serde_json::from_str::<Value>(out(&output)).unwrap(), reply);
}

#[test]
fn a_refusal_goes_to_standard_error_with_status_1() {
    let server = Server::start(|id, stream| {
        let refusal =
            Refusal::new(Code::Refused, "a port has no setting colour").allowed(["tag", "trunks"]);
        send(stream, &Response::refusal(id, refusal));
    });
    let (_, output) = server.ask(&["set-port", "br0", "sw1", "colour=red"]);
    assert_eq!(
        err(&output),
        "vsctl: a port has no setting colour; allowed: tag, trunks\n"
    );
    assert_eq!((out(&output), output.status.code()), ("", Some(1)));
}

#[test]
fn without_a_server_the_next_step_is_named() {
    let rundir = tempfile::tempdir().unwrap();
    let path = rundir.path().display();
    let expected = format!(
        "vsctl: vswitchd is not running in {path}; start it with `vswitchd --rundir {path}`\n"
    );
    let missing = vsctl(rundir.path(), &["show"]);
    assert_eq!(
        (err(&missing), missing.status.code()),
        (expected.as_str(), Some(1))
    );

    // What kill -9 leaves: the file of a socket on which nobody listens.
    drop(UnixListener::bind(rundir.path().join(SOCKET_NAME)).unwrap());
    let stale = vsctl(rundir.path(), &["show"]);
    assert_eq!(
        (err(&stale), stale.status.code()),
        (expected.as_str(), Some(1))
    );
}

#[test]
fn a_path_too_long_for_a_socket_is_said_to_be() {
    let rundir = format!("/tmp/{}", "x".repeat(120));
    let output = vsctl(Path::new(&rundir), &["show"]);
    assert!(
        err(&output).contains("is too long for a unix socket"),
        "{}",
        err(&output)
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn without_permission_it_says_who_may() {
    let rundir = tempfile::tempdir().unwrap();
    let socket = rundir.path().join(SOCKET_NAME);
    let _listener = UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::set_permissions(rundir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    if UnixStream::connect(&socket).is_ok() && !becomes_nobody() {
        eprintln!("skipped: neither root, who can become somebody else, nor somebody else already");
        return;
    }
    // The binary must be reachable for the other user, wherever the repository lies.
    let copy = rundir.path().join("vsctl");
    std::fs::copy(env!("CARGO_BIN_EXE_vsctl"), &copy).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&copy)
        .args([
            "--rundir".as_ref(),
            rundir.path().as_os_str(),
            "show".as_ref(),
        ])
        .output()
        .unwrap();
    let text = err(&output);
    assert!(text.starts_with("vsctl: no permission to open "), "{text}");
    assert!(
        text.ends_with("only root may; try it with sudo\n"),
        "{text}"
    );
    assert_eq!(output.status.code(), Some(1));
}

fn becomes_nobody() -> bool {
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups", "true"]);
    setpriv.status().is_ok_and(|status| status.success())
}

#[test]
fn a_server_that_dies_before_it_answers_is_not_taken_for_an_answer() {
    let (_, output) = Server::start(|_, _| {}).ask(&["show"]);
    assert!(
        err(&output).contains("ended the connection before it answered"),
        "{}",
        err(&output)
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let server = Server::start(move |_, _| {
        let _ = wait.recv();
    });
    let output = vsctl(server.rundir.path(), &["show", "--timeout", "1"]);
    drop(release);
    assert_eq!(
        err(&output),
        "vsctl: vswitchd did not answer within 1 s; `--timeout` sets how long to wait\n"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn an_answer_of_another_shape_is_a_failure_and_prints_nothing() {
    for result in [json!({"bridges": 7}), json!(null), json!("text")] {
        let (_, output) = Server::replying(result).ask(&["show"]);
        assert!(
            err(&output).contains("the answer cannot be read"),
            "{}",
            err(&output)
        );
        assert_eq!((out(&output), output.status.code()), ("", Some(1)));
    }
    let (_, output) =
        Server::start(|_, stream| stream.write_all(b"\xff\xfe{\n").unwrap()).ask(&["show"]);
    assert_eq!((out(&output), output.status.code()), ("", Some(1)));
}

#[test]
fn shutdown_returns_when_the_server_is_gone() {
    let server = Server::start(|id, stream| {
        send(stream, &Response::result(id, json!({})));
        // A client that did not wait would close its end, and the read would see the end at once.
        stream
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        let error = stream
            .read(&mut [0])
            .expect_err("vsctl ended before the server did");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    });
    let (call, output) = server.ask(&["shutdown"]);
    assert_eq!(call.name(), "shutdown");
    assert_eq!(
        (out(&output), err(&output), output.status.code()),
        ("", "", Some(0))
    );
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let names: Vec<String> = (0..100_000).map(|n| format!("bridge{n}")).collect();
    let server = Server::replying(json!(names));
    let mut child = program(server.rundir.path())
        .arg("list-br")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((err(&output), output.status.code()), ("", Some(0)));
    server.thread.join().unwrap();
}

#[test]
fn what_is_not_a_command_ends_with_status_2() {
    let rundir = tempfile::tempdir().unwrap();
    for words in [
        &["frobnicate"][..],
        &[],
        &["fdb"],
        &["add-port", "br0", "sw1", "tap"],
    ] {
        let output = vsctl(rundir.path(), words);
        assert_eq!(
            (out(&output), output.status.code()),
            ("", Some(2)),
            "{words:?}"
        );
        assert!(!output.stderr.is_empty(), "{words:?}");
    }
    let output = vsctl(rundir.path(), &["set-port", "br0", "sw1", "tag"]);
    assert!(
        err(&output).starts_with(
            "vsctl: invalid value 'tag' for '<KEY=VALUE>...': a setting is written key=value\n"
        ),
        "{}",
        err(&output)
    );
}

#[test]
fn help_and_version_go_to_standard_output() {
    let rundir = tempfile::tempdir().unwrap();
    for words in [
        &["--help"][..],
        &["help", "fdb", "show"],
        &["add-port", "--help"],
        &["--version"],
    ] {
        let output = vsctl(rundir.path(), words);
        assert_eq!(
            (err(&output), output.status.code()),
            ("", Some(0)),
            "{words:?}"
        );
        assert!(!output.stdout.is_empty(), "{words:?}");
    }
    let help = vsctl(rundir.path(), &["add-port", "--help"]);
    assert!(
        out(&help).contains("vsctl add-port br0 vm1 type=tap tag=5"),
        "{}",
        out(&help)
    );
}
