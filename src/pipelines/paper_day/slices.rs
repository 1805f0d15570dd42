//! Slices of a spread order: which of them may go now.

use super::PaperDay;
use crate::execution::log::OrderRow;
use crate::execution::order::OrderSet;
use crate::execution::schedule::cut::Moment;
use crate::execution::state::name;
use data_layer::error::Result;
use data_layer::time::UtcTime;

/// What becomes of a slice at this look.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Turn {
    Now,
    /// Why not yet.
    Later(String),
    /// Its day is over.
    Never,
}

impl PaperDay<'_> {
    /// Whether it is this planned slice's turn. A whole order always has its turn.
    pub(super) fn turn(&self, set: &OrderSet, row: &OrderRow) -> Result<Turn> {
        let (Some(pinned), true) = (&set.pins.schedule, row.intent.slice > 0) else { return Ok(Turn::Now) };
        let siblings: Vec<_> = set.lines.iter().filter(|l| l.parent == row.intent.parent).collect();
        let last = siblings.iter().map(|l| l.slice).max().unwrap_or(row.intent.slice);
        let open = match pinned.moment(set.trading_day, last, self.host.now()) {
            Moment::Open(k) => k,
            Moment::Waiting(at) => return Ok(Turn::Later(text!("its turn is at {}", at.max(pinned.at(set.trading_day, row.intent.slice))))),
            Moment::Over => return Ok(Turn::Never),
        };
        if row.intent.slice > open {
            return Ok(Turn::Later(text!("its turn is at {}", pinned.at(set.trading_day, row.intent.slice))));
        }
        if row.intent.slice == open {
            return Ok(Turn::Now);
        }
        // It missed its own: beside the slice of this moment and what else went out in it, within the cap.
        let since = pinned.at(set.trading_day, open);
        let mut beside = 0.0;
        for other in siblings.iter().filter(|l| l.client_order_id != row.id()) {
            let sent_now = self.log().intended_at(&other.client_order_id)?.is_some_and(|at| at >= since);
            let own_turn = other.slice == open && self.log().order(&other.client_order_id)?.is_some_and(|o| o.state == name::PLANNED);
            beside += if sent_now || own_turn { other.qty } else { 0.0 };
        }
        let adv = set.pins.prices.get(&row.intent.symbol).and_then(|r| r.adv_shares).unwrap_or(0.0);
        if pinned.has_room(adv, beside, row.intent.qty) {
            return Ok(Turn::Now);
        }
        Ok(Turn::Later("it missed its turn, and there is no room beside this moment's slice".into()))
    }

    /// The next moment at which a slice of the set may go; none for a set that travels whole.
    pub(super) fn next_turn(&self, set: &OrderSet) -> Option<UtcTime> {
        let pinned = set.pins.schedule.as_ref()?;
        let last = set.lines.iter().map(|l| l.slice).max().filter(|l| *l > 0)?;
        (1..=last).map(|k| pinned.at(set.trading_day, k)).find(|at| *at > self.host.now())
    }
}
