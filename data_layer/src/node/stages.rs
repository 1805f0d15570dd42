//! From stage 0 to stage 1: when, and with which symbols and years.

use crate::ledger::Coverage;
use crate::reference::{IndexCoverage, Listed, ListingSpans, Membership, SP500};
use crate::stage::{HistoryEntry, Stage, Universe};
use crate::tickers::Tickers;
use crate::time::{DateRange, TradingDay};
use std::collections::BTreeSet;

/// What the drive's coverage allows.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Nothing to do, and why.
    Stay(String),
    Promote(Box<Stage>),
}

/// What is known of names: who was in the index when, when each was listed, and under which tickers companies went.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    pub members: &'a [Membership],
    pub listings: &'a ListingSpans,
    pub tickers: &'a Tickers,
}

/// The stage with each company under the ticker that it has now, where one has changed; what changed is in the history.
pub fn follow(stage: &Stage, asof: TradingDay, tickers: &Tickers) -> Option<Stage> {
    let mut symbols: Vec<String> = Vec::with_capacity(stage.universe.symbols.len());
    let mut changed = Vec::new();
    for symbol in &stage.universe.symbols {
        let now = tickers.successor(symbol).unwrap_or(symbol);
        if now != symbol {
            changed.push(text!("{symbol} goes on as {now}"));
        }
        // The company may be there under its new ticker already.
        if !symbols.iter().any(|s| s == now) && (now == symbol || !stage.universe.symbols.iter().any(|s| s == now)) {
            symbols.push(now.to_string());
        }
    }
    if changed.is_empty() {
        return None;
    }
    let mut history = stage.history.clone();
    history.push(HistoryEntry { stage: stage.stage, on: asof, why: changed.join("; ") });
    Some(Stage { universe: Universe::new(stage.universe.source.clone(), symbols), history, ..stage.clone() })
}

/// Weigh a stage. `covered` tells the coverage of a dataset, `None` where the drive holds nothing of it. Every dataset of
/// the rule whose lane is open must be GREEN enough; a lane that the keys do not open is left out, and the history says so.
/// New symbols are members of the index that the listings know: what no listing names can never be expected. They are members of that
/// day up to the stage's number, and those of any day of its years that have left: without them every result is one of survivors.
pub fn decide(stage: &Stage, asof: TradingDay, covered: impl Fn(&str) -> Option<Coverage>, names: Names<'_>) -> Decision {
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
    let (wanted, years) = stage.targets.get(&next).map_or((0, 0), |t| (t.symbols as usize, t.eod_years));
    let end = asof.plus_days(1);
    let window = DateRange { start: end.minus_years(i16::try_from(years).unwrap_or(i16::MAX)), end };
    let (universe, living, shares) = widened(&stage.universe, wanted, window, names);
    let mut why = text!("{}, the bar is {bar}", reached.join(", "));
    left_out.iter().for_each(|reason| why += &format!("; {reason}"));
    if living < wanted {
        why += &text!("; {living} of {wanted} symbols are known");
    }
    why += &text!("; of the members of {SP500} on their days are held: {shares}");
    let mut history = stage.history.clone();
    history.push(HistoryEntry { stage: next, on: asof, why });
    Decision::Promote(Box::new(Stage { stage: next, since: asof, universe, history, ..stage.clone() }))
}

/// The symbols that are there, then the index's members of the window's last day in alphabetical order, up to `wanted`, then those that
/// left it within the window, at most as many again; how many there are without these, and what share of the index that is.
fn widened(universe: &Universe, wanted: usize, window: DateRange, names: Names<'_>) -> (Universe, usize, IndexCoverage) {
    let asof = window.end.plus_days(-1);
    let known: BTreeSet<&str> = universe.symbols.iter().map(String::as_str).collect();
    let (mut members, mut leavers) = (BTreeSet::new(), BTreeSet::new());
    for m in names.members.iter().filter(|m| m.index_name == SP500 && m.start_date < window.end) {
        if m.contains(asof) {
            members.insert(m.symbol.as_str());
            continue;
        }
        let (first, last) = (m.start_date.max(window.start), m.end_date.map_or(asof, |end| end.plus_days(-1)));
        let symbol = names.tickers.symbol_of(&m.symbol, last);
        let listed = |day| names.listings.expected(symbol, day) == Listed::Yes;
        if first <= last && (listed(first) || listed(last)) {
            leavers.insert(symbol);
        }
    }
    members.retain(|s| !known.contains(s) && names.listings.expected(s, asof) == Listed::Yes);
    let more: Vec<&str> = members.iter().copied().take(wanted.saturating_sub(universe.symbols.len())).collect();
    // A member that found no room is no leaver.
    leavers.retain(|s| !known.contains(s) && !members.contains(s));
    let living = universe.symbols.len() + more.len();
    let symbols: Vec<String> = universe.symbols.iter().map(String::as_str).chain(more).chain(leavers.into_iter().take(wanted)).map(str::to_string).collect();
    let held: BTreeSet<&str> = symbols.iter().map(String::as_str).collect();
    let shares = IndexCoverage::of(names.members, names.listings, names.tickers, window, |symbol| held.contains(symbol));
    if symbols.len() == universe.symbols.len() {
        return (universe.clone(), living, shares);
    }
    let source = text!(
        "{}, then members of {SP500} on {asof}, then those that left it since {}; of its members on their days are held: {shares}",
        universe.source,
        window.start
    );
    (Universe::new(source, symbols), living, shares)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::dataset::{EQUITIES_EOD, EQUITIES_MINUTE};
    use crate::stage::{ExplainedLane, Lane, LaneState, Target};
    use crate::testkit::{Kit, bar_at, day, range};
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
    fn weigh(stage: &Stage, covered: impl Fn(&str) -> Option<Coverage>, members: &[Membership], listings: &ListingSpans) -> Decision {
        decide(stage, day(ASOF), covered, Names { members, listings, tickers: &Tickers::default() })
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
        let of = |eod: u64, minutes: Option<Coverage>| weigh(&both, |d| if d == EQUITIES_EOD { green(eod) } else { minutes.clone() }, &[], &listed(&[]));
        assert!(matches!(of(979, green(1_000)), Decision::Stay(why) if why.contains("equities_eod is 0.9790")));
        assert!(matches!(of(1_000, green(979)), Decision::Stay(why) if why.contains("equities_minute")));
        assert!(matches!(of(1_000, None), Decision::Stay(why) if why.contains("nothing of equities_minute")));
        assert!(matches!(of(980, green(980)), Decision::Promote(_)));
    }

    #[test]
    fn a_lane_that_is_not_entitled_is_left_out_and_said_to_be() {
        let Decision::Promote(next) = weigh(&stage(closed()), |_| green(990), &[], &listed(&[])) else { panic!("stays") };
        assert_eq!((next.stage, next.since), (1, day(ASOF)));
        let last = next.history.last().unwrap();
        assert!(last.why.contains("equities_eod 0.9900 GREEN") && last.why.contains("equities_minute is not entitled"), "{}", last.why);
        assert!(last.why.contains("2 of 500 symbols are known"), "{}", last.why);
        assert!(matches!(weigh(&next, |_| green(1_000), &[], &listed(&[])), Decision::Stay(why) if why.contains("last one")));
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
        let Decision::Promote(next) = weigh(&start, |_| green(1_000), &members, &listed(&["AAPL", "IBM", "XOM", "ZTS", "GONE"])) else { panic!("stays") };
        assert_eq!(next.universe.symbols, ["MSFT", "AAPL", "IBM", "XOM"]);
        assert!(next.universe.source.contains("sp500"));
    }

    #[test]
    fn lesson_048_names_that_left_the_index_are_collected_as_long_as_they_lived() {
        let kit = Kit::new();
        kit.listings("2018-01-02", &[("AAPL", Some("2000-01-03"), None), ("GONE", Some("2001-01-02"), Some("2016-05-02"))]);
        crate::reference::refresh_reference(&kit.root, &kit.db).unwrap();
        let listings = ListingSpans::load(&kit.root).unwrap();
        let members = [member("AAPL", None), member("GONE", Some("2016-05-02")), member("LONG", Some("2009-05-01")), member("NOBODY", Some("2016-05-02"))];
        let mut start = stage(closed());
        start.universe = Universe::new("builtin", Vec::new());
        start.targets.insert(1, Target { symbols: 1, eod_years: 3, minute_years: 0 });
        let (green, tickers) = (|_: &str| green(1_000), Tickers::default());
        let asof = day("2018-01-31");
        let Decision::Promote(next) = decide(&start, asof, green, Names { members: &members, listings: &listings, tickers: &tickers }) else { panic!("stays") };
        assert_eq!(next.universe.symbols, ["AAPL", "GONE"], "beside the members that the stage has room for");
        // Of three members two are held until GONE goes, then all that is left.
        assert!(next.universe.source.contains("2015 67 %, 2016 80 %, 2017 100 %, 2018 100 %"), "{}", next.universe.source);
        assert!(next.history.last().unwrap().why.contains("2015 67 %"));

        crate::stage::write(&kit.root, &next).unwrap();
        let window = range("2015-02-01", "2018-02-01");
        let bars: Vec<_> = crate::calendar::Calendar::xnys()
            .sessions(range("2016-04-01", "2016-05-02"))
            .iter()
            .map(|d| bar_at("GONE", *d, 20.0 + f64::from(d.0 % 5)))
            .collect();
        kit.commit("alpaca", &["GONE"], range("2016-04-01", "2016-05-02"), &bars);
        let found = crate::audit::audit_scan(&kit.root, &kit.db, &Default::default(), crate::audit::AuditScope::Full, asof, window).unwrap();
        let of_the_leaver: Vec<_> = crate::ledger::all_rows(&kit.db).unwrap().into_iter().filter(|r| r.key.symbol == "GONE").collect();
        assert!(found.coverage.green == bars.len() as u64 && of_the_leaver.len() > 300, "{}", of_the_leaver.len());
        assert!(of_the_leaver.iter().all(|r| r.key.dt < day("2016-05-02")), "expected until its last session, and no longer");
    }

    #[test]
    fn a_name_that_goes_on_under_another_ticker_is_followed() {
        let kit = Kit::new();
        let renamed = |old: &str, new: &str, id: &str| crate::vendor::Action {
            symbol: old.into(),
            event_type: "name_change".into(),
            ex_date: Some(day("2017-06-09")),
            process_date: Some(day("2017-06-09")),
            new_symbol: Some(new.into()),
            vendor_id: id.into(),
            ..Default::default()
        };
        let rows = vec![renamed("MSFT", "MS", "1"), renamed("OLD", "AAPL", "2")];
        kit.stated(crate::sourcing::Vendor::Alpaca, &["MSFT", "OLD"], range("2017-01-01", "2018-01-01"), "2018-02-01T12:00:00Z", rows);
        crate::reference::refresh_reference(&kit.root, &kit.db).unwrap();
        let tickers = Tickers::load(&kit.root).unwrap();
        let mut start = stage(closed());
        start.universe = Universe::new("builtin", ["MSFT", "AAPL", "OLD", "XOM"].map(String::from).to_vec());
        let next = follow(&start, day(ASOF), &tickers).unwrap();
        assert_eq!(next.universe.symbols, ["MS", "AAPL", "XOM"], "one that is there already is there once");
        assert_eq!(next.history.last().unwrap().why, "MSFT goes on as MS; OLD goes on as AAPL");
        assert_eq!((Stage::parse(&next.render()).unwrap(), follow(&next, day(ASOF), &tickers)), (next.clone(), None));
    }
}
