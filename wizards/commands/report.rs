//! `trademl report`: list the pages that the wizards wrote, open one, compare two evaluations.

use super::{emit, open_root, say};
use crate::cli::{PageKind, ReportArgs, ReportCommand};
use clap::ValueEnum;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::root::{DataPath, DataRoot};
use data_layer::store;
use engine::reports::compare::{self, Row};
use engine::reports::tear_sheet::TearSheet;
use std::process::{Command, Stdio};

pub fn run(host: &Host, args: &ReportArgs) -> Result<u8> {
    let root = open_root(host, args.root.clone())?;
    match &args.command {
        ReportCommand::List { json } => list(&root, *json)?,
        ReportCommand::Open { kind } => open(host, &root, *kind)?,
        ReportCommand::Compare { a, b, strategy, json } => side_by_side(&root, strategy, a, b, *json)?,
    }
    Ok(0)
}

/// Pages of a kind, the one written last at the end. A page that is there as HTML is not told as Markdown too.
fn pages(root: &DataRoot, kind: PageKind) -> Result<Vec<DataPath>> {
    let all = store::list(root, &DataPath::new(format!("reports/{}", kind.folder()))?)?;
    let html = |p: &DataPath| p.as_str().strip_suffix(".md").and_then(|stem| DataPath::new(format!("{stem}.html")).ok()).is_some_and(|h| all.contains(&h));
    let shown = all.iter().filter(|p| p.as_str().ends_with(".html") || p.as_str().ends_with(".md") && !html(p));
    let written = |p: &DataPath| std::fs::metadata(root.locate(p)).and_then(|m| m.modified()).ok();
    let mut out: Vec<DataPath> = shown.cloned().collect();
    out.sort_by_cached_key(|p| (written(p), p.as_str().to_string()));
    Ok(out)
}

fn list(root: &DataRoot, json: bool) -> Result<()> {
    let mut found = Vec::new();
    for kind in PageKind::value_variants() {
        found.extend(pages(root, *kind)?);
    }
    if json {
        emit(&store::canonical_json(&found)?);
    } else if found.is_empty() {
        return Err(nothing(PageKind::Evaluation, "page"));
    } else {
        found.iter().for_each(|p| say(&root.locate(p).display().to_string()));
    }
    Ok(())
}

fn nothing(kind: PageKind, what: &str) -> Error {
    Error::new(code::DATA_MISSING, text!("the drive has no {what} yet")).fix(kind.made_by())
}

fn open(host: &Host, root: &DataRoot, kind: PageKind) -> Result<()> {
    let page = pages(root, kind)?.pop().ok_or_else(|| nothing(kind, &text!("page below reports/{}", kind.folder())))?;
    let place = root.locate(&page);
    let display = host.env("DISPLAY").or_else(|| host.env("WAYLAND_DISPLAY")).is_some();
    let openers: &[&str] = match (cfg!(target_os = "macos"), display) {
        (true, _) => &["open"],
        (false, true) => &["xdg-open", "wslview"],
        (false, false) => &["wslview"],
    };
    let shown = openers.iter().any(|opener| {
        let quiet = Command::new(opener).arg(&place).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        quiet.is_ok_and(|status| status.success())
    });
    say(&format!("{}{}", if shown { term!("opened ") } else { "" }, place.display()));
    if !shown {
        say("  no browser can be opened from here; the page is one file that fetches nothing, so a copy of it can be read anywhere");
    }
    Ok(())
}

fn sheet(root: &DataRoot, strategy: &str, version: &str) -> Result<TearSheet> {
    let path = DataPath::new(format!("reports/evaluations/{strategy}/{version}/tear_sheet.json"))?;
    let bytes = store::read(root, &path)?.ok_or_else(|| {
        Error::new(code::DATA_MISSING, text!("{strategy} {version} has not been evaluated")).fix("trademl evaluate").fix("trademl report list")
    })?;
    serde_json::from_slice(&bytes).map_err(|e| Error::new(code::SSD_DAMAGED, text!("{path} cannot be read")).cause(e.to_string()).fix("trademl evaluate"))
}

fn side_by_side(root: &DataRoot, strategy: &str, a: &str, b: &str, json: bool) -> Result<()> {
    let (first, second) = (sheet(root, strategy, a)?, sheet(root, strategy, b)?);
    let rows = compare::rows(&first, &second);
    if json {
        emit(&store::canonical_json(&serde_json::json!({"strategy": strategy, "a": a, "b": b, "rows": rows}))?);
        return Ok(());
    }
    let word = |sheet: &TearSheet| if sheet.verdict.passed { term!("passed") } else { term!("refused") };
    say(&text!("{:<34} {a:>24} {b:>24}", strategy));
    say(&text!("{:<34} {:>24} {:>24}", "verdict", word(&first), word(&second)));
    rows.iter().for_each(|r| say(&line(r)));
    compare::cautions(&first, &second).iter().for_each(|text| say(&format!("  {text}")));
    Ok(())
}

fn line(row: &Row) -> String {
    let number = |v: Option<f64>| v.map_or(term!("undefined").to_string(), |v| format!("{v:.4}"));
    text!("{:<34} {:>24} {:>24}", row.name, number(row.a), number(row.b))
}
