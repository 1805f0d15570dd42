//! The nearest point of a polytope: `min |x - x0|^2` subject to linear constraints, solved exactly.
//!
//! Goldfarb and Idnani's dual active-set method (1983) with the identity as the Hessian: it begins at `x0`, adds the most
//! violated constraint, and drops those that stop binding. It ends with the optimum and its multipliers, or with a proof
//! that there is no feasible point. Scaling in turns would end near the set and not at its nearest point.

use crate::portfolio::linear::solve_spd;
use crate::types::Matrix;
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};

/// A violation below this is rounding.
const TOLERANCE: f64 = 1e-12;

/// `sum(coefficient x w) >= at_least`, or equal to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Constraint {
    pub name: String,
    /// `(index, coefficient)`; other coefficients are 0.
    pub terms: Vec<(usize, f64)>,
    pub at_least: f64,
    pub equal: bool,
}

impl Constraint {
    pub fn at_least(name: impl Into<String>, terms: Vec<(usize, f64)>, bound: f64) -> Self {
        Self { name: name.into(), terms, at_least: bound, equal: false }
    }
    /// `sum <= bound`.
    pub fn at_most(name: impl Into<String>, terms: Vec<(usize, f64)>, bound: f64) -> Self {
        let negated = terms.into_iter().map(|(i, c)| (i, -c)).collect();
        Self { name: name.into(), terms: negated, at_least: -bound, equal: false }
    }
    pub fn equal(name: impl Into<String>, terms: Vec<(usize, f64)>, value: f64) -> Self {
        Self { name: name.into(), terms, at_least: value, equal: true }
    }
    /// How far inside; negative when violated.
    fn slack(&self, x: &[f64]) -> f64 {
        self.terms.iter().map(|(i, c)| c * x[*i]).sum::<f64>() - self.at_least
    }
    fn scale(&self) -> f64 {
        1.0 + self.at_least.abs()
    }
}

/// A constraint that shapes the solution, and how hard it pushes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Active {
    pub name: String,
    pub multiplier: f64,
}

/// The nearest feasible point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Projection {
    pub weights: Vec<f64>,
    /// In the order of the constraints.
    pub active: Vec<Active>,
}

struct Solver<'a> {
    constraints: &'a [Constraint],
    x: Vec<f64>,
    /// Indices of active constraints, their sign (an equality may push either way) and multipliers.
    active: Vec<(usize, f64)>,
    multipliers: Vec<f64>,
}

/// Project `x0`. Infeasible constraints are an error that names those which clash.
pub fn project(x0: &[f64], constraints: &[Constraint]) -> Result<Projection> {
    let known = constraints.iter().flat_map(|c| &c.terms).all(|(i, c)| *i < x0.len() && c.is_finite());
    if !known || x0.iter().any(|v| !v.is_finite()) || constraints.iter().any(|c| !c.at_least.is_finite()) {
        return Err(Error::bug("a projection was asked for with numbers that are missing"));
    }
    let mut s = Solver { constraints, x: x0.to_vec(), active: Vec::new(), multipliers: Vec::new() };
    for p in (0..constraints.len()).filter(|p| constraints[*p].equal) {
        s.add(p)?;
    }
    // Every step raises the dual objective, so no active set comes twice; the bound is a guard against rounding.
    for _ in 0..50 * (constraints.len() + x0.len() + 1) {
        let Some(p) = s.most_violated() else { return Ok(s.result()) };
        s.add(p)?;
    }
    Err(Error::bug("a projection did not come to an end"))
}

impl Solver<'_> {
    fn most_violated(&self) -> Option<usize> {
        let open = (0..self.constraints.len()).filter(|p| !self.constraints[*p].equal && self.active.iter().all(|(a, _)| a != p));
        let by = |p: usize| self.constraints[p].slack(&self.x) / self.constraints[p].scale();
        let worst = open.min_by(|a, b| by(*a).total_cmp(&by(*b)))?;
        (by(worst) < -TOLERANCE).then_some(worst)
    }

    fn normal(&self, (p, sign): (usize, f64)) -> Vec<f64> {
        let mut n = vec![0.0; self.x.len()];
        for (i, c) in &self.constraints[p].terms {
            n[*i] += sign * c;
        }
        n
    }

    /// Make constraint `p` hold, dropping those that no longer bind on the way.
    fn add(&mut self, p: usize) -> Result<()> {
        let sign = if self.constraints[p].slack(&self.x) > 0.0 { -1.0 } else { 1.0 };
        let normal = self.normal((p, sign));
        let mut pushed = 0.0;
        loop {
            let slack = sign * self.constraints[p].slack(&self.x);
            let (direction, shares) = self.decompose(&normal)?;
            let length: f64 = direction.iter().map(|d| d * d).sum();
            let size: f64 = normal.iter().map(|d| d * d).sum();
            let blocked = self.first_to_drop(&shares);
            let partial = blocked.map_or(f64::INFINITY, |(_, t)| t);
            // The normal lies in the span of the active ones: no step in x can help.
            let full = if length > 1e-13 * size { -slack / length } else { f64::INFINITY };
            if full.is_infinite() && slack.abs() <= TOLERANCE * self.constraints[p].scale() {
                return Ok(());
            }
            let step = partial.min(full);
            if step.is_infinite() {
                return Err(self.clash(p));
            }
            for (m, share) in self.multipliers.iter_mut().zip(&shares) {
                *m -= step * share;
            }
            pushed += step;
            if full.is_finite() {
                self.x.iter_mut().zip(&direction).for_each(|(x, d)| *x += step * d);
            }
            if step == full {
                self.active.push((p, sign));
                self.multipliers.push(pushed);
                return Ok(());
            }
            if let Some((k, _)) = blocked {
                self.active.remove(k);
                self.multipliers.remove(k);
            }
        }
    }

    /// The part of a normal that the active ones do not span, and its shares in them.
    fn decompose(&self, normal: &[f64]) -> Result<(Vec<f64>, Vec<f64>)> {
        let q = self.active.len();
        if q == 0 {
            return Ok((normal.to_vec(), Vec::new()));
        }
        let rows: Vec<Vec<f64>> = self.active.iter().map(|a| self.normal(*a)).collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        let gram = Matrix::from_vec(q, q, rows.iter().flat_map(|a| rows.iter().map(|b| dot(a, b)).collect::<Vec<_>>()).collect())?;
        let shares = solve_spd(&gram, &rows.iter().map(|r| dot(r, normal)).collect::<Vec<_>>())?;
        let mut rest = normal.to_vec();
        for (row, share) in rows.iter().zip(&shares) {
            rest.iter_mut().zip(row).for_each(|(r, n)| *r -= share * n);
        }
        Ok((rest, shares))
    }

    /// The active inequality whose multiplier reaches zero first, and after what step.
    fn first_to_drop(&self, shares: &[f64]) -> Option<(usize, f64)> {
        let droppable = shares.iter().enumerate().filter(|(k, s)| **s > 1e-15 && !self.constraints[self.active[*k].0].equal);
        droppable.map(|(k, s)| (k, self.multipliers[k] / s)).min_by(|a, b| a.1.total_cmp(&b.1))
    }

    fn clash(&self, p: usize) -> Error {
        let mut names: Vec<&str> = self.active.iter().map(|(a, _)| self.constraints[*a].name.as_str()).collect();
        names.push(&self.constraints[p].name);
        Error::new(code::CFG_VALUE, "no portfolio meets all constraints at once")
            .cause(text!("these clash: {}", names.join(", ")))
            .fix("loosen one of them in the configuration")
    }

    fn result(self) -> Projection {
        let mut active: Vec<(usize, f64)> = self.active.iter().zip(&self.multipliers).map(|((p, sign), m)| (*p, sign * m)).collect();
        active.sort_by_key(|a| a.0);
        let named = active.into_iter().filter(|(_, m)| m.abs() > 1e-12);
        Projection { active: named.map(|(p, multiplier)| Active { name: self.constraints[p].name.clone(), multiplier }).collect(), weights: self.x }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Boxes, a simplex, and two groups.
    fn constraints(n: usize, cap: f64, group: f64) -> Vec<Constraint> {
        let mut out = vec![Constraint::equal("sum", (0..n).map(|i| (i, 1.0)).collect(), 1.0)];
        for i in 0..n {
            out.push(Constraint::at_least(format!("low {i}"), vec![(i, 1.0)], 0.0));
            out.push(Constraint::at_most(format!("cap {i}"), vec![(i, 1.0)], cap));
        }
        out.push(Constraint::at_most("group", (0..n / 2).map(|i| (i, 1.0)).collect(), group));
        out
    }

    #[test]
    fn a_feasible_point_stays_and_a_clash_is_named() {
        let c = constraints(4, 0.5, 0.6);
        let x = [0.3, 0.3, 0.2, 0.2];
        let p = project(&x, &c).unwrap();
        assert!(p.weights.iter().zip(&x).all(|(a, b)| (a - b).abs() < 1e-12));
        let error = project(&x, &constraints(4, 0.2, 0.6)).unwrap_err();
        assert!(error.is(code::CFG_VALUE) && error.body().cause.as_deref().unwrap().contains("sum"), "{error:?}");
        let p = project(&[0.9, 0.0, 0.0, 0.0], &c).unwrap();
        assert!(p.active.iter().any(|a| a.name == "cap 0"), "{p:?}");
    }

    proptest! {
        #[test]
        fn feasible_idempotent_optimal_and_nothing_is_nearer(
            x0 in prop::collection::vec(-1.0f64..1.0, 6), cap in 0.25f64..0.6, group in 0.3f64..0.9, other in prop::collection::vec(0.0f64..1.0, 6),
        ) {
            let c = constraints(6, cap, group);
            let p = project(&x0, &c).unwrap();
            for k in &c {
                let slack = k.slack(&p.weights);
                prop_assert!(slack >= -1e-9 && (!k.equal || slack.abs() <= 1e-9), "{} {slack}", k.name);
            }
            let again = project(&p.weights, &c).unwrap();
            prop_assert!(again.weights.iter().zip(&p.weights).all(|(a, b)| (a - b).abs() < 1e-9));
            // KKT: x - x0 is the active normals under their multipliers, and those of inequalities push inwards.
            let mut residual: Vec<f64> = p.weights.iter().zip(&x0).map(|(x, o)| x - o).collect();
            for a in &p.active {
                let k = c.iter().find(|k| k.name == a.name).unwrap();
                prop_assert!(k.equal || a.multiplier >= -1e-9);
                prop_assert!(k.slack(&p.weights).abs() <= 1e-8);
                k.terms.iter().for_each(|(i, t)| residual[*i] -= a.multiplier * t);
            }
            prop_assert!(residual.iter().all(|r| r.abs() <= 1e-8), "{residual:?}");
            // Any other point, made feasible, is at least as far from where we began.
            let elsewhere = project(&other, &c).unwrap().weights;
            let far = |x: &[f64]| x.iter().zip(&x0).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
            prop_assert!(far(&elsewhere) >= far(&p.weights) - 1e-9);
        }
    }
}
