//! Tables: counters, what they can do, how they are configured.

use std::collections::BTreeMap;

use vswitch_flow::Field;
use vswitch_openflow::Version;
use vswitch_openflow::table::{
    FieldId, Flows, TABLE_ALL, TableConfig, TableDesc, TableFeatures, TableProperty, TableReason,
    TableStats, TableStatus, TypeId,
};

use super::bits;

/// Prints texts of tables in order, one for all of a row that say the same.
fn alike(texts: &BTreeMap<u8, String>, to: &mut String) {
    let mut rows: Vec<(u8, u8, &String)> = Vec::new();
    for (table, text) in texts {
        match rows.last_mut() {
            Some((_, last, before)) if *before == text && last.checked_add(1) == Some(*table) => {
                *last = *table;
            }
            _ => rows.push((*table, *table, text)),
        }
    }
    for (first, last, text) in rows {
        *to += &format!("  table {first}:\n{text}\n");
        match last - first {
            0 => {}
            1 => *to += &format!("  table {last}: ditto\n\n"),
            _ => *to += &format!("  tables {}...{last}: ditto\n\n", first + 1),
        }
    }
    // No empty line ends the whole.
    while to.ends_with("\n\n") {
        to.pop();
    }
}

/// Counters of tables.
pub(super) fn stats(tables: &[TableStats], version: Version, to: &mut String) {
    to.push('\n');
    let texts = tables.iter().map(|table| {
        let mut text = format!(
            "    active={}, lookup={}, matched={}\n",
            table.active, table.lookups, table.matches
        );
        if version == Version::V10 {
            text += &format!("    max_entries={}\n", table.max_entries);
        }
        (table.table, text)
    });
    alike(&texts.collect(), to);
}

/// What tables can do.
pub(super) fn features(tables: &[TableFeatures], to: &mut String) {
    to.push('\n');
    let texts = tables.iter().map(|table| (table.table, features_of(table)));
    alike(&texts.collect(), to);
}

fn features_of(table: &TableFeatures) -> String {
    let mut text = String::new();
    let name = table.name.to_text();
    if !name.is_empty() {
        text += &format!("    name: {name}\n");
    }
    text += &format!(
        "    metadata: match={:#x} write={:#x}\n    max_entries={}\n",
        table.metadata_match, table.metadata_write, table.max_entries
    );
    let mut lists: Vec<(&str, Option<Flows>, String)> = Vec::new();
    for property in &table.properties {
        lists.push(match property {
            TableProperty::Instructions(flows, list) => {
                ("instructions", Some(*flows), instructions(list))
            }
            // Every table leads to those behind it; the next one's list would differ from this one's.
            TableProperty::NextTables(flows, list) => {
                let later = list
                    .iter()
                    .eq(&((table.table + 1)..=253).collect::<Vec<_>>());
                let words = match later {
                    true => "all later ones".to_owned(),
                    false => next(list),
                };
                ("next tables", Some(*flows), words)
            }
            TableProperty::WriteActions(flows, list) => {
                ("Write-Actions", Some(*flows), actions(list))
            }
            TableProperty::ApplyActions(flows, list) => {
                ("Apply-Actions", Some(*flows), actions(list))
            }
            TableProperty::Match(list) => ("match", None, fields(list)),
            TableProperty::Wildcards(list) => ("wildcards", None, fields(list)),
            TableProperty::WriteSetField(flows, list) => {
                ("Write-Set-Field", Some(*flows), fields(list))
            }
            TableProperty::ApplySetField(flows, list) => {
                ("Apply-Set-Field", Some(*flows), fields(list))
            }
            TableProperty::SyncFrom(list) => ("synchronized from", None, next(list)),
            TableProperty::Experimenter(..) => continue,
        });
    }
    for (label, flows, words) in &lists {
        let regular = (*label, Some(Flows::Regular), words);
        let same = |other: &&(&str, Option<Flows>, String)| (other.0, other.1, &other.2) == regular;
        match flows {
            // Said of other flows already.
            Some(Flows::Miss) if lists.iter().any(|other| same(&other)) => {}
            Some(Flows::Miss) => text += &format!("    {label} (table miss): {words}\n"),
            _ => text += &format!("    {label}: {words}\n"),
        }
    }
    text
}

fn instructions(list: &[TypeId]) -> String {
    let name = |kind: u16| match kind {
        1 => "goto_table".to_owned(),
        2 => "write_metadata".to_owned(),
        3 => "write_actions".to_owned(),
        4 => "apply_actions".to_owned(),
        5 => "clear_actions".to_owned(),
        6 => "meter".to_owned(),
        other => format!("{other:#x}"),
    };
    let names: Vec<_> = list.iter().map(|id| name(id.kind)).collect();
    names.join(" ")
}

fn actions(list: &[TypeId]) -> String {
    let numbers = list.iter().filter(|id| id.kind < 32);
    bits::actions(numbers.fold(0, |all, id| all | 1 << id.kind))
}

/// `1-5,9`
fn next(tables: &[u8]) -> String {
    let mut ranges: Vec<(u8, u8)> = Vec::new();
    for &table in tables {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(table) => *last = table,
            _ => ranges.push((table, table)),
        }
    }
    let spelled = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    spelled.collect::<Vec<_>>().join(",")
}

/// Names of fields; how many there are that have no name here.
fn fields(list: &[FieldId]) -> String {
    let name = |id: &&FieldId| {
        Field::all().find(|field| {
            let masked = id.header >> 8 & 1 == 1;
            [Version::V13, Version::V10]
                .iter()
                .any(|version| FieldId::new(*field, masked, *version) == Some(**id))
        })
    };
    let known: Vec<_> = list.iter().filter_map(|id| name(&id)).collect();
    let mut words: Vec<_> = known.iter().map(Field::to_string).collect();
    if known.len() < list.len() {
        words.push(format!("and {} others", list.len() - known.len()));
    }
    words.join(" ")
}

/// What a table's configuration says, on lines of its own.
fn configuration(table: &TableDesc) -> String {
    let on = |bit| if table.config.has(bit) { "on" } else { "off" };
    let flags = match table.eviction {
        Some(flags) => bits::eviction(flags),
        None => "(default)".to_owned(),
    };
    let mut text = format!(
        "\n  table {}:\n   eviction={} eviction_flags={flags}\n   vacancy={}",
        table.table,
        on(TableConfig::EVICTION),
        on(TableConfig::VACANCY_EVENTS)
    );
    if table.config.has(TableConfig::VACANCY_EVENTS) {
        let vacancy = table.vacancy.unwrap_or_default();
        text += &format!(
            " vacancy_down={}% vacancy_up={}% vacancy={}%",
            vacancy.down, vacancy.up, vacancy.now
        );
    }
    text.push('\n');
    text
}

/// A change to a table.
pub(super) fn change(table: &TableDesc, version: Version, to: &mut String) {
    *to += &match table.table {
        TABLE_ALL => " table_id: ALL_TABLES".to_owned(),
        number => format!(" table_id={number}"),
    };
    if version >= Version::V14 {
        let on = |bit| if table.config.has(bit) { "on" } else { "off" };
        *to += &format!(", eviction={}", on(TableConfig::EVICTION));
        if let Some(flags) = table.eviction {
            *to += &format!("eviction_flags={}", bits::eviction(flags));
        }
        *to += &format!(", vacancy={}", on(TableConfig::VACANCY_EVENTS));
        if table.config.has(TableConfig::VACANCY_EVENTS) {
            let vacancy = table.vacancy.unwrap_or_default();
            *to += &format!(" vacancy:{},{}", vacancy.down, vacancy.up);
        }
    }
    to.push('\n');
}

/// Configurations of tables.
pub(super) fn descs(tables: &[TableDesc], to: &mut String) {
    for table in tables {
        *to += &configuration(table);
    }
}

/// News of a table.
pub(super) fn status(status: &TableStatus, to: &mut String) {
    let reason = match status.reason {
        TableReason::VacancyDown => "VACANCY_DOWN",
        TableReason::VacancyUp => "VACANCY_UP",
    };
    *to += &format!(
        " reason={reason}\ntable_desc:-{}",
        configuration(&status.desc)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_that_say_the_same_are_named_once() {
        let texts = [(0, "a\n"), (1, "b\n"), (2, "b\n"), (3, "b\n"), (5, "b\n")];
        let texts = texts.map(|(table, text)| (table, text.to_owned()));
        let mut shown = String::new();
        alike(&texts.into(), &mut shown);
        assert_eq!(
            shown,
            "  table 0:\na\n\n  table 1:\nb\n\n  tables 2...3: ditto\n\n  table 5:\nb\n"
        );
        assert_eq!(next(&[1, 2, 3, 9]), "1-3,9");
    }
}
