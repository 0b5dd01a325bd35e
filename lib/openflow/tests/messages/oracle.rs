//! Open vSwitch's own decoder must understand what is written here. Passes over without it.

use std::process::Command;

use super::samples::{XID, samples};

fn ofp_print(hex: &str) -> Option<String> {
    let output = Command::new("ovs-ofctl").args(["ofp-print", hex]).output();
    let output = output.ok()?;
    Some(
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr),
    )
}

#[test]
fn open_vswitch_understands_what_is_written() {
    if ofp_print("0400000800000001").is_none() {
        eprintln!("passed over: there is no ovs-ofctl here");
        return;
    }
    let mut misunderstood = Vec::new();
    for sample in samples() {
        let bytes = sample.message.encode(sample.version, XID).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = ofp_print(&hex).unwrap();
        if !text.contains(sample.says) || text.contains("***decode") && !sample.says.contains("BAD")
        {
            misunderstood.push(format!(
                "{} in {}: not {:?}\n{hex}\n{text}",
                sample.message.name(),
                sample.version,
                sample.says
            ));
        }
    }
    assert!(misunderstood.is_empty(), "{}", misunderstood.join("\n"));
}
