use super::*;
use crate::reference::refresh_reference;
use crate::schema::dataset;
use crate::sourcing::Vendor;
use crate::testkit::{Kit, day, range};
use crate::vendor::{Company, Earnings, Filing, Rows};

/// A calendar of `[from, to)` seen at an instant.
fn calendar(kit: &Kit, at: &str, (from, to): (&str, &str), dates: &[(&str, &str)]) {
    let row = |(symbol, date): &(&str, &str)| Earnings {
        symbol: (*symbol).into(),
        date: day(date),
        hour: "amc".into(),
        eps_estimate: None,
        eps_actual: None,
        revenue_estimate: None,
        revenue_actual: None,
        source_uri: "finnhub:/calendar/earnings".into(),
    };
    kit.commit_rows(Vendor::Finnhub, dataset::EARNINGS_CALENDAR, &[], range(from, to), &Rows::Earnings(dates.iter().map(row).collect()), at);
}

fn told(kit: &Kit) -> Vec<(String, TradingDay, TradingDay, Option<TradingDay>)> {
    refresh_reference(&kit.root, &kit.db).unwrap();
    load_earnings(&kit.root).unwrap().into_iter().map(|e| (e.symbol, e.report_date, e.announced, e.withdrawn)).collect()
}

#[test]
fn a_date_counts_from_the_first_close_after_it_was_seen_until_a_calendar_no_longer_holds_it() {
    let kit = Kit::new();
    // Seen on Monday evening, New York's time: known at Tuesday's close.
    calendar(&kit, "2018-01-08T23:00:00Z", ("2018-01-08", "2018-02-20"), &[("AAA", "2018-01-30"), ("BBB", "2018-02-19"), ("GONE", "2018-01-08")]);
    let first = told(&kit);
    assert_eq!(first, [("AAA".into(), day("2018-01-30"), day("2018-01-09"), None), ("BBB".into(), day("2018-02-19"), day("2018-01-09"), None)]);
    // At noon on Thursday AAA has moved; BBB lies beyond this calendar's end.
    calendar(&kit, "2018-01-11T17:00:00Z", ("2018-01-10", "2018-02-10"), &[("AAA", "2018-02-01")]);
    let second = told(&kit);
    assert_eq!(
        second,
        [
            ("AAA".into(), day("2018-01-30"), day("2018-01-09"), Some(day("2018-01-11"))),
            ("AAA".into(), day("2018-02-01"), day("2018-01-11"), None),
            ("BBB".into(), day("2018-02-19"), day("2018-01-09"), None)
        ]
    );
    // A date that is past is not withdrawn by a calendar that has moved on; one that comes back is a new statement.
    calendar(&kit, "2018-02-05T23:00:00Z", ("2018-02-05", "2018-03-20"), &[("BBB", "2018-02-20")]);
    calendar(&kit, "2018-02-06T23:00:00Z", ("2018-02-06", "2018-03-20"), &[("BBB", "2018-02-19")]);
    let bbb: Vec<_> = told(&kit).into_iter().filter(|e| e.0 == "BBB").map(|e| (e.1, e.2, e.3)).collect();
    let (t, u) = (day("2018-02-06"), day("2018-02-07"));
    assert_eq!(bbb, [(day("2018-02-19"), day("2018-01-09"), Some(t)), (day("2018-02-19"), u, None), (day("2018-02-20"), t, Some(u))]);
    assert_eq!(told(&kit)[1].3, None, "AAA reported on the first of February");
    // What was known before the last calendars came is what is known of that time now.
    let until = |all: &[(String, TradingDay, TradingDay, Option<TradingDay>)]| -> Vec<_> {
        let cut = day("2018-01-11");
        all.iter().filter(|e| e.2 <= cut).map(|e| (e.0.clone(), e.1, e.2, e.3.filter(|w| *w <= cut))).collect()
    };
    assert_eq!(until(&told(&kit)), until(&second), "tomorrow's calendar changes nothing that was known");
}

#[test]
fn an_8k_with_results_is_an_announcement_at_the_close_after_its_acceptance() {
    let kit = Kit::new();
    kit.listings("2018-01-02", &[("AAA", Some("2010-01-04"), None), ("AAB", Some("2010-01-04"), None)]);
    let company = |symbol: &str| Company { cik: "0000000001".into(), symbol: symbol.into(), name: "A".into(), asof: day("2018-01-02"), source_uri: "x".into() };
    let list = Rows::Companies(vec![company("AAA"), company("AAB")]);
    kit.commit_rows(Vendor::SecEdgar, dataset::COMPANIES, &[], range("2018-01-02", "2018-01-03"), &list, "2018-01-02T22:00:00Z");
    let filing = |filed: &str, accepted: &str, form: &str, items: &str| Filing {
        cik: "0000000001".into(),
        filed: day(filed),
        accession: accepted.into(),
        form: form.into(),
        report_date: None,
        accepted: accepted.into(),
        items: items.into(),
        source_uri: "x".into(),
    };
    let rows = vec![
        filing("2017-02-01", "2017-02-01T07:05:00.000Z", "8-K", "2.02,9.01"),
        filing("2017-05-02", "2017-05-02T16:31:00.000Z", "8-K", "2.02"),
        // 15:31 in New York if the stamp is UTC, and 19:31 if it is not: the later one is taken.
        filing("2017-08-01", "2017-08-01T19:31:00.000Z", "8-K", "2.02,7.01"),
        filing("2017-09-01", "2017-09-01T10:00:00.000Z", "8-K", "5.02"),
        filing("2017-09-05", "2017-09-05T10:00:00.000Z", "10-Q", ""),
    ];
    kit.commit_rows(Vendor::SecEdgar, dataset::FILINGS, &["0000000001"], range("2017-01-01", "2018-01-03"), &Rows::Filings(rows), "2018-01-02T22:00:00Z");
    let days = [day("2017-02-01"), day("2017-05-03"), day("2017-08-02")];
    let of = |symbol: &str| told(&kit).into_iter().filter(|e| e.0 == symbol).map(|e| (e.1, e.2)).collect::<Vec<_>>();
    assert_eq!(of("AAA"), days.map(|d| (d, d)));
    assert_eq!(of("AAB"), of("AAA"), "both classes of a company report");
}
