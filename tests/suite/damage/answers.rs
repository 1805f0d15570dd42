//! Answers about corporate actions: what was asked, and what the others tell of it.

use super::truth::Files;
use crate::rig::Rig;
use data_layer::queue::{Kind, NewTask};
use data_layer::scheduler::{DrainUntil, Quiet};
use data_layer::schema::dataset;
use data_layer::time::DateRange;
use std::collections::BTreeSet;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// An answer about actions, as its manifest has it.
pub struct Asked {
    pub symbols: BTreeSet<String>,
    pub from: String,
    pub until: String,
    pub segments: Vec<String>,
}

/// All of them, those that look least far ahead first.
pub fn about_actions(files: &Files) -> Vec<Asked> {
    let read = |bytes: &Vec<u8>| {
        let m: serde_json::Value = serde_json::from_slice(bytes).ok()?;
        let text = |v: &serde_json::Value| v.as_str().map(str::to_string);
        let segments = m["segments"].as_array()?.iter().filter_map(|s| text(&s["path"])).collect();
        let symbols = m["asked"]["symbols"].as_array()?.iter().filter_map(text).collect();
        Some(Asked { symbols, from: text(&m["asked"]["t0"])?, until: text(&m["asked"]["t1"])?, segments })
    };
    let mut out: Vec<Asked> = files.iter().filter(|(p, _)| p.starts_with("manifests/corp_actions/")).filter_map(|(_, bytes)| read(bytes)).collect();
    out.sort_by(|a, b| (&a.until, &a.from).cmp(&(&b.until, &b.from)));
    out
}

/// Ask the same again, one a minute, in the order of the weeks: a question that looks further ahead is the later one.
pub fn ask_again(rig: &Rig, asked: &[Asked]) {
    let node = rig.node("node-1");
    for a in asked {
        let range = DateRange::new(a.from.parse().unwrap(), a.until.parse().unwrap()).unwrap();
        let task = |symbol: &String| NewTask {
            dataset: dataset::CORP_ACTIONS.into(),
            symbol: symbol.clone(),
            range,
            kind: Kind::Gap,
            priority: 1,
            vendor: "alpaca".into(),
            not_before: None,
            run_id: None,
        };
        node.seed(&a.symbols.iter().map(task).collect::<Vec<_>>()).unwrap();
        node.work(DrainUntil::Empty, &Quiet).unwrap();
        rig.host.block_on(rig.host.sleep(MINUTE)).unwrap();
    }
}

/// Whether these answers together say of a symbol all days up to today that another answer was about.
pub fn is_told<'a>(symbol: &str, about: &Asked, today: &str, by: impl Iterator<Item = &'a Asked>) -> bool {
    let mut by: Vec<&Asked> = by.filter(|b| b.symbols.contains(symbol)).collect();
    by.sort_by(|a, b| a.from.cmp(&b.from));
    let told = by.into_iter().fold(about.from.as_str(), |told, b| if b.from.as_str() <= told { told.max(&b.until) } else { told });
    about.until.as_str().min(today) <= told
}
