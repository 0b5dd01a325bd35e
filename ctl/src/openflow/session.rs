//! One command's dealings with switches: which version, whose names, which files.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use vswitch_flow::OfPort;
use vswitch_flow::text::Names;
use vswitch_openflow::Version;
use vswitch_openflow::config::SwitchConfig;
use vswitch_openflow::message::{Decoded, Message};
use vswitch_openflow::multipart::{Reply, Request};
use vswitch_openflow::port::PortDesc;

use super::connection::Connection;
use super::papers::Papers;
use super::target::{Service, Target};
use super::{Trouble, text};

/// The name under which standard input is read as a file.
const STDIN: &str = "-";

/// What a command needs to know to speak to a switch.
#[derive(Clone, Debug)]
pub struct Session {
    /// Where bridges are found by name.
    pub rundir: PathBuf,
    /// Versions to offer.
    pub versions: Vec<Version>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Who we are where TLS is spoken.
    pub papers: Papers,
    /// For programs rather than people.
    pub json: bool,
}

impl Session {
    /// Connects to the switch of that name.
    pub fn open(&self, name: &str) -> Result<Connection, Trouble> {
        self.open_with(name, &self.versions)
    }

    /// Connects to the switch of that name in one of these versions.
    pub fn open_with(&self, name: &str, versions: &[Version]) -> Result<Connection, Trouble> {
        let target = Target::find(name, &self.rundir, Service::Management)?;
        Connection::open(target, &self.papers, versions, self.timeout)
    }

    /// Connects to where the switch shows what it and its controllers say.
    pub fn snoop(&self, name: &str) -> Result<Connection, Trouble> {
        let target = Target::find(name, &self.rundir, Service::Snoop)?;
        Connection::open(target, &self.papers, &self.versions, self.timeout)
    }

    /// The text of a file, or of standard input for `-`.
    pub fn read(&self, file: &str) -> Result<String, Trouble> {
        let result = if file == STDIN {
            let mut text = String::new();
            std::io::stdin()
                .lock()
                .read_to_string(&mut text)
                .map(|_| text)
        } else {
            std::fs::read_to_string(file)
        };
        result.map_err(|error| Trouble::File {
            file: file.to_owned(),
            error,
        })
    }
}

/// The ports of a switch, as far as its version tells.
pub fn ports(connection: &mut Connection) -> Result<Vec<PortDesc>, Trouble> {
    if connection.version() == Version::V10 {
        return match connection.ask(&Message::FeaturesRequest)?.message {
            Message::FeaturesReply(features) => Ok(features.ports),
            _ => Err(Trouble::Unexpected("no features")),
        };
    }
    let mut ports = Vec::new();
    connection.ask_parts(Request::PortDesc(OfPort::ANY), |reply| {
        if let Reply::PortDesc(part) = reply {
            ports.extend(part);
        }
    })?;
    Ok(ports)
}

/// The names of a switch's ports and tables.
pub fn names(connection: &mut Connection) -> Result<Names, Trouble> {
    let mut names = Names::default();
    for port in ports(connection)? {
        names.add_port(&port.name.to_text(), port.port);
    }
    if connection.version() > Version::V10 {
        // Tables need no names; a switch that says nothing of them is as good.
        let request = Request::TableFeatures(Vec::new());
        let asked = connection.ask_parts(request, |reply| {
            if let Reply::TableFeatures(tables) = reply {
                for table in tables {
                    let name = table.name.to_text();
                    if !name.is_empty() {
                        names.add_table(&name, table.table);
                    }
                }
            }
        });
        match asked {
            Ok(_) | Err(Trouble::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(names)
}

/// A port by its number, reserved name or name.
pub fn port(connection: &mut Connection, name: &str) -> Result<PortDesc, Trouble> {
    let ports = ports(connection)?;
    let number = match name {
        "LOCAL" | "local" => Some(OfPort::LOCAL),
        name => name.parse().ok().map(OfPort),
    };
    let found = ports.iter().find(|port| match number {
        Some(number) => port.port == number,
        None => port.name.to_text() == name,
    });
    found.cloned().ok_or_else(|| {
        let mut names: Vec<_> = ports.iter().map(|port| port.name.to_text()).collect();
        names.sort();
        Trouble::Argument(format!(
            "{}: there is no port {name}; there is: {}",
            connection.target(),
            names.join(", ")
        ))
    })
}

/// Makes changes, all of them even if some are refused, and says which were.
pub fn change(connection: &mut Connection, messages: &[Message]) -> Result<(), Trouble> {
    let refused = connection.change(messages)?;
    said(refused.into_iter().map(|refused| refused.error))
}

/// The settings of the switch.
pub fn config(connection: &mut Connection) -> Result<SwitchConfig, Trouble> {
    match connection.ask(&Message::ConfigRequest)?.message {
        Message::ConfigReply(config) => Ok(config),
        _ => Err(Trouble::Unexpected("no settings")),
    }
}

/// An error for these refusals, if there are any.
pub fn said(errors: impl IntoIterator<Item = Decoded>) -> Result<(), Trouble> {
    let lines: Vec<_> = errors
        .into_iter()
        .map(|error| text::refusal(&error))
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    Err(Trouble::Changes(lines.join("\n")))
}
