//! The price panel of a sandbox world, without a drive: what collecting and curating that world would give, in memory.
//!
//! Prices are adjusted by the curator's own steps and laid out by the loader of snapshots, so that splits, dividends and
//! ends of listings mean the same here and there.

use crate::pipelines::panel::{self, Bar, Span};
use crate::types::Panel;
use data_layer::calendar::Calendar;
use data_layer::curate;
use data_layer::error::Result;
use data_layer::qc::Action;
use data_layer::sandbox::world::{Series, World};
use data_layer::time::{DateRange, TradingDay};
use std::collections::BTreeMap;

/// Calendar days between the end of a listing and the event that says what its shares were worth.
const NEAR_DAYS: i32 = 10;

/// Every name of `world` over all its sessions.
pub fn of_world(world: &World) -> Result<Panel> {
    let days = Calendar::xnys().sessions(DateRange::new(world.first, world.last.plus_days(1))?).to_vec();
    let bars = world.series.iter().map(|s| (s.symbol.clone(), adjusted(s, world))).collect();
    let mut listings: BTreeMap<String, Vec<Span>> = BTreeMap::new();
    for l in &world.listings {
        let to = l.delisted.map(|last| last.plus_days(1));
        let span = Span { from: l.ipo, to, value: to.and_then(|to| terminal(world, &l.symbol, to)) };
        listings.entry(l.symbol.clone()).or_default().push(span);
    }
    listings.values_mut().for_each(|spans| spans.sort_by_key(|s| (s.from, s.to)));
    panel::assemble(days, bars, &listings)
}

/// What a share was worth after `to`, as the world's own events tell.
fn terminal(world: &World, symbol: &str, to: TradingDay) -> Option<f64> {
    let near = world.actions.iter().filter(|a| a.symbol == symbol && (a.ex_date.0 - to.0).abs() <= NEAR_DAYS);
    near.filter(|a| matches!(a.kind.as_str(), "worthless_removal" | "cash_merger")).find_map(|a| a.cash)
}

/// A ticker's bars, restated for every later split and dividend.
fn adjusted(s: &Series, world: &World) -> Vec<Bar> {
    let actions: Vec<Action> = world.actions.iter().filter(|a| a.symbol == s.symbol).filter_map(effect).collect();
    let close = |i: usize| Some(s.close[i]).filter(|c| c.is_finite());
    let factors = curate::factors(&s.days, &curate::steps(&s.days, close, &actions).0);
    let bar = |(i, (price, split)): (usize, (f64, f64))| Bar {
        day: s.days[i],
        values: [s.open[i] * price, s.high[i] * price, s.low[i] * price, s.close[i] * price, f64::NAN, s.volume[i] * split, s.close[i], s.volume[i]],
    };
    factors.into_iter().enumerate().map(bar).collect()
}

fn effect(a: &data_layer::sandbox::world::Action) -> Option<Action> {
    match a.kind.as_str() {
        "split" => a.ratio.map(|factor| Action::split(a.ex_date, factor)),
        "dividend" => a.cash.map(|cash| Action::dividend(a.ex_date, cash)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::{self, BacktestResult};
    use crate::execution::account::{Account, Event};
    use crate::execution::cost::CostModel;
    use crate::models::baseline::Momentum;
    use crate::portfolio::{Limits, RuleConfig};
    use crate::types::{Matrix, Side};
    use data_layer::error::code;
    use data_layer::sandbox::synth;
    use std::sync::OnceLock;

    fn world() -> &'static (World, Panel) {
        static WORLD: OnceLock<(World, Panel)> = OnceLock::new();
        WORLD.get_or_init(|| {
            let world = synth::world("planted", 7).unwrap();
            let panel = of_world(&world).unwrap();
            (world, panel)
        })
    }

    /// Scores that mean nothing, different on every day.
    fn noise(panel: &Panel, seed: usize) -> Matrix {
        let mut out = Matrix::missing(panel.n_symbols(), panel.n_days());
        for s in 0..panel.n_symbols() {
            for t in 0..panel.n_days() {
                out.set(s, t, ((s * 7_919 + t * 104_729 + seed * 15_485_863) % 1_009) as f64);
            }
        }
        out
    }

    /// The change of equity is what prices earned plus income less costs; long-only books never owe more than they hold.
    fn checked(panel: &Panel, r: &BacktestResult, long_only: bool) {
        let pnl: f64 = r.trades.iter().map(|t| t.pnl).sum();
        let end = *r.equity.last().unwrap();
        assert!((pnl - (end - r.capital)).abs() < 1e-6 * r.capital, "{pnl} against {}", end - r.capital);
        assert!(r.equity.iter().all(|e| *e > 0.0));
        if long_only {
            assert!(r.net.iter().all(|x| *x > -0.5), "no session takes half of an unlevered book");
        }
        for t in r.trades.iter().filter(|t| t.closed.is_none()) {
            assert!(panel.delisted[t.symbol].is_none_or(|d| d.last >= *r.days.last().unwrap()), "{} is held after its end", panel.symbols[t.symbol]);
        }
    }

    #[test]
    fn lesson_048_no_book_survives_on_a_ticker_whose_company_is_gone() {
        let (_, panel) = world();
        let reused: Vec<&String> = panel.symbols.iter().filter(|s| s.contains('@')).collect();
        assert_eq!(reused.len(), 1, "one ticker of the world is used twice: {reused:?}");
        let n = panel.n_days();
        // The rule of the built-in configuration, three names a side, and a broad long-only one, over all the events.
        let narrow = RuleConfig { fractional: true, ..RuleConfig::default() };
        let broad = RuleConfig { fractional: true, ..RuleConfig::long_only(40) };
        for seed in 0..6 {
            checked(panel, &backtest::run(panel, &noise(panel, seed), &broad, &CostModel::default(), 0..n).unwrap(), true);
            match backtest::run(panel, &noise(panel, seed), &narrow, &CostModel::default(), 0..n) {
                Ok(r) => checked(panel, &r, false),
                Err(e) => assert!(e.is(code::ML_UNDEFINED) && e.body().found.as_deref().unwrap_or_default().contains("largest loss"), "{e}"),
            }
        }
        let momentum = Momentum::default().scores(panel);
        checked(panel, &backtest::run(panel, &momentum, &RuleConfig::long_only(20), &CostModel::default(), 260..n).unwrap(), true);
    }

    #[test]
    fn lesson_048_a_short_in_a_company_that_dies_earns_its_fall_and_owes_nothing_to_the_next_one() {
        let (_, panel) = world();
        let old = panel.symbols.iter().position(|s| s.contains('@')).unwrap();
        let ticker = panel.symbols[old].split('@').next().unwrap();
        let next = panel.symbol_index(ticker).unwrap();
        let last = panel.day_index(panel.delisted[old].unwrap().last).unwrap();
        let mut scores = noise(panel, 1);
        (0..panel.n_days()).for_each(|t| scores.set(old, t, -1.0));
        let rule = RuleConfig { fractional: true, ..RuleConfig::default() };
        let r = backtest::run(panel, &scores, &rule, &CostModel::default(), last - 20..panel.n_days()).unwrap();
        checked(panel, &r, false);
        let short = r.trades.iter().find(|t| t.symbol == old && t.closed > Some(panel.days[last])).unwrap();
        assert!(!short.long && short.pnl > 0.0 && short.closed == Some(panel.days[last + 1]), "{short:?}");
        assert!(r.trades.iter().filter(|t| t.symbol == next).all(|t| t.opened > panel.days[last + 1]));
    }

    #[test]
    fn lesson_048_every_position_at_the_end_of_a_listing_gets_its_terminal_value() {
        let (_, panel) = world();
        let mut seen = 0;
        for s in (0..panel.n_symbols()).filter(|s| panel.delisted[*s].is_some_and(|d| d.value.is_some())) {
            let end = panel.delisted[s].unwrap();
            let last = panel.day_index(end.last).unwrap();
            let mut scores = Matrix::missing(panel.n_symbols(), panel.n_days());
            (0..panel.n_days()).for_each(|t| scores.set(s, t, 1.0));
            let half = Limits { max_weight_per_name: 0.5, max_long: 0.5, ..Limits::default() };
            let rule = RuleConfig { rebalance_sessions: 1_000, fractional: true, capital_usd: 1_000.0, limits: Some(half), ..RuleConfig::long_only(1) };
            let r = backtest::run(panel, &scores, &rule, &CostModel::free(), last - 10..last + 5).unwrap();
            let shares = 500.0 / panel.close.at(s, last - 10);
            let want = 1_000.0 + shares * (end.value.unwrap() - panel.open.at(s, last - 9));
            assert!((r.equity.last().unwrap() - want).abs() < 1e-6, "{}: {} is not {want}", panel.symbols[s], r.equity.last().unwrap());
            seen += 1;
        }
        assert_eq!(seen, 3, "two bankruptcies and a merger");
    }

    #[test]
    fn lesson_044_a_split_never_changes_equity_and_raw_prices_with_events_earn_what_adjusted_ones_do() {
        let (world, panel) = world();
        let mut splits = 0;
        for split in world.actions.iter().filter(|a| a.kind == "split") {
            let (series, s) = (world.series(&split.symbol).unwrap(), panel.symbol_index(&split.symbol).unwrap());
            let ex = series.on(split.ex_date).unwrap();
            let symbol = || split.symbol.clone();
            let mut account: Account<String> = Account::opened(series.days[ex - 30], 1e6).unwrap();
            let bought = Event::Fill { symbol: symbol(), side: Side::Buy, qty: 1_000.0, price: series.close[ex - 30], fee: 0.0 };
            account.apply(series.days[ex - 30], bought).unwrap();
            for i in ex - 29..ex + 30 {
                let (day, before) = (series.days[i], account.equity());
                let held = account.qty(&split.symbol) * series.close[i - 1];
                let mut paid = 0.0;
                for e in world.actions.iter().filter(|e| e.symbol == split.symbol && e.ex_date == day) {
                    match (e.ratio, e.cash) {
                        (Some(ratio), _) => {
                            account.apply(day, Event::Split { symbol: symbol(), ratio }).unwrap();
                            assert!((account.equity() - before).abs() < 1e-6, "{} on {day}", split.symbol);
                            splits += 1;
                        }
                        (None, Some(per_share)) => {
                            account.apply(day, Event::Dividend { symbol: symbol(), per_share }).unwrap();
                            paid = per_share / series.close[i - 1];
                        }
                        _ => {}
                    }
                }
                account.mark(day, &split.symbol, series.close[i]).unwrap();
                let at = |day: TradingDay| panel.close.at(s, panel.day_index(day).unwrap());
                let (earned, adjusted) = ((account.equity() - before) / held, at(day) / at(series.days[i - 1]) - 1.0);
                // An adjusted series buys more of the share with the dividend: a difference of second order.
                assert!((earned - adjusted).abs() < 1e-9 + 0.1 * paid, "{} on {day}: {earned} against {adjusted}", split.symbol);
            }
            assert!((account.equity() - account.explained_equity()).abs() < 1e-6);
        }
        assert_eq!(splits, 7);
    }
}
