//! What happens to names in a synthetic market: who is listed when, splits, dividends, halts, the end of some.

use super::super::world::{Action, Listing};
use super::Draw;
use crate::time::TradingDay;
use std::collections::{BTreeMap, BTreeSet};

/// One listing of a ticker as positions in the list of sessions: `[from, to)`.
#[derive(Clone, Debug)]
pub struct Life {
    pub symbol: String,
    pub from: usize,
    pub to: usize,
    pub end: End,
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    Open,
    /// The company goes on under another ticker, whose life begins the next session at the same price.
    Renamed,
    Bankrupt,
    /// Bought for cash, at this premium over the last close but one.
    Bought(f64),
}

/// Everything that is decided before a price is drawn.
pub struct Plan {
    /// In the order in which prices are drawn.
    pub lives: Vec<Life>,
    pub listings: Vec<Listing>,
    pub actions: Vec<Action>,
    /// Life and session: new shares over old.
    pub splits: BTreeMap<(usize, usize), f64>,
    /// Life and session: share of the price that is paid out.
    pub yields: BTreeMap<(usize, usize), f64>,
    pub halts: BTreeSet<(usize, usize)>,
    /// Position of a renamed life: that of the one that goes on.
    pub heirs: BTreeMap<usize, usize>,
}

/// Decide everything. Dividends and mergers get their cash once the prices are known ([`super::prices`]).
pub fn plan(names: &[&str], days: &[TradingDay], seed: u64) -> Plan {
    let mut draw = Draw::new(seed, 1);
    let n = days.len();
    let mut order: Vec<usize> = (0..names.len()).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, draw.index(0, i + 1));
    }
    // Events stay clear of the first months and of the last quarter, which practice trading uses.
    let mut when = |from: f64, to: f64| draw.index((n as f64 * from) as usize, (n as f64 * to) as usize);
    let (change, broke, broke_again, bought) = (when(0.35, 0.55), when(0.3, 0.5), when(0.6, 0.85), when(0.4, 0.8));
    let reused = broke + when(0.1, 0.2);
    let split_days: Vec<usize> = (0..7).map(|_| when(0.1, 0.9)).collect();
    let halt_days: Vec<usize> = (0..3).map(|_| when(0.2, 0.9)).collect();
    let name = |k: usize| order.get(k).and_then(|i| names.get(*i)).map_or(String::new(), ToString::to_string);
    let life = |k: usize, from: usize, to: usize, end: End| Life { symbol: name(k), from, to, end };
    let mut lives = vec![
        life(0, 0, change, End::Renamed),
        life(1, change, n, End::Open),
        life(2, 0, broke, End::Bankrupt),
        life(2, reused, n, End::Open),
        life(3, 0, broke_again, End::Bankrupt),
        life(4, 0, bought, End::Bought(0.25)),
        // Two that are floated on the way.
        life(5, n / 4, n, End::Open),
        life(6, n / 3, n, End::Open),
    ];
    lives.extend((7..names.len()).map(|k| life(k, 0, n, End::Open)));
    let mut out = Plan {
        listings: lives.iter().map(|l| listing(l, days)).collect(),
        actions: Vec::new(),
        splits: BTreeMap::new(),
        yields: BTreeMap::new(),
        halts: halt_days.iter().enumerate().map(|(k, day)| (20 + k, *day)).collect(),
        heirs: BTreeMap::from([(0, 1)]),
        lives,
    };
    for (k, (day, ratio)) in split_days.iter().zip([4.0, 2.0, 7.0, 10.0, 3.0, 2.0, 0.1]).enumerate() {
        out.splits.insert((8 + k, *day), ratio);
        out.actions.push(action(&out.lives[8 + k].symbol, "split", days[*day], Some(ratio)));
    }
    for (k, life) in out.lives.iter().enumerate().filter(|(k, _)| k % 5 < 3) {
        let (offset, share) = (draw.index(0, 63), draw.between(0.002, 0.008));
        let paid = (life.from + 21 + offset..life.to.saturating_sub(5))
            .step_by(63)
            .filter(|day| !out.splits.contains_key(&(k, *day)) && !out.halts.contains(&(k, *day)));
        out.yields.extend(paid.map(|day| ((k, day), share)));
    }
    out.actions.push(Action { new_symbol: Some(out.lives[1].symbol.clone()), ..action(&out.lives[0].symbol, "name_change", days[change], None) });
    for k in [2, 4] {
        let gone = days[out.lives[k].to];
        out.actions.push(Action { cash: Some(0.0), ..action(&out.lives[k].symbol, "worthless_removal", gone, None) });
    }
    out
}

/// An event that takes effect on one day.
pub fn action(symbol: &str, kind: &str, day: TradingDay, ratio: Option<f64>) -> Action {
    Action {
        symbol: symbol.into(),
        kind: kind.into(),
        ex_date: day,
        record_date: None,
        pay_date: None,
        ratio,
        cash: None,
        new_symbol: None,
        telling: super::super::world::Telling::default(),
    }
}

fn listing(life: &Life, days: &[TradingDay]) -> Listing {
    let ended = life.to < days.len();
    Listing {
        symbol: life.symbol.clone(),
        name: format!("{} (synthetic)", life.symbol),
        exchange: "NYSE".into(),
        asset_type: "Stock".into(),
        ipo: days.get(life.from).copied(),
        delisted: life.to.checked_sub(1).filter(|_| ended).and_then(|i| days.get(i).copied()),
    }
}
