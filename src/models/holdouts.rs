//! The seals of dark holdouts, and what each showed when it was opened. Both are written once: triggers refuse a change.

use crate::models::registry::Registry;
use data_layer::error::{Error, Result, code};
use data_layer::store;
use data_layer::time::{DateRange, TradingDay};
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A family's holdout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    pub family: String,
    pub window: DateRange,
    /// The newest session when it was sealed.
    pub asof: TradingDay,
}

/// What one look at the holdout showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    pub family: String,
    pub window: DateRange,
    /// The model whose recipe was fitted on the days before the holdout and scored on it.
    pub version: String,
    pub config_sha256: String,
    /// Sessions of the holdout that were traded.
    pub sessions: usize,
    /// Numbers, or null with a reason in `undefined`.
    pub mean_ic: Option<f64>,
    pub ic_t: Option<f64>,
    pub sharpe_annual: Option<f64>,
    pub max_drawdown: Option<f64>,
    pub undefined: BTreeMap<String, String>,
}

impl Opened {
    /// One line for every later report.
    pub fn sentence(&self) -> String {
        let number = |v: Option<f64>, digits: usize| v.map_or("undefined".to_string(), |v| format!("{v:.digits$}"));
        text!(
            "the dark holdout {} was opened for {}: mean rank IC {} (t {}), net Sharpe {}, drawdown {} over {} sessions; it cannot be opened again",
            self.window,
            self.version,
            number(self.mean_ic, 4),
            number(self.ic_t, 2),
            number(self.sharpe_annual, 2),
            number(self.max_drawdown, 3),
            self.sessions
        )
    }
}

impl Registry {
    /// Set a family's holdout aside, unless one is already; the first seal stays. Returns the one that holds.
    pub fn seal_holdout(&self, sealed: &Sealed, run_id: &str) -> Result<Sealed> {
        self.db().write(|tx| {
            let (start, end) = (sealed.window.start.to_string(), sealed.window.end.to_string());
            tx.execute(
                "INSERT INTO holdout_seals (family, window_start, window_end, asof, run_id) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (family) DO NOTHING",
                params![sealed.family, start, end, sealed.asof.to_string(), run_id],
            )?;
            Ok(())
        })?;
        self.sealed_holdout(&sealed.family)?.ok_or_else(|| Error::bug("a holdout that was just sealed is not in the registry"))
    }

    /// The family's holdout, opened or not.
    pub fn sealed_holdout(&self, family: &str) -> Result<Option<Sealed>> {
        let read = |r: &rusqlite::Row<'_>| Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?, r.get::<_, String>(2)?));
        let sql = "SELECT window_start, window_end, asof FROM holdout_seals WHERE family = ?1";
        let row = self.db().lock()?.query_row(sql, [family], read).optional()?;
        row.map(|(start, end, asof)| Ok(Sealed { family: family.into(), window: DateRange::new(start.parse()?, end.parse()?)?, asof: asof.parse()? }))
            .transpose()
    }

    /// Record the one look. The same look again changes nothing; another one is refused.
    pub fn record_opened_holdout(&self, opened: &Opened, run_id: &str) -> Result<()> {
        let (at, text) = (self.db().root().host().now().to_string(), store::canonical_json(opened)?);
        self.db().write(|tx| {
            tx.execute(
                "INSERT INTO holdouts (family, opened_at, run_id, result_json) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (family) DO NOTHING",
                params![opened.family, at, run_id, text],
            )?;
            Ok(())
        })?;
        match self.opened_holdout(&opened.family)? {
            Some(known) if known == *opened => Ok(()),
            Some(known) => Err(already_open(&known)),
            None => Err(Error::bug("a holdout that was just opened is not in the registry")),
        }
    }

    /// What the family's holdout showed, if somebody looked.
    pub fn opened_holdout(&self, family: &str) -> Result<Option<Opened>> {
        let text: Option<String> = self.db().lock()?.query_row("SELECT result_json FROM holdouts WHERE family = ?1", [family], |r| r.get(0)).optional()?;
        text.map(|t| Ok(serde_json::from_str(&t)?)).transpose()
    }
}

/// The refusal of a second look.
pub fn already_open(known: &Opened) -> Error {
    Error::new(code::GATE_REFUSED, text!("the dark holdout of '{}' has been opened", known.family))
        .cause("a second look would turn it into one more fold of the search")
        .found(known.sentence())
        .fix("judge the model in shadow: trademl shadow")
}
