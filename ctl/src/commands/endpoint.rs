//! Endpoints: who is on which network, with which addresses.

use vswitch_rpc::network::{Endpoint, EndpointInspect, EndpointLs};

use super::Argument::Required;
use super::network::short;
use super::{Command, Run, example, prints};
use crate::args::Typed;
use crate::output::Page;
use crate::output::Tone::Strong;
use crate::output::table::Align::Left;
use crate::output::table::Table;

pub(super) const LIST: Command = Command {
    words: &["endpoint", "ls"],
    aliases: &[],
    arguments: &[],
    help: "List the endpoints of all container networks",
    long: "One on a line, by network and name.",
    examples: &[example("vsctl endpoint ls", "Who is where")],
    run: Run::Ask(
        |_| Ok(EndpointLs {}.into()),
        prints!(EndpointLs, |endpoints: &Vec<Endpoint>,
                             _,
                             page: &mut Page| {
            print_all(endpoints, 0, page);
        }),
    ),
};

pub(super) const INSPECT: Command = Command {
    words: &["endpoint", "inspect"],
    aliases: &[],
    arguments: &[Required(
        "ENDPOINT",
        "The endpoint: NETWORK/NAME, its name, id, or the beginning of its id",
    )],
    help: "Show an endpoint",
    long: "Its addresses, where it is, and which port of the switch is behind it.",
    examples: &[example(
        "vsctl endpoint inspect red/c1",
        "The endpoint of c1 on red",
    )],
    run: Run::Ask(
        |typed| {
            Ok(EndpointInspect {
                endpoint: typed.text("ENDPOINT"),
            }
            .into())
        },
        prints!(EndpointInspect, print_one),
    ),
};

pub(super) fn print_all(endpoints: &[Endpoint], indent: usize, page: &mut Page) {
    if endpoints.is_empty() {
        return;
    }
    let columns = [
        ("ENDPOINT ID", Left),
        ("NETWORK", Left),
        ("NAME", Left),
        ("SANDBOX", Left),
        ("INTERFACE", Left),
        ("MAC ADDRESS", Left),
        ("ADDRESSES", Left),
    ];
    let mut table = Table::new(indent, &columns);
    for endpoint in endpoints {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        table.row([
            short(&endpoint.id).into(),
            (&endpoint.network).into(),
            (&endpoint.name).into(),
            or_dash(&endpoint.sandbox).into(),
            or_dash(&endpoint.interface).into(),
            (&endpoint.mac_address).into(),
            endpoint.addresses.join(" ").into(),
        ]);
    }
    table.print(page);
}

fn print_one(endpoint: &Endpoint, _: &Typed<'_>, page: &mut Page) {
    page.line(format_args!(
        "endpoint {} of network {}",
        page.paint(&endpoint.name, Strong),
        endpoint.network
    ));
    page.line(format_args!("  id {}", endpoint.id));
    let places = [
        ("sandbox", &endpoint.sandbox),
        ("interface", &endpoint.interface),
        ("port", &endpoint.port),
    ];
    for (word, place) in places {
        if let Some(place) = place {
            page.line(format_args!("  {word} {place}"));
        }
    }
    page.line(format_args!("  mac address {}", endpoint.mac_address));
    for address in &endpoint.addresses {
        page.line(format_args!("  address {address}"));
    }
    for address in &endpoint.link_local_ips {
        page.line(format_args!("  link-local address {address}"));
    }
    for alias in &endpoint.aliases {
        page.line(format_args!("  alias {alias}"));
    }
    if endpoint.gw_priority != 0 {
        page.line(format_args!("  gateway priority {}", endpoint.gw_priority));
    }
    if !endpoint.gateway_of.is_empty() {
        let families = endpoint.gateway_of.join(" and ");
        page.line(format_args!("  the sandbox's way out for {families}"));
    }
    for (key, value) in &endpoint.options {
        page.line(format_args!("  option {key}={value}"));
    }
}
