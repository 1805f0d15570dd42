//! What a spin-off takes out of the price of its parent: shares of a new company for every share that is held, worth what that company
//! closed at on its first session.
//!
//! The value comes from raw bars of the child, which the node asks for. Until they are there nobody can tell how much of the parent's
//! fall is a loss, and the session is in doubt. Rights have no close of their own and stay in doubt.

use super::actions::CorpAction;
use super::agreement::Doubt;
use super::sources;
use crate::error::Result;
use crate::frame;
use crate::qc::QcCode;
use crate::root::DataRoot;
use crate::schema::{dataset, table};
use crate::segment::Manifest;
use crate::time::{DateRange, TradingDay};
use std::collections::BTreeMap;

/// Days after the ex-date within which the child's first close counts as what its shares were worth then.
const FIRST_CLOSE_DAYS: i32 = 10;

/// The window in which a child's first close is looked for.
pub(super) fn window(ex_date: TradingDay) -> DateRange {
    DateRange { start: ex_date, end: ex_date.plus_days(FIRST_CLOSE_DAYS) }
}

/// Put the value of a share's part into every spin-off that has none, and a doubt about each for which it is not known.
pub(super) fn price(root: &DataRoot, actions: &mut [CorpAction], doubts: &mut Vec<Doubt>, damaged: &mut Vec<String>) -> Result<()> {
    if !actions.iter().any(|a| a.is_in_kind()) {
        return Ok(());
    }
    let manifests: Vec<Manifest> =
        sources::manifests(root, table::RAW_EQUITIES_BARS)?.into_iter().map(|(_, m)| m).filter(|m| m.dataset == dataset::EQUITIES_EOD).collect();
    for action in actions.iter_mut().filter(|a| a.is_in_kind()) {
        let child = action.new_symbol.clone().filter(|c| *c != action.symbol && action.event_type == "spin_off");
        let ratio = action.ratio.filter(|r| r.is_finite() && *r > 0.0);
        let close = match &child {
            Some(child) => first_close(root, &manifests, child, window(action.ex_date), damaged)?,
            None => None,
        };
        action.cash = ratio.zip(close).map(|(ratio, close)| ratio * close);
        if action.cash.is_none() {
            let what = child.map_or_else(|| "what it is worth is not told".to_string(), |c| format!("the first close of {c} is not known"));
            doubts.push(Doubt::of(action, QcCode::ActionUnapplied, format!("a {}: {what}", action.event_type)));
        }
    }
    Ok(())
}

/// The first raw close of a symbol in a window: by the preferred vendor, and of its answers by the newest.
fn first_close(root: &DataRoot, manifests: &[Manifest], symbol: &str, window: DateRange, damaged: &mut Vec<String>) -> Result<Option<f64>> {
    let rank = |vendor: &str| ["alpaca", "tiingo", "massive"].iter().position(|v| *v == vendor).unwrap_or(usize::MAX);
    let mut found: BTreeMap<TradingDay, (usize, f64)> = BTreeMap::new();
    for m in manifests {
        let holds = |s: &&crate::segment::Segment| s.t0 < window.end && window.start < s.t1 && (s.symbols.is_empty() || s.symbols.iter().any(|n| n == symbol));
        for segment in m.segments.iter().filter(holds) {
            let Ok(rows) = sources::read_columns(root, segment, &["symbol", "date", "close"])? else {
                damaged.push(segment.path.to_string());
                continue;
            };
            let (names, days, closes) = (frame::texts(&rows, "symbol")?, frame::days(&rows, "date")?, frame::floats(&rows, "close")?);
            for i in 0..rows.height() {
                let (Some(day), Some(close)) = (days[i].filter(|d| window.contains(*d)), closes[i].filter(|c| c.is_finite() && *c > 0.0)) else { continue };
                if names[i] == Some(symbol) && found.get(&day).is_none_or(|(known, _)| rank(&m.vendor) <= *known) {
                    found.insert(day, (rank(&m.vendor), close));
                }
            }
        }
    }
    Ok(found.into_values().next().map(|(_, close)| close))
}
