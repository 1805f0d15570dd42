//! The audit of minute bars: one verdict per expected (symbol, session), from stored bytes that were read.
//!
//! Work is kept as lists of windows, not as one hull, so that a session in January and one in December do not cost the year
//! between them. A calendar year is in memory at a time, and of a session only what its verdict needs.

use super::bars::{Ask, Catalogue, Damaged};
use super::{AuditConfig, AuditReport, AuditScope, EVER, Facts, Found, bars, lost_of, verdict};
use crate::calendar::Calendar;
use crate::control::Db;
use crate::error::Result;
use crate::ledger::{self, Row};
use crate::qc::{self, DayBar, QcCode, Summary};
use crate::reference::{Listed, ListingSpans};
use crate::root::DataRoot;
use crate::schema::{dataset, timeframe};
use crate::time::{DateRange, TradingDay};
use std::collections::BTreeMap;

mod plan;
pub(crate) mod scan;

pub(crate) use plan::{Wanted, window_of};
use scan::Held;

/// What an audit of minutes is told.
pub(super) struct Task<'a> {
    pub root: &'a DataRoot,
    pub db: &'a Db,
    pub days: &'a Catalogue,
    pub minutes: &'a Catalogue,
    pub facts: &'a Facts,
    pub config: &'a AuditConfig,
    /// Symbols whose minutes are expected; none where no minutes are collected.
    pub symbols: &'a [String],
    /// The sessions to answer for.
    pub window: DateRange,
    pub depth: AuditScope,
    /// Days of which this audit found new day bars.
    pub touched: &'a Wanted,
}

impl Task<'_> {
    pub fn run(&self, report: &mut AuditReport) -> Result<()> {
        let plan = plan::make(self)?;
        for year in plan::years(&plan.dirty) {
            let wanted = plan::within(&plan.dirty, year);
            if !wanted.is_empty() {
                self.judge(&wanted, report)?;
            }
        }
        // What the window no longer holds, and names that are no longer expected.
        let mut found = Found::new(self.depth, timeframe::MINUTE);
        for symbol in &plan.afresh {
            let outside = [DateRange { end: self.window.start, ..EVER }, DateRange { start: self.window.end, ..EVER }];
            outside.into_iter().filter(|days| days.start < days.end).for_each(|days| found.nothing(symbol, days));
        }
        plan.dropped.iter().for_each(|symbol| found.nothing(symbol, EVER));
        report.changed += found.write(self.db)?;
        plan::finish(self, &plan)
    }

    /// Judge the windows of one calendar year.
    fn judge(&self, wanted: &Wanted, report: &mut AuditReport) -> Result<()> {
        let hulls: BTreeMap<String, DateRange> = wanted.iter().filter_map(|(s, w)| plan::hull(w).map(|h| (s.clone(), h))).collect();
        let mut days = bars::collect(self.root, self.days, &hulls)?;
        let mut held: BTreeMap<String, BTreeMap<TradingDay, Vec<Held<()>>>> = BTreeMap::new();
        let found = scan::scan(self.root, self.minutes, wanted, &mut |symbol, manifest, session| {
            let summary = session.summary(&self.config.qc);
            if !held.contains_key(symbol) {
                held.insert(symbol.to_string(), BTreeMap::new());
            }
            if let Some(of) = held.get_mut(symbol) {
                of.entry(session.day).or_default().push(Held { manifest, summary, kept: () });
            }
        })?;
        report.segments_read += found.segments_read + days.segments_read;
        report.bytes_read += found.bytes_read + days.bytes_read;
        report.damaged.extend(found.damaged.iter().map(|d| (d.path.to_string(), d.code)));
        let asks = self.minutes.asks(&hulls);
        let lost = lost_of(self.root, self.db, self.minutes, dataset::EQUITIES_MINUTE, self.depth)?;
        let mut judged = Found::new(self.depth, timeframe::MINUTE);
        for (symbol, windows) in wanted {
            self.root.host().check_cancelled()?;
            let series = bars::resolve(days.rows.remove(symbol).unwrap_or_default(), self.days, &self.config.source_order);
            let one = Symbol {
                name: symbol,
                held: held.remove(symbol).unwrap_or_default(),
                day_bars: day_bars(&series),
                asks: asks.get(symbol.as_str()).map_or(&[][..], Vec::as_slice),
                of_others: found.of_others.iter().filter(|((s, _), _)| s == symbol).map(|((_, day), manifest)| (*day, *manifest)).collect(),
                damaged: found.damaged.iter().filter(|d| d.symbols.contains(symbol)).collect(),
                superseding: found.damaged.iter().chain(&lost).filter(|d| d.symbols.contains(symbol)).collect(),
            };
            report.symbols_judged += 1;
            for window in windows {
                let rows = self.rows(&one, *window, report);
                report.partitions_judged += rows.len() as u64;
                judged.judged(symbol, *window, rows);
            }
            report.changed += judged.write_if_many(self.db)?;
        }
        report.changed += judged.write(self.db)?;
        Ok(())
    }

    fn rows(&self, one: &Symbol<'_>, window: DateRange, report: &mut AuditReport) -> Vec<Row> {
        let mut out = Vec::new();
        for day in Calendar::xnys().sessions(window) {
            let listed = ListingSpans::within(self.facts.spans.spans(one.name), *day);
            let held = one.held.get(day).map_or(&[][..], Vec::as_slice);
            if listed == Listed::No {
                report.unexpected_bars += held.iter().map(|h| h.summary.rows).sum::<u64>();
                continue;
            }
            let expected = u64::from(Calendar::xnys().minutes(*day));
            let chosen = scan::choose(held, self.minutes, &self.config.source_order);
            let row = match chosen.filter(|(h, _)| h.summary.rows > 0 || h.summary.code != QcCode::Ok) {
                Some((h, origin)) => {
                    report.revisions += u64::from(origin.revised);
                    let code = qc::judge_session(&h.summary, expected, one.day_bars.get(day).copied(), &self.config.qc);
                    let code = verdict::newest_damage(&one.superseding, &origin, *day).unwrap_or(code);
                    verdict::present(one.name, *day, &origin, code, (timeframe::MINUTE, expected))
                }
                None if self.facts.tickers.on(one.name, *day).is_none() => one.without_a_bar(*day, QcCode::TickerUnknown, expected, self),
                None if one.is_of_another_only(*day, self.minutes) => one.without_a_bar(*day, QcCode::Quarantined, expected, self),
                None => {
                    let usual = self.config.source_order.first().map_or("", String::as_str);
                    let shut = self.facts.shut_minutes.contains(*day);
                    let silence = verdict::Silence { asks: one.asks, damaged: &one.damaged, first_bar: None, listed, usual, shut };
                    verdict::absent(one.name, *day, &silence, (timeframe::MINUTE, expected))
                }
            };
            out.push(row);
        }
        out
    }
}

/// All that is known about a symbol's minutes.
struct Symbol<'a> {
    name: &'a str,
    held: BTreeMap<TradingDay, Vec<Held<()>>>,
    day_bars: BTreeMap<TradingDay, DayBar>,
    asks: &'a [Ask<'a>],
    /// Sessions that another company traded, and the manifest that brought them.
    of_others: BTreeMap<TradingDay, usize>,
    damaged: Vec<&'a Damaged>,
    /// The same, and answers that are gone.
    superseding: Vec<&'a Damaged>,
}

impl Symbol<'_> {
    /// Whether all that is stored of a session is another company's, and its vendor was not asked about this one.
    fn is_of_another_only(&self, day: TradingDay, minutes: &Catalogue) -> bool {
        let vendor = self.of_others.get(&day).and_then(|m| minutes.manifests.get(*m)).map(|(_, m)| m.vendor.as_str());
        vendor.is_some_and(|vendor| !self.asks.iter().any(|a| a.vendor == vendor && a.days.contains(day)))
    }
    fn without_a_bar(&self, day: TradingDay, code: QcCode, expected: u64, task: &Task<'_>) -> Row {
        let vendor = self.of_others.get(&day).and_then(|m| task.minutes.manifests.get(*m)).map(|(_, m)| m.vendor.as_str());
        let usual = task.config.source_order.first().map_or("", String::as_str);
        verdict::row(self.name, day, vendor.unwrap_or(usual), code, 0, (timeframe::MINUTE, expected))
    }
}

/// The sound day bars of a series.
fn day_bars(series: &bars::Series) -> BTreeMap<TradingDay, DayBar> {
    let sound = series.bars.iter().zip(&series.origins).filter(|(bar, origin)| origin.rows == 1 && qc::bar_code(bar) == QcCode::Ok);
    sound.filter_map(|(bar, _)| Some((bar.day, DayBar { close: bar.close?, volume: bar.volume? }))).collect()
}

/// Whether a summary's session may be used at all.
pub(crate) fn is_sound(s: &Summary) -> bool {
    s.code.status() != ledger::Status::Red && s.rows > 0
}

#[cfg(test)]
mod tests;
