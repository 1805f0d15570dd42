use super::*;
use crate::sourcing::Vendor;

fn day(text: &str) -> TradingDay {
    text.parse().unwrap()
}
fn range(from: &str, to: &str) -> DateRange {
    DateRange::new(day(from), day(to)).unwrap()
}
fn names(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("S{i}")).collect()
}

#[test]
fn lesson_020_rows_are_bounded_and_stay_inside_the_window() {
    let e = Endpoints::built_in().unwrap();
    let eod = bootstrap_tasks(&e, "equities_eod", &names(2), range("2016-03-01", "2018-02-07"), Kind::Bootstrap, Some("run"));
    let windows: Vec<String> = eod.tasks.iter().map(|t| format!("{}{}", t.symbol, t.range)).collect();
    assert_eq!(windows[..2], ["S0[2016-03-01, 2017-01-01)", "S1[2016-03-01, 2017-01-01)"]);
    assert_eq!(windows[4..], ["S0[2018-01-01, 2018-02-07)", "S1[2018-01-01, 2018-02-07)"]);
    let minute = bootstrap_tasks(&e, "equities_minute", &names(1), range("2017-11-29", "2017-12-12"), Kind::Bootstrap, None);
    let windows: Vec<String> = minute.tasks.iter().map(|t| t.range.to_string()).collect();
    assert_eq!(windows, ["[2017-11-29, 2017-12-04)", "[2017-12-04, 2017-12-11)", "[2017-12-11, 2017-12-12)"]);
}

#[test]
fn lesson_006_nothing_is_asked_before_the_plans_first_day_or_after_the_last_due_session() {
    let e = Endpoints::built_in().unwrap();
    let planned = bootstrap_tasks(&e, "equities_eod", &names(3), range("2014-06-01", "2017-01-01"), Kind::Bootstrap, None);
    assert_eq!(planned.tasks.len(), 3);
    assert_eq!(planned.unserved.iter().map(|u| u.1.to_string()).collect::<Vec<_>>(), ["[2014-06-01, 2015-01-01)", "[2015-01-01, 2016-01-01)"]);
    let entry = e.entry(Vendor::Alpaca, "equities_eod").unwrap();
    let ask = |from: &str, to: &str, now: &str| clamp(&e, entry, range(from, to), UtcTime::parse(now).unwrap()).unwrap();
    assert_eq!(ask("2015-01-01", "2016-01-01", "2026-11-20T12:00:00Z"), Clamp::BeforeDepth);
    assert_eq!(ask("2015-06-01", "2017-01-01", "2026-11-20T12:00:00Z"), Clamp::Ask(range("2016-01-01", "2017-01-01")));
    // Friday 20 November: before the close Thursday is the newest, after it the weekend is known as well.
    assert_eq!(ask("2026-11-16", "2027-01-01", "2026-11-20T12:00:00Z"), Clamp::Ask(range("2026-11-16", "2026-11-20")));
    assert_eq!(ask("2026-11-16", "2027-01-01", "2026-11-20T21:16:00Z"), Clamp::Ask(range("2026-11-16", "2026-11-23")));
    assert_eq!(ask("2026-11-21", "2026-11-24", "2026-11-20T12:00:00Z"), Clamp::TooEarly(UtcTime::parse("2026-11-23T21:16:00Z").unwrap()));
}

#[test]
fn lesson_007_a_session_is_due_sixteen_minutes_after_its_close_on_every_kind_of_day() {
    let e = Endpoints::built_in().unwrap();
    let entry = e.entry(Vendor::Alpaca, "equities_eod").unwrap();
    for (session, due) in [
        ("2024-07-03", "2024-07-03T17:16:00Z"),
        ("2024-07-05", "2024-07-05T20:16:00Z"),
        ("2024-11-29", "2024-11-29T18:16:00Z"),
        ("2024-03-08", "2024-03-08T21:16:00Z"),
    ] {
        let due = UtcTime::parse(due).unwrap();
        let task = forward_tasks(&e, dataset::EQUITIES_EOD, &names(1), day(session), None).unwrap().remove(0);
        assert_eq!(task.not_before, Some(due));
        for minute in -40..40 {
            let now = due.plus_seconds(minute * 60);
            let asked = matches!(clamp(&e, entry, task.range, now).unwrap(), Clamp::Ask(_));
            assert_eq!(asked, minute >= 0, "{session} {now}");
        }
    }
}

#[test]
fn what_stands_now_is_never_taken_for_what_stood_on_an_earlier_session() {
    let e = Endpoints::built_in().unwrap();
    let entry = e.entry(Vendor::Alpaca, "options_chains").unwrap();
    let ask = |now: &str| clamp(&e, entry, range("2026-11-25", "2026-11-26"), UtcTime::parse(now).unwrap()).unwrap();
    assert_eq!(ask("2026-11-25T21:15:59Z"), Clamp::TooEarly(UtcTime::parse("2026-11-25T21:16:00Z").unwrap()));
    for now in ["2026-11-25T21:16:00Z", "2026-11-26T15:00:00Z", "2026-11-27T14:29:59Z"] {
        assert_eq!(ask(now), Clamp::Ask(range("2026-11-25", "2026-11-26")), "{now}: Thursday is a holiday");
    }
    assert_eq!(ask("2026-11-27T14:30:00Z"), Clamp::TooLate);
    // The curve is asked for when it is published, not at the close.
    let curve = e.entry(Vendor::Treasury, "treasury").unwrap();
    assert_eq!(due_at(curve, day("2026-11-25")).to_string(), "2026-11-25T23:30:00.000000Z");
}
