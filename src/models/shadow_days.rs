//! Shadowed sessions of models, append-only: what a model would have earned, recorded the day it was decided.

use crate::models::registry::Registry;
use data_layer::error::{Error, Result, code};
use data_layer::time::TradingDay;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

/// One shadowed session of a model. Returns are decimals; null when the first day has none yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowDay {
    pub strategy: String,
    pub version: String,
    pub session: TradingDay,
    pub weights_sha256: String,
    pub gross_return: Option<f64>,
    pub net_return: Option<f64>,
    pub turnover: Option<f64>,
    pub inputs_sha256: String,
}

impl Registry {
    /// Record a shadowed session. The same session again must be equal; a different one is a conflict.
    pub fn record_shadow_day(&self, day: &ShadowDay) -> Result<()> {
        self.db().write(|tx| {
            tx.execute(
                "INSERT OR IGNORE INTO shadow_days (strategy, version, session, weights_sha256, gross_return, net_return, turnover, inputs_sha256)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    day.strategy,
                    day.version,
                    day.session.to_string(),
                    day.weights_sha256,
                    day.gross_return,
                    day.net_return,
                    day.turnover,
                    day.inputs_sha256
                ],
            )?;
            let known = shadow_rows(tx, &day.strategy, &day.version)?.into_iter().find(|d| d.session == day.session);
            if known.as_ref() == Some(day) {
                return Ok(());
            }
            Err(Error::new(code::DATA_CONFLICT, text!("{} of {} {} was shadowed before with another outcome", day.session, day.strategy, day.version))
                .fix("trademl fsck"))
        })
    }

    pub fn shadow_days(&self, strategy: &str, version: &str) -> Result<Vec<ShadowDay>> {
        shadow_rows(&*self.db().lock()?, strategy, version)
    }
}

fn shadow_rows(conn: &Connection, strategy: &str, version: &str) -> Result<Vec<ShadowDay>> {
    let mut statement = conn.prepare(
        "SELECT session, weights_sha256, gross_return, net_return, turnover, inputs_sha256 FROM shadow_days WHERE strategy = ?1 AND version = ?2 ORDER BY session",
    )?;
    type Raw = (String, String, Option<f64>, Option<f64>, Option<f64>, String);
    let rows = statement
        .query_map([strategy, version], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?)))?
        .collect::<rusqlite::Result<Vec<Raw>>>()?;
    rows.into_iter()
        .map(|(session, weights_sha256, gross_return, net_return, turnover, inputs_sha256)| {
            Ok(ShadowDay {
                strategy: strategy.into(),
                version: version.into(),
                session: session.parse()?,
                weights_sha256,
                gross_return,
                net_return,
                turnover,
                inputs_sha256,
            })
        })
        .collect()
}
