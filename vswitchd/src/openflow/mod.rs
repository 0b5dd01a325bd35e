//! The OpenFlow agent: what controllers and OpenFlow clients say of a bridge becomes the datapath's,
//! and what the datapath tells becomes messages to them.
//!
//! The rooms: [`listen`] has the sockets and the controllers that are connected to, [`link`] one
//! connection's bytes, version and liveliness; both are tasks that know nothing of the switch. They
//! send [`link::Word`]s to the event loop, where [`Control`] answers a turn of messages after
//! another ([`turn`], `answer`), knowing each peer by its [`session`]. [`tables`] is what we
//! remember for the next datapath, [`journal`] what happened to it, for [`monitor`] to tell. Bytes are read and written by `vswitch-openflow`.
//!
//! Law: nothing that a peer sends ends anything but its own connection, nobody waits for a peer, and
//! what one can make us hold is bounded (`link`, `push`, `listen`).
//!
//! Threads: none of its own; everything runs in the one event loop.
//!
//! Spec: OpenFlow 1.0.1, 1.3.5 and 1.4.1; where they leave a choice, or Open vSwitch does otherwise,
//! `docs/openflow.md` says what is done here.
//!
//! [`Control`]: crate::control::Control

pub mod answer;
pub mod bundle;
pub mod commit;
pub mod controllers;
pub mod dump;
pub mod hello;
pub mod journal;
pub mod keys;
pub mod link;
pub mod listen;
pub mod lists;
pub mod monitor;
pub mod news;
pub mod packed;
pub mod ports;
pub mod push;
pub mod refuse;
mod secure;
pub mod session;
pub mod stream;
pub mod table_config;
pub mod tables;
pub mod turn;

#[cfg(test)]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "a part of the harness, of which not every proof needs all"
)]
#[path = "../../../tests/harness/authority.rs"]
mod authority;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;
use vswitch_dpapi::Event;
use vswitch_openflow::port::PortDesc;

pub use link::Word;

use crate::model::{Bridge, Ssl, Target};
use dump::Permits;
use keys::Keys;
use link::{DoorId, LinkId, Setting, TargetState};
use listen::Door;
use session::Session;
use table_config::TableSettings;

/// Words of links that wait for the event loop; links wait when there are more.
const WORDS: usize = 64;

/// Dumps at a time, each with a connection to the datapath; more wait.
const DUMPS: usize = 8;

/// Copies that wait for those who listen in; who is slower misses some.
const COPIES: usize = 1024;

/// All peers of all bridges.
#[derive(Debug)]
pub struct Agent {
    rundir: PathBuf,
    datapath: PathBuf,
    words: mpsc::Receiver<Word>,
    sender: mpsc::Sender<Word>,
    dumps: Permits,
    /// Who we are to peers that speak TLS.
    keys: Arc<Keys>,
    next_door: u64,
    /// By the bridge's number.
    bridges: BTreeMap<u32, BridgeDoors>,
    sessions: BTreeMap<LinkId, Session>,
    /// Told by the datapath, for peers to hear of when the turn is over.
    events: Vec<Event>,
}

/// The ways to a bridge, and what its peers have in common.
#[derive(Debug)]
struct BridgeDoors {
    name: String,
    /// `NAME.mgmt` and `NAME.snoop`; one that could not be made is missing.
    service: Option<Door>,
    snoop: Option<Door>,
    copies: broadcast::Sender<Arc<[u8]>>,
    targets: BTreeMap<Target, TargetDoor>,
    /// The highest generation of a role request.
    generation: Option<u64>,
    /// The ports that peers know of.
    ports: Vec<PortDesc>,
    /// How peers configured tables.
    tables: TableSettings,
    /// Since when no controller is connected.
    alone_since: Option<Instant>,
    /// The flow of a standalone bridge stands in for the controllers.
    standing_in: bool,
}

/// A controller, or a place where controllers may come.
#[derive(Debug)]
struct TargetDoor {
    door: Door,
    state: TargetState,
    since: Instant,
    /// Why the last connection ended.
    error: Option<String>,
}

impl Agent {
    /// No doors yet; sockets will be in `rundir`, and dumps are asked of the datapath that listens
    /// on `datapath`.
    pub fn new(rundir: &Path, datapath: &Path) -> Self {
        let (sender, words) = mpsc::channel(WORDS);
        Self {
            rundir: rundir.into(),
            datapath: datapath.into(),
            words,
            sender,
            dumps: Permits::new(DUMPS),
            keys: Arc::default(),
            next_door: 1,
            bridges: BTreeMap::new(),
            sessions: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    /// What a link says next.
    pub async fn next(&mut self) -> Word {
        match self.words.recv().await {
            Some(word) => word,
            // We hold a sender ourselves, so there is always another.
            None => std::future::pending().await,
        }
    }

    /// An event for peers, to be told with [`Control::tell_peers`].
    ///
    /// [`Control::tell_peers`]: crate::control::Control
    pub fn note(&mut self, event: Event) {
        self.events.push(event);
    }

    fn door_id(&mut self) -> DoorId {
        let id = DoorId(self.next_door);
        self.next_door += 1;
        id
    }

    /// What a door's links have in common. Clients of this machine are neither probed nor shown.
    fn setting(&mut self, copies: Option<&broadcast::Sender<Arc<[u8]>>>) -> Setting {
        Setting {
            door: self.door_id(),
            words: self.sender.clone(),
            snoop: copies.cloned(),
            probe: copies.is_some(),
            datapath: self.datapath.clone(),
            dumps: self.dumps.clone(),
        }
    }

    /// Says by which files we prove who we are. Connections that exist stay.
    pub fn set_ssl(&self, ssl: Option<&Ssl>) {
        self.keys.set(ssl.map(Ssl::files));
    }

    /// Opens and closes doors so that they are those of these bridges.
    pub fn set_bridges<'a>(&mut self, bridges: impl Iterator<Item = &'a Bridge>) {
        let bridges: BTreeMap<u32, &Bridge> = bridges.map(|bridge| (bridge.id, bridge)).collect();
        self.bridges.retain(|id, _| bridges.contains_key(id));
        for (id, bridge) in bridges {
            if !self.bridges.contains_key(&id) {
                let doors = self.open(&bridge.name);
                self.bridges.insert(id, doors);
            }
            self.set_targets(id, &bridge.settings.controllers);
        }
        let open: Vec<DoorId> = self.bridges.values().flat_map(BridgeDoors::ids).collect();
        self.sessions
            .retain(|_, session| open.contains(&session.door));
    }

    fn open(&mut self, name: &str) -> BridgeDoors {
        let (copies, _) = broadcast::channel(COPIES);
        let path = |suffix: &str| self.rundir.join(format!("{name}.{suffix}"));
        let (service, snoop) = (path("mgmt"), path("snoop"));
        let complain = |path: &Path, error: std::io::Error| {
            tracing::error!(path = %path.display(), %error, "an OpenFlow socket could not be made");
        };
        let setting = self.setting(None);
        let service = Door::service(&service, setting).map_err(|error| complain(&service, error));
        let id = self.door_id();
        let snoop =
            Door::snoop(&snoop, id, copies.clone()).map_err(|error| complain(&snoop, error));
        BridgeDoors {
            name: name.into(),
            service: service.ok(),
            snoop: snoop.ok(),
            copies,
            targets: BTreeMap::new(),
            generation: None,
            ports: Vec::new(),
            tables: TableSettings::default(),
            alone_since: None,
            standing_in: false,
        }
    }

    fn set_targets(&mut self, id: u32, wanted: &[Target]) {
        let Some(doors) = self.bridges.get_mut(&id) else {
            return;
        };
        doors.targets.retain(|target, _| wanted.contains(target));
        let (name, copies) = (doors.name.clone(), doors.copies.clone());
        let known: Vec<Target> = doors.targets.keys().copied().collect();
        for target in wanted.iter().filter(|target| !known.contains(target)) {
            let setting = self.setting(Some(&copies));
            let keys = target.is_secure().then(|| Arc::clone(&self.keys));
            let door = match *target {
                Target::Tcp(address) | Target::Ssl(address) => {
                    Door::active(address, keys, &name, setting)
                }
                Target::Ptcp(address) | Target::Pssl(address) => {
                    Door::passive(address, keys, setting)
                }
            };
            let target_door = TargetDoor {
                door,
                state: TargetState::Connecting,
                since: Instant::now(),
                error: None,
            };
            if let Some(doors) = self.bridges.get_mut(&id) {
                doors.targets.insert(*target, target_door);
            }
        }
    }

    /// The bridge that a door leads to, and whether peers come by it of themselves.
    fn bridge_of(&self, door: DoorId) -> Option<(u32, bool)> {
        self.bridges.iter().find_map(|(id, doors)| {
            if doors
                .service
                .as_ref()
                .is_some_and(|service| service.id == door)
            {
                return Some((*id, true));
            }
            let mut targets = doors.targets.iter();
            let (target, _) = targets.find(|(_, target)| target.door.id == door)?;
            Some((*id, target.is_passive()))
        })
    }

    /// Tables of each bridge that evict flows when they are full.
    pub fn evicting(&self) -> BTreeMap<u32, BTreeSet<u8>> {
        let bridges = self.bridges.iter();
        bridges
            .map(|(id, doors)| (*id, doors.tables.evicting()))
            .collect()
    }

    /// Bridges on which a peer wants packets that nothing matches.
    pub fn miss_bridges(&self) -> Vec<u32> {
        let wanting = self
            .sessions
            .values()
            .filter(|session| session.wants_misses());
        let mut bridges: Vec<u32> = wanting.map(|session| session.bridge).collect();
        bridges.sort_unstable();
        bridges.dedup();
        bridges
    }
}

impl BridgeDoors {
    fn ids(&self) -> Vec<DoorId> {
        let own = self.service.iter().chain(&self.snoop).map(|door| door.id);
        own.chain(self.targets.values().map(|target| target.door.id))
            .collect()
    }
}
