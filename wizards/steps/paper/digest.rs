//! The week's digest, from the daily reports on the drive.

use data_layer::error::Result;
use data_layer::root::{DataPath, DataRoot};
use data_layer::store;
use data_layer::time::TradingDay;
use engine::reports::weekly::{self, WeeklyReport};

/// Fold the week of `last` and keep it as JSON and Markdown under `reports/weekly/`.
pub fn digest(root: &DataRoot, account: &str, last: TradingDay) -> Result<WeeklyReport> {
    let mut days = Vec::new();
    for session in weekly::sessions_of_week(last)? {
        let path = DataPath::new(format!("reports/daily/{session}/{account}.json"))?;
        if let Some(bytes) = store::read(root, &path)? {
            days.push(serde_json::from_slice(&bytes)?);
        }
    }
    let week = weekly::weekly(&days, last)?;
    let json = serde_json::to_string_pretty(&week)? + "\n";
    for (ending, text) in [("json", json), ("md", week.markdown())] {
        store::write_atomic(root, &DataPath::new(format!("reports/weekly/{last}/{account}.{ending}"))?, text.as_bytes())?;
    }
    Ok(week)
}
