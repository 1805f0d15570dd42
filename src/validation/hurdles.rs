//! The go/no-go bars and the plausibility of a result. A number that is missing fails its bar; nothing is re-weighted.

use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};

/// The `bars:` section of a training configuration.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Bars {
    /// Annualised, net of costs: at least.
    pub sharpe: f64,
    /// As a fraction: at most.
    pub max_drawdown: f64,
    /// A probability: at least.
    pub dsr: f64,
    /// A probability: at most.
    pub pbo: f64,
}

impl Default for Bars {
    fn default() -> Self {
        Self { sharpe: 1.0, max_drawdown: 0.20, dsr: 0.95, pbo: 0.05 }
    }
}

impl Bars {
    /// A bar that everything passes is a configuration error. DSR and PBO are probabilities; a DSR bar of 0 says nothing, and
    /// one of 0.5 is what luck gives.
    pub fn validate(&self) -> Result<()> {
        let bad = |name: &str, rule: &str, found: f64| Err(Error::new(code::CFG_VALUE, text!("bars.{name} must be {rule}")).found(found.to_string()));
        if !(self.sharpe.is_finite() && self.sharpe > 0.0) {
            return bad("sharpe", "a positive number", self.sharpe);
        }
        if !(self.max_drawdown > 0.0 && self.max_drawdown < 1.0) {
            return bad("max_drawdown", "between 0 and 1", self.max_drawdown);
        }
        if !(self.dsr > 0.5 && self.dsr < 1.0) {
            return bad("dsr", "between 0.5 and 1, because it is a probability", self.dsr);
        }
        if !(self.pbo > 0.0 && self.pbo < 0.5) {
            return bad("pbo", "between 0 and 0.5, because 0.5 is what luck gives", self.pbo);
        }
        Ok(())
    }
    /// The bars that are looser than `other`'s: they are printed in every later report.
    pub fn looser_than(&self, other: &Self) -> Vec<String> {
        let mut out = Vec::new();
        let mut note = |name: &str, ours: f64, theirs: f64, looser: bool| {
            if looser {
                out.push(text!("bars.{name} was loosened from {theirs} to {ours}"));
            }
        };
        note("sharpe", self.sharpe, other.sharpe, self.sharpe < other.sharpe);
        note("max_drawdown", self.max_drawdown, other.max_drawdown, self.max_drawdown > other.max_drawdown);
        note("dsr", self.dsr, other.dsr, self.dsr < other.dsr);
        note("pbo", self.pbo, other.pbo, self.pbo > other.pbo);
        out
    }
}

/// A number, or why there is none.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    Value(f64),
    Missing(String),
}

impl Measure {
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Value(v) if v.is_finite() => Some(*v),
            _ => None,
        }
    }
    /// Why there is no value.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Value(v) if v.is_finite() => None,
            Self::Value(_) => Some("it is not a number".into()),
            Self::Missing(why) => Some(why.clone()),
        }
    }
}

impl From<f64> for Measure {
    fn from(v: f64) -> Self {
        Self::Value(v)
    }
}

impl From<Result<f64>> for Measure {
    fn from(r: Result<f64>) -> Self {
        match r {
            Ok(v) => Self::Value(v),
            Err(e) => Self::Missing(e.body().cause.clone().unwrap_or_else(|| e.body().what.clone())),
        }
    }
}

/// What is judged.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Measures {
    /// Annualised, net of costs.
    pub sharpe: Measure,
    /// Positive fraction.
    pub max_drawdown: Measure,
    pub dsr: Measure,
    pub pbo: Measure,
}

/// One bar and how the result stands to it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Row {
    pub name: String,
    /// Null when missing.
    pub value: Option<f64>,
    /// The bar in words: `>= 1`.
    pub bar: String,
    pub passed: bool,
    pub reason: String,
}

/// All bars; one that fails refuses.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Verdict {
    pub rows: Vec<Row>,
    pub passed: bool,
}

impl Verdict {
    /// Names of the rows that failed.
    pub fn failed(&self) -> Vec<&str> {
        self.rows.iter().filter(|r| !r.passed).map(|r| r.name.as_str()).collect()
    }
    /// The refusal that a wizard shows.
    pub fn require(&self) -> Result<()> {
        if self.passed {
            return Ok(());
        }
        let reasons: Vec<&str> = self.rows.iter().filter(|r| !r.passed).map(|r| r.reason.as_str()).collect();
        Err(Error::new(code::GATE_HURDLES, "the model does not meet the go/no-go bars").cause(reasons.join("; ")).found(self.failed().join(", ")))
    }
}

/// Hold `m` against `bars`.
pub fn judge(m: &Measures, bars: &Bars) -> Result<Verdict> {
    bars.validate()?;
    let rows = vec![
        at_least("sharpe", &m.sharpe, bars.sharpe, "annualised Sharpe ratio net of costs"),
        at_most("max_drawdown", &m.max_drawdown, bars.max_drawdown, "largest drawdown"),
        at_least("dsr", &m.dsr, bars.dsr, "probability that the Sharpe ratio is not the luck of many trials"),
        at_most("pbo", &m.pbo, bars.pbo, "probability of backtest overfitting"),
        plausible_drawdown(&m.max_drawdown),
        consistent(&m.dsr, &m.pbo),
    ];
    let passed = rows.iter().all(|r| r.passed);
    Ok(Verdict { rows, passed })
}

/// What a row of a verdict asks, for a reader who has not met its name; empty for a name that is not a row's.
pub fn meaning(name: &str) -> &'static str {
    match name {
        "sharpe" => "What a year earned after costs for each unit of its own up and down. At 1, a usual year's gain is as large as its usual deviation.",
        "max_drawdown" => "The deepest fall from a peak: what somebody who came in on the worst day would have seen gone at the bottom.",
        "dsr" => {
            "How likely it is that the Sharpe ratio is above zero at all, once one knows how many configurations were tried before this one was shown. The best of many coin-tossers looks skilled."
        }
        "pbo" => {
            "How often, when half of the time is used to choose the best configuration, that choice is below the middle on the other half. Near one half, choosing was guessing."
        }
        "plausible_drawdown" => "A record without any loss was not traded: prices from the future, or positions that were never marked, look like that.",
        "consistent" => {
            "The two tests of luck ask the same question in two ways. When one says skill and the other says luck, something was counted wrongly, and nothing is believed."
        }
        _ => "",
    }
}

fn at_least(name: &str, m: &Measure, bar: f64, meaning: &str) -> Row {
    row(name, m, format!(">= {bar}"), meaning, |v| v >= bar)
}

fn at_most(name: &str, m: &Measure, bar: f64, meaning: &str) -> Row {
    let words = if LOSSES.contains(&name) { format!("<= {} %", 100.0 * bar) } else { format!("<= {bar}") };
    row(name, m, words, meaning, |v| v <= bar)
}

/// A number of a verdict as it is written everywhere: a loss in per cent, a ratio or a probability as it is. Where rounding would end on a
/// round number, which bars are, more places are shown: no number looks as if it met a bar that it misses.
pub fn shown(name: &str, value: f64) -> String {
    let (scaled, places, step, unit) = if LOSSES.contains(&name) { (100.0 * value, 1, 1.0, " %") } else { (value, 2, 0.05, "") };
    let tens = 10f64.powi(places);
    let rounded = (scaled * tens).round() / tens;
    let is_round = ((rounded / step).round() * step - rounded).abs() < 1e-9;
    if is_round && (rounded - scaled).abs() > 1e-9 {
        let more = format!("{scaled:.*}", places as usize + 2);
        return format!("{}{unit}", more.trim_end_matches('0'));
    }
    format!("{rounded:.*}{unit}", places as usize)
}

/// Rows whose number is a share of the capital.
const LOSSES: [&str; 2] = ["max_drawdown", "plausible_drawdown"];

fn row(name: &str, m: &Measure, bar: String, meaning: &str, pass: impl Fn(f64) -> bool) -> Row {
    let value = m.value();
    let passed = value.is_some_and(pass);
    let reason = match (value, passed) {
        (None, _) => text!("the {meaning} is missing: {}", m.reason().unwrap_or_default()),
        (Some(v), true) => text!("the {meaning} is {}", shown(name, v)),
        (Some(v), false) => text!("the {meaning} is {}, the bar is {bar}", shown(name, v)),
    };
    Row { name: name.into(), value, bar, passed, reason }
}

/// A strategy that never lost a cent was not simulated.
fn plausible_drawdown(m: &Measure) -> Row {
    let mut r = row("plausible_drawdown", m, "> 0".into(), "largest drawdown", |v| v > 1e-9);
    if r.value.is_some() && !r.passed {
        r.reason = "a drawdown of zero is implausible: look for prices from the future, positions that are not marked, or no trades at all".into();
    }
    r
}

/// Two tests of the same question must not give opposite answers. What they say does not move with a bar that somebody loosened: this row
/// decides alone where a looser bar would let a contradiction through.
fn consistent(dsr: &Measure, pbo: &Measure) -> Row {
    let bars = Bars::default();
    let bar = text!("not (dsr > {} and pbo > {})", bars.dsr, bars.pbo);
    let (passed, reason) = match (dsr.value(), pbo.value()) {
        (Some(d), Some(p)) if d > bars.dsr && p > bars.pbo => {
            (false, text!("DSR {d:.4} says skill and PBO {p:.4} says overfitting: the number of trials or the trial matrix is wrong"))
        }
        (Some(_), Some(_)) => (true, "DSR and PBO do not contradict each other".to_string()),
        _ => (false, "DSR or PBO is missing, so they cannot be compared".to_string()),
    };
    Row { name: "consistent".into(), value: None, bar, passed, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Measures {
        Measures { sharpe: 1.4.into(), max_drawdown: 0.12.into(), dsr: 0.97.into(), pbo: 0.03.into() }
    }
    fn failed(m: &Measures) -> Vec<String> {
        judge(m, &Bars::default()).unwrap().failed().into_iter().map(String::from).collect()
    }

    #[test]
    fn a_good_result_passes_every_bar() {
        let v = judge(&good(), &Bars::default()).unwrap();
        assert!(v.passed && v.require().is_ok() && v.rows.len() == 6);
        assert!(v.rows.iter().all(|r| meaning(&r.name).len() > 60) && meaning("other").is_empty());
    }

    #[test]
    fn lesson_081_every_bar_has_a_result_that_fails_it_alone() {
        assert_eq!(failed(&Measures { sharpe: 0.99.into(), ..good() }), ["sharpe"]);
        assert_eq!(failed(&Measures { max_drawdown: 0.21.into(), ..good() }), ["max_drawdown"]);
        assert_eq!(failed(&Measures { max_drawdown: 0.0.into(), ..good() }), ["plausible_drawdown"]);
        assert_eq!(failed(&Measures { dsr: 0.94.into(), ..good() }), ["dsr"]);
        assert_eq!(failed(&Measures { dsr: 0.95.into(), pbo: 0.06.into(), ..good() }), ["pbo"]);
        assert_eq!(failed(&Measures { dsr: 0.96.into(), pbo: 0.06.into(), ..good() }), ["pbo", "consistent"]);
        let loose = Bars { pbo: 0.3, ..Bars::default() };
        let contradictory = judge(&Measures { dsr: 0.99.into(), pbo: 0.25.into(), ..good() }, &loose).unwrap();
        assert_eq!(contradictory.failed(), ["consistent"], "a bar that was loosened for one test is none for their agreement");
    }

    #[test]
    fn lesson_055_implausible_and_contradictory_results_block_and_explain() {
        let celebrated = Measures { sharpe: 8.85.into(), max_drawdown: 0.0.into(), dsr: 1.0.into(), pbo: 0.6.into() };
        let v = judge(&celebrated, &Bars::default()).unwrap();
        assert_eq!(v.failed(), ["pbo", "plausible_drawdown", "consistent"]);
        let err = v.require().unwrap_err();
        assert!(err.is(code::GATE_HURDLES) && err.to_string().contains("drawdown of zero is implausible"));
    }

    #[test]
    fn lesson_062_a_dsr_of_three_tenths_refuses_and_zero_is_no_bar() {
        assert_eq!(failed(&Measures { dsr: 0.3.into(), ..good() }), ["dsr"]);
        for dsr in [0.0, 0.5, 1.0, f64::NAN] {
            assert!(judge(&good(), &Bars { dsr, ..Bars::default() }).unwrap_err().is(code::CFG_VALUE));
        }
        assert!(judge(&good(), &Bars { pbo: 0.5, ..Bars::default() }).is_err());
        assert!(judge(&good(), &Bars { max_drawdown: 0.0, ..Bars::default() }).is_err());
        assert!(judge(&good(), &Bars { sharpe: 0.0, ..Bars::default() }).is_err());
    }

    #[test]
    fn lesson_070_a_missing_number_fails_its_bar() {
        let gone = || Measure::Missing("no trials".into());
        assert_eq!(failed(&Measures { sharpe: gone(), ..good() }), ["sharpe"]);
        assert_eq!(failed(&Measures { max_drawdown: gone(), ..good() }), ["max_drawdown", "plausible_drawdown"]);
        assert_eq!(failed(&Measures { dsr: gone(), ..good() }), ["dsr", "consistent"]);
        assert_eq!(failed(&Measures { pbo: f64::NAN.into(), ..good() }), ["pbo", "consistent"]);
        let v = judge(&Measures { pbo: gone(), ..good() }, &Bars::default()).unwrap();
        assert!(v.rows[3].value.is_none() && v.rows[3].reason.contains("no trials"));
    }

    #[test]
    fn lesson_069_looser_bars_are_named() {
        let loose = Bars { sharpe: 0.5, pbo: 0.2, ..Bars::default() };
        assert_eq!(loose.looser_than(&Bars::default()).len(), 2);
        assert!(Bars::default().looser_than(&loose).is_empty());
    }

    #[test]
    fn a_number_is_shown_on_the_side_of_its_bar_on_which_it_is() {
        let all = [("max_drawdown", 0.2), ("max_drawdown", 0.2004), ("max_drawdown", 0.3851), ("pbo", 0.05), ("pbo", 0.0501), ("dsr", 0.9499), ("dsr", 0.95)];
        assert_eq!(all.map(|(name, v)| shown(name, v)), ["20.0 %", "20.04 %", "38.5 %", "0.05", "0.0501", "0.9499", "0.95"]);
        let ratios = [("sharpe", 0.999), ("sharpe", -0.301), ("sharpe", 1.0), ("sharpe", 1.0321), ("dsr", 0.8952)];
        assert_eq!(ratios.map(|(name, v)| shown(name, v)), ["0.999", "-0.301", "1.00", "1.03", "0.8952"]);
    }
}
