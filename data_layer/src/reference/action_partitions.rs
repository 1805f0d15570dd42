//! Ledger rows of the corporate actions: a session is GREEN once every name was asked, after its close, in such a way that its actions
//! could be told, and nothing that was told is in doubt.

use super::agreement::{self, Doubt};
use super::partitions::{Answer, Tally, counted, row, tallies};
use super::statements::{Proof, known_by};
use super::{Spans, load_actions};
use crate::calendar::Calendar;
use crate::error::Result;
use crate::ledger::Row;
use crate::qc::QcCode;
use crate::root::DataRoot;
use crate::schema::table;
use crate::stage::Stage;
use crate::tickers::{Tickers, knows_tickers_by_day};
use crate::time::{DateRange, TradingDay, UtcTime};
use std::collections::{BTreeMap, BTreeSet};

/// One name in so many in doubt about a dividend makes a session AMBER for all; about anything else one name is enough.
const NAMES_PER_DOUBT: u64 = 100;
/// Names of which at least one pays a dividend or splits within months: where none of so many was ever told to, the list did not reach back.
const PROVING_NAMES: usize = 20;

/// What the rows follow from beside the answers.
pub(super) struct Known {
    doubts: Vec<Doubt>,
    proof: Proof,
    tickers: Tickers,
}

const EVER: DateRange = DateRange { start: TradingDay(0), end: TradingDay(40_000) };

impl Known {
    pub fn load(root: &DataRoot, stage: &Stage) -> Result<Self> {
        let names: BTreeSet<&String> = stage.universe.symbols.iter().collect();
        let mut doubts = agreement::load_doubts(root)?;
        doubts.retain(|d| names.contains(&d.symbol));
        let judged = !root.is_world() && names.len() >= PROVING_NAMES;
        let first = load_actions(root)?.values().flatten().filter(|a| a.source_priority == 1).map(|a| a.ex_date).min();
        Ok(Self { tickers: Tickers::load(root)?, doubts, proof: if judged { Proof::From(first) } else { Proof::NotNeeded } })
    }
    /// What of it a digest of the rows' sources must hold.
    pub fn words(&self) -> String {
        let doubts: Vec<String> = self.doubts.iter().map(|d| format!("{} {} {} {}", d.symbol, d.ex_date, d.event_type, d.code.as_str())).collect();
        let renamed = if self.tickers.is_empty() { String::new() } else { format!(" {:?}", self.tickers) };
        format!("{:?} {}{renamed}", self.proof, doubts.join(";"))
    }

    pub fn rows(&self, answers: &[Answer], symbols: &[String], sessions: &[TradingDay]) -> Result<Vec<Row>> {
        let tallies: Vec<Tally> = counted(answers, symbols, sessions, tallies(answers, sessions));
        let known = self.known(answers, symbols, sessions);
        let mut doubtful: BTreeMap<TradingDay, (u64, bool, QcCode)> = BTreeMap::new();
        for d in &self.doubts {
            let of = doubtful.entry(d.session()?).or_insert((0, false, d.code));
            *of = (of.0 + 1, of.1 || d.is_weighty(), of.2.max(d.code));
        }
        let wanted = symbols.len() as u64;
        let one = |((dt, t), known): ((&TradingDay, Tally), u64)| {
            let doubt = doubtful.get(dt).filter(|(n, weighty, _)| *weighty || n * NAMES_PER_DOUBT >= wanted).map(|(_, _, code)| *code);
            let code = match t.vendor {
                Some(_) if known == wanted => doubt.unwrap_or(QcCode::Ok),
                Some(_) if t.answered == wanted => QcCode::NotSeen,
                _ => QcCode::Missing,
            };
            let count = if code == QcCode::NotSeen { known } else { t.answered };
            row(table::REF_CORP_ACTIONS, t.vendor.as_deref().unwrap_or("alpaca"), *dt, code, (count, wanted), (t.first, t.last))
        };
        Ok(sessions.iter().zip(tallies).zip(known).map(one).collect())
    }

    /// For how many names each session's actions could have been told.
    fn known(&self, answers: &[Answer], symbols: &[String], sessions: &[TradingDay]) -> Vec<u64> {
        let closes: Vec<UtcTime> = sessions.iter().map(|d| Calendar::xnys().close(*d)).collect();
        let mut newest_first: Vec<&Answer> = answers.iter().collect();
        newest_first.sort_by_key(|a| std::cmp::Reverse(a.at));
        let mut out = vec![0; sessions.len()];
        for symbol in symbols {
            let names: BTreeSet<&str> = [symbol.as_str()].into_iter().chain(self.tickers.earlier(symbol, EVER).map(|(ticker, _)| ticker)).collect();
            let about = |a: &Answer| names.iter().copied().filter(|name| a.symbols.as_ref().is_none_or(|s| s.contains(*name))).collect::<Vec<_>>();
            let mut mine = newest_first.iter().map(|a| (a, about(a))).filter(|(_, names)| !names.is_empty()).peekable();
            let mut days: BTreeMap<(&str, &str), Spans> = BTreeMap::new();
            for (i, dt) in sessions.iter().enumerate().rev() {
                while let Some((a, about)) = mine.next_if(|(a, _)| a.at >= closes[i]) {
                    about.iter().for_each(|name| days.entry((&a.vendor, name)).or_default().add(DateRange { start: a.from, end: a.to }));
                }
                let told = |((vendor, name), days): (&(&str, &str), &Spans)| {
                    let then = if knows_tickers_by_day(vendor) { self.tickers.on(symbol, *dt) } else { Some(symbol.as_str()) };
                    // Nobody can be asked about a day whose ticker is not known.
                    then.is_none_or(|then| then == *name)
                        && self.proof.reaches(vendor, *dt)
                        && days.covers(DateRange { start: *dt, end: known_by(vendor, *dt) })
                };
                out[i] += u64::from(days.iter().any(told));
            }
        }
        out
    }
}
