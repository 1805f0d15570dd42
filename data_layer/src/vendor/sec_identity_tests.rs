use super::*;
use crate::schema::dataset;
use crate::time::DateRange;
use crate::vendor::Connector;
use crate::vendor::sec_edgar::SecEdgar;

fn batch(name: &str, symbols: &[&str], from: &str, to: &str) -> Batch {
    let range = DateRange::new(from.parse().unwrap(), to.parse().unwrap()).unwrap();
    Batch { dataset: name.into(), symbols: symbols.iter().map(ToString::to_string).collect(), range, page_rows: 1, under: Default::default() }
}

#[test]
fn a_list_of_tickers_names_companies_by_their_permanent_number() {
    let b = batch(dataset::COMPANIES, &[], "2024-02-01", "2024-02-02");
    let request = SecEdgar.plan(&b).unwrap().remove(0);
    assert_eq!(request.source_uri(), "sec_edgar:/files/company_tickers.json");
    let body = br#"{"0":{"cik_str":320193,"ticker":"AAPL","title":"Apple Inc."},"1":{"cik_str":1067983,"ticker":"BRK-B","title":"BERKSHIRE HATHAWAY INC"},
        "2":{"cik_str":19617,"ticker":"JPM-PC","title":"JPMORGAN CHASE & CO"}}"#;
    let Rows::Companies(rows) = SecEdgar.decode(&b, &request, body).unwrap().rows else { panic!("companies") };
    let said: Vec<(&str, &str)> = rows.iter().map(|c| (c.cik.as_str(), c.symbol.as_str())).collect();
    assert_eq!(said, [("0000320193", "AAPL"), ("0001067983", "BRK.B"), ("0000019617", "JPM-PC")]);
    assert_eq!(rows[0].asof.to_string(), "2024-02-01");
    for bad in [&br#"{"0":{"cik_str":320193,"title":"no ticker"}}"#[..], br#"{"0":{"cik_str":1,"ticker":" "}}"#, b"[]", b"<html>"] {
        assert!(SecEdgar.decode(&b, &request, bad).is_err());
    }
    assert!(!SecEdgar.may_be_empty(dataset::COMPANIES), "a list without a company is no list");
}

#[test]
fn filings_inside_the_window_are_kept_and_older_files_are_asked_only_where_they_reach_into_it() {
    let b = batch(dataset::FILINGS, &["320193"], "2024-01-01", "2024-06-01");
    let request = SecEdgar.plan(&b).unwrap().remove(0);
    assert_eq!(request.path, "/submissions/CIK0000320193.json");
    let body = br#"{"cik":"320193","name":"Apple Inc.","tickers":["AAPL"],"formerNames":[],"filings":{"recent":{
        "accessionNumber":["0000320193-24-000067","0000320193-24-000005","0000320193-23-000104"],"filingDate":["2024-05-02","2024-02-01","2023-11-02"],
        "reportDate":["2024-05-02","","2023-11-02"],"acceptanceDateTime":["2024-05-02T20:30:43.000Z","2024-02-01T21:30:33.000Z","2023-11-02T20:30:31.000Z"],
        "form":["8-K","4","8-K"],"items":["2.02,9.01","","2.02,9.01"],"size":[1,2,3]},
        "files":[{"name":"CIK0000320193-submissions-001.json","filingCount":5,"filingFrom":"1994-01-26","filingTo":"2014-12-10"},
                 {"name":"CIK0000320193-submissions-002.json","filingCount":5,"filingFrom":"2014-12-11","filingTo":"2024-01-15"}]}}"#;
    let page = SecEdgar.decode(&b, &request, body).unwrap();
    let Rows::Filings(rows) = page.rows else { panic!("filings") };
    let said: Vec<_> = rows.iter().map(|f| (f.filed.to_string(), f.form.as_str(), f.items.as_str(), f.report_date.map(|d| d.to_string()))).collect();
    assert_eq!(said, [("2024-05-02".into(), "8-K", "2.02,9.01", Some("2024-05-02".into())), ("2024-02-01".into(), "4", "", None)]);
    assert_eq!(page.follow.iter().map(|r| r.path.as_str()).collect::<Vec<_>>(), ["/submissions/CIK0000320193-submissions-002.json"]);
    let older = br#"{"accessionNumber":["a"],"filingDate":["2024-01-10"],"acceptanceDateTime":["2024-01-10T10:00:00.000Z"],"form":["10-Q"]}"#;
    let Rows::Filings(rows) = SecEdgar.decode(&b, &page.follow[0], older).unwrap().rows else { panic!("filings") };
    assert_eq!((rows[0].cik.as_str(), rows[0].form.as_str()), ("0000320193", "10-Q"));
    let other = String::from_utf8_lossy(body).replacen("\"320193\"", "\"789019\"", 1);
    assert!(SecEdgar.decode(&b, &request, other.as_bytes()).unwrap_err().contains("0000789019"));
    let ragged = String::from_utf8_lossy(body).replacen("\"8-K\",\"4\"", "\"8-K\"", 1);
    assert!(SecEdgar.decode(&b, &request, ragged.as_bytes()).unwrap_err().contains("lengths"));
    let elsewhere = String::from_utf8_lossy(body).replace("CIK0000320193-submissions-002", "CIK0000320193-submissions-../x");
    assert!(SecEdgar.decode(&b, &request, elsewhere.as_bytes()).is_err());
}
