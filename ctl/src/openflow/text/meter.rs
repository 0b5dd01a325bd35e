//! Meters, their counters, and changes to them.

use std::time::Duration;

use vswitch_flow::{Meter, MeterMod};
use vswitch_openflow::meter::{MeterFeatures, MeterStats};

use super::flow::duration;

/// Meters as they can be typed in.
pub(super) fn configs(meters: &[Meter], to: &mut String) {
    to.push('\n');
    for meter in meters {
        *to += &format!("{}\n", meter.to_string().trim_end());
    }
}

/// Counters of meters.
pub(super) fn stats(meters: &[MeterStats], to: &mut String) {
    to.push('\n');
    for meter in meters {
        *to += &format!(
            "meter:{} flow_count:{} packet_in_count:{} byte_in_count:{} duration:{} bands:\n",
            meter.id,
            meter.flows,
            meter.packets,
            meter.bytes,
            duration(Duration::from(meter.duration))
        );
        for (at, (packets, bytes)) in meter.bands.iter().enumerate() {
            *to += &format!("{at}: packet_count:{packets} byte_count:{bytes}\n");
        }
    }
}

/// What meters are possible.
pub(super) fn features(features: &MeterFeatures, to: &mut String) {
    let names = |bits: u32, names: &[&str]| -> String {
        let set = names.iter().enumerate();
        let set = set.filter(|(bit, name)| bits >> bit & 1 == 1 && !name.is_empty());
        set.map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
    };
    *to += &format!(
        "\nmax_meter:{} max_bands:{} max_color:{}\nband_types: {}\ncapabilities: {}\n",
        features.max_meters,
        features.max_bands,
        features.max_color,
        names(features.band_types, &["", "drop", "dscp_remark"]),
        names(features.capabilities, &["kbps", "pktps", "burst", "stats"])
    );
}

/// A change to meters.
pub(super) fn change(change: &MeterMod, to: &mut String) {
    *to += &match change {
        MeterMod::Add(meter) => format!(" ADD {}", meter.to_string().trim_end()),
        MeterMod::Modify(meter) => format!(" MOD {}", meter.to_string().trim_end()),
        MeterMod::Delete(id) => format!(" DEL meter={id}"),
        MeterMod::DeleteAll => " DEL meter=all".to_owned(),
    };
    to.push('\n');
}
