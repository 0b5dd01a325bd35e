//! What can go wrong, said to the person: what happened, and what to do next.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use vswitch_rpc::Refusal;
use vswitch_rpc::envelope::BadResponse;
use vswitch_rpc::frame::TooLong;

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
    /// Standard output or a generated file cannot be written.
    #[error("cannot write: {0}")]
    Output(io::Error),
}

impl Failure {
    /// The lines for standard error.
    pub fn report(&self) -> String {
        if let Self::Usage(error) = self {
            let text = error.to_string();
            // A group typed without its second word gets that group's help, which is no error text.
            return match text.strip_prefix("error: ") {
                Some(text) => format!("vsctl: {text}"),
                None => text,
            };
        }
        let mut text = format!("vsctl: {self}\n");
        if let Self::Refused(refusal) = self {
            if !refusal.data.allowed.is_empty() {
                text += &format!("  allowed: {}\n", refusal.data.allowed.join(", "));
            }
            if let Some(hint) = &refusal.data.hint {
                text += &format!("  {hint}\n");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vswitch_rpc::Code;

    #[test]
    fn a_refusal_comes_with_what_is_allowed_and_what_to_do() {
        let refusal = Refusal::new(Code::Refused, "port sw1 has no setting colour")
            .allowed(["tag", "trunks"])
            .hint("vsctl get-port br0 sw1 shows the settings");
        assert_eq!(
            Failure::Refused(refusal).report(),
            "vsctl: port sw1 has no setting colour\n  allowed: tag, trunks\n  \
             vsctl get-port br0 sw1 shows the settings\n"
        );
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
