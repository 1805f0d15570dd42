//! A standing consent: the typed permission to trade unattended for some days, void as soon as what it was given for changes.

use super::PaperDay;
use crate::execution::order::run_key;
use data_layer::error::{Error, Result, code};
use data_layer::store::{canonical_json, sha256_hex};
use data_layer::time::{TradingDay, UtcTime, new_york};
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const GATE: &str = "paper-trade.standing";
/// Nobody remembers longer what they allowed.
pub const MAX_DAYS: i32 = 30;

/// What the permission is about. Any change voids it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scope {
    pub account: String,
    pub strategy: String,
    /// `strategy`, `version`, `sha256`.
    pub champion: BTreeMap<String, String>,
    /// Digest of the configuration that decides orders: broker, ceilings, portfolio rule.
    pub config_sha256: String,
}

/// A permission on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub id: String,
    pub account: String,
    pub until: TradingDay,
    pub granted_at: UtcTime,
}

/// What has to be typed.
pub fn standing_token(account: &str, until: TradingDay) -> String {
    text!("STANDING PAPER {account} UNTIL {until}")
}

impl PaperDay<'_> {
    fn scope_sha256(&self, scope: &Scope) -> Result<String> {
        Ok(sha256_hex(canonical_json(&(scope, &self.config.limits))?.as_bytes()))
    }

    /// Record a typed permission for at most [`MAX_DAYS`] days.
    pub fn grant_standing(&self, scope: &Scope, until: TradingDay, typed: &str) -> Result<Standing> {
        let now = self.host.now();
        let today = now.day_in(&new_york());
        let wanted = standing_token(&scope.account, until);
        let refuse = |found: String, until: TradingDay| {
            let words = standing_token(&scope.account, until);
            let fix = format!("trademl paper standing --until {until} --confirm \"{words}\"");
            Err(Error::new(code::GATE_REFUSED, "no standing consent was given").found(found).fix(fix))
        };
        if until <= today || until > today.plus_days(MAX_DAYS) {
            return refuse(text!("until {until}: it must end within {MAX_DAYS} days after today, {today}"), today.plus_days(MAX_DAYS));
        }
        if typed != wanted {
            return refuse("something else than the words asked for".into(), until);
        }
        let shown = self.scope_sha256(scope)?;
        let id = sha256_hex(format!("{GATE}|{}|{until}|{shown}|{now}", scope.account).as_bytes());
        let limits = canonical_json(&self.config.limits)?;
        self.db.write(|tx| {
            tx.execute(
                "INSERT OR IGNORE INTO consents (id, gate, account, trading_day, shown_sha256, token_sha256, limits_json, granted_at, run_id) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![id, GATE, scope.account, until.to_string(), shown, sha256_hex(typed.as_bytes()), limits, now.to_string(), self.config.operator],
            )?;
            Ok(())
        })?;
        Ok(Standing { id, account: scope.account.clone(), until, granted_at: now })
    }

    /// The permission that covers exactly this scope for the session `day`; refused when there is none, it ends before, anything changed, or
    /// another champion's orders are pinned for that session already.
    pub fn standing(&self, scope: &Scope, day: TradingDay) -> Result<Standing> {
        let conn = self.db.lock()?;
        let newest: Option<(String, String, String, String)> = conn
            .query_row(
                "SELECT id, trading_day, shown_sha256, granted_at FROM consents WHERE gate = ?1 AND account = ?2 ORDER BY granted_at DESC, id LIMIT 1",
                params![GATE, scope.account],
                |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)),
            )
            .optional()?;
        drop(conn);
        let none = |why: &str| {
            Err(Error::new(code::GATE_REFUSED, "there is no standing consent for unattended trading").cause(why.to_string()).fix("trademl paper-trade"))
        };
        let Some((id, until, shown, granted_at)) = newest else { return none("none was ever given for this account") };
        let until: TradingDay = until.parse()?;
        if shown != self.scope_sha256(scope)? {
            return none("the champion, the limits, the account or the configuration changed since it was given");
        }
        if day > until {
            return none("the last one ends before the session");
        }
        let pinned = self.log().set(&run_key(&scope.account, &scope.strategy, day, 0))?;
        if pinned.is_some_and(|set| set.pins.champion != scope.champion) {
            return none("the orders of the session were planned by another champion");
        }
        Ok(Standing { id, account: scope.account.clone(), until, granted_at: UtcTime::parse(&granted_at)? })
    }

    /// End every permission of an account at once.
    pub fn revoke_standing(&self, account: &str) -> Result<usize> {
        let gone = format!("{GATE}.revoked");
        self.db.write(|tx| Ok(tx.execute("UPDATE consents SET gate = ?1 WHERE gate = ?2 AND account = ?3", params![gone, GATE, account])?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{TARGETS, config, input, open};
    use super::super::{PaperConfig, default_sizer};
    use super::*;
    use crate::execution::broker::fake::{FakeBroker, evening, scratch};
    use crate::execution::risk::Limits;

    #[test]
    fn a_standing_consent_is_typed_ends_and_is_void_after_any_change() {
        let (dir, broker) = (scratch(), FakeBroker::new(evening()));
        let db = open(dir.path(), None, evening()).unwrap();
        let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
        let account = day.account_check().unwrap();
        let set = day.plan(&account, &input(TARGETS)).unwrap();
        let scope = Scope { account: "SIM1".into(), strategy: "equities_xs".into(), champion: set.pins.champion.clone(), config_sha256: "c".into() };
        let session = set.trading_day;
        assert!(day.standing(&scope, session).unwrap_err().is(code::GATE_REFUSED));
        let until: TradingDay = "2017-12-15".parse().unwrap();
        for (until, typed) in [
            (until, "yes"),
            ("2018-01-31".parse().unwrap(), "STANDING PAPER SIM1 UNTIL 2018-01-31"),
            (evening().utc_day(), "STANDING PAPER SIM1 UNTIL 2017-11-30"),
        ] {
            assert!(day.grant_standing(&scope, until, typed).unwrap_err().is(code::GATE_REFUSED), "{typed}");
        }
        day.grant_standing(&scope, until, &standing_token("SIM1", until)).unwrap();
        assert_eq!(day.standing(&scope, session).unwrap().until, until);
        assert!(day.standing(&scope, until).is_ok(), "its last session");
        // On its last evening it does not reach the session after it.
        assert!(day.standing(&scope, until.plus_days(3)).unwrap_err().body().cause.as_deref().unwrap().contains("ends before"));
        let mut other = scope.clone();
        other.champion.insert("sha256".into(), "bb".into());
        for changed in [other, Scope { config_sha256: "d".into(), ..scope.clone() }, Scope { account: "SIM2".into(), ..scope.clone() }] {
            assert!(day.standing(&changed, session).unwrap_err().is(code::GATE_REFUSED));
        }
        let looser = PaperConfig { limits: Limits { gross_usd: 150_000.0, ..Limits::default() }, ..config() };
        assert!(PaperDay::new(&db, &broker, looser, &default_sizer).unwrap().standing(&scope, session).is_err());
        assert_eq!(day.revoke_standing("SIM1").unwrap(), 1);
    }
    #[test]
    fn a_set_that_another_champion_planned_is_not_sent_under_it() {
        let (dir, broker) = (scratch(), FakeBroker::new(evening()));
        let db = open(dir.path(), None, evening()).unwrap();
        let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
        let set = day.plan(&day.account_check().unwrap(), &input(TARGETS)).unwrap();
        let mut champion = set.pins.champion.clone();
        champion.insert("version".into(), "v2".into());
        let scope = Scope { account: "SIM1".into(), strategy: "equities_xs".into(), champion, config_sha256: "c".into() };
        let until: TradingDay = "2017-12-15".parse().unwrap();
        day.grant_standing(&scope, until, &standing_token("SIM1", until)).unwrap();
        let refused = day.standing(&scope, set.trading_day).unwrap_err();
        assert!(refused.body().cause.as_deref().unwrap().contains("another champion"), "{refused:?}");
        assert!(day.standing(&scope, "2017-12-04".parse().unwrap()).is_ok(), "the next session is planned anew");
    }
}
