//! `dpctl/show` and `dpctl/dump-flows`.

use vswitch_rpc::datapath::DpctlDumpFlows;
use vswitch_rpc::dpctl::Options;
use vswitch_rpc::text;

use super::AppctlError;
use super::arguments::{DpctlError, DumpFlows, is_datapath};
use crate::control::Control;

impl Control {
    pub(super) async fn appctl_show(&mut self, args: &[String]) -> Result<String, AppctlError> {
        let (options, names) = Options::read(args).map_err(DpctlError::from)?;
        if let Some(unknown) = names.iter().find(|name| !is_datapath(name)) {
            return Err(DpctlError::NoDatapath(unknown.clone()).into());
        }
        let shown = text::dpctl_show(&self.dpctl_show().await?, options.statistics);
        // Whoever asks twice is told twice.
        Ok(shown.repeat(names.len().max(1)))
    }

    pub(super) async fn appctl_dump_flows(
        &mut self,
        args: &[String],
    ) -> Result<String, AppctlError> {
        let read = DumpFlows::read(args)?;
        if let Some(filter) = &read.filter {
            self.cached_filter(filter)
                .map_err(|error| DpctlError::Filter(error.to_string()))?;
        }
        if !read.wanted {
            return Ok(String::new());
        }
        let titles = read.core.is_none();
        let call = DpctlDumpFlows {
            names: read.names,
            filter: read.filter,
            rules: false,
            core: read.core,
        };
        let flows = self.dpctl_dump_flows(call).await?;
        Ok(text::dpctl_dump_flows(&flows, titles))
    }
}

/// Datapath actions with ports by name: `1,set(...),2` becomes `p1,set(...),p2`. Only outputs are
/// plain numbers, also among the actions of a `clone`.
pub(crate) fn named_actions(actions: &str, name: &dyn Fn(u32) -> Option<String>) -> String {
    let mut text = String::new();
    let mut rest = actions;
    while !rest.is_empty() {
        let mut depth = 0_usize;
        let end = rest
            .find(|letter| {
                match letter {
                    '(' => depth += 1,
                    ')' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                letter == ',' && depth == 0
            })
            .unwrap_or(rest.len());
        let (action, after) = rest.split_at(end);
        let inner = action
            .strip_prefix("clone(")
            .and_then(|inner| inner.strip_suffix(')'));
        text += &match (inner, action.parse().ok().and_then(name)) {
            (Some(inner), _) => format!("clone({})", named_actions(inner, name)),
            (None, Some(name)) => name,
            (None, None) => action.to_owned(),
        };
        rest = match after.strip_prefix(',') {
            Some(after) => {
                text.push(',');
                after
            }
            None => after,
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::appctl::DATAPATH;

    #[test]
    fn outputs_get_names_and_other_numbers_do_not() {
        let name = |number: u32| (number < 3).then(|| format!("p{number}"));
        let cases = [
            ("drop", "drop"),
            ("1", "p1"),
            (
                "1,set(ipv4(ttl=2)),7,push_vlan(vid=1,pcp=2),2",
                "p1,set(ipv4(ttl=2)),7,push_vlan(vid=1,pcp=2),p2",
            ),
            ("clone(ct_clear,1),2", "clone(ct_clear,p1),p2"),
            ("1,clone(2", "p1,clone(2"),
        ];
        for (actions, named) in cases {
            assert_eq!(named_actions(actions, &name), named);
        }
    }

    #[test]
    fn the_packet_process_is_known_by_its_name_and_its_kind() {
        for word in [DATAPATH, "ovs-netdev", "netdev"] {
            assert!(is_datapath(word));
        }
        assert!(!is_datapath("system@ovs-system"));
    }
}
