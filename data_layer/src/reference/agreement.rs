//! What several vendors say about one event, and what of it is applied.
//!
//! Of one vendor every event counts. Between vendors an event of the same symbol and family, a few days apart at most and of the same
//! ratio or amount, is one event, and the preferred vendor's statement of it is taken. What is told otherwise by another vendor, told by
//! one where the other should have told it too, taken back, or not usable, is a doubt: it reaches the ledger and a person.

use super::actions::CorpAction;
use super::read_table;
use super::statements::{Statement, Told};
use crate::calendar::Calendar;
use crate::error::Result;
use crate::frame;
use crate::qc::QcCode;
use crate::root::DataRoot;
use crate::schema::table;
use crate::time::{DateRange, TradingDay};
use polars::prelude::DataFrame;
use std::collections::BTreeMap;

/// Days between two vendors' dates of one event.
const NEAR_DAYS: i32 = 5;
/// Relative difference of two ratios that are one …
const RATIO_SLACK: f64 = 0.001;
/// … and of two amounts, which vendors round; in dollars where the amount is small.
const CASH_SLACK: (f64, f64) = (0.01, 0.005);

/// An action that is not certain, or not applied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Doubt {
    pub symbol: String,
    pub ex_date: TradingDay,
    pub event_type: String,
    /// `ACTIONS_DISAGREE` or `ACTION_UNAPPLIED`.
    pub code: QcCode,
    /// In English whatever the language of the machine: the table's bytes are the same everywhere.
    pub words: String,
}

impl Doubt {
    pub(super) fn of(action: &CorpAction, code: QcCode, words: String) -> Self {
        Self { symbol: action.symbol.clone(), ex_date: action.ex_date, event_type: action.event_type.clone(), code, words }
    }
    /// The session on which it shows in the prices.
    pub fn session(&self) -> Result<TradingDay> {
        let calendar = Calendar::xnys();
        if calendar.is_session(self.ex_date) { Ok(self.ex_date) } else { calendar.next(self.ex_date) }
    }
    /// Whether the price before the day would be wrong by more than a dividend.
    pub(super) fn is_weighty(&self) -> bool {
        !self.event_type.contains("cash_dividend")
    }
}

/// What a vendor says of one symbol, family and day: its events of a day are one here, as a row of prices has them.
struct Event {
    day: TradingDay,
    /// The ratio or the dollars of all of them; `None` for an event without either.
    amount: Option<f64>,
    actions: Vec<CorpAction>,
    /// What each vendor says, by its name.
    said: BTreeMap<String, Option<f64>>,
    agreed: bool,
}

type Events = BTreeMap<(String, String), Vec<Event>>;

/// The actions that are applied, by symbol and ex-date, and the doubts about them.
pub(super) fn settle(told: &Told) -> (Vec<CorpAction>, Vec<Doubt>) {
    let mut by_vendor: BTreeMap<(i64, &str), Vec<&Statement>> = BTreeMap::new();
    for s in &told.live {
        by_vendor.entry((s.action.source_priority, &s.vendor)).or_default().push(s);
    }
    let mut accepted = Events::new();
    let mut doubts = Vec::new();
    for ((_, vendor), statements) in &by_vendor {
        for (key, events) in events_of(vendor, statements) {
            let mine = accepted.entry(key).or_default();
            let (before, mut fresh) = (mine.len(), Vec::new());
            for event in events {
                match partner(&mut mine[..before], vendor, &event) {
                    Some(known) => known.said.extend(event.said),
                    None => fresh.push(event),
                }
            }
            mine.extend(fresh);
        }
    }
    for ((symbol, family), events) in &mut accepted {
        for event in events.iter_mut() {
            event.agreed = event.said.values().all(|a| same(family, *a, event.amount));
            let silent = silent(told, &by_vendor, symbol, family, event);
            if !event.agreed || !silent.is_empty() {
                doubts.extend(event.actions.first().map(|a| Doubt::of(a, QcCode::ActionsDisagree, words(event, &silent))));
            }
        }
    }
    for s in &told.unusable {
        doubts.push(Doubt::of(&s.action, QcCode::ActionUnapplied, format!("{} tells a {} without a usable ratio or amount", s.vendor, s.action.event_type)));
    }
    for s in &told.taken_back {
        let again =
            told.live.iter().any(|l| l.action.symbol == s.action.symbol && l.action.family() == s.action.family() && near(l.action.ex_date, s.action.ex_date));
        if !again && has_effect(s.action.family()) {
            doubts.push(Doubt::of(&s.action, QcCode::ActionsDisagree, format!("{} told a {} and took it back", s.vendor, s.action.event_type)));
        }
    }
    let mut actions: Vec<CorpAction> = accepted.into_values().flatten().flat_map(|e| e.actions).collect();
    // Whichever answer brought them: an equal table has equal bytes.
    let amount = |a: &CorpAction| a.cash.or(a.ratio).unwrap_or(0.0);
    let order = |a: &CorpAction, b: &CorpAction| (&a.symbol, a.ex_date, &a.event_type).cmp(&(&b.symbol, b.ex_date, &b.event_type));
    actions.sort_by(|a, b| order(a, b).then(amount(a).total_cmp(&amount(b))).then(a.pay_date.cmp(&b.pay_date)).then(a.new_symbol.cmp(&b.new_symbol)));
    doubts.sort();
    doubts.dedup();
    (actions, doubts)
}

fn has_effect(family: &str) -> bool {
    matches!(family, "split" | "cash" | "spin_off")
}

/// A vendor's events by symbol and family, in order of the day.
fn events_of(vendor: &str, statements: &[&Statement]) -> Events {
    let mut out = Events::new();
    for s in statements {
        let (a, family) = (&s.action, s.action.family());
        let amount = match family {
            "split" => a.ratio,
            "cash" => a.cash,
            _ => None,
        };
        let list = out.entry((a.symbol.clone(), family.to_string())).or_default();
        match list.last_mut().filter(|e| e.day == a.ex_date) {
            Some(event) => {
                event.amount = event.amount.zip(amount).map(|(x, y)| if family == "split" { x * y } else { x + y });
                event.actions.push(a.clone());
            }
            None => list.push(Event { day: a.ex_date, amount, actions: vec![a.clone()], said: BTreeMap::new(), agreed: true }),
        }
    }
    for event in out.values_mut().flatten() {
        event.said.insert(vendor.to_string(), event.amount);
    }
    out
}

fn near(a: TradingDay, b: TradingDay) -> bool {
    a.0.abs_diff(b.0) <= NEAR_DAYS as u32
}

fn same(family: &str, a: Option<f64>, b: Option<f64>) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return a.is_none() == b.is_none() };
    let apart = (a - b).abs();
    if family == "cash" { apart <= CASH_SLACK.1 || apart <= CASH_SLACK.0 * a.max(b) } else { apart <= RATIO_SLACK * a.max(b) }
}

/// The event of a preferred vendor that this one speaks of: one of the same amount first, else the nearest.
fn partner<'a>(known: &'a mut [Event], vendor: &str, event: &Event) -> Option<&'a mut Event> {
    let family = event.actions.first()?.family();
    let mut free: Vec<&mut Event> = known.iter_mut().filter(|e| near(e.day, event.day) && !e.said.contains_key(vendor)).collect();
    free.sort_by_key(|e| (!same(family, e.amount, event.amount), e.day.0.abs_diff(event.day.0)));
    free.into_iter().next()
}

/// Vendors that were asked about the days around an event in such a way that they could tell it, and do not.
fn silent<'a>(told: &'a Told, by_vendor: &BTreeMap<(i64, &str), Vec<&Statement>>, symbol: &str, family: &str, event: &Event) -> Vec<&'a str> {
    // Only splits and dividends are told by all of them.
    if !matches!(family, "split" | "cash") {
        return Vec::new();
    }
    let around = DateRange { start: event.day.plus_days(-NEAR_DAYS), end: event.day.plus_days(NEAR_DAYS + 1) };
    let could =
        |v: &&String| told.could_tell(v, symbol, around.start) && told.could_tell(v, symbol, around.end.plus_days(-1)) && told.could_tell(v, symbol, event.day);
    let tells_at_all = |v: &&String| by_vendor.keys().any(|(_, name)| *name == v.as_str());
    told.vendors().filter(|v| !event.said.contains_key(*v)).filter(tells_at_all).filter(could).map(String::as_str).collect()
}

fn words(event: &Event, silent: &[&str]) -> String {
    let amount = |a: &Option<f64>| a.map_or(String::new(), |a| format!(" {a}"));
    let mut said: Vec<String> = event.said.iter().map(|(vendor, a)| format!("{vendor}{}", amount(a))).collect();
    said.extend(silent.iter().map(|v| format!("{v} nothing")));
    said.join(", ")
}

/// Columns of `reference/corp_action_doubts`.
pub(super) fn frame(doubts: &[Doubt]) -> Result<DataFrame> {
    let text = |get: fn(&Doubt) -> &str| doubts.iter().map(|d| Some(get(d))).collect::<Vec<_>>();
    frame::assemble(vec![
        frame::text_column("symbol", &text(|d| &d.symbol)),
        frame::day_column("ex_date", &doubts.iter().map(|d| Some(d.ex_date)).collect::<Vec<_>>())?,
        frame::text_column("event_type", &text(|d| &d.event_type)),
        frame::text_column("code", &text(|d| d.code.as_str())),
        frame::text_column("words", &text(|d| &d.words)),
    ])
}

/// `reference/corp_action_doubts`; none on a drive that knows of none.
pub fn load_doubts(root: &DataRoot) -> Result<Vec<Doubt>> {
    let Some(rows) = read_table(root, table::REF_ACTION_DOUBTS)? else { return Ok(Vec::new()) };
    let (symbol, day, kind) = (frame::texts(&rows, "symbol")?, frame::days(&rows, "ex_date")?, frame::texts(&rows, "event_type")?);
    let (code, words) = (frame::texts(&rows, "code")?, frame::texts(&rows, "words")?);
    let row = |i: usize| {
        let code = if code[i]? == QcCode::ActionsDisagree.as_str() { QcCode::ActionsDisagree } else { QcCode::ActionUnapplied };
        Some(Doubt { symbol: symbol[i]?.into(), ex_date: day[i]?, event_type: kind[i]?.into(), code, words: words[i].unwrap_or("").into() })
    };
    Ok((0..rows.height()).filter_map(row).collect())
}
