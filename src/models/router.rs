//! Which sleeves may speak today, for whom, and how their scores become one: the single authority at prediction time.
//!
//! A sleeve is eligible where its data are GREEN enough, its configuration enables it, and the name is liquid enough; a
//! regime may shrink its book. One eligible sleeve passes its raw signal on; several are blended by the stacker, with learnt or
//! configured weights. Champions are switched by configuration alone. Everything that silences a sleeve is said.

use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The built-in configuration, `configs/router.yml`.
pub const ROUTER: &str = include_str!("../../configs/router.yml");
/// Its JSON Schema.
pub const ROUTER_SCHEMA: &str = include_str!("../../configs/router.schema.json");

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterConfig {
    pub version: u32,
    pub sleeves: BTreeMap<String, Sleeve>,
    pub liquidity: Liquidity,
    /// Annual volatility of the average name above which the regime is `CRISIS`.
    pub crisis_volatility: f64,
    /// By regime: the share of its book that a sleeve keeps, at most all of it. A sleeve that is not named keeps its book.
    #[serde(default)]
    pub regimes: BTreeMap<String, BTreeMap<String, f64>>,
    pub stacker: Stacker,
}

/// How names are sorted into tiers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Liquidity {
    /// Sessions whose median counts.
    pub sessions: usize,
    /// Least dollars a day of tier 1, of tier 2, and so on; falling.
    pub tier_usd: Vec<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sleeve {
    pub enabled: bool,
    /// Smallest GREEN share of every table that it depends on.
    pub min_green: f64,
    /// Tiers of names that it may speak about; 1 is the most liquid.
    pub liquidity_tiers: Vec<u8>,
    /// The model version to use; the registry's champion when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub champion: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stacker {
    pub enabled: bool,
    /// A learnt blend. None is served yet, so that a name here is refused; the weights below decide.
    pub artifact: Option<String>,
    pub weights: BTreeMap<String, f64>,
}

/// What is known of a sleeve on a day.
#[derive(Clone, Debug, PartialEq)]
pub struct SleeveState<'a> {
    pub name: &'a str,
    /// The smallest GREEN share of its tables; absent when nobody has looked, which is not GREEN.
    pub green: Option<f64>,
    /// Standardised scores by symbol.
    pub scores: &'a BTreeMap<String, f64>,
}

/// What came out for one day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Routed {
    /// One score a symbol.
    pub scores: BTreeMap<String, f64>,
    /// Sleeves that spoke, with the factor of the regime.
    pub used: BTreeMap<String, f64>,
    /// Sleeves that were silenced, and why.
    pub silenced: BTreeMap<String, String>,
    /// Whether scores of several sleeves were blended.
    pub blended: bool,
    /// The share of the full book that the regime leaves; 0 when nobody speaks.
    pub exposure: f64,
}

impl RouterConfig {
    /// Parse and validate YAML. Unknown keys are errors.
    pub fn parse(yaml: &str) -> Result<Self> {
        let config: Self = serde_yaml::from_str(yaml).map_err(|e| {
            let kind = if e.to_string().contains("unknown field") { code::CFG_UNKNOWN_KEY } else { code::CFG_PARSE };
            Error::new(kind, "the router's configuration cannot be read").cause(e.to_string()).fix("compare it with configs/router.yml")
        })?;
        config.validate()?;
        Ok(config)
    }

    /// Refuse what would route nothing, or silently switch a check off.
    pub fn validate(&self) -> Result<()> {
        let bad = |what: String, found: String| Err(Error::new(code::CFG_VALUE, what).found(found).fix("compare it with configs/router.yml"));
        if self.version != 1 || self.sleeves.is_empty() {
            return bad("the router needs version 1 and at least one sleeve".into(), text!("version {}, {} sleeves", self.version, self.sleeves.len()));
        }
        for (name, s) in &self.sleeves {
            if !(s.min_green > 0.0 && s.min_green <= 1.0) || s.liquidity_tiers.is_empty() {
                return bad(text!("the sleeve '{name}' needs a GREEN share above 0 and at least one tier"), format!("{s:?}"));
            }
        }
        let falling = self.liquidity.tier_usd.windows(2).all(|w| w[0] > w[1]);
        let positive = self.liquidity.tier_usd.iter().chain([&self.crisis_volatility]).all(|v| v.is_finite() && *v > 0.0);
        if self.liquidity.sessions == 0 || self.liquidity.tier_usd.is_empty() || !falling || !positive {
            return bad("liquidity needs sessions and falling dollars above 0, and the crisis a volatility above 0".into(), format!("{:?}", self.liquidity));
        }
        let named = self.regimes.values().flat_map(BTreeMap::iter).chain(&self.stacker.weights);
        for (name, value) in named {
            if !self.sleeves.contains_key(name) || !(value.is_finite() && *value >= 0.0) {
                return bad(text!("a weight belongs to a known sleeve and is at least 0: '{name}'"), value.to_string());
            }
        }
        if let Some((name, value)) = self.regimes.values().flat_map(BTreeMap::iter).find(|(_, v)| **v > 1.0) {
            return bad(text!("a regime shrinks the book of '{name}' and never stretches it"), value.to_string());
        }
        if let Some(artifact) = &self.stacker.artifact {
            return bad("stacker.artifact must be null: a learnt blend is not served yet, and the weights would decide in its place".into(), artifact.clone());
        }
        Ok(())
    }

    /// Route a day. `tiers` gives each symbol's liquidity tier; a symbol without one is spoken about by nobody.
    pub fn route(&self, regime: Option<&str>, sleeves: &[SleeveState<'_>], tiers: &BTreeMap<String, u8>) -> Result<Routed> {
        let mut out = Routed::default();
        let mut speaking: Vec<(&SleeveState<'_>, &Sleeve, f64)> = Vec::new();
        for state in sleeves {
            match self.eligible(state, regime) {
                Ok((sleeve, factor)) => {
                    out.used.insert(state.name.to_string(), factor);
                    speaking.push((state, sleeve, factor));
                }
                Err(why) => drop(out.silenced.insert(state.name.to_string(), why)),
            }
        }
        out.exposure = self.exposure(&speaking.iter().map(|(s, _, factor)| (s.name, *factor)).collect::<Vec<_>>());
        for symbol in speaking.iter().flat_map(|(s, ..)| s.scores.keys()) {
            let Some(tier) = tiers.get(symbol) else { continue };
            let mut signals: Vec<Spoken<'_>> = Vec::new();
            for (state, sleeve, factor) in &speaking {
                if let Some(score) = state.scores.get(symbol).filter(|v| v.is_finite() && sleeve.liquidity_tiers.contains(tier)) {
                    signals.push(Spoken { name: state.name, score: *score, factor: *factor });
                }
            }
            let score = match signals.as_slice() {
                [] => continue,
                [one] => one.score,
                several => {
                    out.blended = true;
                    self.blend(several)?
                }
            };
            out.scores.insert(symbol.clone(), score);
        }
        Ok(out)
    }

    /// What the router leaves of a sleeve alone: no other sleeve, no chosen champion, no blend. It decides what a simulation may trade.
    pub fn of_sleeve(&self, name: &str) -> Option<Self> {
        let sleeve = Sleeve { enabled: true, champion: None, ..self.sleeves.get(name)?.clone() };
        let regimes = self.regimes.iter().filter_map(|(r, f)| Some((r.clone(), BTreeMap::from([(name.to_string(), *f.get(name)?)])))).collect();
        let stacker = Stacker { enabled: false, artifact: None, weights: BTreeMap::new() };
        Some(Self { sleeves: BTreeMap::from([(name.to_string(), sleeve)]), regimes, stacker, ..self.clone() })
    }

    /// What of its book a sleeve keeps in a regime.
    pub fn factor(&self, regime: Option<&str>, sleeve: &str) -> f64 {
        regime.and_then(|r| self.regimes.get(r)).and_then(|f| f.get(sleeve)).copied().unwrap_or(1.0)
    }

    /// The share of the full book: the sleeve's own, or the mean of several by their weights.
    fn exposure(&self, speaking: &[(&str, f64)]) -> f64 {
        match speaking {
            [] => 0.0,
            [(_, factor)] => *factor,
            several => {
                let weight = |name: &str| self.stacker.weights.get(name).copied().unwrap_or(0.0);
                let total: f64 = several.iter().map(|(name, _)| weight(name)).sum();
                if total > 0.0 { several.iter().map(|(name, f)| weight(name) * f).sum::<f64>() / total } else { 0.0 }
            }
        }
    }

    fn eligible(&self, state: &SleeveState<'_>, regime: Option<&str>) -> std::result::Result<(&Sleeve, f64), String> {
        let sleeve = self.sleeves.get(state.name).ok_or("the configuration does not name it")?;
        if !sleeve.enabled {
            return Err("it is switched off".into());
        }
        match state.green {
            None => return Err("the GREEN share of its tables is not known".into()),
            Some(green) if !(green >= sleeve.min_green) => {
                return Err(text!("{:.2} % of its tables are GREEN, {:.2} % are needed", green * 100.0, sleeve.min_green * 100.0));
            }
            Some(_) => {}
        }
        let factor = self.factor(regime, state.name);
        if factor == 0.0 {
            return Err(text!("the regime {} silences it", regime.unwrap_or_default()));
        }
        Ok((sleeve, factor))
    }

    /// Mean over the sleeves that spoke, each by its weight and by what the regime leaves of it. Several signals without an enabled
    /// stacker are a configuration error: nothing is averaged that nobody asked to average.
    fn blend(&self, signals: &[Spoken<'_>]) -> Result<f64> {
        let names = || signals.iter().map(|s| s.name).collect::<Vec<_>>().join(", ");
        if !self.stacker.enabled {
            return Err(Error::new(code::CFG_VALUE, "several sleeves speak about one name and no stacker is enabled")
                .found(names())
                .fix("set stacker.enabled: true with weights in configs/router.yml, or switch sleeves off"));
        }
        let weight = |s: &Spoken<'_>| self.stacker.weights.get(s.name).copied().unwrap_or(0.0) * s.factor;
        let total: f64 = signals.iter().map(weight).sum();
        if !(total > 0.0) {
            return Err(Error::new(code::CFG_VALUE, "the stacker gives no weight to any sleeve that speaks").found(names()));
        }
        Ok(signals.iter().map(|s| weight(s) * s.score).sum::<f64>() / total)
    }
}

/// What a sleeve says of one name, and what the regime leaves of the sleeve.
struct Spoken<'a> {
    name: &'a str,
    score: f64,
    factor: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(list: &[(&str, f64)]) -> BTreeMap<String, f64> {
        list.iter().map(|(s, v)| ((*s).to_string(), *v)).collect()
    }

    fn tiers() -> BTreeMap<String, u8> {
        [("AAA", 1), ("BBB", 2), ("THIN", 3)].into_iter().map(|(s, t)| (s.to_string(), t)).collect()
    }

    fn two() -> RouterConfig {
        let mut c = RouterConfig::parse(ROUTER).unwrap();
        c.sleeves.insert("intraday_xs".into(), Sleeve { enabled: true, min_green: 0.9, liquidity_tiers: vec![1], champion: None });
        c.stacker = Stacker { enabled: true, artifact: None, weights: [("equities_xs".to_string(), 3.0), ("intraday_xs".to_string(), 1.0)].into() };
        c
    }

    #[test]
    fn one_sleeve_passes_its_raw_signal_and_an_illiquid_name_is_not_spoken_about() {
        let c = RouterConfig::parse(ROUTER).unwrap();
        let s = scores(&[("AAA", 1.5), ("BBB", -0.5), ("THIN", 9.0), ("NOWHERE", 9.0)]);
        let state = SleeveState { name: "equities_xs", green: Some(0.99), scores: &s };
        let r = c.route(None, std::slice::from_ref(&state), &tiers()).unwrap();
        assert_eq!((r.scores, r.blended), (scores(&[("AAA", 1.5), ("BBB", -0.5)]), false));
        let crisis = c.route(Some("CRISIS"), &[state], &tiers()).unwrap();
        assert_eq!((crisis.scores["AAA"], crisis.exposure), (1.5, 0.5), "a factor on scores that are ranked would do nothing");
    }

    #[test]
    fn lesson_036_a_sleeve_without_green_data_is_silenced_and_the_other_speaks_alone() {
        let (a, b) = (scores(&[("AAA", 1.0)]), scores(&[("AAA", -1.0)]));
        let state =
            |green: Option<f64>| [SleeveState { name: "equities_xs", green: Some(1.0), scores: &a }, SleeveState { name: "intraday_xs", green, scores: &b }];
        let both = two().route(None, &state(Some(0.95)), &tiers()).unwrap();
        assert!(both.blended && (both.scores["AAA"] - 0.5).abs() < 1e-12 && both.exposure == 1.0);
        // The first keeps half its weight, 1.5 against 1, and the book shrinks by what it lost: (3 x 0.5 + 1) / 4.
        let storm = two().route(Some("CRISIS"), &state(Some(0.95)), &tiers()).unwrap();
        assert!((storm.scores["AAA"] - 0.2).abs() < 1e-12 && (storm.exposure - 0.625).abs() < 1e-12, "{storm:?}");
        for green in [Some(0.5), None, Some(f64::NAN)] {
            let r = two().route(None, &state(green), &tiers()).unwrap();
            assert!(!r.blended && r.scores["AAA"] == 1.0 && r.silenced.contains_key("intraday_xs"), "{green:?}");
        }
        let mut off = two();
        off.sleeves.get_mut("intraday_xs").unwrap().enabled = false;
        assert!(off.route(None, &state(Some(1.0)), &tiers()).unwrap().silenced["intraday_xs"].contains("switched off"));
        let mut unblended = two();
        unblended.stacker.enabled = false;
        assert!(unblended.route(None, &state(Some(1.0)), &tiers()).unwrap_err().is(code::CFG_VALUE));
    }

    #[test]
    fn unknown_keys_and_senseless_values_are_refused() {
        assert!(RouterConfig::parse(&format!("{ROUTER}\nsurprise: 1\n")).unwrap_err().is(code::CFG_UNKNOWN_KEY));
        assert!(RouterConfig::parse(&ROUTER.replace("min_green: 0.98", "min_green: 0")).unwrap_err().is(code::CFG_VALUE));
        assert!(RouterConfig::parse(&ROUTER.replace("[25000000, 5000000]", "[5000000, 25000000]")).unwrap_err().is(code::CFG_VALUE));
        assert!(RouterConfig::parse(&ROUTER.replace("CRISIS: {equities_xs: 0.5}", "CRISIS: {nobody: 0.5}")).unwrap_err().is(code::CFG_VALUE));
        assert!(RouterConfig::parse(&ROUTER.replace("CRISIS: {equities_xs: 0.5}", "CRISIS: {equities_xs: 1.5}")).unwrap_err().is(code::CFG_VALUE));
        assert!(RouterConfig::parse(&ROUTER.replace("artifact: null", "artifact: blend-1")).unwrap_err().is(code::CFG_VALUE), "read by nobody");
        let schema: serde_json::Value = serde_json::from_str(ROUTER_SCHEMA).unwrap();
        let config = serde_json::to_value(RouterConfig::parse(ROUTER).unwrap()).unwrap();
        assert!(config.as_object().unwrap().keys().all(|key| schema["properties"].get(key).is_some()));
    }
}
