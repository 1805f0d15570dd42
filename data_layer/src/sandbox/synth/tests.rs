use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

fn planted() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| world("planted", 7).unwrap())
}

fn null() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| world("null", 7).unwrap())
}

/// Total log returns by symbol and day, from raw closes and the world's own actions.
fn returns(w: &World) -> BTreeMap<&str, BTreeMap<TradingDay, f64>> {
    let mut events: BTreeMap<(&str, TradingDay), (f64, f64)> = BTreeMap::new();
    for a in w.actions.iter().filter(|a| matches!(a.kind.as_str(), "split" | "dividend")) {
        let e = events.entry((&a.symbol, a.ex_date)).or_insert((1.0, 0.0));
        e.0 *= a.ratio.unwrap_or(1.0);
        e.1 += a.cash.unwrap_or(0.0);
    }
    let mut out = BTreeMap::new();
    for s in &w.series {
        let of: &mut BTreeMap<TradingDay, f64> = out.entry(s.symbol.as_str()).or_default();
        for i in 1..s.days.len() {
            let (ratio, cash) = events.get(&(s.symbol.as_str(), s.days[i])).copied().unwrap_or((1.0, 0.0));
            if s.days[i].0 - s.days[i - 1].0 < 12 {
                of.insert(s.days[i], ((s.close[i] * ratio + cash) / s.close[i - 1]).ln());
            }
        }
    }
    out
}

fn ranks(x: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|a, b| x[*a].total_cmp(&x[*b]));
    let mut out = vec![0.0; x.len()];
    order.iter().enumerate().for_each(|(rank, i)| out[*i] = rank as f64);
    out
}

fn correlation(x: &[f64], y: &[f64]) -> f64 {
    let (n, mx, my) = (x.len() as f64, x.iter().sum::<f64>() / x.len() as f64, y.iter().sum::<f64>() / y.len() as f64);
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (a, b) in x.iter().zip(y) {
        xy += (a - mx) * (b - my);
        xx += (a - mx).powi(2);
        yy += (b - my).powi(2);
    }
    if n < 3.0 { 0.0 } else { xy / (xx * yy).sqrt() }
}

/// Mean over dates of the rank correlation of the 20-session return at a close with the five sessions after the next one.
fn measured_ic(w: &World) -> f64 {
    let all = returns(w);
    let days: Vec<TradingDay> = sessions().unwrap();
    let window = |of: &BTreeMap<TradingDay, f64>, from: usize, to: usize| -> Option<f64> { days.get(from..to)?.iter().map(|d| of.get(d)).sum::<Option<f64>>() };
    let mut ics = Vec::new();
    for t in (30..days.len() - 7).step_by(5) {
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for of in all.values() {
            if let (Some(a), Some(b)) = (window(of, t - 19, t + 1), window(of, t + 2, t + 7)) {
                x.push(a);
                y.push(b);
            }
        }
        ics.push(correlation(&ranks(&x), &ranks(&y)));
    }
    ics.iter().sum::<f64>() / ics.len() as f64
}

#[test]
fn the_edge_is_there_in_planted_and_not_in_null() {
    let (with, without) = (measured_ic(planted()), measured_ic(null()));
    assert!((with - IC).abs() < 0.03, "planted: {with}");
    assert!(without.abs() < 0.02, "null: {without}");
    assert!(with - without > 0.05);
}

#[test]
fn a_seed_makes_one_market_and_another_seed_another() {
    let again = world("planted", 7).unwrap();
    assert_eq!(
        (again.series.clone(), again.actions.clone(), again.macros.clone()),
        (planted().series.clone(), planted().actions.clone(), planted().macros.clone())
    );
    assert_ne!(world("planted", 8).unwrap().series, again.series);
    assert_eq!((planted().dataset(), null().dataset()), ("planted@2:7".into(), "null@2:7".into()));
    assert_eq!((null().first.to_string(), null().last.to_string(), null().series.len()), ("2013-02-08".into(), "2018-02-07".into(), 100));
}

#[test]
fn it_holds_what_a_market_holds() {
    let w = planted();
    let kinds = |k: &str| w.actions.iter().filter(|a| a.kind == k).count();
    assert_eq!((kinds("split"), kinds("name_change"), kinds("worthless_removal"), kinds("cash_merger")), (7, 1, 2, 1));
    assert!(kinds("dividend") > 800);
    // A ticker change: the new ticker goes on at the old one's price; a reused ticker has two listings and a gap.
    let change = w.actions.iter().find(|a| a.kind == "name_change").unwrap();
    let (old, new) = (w.series(&change.symbol).unwrap(), w.series(change.new_symbol.as_ref().unwrap()).unwrap());
    assert!(old.last().unwrap() < new.first().unwrap() && (new.open[0] / old.close[old.close.len() - 1]).ln().abs() < 0.1);
    let mut by_symbol: BTreeMap<&str, usize> = BTreeMap::new();
    w.listings.iter().for_each(|l| *by_symbol.entry(&l.symbol).or_default() += 1);
    assert_eq!(by_symbol.values().filter(|n| **n == 2).count(), 1);
    let broke = w.actions.iter().find(|a| a.kind == "worthless_removal").unwrap();
    let gone = w.listings.iter().find(|l| l.symbol == broke.symbol && l.delisted.is_some()).unwrap().delisted.unwrap();
    let (last, before) = (w.series(&broke.symbol).unwrap().close_at(gone).unwrap(), w.series(&broke.symbol).unwrap().close_at(gone.plus_days(-1)).unwrap());
    assert!((last / before).ln() < -0.3 && broke.cash == Some(0.0), "{last} after {before}");
    for s in &w.series {
        for i in 0..s.days.len() {
            assert!(s.low[i] > 0.0 && s.low[i] <= s.open[i].min(s.close[i]) && s.high[i] >= s.open[i].max(s.close[i]), "{} {}", s.symbol, s.days[i]);
        }
    }
    assert!(w.macros.iter().any(|m| m.series == "VIXCLS" && m.value.unwrap() > 5.0) && w.macros.iter().filter(|m| m.series == "CPIAUCSL").count() > 100);
}

#[test]
fn lesson_044_no_return_of_the_world_is_a_split() {
    // One return is meant to be that large: a bankruptcy's last session.
    let large: Vec<String> =
        returns(planted()).into_iter().flat_map(|(symbol, of)| of.into_values().filter(|r| r.abs() >= 0.5).map(move |_| symbol.to_string())).collect();
    let broke: BTreeSet<&String> = planted().actions.iter().filter(|a| a.kind == "worthless_removal").map(|a| &a.symbol).collect();
    assert!(large.iter().all(|symbol| broke.contains(symbol)) && large.len() <= broke.len(), "{large:?}");
}
