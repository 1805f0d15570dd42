//! Sealing a family's dark holdout when it is first trained, and the one look at it.

use crate::backtest;
use crate::backtest::metric::{ic, max_drawdown, sharpe};
use crate::execution::cost::CostModel;
use crate::models::holdouts::{Opened, Sealed, already_open};
use crate::models::registry::Registry;
use crate::pipelines::config::{Cell, TrainingConfig};
use crate::pipelines::cv::{self, or_note};
use crate::pipelines::prepare::{self, Prepared};
use crate::pipelines::recall;
use crate::pipelines::splits;
use crate::pipelines::train::Pinned;
use crate::validation::holdout;
use data_layer::calendar::Calendar;
use data_layer::error::{Error, Result, code};
use data_layer::root::DataRoot;
use data_layer::time::{DateRange, TradingDay};
use std::collections::BTreeMap;

/// Where a family's holdout stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    pub sealed: Option<Sealed>,
    pub opened: Option<Opened>,
}

pub fn status(root: &DataRoot, family: &str) -> Result<Status> {
    let registry = Registry::open(root)?;
    Ok(Status { sealed: registry.sealed_holdout(family)?, opened: registry.opened_holdout(family)? })
}

/// The stretch that the search must not see: sealed now, if it never was, over days that no search of the family has seen; none once
/// it has been opened, or when too little would be left to cross-validate.
pub(crate) fn seal(root: &DataRoot, config: &TrainingConfig, held: DateRange, asof: TradingDay, run_id: &str) -> Result<Option<DateRange>> {
    let Status { sealed, opened } = status(root, &config.family)?;
    if opened.is_some() {
        return Ok(None);
    }
    if let Some(sealed) = sealed {
        return Ok(Some(sealed.window));
    }
    let registry = Registry::open(root)?;
    let window = holdout::window(config.holdout, held, registry.searched_until(&config.family)?);
    let Some(window) = window.filter(|w| leaves_enough(config, held, w)) else { return Ok(None) };
    let sealed = registry.seal_holdout(&Sealed { family: config.family.clone(), window, asof }, run_id)?;
    Ok(Some(sealed.window))
}

/// Whether every group keeps the months that were asked for, or at least nine tenths of what it had.
fn leaves_enough(config: &TrainingConfig, held: DateRange, window: &DateRange) -> bool {
    let months = f64::from(window.start.0 - held.start.0) / (365.25 / 12.0);
    let whole = f64::from(held.end.0 - held.start.0) / (365.25 / 12.0);
    months / config.cpcv.groups as f64 >= (config.cpcv.min_oos_months as f64).min(0.9 * whole / config.cpcv.groups as f64)
}

/// Look once: the recipe of a trained model is fitted on the days before the holdout and judged on it. Recorded for ever;
/// asking again for the same model returns the record, for another one refuses.
pub fn open(root: &DataRoot, strategy: &str, version: &str, run_id: &str) -> Result<Opened> {
    let registry = Registry::open(root)?;
    let row = registry
        .model(strategy, version)?
        .ok_or_else(|| Error::new(code::ML_ARTIFACT, text!("the registry has no model {strategy} {version}")).fix("trademl train"))?;
    if let Some(known) = registry.opened_holdout(&row.family)? {
        return if known.version == version { Ok(known) } else { Err(already_open(&known)) };
    }
    let sealed = registry.sealed_holdout(&row.family)?.ok_or_else(|| {
        Error::new(code::DATA_MISSING, text!("no holdout of '{}' is sealed", row.family))
            .fix("set holdout.months in the training configuration, then: trademl train")
    })?;
    let made = recall::recall(root, &row)?;
    let pinned = Pinned { holdout: Some(sealed.window), ..made.pinned };
    let prepared = prepare::prepare(root, &pinned)?;
    let opened = look(&pinned, &prepared, &made.cv.chosen().cell, &sealed)?;
    registry.record_opened_holdout(&opened, run_id)?;
    Ok(opened)
}

/// Fit on the searchable days, judge on the sealed ones.
fn look(pinned: &Pinned, p: &Prepared, cell: &Cell, sealed: &Sealed) -> Result<Opened> {
    let binned = splits::binned(p, &p.labels, &cell.params)?;
    let before: Vec<usize> = p.cv_days.clone().collect();
    let inside = |d: &usize| sealed.window.contains(p.panel.days[*d]);
    let within: Vec<usize> = p.days.clone().filter(inside).collect();
    let rows: Vec<usize> = within.iter().flat_map(|d| p.rows_of(*d)).collect();
    let to_come = p.panel.days.last().and_then(|last| DateRange::new(last.plus_days(1), sealed.window.end).ok());
    if to_come.is_some_and(|rest| !Calendar::xnys().sessions(rest).is_empty()) {
        return Err(Error::new(code::DATA_MISSING, "the snapshot of this model ends before the holdout does")
            .found(text!("the holdout is {}", sealed.window))
            .fix("open it when it is over, for a model that was trained then: trademl train"));
    }
    let (Some(first), Some(last), false) = (within.first(), within.last(), rows.is_empty()) else {
        return Err(Error::new(code::DATA_MISSING, "the snapshot of this model holds nothing of the holdout")
            .fix("open it for a model that was trained later: trademl train"));
    };
    let features: Vec<f32> = rows.iter().flat_map(|r| p.row(*r).iter().copied()).collect();
    let params = splits::stopped(pinned, p, &p.labels, &binned, &cell.params, &before)?;
    let fitted = binned.fit(&splits::labelled_rows(p, &p.labels, &before), &params, &features)?;
    let mut scores = vec![f64::NAN; p.n_rows()];
    rows.iter().zip(&fitted.scores).for_each(|(r, s)| scores[*r] = *s);
    let scores = cv::to_matrix(p, &scores);
    let mut undefined = BTreeMap::new();
    let ic = or_note(ic::summarise(&p.panel.days, &cv::daily_ic(p, &scores)?, pinned.config.label.horizon), "ic", &mut undefined)?;
    let rule = &pinned.config.portfolio;
    let run = backtest::run(&p.panel, p.admitted.through(scores).signal(), rule, &CostModel::flat(rule.cost_bps_round_trip), *first..*last + 1);
    let run = or_note(run, "returns", &mut undefined)?;
    let net = run.as_ref().map(|r| r.net.clone()).unwrap_or_default();
    Ok(Opened {
        family: sealed.family.clone(),
        window: sealed.window,
        version: pinned.version.clone(),
        config_sha256: cell.config_sha256.clone(),
        sessions: within.len(),
        mean_ic: ic.as_ref().map(|i| i.mean),
        ic_t: ic.as_ref().map(|i| i.t),
        sharpe_annual: or_note(sharpe::annualised(&net), "sharpe", &mut undefined)?,
        max_drawdown: or_note(max_drawdown::depth(&net), "max_drawdown", &mut undefined)?,
        undefined,
    })
}
