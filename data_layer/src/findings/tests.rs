use super::*;
use crate::audit::{AuditScope, audit_scan};
use crate::reference;
use crate::testkit::{Kit, RawBar, good_bars, range};
use crate::time::DateRange;

fn class<'a>(s: &'a Section, name: &str) -> Option<&'a Anomaly> {
    s.anomalies.iter().find(|a| a.class == name)
}

#[test]
fn every_anomaly_of_day_bars_has_a_class_an_example_and_a_reason() {
    let kit = Kit::new();
    kit.stage(&["AAA", "BBB", "NEW"]);
    kit.listings("2018-01-02", &[("AAA", Some("2010-01-04"), None), ("BBB", Some("2010-01-04"), None)]);
    reference::refresh_reference(&kit.root, &kit.db).unwrap();
    let window = range("2017-01-03", "2017-03-01");
    let mut bars = good_bars(&["AAA", "BBB"], window);
    bars.extend(good_bars(&["NEW"], range("2017-02-01", "2017-03-01")));
    let at = |bars: &mut Vec<RawBar>, symbol: &str, nth: usize, f: &dyn Fn(&mut RawBar)| {
        let list: Vec<usize> = (0..bars.len()).filter(|i| bars[*i].symbol == symbol).collect();
        f(&mut bars[list[nth]]);
    };
    // A move on ten times the volume, a null open, a high below the close, and a session that is not there.
    let aaa: Vec<usize> = (0..bars.len()).filter(|i| bars[*i].symbol == "AAA").collect();
    for i in &aaa[25..] {
        bars[*i].ohlcv.iter_mut().take(4).for_each(|v| *v = v.map(|p| p * 0.5));
    }
    at(&mut bars, "AAA", 25, &|b| b.ohlcv[4] = b.ohlcv[4].map(|v| v * 10.0));
    at(&mut bars, "AAA", 5, &|b| b.ohlcv[0] = None);
    at(&mut bars, "BBB", 7, &|b| b.ohlcv[1] = Some(0.01));
    let hole = bars.iter().position(|b| b.symbol == "BBB" && b.day == "2017-02-14".parse().unwrap()).unwrap();
    bars.remove(hole);
    kit.commit("alpaca", &["AAA", "BBB", "NEW"], window, &bars);
    audit_scan(&kit.root, &kit.db, &Default::default(), AuditScope::Full, window.end.plus_days(-1), window).unwrap();
    let found = findings(&kit.root, &kit.db).unwrap();
    let s = &found.sections[0];
    assert_eq!(s.codes.values().sum::<u64>(), s.counts["partitions expected"]);
    for (name, count) in [
        ("cells are null", 1),
        ("prices contradict each other", 1),
        ("a hole in a name's life", 1),
        ("a large move that was traded", 1),
        ("before a name's first bar", 20),
    ] {
        let a = class(s, name).unwrap_or_else(|| panic!("{name}: {:?}", s.anomalies));
        assert!(a.count == count && !a.explanation.is_empty() && !a.examples.is_empty(), "{a:?}");
    }
    let anomalies: u64 = s.anomalies.iter().map(|a| a.count).sum();
    assert_eq!(
        anomalies,
        s.codes.iter().filter(|(code, _)| !code.ends_with(" OK")).map(|(_, n)| n).sum::<u64>(),
        "every partition that is not GREEN is in a class"
    );
    assert_eq!((found.unexplained, found.violations), (0, 0));
    let text = found.markdown();
    assert!(text.contains("## equities_eod") && text.contains("a hole in a name's life (1)") && !text.contains("Unexplained.**"), "{text}");
}

#[test]
fn a_session_that_lies_apart_from_its_neighbours_is_told_from_a_move_that_stays() {
    let kit = Kit::new();
    kit.stage(&["AAA", "NEW"]);
    kit.listings("2018-01-02", &[("AAA", Some("2010-01-04"), None), ("NEW", Some("2010-01-04"), None)]);
    reference::refresh_reference(&kit.root, &kit.db).unwrap();
    let (window, begun) = (range("2017-01-03", "2017-03-01"), range("2017-02-01", "2017-03-01"));
    let flat = |symbol: &'static str, days: DateRange| {
        let sessions = crate::calendar::Calendar::xnys().sessions(days).iter().enumerate();
        sessions.map(move |(i, d)| crate::testkit::bar_at(symbol, *d, 100.0 + i as f64 / 10.0)).collect::<Vec<RawBar>>()
    };
    let scale = |bar: &mut RawBar, by: f64| bar.ohlcv.iter_mut().take(4).for_each(|v| *v = v.map(|p| p * by));
    let (mut aaa, mut new) = (flat("AAA", window), flat("NEW", begun));
    // One session of AAA alone lies a third lower; NEW begins at another level for its first session.
    scale(&mut aaa[20], 0.66);
    scale(&mut new[0], 1.55);
    kit.commit("alpaca", &["AAA", "NEW"], window, &[aaa, new].concat());
    audit_scan(&kit.root, &kit.db, &Default::default(), AuditScope::Full, window.end.plus_days(-1), window).unwrap();
    let found = findings(&kit.root, &kit.db).unwrap();
    let s = &found.sections[0];
    let odd = class(s, "a session out of line with those around it").unwrap_or_else(|| panic!("{:?}", s.anomalies));
    assert!(odd.count == 1 && odd.examples[0].contains("around 2017-02-01"), "{odd:?}");
    assert_eq!(class(s, "a large move in a name's first week").map(|a| a.count), Some(1), "{:?}", s.anomalies);
    assert_eq!(found.unexplained, 0);
}
