//! `dpctl/` commands on connections and fragments, for `ovs-appctl` and for `vsctl dpctl`.
//!
//! Settings are part of what should be: they are written to the store and given to every datapath,
//! where Open vSwitch forgets them at its end.

mod rows;
mod words;

use std::collections::BTreeMap;

use vswitch_dpapi::conntrack::{
    CONNECTIONS_MAX_LIMIT, CtHappened, CtSettings, CtTimeout, FRAGMENT_MIN_LIMIT,
    FRAGMENTS_MAX_LIMIT, FragmentCounts, FragmentSettings,
};
use vswitch_dpapi::message::{Reply, Request};
use vswitch_flow::CtFilter;
use vswitch_flow::text::parse_ct_filter;
use vswitch_rpc::dpctl::{
    Answer, Buckets, CtStats, Dpctl, FragmentFamily, FragmentStatus, Limits, Options, Timeouts,
    ZoneLimit, protocol_name,
};
use vswitch_rpc::{Code, Refusal};

use super::AppctlError;
use super::arguments::datapath;
use crate::control::Control;
use crate::dataplane::unexpected;
use crate::unixctl::table::{self, BadCall, Command, Tracking};
pub(super) use words::TrackingError;
use words::{Family, TimeoutChange};

/// Connections asked for at a time.
const PART: u32 = 4096;

impl Control {
    /// `dpctl` of `vsctl`.
    pub(in crate::command) async fn dpctl(&mut self, call: &Dpctl) -> Result<Answer, Refusal> {
        let answer = self.dpctl_words(&call.command, &call.args).await;
        answer.map_err(|error| match error {
            AppctlError::Refused(refusal) => refusal,
            error => Refusal::new(Code::Refused, error.to_string().trim_end()),
        })
    }

    async fn dpctl_words(&mut self, name: &str, args: &[String]) -> Result<Answer, AppctlError> {
        let name = format!("dpctl/{name}");
        match table::find(&name, args.len())?.command {
            Command::Tracking(command) => self.tracking(command, args).await,
            _ => Err(BadCall::Unknown(name).into()),
        }
    }

    /// Carries out a command on connections.
    pub(super) async fn tracking(
        &mut self,
        command: Tracking,
        args: &[String],
    ) -> Result<Answer, AppctlError> {
        let (_, words) = Options::read(args).map_err(super::arguments::DpctlError::from)?;
        Ok(match command {
            Tracking::Dump => {
                let filter = parse_ct_filter(words::dumped(words)?).map_err(TrackingError::from)?;
                Answer::Connections(self.connections(filter).await?)
            }
            Tracking::DumpExpected => {
                let (zone, _) = words::zone_last(words)?;
                Answer::Expectations(self.expected(zone).await?)
            }
            Tracking::Flush => {
                let filter = parse_ct_filter(datapath(words, usize::MAX)?);
                let filter = filter.map_err(TrackingError::from)?;
                match self.flush_connections(filter).await? {
                    0 if filter.is_tuple() => return Err(TrackingError::NoConnection.into()),
                    flushed => Answer::Flushed(flushed),
                }
            }
            Tracking::Stats => {
                let zone = words::stats(words)?;
                Answer::Stats(Box::new(self.ct_stats(zone).await?))
            }
            Tracking::Buckets => {
                let more_than = words::buckets(words)?;
                // There is one table, as in Open vSwitch, which says so too.
                let connections = vec![self.ct_stats(None).await?.total];
                Answer::Buckets(Buckets {
                    connections,
                    more_than,
                })
            }
            Tracking::Count => {
                datapath(words, 1)?;
                Answer::ConnectionCount(self.happened_to_connections().await?.len)
            }
            Tracking::Max => {
                datapath(words, 1)?;
                Answer::MaxConnections(self.ct_settings().max_connections)
            }
            Tracking::SetMax => {
                let max = words::number(datapath(words, 2)?).ok_or(TrackingError::MaxConns)?;
                if max > CONNECTIONS_MAX_LIMIT {
                    return Err(TrackingError::TooManyConns.into());
                }
                self.set_tracking(|settings| settings.max_connections = max)
                    .await?;
                done("setting maxconns successful")
            }
            Tracking::SeqChk => {
                datapath(words, 1)?;
                Answer::TcpSeqChk(self.ct_settings().tcp_seq_chk)
            }
            Tracking::SetSeqChk(check) => {
                datapath(words, 1)?;
                self.set_tracking(|settings| settings.tcp_seq_chk = check)
                    .await?;
                let verb = verb(check);
                done(&format!("{verb} TCP sequence checking successful"))
            }
            Tracking::Loose => {
                datapath(words, 1)?;
                Answer::TcpLoose(self.ct_settings().tcp_loose)
            }
            Tracking::SetLoose(loose) => {
                datapath(words, 1)?;
                self.set_tracking(|settings| settings.tcp_loose = loose)
                    .await?;
                let verb = verb(loose);
                done(&format!("{verb} TCP loose pick-up successful"))
            }
            Tracking::SetLimits => {
                let (default, zones) = words::limits(datapath(words, usize::MAX)?)?;
                self.set_tracking(|settings| {
                    settings.default_limit = default.unwrap_or(settings.default_limit);
                    settings.limits.extend(zones);
                })
                .await?;
                done("")
            }
            Tracking::DelLimits => {
                let (default, zones) = words::limits_gone(datapath(words, usize::MAX)?)?;
                self.set_tracking(|settings| {
                    if default {
                        settings.default_limit = 0;
                    }
                    settings.limits.retain(|zone, _| !zones.contains(zone));
                })
                .await?;
                done("")
            }
            Tracking::Limits => {
                let zones = words::limits_wanted(datapath(words, 2)?)?;
                Answer::Limits(self.limits(zones).await?)
            }
            Tracking::SetTimeouts => {
                let TimeoutChange { zone, seconds } =
                    words::timeouts(datapath(words, usize::MAX)?)?;
                self.set_tracking(|settings| match zone {
                    None => settings.timeouts.extend(seconds),
                    Some(zone) => settings
                        .zone_timeouts
                        .entry(zone)
                        .or_default()
                        .extend(seconds),
                })
                .await?;
                done("")
            }
            Tracking::DelTimeouts => {
                let zone = words::timeouts_gone(datapath(words, 2)?)?;
                if zone.is_some_and(|zone| !self.ct_settings().zone_timeouts.contains_key(&zone)) {
                    return Err(TrackingError::NoTimeouts.into());
                }
                self.set_tracking(|settings| match zone {
                    None => settings.timeouts.clear(),
                    Some(zone) => {
                        settings.zone_timeouts.remove(&zone);
                    }
                })
                .await?;
                done("")
            }
            Tracking::Timeouts => {
                let (zone, _) = words::zone_last(words)?;
                Answer::Timeouts(policies(self.ct_settings(), zone))
            }
            Tracking::Collect(collect) => {
                let words = datapath(words, 2)?;
                let family = words::family(words).ok_or(TrackingError::Family)?;
                self.set_fragments(family, |fragments| fragments.collect = collect)
                    .await?;
                let verb = verb(collect);
                done(&format!("{verb} fragmentation reassembly successful"))
            }
            Tracking::MinFragment => {
                let words = datapath(words, 3)?;
                let family = words::family(words).ok_or(TrackingError::FamilyOfSize)?;
                let size = words::number(words).ok_or(TrackingError::MinFragment)?;
                if size < FRAGMENT_MIN_LIMIT {
                    return Err(TrackingError::SmallFragment.into());
                }
                self.set_fragments(family, |fragments| fragments.min_size = size)
                    .await?;
                done("setting minimum fragment size successful")
            }
            Tracking::MaxFragments => {
                let max = words::number(datapath(words, 2)?).ok_or(TrackingError::MaxFragments)?;
                if max > FRAGMENTS_MAX_LIMIT {
                    return Err(TrackingError::TooManyFragments.into());
                }
                self.set_tracking(|settings| settings.max_fragments = max)
                    .await?;
                done("setting maximum fragments successful")
            }
            Tracking::Fragments => {
                datapath(words, 1)?;
                Answer::Fragments(Box::new(self.fragments().await?))
            }
        })
    }

    fn ct_settings(&self) -> &CtSettings {
        &self.belief.switch.conntrack
    }

    /// Changes how connections are tracked.
    async fn set_tracking(&mut self, change: impl FnOnce(&mut CtSettings)) -> Result<(), Refusal> {
        let mut next = self.belief.clone();
        change(&mut next.switch.conntrack);
        if next == self.belief {
            return Ok(());
        }
        self.commit(next, Vec::new()).await
    }

    async fn set_fragments(
        &mut self,
        family: Family,
        change: impl FnOnce(&mut FragmentSettings),
    ) -> Result<(), Refusal> {
        self.set_tracking(|settings| {
            change(match family {
                Family::V4 => &mut settings.fragments_v4,
                Family::V6 => &mut settings.fragments_v6,
            });
        })
        .await
    }

    /// Forgets connections, and tells how many.
    pub(crate) async fn flush_connections(&mut self, filter: CtFilter) -> Result<u64, Refusal> {
        let request = Request::FlushConnections(Box::new(filter));
        match self.dataplane.ask(&request).await? {
            Reply::Flushed(flushed) => Ok(flushed),
            other => Err(unexpected(&other).into()),
        }
    }

    async fn ct_stats(&mut self, zone: Option<u16>) -> Result<CtStats, Refusal> {
        let counts = match self
            .dataplane
            .ask(&Request::CountConnections { zone })
            .await?
        {
            Reply::ConnectionCounts(counts) => counts,
            other => return Err(unexpected(&other).into()),
        };
        let mut tcp_states = BTreeMap::new();
        for (state, count) in counts.tcp {
            let state = rows::coalesced(state).name().to_owned();
            *tcp_states.entry(state).or_default() += count;
        }
        let protocols = counts.protocols.into_iter();
        let events = happened(&self.happened_to_connections().await?);
        Ok(CtStats {
            total: counts.total,
            protocols: protocols
                .map(|(number, count)| (protocol_name(number), count))
                .collect(),
            tcp_states,
            events: events.map(|(name, count)| (name.to_owned(), count)).into(),
        })
    }

    /// What has happened to connections since the datapath began.
    pub(super) async fn happened_to_connections(&mut self) -> Result<CtHappened, Refusal> {
        match self.dataplane.ask(&Request::ConnectionStats).await? {
            Reply::ConnectionStats(happened) => Ok(*happened),
            other => Err(unexpected(&other).into()),
        }
    }

    /// The limits of these zones, or of all that have one of their own.
    async fn limits(&mut self, zones: Vec<u16>) -> Result<Limits, Refusal> {
        let settings = self.ct_settings().clone();
        let zones = match zones.is_empty() {
            true => settings.limits.keys().copied().collect(),
            false => zones,
        };
        let counts = match self.dataplane.ask(&Request::ZoneCounts { zones }).await? {
            Reply::ZoneCounts(counts) => counts,
            other => return Err(unexpected(&other).into()),
        };
        let zones = counts.into_iter().map(|row| ZoneLimit {
            zone: row.zone,
            limit: settings
                .limits
                .get(&row.zone)
                .copied()
                .unwrap_or(settings.default_limit),
            count: row.count,
        });
        Ok(Limits {
            default: settings.default_limit,
            zones: zones.collect(),
        })
    }

    async fn fragments(&mut self) -> Result<FragmentStatus, Refusal> {
        let stats = match self.dataplane.ask(&Request::Fragments).await? {
            Reply::Fragments(stats) => stats,
            other => return Err(unexpected(&other).into()),
        };
        let settings = self.ct_settings();
        let family = |settings: FragmentSettings, counts: FragmentCounts| FragmentFamily {
            enabled: settings.collect,
            min_size: settings.min_size,
            accepted: counts.accepted,
            completed: counts.completed,
            expired: counts.expired,
            too_small: counts.too_small,
            overlapped: counts.overlapped,
            purged: counts.purged,
        };
        Ok(FragmentStatus {
            max: settings.max_fragments,
            held: stats.held,
            v4: family(settings.fragments_v4, stats.v4),
            v6: family(settings.fragments_v6, stats.v6),
            lists: stats.waiting.into_iter().map(rows::fragments).collect(),
        })
    }
}

fn done(said: &str) -> Answer {
    Answer::Done(said.to_owned())
}

const fn verb(enable: bool) -> &'static str {
    if enable { "enabling" } else { "disabling" }
}

/// What has happened, by name.
pub(super) fn happened(of: &CtHappened) -> [(&'static str, u64); 11] {
    [
        ("created", of.created),
        ("expired", of.expired),
        ("flushed", of.flushed),
        ("evicted", of.evicted),
        ("replaced", of.replaced),
        ("not_new", of.not_new),
        ("outside_window", of.outside_window),
        ("zone_full", of.zone_full),
        ("full", of.table_full),
        ("nat_exhausted", of.nat_exhausted),
        ("unexpected", of.unexpected),
    ]
}

/// The timeouts of a zone, or the default ones and those of all zones that have their own.
fn policies(settings: &CtSettings, zone: Option<u16>) -> Vec<Timeouts> {
    let policy = |zone| {
        let seconds = settings.seconds(zone);
        let named = CtTimeout::ALL.into_iter().zip(seconds);
        Timeouts {
            zone,
            seconds: named
                .map(|(key, seconds)| (key.name().to_owned(), seconds))
                .collect(),
        }
    };
    match zone {
        Some(zone) => vec![policy(Some(zone))],
        None => {
            let zones = settings.zone_timeouts.keys().copied().map(Some);
            std::iter::once(None).chain(zones).map(policy).collect()
        }
    }
}
