//! `paper-trade`'s desk: one account, one strategy, one day at a time. The order path itself is `engine::pipelines::paper_day`.

mod broker_view;
mod digest;
mod moment;
mod parity;
mod repair;
mod replay;
mod screen;
mod tape;
mod unattended;
mod words;

use tape::{Events, Tape};

pub use broker_view::{granted, view};
pub use digest::digest;
pub use moment::Moment;
pub use screen::Screen;
pub use words::{
    BROKER_KEYS, CTRADER_KEYS, Stop, broker_question, day_line, during_the_session, max_orders_question, next_session_question, nothing_to_send, outcome,
    sent_before, settled, with_stops,
};

use super::judging;
use super::market::{Market, Ready};
use crate::kit::Act;
use data_layer::attach;
use data_layer::calendar::Calendar;
use data_layer::control::{Db, Which};
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::ledger;
use data_layer::root::{DataPath, DataRoot};
use data_layer::schema::{table, timeframe};
use data_layer::store;
use data_layer::time::{DateRange, TradingDay};
use engine::backtest::{self, Before};
use engine::execution::broker::Broker;
use engine::execution::broker::alpaca::AlpacaBroker;
use engine::execution::broker::ctrader::CTraderBroker;
use engine::execution::broker::simulated::{PriceSource, SimulatedBroker};
use engine::execution::calibration;
use engine::execution::gates;
use engine::execution::log::OrderLog;
use engine::execution::order::{Reference, run_key};
use engine::execution::reconcile::{Rename, Split};
use engine::execution::risk::Limits;
use engine::execution::schedule::cut::Pinned;
use engine::models::registry::{Registry, Stage};
use engine::monitoring::alarms;
use engine::pipelines::paper_day::ceiling::ceiling_of;
use engine::pipelines::paper_day::due::rebalance_is_due;
use engine::pipelines::paper_day::plan::PlanInput;
use engine::pipelines::paper_day::report::ReportInput;
use engine::pipelines::paper_day::risk_actions::FIRST_RISK_REBALANCE;
use engine::pipelines::paper_day::send::SubmitReport;
use engine::pipelines::paper_day::{self, AccountCheck, PaperConfig, PaperDay, default_sizer, settings};
use engine::portfolio::{Bound, RuleConfig, Schedule};
use engine::reports::{self, daily::Health, daily::Mode};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The strategy that the book follows.
const STRATEGY: &str = "equities_xs";

/// The local simulated account and its cash.
const SIMULATED: (&str, f64) = ("SIMLOCAL", 100_000.0);

/// What one evening works with.
pub struct Desk {
    db: Db,
    market: Market,
    broker: Kind,
    limits: Limits,
    /// Limits that are not the built-in ones, each with where it comes from.
    own_limits: Vec<String>,
    max_orders: usize,
    splits: Vec<Split>,
    renames: Vec<Rename>,
    events: Events,
}

enum Kind {
    Alpaca(AlpacaBroker),
    CTrader(Box<CTraderBroker>),
    Simulated,
}

impl Kind {
    /// As the question's choices call it.
    fn word(&self) -> &'static str {
        match self {
            Self::Alpaca(_) => "alpaca",
            Self::CTrader(_) => "ctrader",
            Self::Simulated => "simulated",
        }
    }
}

/// The set that is about to be confirmed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlannedSet {
    pub run_key: String,
    pub account: String,
    pub trading_day: TradingDay,
    pub token: String,
    /// Exactly what is shown at the gate.
    pub preview: String,
    pub orders: usize,
    /// An earlier run confirmed and sent exactly this set.
    pub sent_before: bool,
}

/// The report of the day that ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reported {
    pub asof: TradingDay,
    /// `None` before the first order.
    pub path: Option<DataPath>,
    pub equity: f64,
}

impl Desk {
    /// Open the book, the prices and the broker. A live host is refused here.
    pub fn open(host: &Host, root: &DataRoot, broker: &str, max_orders: i64) -> Result<Self> {
        let kind = match broker {
            "alpaca" => Kind::Alpaca(broker_view::alpaca(host, root)?),
            "ctrader" => Kind::CTrader(Box::new(CTraderBroker::new(root, None)?)),
            "simulated" => Kind::Simulated,
            other => return Err(Error::new(code::USE_ARGUMENT, text!("'{other}' is not simulated, alpaca or ctrader"))),
        };
        let db = Db::open(root, Which::Journal)?;
        let market = Market::open(root)?;
        let (events, max_orders) = (Events::load(root)?, usize::try_from(max_orders).unwrap_or(0));
        let (splits, renames) = (events.splits_around(market.asof), events.renames_around(market.asof));
        let settings = settings::configured(root)?;
        let own_limits = settings::changed(&settings)?;
        let limits = settings.value.limits;
        Ok(Self { db, market, broker: kind, limits, own_limits, max_orders, splits, renames, events })
    }

    fn tape(&self) -> Tape<'_> {
        Tape { market: &self.market, events: &self.events }
    }

    /// Do something with the day's order path.
    fn with<T>(&self, act: &Act<'_>, f: impl FnOnce(&PaperDay<'_>) -> Result<T>) -> Result<T> {
        let config = PaperConfig {
            strategy: STRATEGY.into(),
            mode: gates::Mode::Paper,
            limits: self.limits.clone(),
            operator: "paper-trade".into(),
            run_id: Some(act.run.to_string()),
            splits: self.splits.clone(),
            renames: self.renames.clone(),
        };
        let tape = self.tape();
        let simulated;
        let broker: &dyn Broker = match &self.broker {
            Kind::Alpaca(broker) => broker,
            Kind::CTrader(broker) => broker.as_ref(),
            Kind::Simulated => {
                let round_trip_bps = 2.0 * calibration::in_force(&self.db, SIMULATED.0)?.bps;
                simulated = SimulatedBroker::new(&self.db, &tape, SIMULATED.0, SIMULATED.1, round_trip_bps)?;
                &simulated
            }
        };
        let done = f(&PaperDay::new(&self.db, broker, config, &default_sizer)?.with_opens(&tape));
        if let Err(error) = alarms::raise(&self.db) {
            act.note(&text!("an alarm could not be sent: {error}"));
        }
        done
    }

    /// The account's own number and money.
    pub fn account(&self, act: &Act<'_>) -> Result<AccountCheck> {
        let account = self.with(act, |day| day.account_check())?;
        act.note(&text!(
            "{} account {}: equity {:.2} {}, buying power {:.2}",
            account.broker,
            account.account,
            account.equity,
            account.currency,
            account.buying_power
        ));
        Ok(account)
    }

    /// Fetch what happened, settle the newest order set, compare positions.
    pub fn reconcile(&self, act: &Act<'_>, account: &AccountCheck) -> Result<String> {
        let _lock = attach::account_lock(act.root, &account.account)?;
        if let Some(run_key) = self.newest_set(&account.account, account.asof)? {
            let settled = self.with(act, |day| day.settle(&run_key))?;
            self.watch_over(act, account)?;
            let o = &settled.orders;
            return Ok(text!("{} orders of {run_key}: {} filled, {} refused, {} waiting", o.planned, o.filled, o.refused, o.waiting));
        }
        let report = self.with(act, |day| day.reconcile(&account.account))?;
        self.watch_over(act, account)?;
        Ok(text!("complete: {}", report.complete))
    }

    /// The tripwires, said aloud.
    fn watch_over(&self, act: &Act<'_>, account: &AccountCheck) -> Result<()> {
        let data_at = moment::data_at(self.market.asof, account, act.host.now())?;
        let (guard, smaller) = self.with(act, |day| {
            let guard = day.guard(account, data_at)?;
            let smaller = day.act_on_risk(account, &guard.touched, &self.references(account)?)?;
            Ok((guard, smaller))
        })?;
        smaller.sentences().iter().for_each(|text| act.note(text));
        for touched in &guard.touched {
            act.note(&text!("tripwire: {}", touched.text));
        }
        for (symbol, shares) in guard.plan.iter().filter(|_| smaller.action.is_none()) {
            act.note(&text!("plan to flatten: {} {} {symbol}", if *shares > 0.0 { "buy" } else { "sell" }, shares.abs()));
        }
        Ok(())
    }

    /// While the market is open: send what had to wait for reductions to fill. Nothing new is planned, and nothing is sent
    /// that was not in the confirmed set of this session.
    pub fn send_waiting(&self, act: &Act<'_>, account: &AccountCheck) -> Result<SubmitReport> {
        let _lock = attach::account_lock(act.root, &account.account)?;
        let newest = self.newest_set(&account.account, account.trading_day)?;
        let todays = run_key(&account.account, STRATEGY, account.trading_day, 0);
        match newest.filter(|key| *key == todays) {
            Some(key) => self.with(act, |day| day.submit_all(&key)),
            None => Ok(SubmitReport::default()),
        }
    }

    /// The newest order set whose trading day is not after `day`.
    fn newest_set(&self, account: &str, day: TradingDay) -> Result<Option<String>> {
        let conn = self.db.lock()?;
        // Reductions of risk are no rebalance: they are settled by the reconcile alone.
        let sql = "SELECT max(run_key) FROM order_sets WHERE account = ?1 AND strategy = ?2 AND trading_day = (SELECT max(trading_day) FROM order_sets
                   WHERE account = ?1 AND strategy = ?2 AND trading_day <= ?3 AND rebalance_no < ?4) AND rebalance_no < ?4";
        Ok(conn.query_row(sql, rusqlite::params![account, STRATEGY, day.to_string(), FIRST_RISK_REBALANCE], |r| r.get::<_, Option<String>>(0))?)
    }

    /// The daily report of the session that ended, as JSON, Markdown and HTML.
    pub fn daily_report(&self, act: &Act<'_>, account: &AccountCheck) -> Result<Reported> {
        let asof = account.asof;
        let Some(run_key) = self.newest_set(&account.account, asof)? else {
            return Ok(Reported { asof, path: None, equity: account.equity });
        };
        // Positions are valued at this day's closes, once and for ever.
        self.prices_are_there(act.host)?;
        let closes = self.market.panel.symbols.iter().filter_map(|s| self.market.last_close(s, asof).map(|c| (s.clone(), c))).collect();
        let registry = Registry::open(act.root)?;
        let mode = if matches!(self.broker, Kind::Simulated) { Mode::Simulated } else { Mode::Paper };
        let input = ReportInput {
            asof,
            mode,
            closes,
            data_health: data_health(act.root, asof)?,
            known_bias: judging::known_bias(act.root),
            links: BTreeMap::new(),
            trials: Some(registry.family(STRATEGY)?.n as u64),
            opens: self.opens(&run_key, asof)?,
        };
        let report = self.with(act, |day| day.daily_report(&run_key, &input))?;
        let rendered = reports::daily(&report)?;
        let base = format!("reports/daily/{asof}/{}", account.account);
        for (name, text) in [("json", &rendered.json), ("md", &rendered.md), ("html", &rendered.html)] {
            store::write_atomic(act.root, &DataPath::new(format!("{base}.{name}"))?, text.as_bytes())?;
        }
        Ok(Reported { asof, path: Some(DataPath::new(format!("{base}.html"))?), equity: report.equity.unwrap_or(account.equity) })
    }

    /// Opens as they traded, of every name that has one, from the session of a set to another.
    fn opens(&self, run_key: &str, until: TradingDay) -> Result<BTreeMap<TradingDay, BTreeMap<String, f64>>> {
        let Some(set) = OrderLog::new(&self.db).set(run_key)? else { return Ok(BTreeMap::new()) };
        let (tape, symbols) = (self.tape(), &self.market.panel.symbols);
        let on = |day: TradingDay| symbols.iter().filter_map(|s| Some((s.clone(), tape.open(s, day)?))).collect();
        Ok(Calendar::xnys().sessions(DateRange::new(set.trading_day, until.plus_days(1))?).iter().map(|day| (*day, on(*day))).collect())
    }

    fn ready(&self, root: &DataRoot) -> Result<Ready> {
        Ready::load(root, &super::market::champion(root, STRATEGY)?)
    }

    /// Who trades, and within which limits.
    pub fn champion(&self, act: &Act<'_>) -> Result<String> {
        let ready = self.ready(act.root)?;
        self.own_limits.iter().for_each(|limit| act.note(limit));
        let events = Registry::open(act.root)?.events(STRATEGY)?;
        if let Some(made) = events.iter().rev().find(|e| e.version == ready.row.version && e.to_stage == Stage::Champion) {
            act.note(&text!("champion since {}, by {}: {}", made.at.utc_day(), made.operator, made.reason));
        }
        let l = &self.limits;
        Ok(text!(
            "{} {} ({:?}); gross <= {:.0}, long <= {:.0}, short <= {:.0} USD, daily loss <= {:.0} USD",
            STRATEGY,
            ready.row.version,
            ready.model.manifest.kind,
            l.gross_usd,
            l.long_usd,
            l.short_usd,
            l.daily_loss_usd
        ))
    }

    /// The newest session must be the last one that closed, and GREEN.
    pub fn data_is_fresh(&self, act: &Act<'_>) -> Result<String> {
        self.prices_are_there(act.host)?;
        super::shadowing::data_of_the_day(act)
    }

    /// Compute, size and pin the orders of the next session; never recomputed once pinned.
    pub fn plan(&self, act: &Act<'_>, account: &AccountCheck) -> Result<PlannedSet> {
        let ready = self.ready(act.root)?;
        let input = self.targets(&ready, account)?;
        let set = self.with(act, |day| day.plan(account, &input))?;
        let parents = set.lines.iter().map(|l| l.line).collect::<BTreeSet<_>>().len();
        if parents > self.max_orders {
            return Err(Error::new(code::ORD_REFUSED, text!("{parents} orders are more than the {} that were allowed", self.max_orders))
                .fix(format!("trademl paper-trade --set limits.max_orders={parents}")));
        }
        let preview = self.with(act, |day| day.preview(&set.run_key))?;
        Ok(PlannedSet {
            run_key: set.run_key.clone(),
            account: account.account.clone(),
            trading_day: set.trading_day,
            token: paper_day::confirmation_token(&account.account, set.trading_day),
            preview: words::screen(&preview, &self.limits),
            orders: preview.orders,
            sent_before: self.sent_before(&set.run_key)?,
        })
    }

    /// Whether every line of a set has left this desk, and is known to have.
    fn sent_before(&self, run_key: &str) -> Result<bool> {
        let counts = "SELECT count(*), coalesce(sum(state IN ('planned', 'intended', 'submitted_unconfirmed')), 0) FROM orders WHERE run_key = ?1";
        let (lines, unsent): (i64, i64) = self.db.lock()?.query_row(counts, [run_key], |r| Ok((r.get(0)?, r.get(1)?)))?;
        Ok(lines > 0 && unsent == 0)
    }

    fn targets(&self, ready: &Ready, account: &AccountCheck) -> Result<PlanInput> {
        let (panel, asof) = (&self.market.panel, self.market.asof);
        let at = self.market.at(asof)?;
        let held = engine::execution::positions::ledger(&OrderLog::new(&self.db), &account.account)?.of_strategy(STRATEGY);
        let mut notes = Vec::new();
        let (mut targets, mut ceiling) = (BTreeMap::new(), None);
        let (log, every) = (OrderLog::new(&self.db), ready.rule.rebalance_sessions);
        if rebalance_is_due(&log, &account.account, STRATEGY, account.trading_day, every)? {
            let signal = ready.signal_on(panel, at)?;
            let worth = |(s, q): (&String, &f64)| Some((panel.symbol_index(s)?, q * self.market.last_close(s, asof)? / account.equity));
            ceiling = Some(ceiling_of(&self.limits, account.equity));
            let before = Before { held: held.iter().filter_map(worth).collect(), equity_usd: account.equity, ceiling };
            let decision = backtest::decide(panel, signal.signal(), &ready.rule, at, &before)?;
            notes.extend(decision.bound.iter().map(Bound::sentence));
            targets = decision.weights.into_iter().map(|(s, w)| (panel.symbols[s].clone(), w)).collect();
        } else {
            notes.push(text!("no rebalance today: the rule rebalances every {} sessions", ready.rule.rebalance_sessions));
            // What an earlier set still waits for is wanted too: an order that fills late is not taken back.
            let mut wanted = held.clone();
            for (symbol, quantity) in OrderLog::new(&self.db).open_remaining(&account.account, STRATEGY)? {
                *wanted.entry(symbol).or_insert(0.0) += quantity;
            }
            for (symbol, quantity) in wanted.into_iter().filter(|(_, q)| *q != 0.0) {
                // Half a share more than that, so that truncation gives exactly it.
                let price = self.market.last_close(&symbol, asof).unwrap_or(0.0);
                targets.insert(symbol, (quantity + 0.5 * quantity.signum()) * price / account.equity);
            }
        }
        // Names that belong to somebody else count in the account's exposure, so they are priced too.
        let account_holds = engine::execution::positions::ledger(&OrderLog::new(&self.db), &account.account)?.per_symbol();
        let prices = targets.keys().chain(held.keys()).chain(account_holds.keys()).filter_map(|s| Some((s.clone(), self.reference(s)?)));
        Ok(PlanInput {
            asof,
            champion: BTreeMap::from([
                ("strategy".into(), STRATEGY.into()),
                ("version".into(), ready.row.version.clone()),
                ("sha256".into(), ready.row.sha256.clone()),
            ]),
            prices: prices.collect(),
            targets,
            rebalance_no: 0,
            schedule: self.schedule(&ready.rule, &mut notes)?,
            ceiling,
            notes,
        })
    }

    /// The rule's schedule with the volatilities it is cut by. A book that fills at the open only takes orders whole, and says so.
    fn schedule(&self, rule: &RuleConfig, notes: &mut Vec<String>) -> Result<Option<Pinned>> {
        let Some(schedule) = rule.schedule.as_ref().and_then(Schedule::spread) else { return Ok(None) };
        if matches!(self.broker, Kind::Simulated) {
            notes.push("the simulated book fills at the open only: orders are sent whole".into());
            return Ok(None);
        }
        let (panel, at) = (&self.market.panel, self.market.at(self.market.asof)?);
        let sigma = |s: usize| Some((panel.symbols[s].clone(), backtest::decide::sigma_daily(panel, s, at)?));
        Ok(Some(Pinned { schedule: *schedule, sigma_daily: (0..panel.n_symbols()).filter_map(sigma).collect() }))
    }

    /// A name's last close, as what sizes and checks its orders.
    fn reference(&self, symbol: &str) -> Option<Reference> {
        let asof = self.market.asof;
        let (price, at) = (self.market.last_close(symbol, asof)?, Calendar::xnys().close(asof));
        let (panel, adv_shares) = (&self.market.panel, self.market.adv_shares(symbol, asof));
        let sigma_daily = backtest::decide::sigma_daily(panel, panel.symbol_index(symbol)?, panel.day_index(asof)?);
        Some(Reference { price, at, adv_shares, sigma_daily, tradable: self.market.close(symbol, asof).is_some() })
    }

    /// References of everything that the strategy holds.
    fn references(&self, account: &AccountCheck) -> Result<BTreeMap<String, Reference>> {
        let held = engine::execution::positions::ledger(&OrderLog::new(&self.db), &account.account)?.of_strategy(STRATEGY);
        Ok(held.into_keys().filter_map(|s| Some((s.clone(), self.reference(&s)?))).collect())
    }

    /// In doubt, nothing is assumed here: [`Desk::submit`] asks for every order by its id before it sends anything.
    pub fn find(&self, act: &Act<'_>, _plan: &PlannedSet) -> Result<Option<SubmitReport>> {
        act.note("every order is asked for by its id before anything is sent");
        Ok(None)
    }

    /// Record the consent and send. Safe to repeat: an intent that was sent is looked up by its id, never sent twice.
    pub fn submit(&self, act: &Act<'_>, plan: &PlannedSet) -> Result<SubmitReport> {
        let _lock = attach::account_lock(act.root, &plan.account)?;
        self.with(act, |day| day.consent(&plan.run_key, &plan.token))?;
        self.with(act, |day| day.submit_all(&plan.run_key))
    }
}

fn data_health(root: &DataRoot, day: TradingDay) -> Result<BTreeMap<String, Health>> {
    let db = Db::open(root, Which::Node)?;
    let mut out = BTreeMap::new();
    for (name, table, key) in [("equities_eod", table::RAW_EQUITIES_BARS, timeframe::DAY), ("equities_ohlcv_adj", table::CURATED_EQUITIES, "")] {
        let c = ledger::coverage(&db, table, key, DateRange::new(day, day.plus_days(1))?)?;
        out.insert(name.into(), Health { green: c.green, amber: c.amber, red: c.red, expected: c.expected, codes: c.codes });
    }
    Ok(out)
}
