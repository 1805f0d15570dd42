//! From stage 0 to stage 1: when, and with which symbols and years.

use crate::ledger::Coverage;
use crate::reference::{Listed, ListingSpans, Membership, SP500};
use crate::stage::{HistoryEntry, Stage, Universe};
use crate::time::TradingDay;
use std::collections::BTreeSet;

/// What the drive's coverage allows.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Nothing to do, and why.
    Stay(String),
    Promote(Box<Stage>),
}

/// Weigh a stage. `covered` tells the coverage of a dataset, `None` where the drive holds nothing of it. Every dataset of
/// the rule whose lane is open must be GREEN enough; a lane that the keys do not open is left out, and the history says so.
/// New symbols are members of the index that the listings know: what no listing names can never be expected.
pub fn decide(stage: &Stage, asof: TradingDay, covered: impl Fn(&str) -> Option<Coverage>, members: &[Membership], listings: &ListingSpans) -> Decision {
    let (Some(next), bar) = (stage.stage.checked_add(1).filter(|n| stage.targets.contains_key(n)), stage.promote.green) else {
        return Decision::Stay(text!("stage {} is the last one", stage.stage));
    };
    let (mut reached, mut left_out) = (Vec::new(), Vec::new());
    for dataset in &stage.promote.datasets {
        let open = stage.lanes.contains_key(dataset) && stage.is_active(dataset);
        match covered(dataset).filter(|_| open) {
            None if open => return Decision::Stay(text!("nothing of {dataset} is held yet")),
            None => left_out.push(text!("{dataset} is not entitled")),
            Some(c) if c.fraction() < bar => return Decision::Stay(text!("{dataset} is {:.4} GREEN, the bar is {bar}", c.fraction())),
            Some(c) => reached.push(format!("{dataset} {:.4} GREEN", c.fraction())),
        }
    }
    if reached.is_empty() {
        return Decision::Stay("no dataset of the rule has an open lane".into());
    }
    let wanted = stage.targets.get(&next).map_or(0, |t| t.symbols as usize);
    let universe = widened(&stage.universe, wanted, asof, members, listings);
    let mut why = text!("{}, the bar is {bar}", reached.join(", "));
    left_out.iter().for_each(|reason| why += &format!("; {reason}"));
    if universe.symbols.len() < wanted {
        why += &text!("; {} of {wanted} symbols are known", universe.symbols.len());
    }
    let mut history = stage.history.clone();
    history.push(HistoryEntry { stage: next, on: asof, why });
    Decision::Promote(Box::new(Stage { stage: next, since: asof, universe, history, ..stage.clone() }))
}

/// The symbols that are there, then the index's members of that day in alphabetical order, up to `wanted`.
fn widened(universe: &Universe, wanted: usize, asof: TradingDay, members: &[Membership], listings: &ListingSpans) -> Universe {
    let known: BTreeSet<&String> = universe.symbols.iter().collect();
    let index: BTreeSet<&String> = members
        .iter()
        .filter(|m| m.index_name == SP500 && m.contains(asof))
        .map(|m| &m.symbol)
        .filter(|s| !known.contains(s) && listings.expected(s, asof) == Listed::Yes)
        .collect();
    let more = wanted.saturating_sub(universe.symbols.len());
    if more == 0 || index.is_empty() {
        return universe.clone();
    }
    let symbols: Vec<String> = universe.symbols.iter().chain(index.into_iter().take(more)).cloned().collect();
    Universe::new(text!("{}, then members of {SP500} on {asof}", universe.source), symbols)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::dataset::{EQUITIES_EOD, EQUITIES_MINUTE};
    use crate::stage::{ExplainedLane, Lane, LaneState};
    use crate::testkit::{Kit, day};
    use std::collections::BTreeMap;

    const ASOF: &str = "2026-11-20";

    fn stage(minutes: Lane) -> Stage {
        let lanes = BTreeMap::from([(EQUITIES_EOD.to_string(), Lane::Plain(LaneState::Active)), (EQUITIES_MINUTE.to_string(), minutes)]);
        Stage::initial(day("2026-01-02"), Universe::new("builtin", vec!["MSFT".into(), "AAPL".into()]), lanes)
    }
    fn green(n: u64) -> Option<Coverage> {
        Some(Coverage { expected: 1_000, green: n, red: 1_000 - n, ..Coverage::default() })
    }
    fn member(symbol: &str, end: Option<&str>) -> Membership {
        Membership { index_name: SP500.into(), symbol: symbol.into(), start_date: day("2000-01-03"), end_date: end.map(day) }
    }
    fn listed(symbols: &[&str]) -> ListingSpans {
        let kit = Kit::new();
        let rows: Vec<_> = symbols.iter().map(|s| (*s, Some("2000-01-03"), None)).collect();
        if !rows.is_empty() {
            kit.listings("2018-01-02", &rows);
            crate::reference::refresh_reference(&kit.root, &kit.db).unwrap();
        }
        ListingSpans::load(&kit.root).unwrap()
    }
    fn closed() -> Lane {
        Lane::Explained(ExplainedLane { state: LaneState::NotEntitled, reason: "the plan has no minutes".into(), on: day("2026-01-02"), from: None })
    }

    #[test]
    fn every_open_dataset_of_the_rule_must_reach_the_bar() {
        let both = stage(Lane::Plain(LaneState::Active));
        let of =
            |eod: u64, minutes: Option<Coverage>| decide(&both, day(ASOF), |d| if d == EQUITIES_EOD { green(eod) } else { minutes.clone() }, &[], &listed(&[]));
        assert!(matches!(of(979, green(1_000)), Decision::Stay(why) if why.contains("equities_eod is 0.9790")));
        assert!(matches!(of(1_000, green(979)), Decision::Stay(why) if why.contains("equities_minute")));
        assert!(matches!(of(1_000, None), Decision::Stay(why) if why.contains("nothing of equities_minute")));
        assert!(matches!(of(980, green(980)), Decision::Promote(_)));
    }

    #[test]
    fn a_lane_that_is_not_entitled_is_left_out_and_said_to_be() {
        let Decision::Promote(next) = decide(&stage(closed()), day(ASOF), |_| green(990), &[], &listed(&[])) else { panic!("stays") };
        assert_eq!((next.stage, next.since), (1, day(ASOF)));
        let last = next.history.last().unwrap();
        assert!(last.why.contains("equities_eod 0.9900 GREEN") && last.why.contains("equities_minute is not entitled"), "{}", last.why);
        assert!(last.why.contains("2 of 500 symbols are known"), "{}", last.why);
        assert!(matches!(decide(&next, day(ASOF), |_| green(1_000), &[], &listed(&[])), Decision::Stay(why) if why.contains("last one")));
        assert_eq!(Stage::parse(&next.render()).unwrap(), *next);
    }

    #[test]
    fn the_wider_universe_keeps_its_first_names_and_adds_todays_members() {
        let mut start = stage(closed());
        if let Some(t) = start.targets.get_mut(&1) {
            t.symbols = 4;
        }
        let members =
            [member("ZTS", None), member("AAPL", None), member("GONE", Some("2010-01-04")), member("IBM", None), member("NOBODY", None), member("XOM", None)];
        let Decision::Promote(next) = decide(&start, day(ASOF), |_| green(1_000), &members, &listed(&["AAPL", "IBM", "XOM", "ZTS", "GONE"])) else {
            panic!("stays")
        };
        assert_eq!(next.universe.symbols, ["MSFT", "AAPL", "IBM", "XOM"]);
        assert!(next.universe.source.contains("sp500"));
    }
}
