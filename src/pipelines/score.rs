//! Scores of one cross-section, with the same feature code that training used.

use crate::models::artifact::{Model, Scorer};
use crate::pipelines::config::TrainingConfig;
use crate::pipelines::prepare;
use crate::types::{Matrix, Panel};
use data_layer::error::{Error, Result, code};
use data_layer::time::TradingDay;

/// Scores of every member at the close of `day`, in the order of the panel's symbols. Symbols without a score are absent.
/// Nothing after `day` is looked at.
pub fn score_day(model: &Model, panel: &Panel, day: TradingDay) -> Result<Vec<(String, f64)>> {
    let at = panel.day_index(day).ok_or_else(|| Error::new(code::DATA_MISSING, text!("the panel has no session {day}")).fix("trademl pi-data-node"))?;
    let known = panel.truncated(at);
    let scores = score_range(model, &known, at..at + 1)?;
    Ok(known.symbols.iter().enumerate().map(|(s, name)| (name.clone(), scores.at(s, at))).filter(|x| x.1.is_finite()).collect())
}

/// Scores of the given days, `symbols x days`; missing elsewhere and where there is none. A score of day t uses data up
/// to t only, because features do.
pub fn score_range(model: &Model, panel: &Panel, days: std::ops::Range<usize>) -> Result<Matrix> {
    let mut out = Matrix::missing(panel.n_symbols(), panel.n_days());
    let forest = match &model.scorer {
        Scorer::Momentum(rule) => {
            for symbol in 0..panel.n_symbols() {
                for day in days.clone() {
                    out.set(symbol, day, rule.score(panel, symbol, day));
                }
            }
            return Ok(out);
        }
        Scorer::Trees(forest) => forest,
    };
    let config: TrainingConfig = serde_json::from_value(model.config.clone())?;
    let mut restricted = None;
    if let Some(universe) = &config.universe {
        universe.restrict(restricted.insert(panel.clone()));
    }
    let panel = restricted.as_ref().unwrap_or(panel);
    let mut block = prepare::block(panel, &config.features)?;
    // A source that came after the training is not used by what was trained without it.
    block.keep(forest.features());
    if block.names != forest.features() {
        return Err(Error::new(code::ML_ARTIFACT, "this program makes other features than the model was trained on")
            .found(text!("now {}, trained on {}", block.names.join(" "), forest.features().join(" ")))
            .fix("trademl train"));
    }
    let (mut row, mut rows, mut places) = (Vec::with_capacity(block.names.len()), Vec::new(), Vec::new());
    for day in days {
        for symbol in 0..panel.n_symbols() {
            row.clear();
            if block.row(panel, symbol, day, &mut row) {
                rows.extend_from_slice(&row);
                places.push((symbol, day));
            }
        }
    }
    for ((symbol, day), score) in places.into_iter().zip(forest.predict_rows(&rows)) {
        out.set(symbol, day, score);
    }
    Ok(out)
}
