//! Names of ports and tables, both ways.

use std::collections::HashMap;
use std::fmt;

use super::value;
use crate::action::OfPort;

/// Finds a port by its name, where text may say a name instead of a number.
pub type PortNames<'a> = &'a dyn Fn(&str) -> Option<OfPort>;

/// No port has a name, except the reserved ones.
#[must_use]
pub fn no_names(_: &str) -> Option<OfPort> {
    None
}

/// The names of a bridge's ports and tables, to read and to print them.
///
/// Two ports of one name, or two tables, have none: nobody could tell which is meant.
#[derive(Clone, Debug, Default)]
pub struct Names {
    ports: Both<OfPort>,
    tables: Both<u8>,
}

/// A name for each number and a number for each name.
#[derive(Clone, Debug)]
struct Both<N> {
    /// `None` where several numbers have the name.
    numbers: HashMap<Box<str>, Option<N>>,
    names: HashMap<N, Box<str>>,
}

impl<N> Default for Both<N> {
    fn default() -> Self {
        Self {
            numbers: HashMap::new(),
            names: HashMap::new(),
        }
    }
}

impl<N: Copy + Eq + std::hash::Hash> Both<N> {
    fn add(&mut self, name: &str, number: N) {
        match self.numbers.insert(name.into(), Some(number)) {
            Some(before) if before != Some(number) => {
                self.numbers.insert(name.into(), None);
            }
            _ => {}
        }
        self.names.insert(number, name.into());
    }

    fn number(&self, name: &str) -> Option<N> {
        self.numbers.get(name).copied().flatten()
    }

    fn name(&self, number: N) -> Option<&str> {
        let name = self.names.get(&number)?;
        self.number(name).map(|_| name.as_ref())
    }
}

impl Names {
    /// Gives a port a name.
    pub fn add_port(&mut self, name: &str, port: OfPort) {
        self.ports.add(name, port);
    }

    /// Gives a table a name.
    pub fn add_table(&mut self, name: &str, table: u8) {
        self.tables.add(name, table);
    }

    /// The port of that name.
    #[must_use]
    pub fn port(&self, name: &str) -> Option<OfPort> {
        self.ports.number(name)
    }

    /// The table of that name.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<u8> {
        self.tables.number(name)
    }

    /// The port's name, if it has one.
    #[must_use]
    pub fn port_name(&self, port: OfPort) -> Option<&str> {
        self.ports.name(port)
    }

    /// The table's name, if it has one.
    #[must_use]
    pub fn table_name(&self, table: u8) -> Option<&str> {
        self.tables.name(table)
    }
}

/// Where the parser looks names up.
#[derive(Clone, Copy)]
pub(super) enum Lookup<'a> {
    Ports(PortNames<'a>),
    Names(&'a Names),
}

impl Lookup<'_> {
    /// The port that a name, perhaps in quotation marks, means.
    pub(super) fn port(self, name: &str) -> Option<OfPort> {
        let name = unquote(name)?;
        match self {
            Self::Ports(ports) => ports(name.as_ref()),
            Self::Names(names) => names.port(name.as_ref()),
        }
    }

    /// A table's number or name.
    pub(super) fn table(self, text: &str) -> Option<u8> {
        if let Some(number) = value::number(text) {
            return u8::try_from(number).ok();
        }
        let name = unquote(text)?;
        match self {
            Self::Ports(_) => None,
            Self::Names(names) => names.table(name.as_ref()),
        }
    }
}

/// Takes quotation marks and what escapes them off.
fn unquote(name: &str) -> Option<std::borrow::Cow<'_, str>> {
    let Some(inner) = name.strip_prefix('"') else {
        return Some(name.into());
    };
    let inner = inner.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(inner.into());
    }
    let mut plain = String::with_capacity(inner.len());
    let mut escaped = false;
    for c in inner.chars() {
        if escaped || c != '\\' {
            plain.push(c);
            escaped = false;
        } else {
            escaped = true;
        }
    }
    (!escaped).then(|| plain.into())
}

/// Prints a name, in quotation marks unless it is a letter followed by letters and digits, as Open
/// vSwitch does (`lib/namemap.c`).
pub(super) fn print_name(name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut bytes = name.bytes();
    let plain = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric());
    if plain {
        return f.write_str(name);
    }
    f.write_str("\"")?;
    for c in name.chars() {
        if matches!(c, '"' | '\\') {
            f.write_str("\\")?;
        }
        write!(f, "{c}")?;
    }
    f.write_str("\"")
}

/// Prints a port, by its name if it has one.
pub(super) fn print_port(
    port: OfPort,
    names: Option<&Names>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    if let Some(name) = value::reserved_name(port) {
        return f.write_str(name);
    }
    match names.and_then(|names| names.port_name(port)) {
        Some(name) => print_name(name, f),
        None => write!(f, "{}", port.0),
    }
}

/// Prints a table, by its name if it has one.
pub(super) fn print_table(
    table: u8,
    names: Option<&Names>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    match names.and_then(|names| names.table_name(table)) {
        Some(name) => print_name(name, f),
        None => write!(f, "{table}"),
    }
}

/// Something printed with the names of ports and tables, as `ovs-ofctl --names` does.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a, T: ?Sized>(
    /// What is printed.
    pub &'a T,
    /// The names.
    pub &'a Names,
);
