//! The demonstration's last screen: coverage, verdict and why, the paper book, where the reports are.

use super::{market, paper};
use data_layer::control::{Db, Which};
use data_layer::error::Result;
use data_layer::ledger;
use data_layer::root::{DataPath, DataRoot};
use data_layer::schema::{table, timeframe};
use data_layer::store;
use engine::models::registry::Registry;

/// The lines of the screen.
pub fn lines(root: &DataRoot) -> Result<Vec<String>> {
    let mut out = vec![String::new(), "What you have now".to_string()];
    let db = Db::open(root, Which::Node)?;
    if let Some((held, c)) = ledger::coverage_held(&db, table::RAW_EQUITIES_BARS, timeframe::DAY)? {
        let codes: Vec<String> = c.codes.iter().filter(|(code, _)| *code != "OK").map(|(code, n)| text!("{n} {code}")).collect();
        out.push(text!("  data       {} GREEN of {} expected partitions, {held}   {}", crate::kit::percent(c.green, c.expected), c.expected, codes.join(", ")));
    }
    let registry = Registry::open(root)?;
    for model in registry.models("equities_xs")? {
        out.push(text!("  model      {} is {}", model.version, model.stage.as_str()));
    }
    if let Some(event) = registry.events("equities_xs")?.iter().rev().find(|e| e.rule.contains("promot")) {
        out.push(text!("  verdict    {}", event.reason));
    }
    let day = market::newest(root)?;
    out.push(text!("  paper book {}", paper::day_line(root, day)?));
    let sheets = store::list(root, &DataPath::new("reports/evaluations")?)?;
    for path in sheets.iter().filter(|p| p.as_str().ends_with(".html")) {
        out.push(text!("  tear sheet {}", root.locate(path).display()));
    }
    out.push(text!("  daily      {}", root.base().join(format!("reports/daily/{day}")).display()));
    Ok(out)
}
