//! What the night does with the desk: the standing consent, reductions, the cost of trading.

use super::{Desk, Kind, STRATEGY};
use crate::kit::Act;
use data_layer::attach;
use data_layer::error::{Error, Result, code};
use data_layer::store::digest_of;
use data_layer::time::TradingDay;
use engine::execution::broker::NoStream;
use engine::execution::calibration::{self, Basis};
use engine::execution::log::OrderLog;
use engine::execution::order::run_key;
use engine::monitoring::tripwires::RiskAction;
use engine::pipelines::paper_day::AccountCheck;
use engine::pipelines::paper_day::standing::{Scope, Standing};
use std::collections::BTreeMap;

impl Desk {
    /// Everything that a standing consent is about; any change of it ends the consent.
    fn scope(&self, act: &Act<'_>, account: &AccountCheck) -> Result<Scope> {
        let row = super::super::market::champion(act.root, STRATEGY)?;
        let broker = self.broker.word();
        let champion = [("strategy", STRATEGY.to_string()), ("version", row.version), ("sha256", row.sha256)];
        let traded = (broker, self.max_orders, row.config);
        let cost = calibration::in_force(&self.db, &account.account)?;
        Ok(Scope {
            account: account.account.clone(),
            strategy: STRATEGY.into(),
            champion: BTreeMap::from(champion.map(|(k, v)| (k.to_string(), v))),
            // An accepted cost is a change of the configuration.
            config_sha256: if cost.basis == Basis::Default { digest_of(&traded)? } else { digest_of(&(traded, cost))? },
        })
    }

    /// Record the typed permission to trade unattended.
    pub fn grant_standing(&self, act: &Act<'_>, account: &AccountCheck, until: TradingDay, typed: &str) -> Result<Standing> {
        let scope = self.scope(act, account)?;
        self.with(act, |day| day.grant_standing(&scope, until, typed))
    }

    /// Refuses unless a standing consent covers today exactly as things are.
    pub fn require_standing(&self, act: &Act<'_>, account: &AccountCheck) -> Result<Standing> {
        let scope = self.scope(act, account)?;
        self.with(act, |day| day.standing(&scope))
    }

    pub fn revoke_standing(&self, act: &Act<'_>, account: &AccountCheck) -> Result<usize> {
        self.with(act, |day| day.revoke_standing(&account.account))
    }

    /// Put a smaller order, or another limit, in the place of an open one.
    pub fn replace(&self, act: &Act<'_>, account: &AccountCheck, order: &str, qty: f64, limit: Option<f64>) -> Result<String> {
        let _lock = attach::account_lock(act.root, &account.account)?;
        let sent = self.with(act, |day| day.replace(account, order, qty, limit))?;
        let line = sent.lines.first().map_or_else(String::new, |l| text!("{} is {} {}", l.client_order_id, l.state, l.why));
        Ok(text!("{} sent, {} refused, {} unknown: {line}", sent.sent, sent.refused, sent.unknown))
    }

    /// What own fills say about the cost of trading; with the words for it, the proposal is put in force.
    pub fn cost(&self, account: &AccountCheck, typed: Option<&str>) -> Result<String> {
        let log = OrderLog::new(&self.db);
        let evidence = calibration::weigh(&calibration::own_costs(&log, &account.account, &self.tape())?);
        if let Some(words) = typed {
            calibration::accept(&self.db, &account.account, &evidence, words, "command line")?;
        }
        let past = calibration::history(&self.db, &account.account)?;
        super::words::costs(&account.account, &calibration::in_force(&self.db, &account.account)?, &evidence, &past)
    }

    /// Allow or forbid reductions without a person.
    pub fn set_risk_actions(&self, act: &Act<'_>, account: &AccountCheck, word: &str, typed: &str) -> Result<String> {
        let action = match word {
            "off" => {
                self.with(act, |day| day.forbid_risk_actions(&account.account))?;
                return Ok(text!("{}: a tripped breaker prints a plan and sends nothing", account.account));
            }
            "reduce" => RiskAction::Reduce,
            "flatten" => RiskAction::Flatten,
            other => return Err(Error::new(code::USE_ARGUMENT, text!("'{other}' is not off, reduce or flatten")).fix("trademl paper risk reduce")),
        };
        self.with(act, |day| day.allow_risk_actions(&account.account, action, typed))?;
        Ok(text!("{}: a tripped breaker takes back increases and may {word} the book by itself; end it with: trademl paper risk off", account.account))
    }

    /// Follow the running session's confirmed set until its close, or until nothing of it is open.
    pub fn watch(&self, act: &Act<'_>, account: &AccountCheck) -> Result<String> {
        let _lock = attach::account_lock(act.root, &account.account)?;
        let newest = self.newest_set(&account.account, account.trading_day)?;
        let todays = run_key(&account.account, STRATEGY, account.trading_day, 0);
        if !account.market_open || newest.as_ref() != Some(&todays) {
            return Ok(text!("there is nothing to follow: no set was confirmed for the session {}, or it is not open", account.trading_day));
        }
        let mut note = |text: &str| act.note(text);
        let mut none = NoStream { host: act.host.clone() };
        let seen = self.with(act, |day| match &self.broker {
            Kind::Alpaca(broker) => day.watch(account, &todays, &mut broker.stream(), account.expires_at, &mut note),
            Kind::CTrader(broker) => day.watch(account, &todays, &mut broker.stream(), account.expires_at, &mut note),
            Kind::Simulated => day.watch(account, &todays, &mut none, account.expires_at, &mut note),
        })?;
        let o = &seen.last;
        Ok(text!(
            "{} events, {} gaps, {} reconciles: {} of {} filled, {} refused, {} waiting",
            seen.events,
            seen.gaps,
            seen.reconciles,
            o.filled,
            o.planned,
            o.refused,
            o.waiting
        ))
    }
}
