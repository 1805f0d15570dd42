use super::*;
use crate::ledger::{self, Status};
use crate::reference::{audit_partitions, refresh_reference};
use crate::stage::{Lane, LaneState, Stage, Universe};
use crate::testkit::{Kit, day, range};
use crate::vendor::{Company, Earnings, Filing, Rows};

const ONE: &str = "0000000001";
const TWO: &str = "0000000002";

/// A drive whose stage holds two companies' tickers and a name without a company.
fn staged(lanes: &[&str]) -> (Kit, Stage) {
    let active = lanes.iter().map(|name| ((*name).to_string(), Lane::Plain(LaneState::Active))).collect();
    (Kit::new(), Stage::initial(day("2018-01-02"), Universe::new("test", vec!["A".into(), "B".into(), "GONE".into()]), active))
}

fn list(kit: &Kit, on: &str) {
    let company = |(symbol, cik): (&str, &str)| Company { cik: cik.into(), symbol: symbol.into(), name: cik.into(), asof: day(on), source_uri: "s".into() };
    let rows = Rows::Companies([("A", ONE), ("B", TWO), ("OTHER", "0000000003")].map(company).to_vec());
    kit.commit_rows(Vendor::SecEdgar, dataset::COMPANIES, &[], DateRange { start: day(on), end: day(on).plus_days(1) }, &rows, &format!("{on}T22:00:00Z"));
}

fn filings(kit: &Kit, ciks: &[&str], window: DateRange, filed: &[(&str, &str, &str)]) {
    let filing = |(cik, form, on): &(&str, &str, &str)| Filing {
        cik: (*cik).into(),
        filed: day(on),
        accession: format!("{cik}-{on}"),
        form: (*form).into(),
        report_date: None,
        accepted: format!("{on}T16:30:00.000Z"),
        items: String::new(),
        source_uri: "s".into(),
    };
    kit.commit_rows(Vendor::SecEdgar, dataset::FILINGS, ciks, window, &Rows::Filings(filed.iter().map(filing).collect()), "2018-01-20T22:00:00Z");
}

fn shares(kit: &Kit, ciks: &[&str], window: DateRange) {
    kit.commit_rows(Vendor::SecEdgar, dataset::SHARES, ciks, window, &Rows::Facts(Vec::new()), "2018-01-20T22:00:00Z");
}

/// What the ledger says of a table after an audit over a window: code and count by session.
fn told(kit: &Kit, stage: &Stage, window: DateRange, table: &str) -> Vec<(String, String, u64, u64)> {
    let refreshed = refresh_reference(&kit.root, &kit.db).unwrap();
    let sessions = Calendar::xnys().sessions(window);
    audit_partitions(&kit.root, &kit.db, stage, sessions, &refreshed.damaged, false).unwrap();
    assert_eq!(audit_partitions(&kit.root, &kit.db, stage, sessions, &refreshed.damaged, false).unwrap(), 0, "nothing changes twice");
    assert_eq!(audit_partitions(&kit.root, &kit.db, stage, sessions, &refreshed.damaged, true).unwrap(), 0, "nor when all is read again");
    let all = ledger::all_rows(&kit.db).unwrap().into_iter().filter(|r| r.key.table_name == table);
    all.map(|r| (r.key.dt.to_string()[5..].to_string(), r.verdict.qc_code, r.verdict.row_count, r.verdict.expected_rows.unwrap())).collect()
}

fn row(on: &str, code: &str, have: u64, of: u64) -> (String, String, u64, u64) {
    (on.into(), code.into(), have, of)
}

#[test]
fn nothing_is_expected_of_lanes_that_no_key_opens_and_the_list_alone_of_a_drive_without_one() {
    let window = range("2018-01-08", "2018-01-13");
    for (lanes, want) in [(&[][..], vec![]), (&[dataset::COMPANIES][..], vec![row("01-12", "MISSING", 0, 1)])] {
        let (kit, stage) = staged(lanes);
        assert_eq!(told(&kit, &stage, window, table::REF_COMPANIES), want);
        for of in [table::RAW_FILINGS, table::REF_SHARES, table::REF_EARNINGS] {
            assert_eq!(told(&kit, &stage, window, of), [], "no company is known, and no calendar wanted");
        }
    }
}

#[test]
fn a_list_stands_for_a_week_and_what_nobody_saw_is_not_promised() {
    let (kit, stage) = staged(&[dataset::COMPANIES]);
    list(&kit, "2018-01-03");
    let week = told(&kit, &stage, range("2018-01-02", "2018-01-13"), table::REF_COMPANIES);
    assert_eq!(week.len(), 8, "from the first list on");
    assert!(week.iter().all(|r| r.1 == "OK"), "{week:?}");
    // The machine was off for two weeks; the newest session's list is still to come.
    let codes = |all: Vec<(String, String, u64, u64)>| -> Vec<(String, String)> { all.into_iter().skip(7).map(|r| (r.0, r.1)).collect() };
    let off = codes(told(&kit, &stage, range("2018-01-02", "2018-01-19"), table::REF_COMPANIES));
    let says = |all: &[(&str, &str)]| all.iter().map(|(a, b)| ((*a).to_string(), (*b).to_string())).collect::<Vec<_>>();
    assert_eq!(off, says(&[("01-12", "OK"), ("01-16", "NOT_SEEN"), ("01-17", "NOT_SEEN"), ("01-18", "MISSING")]));
    list(&kit, "2018-01-18");
    let back = codes(told(&kit, &stage, range("2018-01-02", "2018-01-19"), table::REF_COMPANIES));
    assert_eq!(back, says(&[("01-12", "OK"), ("01-16", "NOT_SEEN"), ("01-17", "NOT_SEEN"), ("01-18", "OK")]));
    assert_eq!((QcCode::NotSeen.status(), QcCode::Missing.status()), (Status::Amber, Status::Red));
}

#[test]
fn filings_are_expected_of_every_known_company_of_the_stage() {
    let (kit, stage) = staged(&[dataset::COMPANIES]);
    let window = range("2018-01-08", "2018-01-12");
    list(&kit, "2018-01-11");
    filings(&kit, &[ONE, TWO], range("2018-01-08", "2018-01-10"), &[]);
    filings(&kit, &[ONE], range("2018-01-10", "2018-01-12"), &[]);
    let (ok, one) = (|on| row(on, "OK", 2, 2), |on| row(on, "MISSING", 1, 2));
    assert_eq!(told(&kit, &stage, window, table::RAW_FILINGS), [ok("01-08"), ok("01-09"), one("01-10"), one("01-11")]);
    filings(&kit, &[TWO], range("2018-01-10", "2018-01-12"), &[]);
    assert_eq!(told(&kit, &stage, window, table::RAW_FILINGS), ["01-08", "01-09", "01-10", "01-11"].map(ok));
}

#[test]
fn counts_of_shares_stand_until_a_report_with_new_ones_is_filed_and_as_far_as_the_filings_were_read() {
    let (kit, stage) = staged(&[dataset::COMPANIES]);
    let window = range("2018-01-08", "2018-01-18");
    list(&kit, "2018-01-11");
    shares(&kit, &[ONE, TWO], range("2017-01-03", "2018-01-09"));
    let (ok, one, none) = (|on| row(on, "OK", 2, 2), |on| row(on, "MISSING", 1, 2), |on| row(on, "MISSING", 0, 2));
    let days = ["01-09", "01-10", "01-11", "01-12", "01-16", "01-17"];
    let of = |kit: &Kit| told(kit, &stage, window, table::REF_SHARES);
    assert_eq!(of(&kit), [vec![ok("01-08")], days.map(none).to_vec()].concat(), "nobody has read what was filed since");
    // A report of the first company, and something else of the second.
    filings(&kit, &[ONE, TWO], range("2018-01-08", "2018-01-17"), &[(ONE, "10-Q/A", "2018-01-11"), (TWO, "8-K", "2018-01-11")]);
    let now = [vec![ok("01-08"), ok("01-09"), ok("01-10")], ["01-11", "01-12", "01-16"].map(one).to_vec(), vec![none("01-17")]].concat();
    assert_eq!(of(&kit), now);
    shares(&kit, &[ONE], range("2018-01-08", "2018-01-18"));
    filings(&kit, &[TWO], range("2018-01-17", "2018-01-18"), &[]);
    assert_eq!(of(&kit), [["01-08"].map(ok).to_vec(), days.map(ok).to_vec()].concat());
}

#[test]
fn a_calendar_is_expected_of_each_session_since_the_first() {
    let (kit, stage) = staged(&[dataset::EARNINGS_CALENDAR]);
    let announced = |on: &str| Earnings {
        symbol: "A".into(),
        date: day(on),
        hour: String::new(),
        eps_estimate: None,
        eps_actual: None,
        revenue_estimate: None,
        revenue_actual: None,
        source_uri: "f".into(),
    };
    for on in ["2018-01-09", "2018-01-11"] {
        let rows = Rows::Earnings(vec![announced("2018-01-12")]);
        let window = DateRange { start: day(on), end: day(on).plus_days(45) };
        kit.commit_rows(Vendor::Finnhub, dataset::EARNINGS_CALENDAR, &[], window, &rows, &format!("{on}T22:00:00Z"));
    }
    let ok = |on| row(on, "OK", 1, 1);
    let want = [ok("01-09"), row("01-10", "NOT_SEEN", 0, 1), ok("01-11"), row("01-12", "MISSING", 0, 1)];
    assert_eq!(told(&kit, &stage, range("2018-01-08", "2018-01-13"), table::REF_EARNINGS), want);
}

#[test]
fn an_answer_that_cannot_be_read_vouches_for_nothing() {
    let (kit, stage) = staged(&[dataset::COMPANIES]);
    let window = range("2018-01-08", "2018-01-12");
    list(&kit, "2018-01-08");
    filings(&kit, &[ONE, TWO], window, &[(ONE, "8-K", "2018-01-09")]);
    assert!(told(&kit, &stage, window, table::RAW_FILINGS).iter().all(|r| r.1 == "OK"));
    let (_, manifest) = segment::manifests_for(&kit.root, table::RAW_FILINGS).unwrap().remove(0);
    let place = kit.place(&manifest.segments[0].path);
    let mut bytes = std::fs::read(&place).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&place, &bytes).unwrap();
    assert!(told(&kit, &stage, window, table::RAW_FILINGS).iter().all(|r| r.1 == "MISSING"));
}

#[test]
fn the_days_asked_are_one_span_and_reports_are_known_by_company() {
    let (kit, _) = staged(&[]);
    filings(&kit, &[ONE], range("2018-01-08", "2018-01-10"), &[(ONE, "10-K", "2018-01-08")]);
    filings(&kit, &[ONE, TWO], range("2018-01-10", "2018-01-12"), &[(TWO, "8-K", "2018-01-10"), (ONE, "10-K/A", "2018-01-11")]);
    let asked = days_asked(&kit.root, table::RAW_FILINGS, dataset::FILINGS).unwrap();
    assert_eq!(asked, BTreeMap::from([(ONE.into(), range("2018-01-08", "2018-01-12")), (TWO.into(), range("2018-01-10", "2018-01-12"))]));
    assert_eq!(report_days(&kit.root).unwrap(), BTreeMap::from([(ONE.into(), BTreeSet::from([day("2018-01-08"), day("2018-01-11")]))]));
}
