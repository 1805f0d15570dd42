//! Has the market moved away from what a model learnt? The population stability index of every feature, as the model sees
//! it, and of the model's own scores: the newest sessions against everything before them.

use crate::features::STANDARD_UNIT;
use crate::pipelines::train::Prepared;
use crate::validation::drift::{self, ALARM, ALERT};
use data_layer::error::{Result, code};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Newest sessions that are compared with the earlier ones: a quarter of a year.
const NEWEST_SESSIONS: usize = 63;
/// Earlier dates that the reference is drawn from, evenly: deciles need no more.
const REFERENCE_DATES: usize = 100;

/// One distribution, then and now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    pub name: String,
    /// Population stability index; below 0.1 nothing, above 0.2 a lot.
    pub psi: f64,
}

/// What moved, most first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DriftReport {
    /// Sessions that are compared with what was before them.
    pub sessions: usize,
    pub features: Vec<Moved>,
    /// Of the chosen model's out-of-sample scores.
    pub score_psi: Option<f64>,
}

impl DriftReport {
    /// What a reader must know: the largest movers, and whether one is alarming.
    pub fn sentence(&self) -> String {
        let movers: Vec<String> = self.features.iter().filter(|f| f.psi > ALERT).take(3).map(|f| format!("{} {:.2}", f.name, f.psi)).collect();
        let alarming = self.features.iter().any(|f| f.psi > ALARM) || self.score_psi.is_some_and(|p| p > ALARM);
        let what = if movers.is_empty() { "no feature has moved".to_string() } else { text!("moved: {}", movers.join(", ")) };
        let scores = self.score_psi.map_or("undefined".to_string(), |p| format!("{p:.2}"));
        let word = if alarming { "; ALARMING, the model knows another market" } else { "" };
        text!("drift (PSI) of the last {} sessions against those before: {what}; scores {scores}{word}", self.sessions)
    }
}

/// Compare the newest sessions with rows with the earlier ones. `scores` has one out-of-sample score a row, `NaN` where
/// there is none. Empty when there are too few sessions to have both.
pub fn measure(p: &Prepared, scores: &[f64]) -> Result<DriftReport> {
    let Some(cut) = p.days.end.checked_sub(NEWEST_SESSIONS).filter(|cut| *cut > p.days.start + NEWEST_SESSIONS) else {
        return Ok(DriftReport::default());
    };
    let (reference, current) = (rows(p, p.days.start..cut), rows(p, cut..p.days.end));
    let column = |rows: &[usize], f: usize| rows.iter().map(|r| f64::from(p.row(*r)[f])).filter(|v| v.is_finite()).collect::<Vec<f64>>();
    let mut features = Vec::new();
    // A feature that is not scaled within its day says which season it is: that moves by itself.
    for (f, name) in p.names.iter().enumerate().filter(|(f, _)| p.units[*f] == STANDARD_UNIT) {
        if let Some(psi) = psi(&column(&reference, f), &column(&current, f))? {
            features.push(Moved { name: name.clone(), psi });
        }
    }
    features.sort_by(|a, b| b.psi.total_cmp(&a.psi).then(a.name.cmp(&b.name)));
    let known = |rows: &[usize]| rows.iter().map(|r| scores[*r]).filter(|v| v.is_finite()).collect::<Vec<f64>>();
    // The newest days with a score are older than the newest rows where a holdout is sealed.
    let scored = p.cv_days.end.saturating_sub(NEWEST_SESSIONS).max(p.days.start);
    let score_psi = psi(&known(&rows(p, p.days.start..scored)), &known(&rows(p, scored..p.cv_days.end)))?;
    Ok(DriftReport { sessions: NEWEST_SESSIONS, features, score_psi })
}

/// Rows of at most [`REFERENCE_DATES`] of the days.
fn rows(p: &Prepared, days: Range<usize>) -> Vec<usize> {
    let step = days.len().div_ceil(REFERENCE_DATES).max(1);
    days.step_by(step).flat_map(|d| p.rows_of(d)).collect()
}

fn psi(reference: &[f64], current: &[f64]) -> Result<Option<f64>> {
    match drift::compare(reference, current) {
        Ok(d) => Ok(Some(d.psi)),
        Err(e) if e.is(code::ML_UNDEFINED) => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipelines::{fixture, train};

    #[test]
    fn a_market_that_stays_is_quiet_and_a_moved_feature_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let root = fixture::create(dir.path());
        let pinned = fixture::pinned(&root, &fixture::config());
        let mut p = train::prepare(&root, &pinned).unwrap();
        let days = std::mem::replace(&mut p.days, 60..150);
        assert_eq!(measure(&p, &vec![0.0; p.n_rows()]).unwrap(), DriftReport::default(), "too few sessions to tell then from now");
        p.days = days;
        let (n, k) = (p.n_rows(), p.names.len());
        // Rows spread over the days again, one feature shifted in the newest ones.
        let span = p.days.len();
        p.day = (0..n).map(|r| (p.days.start + r * span / n) as u32).collect();
        let cut = (p.days.end - NEWEST_SESSIONS) as u32;
        let moved = p.names.iter().position(|name| name == "mom_5").unwrap();
        for r in 0..n {
            for f in 0..k {
                p.features[r * k + f] = ((r * 37 + f * 11) % 101) as f32;
            }
            if p.day[r] >= cut {
                p.features[r * k + moved] += 60.0;
            }
        }
        let d = measure(&p, &vec![0.0; n]).unwrap();
        assert_eq!(d.features[0].name, "mom_5");
        assert!(d.features[0].psi > ALARM && d.features[1].psi < ALERT, "{:?}", &d.features[..2]);
        assert!(d.sentence().contains("ALARMING") && d.sentence().contains("mom_5"));
    }
}
