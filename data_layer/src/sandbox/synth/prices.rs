//! Paths of a synthetic market: returns first, then the raw prices that a tape would show.

use super::super::world::Series;
use super::Draw;
use super::events::{End, Plan, action};
use crate::time::TradingDay;
use std::collections::BTreeMap;

/// The prices, and the market's own daily volatility by session.
pub struct Market {
    pub series: Vec<Series>,
    pub volatility: Vec<f64>,
}

/// What a company is like, for good.
struct Nature {
    beta: f64,
    /// Deviation of its own daily noise.
    sigma: f64,
    sector: usize,
    price: f64,
    dollars: f64,
}

impl Nature {
    /// Of a day's log return, when the market's deviation is `vol`.
    fn variance(&self, vol: f64) -> f64 {
        (self.beta * vol).powi(2) + SECTOR_SIGMA.powi(2) + self.sigma.powi(2)
    }
}

/// Where a company stands.
struct Path {
    /// Raw close of the last session.
    close: f64,
    /// Daily log returns so far, oldest first.
    returns: Vec<f64>,
}

const SECTORS: usize = 10;
const SECTOR_SIGMA: f64 = 0.004;
/// Expected simple return of every name on every day.
const DRIFT: f64 = 0.0003;
/// Log return of the last session of a company that goes bankrupt; its shares are worthless the day after.
const FILING: f64 = -0.45;
const LOOK_BACK: usize = 20;
/// The edge acts on what was known two closes ago: a signal at a close is traded at the next open and earns from there.
const LAG: usize = 2;

/// Draw every path. The actions of the plan get the cash that only prices tell.
pub fn market(names: &[&str], days: &[TradingDay], seed: u64, edge: f64, plan: &Plan) -> Market {
    let mut draw = Draw::new(seed, 2);
    let natures: Vec<Nature> = plan.lives.iter().enumerate().map(|(k, _)| nature(&mut draw, k)).collect();
    let mut paths: Vec<Option<Path>> = plan.lives.iter().map(|_| None).collect();
    let mut series: BTreeMap<&str, Series> = names.iter().map(|n| (*n, Series { symbol: n.to_string(), ..Series::default() })).collect();
    let (mut volatility, mut log_vol) = (Vec::with_capacity(days.len()), (0.0075f64).ln());
    for (t, day) in days.iter().enumerate() {
        log_vol += 0.03 * ((0.0075f64).ln() - log_vol) + 0.07 * draw.normal();
        let vol = log_vol.exp();
        volatility.push(vol);
        let market = vol * draw.normal();
        let sectors: Vec<f64> = (0..SECTORS).map(|_| SECTOR_SIGMA * draw.normal()).collect();
        let z = standing(&paths);
        for (k, life) in plan.lives.iter().enumerate() {
            // Drawn whether it trades or not, so that one name's fate moves no other name's numbers.
            let noise: [f64; 6] = std::array::from_fn(|_| draw.normal());
            if t < life.from || t >= life.to {
                continue;
            }
            let of = &natures[k];
            let (close, returns) = match paths[k].take() {
                Some(p) => (p.close, p.returns),
                None => begin(plan, k, of, &mut paths),
            };
            let mut r = of.beta * market + sectors[of.sector] + of.sigma * noise[0] + edge * of.sigma * z.get(&k).copied().unwrap_or(0.0);
            r += DRIFT - of.variance(vol) / 2.0 + fate(life.end, life.to - t);
            let (ratio, paid) = (plan.splits.get(&(k, t)).copied().unwrap_or(1.0), plan.yields.get(&(k, t)).map_or(0.0, |y| cents(y * close)));
            let bar = bar(close, r, ratio, paid, of, &noise);
            let mut returns = returns;
            returns.push(r);
            paths[k] = Some(Path { close: bar[3], returns });
            if let Some(s) = series.get_mut(life.symbol.as_str()).filter(|_| !plan.halts.contains(&(k, t))) {
                s.days.push(*day);
                for (column, value) in [&mut s.open, &mut s.high, &mut s.low, &mut s.close, &mut s.volume].into_iter().zip(bar) {
                    column.push(value);
                }
            }
        }
    }
    Market { series: series.into_values().collect(), volatility }
}

fn nature(draw: &mut Draw, k: usize) -> Nature {
    Nature {
        beta: draw.between(0.7, 1.3),
        sigma: draw.between(0.011, 0.021),
        sector: k % SECTORS,
        price: draw.between(25.0, 250.0),
        dollars: 10f64.powf(draw.between(7.3, 9.2)),
    }
}

/// The first close and history of a life: its own, or those of the company that it continues.
fn begin(plan: &Plan, k: usize, of: &Nature, paths: &mut [Option<Path>]) -> (f64, Vec<f64>) {
    let before = plan.heirs.iter().find(|(_, heir)| **heir == k).map(|(old, _)| *old);
    match before.and_then(|old| paths[old].take()) {
        Some(p) => (p.close, p.returns),
        None => (of.price, Vec::new()),
    }
}

/// What an end does to the returns: news that no earlier price holds.
fn fate(end: End, left: usize) -> f64 {
    match end {
        End::Bankrupt if left == 1 => FILING,
        End::Bought(premium) if left == 10 => (1.0 + premium).ln(),
        _ => 0.0,
    }
}

/// Places in the cross-section by the return over the look-back that ended [`LAG`] closes ago.
fn standing(paths: &[Option<Path>]) -> BTreeMap<usize, f64> {
    let past = |p: &Path| {
        let end = p.returns.len().checked_sub(LAG - 1)?;
        let start = end.checked_sub(LOOK_BACK)?;
        Some(p.returns[start..end].iter().sum::<f64>())
    };
    let known: Vec<(usize, f64)> = paths.iter().enumerate().filter_map(|(k, p)| Some((k, past(p.as_ref()?)?))).collect();
    if known.len() < 20 {
        return BTreeMap::new();
    }
    let n = known.len() as f64;
    let mean = known.iter().map(|(_, x)| x).sum::<f64>() / n;
    let deviation = (known.iter().map(|(_, x)| (x - mean).powi(2)).sum::<f64>() / n).sqrt().max(1e-12);
    known.into_iter().map(|(k, x)| (k, ((x - mean) / deviation).clamp(-3.0, 3.0))).collect()
}

/// Open, high, low, close and volume of a session as the tape shows them. Holding from close to close, with what is paid
/// and the new shares, earns exactly `exp(r)`.
fn bar(before: f64, r: f64, ratio: f64, paid: f64, of: &Nature, noise: &[f64; 6]) -> [f64; 5] {
    let raw = |log: f64| ((before * log.exp() - paid) / ratio).max(0.0002);
    let open = raw(0.35 * r + 0.2 * of.sigma * noise[1]);
    let close = raw(r);
    let high = open.max(close) * (0.4 * of.sigma * noise[2].abs()).exp();
    let low = open.min(close) * (-0.4 * of.sigma * noise[3].abs()).exp();
    let volume = (of.dollars / close * (0.3 * noise[4] + 6.0 * r.abs()).exp()).round().max(100.0);
    [round4(open), round4(high), round4(low), round4(close), volume]
}

fn round4(x: f64) -> f64 {
    (x * 1e4).round() / 1e4
}

fn cents(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}

/// The plan's cash events, once prices are known: dividends in cents a share, and what a merger pays.
pub fn cash_events(plan: &Plan, days: &[TradingDay], series: &[Series]) -> Vec<super::super::world::Action> {
    let of = |symbol: &str| series.iter().find(|s| s.symbol == symbol);
    let before = |symbol: &str, t: usize| Some(of(symbol)?).and_then(|s| s.close_at(*days.get(t.checked_sub(1)?)?));
    let mut out = Vec::new();
    for ((k, t), share) in &plan.yields {
        let symbol = &plan.lives[*k].symbol;
        let Some(cash) = before(symbol, *t).map(|close| cents(share * close)).filter(|c| *c > 0.0) else { continue };
        let pay = days.get(t + 15).or(days.last()).copied();
        out.push(super::super::world::Action {
            cash: Some(cash),
            pay_date: pay,
            record_date: days.get(t + 1).copied(),
            ..action(symbol, "dividend", days[*t], None)
        });
    }
    for life in plan.lives.iter().filter(|l| matches!(l.end, End::Bought(_))) {
        let (Some(cash), Some(gone)) = (before(&life.symbol, life.to), days.get(life.to)) else { continue };
        out.push(super::super::world::Action { cash: Some(cents(cash)), ..action(&life.symbol, "cash_merger", *gone, None) });
    }
    out
}
