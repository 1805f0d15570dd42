//! The barbell policy: most of the book in safe names, a little in speculative ones, by an exact projection.
//!
//! Off unless configured; off means exactly no change. Weights that nobody holds are cash, which counts as safe and has no
//! cap of its own. Short weights are outside this policy.

use crate::portfolio::projection::{Active, Constraint, project};
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a name belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sleeve {
    Safe,
    Core,
    Spec,
}

/// A group that cuts across sleeves, with its cap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub cap: f64,
    pub symbols: Vec<String>,
}

/// The policy. Fractions of equity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Barbell {
    pub sleeves: BTreeMap<String, Sleeve>,
    pub groups: BTreeMap<String, Group>,
    pub safe_min: f64,
    pub safe_max: f64,
    pub safe_name_cap: f64,
    pub core_max: f64,
    pub core_name_cap: f64,
    pub spec_max: f64,
    pub spec_name_cap: f64,
}

impl Default for Barbell {
    fn default() -> Self {
        Self {
            sleeves: BTreeMap::new(),
            groups: BTreeMap::new(),
            safe_min: 0.75,
            safe_max: 0.95,
            safe_name_cap: 0.50,
            core_max: 0.20,
            core_name_cap: 0.10,
            spec_max: 0.10,
            spec_name_cap: 0.05,
        }
    }
}

/// The projected book, cash apart, and what bound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Projected {
    pub weights: BTreeMap<String, f64>,
    pub cash: f64,
    pub active: Vec<Active>,
}

impl Barbell {
    /// The nearest book that keeps the policy. A short weight, or a name without a sleeve, refuses.
    pub fn project(&self, targets: &BTreeMap<String, f64>) -> Result<Projected> {
        let names: Vec<&String> = targets.keys().collect();
        let mut sleeves = Vec::new();
        for (name, weight) in targets {
            let sleeve = self.sleeves.get(name).copied();
            if *weight < 0.0 || sleeve.is_none() {
                let why = if *weight < 0.0 { "short weights are outside the barbell policy" } else { "it belongs to no sleeve" };
                return Err(Error::new(code::CFG_VALUE, text!("{name} cannot be in a barbell book"))
                    .cause(why)
                    .fix("name it in the policy's sleeves, or leave it out"));
            }
            sleeves.extend(sleeve);
        }
        // Cash is the last variable; what the targets leave over is its target.
        let cash = names.len();
        let mut x0: Vec<f64> = targets.values().copied().collect();
        x0.push(1.0 - x0.iter().sum::<f64>());
        let of = |sleeve: Sleeve| sleeves.iter().enumerate().filter(move |(_, s)| **s == sleeve).map(|(i, _)| (i, 1.0)).collect::<Vec<_>>();
        let with_cash: Vec<(usize, f64)> = of(Sleeve::Safe).into_iter().chain([(cash, 1.0)]).collect();
        let mut constraints = vec![
            Constraint::equal("sum", (0..=cash).map(|i| (i, 1.0)).collect(), 1.0),
            Constraint::at_least("safe at least", with_cash.clone(), self.safe_min),
            Constraint::at_most("safe at most", with_cash, self.safe_max),
            Constraint::at_most("core at most", of(Sleeve::Core), self.core_max),
            Constraint::at_most("spec at most", of(Sleeve::Spec), self.spec_max),
            Constraint::at_least("cash at least 0", vec![(cash, 1.0)], 0.0),
        ];
        for (i, (name, sleeve)) in names.iter().zip(&sleeves).enumerate() {
            let cap = match sleeve {
                Sleeve::Safe => self.safe_name_cap,
                Sleeve::Core => self.core_name_cap,
                Sleeve::Spec => self.spec_name_cap,
            };
            constraints.push(Constraint::at_least(text!("{name} at least 0"), vec![(i, 1.0)], 0.0));
            constraints.push(Constraint::at_most(text!("{name} at most"), vec![(i, 1.0)], cap));
        }
        for (group, g) in &self.groups {
            let members: Vec<(usize, f64)> = names.iter().enumerate().filter(|(_, n)| g.symbols.contains(n)).map(|(i, _)| (i, 1.0)).collect();
            if !members.is_empty() {
                constraints.push(Constraint::at_most(text!("group {group}"), members, g.cap));
            }
        }
        // A sleeve without a name cannot be below its floor but by cash, and no sleeve at all cannot be above its ceiling.
        constraints.retain(|c| !c.terms.is_empty());
        let p = project(&x0, &constraints)?;
        let weights = names.iter().zip(&p.weights).map(|(n, w)| ((*n).clone(), w.max(0.0))).collect();
        Ok(Projected { weights, cash: p.weights[cash], active: p.active })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Barbell {
        let sleeve =
            [("SHY", Sleeve::Safe), ("BIL", Sleeve::Safe), ("SPY", Sleeve::Core), ("AAPL", Sleeve::Core), ("EEM", Sleeve::Core), ("GBTC", Sleeve::Spec)];
        let groups = BTreeMap::from([("emerging".to_string(), Group { cap: 0.03, symbols: vec!["EEM".into()] })]);
        Barbell { sleeves: sleeve.into_iter().map(|(s, v)| (s.to_string(), v)).collect(), groups, ..Barbell::default() }
    }
    fn book(list: &[(&str, f64)]) -> BTreeMap<String, f64> {
        list.iter().map(|(s, w)| ((*s).to_string(), *w)).collect()
    }

    #[test]
    fn lesson_086_the_policy_holds_to_the_last_digit_and_projecting_twice_changes_nothing() {
        let p = policy();
        let wild = book(&[("SHY", 0.1), ("SPY", 0.6), ("AAPL", 0.2), ("EEM", 0.2), ("GBTC", 0.3)]);
        let out = p.project(&wild).unwrap();
        let sum = |names: &[&str]| names.iter().map(|n| out.weights[*n]).sum::<f64>();
        let safe = sum(&["SHY"]) + out.cash;
        assert!((0.75 - 1e-9..=0.95 + 1e-9).contains(&safe));
        assert!(sum(&["SPY", "AAPL", "EEM"]) <= 0.20 + 1e-9 && out.weights["GBTC"] <= 0.05 + 1e-9 && out.weights["EEM"] <= 0.03 + 1e-9);
        assert!((out.weights.values().sum::<f64>() + out.cash - 1.0).abs() < 1e-9);
        assert!(out.active.iter().any(|a| a.name == "core at most"), "{:?}", out.active);
        let again = p.project(&out.weights).unwrap();
        assert!(again.weights.iter().all(|(n, w)| (w - out.weights[n]).abs() < 1e-9));
    }

    #[test]
    fn a_book_inside_the_policy_is_left_alone_and_what_does_not_belong_refuses() {
        let p = policy();
        let calm = book(&[("SHY", 0.4), ("BIL", 0.4), ("SPY", 0.1)]);
        let out = p.project(&calm).unwrap();
        assert!(out.weights.iter().all(|(n, w)| (w - calm[n]).abs() < 1e-12) && (out.cash - 0.1).abs() < 1e-12);
        assert!(p.project(&book(&[("SPY", -0.1)])).unwrap_err().is(code::CFG_VALUE));
        assert!(p.project(&book(&[("UNKNOWN", 0.1)])).unwrap_err().is(code::CFG_VALUE));
        let clash = Barbell { safe_min: 0.9, safe_max: 0.5, ..policy() }.project(&calm).unwrap_err();
        assert!(clash.body().cause.as_deref().unwrap().contains("safe"), "{clash:?}");
    }
}
