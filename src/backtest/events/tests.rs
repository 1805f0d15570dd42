use super::order::{ALL, key};
use super::*;
use crate::execution::state::{Source, key_of};
use data_layer::time::UtcTime;
use proptest::prelude::*;

struct Market {
    open: Matrix,
    high: Matrix,
    low: Matrix,
    close: Matrix,
    volume: Matrix,
    days: Vec<TradingDay>,
}

/// One symbol; `bars` are open, high, low, close; three bars a session.
fn market(bars: &[[f64; 4]]) -> Market {
    let column = |k: usize| Matrix::from_vec(1, bars.len(), bars.iter().map(|b| b[k]).collect()).unwrap();
    Market {
        open: column(0),
        high: column(1),
        low: column(2),
        close: column(3),
        volume: Matrix::from_vec(1, bars.len(), vec![1_000.0; bars.len()]).unwrap(),
        days: (0..bars.len()).map(|i| TradingDay(17_500 + (i / 3) as i32)).collect(),
    }
}

impl Market {
    fn bars(&self) -> Bars<'_> {
        Bars { open: &self.open, high: &self.high, low: &self.low, close: &self.close, volume: Some(&self.volume), days: &self.days }
    }
}

fn free() -> Rules {
    Rules { capital_usd: 100_000.0, cost: CostModel::free(), pricing: Pricing::Open, max_volume_share: None }
}

/// Sends what it is told after given bars.
struct Script(Vec<(usize, Side, f64, Option<f64>, Tif)>);
impl super::Strategy for Script {
    fn on_bar(&mut self, desk: &mut Desk<'_>, symbol: usize, bar: usize) -> Result<()> {
        for (_, side, qty, limit, tif) in self.0.iter().filter(|s| s.0 == bar) {
            desk.submit(symbol, *side, *qty, *limit, *tif)?;
        }
        Ok(())
    }
}

fn played(bars: &[[f64; 4]], rules: &Rules, script: Vec<(usize, Side, f64, Option<f64>, Tif)>) -> Tape {
    run(&market(bars).bars(), rules, &mut Script(script)).unwrap()
}

const FLAT: [f64; 4] = [100.0, 101.0, 99.0, 100.0];

#[test]
fn lesson_053_an_order_meets_the_bar_after_the_one_that_made_it_and_every_step_is_on_record() {
    let tape = played(&[FLAT, [102.0, 103.0, 101.0, 103.0], FLAT], &free(), vec![(0, Side::Buy, 10.0, None, Tif::Day)]);
    assert_eq!(tape.fills, [Fill { order: 0, symbol: 0, bar: 1, side: Side::Buy, qty: 10.0, price: 102.0, cost: 0.0 }]);
    let states: Vec<Status> = tape.transitions.iter().map(|t| t.status).collect();
    assert_eq!(states, [Status::Intended, Status::Accepted, Status::Filled]);
    assert_eq!((tape.orders[0].filled_price, tape.orders[0].sent, tape.orders[0].updated), (102.0, 0, 1));
    assert_eq!((tape.equity_usd, tape.account.cash()), (100_000.0 - 20.0, 100_000.0 - 1_020.0));
}

#[test]
fn limits_fill_only_through_their_price_and_day_orders_end_with_their_session() {
    let touch = [100.0, 101.0, 98.0, 100.0];
    let limit = |price: f64, tif| vec![(0, Side::Buy, 10.0, Some(price), tif)];
    assert_eq!(played(&[FLAT, FLAT, FLAT, touch], &free(), limit(99.0, Tif::Day)).fills, [], "a touch is not a fill, and the day order has ended");
    let kept = played(&[FLAT, FLAT, FLAT, touch], &free(), limit(99.0, Tif::Gtc));
    assert_eq!((kept.fills[0].bar, kept.fills[0].price), (3, 99.0));
    let better = played(&[FLAT, [97.0, 99.0, 96.0, 98.0]], &free(), limit(99.0, Tif::Day));
    assert_eq!(better.fills[0].price, 97.0, "an open beyond the limit is better than the limit");
    let expired = played(&[FLAT; 4], &free(), limit(99.0, Tif::Day));
    assert_eq!(expired.orders[0].status, Status::Expired);
    let late = played(&[FLAT, FLAT, FLAT, touch], &free(), vec![(2, Side::Buy, 1.0, Some(99.0), Tif::Day)]);
    assert_eq!(late.fills.len(), 1, "sent after the last bar of a session, it lives in the next");
}

#[test]
fn a_share_of_the_volume_fills_in_parts_a_book_costs_and_what_cannot_be_sent_is_refused() {
    let rules = Rules { max_volume_share: Some(0.1), cost: CostModel::flat(20.0), ..free() };
    let tape = played(&[FLAT; 4], &rules, vec![(0, Side::Buy, 250.0, None, Tif::Gtc)]);
    assert_eq!(tape.fills.iter().map(|f| f.qty).collect::<Vec<_>>(), [100.0, 100.0, 50.0]);
    assert_eq!((tape.orders[0].status, tape.orders[0].filled_qty), (Status::Filled, 250.0));
    assert!((tape.fills.iter().map(|f| f.cost).sum::<f64>() - 25.0).abs() < 1e-9, "ten basis points a side of 25,000");
    let ioc = played(&[FLAT; 3], &rules, vec![(0, Side::Buy, 250.0, None, Tif::Ioc)]);
    assert_eq!((ioc.orders[0].status, ioc.orders[0].filled_qty), (Status::Canceled, 100.0));
    let book = played(&[FLAT; 2], &Rules { pricing: Pricing::Book(Profile::UsEquity), ..free() }, vec![(0, Side::Buy, 10.0, None, Tif::Day)]);
    assert!((book.fills[0].price - 100.008).abs() < 1e-9, "half of the spread: {}", book.fills[0].price);
    let m = market(&[FLAT; 2]);
    for bad in [(0, Side::Buy, 0.0, None, Tif::Day), (0, Side::Buy, 1.0, Some(f64::NAN), Tif::Day), (0, Side::Buy, 1.0, None, Tif::Opg)] {
        assert!(run(&m.bars(), &free(), &mut Script(vec![bad])).unwrap_err().is(code::ORD_REFUSED));
    }
    assert!(run(&m.bars(), &Rules { max_volume_share: Some(0.0), ..free() }, &mut Script(vec![])).unwrap_err().is(code::CFG_VALUE));
}

/// Sends and takes back at random.
struct Dice(u64);
impl super::Strategy for Dice {
    fn on_bar(&mut self, desk: &mut Desk<'_>, symbol: usize, _bar: usize) -> Result<()> {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let n = self.0 >> 33;
        let side = if n.is_multiple_of(2) { Side::Buy } else { Side::Sell };
        let limit = (n.is_multiple_of(3)).then_some(99.0 + (n % 5) as f64);
        desk.submit(symbol, side, 1.0 + (n % 200) as f64, limit, [Tif::Day, Tif::Gtc, Tif::Ioc][(n % 7 % 3) as usize])?;
        if n.is_multiple_of(4)
            && let Some(first) = desk.open_orders(symbol).first().copied()
        {
            assert!(desk.cancel(first) && !desk.cancel(first));
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn lesson_103_a_report_wins_here_exactly_when_it_wins_in_the_journal(a in 0usize..7, b in 0usize..7, at in 0usize..4, bt in 0usize..4, fa in 0u8..3, fb in 0u8..3) {
        let ours = |s: usize, t: usize, f: u8| key(ALL[s], Tif::Day, t, f64::from(f));
        let journal = |s: usize, t: usize, f: u8| {
            let source = if ALL[s] <= Status::Intended { Source::Manual } else { Source::Reconcile };
            key_of(ALL[s].name(), Tif::Day, Some(UtcTime::from_micros(t as i64)), f64::from(f), source).unwrap()
        };
        let (x, y) = (journal(a, at, fa), journal(b, bt, fb));
        // Where class, stamp, rank, shares and source are equal the journal goes by the name; no such pair arises in a simulation.
        if (x.class, x.stamp, x.rank, x.filled_nano, x.source) != (y.class, y.stamp, y.rank, y.filled_nano, y.source) {
            prop_assert_eq!(ours(a, at, fa) > ours(b, bt, fb), x > y, "{:?} {:?}", ALL[a], ALL[b]);
        }
    }

    #[test]
    fn fills_orders_positions_and_money_agree_and_a_second_run_is_the_same(seed: u64, n in 2usize..40) {
        let bars: Vec<[f64; 4]> = (0..n).map(|i| { let o = 100.0 + ((seed >> (i % 60)) % 7) as f64 - 3.0; [o, o + 2.0, o - 2.0, o + 1.0] }).collect();
        let rules = Rules { max_volume_share: Some(0.05), cost: CostModel::flat(12.0), ..free() };
        let m = market(&bars);
        let tape = run(&m.bars(), &rules, &mut Dice(seed)).unwrap();
        for o in &tape.orders {
            let own: f64 = tape.fills.iter().filter(|f| f.order == o.id).map(|f| f.qty).sum();
            prop_assert!((own - o.filled_qty).abs() < 1e-9 && o.filled_qty <= o.qty);
            prop_assert_eq!(o.status == Status::Filled, o.filled_qty == o.qty);
            prop_assert!(tape.fills.iter().all(|f| f.order != o.id || f.bar > o.sent));
        }
        let held: f64 = tape.fills.iter().map(|f| f.side.sign() * f.qty).sum();
        prop_assert!((tape.account.qty(&0) - held).abs() < 1e-9);
        prop_assert!((tape.account.equity() - tape.account.explained_equity()).abs() < 1e-6);
        let again = run(&m.bars(), &rules, &mut Dice(seed)).unwrap();
        prop_assert_eq!((again.orders, again.fills, again.transitions), (tape.orders, tape.fills, tape.transitions));
    }
}

/// Looks at everything that it is shown, and buys once.
struct Looks(Vec<usize>);
impl super::Strategy for Looks {
    fn on_bar(&mut self, desk: &mut Desk<'_>, symbol: usize, bar: usize) -> Result<()> {
        let past = desk.past(symbol);
        self.0.extend([past.open.len(), past.high.len(), past.low.len(), past.close.len()]);
        if bar == 0 {
            desk.submit(symbol, Side::Buy, 250.0, None, Tif::Gtc)?;
        }
        Ok(())
    }
}

#[test]
fn a_strategy_sees_no_bar_to_come_and_a_bar_without_a_volume_fills_nothing() {
    let mut m = market(&[FLAT; 4]);
    m.volume = Matrix::from_vec(1, 4, vec![1_000.0, f64::NAN, 1_000.0, f64::NAN]).unwrap();
    let mut looks = Looks(Vec::new());
    let tape = run(&m.bars(), &Rules { max_volume_share: Some(0.1), ..free() }, &mut looks).unwrap();
    assert_eq!(looks.0, (1..=4).flat_map(|n| [n; 4]).collect::<Vec<_>>());
    assert_eq!(tape.fills.iter().map(|f| (f.bar, f.qty)).collect::<Vec<_>>(), [(2, 100.0)]);
}
