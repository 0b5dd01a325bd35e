//! What should be, kept on disk: belief is written before it is acted on.
//!
//! One file, `vswitch.db`, written by [redb](https://docs.rs/redb): copy-on-write trees whose root
//! is exchanged at the end of a transaction, so that a reader after a crash sees the state before
//! or after a change and never between. Not for anything that can be asked of the kernel or the
//! datapath.
//!
//! Law:
//! - One change of the switch is one transaction. When [`Store::save`] has returned, the change
//!   survives `kill -9` and power failure.
//! - The file says whose it is and which version: a foreign or damaged file is refused with a
//!   sentence and left as it is.
//!
//! Rows are JSON under `version`, `switch` (numbers to be given next), `conntrack` (how connections are
//! tracked, absent while that is as usual), `ssl` (files by which the switch proves who it is, if it does),
//! `router/NAME`, `bridge/NAME`, `uplink/DEVICE` and `socket`; of container networks `network/ID`,
//! `endpoint/ID`, `sandbox/ID`, `site` (chance that default subnets of IPv6 are made of) and `graves` (namespaces
//! that are to be taken away). Routes have a table of their own, a row each, in
//! postcard's encoding: a router's number, then where to and from where; which way. Flows, groups and meters are
//! not here: they are the datapath's and their controllers'.
//!
//! Cost: a save writes the rows that differ and waits for the disk, milliseconds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::control::routes::{RouteChanges, RouteKey, RouteMap};
use crate::model::containers::{Containers, Endpoint, Id, Network, Sandbox};
use crate::model::{Bridge, Router, Switch};

/// The name of the file inside the run directory.
pub const FILE_NAME: &str = "vswitch.db";

/// The version of the rows. A file with a later one is refused.
const VERSION: &[u8] = b"2";

/// The one before, without container networks. Its rows are read as they are, and the file becomes one of
/// this version, so that an older program does not take a part of it for the whole.
const VERSION_BEFORE: &[u8] = b"1";

const ROWS: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("rows");

/// Routes: the router's number in network order and the key of the route; its target.
const ROUTES: TableDefinition<'static, &'static [u8], &'static [u8]> =
    TableDefinition::new("routes");

/// Why the store could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is not one of ours, or damaged.
    #[error(
        "{path} is not a store of this switch: {why}; it has been left as it is: \
         move it away to start with an empty switch",
        path = path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What was found instead.
        why: String,
    },
    /// Somebody else has the file open.
    #[error("{} is in use by another process", .0.display())]
    Busy(PathBuf),
    /// The file system.
    #[error("{path} cannot be used: {why}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
}

/// What survives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Belief {
    /// Bridges, ports, mirrors.
    pub switch: Switch,
    /// Networks, endpoints, sandboxes.
    pub containers: Containers,
    /// What default subnets of IPv6 are made of; by chance, once there is need.
    pub site: Option<[u8; 5]>,
    /// Paths of namespaces that are to be taken away.
    pub graves: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
struct SwitchRow {
    next_bridge: u32,
    #[serde(default)]
    next_router: u32,
}

/// The open file.
#[derive(Debug)]
pub struct Store {
    database: Database,
    path: PathBuf,
}

impl Store {
    /// Opens the file, making it when there is none, and reads what it holds.
    pub fn open(path: &Path) -> Result<(Self, Belief), StoreError> {
        let io = |why: &dyn Display| StoreError::Io {
            path: path.into(),
            why: why.to_string(),
        };
        let foreign = |why: String| StoreError::Foreign {
            path: path.into(),
            why,
        };
        match std::fs::metadata(path) {
            Ok(meta) if meta.is_file() => {}
            Ok(_) => return Err(foreign("it is not a file".into())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Self::begin(path)?,
            Err(e) => return Err(io(&e)),
        }
        check_magic(path).map_err(|e| io(&e))?.map_err(foreign)?;
        let database = Database::create(path).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => StoreError::Busy(path.into()),
            redb::DatabaseError::UpgradeRequired(version) => {
                foreign(format!("it is in the file format {version}"))
            }
            redb::DatabaseError::Storage(redb::StorageError::Corrupted(why)) => {
                foreign(format!("it is damaged ({why})"))
            }
            redb::DatabaseError::Storage(redb::StorageError::Io(e))
                if e.kind() == std::io::ErrorKind::InvalidData =>
            {
                foreign(format!("it is damaged ({e})"))
            }
            other => io(&other),
        })?;
        let store = Self {
            database,
            path: path.into(),
        };
        let belief = store.read()?;
        Ok((store, belief))
    }

    /// Makes `new` what a restart finds, `old` being what it would find now.
    pub fn save(&self, old: &Belief, new: &Belief) -> Result<(), StoreError> {
        self.write(|rows| {
            if (old.switch.next_bridge, old.switch.next_router)
                != (new.switch.next_bridge, new.switch.next_router)
            {
                let row = SwitchRow {
                    next_bridge: new.switch.next_bridge,
                    next_router: new.switch.next_router,
                };
                rows.insert("switch", json(&row).as_slice())?;
            }
            if old.switch.conntrack != new.switch.conntrack {
                rows.insert("conntrack", json(&new.switch.conntrack).as_slice())?;
            }
            match &new.switch.ssl {
                ssl if *ssl == old.switch.ssl => {}
                Some(ssl) => {
                    rows.insert("ssl", json(ssl).as_slice())?;
                }
                None => {
                    rows.remove("ssl")?;
                }
            }
            let (was, is) = (&old.switch, &new.switch);
            keep_rows(rows, "router", &was.routers, &is.routers)?;
            keep_rows(rows, "bridge", &was.bridges, &is.bridges)?;
            keep_rows(rows, "uplink", &was.uplinks, &is.uplinks)?;
            match (&old.switch.socket, &new.switch.socket) {
                (old, new) if old == new => {}
                (_, Some(socket)) => {
                    rows.insert("socket", json(socket).as_slice())?;
                }
                (_, None) => {
                    rows.remove("socket")?;
                }
            }
            let (was, is) = (&old.containers, &new.containers);
            keep_rows(rows, "network", own(was.networks()), own(is.networks()))?;
            let id = |one: &Endpoint| one.id;
            let endpoints = (by_id(was.endpoints(), id), by_id(is.endpoints(), id));
            keep_rows(rows, "endpoint", endpoints.0, endpoints.1)?;
            let id = |one: &Sandbox| one.id;
            let sandboxes = (by_id(was.sandboxes(), id), by_id(is.sandboxes(), id));
            keep_rows(rows, "sandbox", sandboxes.0, sandboxes.1)?;
            if old.site != new.site {
                rows.insert("site", json(&new.site).as_slice())?;
            }
            if old.graves != new.graves {
                rows.insert("graves", json(&new.graves).as_slice())?;
            }
            Ok(())
        })
    }

    /// The routes of all routers.
    pub fn routes(&self) -> Result<BTreeMap<u32, RouteMap>, StoreError> {
        let foreign = |why: String| StoreError::Foreign {
            path: self.path.clone(),
            why,
        };
        let mut routes: BTreeMap<u32, RouteMap> = BTreeMap::new();
        let rows = self
            .read_routes()
            .map_err(|error| foreign(error.to_string()))?;
        for (key, value) in rows {
            let bad = |_| foreign("one of its routes cannot be read".to_owned());
            let (router, rest) = key
                .split_first_chunk::<4>()
                .ok_or_else(|| foreign("one of its routes cannot be read".to_owned()))?;
            let key: RouteKey = postcard::from_bytes(rest).map_err(bad)?;
            let target = postcard::from_bytes(&value).map_err(bad)?;
            let own = routes.entry(u32::from_be_bytes(*router)).or_default();
            own.insert(key, target);
        }
        Ok(routes)
    }

    fn read_routes(&self) -> Result<RouteRows, redb::Error> {
        let transaction = self.database.begin_read()?;
        let table = match transaction.open_table(ROUTES) {
            Ok(table) => table,
            // Nobody has had a route yet.
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut rows = Vec::new();
        for row in table.iter()? {
            let (key, value) = row?;
            rows.push((key.value().to_vec(), value.value().to_vec()));
        }
        Ok(rows)
    }

    /// Forgets all routes of a router.
    pub fn drop_routes(&self, router: u32) -> Result<(), StoreError> {
        self.in_transaction(|transaction| {
            let first = router.to_be_bytes();
            let mut rows = transaction.open_table(ROUTES)?;
            match router.checked_add(1).map(u32::to_be_bytes) {
                Some(after) => rows.retain_in(&first[..]..&after[..], |_, _| false)?,
                None => rows.retain_in(&first[..].., |_, _| false)?,
            }
            Ok(())
        })
    }

    /// Makes changes to the routes of a router, all or none.
    pub fn change_routes(&self, router: u32, changes: &RouteChanges) -> Result<(), StoreError> {
        self.in_transaction(|transaction| {
            let mut rows = transaction.open_table(ROUTES)?;
            for (key, target) in changes {
                let mut bytes = router.to_be_bytes().to_vec();
                bytes.extend(packed(key));
                match target {
                    Some(target) => rows.insert(&bytes[..], &packed(target)[..])?,
                    None => rows.remove(&bytes[..])?,
                };
            }
            Ok(())
        })
    }

    /// Makes a file with its first row. Only a finished one gets the name, so that a crash meanwhile
    /// leaves nothing that looks like a damaged store.
    fn begin(path: &Path) -> Result<(), StoreError> {
        let nascent = path.with_extension("new");
        let io = |error: &dyn Display| StoreError::Io {
            path: path.into(),
            why: error.to_string(),
        };
        match std::fs::remove_file(&nascent) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io(&e)),
            _ => {}
        }
        let store = Self {
            database: Database::create(&nascent).map_err(|error| io(&error))?,
            path: nascent.clone(),
        };
        store.write(|rows| {
            rows.insert("version", VERSION)?;
            Ok(())
        })?;
        drop(store);
        std::fs::rename(&nascent, path).map_err(|error| io(&error))
    }

    fn write(
        &self,
        work: impl FnOnce(&mut Table<'_>) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        self.in_transaction(|transaction| work(&mut transaction.open_table(ROWS)?))
    }

    /// Does work that is on disk when this returns, or undone.
    fn in_transaction(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        let result = (|| -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            work(&transaction)?;
            transaction.commit()?;
            Ok(())
        })();
        result.map_err(|error| StoreError::Io {
            path: self.path.clone(),
            why: error.to_string(),
        })
    }

    fn read(&self) -> Result<Belief, StoreError> {
        let foreign = |why: String| StoreError::Foreign {
            path: self.path.clone(),
            why,
        };
        let rows = self
            .read_rows()
            .map_err(|error| foreign(error.to_string()))?;
        let mut belief = Belief::default();
        let (mut networks, mut endpoints, mut sandboxes) = (Vec::new(), Vec::new(), Vec::new());
        let mut version = None;
        for (key, value) in rows {
            if key == "version" {
                version = Some(value);
            } else if key == "switch" {
                let row: SwitchRow = parse(&key, &value).map_err(foreign)?;
                belief.switch.next_bridge = row.next_bridge;
                belief.switch.next_router = row.next_router;
            } else if key == "conntrack" {
                belief.switch.conntrack = parse(&key, &value).map_err(foreign)?;
            } else if key == "ssl" {
                belief.switch.ssl = Some(parse(&key, &value).map_err(foreign)?);
            } else if let Some(name) = key.strip_prefix("router/") {
                let router: Router = parse(&key, &value).map_err(foreign)?;
                belief.switch.routers.insert(name.into(), router);
            } else if key == "site" {
                belief.site = parse(&key, &value).map_err(foreign)?;
            } else if key == "graves" {
                belief.graves = parse(&key, &value).map_err(foreign)?;
            } else if key.starts_with("network/") {
                networks.push(parse(&key, &value).map_err(foreign)?);
            } else if key.starts_with("endpoint/") {
                endpoints.push(parse(&key, &value).map_err(foreign)?);
            } else if key.starts_with("sandbox/") {
                sandboxes.push(parse(&key, &value).map_err(foreign)?);
            } else if let Some(name) = key.strip_prefix("bridge/") {
                let bridge: Bridge = parse(&key, &value).map_err(foreign)?;
                belief.switch.bridges.insert(name.into(), bridge);
            } else if let Some(name) = key.strip_prefix("uplink/") {
                let uplink = parse(&key, &value).map_err(foreign)?;
                belief.switch.uplinks.insert(name.into(), uplink);
            } else if key == "socket" {
                belief.switch.socket = Some(parse(&key, &value).map_err(foreign)?);
            } else {
                return Err(foreign(format!("it has a row {key:?}")));
            }
        }
        match version.as_deref() {
            Some(VERSION) => {}
            Some(VERSION_BEFORE) => self.write(|rows| {
                rows.insert("version", VERSION)?;
                Ok(())
            })?,
            Some(other) => {
                let version = String::from_utf8_lossy(other).into_owned();
                return Err(foreign(format!("its rows are of version {version:?}")));
            }
            None => return Err(foreign("it has no version row".into())),
        }
        belief.containers = Containers::load(networks, endpoints, sandboxes).map_err(foreign)?;
        Ok(belief)
    }

    fn read_rows(&self) -> Result<Rows, redb::Error> {
        let transaction = self.database.begin_read()?;
        let mut rows = Vec::new();
        for row in transaction.open_table(ROWS)?.iter()? {
            let (key, value) = row?;
            rows.push((key.value().to_owned(), value.value().to_vec()));
        }
        Ok(rows)
    }
}

/// The open table of rows.
type Table<'a> = redb::Table<'a, &'static str, &'static [u8]>;

/// Networks that are not always there.
fn own(mut networks: Vec<&Network>) -> impl Iterator<Item = (Id, &Network)> {
    networks.retain(|one| !one.is_predefined());
    by_id(networks, |one| one.id)
}

fn by_id<T>(all: Vec<&T>, id: fn(&T) -> Id) -> impl Iterator<Item = (Id, &T)> {
    all.into_iter().map(move |one| (id(one), one))
}

/// Writes the rows of one kind that differ, and removes those that are no more.
fn keep_rows<'a, K: Display + Ord, T: Serialize + PartialEq + 'a>(
    rows: &mut Table<'_>,
    kind: &str,
    old: impl IntoIterator<Item = (K, &'a T)>,
    new: impl IntoIterator<Item = (K, &'a T)>,
) -> Result<(), redb::Error> {
    let mut gone: BTreeMap<K, &T> = old.into_iter().collect();
    for (name, one) in new {
        if gone.remove(&name) != Some(one) {
            rows.insert(format!("{kind}/{name}").as_str(), json(one).as_slice())?;
        }
    }
    for name in gone.into_keys() {
        rows.remove(format!("{kind}/{name}").as_str())?;
    }
    Ok(())
}

/// What is under each key, as it is in the file.
type Rows = Vec<(String, Vec<u8>)>;

/// The same of routes.
type RouteRows = Vec<(Vec<u8>, Vec<u8>)>;

/// Whether a file begins as redb's do; the inner error says what is wrong.
fn check_magic(path: &Path) -> std::io::Result<Result<(), String>> {
    use std::io::Read;
    let mut head = Vec::new();
    std::fs::File::open(path)?.take(4).read_to_end(&mut head)?;
    Ok(if head == b"redb" {
        Ok(())
    } else {
        Err("it is some other kind of file".into())
    })
}

fn packed(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("routes are numbers and addresses")
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("rows are structs of strings, numbers and string maps")
}

fn parse<T: for<'de> Deserialize<'de>>(key: &str, value: &[u8]) -> Result<T, String> {
    serde_json::from_slice(value)
        .map_err(|error| format!("its row {key:?} cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};

    use super::*;
    use crate::ipam::Defaults;
    use crate::model::Ssl;
    use crate::model::containers::{NewEndpoint, NewNetwork, NewSandbox};
    use vswitch_dpapi::RouteTarget;
    use vswitch_dpapi::conntrack::CtTimeout;
    use vswitch_rpc::method::Options;

    fn belief(bridges: u32) -> Belief {
        let mut belief = Belief::default();
        for i in 0..bridges {
            let mac = [2, 0, 0, 0, 0, i as u8];
            let name = format!("br{i}");
            belief
                .switch
                .add_bridge(&name, &Options::new(), mac)
                .expect("a fresh name");
        }
        belief
    }

    #[test]
    fn what_was_saved_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let (store, found) = Store::open(&path).unwrap();
        assert_eq!(found, Belief::default());
        let mut states = vec![found, belief(3), belief(1)];
        let mut changed = belief(1);
        changed
            .switch
            .set_bridge("br0", &[("fail_mode".into(), "secure".into())].into())
            .unwrap();
        states.push(changed.clone());
        let tracking = &mut changed.switch.conntrack;
        tracking.limits.insert(5, 6);
        let seconds = [(CtTimeout::UdpFirst, 7)].into();
        tracking.zone_timeouts.insert(8, seconds);
        states.push(changed.clone());
        changed.switch.ssl = Some(Ssl {
            private_key: "/key".into(),
            certificate: "/cert".into(),
            ca_cert: "/ca".into(),
        });
        states.push(changed.clone());
        changed.switch.ssl = None;
        states.push(changed.clone());
        let steer = [("steer".into(), "udp:4789".into())].into();
        changed.switch.add_uplink("eth0", &steer).unwrap();
        changed.switch.set_socket(true).unwrap();
        states.push(changed.clone());
        let mut without = changed.clone();
        without.switch.del_uplink("eth0", false).unwrap();
        without.switch.set_socket(false).unwrap();
        states.push(without);
        let id = |byte: u8| Id::new([byte; 32]);
        let containers = &mut changed.containers;
        for (byte, name) in [(1, "red"), (2, "blue")] {
            let new = NewNetwork {
                name: name.into(),
                ipv4: true,
                ipv6: byte == 2,
                ..NewNetwork::default()
            };
            let defaults = Defaults::local([9; 5]);
            containers
                .create_network(id(byte), new, &defaults, &[])
                .unwrap();
        }
        changed.site = Some([9; 5]);
        changed.graves.insert("/run/netns/x".into());
        states.push(changed.clone());
        let containers = &mut changed.containers;
        let new = NewSandbox {
            name: "c1".into(),
            ..NewSandbox::default()
        };
        containers.create_sandbox(id(3), new).unwrap();
        for (byte, network) in [(4, 1), (5, 2)] {
            let new = NewEndpoint {
                name: "c1".into(),
                ..NewEndpoint::default()
            };
            containers
                .create_endpoint(id(byte), &id(network), new)
                .unwrap();
            containers.join(&id(byte), &id(3), "eth").unwrap();
        }
        states.push(changed.clone());
        let containers = &mut changed.containers;
        containers.remove_endpoint(&id(4), true).unwrap();
        containers.remove_network(&id(1)).unwrap();
        changed.graves.clear();
        states.push(changed.clone());
        for pair in states.windows(2) {
            store.save(&pair[0], &pair[1]).unwrap();
        }
        drop(store);
        assert_eq!(Store::open(&path).unwrap().1, changed);
    }

    #[test]
    fn routes_are_found_again_and_go_with_their_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let (store, _) = Store::open(&path).unwrap();
        assert!(store.routes().unwrap().is_empty());
        let key = |text: &str| -> RouteKey { (text.parse().unwrap(), None) };
        let some = |text: &str| (key(text), Some(RouteTarget::Prohibit));
        let all = vec![some("10.0.0.0/8"), some("10.0.0.0/16"), some("::/0")];
        store.change_routes(7, &all).unwrap();
        store.change_routes(8, &vec![some("10.0.0.0/8")]).unwrap();
        store
            .change_routes(7, &vec![(key("10.0.0.0/16"), None)])
            .unwrap();
        drop(store);
        let (store, _) = Store::open(&path).unwrap();
        let routes = store.routes().unwrap();
        store.drop_routes(8).unwrap();
        assert!(!store.routes().unwrap().contains_key(&8));
        let seven: Vec<_> = routes[&7].keys().copied().collect();
        assert_eq!(seven, [key("10.0.0.0/8"), key("::/0")]);
        assert_eq!(routes[&8].len(), 1);
    }

    #[test]
    fn two_cannot_have_it_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let _first = Store::open(&path).unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::Busy(_))));
    }

    #[test]
    fn foreign_and_damaged_files_are_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let (store, empty) = Store::open(&path).unwrap();
        store.save(&empty, &belief(2)).unwrap();
        drop(store);
        let whole = std::fs::read(&path).unwrap();
        let mut cases = vec![b"not a store\n".to_vec(), b"redb".to_vec(), whole.clone()];
        // The header with the roots of both copies of the trees.
        cases[2][..512].fill(0x55);
        cases.push(cases[2].clone());
        cases[3][..4].copy_from_slice(b"redb");
        cases.push(whole[..whole.len() / 2].to_vec());
        for (i, bytes) in cases.iter().enumerate() {
            std::fs::write(&path, bytes).unwrap();
            let error = Store::open(&path).expect_err("refused").to_string();
            assert!(error.contains("vswitch.db"), "case {i}: {error}");
            assert_eq!(&std::fs::read(&path).unwrap(), bytes, "case {i}");
        }
    }

    #[test]
    fn rows_of_the_version_before_are_read_and_brought_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let (store, empty) = Store::open(&path).unwrap();
        store.save(&empty, &belief(2)).unwrap();
        let age = |rows: &mut Table<'_>| {
            rows.insert("version", VERSION_BEFORE)?;
            Ok(())
        };
        store.write(age).unwrap();
        drop(store);
        let (store, found) = Store::open(&path).expect("it is read");
        assert_eq!(found, belief(2));
        let rows = store.read_rows().unwrap();
        assert!(rows.contains(&("version".into(), VERSION.to_vec())));
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let (store, _) = Store::open(&path).unwrap();
        let id = Id::new([7; 32]);
        let row = serde_json::json!({
            "id": id, "name": "c1", "network": id, "mac": [2, 0, 0, 0, 0, 1],
        });
        let orphan = |rows: &mut Table<'_>| {
            rows.insert(format!("endpoint/{id}").as_str(), json(&row).as_slice())?;
            Ok(())
        };
        store.write(orphan).unwrap();
        drop(store);
        let error = Store::open(&path).expect_err("refused").to_string();
        assert!(
            error.contains("endpoint c1: its network is not there"),
            "{error}"
        );
    }

    #[test]
    fn rows_of_another_version_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let (store, _) = Store::open(&path).unwrap();
        store
            .write(|rows| {
                rows.insert("version", b"99".as_slice())?;
                Ok(())
            })
            .unwrap();
        drop(store);
        let error = Store::open(&path).expect_err("refused").to_string();
        assert!(error.contains("version \"99\""), "{error}");
    }

    const WRITER: &str = "VSWITCH_TEST_STORE_WRITER";

    /// Saves one state after another until it is killed; a line says which has been saved.
    fn write_for_ever(path: &Path) {
        let (store, mut now) = Store::open(path).unwrap();
        let mut out = std::io::stdout();
        for i in now.switch.next_bridge.. {
            let mut next = now.clone();
            // A hand's breadth of bridges come and go so that rows are inserted and removed.
            let name = format!("br{}", i % 7);
            let _ = next.switch.del_bridge(&name);
            next.switch
                .add_bridge(&name, &Options::new(), [2, 0, 0, 0, 0, 1])
                .unwrap();
            store.save(&now, &next).unwrap();
            now = next;
            writeln!(out, "saved {i}").unwrap();
        }
    }

    #[test]
    fn a_killed_writer_leaves_what_it_acknowledged() {
        if let Some(path) = std::env::var_os(WRITER) {
            return write_for_ever(Path::new(&path));
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        for round in 0..8 {
            let mut writer = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--nocapture"])
                .arg("store::tests::a_killed_writer_leaves_what_it_acknowledged")
                .env(WRITER, &path)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
            let mut acknowledged = None;
            // Killed after a different number of saves each time, and at whatever it is doing then.
            for line in lines.by_ref().map_while(Result::ok) {
                let Some(number) = line.strip_prefix("saved ") else {
                    continue;
                };
                let number: u32 = number.parse().unwrap();
                let first = *acknowledged.get_or_insert(number);
                if number >= first + round * 3 {
                    break;
                }
            }
            writer.kill().unwrap();
            writer.wait().unwrap();
            let last = lines
                .map_while(Result::ok)
                .filter_map(|line| line.strip_prefix("saved ")?.parse().ok())
                .last()
                .unwrap_or_else(|| acknowledged.expect("it saved") + round * 3);
            let (_, found) = Store::open(&path).expect("readable after the kill");
            let saved = found.switch.next_bridge - 1;
            assert!(
                saved == last || saved == last + 1,
                "found {saved}, acknowledged {last}"
            );
        }
    }
}
