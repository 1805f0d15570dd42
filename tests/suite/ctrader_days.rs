//! Paper days at a broker that never refuses an order that it has seen before: a third of the answers is lost, the connection breaks, and
//! the desk is killed at random points. No order is sent twice, and every execution is in the journal once.
//!
//! The broker is the sandbox's cTrader server over TLS on loopback. What never arrived is never sent again under its own id, so a day may
//! end short of its targets; the days after it go on from what is really held.

use crate::plans::plan_of;
use data_layer::calendar::Calendar;
use data_layer::control::{Db, Which};
use data_layer::error::{Result, code};
use data_layer::host::{FakeHost, Host};
use data_layer::root::{DataRoot, FsFacts, SENTINEL};
use data_layer::sandbox::world::World;
use data_layer::sandbox::{self, Sandbox, SandboxConfig, client, load};
use data_layer::time::UtcTime;
use engine::execution::broker::ctrader::CTraderBroker;
use engine::execution::gates::Mode;
use engine::execution::positions;
use engine::execution::risk::Limits;
use engine::execution::switches::{self, Switch};
use engine::pipelines::paper_day::{PaperConfig, PaperDay, PlanInput, confirmation_token, default_sizer};
use std::collections::{BTreeMap, BTreeSet};

const ACCOUNT: &str = "SIM9000001";
const HOSTILE: &str = "
version: 1
seed: 11
faults:
  - {vendor: ctrader, path: /ProtoOANewOrderReq, p: 0.3, do: lost_ack}
  - {vendor: ctrader, path: /ProtoOANewOrderReq, p: 0.143, do: error_after}
  - {vendor: ctrader, path: /ProtoOANewOrderReq, p: 0.167, do: error_before}
  - {vendor: ctrader, path: /ProtoOANewOrderReq, p: 0.1, do: status, status: 429, retry_after: 3}
  - {vendor: ctrader, path: /ProtoOANewOrderReq, p: 0.05, do: truncate}
  - {vendor: ctrader, method: GET, p: 0.01, do: reset}
  - {vendor: ctrader, method: GET, p: 0.01, do: status, status: 429, retry_after: 1}
  - {do: late_fill, p: 0.15, seconds: 5400}
  - {do: partial_fill, p: 0.1, seconds: 7200}
";

struct Street {
    dir: tempfile::TempDir,
    server: Host,
    sandbox: Sandbox,
    world: World,
    clock: UtcTime,
    dice: u64,
    kills: usize,
}

impl Street {
    fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Host::fake(FakeHost::default());
        let now = UtcTime::parse("2013-06-03T20:30:00Z").unwrap();
        let config = SandboxConfig { now: Some(now), ..SandboxConfig::replay(dir.path().join("street")) };
        let sandbox = server.block_on(sandbox::start(&server, config)).unwrap().unwrap();
        Self { dir, server, sandbox, world: load::embedded().unwrap(), clock: now, dice: 5, kills: 0 }
    }

    /// SplitMix64: the test's own dice.
    fn below(&mut self, n: u64) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn faults(&self, plan: &str) {
        self.server.block_on(client::set_faults(&self.server, &self.sandbox.base(), plan)).unwrap().unwrap();
    }

    fn advance(&mut self, word: &str) {
        self.server.block_on(client::advance_by(&self.server, &self.sandbox.base(), word)).unwrap().unwrap();
        self.clock = self.clock.max(self.sandbox.now());
    }

    /// A fresh process on the drive, which may be about to die.
    fn process<T>(&mut self, crash_at: Option<(String, u64)>, work: &mut dyn FnMut(&PaperDay<'_>) -> Result<T>) -> Result<T> {
        self.clock = self.clock.plus_seconds(1);
        let host = Host::fake(FakeHost { env: self.sandbox.env.clone(), now: self.clock, crash_at, ..FakeHost::default() });
        let drive = self.dir.path().join("drive");
        std::fs::create_dir_all(&drive).unwrap();
        let root =
            if drive.join(SENTINEL).exists() { DataRoot::open(&host, &drive)? } else { DataRoot::create(&host, &drive, "replay@1", FsFacts::default(), None)? };
        let db = Db::open(&root, Which::Journal)?;
        let broker = CTraderBroker::new(&root, None)?;
        let limits = Limits { symbol_shares: 5_000.0, ..Limits::default() };
        let config =
            PaperConfig { strategy: "s".into(), mode: Mode::Paper, limits, operator: "drill".into(), run_id: None, splits: Vec::new(), renames: Vec::new() };
        let out = PaperDay::new(&db, &broker, config, &default_sizer).and_then(|day| operator_looks(&day).and_then(|()| work(&day)));
        self.clock = self.clock.max(host.now());
        out
    }

    /// Kill at random, and try again what the network spoiled, until it has worked once.
    fn until<T>(&mut self, kill: bool, mut work: impl FnMut(&PaperDay<'_>) -> Result<T>) -> T {
        for _ in 0..60 {
            let crash = (kill && self.below(3) > 0).then(|| (String::new(), 1 + self.below(40)));
            match self.process(crash, &mut work) {
                Ok(value) => return value,
                Err(e) if e.is(code::BUG_CRASH_POINT) => self.kills += 1,
                Err(e) => assert!([code::NET_UNREACHABLE, code::NET_MALFORMED, code::NET_RATE_LIMITED].iter().any(|c| e.is(*c)), "{e}: {:?}", e.body()),
            }
        }
        panic!("the day does not end after {} kills", self.kills)
    }

    fn input(&self, targets: &BTreeMap<String, f64>) -> PlanInput {
        let now = self.sandbox.now();
        plan_of(&self.world, now, Calendar::xnys().last_closed(now).unwrap(), targets)
    }

    /// Settle what was, plan, confirm, send.
    fn evening(&mut self, kill: bool, targets: &BTreeMap<String, f64>, before: Option<&str>) -> String {
        let input = self.input(targets);
        self.until(kill, |day| {
            let account = day.account_check()?;
            before.map_or_else(|| day.reconcile(&account.account).map(drop), |key| day.settle(key).map(drop))?;
            let set = day.plan(&account, &input)?;
            day.consent(&set.run_key, &confirmation_token(ACCOUNT, set.trading_day))?;
            day.submit_all(&set.run_key)?;
            Ok(set.run_key)
        })
    }

    /// One day: plan and send in the evening, look during the session, settle after it. Returns whether the book is at its targets.
    fn day(&mut self, kill: bool, targets: &BTreeMap<String, f64>, before: &mut Option<String>) -> bool {
        let key = self.evening(kill, targets, before.as_deref());
        self.advance("next_open");
        self.advance("PT40M");
        self.until(kill, |day| day.submit_all(&key).map(drop));
        self.advance("next_close");
        // What never arrived is closed after five minutes and two clean reconciles.
        for _ in 0..3 {
            self.advance("PT10M");
            self.until(kill, |day| day.settle(&key).map(drop));
        }
        let there = self.until(false, |day| {
            let set = day.log().set(&key)?.unwrap();
            let shares = |(s, w): (&String, &f64)| (s.clone(), (w * set.equity / set.pins.prices[s].price).trunc());
            let wanted: BTreeMap<String, f64> = set.pins.targets.iter().map(shares).filter(|(_, q)| *q != 0.0).collect();
            Ok(at_broker(day)? == wanted)
        });
        *before = Some(key);
        there
    }
}

/// The breaker trips when the broker answers nothing three times; the operator looks, and resets it by the typed words.
fn operator_looks(day: &PaperDay<'_>) -> Result<()> {
    let state = switches::read(day.db, Switch::Breaker, ACCOUNT);
    if state.stopped && ["BROKER_ERRORS", "RECONCILE_FAILED"].iter().any(|r| state.reason.starts_with(r)) {
        let token = switches::reset_token(day.db, Switch::Breaker, ACCOUNT);
        switches::reset(day.db, Switch::Breaker, ACCOUNT, &token, "drill", "the broker answers again", day.host.now())?;
    }
    Ok(())
}

fn at_broker(day: &PaperDay<'_>) -> Result<BTreeMap<String, f64>> {
    Ok(day.broker.positions()?.into_iter().map(|p| (p.symbol, p.qty)).collect())
}

#[test]
fn lesson_102_paper_days_at_a_broker_that_refuses_no_order_twice_send_none_twice() {
    let mut street = Street::open();
    street.faults(HOSTILE);
    let (mut targets, mut before, mut at_target) = (BTreeMap::new(), None, 0);
    for _ in 0..8 {
        for _ in 0..2 {
            let n = street.below(street.world.series.len() as u64) as usize;
            let weight = if street.below(4) == 0 { -0.02 } else { 0.02 + 0.01 * street.below(4) as f64 };
            targets.insert(street.world.series[n].symbol.clone(), weight);
        }
        while targets.len() > 6 {
            targets.pop_first();
        }
        at_target += usize::from(street.day(true, &targets, &mut before));
    }
    street.faults("version: 1\nfaults: []");
    let last: Vec<bool> = (0..3).map(|_| street.day(false, &targets, &mut before)).collect();
    let (orders, sent) = street.until(false, |day| {
        let orders = day.broker.orders_since(UtcTime::from_micros(0))?;
        let mut ids = BTreeSet::new();
        for o in &orders {
            let row = day.log().order(&o.client_order_id)?.unwrap_or_else(|| panic!("the journal does not know {o:?}"));
            assert!(o.matches(&row.intent) && o.filled_qty == row.filled_qty, "{o:?} is not {row:?}");
            assert!(ids.insert(o.client_order_id.clone()), "sent twice: {o:?}");
        }
        let real: BTreeMap<String, f64> = day.log().fills(ACCOUNT)?.into_iter().filter(|f| f.kind == "fill").map(|f| (f.fill_id, f.qty)).collect();
        let theirs: BTreeMap<String, f64> = day.broker.fills_since(None)?.into_iter().map(|f| (f.id, f.qty)).collect();
        assert_eq!(real, theirs, "an execution is missing, or nobody's");
        assert_eq!(positions::ledger(&day.log(), ACCOUNT)?.per_symbol(), at_broker(day)?);
        Ok((orders.len(), theirs.len()))
    });
    println!("{} kills, {orders} orders, {sent} executions, {at_target} of 8 hostile days at their targets, then {last:?}", street.kills);
    assert!(street.kills > 8 && orders > 10 && sent > 10, "{} kills, {orders} orders, {sent} executions", street.kills);
    assert!(last.last() == Some(&true), "the final book is not at its targets: {last:?}");
}

#[test]
fn what_one_opening_left_of_an_order_is_not_filled_by_the_next() {
    let mut street = Street::open();
    street.faults("version: 1\nfaults:\n  - {do: partial_fill}\n");
    let targets: BTreeMap<String, f64> = street.world.series.iter().take(2).map(|s| (s.symbol.clone(), 0.05)).collect();
    street.day(false, &targets, &mut None);
    let half = street.until(false, at_broker);
    assert_eq!(half.len(), 2, "half of each order was filled");
    assert!(street.until(false, |day| day.broker.open_orders()).is_empty(), "nothing waits for another day");
    street.advance("next_open");
    street.advance("PT10M");
    assert_eq!(street.until(false, at_broker), half);
}

#[test]
fn a_replacement_is_sent_once_after_the_old_order_was_taken_back_whatever_is_lost() {
    for fault in [
        "",
        "  - {vendor: ctrader, path: /ProtoOANewOrderReq, do: lost_ack}\n",
        "  - {vendor: ctrader, path: /ProtoOACancelOrderReq, times: 1, do: lost_ack}\n",
    ] {
        let mut street = Street::open();
        let targets: BTreeMap<String, f64> = street.world.series.iter().take(2).map(|s| (s.symbol.clone(), 0.05)).collect();
        let key = street.evening(false, &targets, None);
        street.faults(&format!("version: 1\nfaults:\n{}", if fault.is_empty() { "  []\n" } else { fault }));
        let (symbol, sent) = street.until(false, |day| {
            let old = day.log().orders_of(&key)?.remove(0);
            let sent = day.replace(&day.account_check()?, old.id(), 5.0, None)?;
            assert_eq!(day.log().order(old.id())?.unwrap().state, "canceled", "{fault}");
            Ok((old.intent.symbol, sent))
        });
        assert_eq!((sent.sent, sent.unknown), (1, 0), "{fault} {sent:?}");
        street.advance("next_open");
        street.advance("PT10M");
        assert_eq!(street.until(false, at_broker)[&symbol], 5.0, "{fault}");
        assert!(street.until(false, |day| day.settle(&key)).reconcile.differences.is_empty(), "{fault}");
    }
}
