//! The report in Markdown.

use super::{Findings, Section};
use crate::words::thousands;
use std::collections::BTreeMap;

pub(super) fn markdown(all: &Findings) -> String {
    let mut out = format!("# What is on the drive\n\nWorld: {}. Unexplained anomalies: {}. Failed checks: {}.\n", all.world, all.unexplained, all.violations);
    if !all.lanes.is_empty() {
        out.push_str("\n## lanes beside the prices\n\n");
        all.lanes.iter().for_each(|lane| out.push_str(&format!("- {}\n", lane.sentence())));
    }
    for section in &all.sections {
        out.push_str(&one(section));
    }
    out
}

fn one(s: &Section) -> String {
    let mut out = format!("\n## {}\n\n", s.dataset);
    let table = |out: &mut String, head: &str, rows: &BTreeMap<String, u64>| {
        if !rows.is_empty() {
            out.push_str(&format!("| {head} | |\n|---|---:|\n"));
            rows.iter().for_each(|(name, n)| out.push_str(&format!("| {name} | {} |\n", thousands(*n))));
            out.push('\n');
        }
    };
    table(&mut out, "what", &s.counts);
    table(&mut out, "state and code", &s.codes);
    if !s.checks.is_empty() {
        out.push_str("| must never happen | looked at | happened |\n|---|---:|---:|\n");
        s.checks.iter().for_each(|c| out.push_str(&format!("| {} | {} | {} |\n", c.what, thousands(c.looked_at), thousands(c.violations))));
        out.push('\n');
    }
    for a in &s.anomalies {
        let why = if a.explanation.is_empty() { "**Unexplained.**" } else { &a.explanation };
        out.push_str(&format!("### {} ({})\n\n{why}\n\n", a.class, thousands(a.count)));
        a.examples.iter().for_each(|e| out.push_str(&format!("- {e}\n")));
        out.push('\n');
    }
    out
}
