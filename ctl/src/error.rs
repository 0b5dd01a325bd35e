//! What can go wrong, said to the person: what happened, and what to do next.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use vswitch_rpc::envelope::BadResponse;
use vswitch_rpc::frame::TooLong;
use vswitch_rpc::{Code, Refusal};

use crate::commands::openflow::Answer;
use crate::openflow::Trouble;

/// How many names a refusal lists: all keys and port types there are, not a thousand ports.
const ALLOWED_LEN: usize = 24;

/// Why a command line did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The words are not a command. Also carries requested help, which is how clap hands it out.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// Nobody listens on the socket.
    #[error(
        "vswitchd is not running in {rundir}; start it with `vswitchd --rundir {rundir}`",
        rundir = .0.display()
    )]
    NotRunning(PathBuf),
    /// The socket may not be opened.
    #[error("no permission to open {socket}; {who}", socket = .socket.display())]
    Denied {
        /// What was to be opened.
        socket: PathBuf,
        /// Who may.
        who: String,
    },
    /// The path does not fit a socket address.
    #[error(
        "the run directory {} is too long for a unix socket: at most {limit} bytes",
        .rundir.display()
    )]
    PathTooLong {
        /// The run directory.
        rundir: PathBuf,
        /// How many bytes it may have.
        limit: usize,
    },
    /// Another failure to connect.
    #[error("cannot connect to {}: {error}", .socket.display())]
    Connect {
        /// What was to be opened.
        socket: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// The connection ended without an answer.
    #[error("vswitchd ended the connection before it answered; its log says why")]
    Closed,
    /// No answer in time.
    #[error("vswitchd did not answer within {} s; `--timeout` sets how long to wait", .0.as_secs())]
    Timeout(Duration),
    /// The connection broke.
    #[error("the connection to vswitchd broke: {0}")]
    Transport(io::Error),
    /// What came back is not an answer.
    #[error(
        "{0}; vsctl is version {version}, is vswitchd of the same version?",
        version = env!("CARGO_PKG_VERSION")
    )]
    Misunderstood(#[from] BadResponse),
    /// More than a message may hold.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// `vswitchd` said no.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// OpenFlow did not go well.
    #[error(transparent)]
    OpenFlow(#[from] Trouble),
    /// There is nothing to run.
    #[error("sandbox exec needs a command to run")]
    NoProgram,
    /// The namespace cannot be entered.
    #[error("the network namespace {path} cannot be entered: {error}")]
    Namespace {
        /// The file that stands for it.
        path: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// The program cannot be run.
    #[error("{program} cannot be run: {error}")]
    Program {
        /// Which.
        program: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// Two things that were compared are not alike; what differs is within.
    #[error("there are differences")]
    Differs(Box<Answer>),
    /// Standard output or a generated file cannot be written.
    #[error("cannot write: {0}")]
    Output(io::Error),
}

impl Failure {
    /// What goes to standard error: one line, except for clap's usage errors.
    pub fn report(&self) -> String {
        if let Self::Usage(error) = self {
            let text = error.to_string();
            // A group typed without its second word gets that group's help, which is no error text.
            return match text.strip_prefix("error: ") {
                Some(text) => format!("vsctl: {text}"),
                None => text,
            };
        }
        let advice = match self {
            Self::Refused(refusal) => advise(refusal),
            _ => String::new(),
        };
        // The switch's error is shown with the message that caused it, on lines of their own.
        if let Self::OpenFlow(trouble) = self {
            let safe = |c: char| c.is_control() && c != '\n';
            return format!("vsctl: {trouble}\n").replace(safe, "\u{fffd}");
        }
        // One line whatever names are in it, and nothing that a terminal would obey.
        let line = format!("vsctl: {self}{advice}").replace(char::is_control, "\u{fffd}");
        line + "\n"
    }
}

/// What would have been possible and what to do, to follow the sentence on its line: a script's
/// log keeps together what belongs together.
fn advise(refusal: &Refusal) -> String {
    let mut text = String::new();
    let allowed = &refusal.data.allowed;
    if !allowed.is_empty() {
        let word = if refusal.code == Code::NotFound {
            "there is"
        } else {
            "allowed"
        };
        let shown = allowed.get(..ALLOWED_LEN).unwrap_or(allowed);
        text += &format!("; {word}: {}", shown.join(", "));
        if shown.len() < allowed.len() {
            text += &format!(" and {} more", allowed.len() - shown.len());
        }
    }
    if let Some(hint) = &refusal.data.hint {
        text += &format!("; {hint}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line_with_what_is_allowed_and_what_to_do() {
        let refusal = Refusal::new(Code::Refused, "a port has no setting colour")
            .allowed(["tag", "trunks"])
            .hint("vsctl get-port br0 sw1 shows the settings");
        assert_eq!(
            Failure::Refused(refusal).report(),
            "vsctl: a port has no setting colour; allowed: tag, trunks; \
             vsctl get-port br0 sw1 shows the settings\n"
        );
    }

    #[test]
    fn a_name_with_control_characters_stays_on_its_line() {
        let refusal = Refusal::new(Code::NotFound, "there is no bridge a\n\u{1b}[2J");
        assert_eq!(
            Failure::Refused(refusal).report(),
            "vsctl: there is no bridge a\u{fffd}\u{fffd}[2J\n"
        );
    }

    #[test]
    fn a_thousand_names_are_not_listed() {
        let names = (0..1000).map(|number| format!("p{number}"));
        let refusal = Refusal::new(Code::NotFound, "bridge br0 has no port x").allowed(names);
        let report = Failure::Refused(refusal).report();
        assert!(report.starts_with("vsctl: bridge br0 has no port x; there is: p0, p1, "));
        assert!(report.ends_with("p23 and 976 more\n"), "{report}");
    }

    #[test]
    fn a_missing_daemon_is_named_with_the_command_that_starts_it() {
        let failure = Failure::NotRunning("/run/vswitch".into());
        assert_eq!(
            failure.report(),
            "vsctl: vswitchd is not running in /run/vswitch; \
             start it with `vswitchd --rundir /run/vswitch`\n"
        );
    }
}
