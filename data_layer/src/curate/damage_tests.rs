//! Damage that is found, set aside and asked again leaves everything as it would have been without it.

use super::tests::{digests, minute_digests, minutes_of};
use super::*;
use crate::bookmarks::{self, Bookmark, Key};
use crate::segment::Manifest;
use crate::testkit::{Kit, RawBar, bar_at, day, range};

/// A drive with a symbol that trades at 100, in 2017 at 50, and pays a dividend in June 2017 and one in the first days of 2018; of
/// some weeks there are minutes. Every answer has its bookmark.
struct Life {
    kit: Kit,
    /// The bars of 2017, and the actions.
    answers: [Manifest; 2],
}

fn price(day: TradingDay) -> f64 {
    if day.year() == 2017 { 50.0 } else { 100.0 }
}

fn bars(window: DateRange) -> Vec<RawBar> {
    crate::calendar::Calendar::xnys().sessions(window).iter().map(|d| bar_at("AAA", *d, price(*d))).collect()
}

fn year(year: i16) -> DateRange {
    DateRange { start: TradingDay::ymd(year, 1, 1).unwrap(), end: TradingDay::ymd(year + 1, 1, 1).unwrap() }
}

impl Life {
    fn new() -> Self {
        let kit = Kit::new();
        kit.stage_with_minutes(&["AAA"], "2018-02-28", 2);
        kit.listings("2018-01-02", &[("AAA", Some("2010-01-04"), None)]);
        kit.commit("alpaca", &["AAA"], year(2016), &bars(year(2016)));
        let january = range("2018-01-01", "2018-01-20");
        kit.commit("alpaca", &["AAA"], january, &bars(january));
        for week in [range("2017-05-08", "2017-05-13"), range("2017-12-04", "2017-12-09"), range("2018-01-08", "2018-01-13")] {
            minutes_of(&kit, week, price);
        }
        let mut life = Self { answers: [Self::year_2017(&kit), Self::actions(&kit)], kit };
        for m in life.answers.clone() {
            life.remember(&m);
        }
        life.curate();
        // A new session: the year 2018 is to be made again.
        let next = range("2018-01-20", "2018-01-24");
        life.kit.commit("alpaca", &["AAA"], next, &bars(next));
        life
    }
    fn year_2017(kit: &Kit) -> Manifest {
        kit.commit("alpaca", &["AAA"], year(2017), &bars(year(2017)))
    }
    fn actions(kit: &Kit) -> Manifest {
        let paid = [("AAA", "cash_dividend", "2017-06-15", None, Some(1.0)), ("AAA", "cash_dividend", "2018-01-03", None, Some(2.0))];
        kit.actions(&["AAA"], range("2016-01-01", "2018-02-01"), &paid)
    }
    fn remember(&mut self, m: &Manifest) {
        let range = DateRange { start: m.asked.t0, end: m.asked.t1 };
        let mark = Bookmark { cursor: None, pages: 1, rows: 1, complete: true, updated_at: m.ingested_at };
        let key = Key { vendor: &m.vendor, dataset: &m.dataset, symbol: "AAA", range };
        self.kit.db.write(|tx| bookmarks::put(tx, &key, &mark)).unwrap();
    }
    fn curate(&self) -> CurateReport {
        reference::refresh_reference(&self.kit.root, &self.kit.db).unwrap();
        curate_incremental(&self.kit.root, &self.kit.db).unwrap()
    }
    fn flip(&self, m: &Manifest) {
        let place = self.kit.place(&m.segments[0].path);
        let mut bytes = std::fs::read(&place).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        std::fs::write(place, bytes).unwrap();
    }
    /// What mending does with a damaged answer, or with one whose manifest is damaged.
    fn set_aside(&self, m: &Manifest) {
        let all = segment::manifests_for(&self.kit.root, &m.table).unwrap();
        let (path, _) = all.iter().find(|(_, held)| held == m).unwrap();
        for path in m.segments.iter().map(|s| &s.path).chain([path]) {
            segment::set_aside(&self.kit.root, path).unwrap();
        }
    }
    fn made(&self) -> (BTreeMap<String, Vec<Step>>, BTreeMap<String, String>, BTreeMap<String, String>) {
        (Deps::load(&self.kit.root).unwrap().steps, digests(&self.kit), minute_digests(&self.kit))
    }
}

fn is_unsure(life: &Life) -> bool {
    Deps::load(&life.kit.root).unwrap().unsure.contains("AAA")
}

fn undamaged() -> Life {
    let life = Life::new();
    life.curate();
    life
}

#[test]
fn a_damaged_year_that_is_set_aside_before_it_is_asked_again_leaves_no_wrong_factor() {
    let life = Life::new();
    life.flip(&life.answers[0]);
    life.curate();
    assert!(is_unsure(&life));
    // The service mends and curates before the vendor has answered.
    let before = life.made();
    life.set_aside(&life.answers[0]);
    let report = life.curate();
    assert!(is_unsure(&life) && !report.skipped.is_empty() && !report.minutes_skipped.is_empty(), "{report:?}");
    assert_eq!(life.made(), before, "nothing is told and nothing is made without the bars of that year");
    Life::year_2017(&life.kit);
    let healed = life.curate();
    assert!(healed.skipped.is_empty() && healed.minutes_skipped.is_empty() && !is_unsure(&life), "{healed:?}");
    assert_eq!(life.made(), undamaged().made());
}

#[test]
fn actions_that_are_lost_while_the_factors_are_unsure_do_not_become_no_actions() {
    let life = Life::new();
    life.flip(&life.answers[0]);
    life.curate();
    let before = life.made();
    life.set_aside(&life.answers[1]);
    life.flip(&life.answers[0]);
    life.curate();
    assert_eq!((is_unsure(&life), life.made()), (true, before));
    Life::actions(&life.kit);
    let healed = life.curate();
    assert!(healed.skipped.is_empty() && healed.minutes_skipped.is_empty() && !is_unsure(&life), "{healed:?}");
    assert_eq!(life.made(), undamaged().made());
}

#[test]
fn a_month_of_minutes_whose_manifest_is_lost_with_the_day_bars_stays_as_it_is() {
    let life = Life::new();
    life.curate();
    let before = life.made();
    let weeks = segment::manifests_for(&life.kit.root, table::RAW_EQUITIES_BARS).unwrap();
    let may = weeks.into_iter().map(|(_, m)| m).find(|m| m.tf == timeframe::MINUTE && m.asked.t0 == day("2017-05-08")).unwrap();
    life.set_aside(&life.answers[0]);
    life.set_aside(&may);
    let report = life.curate();
    assert_eq!(life.made(), before);
    assert!(report.minutes_skipped.contains(&("AAA".to_string(), range("2017-05-01", "2017-06-01"))), "{:?}", report.minutes_skipped);
    // Once the factors are known, what no manifest asks for goes.
    Life::year_2017(&life.kit);
    assert_eq!((life.curate().removed, minute_digests(&life.kit).len()), (1, before.2.len() - 1));
}
