//! One evaluation on one page: the verdict with its evidence first, then the curves that it was read from.

use crate::backtest::metric::deciles::Bucket;
use crate::backtest::metric::ic::IcSummary;
use crate::backtest::metric::monthly::YearRow;
use crate::backtest::what_if::WhatIf;
use crate::backtest::{SensitivityRow, Summary};
use crate::reports::svg::{self, Format, Frame, Series};
use crate::reports::view::{Rendered, render};
use crate::validation::calibration::Bin;
use crate::validation::hurdles::Verdict;
use data_layer::error::Result;
use data_layer::time::{DateRange, TradingDay};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The window that was asked for and the one that the data held.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Window {
    pub asked: DateRange,
    pub held: DateRange,
    /// Why the second is smaller, in sentences.
    pub caps: Vec<String>,
}

/// A model's curve. `equity[i]` is the growth of 1 at the close of `days[i]` of the sheet.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Curve {
    pub name: String,
    pub equity: Vec<f64>,
    pub summary: Summary,
}

/// Information coefficients, one per session; null where undefined.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct IcSection {
    pub days: Vec<TradingDay>,
    pub values: Vec<Option<f64>>,
    pub summary: IcSummary,
}

/// Counts in equal bins `[edges[i], edges[i + 1])`, the last one closed.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Histogram {
    pub edges: Vec<f64>,
    pub counts: Vec<u64>,
}

impl Histogram {
    /// `bins` equal bins from the smallest to the largest value; `None` without values.
    pub fn of(values: &[f64], bins: usize) -> Option<Self> {
        let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        let low = finite.iter().copied().reduce(f64::min)?;
        let high = finite.iter().copied().fold(low, f64::max).max(low + 1e-9);
        let width = (high - low) / bins as f64;
        let mut counts = vec![0; bins];
        finite.iter().for_each(|v| counts[(((v - low) / width) as usize).min(bins - 1)] += 1);
        Some(Self { edges: (0..=bins).map(|i| low + i as f64 * width).collect(), counts })
    }
}

/// The sessions that challenger and champion both have.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct CommonSessions {
    pub first: TradingDay,
    pub last: TradingDay,
    pub sessions: usize,
    /// The challenger's numbers over them.
    pub challenger: Summary,
}

/// One thing that promotion asks for.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub name: String,
    pub passed: bool,
    pub found: String,
}

/// Everything an evaluation says. A section that is absent has a reason in `undefined`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct TearSheet {
    pub v: u32,
    pub strategy: String,
    pub version: String,
    /// `backtest`, `shadow`, `paper`: named on every page.
    pub mode: String,
    /// `real`, or the world that the prices come from.
    pub dataset: String,
    pub asof: TradingDay,
    pub window: Window,
    pub known_bias: Option<String>,
    pub verdict: Verdict,
    /// Configurations ever tried in the family.
    pub trials: u64,
    /// Sessions of the curves.
    pub days: Vec<TradingDay>,
    pub challenger: Curve,
    /// Over the sessions that both have; on the challenger's days, flat outside of them.
    pub champion: Option<Curve>,
    /// The challenger over the sessions that both have: what the champion may be compared with.
    #[serde(default)]
    pub common: Option<CommonSessions>,
    /// What promotion asks beyond the bars, and what was found.
    #[serde(default)]
    pub promotion: Vec<Condition>,
    /// Loss from the running peak, 0 or below, per session.
    pub underwater: Vec<f64>,
    pub monthly: Vec<YearRow>,
    pub ic: Option<IcSection>,
    /// Mean realised return by score bucket, lowest scores first.
    pub deciles: Vec<Bucket>,
    pub calibration: Vec<Bin>,
    pub cost_sensitivity: Vec<SensitivityRow>,
    /// The same scores under other circumstances.
    #[serde(default)]
    pub what_if: Vec<WhatIf>,
    /// What each row of the verdict asks, in plain words, by its name.
    #[serde(default)]
    pub meanings: BTreeMap<String, String>,
    pub pbo_logits: Option<Histogram>,
    /// The rule, the costs, excluded features, loosened bars: sentences.
    pub notes: Vec<String>,
    pub undefined: BTreeMap<String, String>,
    pub inputs_sha256: String,
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Render the sheet. Deterministic: equal sheets make equal bytes.
pub fn tear_sheet(sheet: &TearSheet) -> Result<Rendered> {
    let mut charts = BTreeMap::from([
        ("equity", equity(sheet)),
        ("drawdown", drawdown(sheet)),
        ("monthly", monthly(sheet)),
        ("ic", ic(sheet)),
        ("ic_years", ic_years(sheet)),
        ("costs", costs(sheet)),
        ("logits", logits(sheet)),
    ]);
    charts.insert("deciles", deciles(sheet));
    charts.insert("calibration", calibration(sheet));
    render("tear_sheet", &serde_json::to_value(sheet)?, &charts)
}

fn why(s: &TearSheet, key: &str, otherwise: &str) -> String {
    s.undefined.get(key).cloned().unwrap_or_else(|| otherwise.to_string())
}

fn equity(s: &TearSheet) -> String {
    let curve = |c: &Curve| c.equity.iter().map(|v| Some(*v)).collect::<Vec<_>>();
    let mut series = vec![Series { name: &s.challenger.name, class: "c1", values: curve(&s.challenger) }];
    if let Some(c) = &s.champion {
        series.push(Series { name: &c.name, class: "c2", values: champion(s, c) });
    }
    svg::lines(&Frame::wide("Growth of 1, after costs", "session", "growth of 1"), &s.days, &series, Format::Number(2))
}

/// The champion's growth where both have sessions, begun at the challenger's level: an earlier lead is no part of the comparison.
fn champion(s: &TearSheet, c: &Curve) -> Vec<Option<f64>> {
    let Some(common) = &s.common else { return c.equity.iter().map(|v| Some(*v)).collect() };
    let from = s.days.partition_point(|d| *d < common.first);
    let level = from.checked_sub(1).and_then(|i| s.challenger.equity.get(i)).copied().unwrap_or(1.0);
    s.days.iter().zip(&c.equity).map(|(d, v)| (*d >= common.first && *d <= common.last).then_some(v * level)).collect()
}

fn drawdown(s: &TearSheet) -> String {
    let values = s.underwater.iter().map(|v| Some(*v)).collect();
    let f = Frame::wide("Drawdown", "session", "loss from the peak").tall(190.0);
    svg::area(&f, &s.days, &Series { name: "", class: "neg", values }, Format::Percent(0))
}

fn monthly(s: &TearSheet) -> String {
    let rows: Vec<String> = s.monthly.iter().map(|y| y.year.to_string()).collect();
    let columns: Vec<String> = MONTHS.iter().copied().chain(["Year"]).map(String::from).collect();
    let values: Vec<Vec<Option<f64>>> = s.monthly.iter().map(|y| y.months.iter().copied().chain([Some(y.total)]).collect()).collect();
    svg::heatmap(&Frame::wide("Returns by month, per cent after costs", "", ""), &rows, &columns, &values, Format::Percent(1))
}

/// A mean over the last quarter of a year, so that the daily noise does not hide the level.
fn ic(s: &TearSheet) -> String {
    let f = Frame::wide("Information coefficient, mean of the last 63 sessions", "session", "rank correlation").tall(190.0);
    let Some(ic) = &s.ic else { return svg::empty(&f, &why(s, "ic", "there is no cross-section")) };
    let rolling = |i: usize| {
        let seen: Vec<f64> = ic.values[i.saturating_sub(62)..=i].iter().flatten().copied().collect();
        (i >= 62 && seen.len() >= 20).then(|| seen.iter().sum::<f64>() / seen.len() as f64)
    };
    // The curve ends where the scores end: beyond are the sealed months. It stands on the axis of the curves above.
    let end = ic.values.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    let first = s.days.first().map_or(0, |d| ic.days.partition_point(|day| day < d)).min(end);
    let values: Vec<Option<f64>> = (first..end).map(rolling).collect();
    svg::area(&f, &ic.days[first..end], &Series { name: "", class: "c1", values }, Format::Number(2))
}

fn ic_years(s: &TearSheet) -> String {
    let f = Frame::half("Information coefficient by year", "year", "mean rank correlation");
    let Some(ic) = &s.ic else { return svg::empty(&f, &why(s, "ic", "there is no cross-section")) };
    let labels: Vec<String> = ic.summary.by_year.keys().map(ToString::to_string).collect();
    let values: Vec<Option<f64>> = ic.summary.by_year.values().map(|y| Some(y.mean)).collect();
    svg::bars(&f, &labels, &values, Format::Number(3))
}

fn deciles(s: &TearSheet) -> String {
    let f = Frame::half("Realised return by score", "bucket of score, 1 = lowest", "mean return over the horizon");
    let labels: Vec<String> = s.deciles.iter().map(|b| (b.bucket + 1).to_string()).collect();
    let values: Vec<Option<f64>> = s.deciles.iter().map(|b| Some(b.mean_return)).collect();
    if values.is_empty() { svg::empty(&f, &why(s, "deciles", "no returns by score")) } else { svg::bars(&f, &labels, &values, Format::Percent(2)) }
}

fn calibration(s: &TearSheet) -> String {
    let f = Frame::half("Calibration", "forecast probability", "observed share");
    let points: Vec<(f64, f64)> = s.calibration.iter().map(|b| (b.mean_pred, b.frac_pos)).collect();
    if points.is_empty() {
        return svg::empty(&f, &why(s, "calibration", "the model makes scores, not probabilities"));
    }
    svg::scatter(&f, &points, Format::Number(2), Format::Number(2))
}

fn costs(s: &TearSheet) -> String {
    let labels: Vec<String> = s.cost_sensitivity.iter().map(|r| format!("{}x", r.multiple)).collect();
    let values: Vec<Option<f64>> = s.cost_sensitivity.iter().map(|r| r.sharpe).collect();
    svg::bars(&Frame::half("Sharpe ratio at other costs", "multiple of the cost model", "annualised, after costs"), &labels, &values, Format::Number(2))
}

/// Logits at or below 0 are the share that PBO counts: drawn as losses.
fn logits(s: &TearSheet) -> String {
    let f = Frame::half("Overfitting: logits of the chosen trial's rank", "logit, 0 or below is overfitted", "combinations");
    let Some(h) = &s.pbo_logits else { return svg::empty(&f, &why(s, "pbo_logits", "there is no trial matrix")) };
    let middle = |i: usize| (h.edges[i] + h.edges[i + 1]) / 2.0;
    let labels: Vec<String> = (0..h.counts.len()).map(|i| Format::Number(1).write(middle(i))).collect();
    let values: Vec<Option<f64>> = h.counts.iter().map(|c| Some(*c as f64)).collect();
    svg::bars(&f, &labels, &values, Format::Number(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reports::sample;
    use crate::reports::view::tests::check_views;

    #[test]
    fn a_sheet_is_one_page_that_fetches_nothing_and_shows_only_its_own_numbers() {
        let r = tear_sheet(&sample::sheet()).unwrap();
        check_views(&r);
        assert_eq!(r, tear_sheet(&sample::sheet()).unwrap());
        let back: TearSheet = serde_json::from_str(&r.json).unwrap();
        assert_eq!(back.verdict, sample::sheet().verdict);
    }

    #[test]
    fn lesson_057_the_sensitivity_table_and_lesson_085_the_best_trade_are_printed() {
        let r = tear_sheet(&sample::sheet()).unwrap();
        for text in ["0.5x", "3.0x", "pnl without best trade", "Known bias", "Trials", "without its best month", "2016-11", "usual deviation"] {
            assert!(r.md.contains(text), "{text} is missing:\n{}", r.md);
        }
    }

    #[test]
    fn lesson_056_every_page_names_its_mode() {
        let r = tear_sheet(&TearSheet { mode: "shadow".into(), ..sample::sheet() }).unwrap();
        assert!(r.md.lines().next().unwrap().contains("shadow") && r.html.contains("shadow"));
    }

    #[test]
    fn a_sheet_without_sections_still_says_why() {
        let mut s = sample::sheet();
        (s.ic, s.pbo_logits, s.champion, s.known_bias) = (None, None, None, None);
        (s.deciles, s.calibration, s.cost_sensitivity, s.monthly) = (vec![], vec![], vec![], vec![]);
        s.undefined.insert("ic".into(), "fewer than ten names a day".into());
        let r = tear_sheet(&s).unwrap();
        check_views(&r);
        assert!(r.html.contains("fewer than ten names a day"));
    }

    #[test]
    fn histograms_count_everything() {
        let h = Histogram::of(&[0.0, 0.5, 1.0, f64::NAN], 4).unwrap();
        assert_eq!(h.counts, [1, 0, 1, 1]);
        assert!(Histogram::of(&[], 4).is_none());
    }
}
