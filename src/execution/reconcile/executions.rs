//! Executions as the broker lists them: our own, those of others, those that were taken back, and those that were corrected, where the one that
//! was booked is taken back and the corrected one is booked in its place.

use super::Run;
use crate::execution::broker::{BrokerFill, FillKind};
use crate::execution::log::{FillRow, OrderRow};
use crate::execution::positions::EXTERNAL;
use crate::execution::state::is_unknown;
use data_layer::error::Result;

/// What follows an execution's id in the rows that correct it. The taking back comes first where both have the same time.
const TAKEN_BACK: &str = ":1-taken-back";
const CORRECTED: &str = ":2-corrected";
const NOT_KNOWN: &str = ":not-known";

impl Run<'_> {
    /// An execution, booked once under the order that it belongs to.
    pub(super) fn take_fill(&mut self, fill: &BrokerFill) -> Result<()> {
        let Some(row) = self.log.by_broker_id(self.account, &fill.order_id)? else { return self.foreign_fill(fill) };
        if fill.symbol != row.intent.symbol || fill.side != row.intent.side {
            self.differs(
                "wrong_fill",
                &fill.id,
                text!("{} {} on an order to {} {}", fill.side.as_str(), fill.symbol, row.intent.side.as_str(), row.intent.symbol),
            );
            self.hold(&fill.symbol, "an execution does not belong to its order")?;
            return self.hold(&row.intent.symbol, "an execution does not belong to its order");
        }
        if fill.kind == FillKind::Correct {
            return self.take_correction(fill, row.id(), &row.intent.strategy);
        }
        let sign = if fill.kind == FillKind::Bust { -1.0 } else { 1.0 };
        let kind = crate::execution::order::word(fill.kind)?;
        let new = self.log.insert_fill(&FillRow {
            fill_id: fill.id.clone(),
            order_id: row.id().to_string(),
            ts: fill.at,
            symbol: fill.symbol.clone(),
            side: fill.side,
            qty: sign * fill.qty,
            price: fill.price,
            fee: fill.fee,
            kind,
            replaces: None,
            source: "reconcile".into(),
            account: self.account.to_string(),
            strategy: row.intent.strategy.clone(),
        })?;
        self.out.new_fills += usize::from(new);
        if new && fill.kind != FillKind::Fill {
            self.differs("bust", &fill.id, text!("an execution of {} was taken back", fill.symbol));
            self.hold(&fill.symbol, "an execution was taken back or corrected")?;
        }
        Ok(())
    }

    /// An execution of an order that is not ours belongs to `external`, and is booked once.
    fn foreign_fill(&mut self, fill: &BrokerFill) -> Result<()> {
        if self.before_us(fill.at)? || self.may_be_ours(fill)? {
            return Ok(());
        }
        if fill.kind == FillKind::Correct {
            return self.take_correction(fill, "", EXTERNAL);
        }
        let new = self.log.insert_fill(&FillRow {
            fill_id: fill.id.clone(),
            order_id: String::new(),
            ts: fill.at,
            symbol: fill.symbol.clone(),
            side: fill.side,
            qty: if fill.kind == FillKind::Bust { -fill.qty } else { fill.qty },
            price: fill.price,
            fee: fill.fee,
            kind: "fill".into(),
            replaces: None,
            source: "reconcile".into(),
            account: self.account.to_string(),
            strategy: EXTERNAL.into(),
        })?;
        if new {
            self.differs("orphan_fill", &fill.id, text!("{} {} {} of an order that is not ours", fill.side.as_str(), fill.qty, fill.symbol));
            self.hold(&fill.symbol, "an execution of an order that is not ours")?;
        }
        Ok(())
    }

    /// Whether an order of ours of unknown outcome, whose name at the broker is not known yet, asked for just that: what is booked to somebody
    /// else is never taken back, and the next run knows whose it is.
    fn may_be_ours(&self, fill: &BrokerFill) -> Result<bool> {
        let nameless = |o: &OrderRow| is_unknown(&o.state) && o.broker_order_id.is_none();
        let asked_for = |o: &OrderRow| o.intent.symbol == fill.symbol && o.intent.side == fill.side && fill.qty <= o.intent.qty;
        Ok(self.log.open_orders(self.account)?.iter().any(|o| nameless(o) && asked_for(o)))
    }

    /// A corrected execution of `order_id` (empty = not ours). Without the one that it stands in for, nothing of it is booked: shares on top of
    /// shares that are there already would be sold. Either way its symbol waits for a person.
    fn take_correction(&mut self, fill: &BrokerFill, order_id: &str, strategy: &str) -> Result<()> {
        let original = self.corrected(fill, order_id, strategy)?;
        let row = |ending: &str, qty: f64, price: f64| FillRow {
            fill_id: format!("{}{ending}", fill.id),
            order_id: order_id.to_string(),
            ts: fill.at,
            symbol: fill.symbol.clone(),
            side: fill.side,
            qty,
            price,
            fee: None,
            kind: "correct".into(),
            replaces: original.as_ref().map(|o| o.fill_id.clone()),
            source: "reconcile".into(),
            account: self.account.to_string(),
            strategy: strategy.to_string(),
        };
        let new = match &original {
            Some(o) => {
                self.log.insert_fill(&row(TAKEN_BACK, -o.qty, o.price))?;
                self.log.insert_fill(&row(CORRECTED, fill.qty, fill.price))?
            }
            // A row without shares, so that it is said once.
            None => self.log.insert_fill(&row(NOT_KNOWN, 0.0, fill.price))?,
        };
        if new {
            self.out.new_fills += usize::from(original.is_some());
            let what = match &original {
                Some(o) => text!("{} at {} became {} at {}", o.qty, o.price, fill.qty, fill.price),
                None => text!("{} at {}, in place of an execution that the journal does not have", fill.qty, fill.price),
            };
            self.differs("correct", &fill.id, text!("an execution of {} was corrected: {what}", fill.symbol));
            self.hold(&fill.symbol, "an execution was taken back or corrected")?;
        }
        Ok(())
    }

    /// The booked execution that `fill` stands in for: the one that the broker names, or the only one of its order.
    fn corrected(&self, fill: &BrokerFill, order_id: &str, strategy: &str) -> Result<Option<FillRow>> {
        let all = self.log.fills(self.account)?;
        let own = |id: &str| id.strip_suffix(CORRECTED).unwrap_or(id) == fill.id;
        // The correction's own rows of an earlier run do not hide what it corrects.
        let replaced = |id: &str| all.iter().any(|f| f.replaces.as_deref() == Some(id) && !f.fill_id.starts_with(&fill.id));
        let mut standing = all.iter().filter(|f| {
            let same = f.order_id == order_id && f.strategy == strategy && f.symbol == fill.symbol && f.side == fill.side;
            same && matches!(f.kind.as_str(), "fill" | "correct") && f.qty > 0.0 && !own(&f.fill_id) && !replaced(&f.fill_id)
        });
        if let Some(named) = &fill.replaces {
            return Ok(standing.find(|f| f.fill_id == *named || f.fill_id == format!("{named}{CORRECTED}")).cloned());
        }
        let (first, second) = (standing.next(), standing.next());
        Ok(first.filter(|_| second.is_none() && !order_id.is_empty()).cloned())
    }
}
