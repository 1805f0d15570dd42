//! The verdict on every expected session of one symbol.

use super::AuditConfig;
use super::bars::{Ask, Damaged, Origin, Series};
use crate::calendar::Calendar;
use crate::ledger::{Key, Row, Verdict};
use crate::qc::{self, Action, QcCode};
use crate::reference::{Listed, ListingSpans};
use crate::schema::{table, timeframe};
use crate::time::{DateRange, TradingDay};

/// All that is known about a symbol.
pub(super) struct Input<'a> {
    pub symbol: &'a str,
    /// The days to judge.
    pub days: DateRange,
    pub spans: Option<&'a [(Option<TradingDay>, Option<TradingDay>)]>,
    pub actions: &'a [Action],
    /// Complete answers, oldest first.
    pub asks: &'a [Ask<'a>],
    pub damaged: &'a [Damaged],
    /// Bars of the days to judge and of the sessions before them.
    pub series: &'a Series,
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
                present(input.symbol, *day, origin, with_second_source(codes[i], input, i, config, &mut out.close_notes))
            }
            None => absent(input, *day, listed, &damaged, config),
        };
        out.rows.push(row);
    }
    out
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

fn present(symbol: &str, day: TradingDay, origin: &Origin, judged: QcCode) -> Row {
    let code = if origin.rows > 1 { QcCode::Duplicates } else { judged };
    let mut row = row(symbol, day, &origin.vendor, code, origin.rows);
    row.verdict.first_observed_at = Some(origin.first);
    row.verdict.last_observed_at = Some(origin.last);
    row
}

fn absent(input: &Input<'_>, day: TradingDay, listed: Listed, damaged: &[&Damaged], config: &AuditConfig) -> Row {
    if let Some(d) = damaged.iter().find(|d| d.days.contains(day)) {
        return row(input.symbol, day, &d.vendor, d.code, 0);
    }
    let answers: Vec<&Ask<'_>> = input.asks.iter().filter(|a| a.days.contains(day)).collect();
    let Some(newest) = answers.last() else {
        let usual = config.source_order.first().map_or("", String::as_str);
        return row(input.symbol, day, usual, QcCode::Missing, 0);
    };
    let first_bar = input.series.bars.first().map(|b| b.day);
    let code = if listed == Listed::Unknown && first_bar.is_some_and(|first| day < first) {
        QcCode::BeforeFirstBar
    } else if answers.iter().any(|a| a.vendor != newest.vendor) {
        QcCode::VendorEmpty
    } else {
        QcCode::SuspiciousEmpty
    };
    row(input.symbol, day, newest.vendor, code, 0)
}

fn row(symbol: &str, day: TradingDay, vendor: &str, code: QcCode, rows: u64) -> Row {
    Row {
        key: Key {
            source_name: vendor.to_string(),
            table_name: table::RAW_EQUITIES_BARS.to_string(),
            symbol: symbol.to_string(),
            dt: day,
            partition_key: timeframe::DAY.to_string(),
        },
        verdict: Verdict {
            status: code.status(),
            qc_code: code.as_str().to_string(),
            qc_score: code.score(),
            row_count: rows,
            expected_rows: Some(1),
            first_observed_at: None,
            last_observed_at: None,
        },
    }
}
