//! The drive's prices as they are known now: one snapshot, one panel, for shadow, paper and the service.

use data_layer::control::{Db, Which};
use data_layer::error::{Error, Result, code};
use data_layer::ledger;
use data_layer::root::DataRoot;
use data_layer::schema::table;
use data_layer::snapshot;
use data_layer::time::{DateRange, TradingDay};
use engine::models::artifact::{self, Model};
use engine::models::registry::{ModelRow, Registry};
use engine::models::router::RouterConfig;
use engine::pipelines::route::{self, RoutedRange};
use engine::pipelines::{evaluate, panel, score};
use engine::portfolio::RuleConfig;
use engine::types::{Matrix, Panel};
use std::ops::Range;

/// Years that the longest look-back of any model needs, with room.
const YEARS: i16 = 2;

/// Curated prices up to the newest audited session.
pub struct Market {
    pub panel: Panel,
    pub snapshot: String,
    pub asof: TradingDay,
}

impl Market {
    /// Pin and load what is curated now.
    pub fn open(root: &DataRoot) -> Result<Self> {
        let asof = newest(root)?;
        let end = asof.plus_days(1);
        let window = DateRange::new(end.minus_years(YEARS), end)?;
        let snapshot = snapshot::pin(root, window)?.to_string();
        let panel = panel::load(root, &snapshot, window)?;
        Ok(Self { panel, snapshot, asof })
    }

    /// Position of a session in the panel.
    pub fn at(&self, day: TradingDay) -> Result<usize> {
        self.panel.day_index(day).ok_or_else(|| Error::new(code::DATA_MISSING, text!("the drive has no session {day}")).fix("trademl node once"))
    }

    /// Unadjusted close of a symbol on a day, where there is one.
    pub fn close(&self, symbol: &str, day: TradingDay) -> Option<f64> {
        let (s, d) = (self.panel.symbol_index(symbol)?, self.panel.day_index(day)?);
        Some(self.panel.close_raw.at(s, d)).filter(|v| v.is_finite())
    }

    /// The last unadjusted close at or before `day`.
    pub fn last_close(&self, symbol: &str, day: TradingDay) -> Option<f64> {
        let s = self.panel.symbol_index(symbol)?;
        let until = self.panel.days.partition_point(|d| *d <= day);
        self.panel.close_raw.row(s)[..until].iter().rev().copied().find(|v| v.is_finite())
    }

    /// Mean shares a day over the last 20 sessions up to `day`.
    pub fn adv_shares(&self, symbol: &str, day: TradingDay) -> Option<f64> {
        let (s, d) = (self.panel.symbol_index(symbol)?, self.panel.day_index(day)?);
        let seen: Vec<f64> = self.panel.volume.row(s)[(d + 1).saturating_sub(20)..=d].iter().copied().filter(|v| v.is_finite()).collect();
        (seen.len() >= 10).then(|| seen.iter().sum::<f64>() / seen.len() as f64)
    }
}

/// The newest curated session.
pub fn newest(root: &DataRoot) -> Result<TradingDay> {
    let db = Db::open(root, Which::Node)?;
    let held = ledger::held(&db, table::CURATED_EQUITIES)?;
    held.map(|h| h.end.plus_days(-1)).ok_or_else(|| Error::new(code::DATA_MISSING, "the drive holds no curated prices yet").fix("trademl pi-data-node"))
}

/// The model that speaks for a strategy: the one that the router names, or the registry's champion.
pub fn champion(root: &DataRoot, strategy: &str) -> Result<ModelRow> {
    route::champion(&Registry::open(root)?, &route::configured(root)?, strategy)
}

/// A model, ready to score, with the portfolio rule that it was built for and the router that its scores pass.
pub struct Ready {
    pub row: ModelRow,
    pub model: Model,
    pub rule: RuleConfig,
    router: RouterConfig,
    root: DataRoot,
}

impl Ready {
    /// Load and verify a registered model.
    pub fn load(root: &DataRoot, row: &ModelRow) -> Result<Self> {
        let model = artifact::load(root, row)?;
        let rule = evaluate::rule_of(&model)?;
        Ok(Self { row: row.clone(), model, rule, router: route::configured(root)?, root: root.clone() })
    }

    /// Scores of every day from `first` on that the router lets through, `symbols x days`; a day's scores use data up to that
    /// day only. Refuses when the router silences the model on the newest day.
    pub fn signal(&self, panel: &Panel, first: usize) -> Result<RoutedRange> {
        self.routed(panel, first..panel.n_days())
    }

    /// [`Self::signal`] of one day.
    pub fn signal_on(&self, panel: &Panel, day: usize) -> Result<RoutedRange> {
        self.routed(panel, day..day + 1)
    }

    fn routed(&self, panel: &Panel, days: Range<usize>) -> Result<RoutedRange> {
        let last = panel.days[..days.end].last().copied();
        let raw = score::score_range(&self.model, panel, days.clone())?;
        let db = Db::open(&self.root, Which::Node)?;
        let green = |day: TradingDay| -> Result<Option<f64>> {
            let c = ledger::coverage(&db, table::CURATED_EQUITIES, "", DateRange::new(day, day.plus_days(1))?)?;
            Ok((c.expected > 0).then(|| c.fraction()))
        };
        let routed = route::range(&self.router, &self.row.strategy, panel, &raw, days, &green)?;
        last.map_or(Ok(()), |day| routed.require(&self.row.strategy, day))?;
        Ok(routed)
    }
}

/// The finite scores of one day, by symbol name.
pub fn named(panel: &Panel, scores: &Matrix, day: usize) -> Vec<(String, f64)> {
    panel.symbols.iter().enumerate().map(|(s, name)| (name.clone(), scores.at(s, day))).filter(|(_, v)| v.is_finite()).collect()
}
