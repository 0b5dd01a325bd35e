//! Commands as `ovs-appctl` gives them: words are read, one of our own commands is carried out, and
//! [`vswitch_rpc::text`] makes the words that come back.
//!
//! The socket of [`crate::unixctl`] and `vsctl appctl` both lead here. Errors are worded as Open
//! vSwitch words them where it has the same error, since scripts compare them.

mod arguments;
mod conntrack;
mod counters;
mod datapath;
mod trace;
mod workers;

pub use counters::Sampled;
pub(crate) use datapath::named_actions;
pub use workers::Cleared;

use vswitch_dpapi::message::{Reply, Request};
use vswitch_rpc::bridge::{FdbFlush, FdbShow, FdbStats};
use vswitch_rpc::dpctl::Options;
use vswitch_rpc::flow::DumpFlows;
use vswitch_rpc::method::Appctl;
use vswitch_rpc::{Code, Refusal, text};

use crate::control::Control;
use crate::dataplane::{DataplaneError, unexpected};
use crate::log::LogError;
use crate::unixctl::table::{self, BadCall, Command};

/// What scripts know the packet process by: the userspace datapath of Open vSwitch, whose place it
/// takes.
pub const DATAPATH: &str = "netdev@ovs-netdev";

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum AppctlError {
    /// Not a command, or too little or too much of it.
    #[error(transparent)]
    BadCall(#[from] BadCall),
    /// `fdb/*`.
    #[error("no such bridge")]
    NoSuchBridge,
    /// `bridge/*`.
    #[error("Unknown bridge")]
    UnknownBridge,
    /// `coverage/read-counter`.
    #[error("No such counter")]
    NoSuchCounter,
    /// `dpctl/*`.
    #[error(transparent)]
    Dpctl(#[from] arguments::DpctlError),
    /// `dpctl/*` on connections and fragments.
    #[error(transparent)]
    Tracking(#[from] conntrack::TrackingError),
    /// `ofproto/trace`, `ofproto/trace-packet-out`.
    #[error(transparent)]
    Trace(#[from] trace::TraceError),
    /// `vlog/*`.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Our own command was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl From<DataplaneError> for AppctlError {
    fn from(error: DataplaneError) -> Self {
        Self::Refused(error.into())
    }
}

impl Control {
    /// Carries out a command; the answer is what is printed.
    pub async fn appctl(&mut self, name: &str, args: &[String]) -> Result<String, AppctlError> {
        let row = table::find(name, args.len())?;
        let first = || args.first().map(String::as_str).unwrap_or_default();
        let last = || args.last().map(String::as_str).unwrap_or_default();
        Ok(match row.command {
            Command::BridgeDumpFlows => self.bridge_dump_flows(last()).await?,
            Command::CoverageReadCounter => {
                let totals = self.totals().await?;
                let total = totals.get(first()).ok_or(AppctlError::NoSuchCounter)?;
                format!("{total}\n")
            }
            Command::CoverageShow => {
                let totals = self.totals().await?;
                self.sampled.coverage.show(&totals)
            }
            Command::DpctlDumpFlows => self.appctl_dump_flows(args).await?,
            Command::DpctlShow => self.appctl_show(args).await?,
            Command::DumpDps => format!("{DATAPATH}\n"),
            Command::PmdPerfShow => self.pmd_perf_show(args).await?,
            Command::PmdRxqShow => self.pmd_rxq_show(args).await?,
            Command::PmdStatsClear => self.pmd_stats_clear(args).await?,
            Command::PmdStatsShow => self.pmd_stats_show(args).await?,
            Command::DpifShow => {
                let bridges = self.list_br()?;
                text::dpif_show(&self.dpctl_show().await?, &bridges)
            }
            Command::Exit => {
                if first() == "--cleanup" {
                    self.shutdown().await?;
                }
                self.last_call = true;
                String::new()
            }
            Command::FdbFlush => self.appctl_fdb_flush(args.first()).await?,
            Command::FdbShow => {
                let bridge = self.bridge_of_fdb(first())?;
                text::fdb_show(&self.fdb_show(&FdbShow { bridge }).await?)
            }
            Command::FdbStatsShow => {
                let bridge = self.bridge_of_fdb(first())?;
                text::fdb_stats_show(first(), &self.fdb_stats(&FdbStats { bridge }).await?)
            }
            Command::ListCommands => table::list(),
            Command::MemoryShow => self.memory_show().await?,
            Command::OfprotoList => self.list_br()?.iter().map(|br| format!("{br}\n")).collect(),
            Command::OfprotoTrace => self.ofproto_trace(args).await?,
            Command::OfprotoTracePacketOut => self.ofproto_trace_packet_out(args).await?,
            // Cached answers are checked when they are used, and counters are exact when they are
            // asked for: there is nothing to wait for.
            Command::Revalidator => String::new(),
            Command::Tracking(command) => {
                let answer = self.tracking(command, args).await?;
                let (options, _) = Options::read(args).map_err(arguments::DpctlError::from)?;
                text::dpctl(&answer, &options)
            }
            Command::UpcallShow => self.upcall_show().await?,
            Command::Version => format!("vswitchd (vswitch) {}\n", env!("CARGO_PKG_VERSION")),
            Command::VlogClose => {
                self.log.close();
                String::new()
            }
            Command::VlogList => self.log.list(),
            Command::VlogReopen => {
                self.log.reopen()?;
                String::new()
            }
            Command::VlogSet => {
                self.log.set(args)?;
                String::new()
            }
        })
    }

    /// `appctl` of `vsctl`.
    pub(super) async fn appctl_lines(&mut self, call: &Appctl) -> Result<Vec<String>, Refusal> {
        match self.appctl(&call.command, &call.args).await {
            Ok(text) => Ok(text.lines().map(Into::into).collect()),
            Err(AppctlError::Refused(refusal)) => Err(refusal),
            Err(error) => Err(Refusal::new(Code::Refused, error.to_string().trim_end())),
        }
    }

    fn bridge_of_fdb(&self, name: &str) -> Result<String, AppctlError> {
        let bridge = self.belief.switch.bridge(name);
        Ok(bridge.map_err(|_| AppctlError::NoSuchBridge)?.name.clone())
    }

    async fn appctl_fdb_flush(&mut self, bridge: Option<&String>) -> Result<String, AppctlError> {
        let bridges = match bridge {
            Some(bridge) => vec![self.bridge_of_fdb(bridge)?],
            None => self.list_br()?,
        };
        for bridge in bridges {
            self.fdb_flush(&FdbFlush { bridge }).await?;
        }
        Ok("table successfully flushed\n".into())
    }

    async fn bridge_dump_flows(&mut self, bridge: &str) -> Result<String, AppctlError> {
        let bridge = self.belief.switch.bridge(bridge);
        let bridge = bridge.map_err(|_| AppctlError::UnknownBridge)?.name.clone();
        let call = DumpFlows {
            bridge,
            filter: None,
        };
        Ok(text::bridge_dump_flows(&self.dump_flows(call).await?))
    }

    /// Seconds since the packet process began.
    async fn datapath_uptime(&mut self) -> Result<u64, AppctlError> {
        match self.dataplane.ask(&Request::State).await? {
            Reply::State(state) => Ok(state.uptime),
            other => Err(unexpected(&other).into()),
        }
    }
}
