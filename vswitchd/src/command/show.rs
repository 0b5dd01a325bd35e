//! The whole switch in one answer.

use vswitch_dpapi::message::{PollMode, PortStats, Reply, Request, WorkerStats};
use vswitch_rpc::port::{Info, State};
use vswitch_rpc::show::{Bridge, Datapath, DatapathState, Switch, Worker};
use vswitch_rpc::{Refusal, mirror, show};

use crate::control::Control;
use crate::dataplane::unexpected;
use crate::model::{self, Port, key};

impl Control {
    pub(super) async fn show(&mut self) -> Result<Switch, Refusal> {
        let datapath = self.datapath().await;
        let stats = self.port_stats().await.unwrap_or_default();
        let (uplinks, socket) = self.loose_ports().await;
        let bridges = self.belief.switch.bridges.values();
        Ok(Switch {
            version: env!("CARGO_PKG_VERSION").into(),
            datapath,
            bridges: bridges
                .map(|bridge| self.bridge_info(bridge, &stats))
                .collect(),
            uplinks,
            socket,
        })
    }

    /// The packet process. That it does not answer is an answer too.
    async fn datapath(&mut self) -> Datapath {
        let mut datapath = Datapath {
            pid: None,
            state: DatapathState::Down,
            uptime_s: 0,
            mode: match self.dataplane.poll_mode() {
                PollMode::Adaptive => show::PollMode::Adaptive,
                PollMode::Busy => show::PollMode::Busy,
            },
            workers: Vec::new(),
        };
        if let Ok(Reply::State(state)) = self.dataplane.ask(&Request::State).await {
            datapath.state = DatapathState::Running;
            datapath.uptime_s = state.uptime;
            datapath.mode = match state.poll {
                PollMode::Adaptive => show::PollMode::Adaptive,
                PollMode::Busy => show::PollMode::Busy,
            };
        }
        if let Ok(workers) = self.workers().await {
            datapath.workers = workers.iter().map(|worker| self.worker(worker)).collect();
        }
        datapath.pid = self.dataplane.pid();
        datapath
    }

    /// The datapath's workers.
    pub(super) async fn workers(&mut self) -> Result<Vec<WorkerStats>, Refusal> {
        match self.dataplane.ask(&Request::Workers).await? {
            Reply::Workers(workers) => Ok(workers),
            other => Err(unexpected(&other).into()),
        }
    }

    fn worker(&self, worker: &WorkerStats) -> Worker {
        let mut ports: Vec<String> = worker
            .queues
            .iter()
            .map(|(port, _, _)| self.port_name(port.0))
            .collect();
        ports.dedup();
        Worker {
            id: worker.worker,
            core: worker.core,
            ports,
        }
    }

    fn bridge_info(&self, bridge: &model::Bridge, stats: &[PortStats]) -> Bridge {
        let ports = bridge.ports_by_number();
        Bridge {
            name: bridge.name.clone(),
            fail_mode: bridge.settings.fail_mode,
            datapath_id: format!("{:016x}", bridge.datapath_id()),
            mac_table_size: u64::from(bridge.settings.mac_table_size),
            mac_aging_time: u64::from(bridge.settings.mac_aging_time),
            controllers: self.controllers(bridge),
            ports: ports
                .iter()
                .map(|port| self.port_info(port, stats))
                .collect(),
            mirrors: bridge
                .mirrors
                .iter()
                .map(|(name, mirror)| mirror::Info {
                    name: name.clone(),
                    select_all: mirror.select_all,
                    select_src: mirror.select_src.clone(),
                    select_dst: mirror.select_dst.clone(),
                    select_vlan: mirror.select_vlan.clone(),
                    output_port: mirror.output_port.clone(),
                    output_vlan: mirror.output_vlan,
                })
                .collect(),
        }
    }

    /// Whether packets pass through a port.
    pub(super) fn port_state(&self, port: &Port) -> State {
        let device = self.devices.get(&port.id);
        let link = device.and_then(|device| device.link.as_ref());
        match (device, link) {
            (None, _) if port.has_device() && !port.made_device => State::Missing,
            (None, _) => State::Error,
            (Some(_), _) if self.errors.contains_key(&port.id) => State::Error,
            (Some(_), Some(link)) if link.running => State::Up,
            (Some(_), Some(_)) => State::Down,
            (Some(_), None) if port.has_device() => State::Missing,
            (Some(_), None) => State::Up,
        }
    }

    fn port_info(&self, port: &Port, stats: &[PortStats]) -> Info {
        let device = self.devices.get(&port.id);
        let error = self.errors.get(&port.id).cloned();
        let state = self.port_state(port);
        let why = device.map_or("", |device| device.why.as_str());
        let why = [port.why.as_str(), why]
            .into_iter()
            .filter(|why| !why.is_empty())
            .collect::<Vec<_>>()
            .join("; ");
        let mut detail: std::collections::BTreeMap<String, String> = device
            .map(|device| device.detail())
            .unwrap_or_default()
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        let settings = &port.settings;
        let words = [
            ("peer", &settings.peer),
            ("router", &settings.router_port.router),
            ("file", &settings.file),
            ("capture", &settings.capture),
        ];
        for (key, value) in words {
            if let Some(value) = value {
                detail.insert(key.into(), value.clone());
            }
        }
        if model::tunnel::protocol(port.kind).is_some() {
            let shown = key::show(model::port::KEYS, settings);
            let words = shown
                .into_iter()
                .filter(|(key, _)| model::tunnel::NAMES.contains(&key.as_str()));
            detail.extend(words);
            let stats = stats.iter().find(|stats| stats.port.0 == port.id);
            if let Some(stats) = stats {
                detail.insert("way".into(), stats.detail.clone());
            }
        }
        Info {
            name: port.name.clone(),
            of_port: port.of_port,
            kind: port.kind,
            state,
            why,
            detail,
            vlan: port.settings.vlan(),
            error,
        }
    }
}
