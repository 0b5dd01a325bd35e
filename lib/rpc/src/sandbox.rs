//! Sandboxes: network namespaces with the endpoints in them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `sandbox-create`: makes a sandbox, with a namespace of its name unless it takes one that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxCreate {
    /// The sandbox.
    pub name: String,
    /// A namespace that is there: the name of one of `ip netns`, a path, or the number of a process.
    #[serde(default)]
    pub netns: Option<String>,
    /// For people.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// `sandbox-ls`: all sandboxes, by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxLs {}

/// A sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Its number.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub netns: String,
    /// The switch made the namespace and takes it away with the sandbox.
    pub made: bool,
    /// The networks that it is connected to.
    pub networks: Vec<String>,
    /// For people.
    pub labels: BTreeMap<String, String>,
}

/// `sandbox-rm`: disconnects a sandbox from all networks and removes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxRm {
    /// Its name, its id, or the beginning of its id.
    pub sandbox: String,
}

/// `sandbox-exec`: where a command is to be run; running it is the caller's part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxExec {
    /// Its name, its id, or the beginning of its id.
    pub sandbox: String,
}

/// A file that stands for a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its full path.
    pub path: String,
}
