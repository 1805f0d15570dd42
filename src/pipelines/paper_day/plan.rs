//! Planning: targets to a pinned order set, and the preview that a person confirms.

use super::{AccountCheck, PaperDay};
use crate::execution::calibration::{self, SideCost};
use crate::execution::order::{Intent, OrderSet, OrderType, Pins, Reason, Reference, Skipped, Tif, run_key, word};
use crate::execution::positions;
use crate::execution::quarantine::{QUANTITY, quarantined};
use crate::execution::risk::{self, Exposure, Line};
use crate::execution::schedule::cut::{Parent, Pinned};
use crate::execution::sizing::{SizeInput, SizedLine, SizedSet};
use crate::portfolio::Ceiling;
use crate::types::Side;
use data_layer::error::{Error, Result, code};
use data_layer::store::digest_of;
use data_layer::time::{TradingDay, UtcTime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a rebalance is computed from, once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanInput {
    pub asof: TradingDay,
    /// `strategy`, `version`, `sha256` of the model that is followed.
    pub champion: BTreeMap<String, String>,
    /// Shares of equity, negative for shorts.
    pub targets: BTreeMap<String, f64>,
    /// For every name in the targets and in the positions.
    pub prices: BTreeMap<String, Reference>,
    /// 0 is the scheduled rebalance of the day.
    pub rebalance_no: u32,
    /// What the portfolio rule and its caps had to say.
    pub notes: Vec<String>,
    /// How orders are spread over the session.
    pub schedule: Option<Pinned>,
    /// What the account allowed of the targets; none where nothing was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<Ceiling>,
}

/// A line as it is shown before the confirmation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreviewLine {
    pub symbol: String,
    pub side: Side,
    pub qty: f64,
    pub reference_price: f64,
    pub notional_usd: f64,
    pub held_before: f64,
    pub target_weight: f64,
    pub reason: Reason,
    pub reduce_only: bool,
    /// What this order is expected to cost, where its class has a cost of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_bps: Option<f64>,
    /// Orders that the line travels in; 0 when it goes whole.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub slices: usize,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// The whole set in figures. `shown_sha256` is what a consent refers to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    pub run_key: String,
    pub account: String,
    pub asof: Option<TradingDay>,
    pub trading_day: TradingDay,
    pub equity: f64,
    pub champion: BTreeMap<String, String>,
    pub lines: Vec<PreviewLine>,
    pub skipped: Vec<Skipped>,
    pub notes: Vec<String>,
    pub orders: usize,
    pub notional_usd: f64,
    /// Shares of equity once everything has filled at the reference prices.
    pub gross_after: f64,
    pub net_after: f64,
    pub turnover: f64,
    /// What the orders are expected to cost in all, and by which cost of a side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<ExpectedCost>,
    /// The worst case on the way there, in dollars.
    pub worst: Exposure,
    pub order_set_hash: String,
    pub confirmation: String,
    pub shown_sha256: String,
}

/// What a set is expected to cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpectedCost {
    pub usd: f64,
    /// Of the notional of the whole set; none in consents from before classes had a cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bps: Option<f64>,
    pub side: SideCost,
}

/// What a set is expected to cost by the cost that was pinned with it, and the cost of each parent order in basis points, by line. A
/// parent is priced once: its slices one by one would look cheaper. None in sets without such a number.
pub(crate) fn expected_cost(set: &OrderSet) -> Result<Option<(ExpectedCost, BTreeMap<u32, f64>)>> {
    let Some(side) = set.pins.cost.clone() else { return Ok(None) };
    let mut parents: BTreeMap<u32, (&Intent, f64)> = BTreeMap::new();
    set.lines.iter().for_each(|l| parents.entry(l.line).or_insert((l, 0.0)).1 += l.qty);
    let (model, mut rates, mut usd, mut notional) = (side.model(), BTreeMap::new(), 0.0, 0.0);
    for (line, (order, qty)) in parents {
        let market = set.pins.prices.get(&order.symbol).and_then(Reference::liquidity);
        let rate = model.rate(order.side, qty, order.reference_price, market)?;
        rates.insert(line, 1e4 * rate);
        usd += rate * qty * order.reference_price;
        notional += qty * order.reference_price;
    }
    let bps = side.tiers.filter(|_| notional > 0.0).map(|_| 1e4 * usd / notional);
    Ok(Some((ExpectedCost { usd, bps, side }, rates)))
}

impl PaperDay<'_> {
    /// The pinned set of (account, strategy, trading day, rebalance): computed once, afterwards only read.
    pub fn plan(&self, account: &AccountCheck, input: &PlanInput) -> Result<OrderSet> {
        let key = run_key(&account.account, &self.config.strategy, account.trading_day, input.rebalance_no);
        if let Some(set) = self.log().set(&key)? {
            return Ok(set);
        }
        if input.asof != account.asof {
            return Err(Error::new(code::GATE_GREEN, text!("the targets are of {}, the last closed session is {}", input.asof, account.asof))
                .cause("orders are never planned from older data")
                .fix("trademl paper-trade"));
        }
        let (held, mut notes) = self.countable(account)?;
        notes.splice(0..0, input.notes.iter().cloned());
        let open = self.log().open_remaining(&account.account, &self.config.strategy)?;
        let mut sized =
            (self.sizer)(&SizeInput { targets: &input.targets, positions: &held, open_remaining: &open, prices: &input.prices, equity: account.equity });
        self.hold_back(account, &mut sized);
        let now = self.host.now();
        let mut set = OrderSet {
            run_key: key.clone(),
            order_set_hash: String::new(),
            account: account.account.clone(),
            strategy: self.config.strategy.clone(),
            trading_day: account.trading_day,
            rebalance_no: input.rebalance_no,
            equity: account.equity,
            pinned_at: now,
            run_id: self.config.run_id.clone(),
            pins: Pins {
                asof: Some(input.asof),
                champion: input.champion.clone(),
                targets: input.targets.clone(),
                prices: input.prices.clone(),
                positions: held,
                open_remaining: open,
                skipped: sized.skipped,
                notes,
                schedule: input.schedule.clone(),
                ceiling: input.ceiling,
                cost: Some(calibration::in_force(self.db, &account.account)?),
            },
            lines: Vec::new(),
        };
        let (lines, notes) = lines_of(&set, &sized.lines, account.expires_at)?;
        set.lines = lines;
        set.pins.notes.extend(notes);
        set.order_set_hash = set.compute_hash()?;
        self.log().pin_set(&set)
    }

    /// The strategy's own positions, as far as the broker holds them: of a symbol whose shares the two count differently no more is sold (or
    /// bought back) than both say is there. And what was left out of account, in words.
    fn countable(&self, account: &AccountCheck) -> Result<(BTreeMap<String, f64>, Vec<String>)> {
        let ledger = positions::ledger(&self.log(), &account.account)?;
        let (mut held, all) = (ledger.of_strategy(&self.config.strategy), ledger.per_symbol());
        let mut doubtful = quarantined(self.db)?;
        doubtful.retain(|symbol, reason| held.contains_key(symbol) && reason == QUANTITY);
        let mut notes = Vec::new();
        if doubtful.is_empty() {
            return Ok((held, notes));
        }
        let theirs: BTreeMap<String, f64> = self.broker.positions()?.into_iter().map(|p| (p.symbol, p.qty)).collect();
        for (symbol, own) in held.iter_mut().filter(|(s, _)| doubtful.contains_key(*s)) {
            let of = |book: &BTreeMap<String, f64>| book.get(symbol).copied().unwrap_or(0.0);
            // What others hold of it at the broker is not ours to count on.
            let there = of(&theirs) - (of(&all) - *own);
            let sure = if there * *own > 0.0 { own.abs().min(there.abs()).copysign(*own) } else { 0.0 };
            if sure != *own {
                notes.push(text!("{symbol} counts as {sure} shares: the journal has {own}, the broker {there}"));
                *own = sure;
            }
        }
        held.retain(|_, q| *q != 0.0);
        Ok((held, notes))
    }

    /// Lines that today's circumstances forbid become skips with a reason: all of a symbol that splits on the trading day,
    /// because its reference price is of another share, or whose ticker changes on it, because the old one may be gone by the open; increases
    /// while the account owes cash.
    fn hold_back(&self, account: &AccountCheck, sized: &mut SizedSet) {
        let splits = |symbol: &str| self.config.splits.iter().any(|s| s.symbol == symbol && s.ex_date == account.trading_day);
        let renamed = |symbol: &str| self.config.renames.iter().any(|r| (r.symbol == symbol || r.to == symbol) && r.date == account.trading_day);
        let skipped = &mut sized.skipped;
        sized.lines.retain(|line| {
            let reason = if splits(&line.symbol) {
                "its shares split on the trading day"
            } else if renamed(&line.symbol) {
                "its ticker changes on the trading day"
            } else if account.cash < 0.0 && !line.reduces {
                "the account's cash is negative: reductions only"
            } else {
                return true;
            };
            skipped.push(Skipped { symbol: line.symbol.clone(), reason: reason.into() });
            false
        });
        skipped.sort_by(|a, b| (&a.symbol, &a.reason).cmp(&(&b.symbol, &b.reason)));
    }

    /// The pinned set in figures; a function of what is pinned, so it reads the same after any crash.
    pub fn preview(&self, run_key: &str) -> Result<Preview> {
        let set = self.require_set(run_key)?;
        let prices: BTreeMap<String, f64> = set.pins.prices.iter().map(|(s, r)| (s.clone(), r.price)).collect();
        let mut after = set.pins.positions.clone();
        let mut worst: BTreeMap<String, Line> = after.iter().map(|(s, q)| (s.clone(), Line { held: *q, ..Line::default() })).collect();
        let (cost, rates) = expected_cost(&set)?.unzip();
        let rate = |line: u32| rates.as_ref().and_then(|r| r.get(&line)).copied().filter(|_| cost.as_ref().is_some_and(|c| c.side.tiers.is_some()));
        let mut lines = Vec::new();
        for l in &set.lines {
            *after.entry(l.symbol.clone()).or_insert(0.0) += l.signed_qty();
            worst = risk::with(&worst, l);
            if l.slice > 1
                && let Some(first) = lines.last_mut()
            {
                let first: &mut PreviewLine = first;
                (first.qty, first.notional_usd, first.slices) = (first.qty + l.qty, first.notional_usd + l.notional_usd(), first.slices + 1);
                continue;
            }
            lines.push(PreviewLine {
                symbol: l.symbol.clone(),
                side: l.side,
                qty: l.qty,
                reference_price: l.reference_price,
                notional_usd: l.notional_usd(),
                held_before: set.pins.positions.get(&l.symbol).copied().unwrap_or(0.0),
                target_weight: set.pins.targets.get(&l.symbol).copied().unwrap_or(0.0),
                reason: l.reason,
                reduce_only: l.reduce_only,
                cost_bps: rate(l.line),
                slices: usize::from(l.slice > 0),
            });
        }
        let value = |q: f64, s: &String| q * prices.get(s).copied().unwrap_or(0.0) / set.equity;
        let notional: f64 = lines.iter().map(|l| l.notional_usd).sum();
        let mut preview = Preview {
            run_key: set.run_key.clone(),
            account: set.account.clone(),
            asof: set.pins.asof,
            trading_day: set.trading_day,
            equity: set.equity,
            champion: set.pins.champion.clone(),
            orders: lines.len(),
            lines,
            skipped: set.pins.skipped.clone(),
            notes: set.pins.notes.clone(),
            notional_usd: notional,
            gross_after: after.iter().map(|(s, q)| value(q.abs(), s)).sum(),
            net_after: after.iter().map(|(s, q)| value(*q, s)).sum(),
            turnover: notional / set.equity,
            cost,
            worst: risk::exposure(&worst, &prices).unwrap_or_default(),
            order_set_hash: set.order_set_hash.clone(),
            confirmation: super::confirmation_token(&set.account, set.trading_day),
            shown_sha256: String::new(),
        };
        preview.shown_sha256 = digest_of(&preview)?;
        Ok(preview)
    }
}

/// The orders of a set: each sized line whole, or cut as the pinned schedule has it, and what the cut had to say.
pub(crate) fn lines_of(set: &OrderSet, sized: &[SizedLine], expires_at: UtcTime) -> Result<(Vec<Intent>, Vec<String>)> {
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    for (n, line) in sized.iter().enumerate() {
        let reference = set.pins.prices.get(&line.symbol);
        let n = u32::try_from(n).map_err(|_| Error::bug("too many order lines"))?;
        let whole = intent_of(set, n, line, reference.map_or(f64::NAN, |p| p.price), expires_at);
        let Some(pinned) = &set.pins.schedule else {
            out.push(whole);
            continue;
        };
        let parent = Parent {
            id: &whole.client_order_id,
            symbol: &line.symbol,
            qty: line.qty,
            reference_price: whole.reference_price,
            adv_shares: reference.and_then(|r| r.adv_shares),
            trading_day: set.trading_day,
            now: set.pinned_at,
        };
        let cut = pinned.cut(&parent)?;
        notes.extend(cut.note);
        if cut.quantities.is_empty() {
            out.push(whole);
            continue;
        }
        for (qty, slice) in cut.quantities.into_iter().zip(1u32..).filter(|(qty, _)| *qty > 0.0) {
            let parent = Some(whole.client_order_id.clone());
            let mut child = Intent { qty, slice, parent, style: pinned.schedule.kind.as_str().into(), ..whole.clone() };
            child.client_order_id = child.mint_id();
            out.push(child);
        }
    }
    Ok((out, notes))
}

/// A sized line as a market order for its session's open, under the id that follows from what it is.
fn intent_of(set: &OrderSet, n: u32, line: &SizedLine, price: f64, expires_at: UtcTime) -> Intent {
    let mut intent = Intent {
        client_order_id: String::new(),
        run_key: set.run_key.clone(),
        account: set.account.clone(),
        strategy: set.strategy.clone(),
        trading_day: set.trading_day,
        rebalance_no: set.rebalance_no,
        line: n,
        symbol_id: line.symbol.clone(),
        symbol: line.symbol.clone(),
        side: line.side,
        qty: line.qty,
        order_type: OrderType::Market,
        limit_price: None,
        stop_price: None,
        tif: Tif::Day,
        style: "next_open".into(),
        reduce_only: line.reduces,
        reason: line.reason,
        parent: None,
        slice: 0,
        attempt: 0,
        reference_price: price,
        created_at: set.pinned_at,
        expires_at,
    };
    intent.client_order_id = intent.mint_id();
    intent
}

/// A reason as one word, for tables.
pub fn reason_word(reason: Reason) -> String {
    word(reason).unwrap_or_default()
}
