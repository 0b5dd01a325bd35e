//! `vsctl` as an OpenFlow client, in the manner of `ovs-ofctl`: it speaks to a bridge of this switch
//! or of Open vSwitch alike, and what it prints can be typed in again.
//!
//! [`session`] opens connections and knows names, [`connection`] asks and collects, [`text`] says
//! what messages mean. Nothing here knows how a switch does what it is asked.
//!
//! Spec: OpenFlow 1.0.1, 1.3.5, 1.4.1; `ovs-ofctl(8)` for words and spelling.

pub mod connection;
pub mod papers;
pub mod session;
pub mod target;
pub mod text;

use std::io;
use std::time::Duration;

use thiserror::Error;
use vswitch_flow::text::ParseError;
use vswitch_openflow::message::Decoded;
use vswitch_openflow::{EncodeError, OfError};

/// Why an OpenFlow command did not end well.
#[derive(Debug, Error)]
pub enum Trouble {
    /// The name leads nowhere.
    #[error(transparent)]
    Target(#[from] target::BadTarget),
    /// No connection, or it broke.
    #[error("{target}: {error}")]
    Connect {
        /// Where to.
        target: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// One side does not believe the other, or does not speak TLS.
    #[error("{target}: {why}")]
    Tls {
        /// Where to.
        target: String,
        /// What is wrong, in words about "it", the switch.
        why: String,
    },
    /// The switch closed the connection.
    #[error("{0}: the switch closed the connection")]
    Closed(String),
    /// No answer in time.
    #[error("the switch did not answer within {} s; `--timeout` sets how long to wait", .0.as_secs())]
    Timeout(Duration),
    /// No version in common.
    #[error(
        "{target}: no version of OpenFlow in common; asked for {}, the switch speaks {}",
        ours.join(", "),
        if theirs.is_empty() { "others".to_owned() } else { theirs.join(", ") }
    )]
    NoVersion {
        /// The switch.
        target: String,
        /// Versions asked for.
        ours: Vec<String>,
        /// Versions offered, of those known here.
        theirs: Vec<String>,
    },
    /// The switch sent what does not belong there.
    #[error("the switch answered with {0}")]
    Unexpected(&'static str),
    /// The switch sent bytes that are not OpenFlow.
    #[error("the switch's answer cannot be read: {0}")]
    Unreadable(#[from] OfError),
    /// What was asked cannot be said in the version.
    #[error("{0}; -O chooses another version")]
    Unsayable(#[from] EncodeError),
    /// The switch refused a request.
    #[error("{}", text::refusal(.error))]
    Refused {
        /// Its error.
        error: Box<Decoded>,
    },
    /// The switch refused changes; each line says which.
    #[error("{0}")]
    Changes(String),
    /// Text that says no flow, group or meter.
    #[error("{0}")]
    Text(#[from] ParseError),
    /// A line of a file.
    #[error("{file}:{line}: {error}")]
    Line {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        error: String,
    },
    /// A file cannot be read.
    #[error("{file}: {error}")]
    File {
        /// Which.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// An argument of a command.
    #[error("{0}")]
    Argument(String),
}
