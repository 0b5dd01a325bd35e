//! `vsctl` lets people and scripts see and say: it turns words into one call to `vswitchd` and the
//! reply into text that lines up, or into JSON.
//!
//! It decides nothing. Which keys and values are allowed is known to `vswitchd`; this program
//! checks only that words have the shape of a command.
//!
//! Law:
//! - A command is one row of [`commands::COMMANDS`]. Parsing, help, man pages, completions and the
//!   test that every example works come from that row.
//! - Exit status 0: done. 1: refused or failed, with `vsctl: ...` on standard error. 2: not a
//!   command. A reader that went away (`vsctl show | head`) is no failure.
//! - Standard output carries the answer and nothing else; colours only where it is a terminal.
//!
//! - What speaks OpenFlow ([`openflow`]) goes to a bridge's agent, not to `vswitchd`'s own socket, and
//!   works with other switches too.
//!
//! Two stages: `clap` says what was typed ([`args::Typed`]), the row's `call` says what is meant
//! ([`vswitch_rpc::Call`]). The second is reached without touching the world, so tests stop there.
#![forbid(unsafe_code)]

pub mod args;
pub mod client;
pub mod commands;
pub mod error;
pub mod generate;
pub mod openflow;
pub mod output;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::mount::mount_bind;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use vswitch_rpc::Call;
use vswitch_rpc::envelope::decode_reply;
use vswitch_rpc::sandbox::Place;

use args::{Globals, Typed};
use client::Client;
use commands::openflow::Answer;
use commands::{Print, Run};
use error::Failure;
use openflow::session::Session;
use output::Page;

/// The exit status for "done".
pub const DONE: u8 = 0;
/// The exit status for "refused or failed".
pub const FAILED: u8 = 1;
/// The exit status for "that is not a command".
pub const USAGE: u8 = 2;

/// Runs one command line, program name first, and returns the exit status.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    match carry_out(arguments) {
        Ok(()) => DONE,
        // Help and version arrive as errors of clap that belong on standard output.
        Err(Failure::Usage(error)) if !error.use_stderr() => {
            // Nobody is left to be told when writing this fails.
            let _ = error.print();
            DONE
        }
        Err(failure @ Failure::Usage(_)) => {
            say(&failure);
            USAGE
        }
        // What differs has been shown.
        Err(Failure::Differs(_)) => FAILED,
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => DONE,
        Err(failure) => {
            say(&failure);
            FAILED
        }
    }
}

fn say(failure: &Failure) {
    // One write, so that the lines of several vsctl on one terminal do not mix. Nobody is left to
    // be told when it fails.
    let _ = io::stderr().write_all(failure.report().as_bytes());
}

fn carry_out(arguments: impl IntoIterator<Item = OsString>) -> Result<(), Failure> {
    let matches = args::parser().try_get_matches_from(arguments)?;
    let globals = Globals::read(&matches);
    let (words, matches) = args::deepest(&matches);
    let Some(command) = commands::find(&words) else {
        return write(&generate::run(&words, matches)?);
    };
    let typed = Typed::new(matches);
    let session = Session {
        rundir: globals.rundir.clone(),
        versions: globals.versions.clone(),
        timeout: globals.timeout,
        papers: globals.papers.clone(),
        json: globals.json,
    };
    match command.run {
        Run::Ask(meaning, print) => {
            let reply = ask(&globals, &meaning(&typed)?)?;
            write(&render(print, &globals, &typed, reply)?)
        }
        Run::Talk(meaning, talk) => {
            // What was typed is looked at before the world is.
            meaning(&typed)?;
            let mut client = Client::connect(&globals.rundir, globals.timeout)?;
            tell(&globals, talk(&typed, &mut client))
        }
        Run::OpenFlow(exchange) => tell(&globals, exchange(&typed, &session)),
        Run::Either(exchange, ..) if typed.optional("BRIDGE").is_some() => {
            tell(&globals, exchange(&typed, &session))
        }
        Run::Either(_, meaning, print) => {
            let reply = ask(&globals, &meaning(&typed)?)?;
            write(&render(print, &globals, &typed, reply)?)
        }
        Run::Inside(meaning, program) => {
            let words = program(&typed);
            let reply = ask(&globals, &meaning(&typed)?)?;
            let place: Place = decode_reply(reply)?;
            Err(run_inside(&place, &words))
        }
        Run::Watch(watch) => watch(&typed, &session, &mut io::stdout().lock()),
    }
}

/// Becomes a program in a network namespace; why not, if that fails.
fn run_inside(place: &Place, words: &[String]) -> Failure {
    let Some((program, arguments)) = words.split_first() else {
        return Failure::NoProgram;
    };
    let entered = File::open(&place.path).and_then(|netns| {
        move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(())
    });
    if let Err(error) = entered {
        let path = place.path.clone();
        return Failure::Namespace { path, error };
    }
    if let Err(error) = own_files(Path::new(&place.path)) {
        let path = place.path.clone();
        return Failure::Namespace { path, error };
    }
    let error = Command::new(program).args(arguments).exec();
    let program = program.clone();
    Failure::Program { program, error }
}

/// Puts the files that a named namespace has of its own, its resolv.conf above all, in the place of the
/// host's, as `ip netns exec` does.
fn own_files(namespace: &Path) -> io::Result<()> {
    let named = namespace.parent() == Some(Path::new("/run/netns"));
    let Some(name) = namespace.file_name().filter(|_| named) else {
        return Ok(());
    };
    let Ok(files) = fs::read_dir(Path::new("/etc/netns").join(name)) else {
        return Ok(());
    };
    vswitch_sys::netns::own_mounts()?;
    for file in files {
        let file = file?;
        let host = Path::new("/etc").join(file.file_name());
        // What the host has not has no place to be mounted on.
        if host.exists() {
            mount_bind(file.path(), host)?;
        }
    }
    Ok(())
}

/// Writes what an OpenFlow command found; a difference is written and fails.
fn tell(globals: &Globals, found: Result<Answer, Failure>) -> Result<(), Failure> {
    let (answer, failure) = match found {
        Ok(answer) => (answer, None),
        Err(Failure::Differs(answer)) => (*answer, Some(Failure::Differs(Box::default()))),
        Err(failure) => return Err(failure),
    };
    let bytes = if globals.json {
        output::json(&answer.json, io::stdout().is_terminal())
    } else {
        // A peer's names must not command the terminal.
        let safe = |c: char| c.is_control() && c != '\n' && c != '\t';
        answer.text.replace(safe, "\u{fffd}").into_bytes()
    };
    write(&bytes)?;
    failure.map_or(Ok(()), Err)
}

fn ask(globals: &Globals, call: &Call) -> Result<serde_json::Value, Failure> {
    let mut client = Client::connect(&globals.rundir, globals.timeout)?;
    let reply = client.call(call)?;
    if ends_vswitchd(call) {
        client.wait_for_end()?;
    }
    Ok(reply)
}

/// Whether `vswitchd` ends after this call, which is worth waiting for.
fn ends_vswitchd(call: &Call) -> bool {
    match call {
        Call::Shutdown(_) => true,
        Call::Appctl(call) => call.command == "exit",
        _ => false,
    }
}

fn render(
    print: Print,
    globals: &Globals,
    typed: &Typed<'_>,
    mut reply: serde_json::Value,
) -> Result<Vec<u8>, Failure> {
    let terminal = io::stdout().is_terminal();
    if globals.json {
        return Ok(output::json(&reply, terminal));
    }
    output::defuse(&mut reply);
    let mut page = Page::new(terminal && output::colours_wanted());
    print(typed, reply, &mut page).map_err(Failure::from)?;
    Ok(page.into_bytes())
}

fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(Failure::Output)
}
