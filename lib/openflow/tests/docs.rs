//! `docs/openflow.md` shows the field table as it is.

use std::fmt::Write as _;
use std::path::Path;

use vswitch_flow::field::{FIELDS, Oxm};

const BEGIN: &str = "<!-- fields: kept current by lib/openflow/tests/docs.rs -->\n";
const END: &str = "<!-- end of fields -->";

fn code(code: Option<Oxm>) -> String {
    let Some(Oxm { class, field }) = code else {
        return "-".to_owned();
    };
    match class {
        0x8000 => format!("{field}"),
        0x8001 => format!("PKT_REG {field}"),
        0x0000 => format!("OF {field}"),
        0x0001 => format!("NX {field}"),
        _ => format!("ONF {field}"),
    }
}

fn table() -> String {
    let mut text =
        "| field | OXM | NXM | bits | mask | set | needs |\n|---|---|---|---|---|---|---|\n"
            .to_owned();
    for row in FIELDS {
        let yes = |yes: bool| if yes { "yes" } else { "" };
        let needs = format!("{:?}", row.prerequisite).replace("None", "");
        writeln!(
            text,
            "| `{}` | {} | {} | {} | {} | {} | {needs} |",
            row.name,
            code(row.oxm),
            code(row.nxm),
            row.bits,
            yes(row.maskable),
            yes(row.writable),
        )
        .expect("a string takes all text");
    }
    text
}

/// Run with `UPDATE_DOCS=1` to write the table anew.
#[test]
fn the_page_shows_the_field_table_as_it_is() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openflow.md");
    let text = std::fs::read_to_string(&page).expect("the page is part of the repository");
    let (before, rest) = text.split_once(BEGIN).expect("the table has a beginning");
    let (shown, after) = rest.split_once(END).expect("the table has an end");
    let wanted = format!("\n{}\n", table());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let text = format!("{before}{BEGIN}{wanted}{END}{after}");
        std::fs::write(&page, text).expect("the page can be written");
    } else {
        assert!(
            shown == wanted,
            "run this test with UPDATE_DOCS=1 and look at the change"
        );
    }
}
