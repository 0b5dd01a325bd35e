//! The calls of `vsctl`, one function each, and those of `ovs-appctl`, which are made of the same.

pub mod appctl;
mod bridge;
mod containers;
mod datapath;
mod flow;
mod frame;
mod mirror;
mod port;
mod router;
mod show;
mod ssl;
mod tracking;
mod uplink;

use std::io::Read;

use serde::Serialize;
use serde_json::Value;
use vswitch_rpc::method::Done;
use vswitch_rpc::{Call, Code, Refusal};

use crate::control::Control;

/// Bytes of chance.
fn random<const SIZE: usize>() -> Result<[u8; SIZE], Refusal> {
    let mut bytes = [0; SIZE];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| {
            let text = format!("there are no random numbers to be had: {error}");
            Refusal::new(Code::Kernel, text)
        })?;
    Ok(bytes)
}

/// A reply on its way to the caller.
type Answer = Result<Value, Refusal>;

impl Control {
    /// Carries out one call.
    pub async fn call(&mut self, call: Call) -> Answer {
        match call {
            Call::Show(_) => reply(self.show().await),
            Call::Shutdown(_) => {
                let ended = self.shutdown().await;
                self.last_call = ended.is_ok();
                reply(ended.map(|()| Done {}).map_err(Refusal::from))
            }
            Call::AddBr(call) => reply(self.add_br(call).await),
            Call::DelBr(call) => reply(self.del_br(call).await),
            Call::ListBr(_) => reply(self.list_br()),
            Call::SetBr(call) => reply(self.set_br(call).await),
            Call::ReadBr(call) => reply(self.read_br(&call)),
            Call::AddPort(call) => reply(self.add_port(call).await),
            Call::DelPort(call) => reply(self.del_port(call).await),
            Call::ListPorts(call) => reply(self.list_ports(&call)),
            Call::SetPort(call) => reply(self.set_port(call).await),
            Call::ReadPort(call) => reply(self.read_port(&call)),
            Call::DumpPorts(call) => reply(self.dump_ports(&call).await),
            Call::AddMirror(call) => reply(self.add_mirror(call).await),
            Call::DelMirror(call) => reply(self.del_mirror(call).await),
            Call::SetSsl(call) => reply(self.set_ssl(call).await),
            Call::ReadSsl(_) => reply(self.read_ssl()),
            Call::DelSsl(_) => reply(self.del_ssl().await),
            Call::UplinkAdd(call) => reply(self.add_uplink(call).await),
            Call::UplinkRm(call) => reply(self.rm_uplink(&call).await),
            Call::UplinkLs(_) => reply(self.list_uplinks().await),
            Call::AddRouter(call) => reply(self.add_router(call).await),
            Call::DelRouter(call) => reply(self.del_router(call).await),
            Call::ShowRouters(call) => reply(self.show_routers(&call)),
            Call::Leases(call) => reply(self.leases(&call).await),
            Call::AddRouterPort(call) => reply(self.add_router_port(call).await),
            Call::DelRouterPort(call) => reply(self.del_router_port(call).await),
            Call::SetRouterPort(call) => reply(self.set_router_port(call).await),
            Call::AddRoutes(call) => reply(self.add_routes(call).await),
            Call::DelRoutes(call) => reply(self.del_routes(call).await),
            Call::ShowRoutes(call) => reply(self.show_routes(&call)),
            Call::FindRoute(call) => reply(self.find_route(&call).await),
            Call::ShowNeighbours(call) => reply(self.show_neighbours(&call).await),
            Call::FlushNeighbours(call) => reply(self.flush_neighbours(&call).await),
            Call::NetworkCreate(call) => reply(self.network_create(call).await),
            Call::NetworkLs(_) => reply(self.network_ls()),
            Call::NetworkInspect(call) => reply(self.network_inspect(&call)),
            Call::NetworkRm(call) => reply(self.network_rm(call).await),
            Call::NetworkPrune(_) => reply(self.network_prune().await),
            Call::NetworkConnect(call) => reply(self.network_connect(call).await),
            Call::NetworkDisconnect(call) => reply(self.network_disconnect(call).await),
            Call::NetworkExplain(call) => reply(self.network_explain(call).await),
            Call::EndpointLs(_) => reply(self.endpoint_ls()),
            Call::EndpointInspect(call) => reply(self.endpoint_inspect(&call)),
            Call::SandboxCreate(call) => reply(self.sandbox_create(call).await),
            Call::SandboxLs(_) => reply(self.sandbox_ls()),
            Call::SandboxRm(call) => reply(self.sandbox_rm(call).await),
            Call::SandboxExec(call) => reply(self.sandbox_exec(&call)),
            Call::FdbShow(call) => reply(self.fdb_show(&call).await),
            Call::FdbFlush(call) => reply(self.fdb_flush(&call).await),
            Call::FdbStats(call) => reply(self.fdb_stats(&call).await),
            Call::AddFlow(call) => reply(self.add_flow(call).await),
            Call::DelFlows(call) => reply(self.del_flows(call).await),
            Call::DumpFlows(call) => reply(self.dump_flows(call).await),
            Call::Trace(call) => reply(self.trace(call).await),
            Call::DpctlShow(_) => reply(self.dpctl_show().await),
            Call::DpctlDumpFlows(call) => reply(self.dpctl_dump_flows(call).await),
            Call::Dpctl(call) => reply(self.dpctl(&call).await),
            Call::PmdStats(_) => reply(self.pmd_stats().await),
            Call::PmdRxq(_) => reply(self.pmd_rxq().await),
            Call::Drops(call) => reply(self.drops(call).await),
            Call::Appctl(call) => reply(self.appctl_lines(&call).await),
        }
    }
}

fn reply(result: Result<impl Serialize, Refusal>) -> Answer {
    serde_json::to_value(result?).map_err(|error| {
        let text = format!("the answer cannot be written as JSON: {error}");
        Refusal::new(Code::Failed, text)
    })
}
