//! What the night does with the desk: the standing consent, reductions, the cost of trading.

use super::{Desk, Kind, STRATEGY};
use crate::kit::Act;
use data_layer::attach;
use data_layer::error::{Error, Result, code};
use data_layer::store::digest_of;
use data_layer::time::TradingDay;
use engine::execution::broker::NoStream;
use engine::execution::calibration::{self, Basis, SideCost};
use engine::execution::log::OrderLog;
use engine::execution::order::run_key;
use engine::models::router::RouterConfig;
use engine::monitoring::tripwires::RiskAction;
use engine::pipelines::paper_day::AccountCheck;
use engine::pipelines::paper_day::standing::{Scope, Standing};
use engine::pipelines::route;
use serde::Serialize;
use std::collections::BTreeMap;

/// What decides orders besides the champion and the limits, by which a standing consent is known.
#[derive(Serialize)]
struct Traded {
    broker: &'static str,
    max_orders: usize,
    model: serde_json::Value,
    router: RouterConfig,
    cost: Option<SideCost>,
}

impl Desk {
    /// Everything that a standing consent is about; any change of it ends the consent.
    fn scope(&self, act: &Act<'_>, account: &AccountCheck) -> Result<Scope> {
        let row = super::super::market::champion(act.root, STRATEGY)?;
        let champion = [("strategy", STRATEGY.to_string()), ("version", row.version), ("sha256", row.sha256)];
        let cost = calibration::in_force(&self.db, &account.account)?;
        // An accepted cost is a change of the configuration.
        let cost = (cost.basis != Basis::Default).then_some(cost);
        Ok(Scope {
            account: account.account.clone(),
            strategy: STRATEGY.into(),
            champion: BTreeMap::from(champion.map(|(k, v)| (k.to_string(), v))),
            config_sha256: digest_of(&Traded {
                broker: self.broker.word(),
                max_orders: self.max_orders,
                model: row.config,
                router: route::configured(act.root)?,
                cost,
            })?,
        })
    }

    /// Record the typed permission to trade unattended.
    pub fn grant_standing(&self, act: &Act<'_>, account: &AccountCheck, until: TradingDay, typed: &str) -> Result<Standing> {
        let scope = self.scope(act, account)?;
        self.with(act, |day| day.grant_standing(&scope, until, typed))
    }

    /// Refuses unless a standing consent covers the next session exactly as things are.
    pub fn require_standing(&self, act: &Act<'_>, account: &AccountCheck) -> Result<Standing> {
        let scope = self.scope(act, account)?;
        self.with(act, |day| day.standing(&scope, account.trading_day))
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

    /// Take back one open order, or all; the account's lock may be with a followed session meanwhile.
    pub fn cancel(&self, act: &Act<'_>, account: &AccountCheck, order: Option<&str>) -> Result<String> {
        let done = self.with(act, |day| day.cancel(&account.account, order))?;
        Ok(text!(
            "{} orders taken back at the broker, {} withdrawn before they were sent, {} whose outcome is not known yet (again after the next reconcile)",
            done.taken_back.len(),
            done.withdrawn.len(),
            done.unknown.len()
        ))
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

#[cfg(test)]
mod tests {
    use super::*;
    use engine::models::router::ROUTER;

    #[test]
    fn a_consent_is_void_after_a_change_of_the_router() {
        let digest = |router: &str| {
            let router = RouterConfig::parse(router).unwrap();
            digest_of(&Traded { broker: "alpaca", max_orders: 60, model: serde_json::Value::Null, router, cost: None }).unwrap()
        };
        assert_eq!(digest(ROUTER), digest(ROUTER));
        assert_ne!(digest(ROUTER), digest(&ROUTER.replace("crisis_volatility: 0.40", "crisis_volatility: 0.90")));
    }
}
