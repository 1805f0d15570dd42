//! What was: orders, executions and bookings by week, since the server answers for no longer span at once. A week with more rows than
//! an answer holds is halved until it has not, whatever the order of the rows.

use super::wire::{self, executed};
use super::{About, CTraderBroker, malformed};
use crate::execution::broker::{BrokerActivity, BrokerFill, BrokerOrder, Lookup};
use data_layer::ctrader::messages as m;
use data_layer::ctrader::models::{Deal, Order};
use data_layer::ctrader::{MAX_SPAN_MS, millis};
use data_layer::error::{Error, Result, code};
use data_layer::time::UtcTime;
use std::collections::{BTreeMap, BTreeSet};

/// The server's clock may be ahead of ours.
const AHEAD_S: i64 = 60;
/// An order of ours is looked for this far back, in weeks; nothing of ours lives longer.
const LOOKUP_WEEKS: usize = 5;

/// Answers about one week: far more than orders of one account fill, and few enough to be asked for in minutes.
const MAX_ANSWERS: usize = 1_000;

/// Spans of at most a week that cover `[from, to]`, the newest first.
fn weeks(from_ms: i64, to_ms: i64) -> Vec<(i64, i64)> {
    let mut out = Vec::new();
    let mut end = to_ms;
    while end > from_ms {
        let start = from_ms.max(end - MAX_SPAN_MS);
        out.push((start, end));
        end = start;
    }
    out
}

/// Everything that `fetch` has in a span, in at most [`MAX_ANSWERS`] answers.
fn whole<T>(span: (i64, i64), fetch: &dyn Fn(i64, i64) -> Result<(Vec<T>, bool)>) -> Result<Vec<T>> {
    let (mut spans, mut out, mut answers) = (vec![span], Vec::new(), 0);
    while let Some((from, to)) = spans.pop() {
        let endless = || Error::new(code::NET_MALFORMED, "cTrader's list of a week does not end").found(text!("{answers} answers, and there is more"));
        if answers == MAX_ANSWERS {
            return Err(endless());
        }
        let (rows, more) = fetch(from, to)?;
        if !more {
            out.extend(rows);
        } else if to - from <= 1 {
            return Err(endless());
        } else {
            let middle = from + (to - from) / 2;
            spans.extend([(from, middle), (middle, to)]);
        }
        answers += 1;
    }
    Ok(out)
}

impl CTraderBroker {
    fn until_ms(&self) -> i64 {
        millis(self.host.now().plus_seconds(AHEAD_S))
    }

    fn order_list(&self, from: i64, to: i64) -> Result<(Vec<Order>, bool)> {
        let question = |account| m::OrderListReq { account, from_ms: Some(from), to_ms: Some(to) };
        self.ask::<m::OrderListRes, _>(About::Past, question).map(|page| (page.orders, page.has_more))
    }

    fn deal_list(&self, from: i64, to: i64) -> Result<(Vec<Deal>, bool)> {
        let question = |account| m::DealListReq { account, from_ms: Some(from), to_ms: Some(to), max_rows: None };
        self.ask::<m::DealListRes, _>(About::Past, question).map(|page| (page.deals, page.has_more))
    }

    /// Orders that changed since a moment, each once.
    pub(super) fn orders_from(&self, from: UtcTime) -> Result<Vec<BrokerOrder>> {
        let link = self.link()?;
        let mut out = BTreeMap::new();
        for span in weeks(millis(from.max(link.registered)), self.until_ms()) {
            for o in whole(span, &|from, to| self.order_list(from, to))? {
                let order = wire::listed(&o, &link.symbols).ok_or_else(|| malformed("order list"))?;
                out.insert(o.id, order);
            }
        }
        Ok(out.into_values().collect())
    }

    /// Executions since a moment, oldest first, each once.
    pub(super) fn fills_from(&self, from: Option<UtcTime>) -> Result<Vec<BrokerFill>> {
        let link = self.link()?;
        let digits = *self.digits.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut out = BTreeMap::new();
        let from = from.map_or(link.registered, |t| t.max(link.registered));
        for span in weeks(millis(from), self.until_ms()) {
            for deal in whole(span, &|from, to| self.deal_list(from, to))?.iter().filter(|d| executed(d)) {
                let fill = wire::fill(deal, &link.name, &link.symbols, digits).ok_or_else(|| malformed("execution"))?;
                out.insert((fill.at, deal.id), fill);
            }
        }
        Ok(out.into_values().collect())
    }

    /// Bookings since a moment, oldest first, each once.
    pub(super) fn activities_from(&self, from: Option<UtcTime>) -> Result<Vec<BrokerActivity>> {
        let link = self.link()?;
        let mut out = BTreeMap::new();
        let from = from.map_or(link.registered, |t| t.max(link.registered));
        for (from_ms, to_ms) in weeks(millis(from), self.until_ms()) {
            let page: m::CashFlowRes = self.ask(About::Past, |account| m::CashFlowReq { account, from_ms, to_ms })?;
            for row in &page.rows {
                if let Some(booked) = wire::activity(row, &link.symbols).ok_or_else(|| malformed("cash flow"))? {
                    out.insert((booked.at, row.id), booked);
                }
            }
        }
        Ok(out.into_values().collect())
    }

    /// An order by its client id: among the pending ones, in the lists of the last weeks, and behind executions whose order no list
    /// shows. Two orders under one id are not one that was found.
    pub(super) fn look_for(&self, client_order_id: &str) -> Result<Lookup> {
        let link = self.link()?;
        let mine = |o: &Order| o.client_order_id.as_deref() == Some(client_order_id);
        let mut found: BTreeMap<i64, Order> = BTreeMap::new();
        let pending: m::ReconcileRes = self.ask(About::Now, |account| m::ReconcileReq { account })?;
        found.extend(pending.orders.into_iter().filter(mine).map(|o| (o.id, o)));
        let spans = weeks(millis(link.registered), self.until_ms());
        for span in spans.into_iter().take(LOOKUP_WEEKS) {
            let listed = whole(span, &|from, to| self.order_list(from, to))?;
            let known: BTreeSet<i64> = listed.iter().map(|o| o.id).collect();
            found.extend(listed.into_iter().filter(mine).map(|o| (o.id, o)));
            if !found.is_empty() {
                break;
            }
            let strays: BTreeSet<i64> = whole(span, &|from, to| self.deal_list(from, to))?.iter().map(|d| d.order).filter(|id| !known.contains(id)).collect();
            for order in strays {
                let detail: m::OrderDetailsRes = self.ask(About::Past, |account| m::OrderDetailsReq { account, order })?;
                found.extend(Some(detail.order).filter(mine).map(|o| (o.id, o)));
            }
        }
        Ok(match found.values().collect::<Vec<_>>().as_slice() {
            [] => Lookup::NotFound,
            [one] => wire::order(one, &link.symbols).map_or_else(|| Lookup::Unknown(text!("the broker's answer cannot be read")), Lookup::Found),
            several => Lookup::Unknown(text!("the broker has {} orders under this id", several.len())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_cover_a_span_without_a_hole_and_are_never_longer_than_a_week() {
        let spans = weeks(1_000, 1_000 + 2 * MAX_SPAN_MS + 5);
        assert_eq!(spans.len(), 3);
        assert_eq!((spans[0].1, spans[2].0), (1_000 + 2 * MAX_SPAN_MS + 5, 1_000));
        assert!(spans.windows(2).all(|w| w[0].0 == w[1].1) && spans.iter().all(|(a, b)| b - a <= MAX_SPAN_MS && b > a));
        assert!(weeks(5, 5).is_empty());
    }

    #[test]
    fn a_span_with_more_rows_than_an_answer_holds_is_halved_until_nothing_is_missing() {
        let rows: Vec<i64> = (0..1_000).map(|i| i * i % 7_919).collect();
        let fetch = |from: i64, to: i64| {
            let inside: Vec<i64> = rows.iter().copied().filter(|t| (from..=to).contains(t)).collect();
            let more = inside.len() > 20;
            Ok((inside.into_iter().take(20).collect(), more))
        };
        let all: BTreeSet<i64> = whole((0, 8_000), &fetch).unwrap().into_iter().collect();
        assert_eq!(all, rows.iter().copied().collect());
        let endless = |_: i64, _: i64| Ok((vec![1i64], true));
        assert!(whole((0, 10), &endless).unwrap_err().is(code::NET_MALFORMED));
        // More than fits, however short the span, as long as it is not the shortest: the questions end all the same.
        let asked = std::cell::Cell::new(0);
        let moody = |from: i64, to: i64| {
            asked.set(asked.get() + 1);
            Ok((vec![from], to - from > 1))
        };
        assert!(whole((0, 1 << 20), &moody).unwrap_err().is(code::NET_MALFORMED));
        assert_eq!(asked.get(), MAX_ANSWERS);
    }
}
