//! One paper-trading day in steps that a wizard calls one by one: account, reconcile, plan, preview, consent, submit,
//! settle, report.
//!
//! Each step is idempotent and its result is small and serialisable. The order set is pinned in the journal before the
//! first order is sent and is never recomputed; running a step again continues it.

pub mod ceiling;
mod curve;
pub mod due;
pub mod guard;
pub mod plan;
mod overdue;
pub mod replace;
pub mod report;
pub mod risk_actions;
pub mod send;
pub mod settings;
mod slices;
pub mod standing;
pub mod watch;
#[cfg(test)]
mod bad_days;
#[cfg(test)]
mod second_look;
#[cfg(test)]
pub(crate) mod tests;

pub use plan::{PlanInput, Preview, PreviewLine};
pub use report::ReportInput;
pub use send::{LineResult, SettleReport, SubmitReport};

use crate::execution::broker::simulated::PriceSource;
use crate::execution::broker::{Broker, BrokerClock};
use crate::execution::gates::Mode;
use crate::execution::log::OrderLog;
use crate::execution::order::OrderSet;
use crate::execution::reconcile::{self, ReconcileReport, Rename, Split};
use crate::execution::risk::Limits;
use crate::execution::sizing::{self, SizeInput, SizedSet};
use crate::execution::switches;
use data_layer::calendar::Calendar;
use data_layer::control::Db;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::store::{canonical_json, sha256_hex};
use data_layer::time::{TradingDay, UtcTime};
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

/// From targets, positions and prices to lines; [`sizing::delta`] unless another rule is given.
pub type Sizer = dyn Fn(&SizeInput<'_>) -> SizedSet;

/// What does not change during a day.
#[derive(Clone, Debug)]
pub struct PaperConfig {
    pub strategy: String,
    pub mode: Mode,
    pub limits: Limits,
    pub operator: String,
    pub run_id: Option<String>,
    /// Splits of the days around, from the reference data.
    pub splits: Vec<Split>,
    /// Changes of ticker of the days around.
    pub renames: Vec<Rename>,
}

/// The day of one strategy on one account.
pub struct PaperDay<'a> {
    pub host: Host,
    pub db: &'a Db,
    pub broker: &'a dyn Broker,
    pub config: PaperConfig,
    pub sizer: &'a Sizer,
    /// Recorded opens, against which own fills are measured; none where there are no prices.
    pub opens: Option<&'a dyn PriceSource>,
}

/// The account, and which session is being traded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountCheck {
    pub broker: String,
    pub account: String,
    pub equity: f64,
    pub cash: f64,
    pub buying_power: f64,
    pub currency: String,
    /// The last closed session: what targets are computed from.
    pub asof: TradingDay,
    /// The session in which orders sent now can fill.
    pub trading_day: TradingDay,
    pub market_open: bool,
    pub broker_now: UtcTime,
    /// Orders not sent by then are dropped.
    pub expires_at: UtcTime,
    pub clock_ahead_s: f64,
}

/// A granted gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    pub id: String,
    pub account: String,
    pub trading_day: TradingDay,
    pub shown_sha256: String,
    pub token_sha256: String,
}

/// The sizing rule of this program.
pub fn default_sizer(input: &SizeInput<'_>) -> SizedSet {
    sizing::delta(input)
}

/// What has to be typed: valid for this account and this trading day only.
pub fn confirmation_token(account: &str, trading_day: TradingDay) -> String {
    format!("PAPER {account} {trading_day}")
}

pub(crate) const GATE: &str = "paper-trade.start";

impl<'a> PaperDay<'a> {
    /// Refuses limits that would switch a check off.
    pub fn new(db: &'a Db, broker: &'a dyn Broker, config: PaperConfig, sizer: &'a Sizer) -> Result<Self> {
        config.limits.check()?;
        Ok(Self { host: db.root().host().clone(), db, broker, config, sizer, opens: None })
    }

    /// The same day with recorded opens, by which slippage is measured.
    pub fn with_opens(self, opens: &'a dyn PriceSource) -> Self {
        Self { opens: Some(opens), ..self }
    }

    pub fn log(&self) -> OrderLog<'a> {
        OrderLog::new(self.db)
    }

    /// The broker's clock; a host that follows a world's clock is moved up to it.
    pub(crate) fn broker_clock(&self) -> Result<BrokerClock> {
        let clock = self.broker.clock()?;
        if self.host.follows_world_clock() && clock.now > self.host.now() {
            self.host.set_world_time(clock.now);
        }
        Ok(clock)
    }

    /// Who the account is, and for which session orders would be.
    pub fn account_check(&self) -> Result<AccountCheck> {
        let (clock, account) = (self.broker_clock()?, self.broker.account()?);
        if account.blocked {
            return Err(Error::new(code::ORD_REFUSED, format!("the account {} may not trade", account.account)).found(account.status));
        }
        if account.account.starts_with("SIM") != self.db.root().is_world() && self.broker.name() != "simulated" {
            return Err(Error::new(code::CFG_DATASET_MIXED, "the account and this drive belong to different worlds").found(format!(
                "account {}, drive '{}'",
                account.account,
                self.db.root().drive().dataset
            )));
        }
        if !(account.equity.is_finite() && account.equity > 0.0) {
            return Err(Error::new(code::ORD_REFUSED, "the account has no equity").found(account.equity.to_string()));
        }
        let calendar = Calendar::xnys();
        let open_session = calendar.session_at(clock.now);
        let asof = calendar.last_closed(clock.now)?;
        let trading_day = open_session.map_or_else(|| calendar.next(asof), Ok)?;
        Ok(AccountCheck {
            broker: self.broker.name().into(),
            account: account.account,
            equity: account.equity,
            cash: account.cash,
            buying_power: account.buying_power,
            currency: account.currency,
            asof,
            trading_day,
            market_open: open_session.is_some(),
            broker_now: clock.now,
            expires_at: calendar.close(trading_day),
            clock_ahead_s: self.host.now().seconds_since(clock.now),
        })
    }

    /// One reconcile run; as many in a row as the limits allow broker errors, none of which could be completed, trip the breaker of an
    /// armed account, and so do two in a row that find money which no row explains.
    pub fn reconcile(&self, account: &str) -> Result<ReconcileReport> {
        let result = reconcile::run_knowing(&self.host, self.db, self.broker, account, (&self.config.splits, &self.config.renames));
        if let Err(e) = &result
            && !e.is(code::BUG_CRASH_POINT)
            && !switches::read(self.db, switches::Switch::Breaker, account).stopped
            && reconcile::failures_in_row(self.db, account)? >= self.config.limits.broker_errors_in_row
        {
            switches::trip(self.db, account, switches::TripReason::ReconcileFailed, &e.to_string(), self.host.now())?;
        }
        if let Some(money) = result.as_ref().ok().and_then(|r| r.money).filter(|m| m.too_much && m.again)
            && !switches::read(self.db, switches::Switch::Breaker, account).stopped
        {
            let detail = text!("the broker's cash is {:+.2} off what the journal explains", money.off);
            switches::trip(self.db, account, switches::TripReason::ReconcileFailed, &detail, self.host.now())?;
        }
        result
    }

    /// Check what was typed against the set that was shown, and write the consent. Arms the switches of a new account.
    pub fn consent(&self, run_key: &str, typed: &str) -> Result<Consent> {
        let (set, preview) = (self.require_set(run_key)?, self.preview(run_key)?);
        let wanted = confirmation_token(&set.account, set.trading_day);
        if typed != wanted {
            return Err(Error::new(code::GATE_REFUSED, "nothing is sent: the confirmation was not given")
                .found("something else than the words asked for")
                .fix(format!("type exactly: {wanted}")));
        }
        if self.host.now() >= Calendar::xnys().close(set.trading_day) {
            return Err(Error::new(code::GATE_REFUSED, format!("the session {} is over; its confirmation is worth nothing now", set.trading_day)));
        }
        let limits = canonical_json(&self.config.limits)?;
        let consent = Consent {
            id: sha256_hex(format!("{GATE}|{}|{}|{}|{limits}", set.account, set.trading_day, preview.shown_sha256).as_bytes()),
            account: set.account.clone(),
            trading_day: set.trading_day,
            shown_sha256: preview.shown_sha256,
            token_sha256: sha256_hex(typed.as_bytes()),
        };
        self.db.write(|tx| {
            tx.execute(
                "INSERT OR IGNORE INTO consents (id, gate, account, trading_day, shown_sha256, token_sha256, limits_json, granted_at, run_id) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    consent.id,
                    GATE,
                    consent.account,
                    consent.trading_day.to_string(),
                    consent.shown_sha256,
                    consent.token_sha256,
                    limits,
                    self.host.now().to_string(),
                    self.config.run_id.clone().unwrap_or_default()
                ],
            )?;
            Ok(())
        })?;
        switches::arm(self.db, &set.account, &self.config.operator, self.host.now())?;
        Ok(consent)
    }

    /// The consent for exactly what the preview of this set shows, under exactly these limits; anything else is refused.
    pub(crate) fn require_consent(&self, set: &OrderSet) -> Result<()> {
        let shown = self.preview(&set.run_key)?.shown_sha256;
        let limits = canonical_json(&self.config.limits)?;
        let now = self.host.now().to_string();
        let found = self.db.write(|tx| {
            let args = params![GATE, set.account, set.trading_day.to_string(), shown, limits];
            let exactly = "SELECT id FROM consents WHERE gate = ?1 AND account = ?2 AND trading_day = ?3 AND shown_sha256 = ?4 AND limits_json = ?5";
            let id: Option<String> = tx.query_row(exactly, args, |r| r.get(0)).optional()?;
            if let Some(id) = &id {
                tx.execute("UPDATE consents SET used_at = coalesce(used_at, ?1) WHERE id = ?2", params![now, id])?;
            }
            Ok(id.is_some())
        })?;
        if found {
            return Ok(());
        }
        Err(Error::new(code::GATE_REFUSED, "these orders were not confirmed under these limits")
            .cause("a confirmation is for exactly what was shown, and ends when the orders or the limits change")
            .fix("trademl paper-trade"))
    }

    pub(crate) fn require_set(&self, run_key: &str) -> Result<OrderSet> {
        self.log().set(run_key)?.ok_or_else(|| Error::new(code::ORD_REFUSED, format!("there is no order set {run_key}")).fix("trademl paper-trade"))
    }
}
