//! The verdict on every expected session of one symbol.

use super::AuditConfig;
use super::bars::{Ask, Damaged, Origin, Series};
use super::shut::Shut;
use crate::calendar::Calendar;
use crate::ledger::{Key, Row, Verdict};
use crate::qc::{self, Action, QcCode};
use crate::reference::{Listed, ListingSpans};
use crate::schema::{table, timeframe};
use crate::tickers::Tickers;
use crate::time::{DateRange, TradingDay};
use std::collections::BTreeMap;

/// All that is known about a symbol.
pub(super) struct Input<'a> {
    pub symbol: &'a str,
    /// The days to judge.
    pub days: DateRange,
    pub spans: Option<&'a [(Option<TradingDay>, Option<TradingDay>)]>,
    pub actions: &'a [Action],
    /// Sessions on which an action is in doubt.
    pub doubts: Option<&'a BTreeMap<TradingDay, QcCode>>,
    /// Complete answers, oldest first.
    pub asks: &'a [Ask<'a>],
    pub damaged: &'a [Damaged],
    /// Answers that are gone.
    pub lost: &'a [Damaged],
    /// Bars of the days to judge and of the sessions before them.
    pub series: &'a Series,
    /// Bars that are stored under the symbol and are another company's.
    pub of_others: &'a Series,
    pub tickers: &'a Tickers,
    /// Days of which nobody may be asked.
    pub shut: &'a Shut,
}

impl Input<'_> {
    /// Where the bar of another company came from that is stored for a day.
    fn of_another(&self, day: TradingDay) -> Option<&Origin> {
        self.of_others.bars.binary_search_by_key(&day, |b| b.day).ok().and_then(|i| self.of_others.origins.get(i))
    }
    /// The session's row where there is no bar of the company: whoever was asked was perhaps asked about somebody else.
    fn absent(&self, day: TradingDay, silence: &Silence<'_>) -> Row {
        let theirs = self.of_another(day);
        let vendor = || theirs.map_or(silence.usual, |o| o.vendor.as_str());
        if self.tickers.on(self.symbol, day).is_none() {
            return row(self.symbol, day, vendor(), QcCode::TickerUnknown, 0, DAY);
        }
        match theirs.filter(|o| !silence.asks.iter().any(|a| a.vendor == o.vendor && a.days.contains(day))) {
            Some(origin) => present(self.symbol, day, origin, QcCode::Quarantined, DAY),
            None => absent(self.symbol, day, silence, DAY),
        }
    }
}

#[derive(Default)]
pub(super) struct Judged {
    pub rows: Vec<Row>,
    pub revisions: u64,
    pub unexpected_bars: u64,
    pub close_notes: u64,
}

pub(super) fn judge(input: &Input<'_>, config: &AuditConfig) -> Judged {
    let codes = qc::judge(&input.series.bars, input.actions, &config.qc);
    let damaged: Vec<&Damaged> = input.damaged.iter().filter(|d| d.symbols.contains(input.symbol)).collect();
    let superseding: Vec<&Damaged> = damaged.iter().copied().chain(input.lost.iter().filter(|d| d.symbols.contains(input.symbol))).collect();
    let (first_bar, usual) = (input.series.bars.first().map(|b| b.day), config.source_order.first().map_or("", String::as_str));
    let mut out = Judged::default();
    let mut at = input.series.bars.partition_point(|b| b.day < input.days.start);
    for day in Calendar::xnys().sessions(input.days) {
        while input.series.bars.get(at).is_some_and(|b| b.day < *day) {
            out.unexpected_bars += 1; // a bar on a day without a session
            at += 1;
        }
        let here = input.series.bars.get(at).filter(|b| b.day == *day).map(|_| at);
        at += usize::from(here.is_some());
        let listed = ListingSpans::within(input.spans, *day);
        if listed == Listed::No {
            out.unexpected_bars += u64::from(here.is_some());
            continue;
        }
        let row = match here {
            Some(i) => {
                let origin = &input.series.origins[i];
                out.revisions += u64::from(origin.revised);
                let own = if codes[i] == QcCode::BreakAcrossGap && i > 0 && listed_anew(input.spans, input.series.bars[i - 1].day, *day) {
                    QcCode::Ok
                } else {
                    codes[i]
                };
                let judged = with_second_source(own, input, i, config, &mut out.close_notes);
                let doubt = input.doubts.and_then(|of| of.get(day)).copied();
                let judged = doubt.filter(|_| judged == QcCode::Ok).unwrap_or(judged);
                let judged = if origin.rows > 1 { QcCode::Duplicates } else { judged };
                present(input.symbol, *day, origin, newest_damage(&superseding, origin, *day).unwrap_or(judged), DAY)
            }
            None => input.absent(*day, &Silence { asks: input.asks, damaged: &damaged, first_bar, listed, usual, shut: input.shut.contains(*day) }),
        };
        out.rows.push(row);
    }
    out
}

/// Whether a listing began between two bars: then the later one is of another life of the symbol.
fn listed_anew(spans: Option<&[(Option<TradingDay>, Option<TradingDay>)]>, before: TradingDay, day: TradingDay) -> bool {
    spans.unwrap_or_default().iter().any(|(from, _)| from.is_some_and(|from| before < from && from <= day))
}

/// A bar that passed by itself may still disagree with another vendor's. Honest vendors differ by cents, and by percents now and then.
fn with_second_source(code: QcCode, input: &Input<'_>, i: usize, config: &AuditConfig, notes: &mut u64) -> QcCode {
    let (Some(ours), Some(theirs)) = (input.series.bars[i].close, input.series.origins[i].other_close) else { return code };
    if theirs <= 0.0 || ours <= 0.0 {
        return code;
    }
    let apart = (ours / theirs - 1.0).abs().max((theirs / ours - 1.0).abs());
    *notes += u64::from(apart * 10_000.0 > config.qc.close_note_bps);
    if code == QcCode::Ok && apart > config.qc.sources_disagree { QcCode::SourcesDisagree } else { code }
}

/// What is wrong with an answer that would have served the day instead: an older one may say what the vendor has taken back.
pub(super) fn newest_damage(damaged: &[&Damaged], origin: &Origin, day: TradingDay) -> Option<QcCode> {
    damaged.iter().find(|d| d.supersedes(origin, day)).map(|d| d.code)
}

/// A partition's key and the rows that it should have.
pub(super) type Size = (&'static str, u64);

const DAY: Size = (timeframe::DAY, 1);

/// The row of a partition that has bars.
pub(super) fn present(symbol: &str, day: TradingDay, origin: &Origin, code: QcCode, size: Size) -> Row {
    let mut row = row(symbol, day, &origin.vendor, code, origin.rows, size);
    row.verdict.first_observed_at = Some(origin.first);
    row.verdict.last_observed_at = Some(origin.last);
    row
}

/// What is known of a partition without bars.
pub(super) struct Silence<'a> {
    /// Complete answers, oldest first.
    pub asks: &'a [Ask<'a>],
    /// Segments of this symbol that cannot be used.
    pub damaged: &'a [&'a Damaged],
    pub first_bar: Option<TradingDay>,
    pub listed: Listed,
    /// The vendor that would be asked.
    pub usual: &'a str,
    /// Whether every vendor that could serve the session has refused the lane.
    pub shut: bool,
}

/// The row of a partition without bars: damaged, never asked for (and perhaps not to be asked for), or answered with nothing.
pub(super) fn absent(symbol: &str, day: TradingDay, silence: &Silence<'_>, size: Size) -> Row {
    if let Some(d) = silence.damaged.iter().find(|d| d.days.contains(day)) {
        return row(symbol, day, &d.vendor, d.code, 0, size);
    }
    let answers: Vec<&Ask<'_>> = silence.asks.iter().filter(|a| a.days.contains(day)).collect();
    let Some(newest) = answers.last() else {
        let code = if silence.shut { QcCode::NotEntitled } else { QcCode::Missing };
        return row(symbol, day, silence.usual, code, 0, size);
    };
    let code = if silence.listed == Listed::Unknown && silence.first_bar.is_some_and(|first| day < first) {
        QcCode::BeforeFirstBar
    } else if answers.iter().any(|a| a.vendor != newest.vendor) {
        QcCode::VendorEmpty
    } else {
        QcCode::SuspiciousEmpty
    };
    row(symbol, day, newest.vendor, code, 0, size)
}

pub(super) fn row(symbol: &str, day: TradingDay, vendor: &str, code: QcCode, rows: u64, (key, expected): Size) -> Row {
    Row {
        key: Key {
            source_name: vendor.to_string(),
            table_name: table::RAW_EQUITIES_BARS.to_string(),
            symbol: symbol.to_string(),
            dt: day,
            partition_key: key.to_string(),
        },
        verdict: Verdict {
            status: code.status(),
            qc_code: code.as_str().to_string(),
            qc_score: code.score(),
            row_count: rows,
            expected_rows: Some(expected),
            first_observed_at: None,
            last_observed_at: None,
        },
    }
}
