//! No text makes the parsers panic, and what they accept reads back from what they print.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vswitch_flow::text::{
    Actions, GroupCommand, MeterCommand, Names, no_names, parse_actions, parse_ct_filter,
    parse_flow, parse_flow_mod, parse_group_mod, parse_meter_mod,
};
use vswitch_flow::{FlowCommand, GroupMod, MeterMod};

fuzz_target!(|text: &str| {
    let names = Names::default();
    if let Ok(list) = parse_actions(text, &no_names) {
        let printed = Actions(&list).to_string();
        assert_eq!(
            parse_actions(&printed, &no_names).as_ref(),
            Ok(&list),
            "{printed}"
        );
    }
    if let Ok(flow) = parse_flow(text, &no_names) {
        let printed = flow.to_string();
        assert_eq!(
            parse_flow(&printed, &no_names).as_ref(),
            Ok(&flow),
            "{printed}"
        );
    }
    parse_flow_mod(text, FlowCommand::Delete, &names).ok();
    parse_ct_filter(&text.split(' ').collect::<Vec<_>>()).ok();
    let group = parse_group_mod(text, GroupCommand::Add, &names);
    if let Ok(GroupMod::Add(group)) = group {
        let printed = group.to_string();
        let read = parse_group_mod(&printed, GroupCommand::Add, &names);
        assert_eq!(read, Ok(GroupMod::Add(group)), "{printed}");
    }
    let meter = parse_meter_mod(text, MeterCommand::Add);
    if let Ok(MeterMod::Add(meter)) = meter {
        let printed = meter.to_string();
        let read = parse_meter_mod(&printed, MeterCommand::Add);
        assert_eq!(read, Ok(MeterMod::Add(meter)), "{printed}");
    }
});
