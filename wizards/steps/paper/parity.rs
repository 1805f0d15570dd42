//! The replay of recorded sessions: what the desk knows, handed to `engine::pipelines::parity`.

use super::{Desk, STRATEGY};
use crate::kit::Act;
use crate::steps::market::Ready;
use data_layer::attach;
use data_layer::error::{Error, Result, code};
use data_layer::root::{DataPath, DataRoot};
use data_layer::store::{self, canonical_json};
use data_layer::time::TradingDay;
use engine::execution::log::OrderLog;
use engine::models::registry::Registry;
use engine::pipelines::paper_day::AccountCheck;
use engine::pipelines::paper_day::ceiling::ceiling_of;
use engine::pipelines::parity::books::{self, BooksInput, BooksReport};
use engine::pipelines::parity::paper_book::{self, PaperBook};
use engine::pipelines::parity::{self, Cause, ParityReport};
use engine::pipelines::shadow_day::{self, Book, ShadowModel, Shadowed};
use std::collections::BTreeMap;

/// A model of the registry with its book up to the newest session.
struct Simulated {
    model: ShadowModel,
    shadowed: Shadowed,
    book: Book,
}

impl Desk {
    /// Replay the set of the last closed session from what was recorded, and keep the report; `None` when there was none.
    pub fn parity(&self, act: &Act<'_>, account: &AccountCheck) -> Result<Option<ParityReport>> {
        let _lock = attach::account_lock(act.root, &account.account)?;
        self.replay_session(act.root, &account.account, account.asof, &mut BTreeMap::new())
    }

    /// Replay every session since `since` that had a set, and say how they stand.
    pub fn parity_of_all(&self, act: &Act<'_>, account: &AccountCheck, since: Option<TradingDay>) -> Result<String> {
        let _lock = attach::account_lock(act.root, &account.account)?;
        let mut known = BTreeMap::new();
        let mut total = Total::default();
        for (day, _) in paper_book::sets(&OrderLog::new(&self.db), &account.account, STRATEGY, account.asof)? {
            if since.is_none_or(|first| day >= first)
                && let Some(report) = self.replay_session(act.root, &account.account, day, &mut known)?
            {
                total.add(&report);
            }
        }
        if total.unexplained > 0 {
            let found = total.sentence();
            return Err(Error::new(code::GATE_REFUSED, text!("{} differences have no cause", total.unexplained))
                .found(found)
                .fix("read reports/parity on the drive"));
        }
        Ok(total.sentence())
    }

    fn replay_session(&self, root: &DataRoot, account: &str, day: TradingDay, known: &mut BTreeMap<String, Simulated>) -> Result<Option<ParityReport>> {
        let log = OrderLog::new(&self.db);
        let Some((_, key)) = paper_book::sets(&log, account, STRATEGY, day)?.pop().filter(|(of, _)| *of == day) else { return Ok(None) };
        let mut report = parity::replay(&log, &key, &self.tape())?;
        if let Some(books) = self.books(root, account, day, known)? {
            report = report.with_books(books);
        }
        let path = DataPath::new(format!("reports/parity/{day}/{account}.json"))?;
        store::write_atomic(root, &path, canonical_json(&report)?.as_bytes())?;
        Ok(Some(report))
    }

    /// The three books of a session; none before the first rebalance, or where the account was not settled that evening.
    fn books(&self, root: &DataRoot, account: &str, day: TradingDay, known: &mut BTreeMap<String, Simulated>) -> Result<Option<BooksReport>> {
        let log = OrderLog::new(&self.db);
        let registry = Registry::open(root)?;
        // The rule that rebalances is the followed model's own; it is in the newest set.
        let newest = paper_book::sets(&log, account, STRATEGY, day)?.pop().map_or(Ok(None), |(_, key)| log.set(&key))?;
        let Some(version) = newest.and_then(|set| set.pins.champion.get("version").cloned()) else { return Ok(None) };
        let Some(every) = self.simulated(root, &registry, &version, known)?.map(|s| s.shadowed.rule.rebalance_sessions) else { return Ok(None) };
        let Some(paper) = PaperBook::at(&log, account, STRATEGY, day, every, &self.tape())? else { return Ok(None) };
        // What is held was decided by the model of its rebalance, which may have been another.
        let followed = paper.rebalance.pins.champion.get("version").cloned().unwrap_or_default();
        let Some(simulated) = self.simulated(root, &registry, &followed, known)? else { return Ok(None) };
        let input = BooksInput {
            panel: &self.market.panel,
            session: day,
            shadowed: &simulated.shadowed,
            simulated: &simulated.book,
            recorded: shadow_day::recorded(registry.db(), &simulated.model, day)?,
            row_is_due: simulated.model.is_shadowed(),
            ceiling: paper.rebalance.pins.ceiling.unwrap_or_else(|| ceiling_of(&self.limits, paper.rebalance.equity)),
            paper,
        };
        books::compare(&input).map(Some)
    }

    /// A model's book, computed once.
    fn simulated<'k>(&self, root: &DataRoot, registry: &Registry, version: &str, known: &'k mut BTreeMap<String, Simulated>) -> Result<Option<&'k Simulated>> {
        if !known.contains_key(version) {
            let models = shadow_day::all_models(registry.db())?;
            let Some(model) = models.into_iter().find(|m| m.strategy == STRATEGY && m.version == version) else { return Ok(None) };
            let row = registry.model(STRATEGY, version)?.ok_or_else(|| Error::bug("a model left the registry"))?;
            let shadowed = super::super::shadowing::shadowed(&Ready::load(root, &row)?, &self.market.panel, &model)?;
            let book = shadow_day::compute(&model, &shadowed, &self.market.panel, self.market.asof)?;
            known.insert(version.to_string(), Simulated { model, shadowed, book });
        }
        Ok(known.get(version))
    }
}

/// Many sessions together.
#[derive(Default)]
struct Total {
    sessions: usize,
    orders: (usize, usize),
    fills: (usize, usize),
    names: (usize, usize),
    rows: (usize, usize),
    by_cause: BTreeMap<Cause, usize>,
    unexplained: usize,
}

impl Total {
    fn add(&mut self, r: &ParityReport) {
        let plus = |total: &mut (usize, usize), part: usize, all: usize| *total = (total.0 + part, total.1 + all);
        self.sessions += 1;
        self.unexplained += r.unexplained;
        plus(&mut self.orders, r.orders_reproduced, r.orders);
        plus(&mut self.fills, r.fills_reproduced, r.fills);
        if let Some(b) = &r.books {
            plus(&mut self.names, b.names_equal, b.names);
            plus(&mut self.rows, usize::from(b.shadow_reproduced == Some(true)), usize::from(b.shadow_reproduced.is_some()));
        }
        r.by_cause.iter().for_each(|(cause, n)| *self.by_cause.entry(*cause).or_insert(0) += n);
    }

    fn sentence(&self) -> String {
        let causes: Vec<String> = self.by_cause.iter().map(|(cause, n)| format!("{n} {}", cause.as_str())).collect();
        text!(
            "{} sessions replayed: {} of {} orders and {} of {} fills to the bit, {} of {} shadow rows to the bit, {} of {} weights equal; differences: {}; {} unexplained",
            self.sessions,
            self.orders.0,
            self.orders.1,
            self.fills.0,
            self.fills.1,
            self.rows.0,
            self.rows.1,
            self.names.0,
            self.names.1,
            if causes.is_empty() { "none".to_string() } else { causes.join(", ") },
            self.unexplained
        )
    }
}
