//! `[[application.map.user]]` and `[[application.map.group]]`: from a row's keys to a compiled rule.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::filter;
use crate::config::read::{Node, Table};
use crate::config::shape::Limits;
use crate::mapping::rule::{Row, RowError, Rule};

/// The rows for users and those for groups.
pub(super) fn rows(table: Table<'_>, limits: &Limits) -> (Vec<Rule>, Vec<Rule>) {
    let rules = |key| {
        let rows = table.tables(key).into_iter();
        rows.filter_map(|row| rule(row, key == "group", limits))
            .collect()
    };
    let both = (rules("user"), rules("group"));
    table.finish();
    both
}

/// What a group has beside its members (RFC 7643 4.2): two names and extensions.
fn is_group_target(target: &str) -> bool {
    matches!(target, "displayName" | "externalId") || target.starts_with("urn:")
}

fn rule(table: Table<'_>, group: bool, limits: &Limits) -> Option<Rule> {
    // Keys whose mistakes are told already: what the compiler says of them, or for want of them, is noise.
    let told = RefCell::new(Vec::new());
    let read = |key: &'static str| table.get(key).inspect(|_| told.borrow_mut().push(key));
    let fine = |key: &'static str| told.borrow_mut().retain(|other| *other != key);
    let text = |key: &'static str| {
        let text = read(key)?.text()?;
        fine(key);
        Some(text.to_owned())
    };

    let to = match table.required("to", "the target, a SCIM path such as \"displayName\"") {
        Some(_) => text("to"),
        None => {
            told.borrow_mut().push("to");
            None
        }
    };
    if let Some(node) = read("expr") {
        node.wrong("`from` or `value`: `expr` comes with a later version");
    }
    let row = Row {
        to: to.unwrap_or_default(),
        from: text("from"),
        expr: None,
        value: read("value")
            .and_then(|node| node.json())
            .inspect(|_| fine("value")),
        default: read("default")
            .and_then(|node| default(&node))
            .inspect(|_| fine("default")),
        transform: match read("transform") {
            Some(node) => transform(&node)
                .inspect(|_| fine("transform"))
                .unwrap_or_default(),
            None => Vec::new(),
        },
        table: read("table")
            .and_then(|node| replacements(&node))
            .inspect(|_| fine("table")),
        when: read("when").and_then(|node| {
            // Parsed here for its place in the line, kept as text for the compiler.
            filter(&node, limits)?;
            fine("when");
            node.text().map(str::to_owned)
        }),
        apply: text("apply"),
        required: table.boolean("required", false),
        redact: table.boolean("redact", false),
    };
    let rule = match Rule::compile(row) {
        Ok(rule) if group && !is_group_target(&rule.target()) => {
            if let Some(node) = table.get("to") {
                node.wrong("\"displayName\", \"externalId\" or an extension's attribute: a group has no other, and its members are not mapped");
            }
            None
        }
        Ok(rule) => Some(rule),
        Err(error) => {
            tell(&table, &told.borrow(), &error);
            None
        }
    };
    table.finish();
    rule
}

fn tell(table: &Table<'_>, told: &[&str], error: &RowError) {
    let sources = ["from", "expr", "value"];
    let lost = sources.iter().any(|key| told.contains(key));
    if told.contains(&error.key) || (lost && sources.contains(&error.key)) {
        return;
    }
    match table.get(error.key) {
        Some(node) => node.wrong(&format!("a valid `{}`: {}", error.key, error.text)),
        None => {
            let key = table.dotted(error.key);
            table.notes.absent(table.at, &key, &error.text);
        }
    }
}

fn default(node: &Node<'_>) -> Option<serde_json::Value> {
    let computed = node.value.as_table().and_then(|table| table.get("expr"));
    if computed.is_some() {
        node.wrong("a constant: `expr` comes with a later version");
        return None;
    }
    node.json()
}

/// `["trim", { prefix = "idp-" }]`
fn transform(node: &Node<'_>) -> Option<Vec<(String, Option<String>)>> {
    let steps: Vec<_> = node.list()?.iter().map(step).collect();
    steps.into_iter().collect()
}

fn step(node: &Node<'_>) -> Option<(String, Option<String>)> {
    let wanted =
        "a name such as \"trim\", or a name with its argument such as { prefix = \"idp-\" }";
    if let Some(name) = node.value.as_str() {
        return Some((name.to_owned(), None));
    }
    let Some(table) = node.value.as_table() else {
        node.wrong(wanted);
        return None;
    };
    let entries: Vec<_> = node.table()?.entries().collect();
    let [(name, argument)] = entries.as_slice() else {
        node.tell(format!("a table of {} keys", table.len()), wanted, None);
        return None;
    };
    Some(((*name).to_owned(), Some(argument.text()?.to_owned())))
}

fn replacements(node: &Node<'_>) -> Option<BTreeMap<String, serde_json::Value>> {
    let entries: Vec<_> = node
        .table()?
        .entries()
        .map(|(name, node)| node.json().map(|value| (name.to_owned(), value)))
        .collect();
    entries.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read::Notes;

    #[test]
    fn what_the_compiler_says_has_a_place_and_is_told_once() {
        let text = "to = 'x'\nfrom = '$.y'\n";
        let (tree, syntax) = toml::de::DeTable::parse_recoverable(text);
        for (told, key, wanted) in [
            (
                vec![],
                "from",
                Some("f:2:8: from: found \"$.y\", wanted a valid `from`: why"),
            ),
            (
                vec![],
                "apply",
                Some("f:1:1: apply: found nothing, wanted why"),
            ),
            (vec!["from"], "from", None),
            (vec!["expr"], "from", None),
            (
                vec!["expr"],
                "to",
                Some("f:1:6: to: found \"x\", wanted a valid `to`: why"),
            ),
        ] {
            let notes = Notes::new(text, "f".into());
            let text = String::from("why");
            let table = Table::root(&notes, tree.get_ref());
            tell(&table, &told, &RowError { key, text });
            drop(table);
            let problems = notes.finish(&syntax);
            let found = problems.first().map(ToString::to_string);
            assert_eq!(found.as_deref(), wanted, "{told:?} {key}");
        }
    }
}
