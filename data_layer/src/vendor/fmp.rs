//! FMP's stable interface: delisted companies of the whole market, page by page; the earnings calendar in one answer.
//!
//! The list of delisted companies has no filter of dates. It comes newest first, so its pages are read until one is empty, or until
//! one that is in that order ends before the window. A page may be shorter than was asked for and still not be the last: nothing
//! in it says so. Calls for single symbols answer for 87 of them on the free plan and are not asked.

use super::{Auth, Batch, Connector, Earnings, Listing, Page, Request, Rows};
use crate::error::{Error, Result};
use crate::schema::dataset;
use crate::sourcing::{Base, Vendor};
use crate::time::TradingDay;
use serde::Deserialize;

/// The connector.
pub struct Fmp;

const PAGE_ROWS: usize = 100;

impl Connector for Fmp {
    fn plan(&self, batch: &Batch) -> Result<Vec<Request>> {
        match batch.dataset.as_str() {
            dataset::DELISTINGS => Ok(vec![delisted(0)]),
            dataset::EARNINGS_CALENDAR => {
                let (from, to) = (batch.range.start.to_string(), batch.range.end.plus_days(-1).to_string());
                Ok(vec![request("/stable/earnings-calendar", vec![("from".into(), from), ("to".into(), to)])])
            }
            other => Err(Error::bug(text!("fmp does not serve {other}"))),
        }
    }

    fn decode(&self, batch: &Batch, request: &Request, body: &[u8]) -> std::result::Result<Page, String> {
        if batch.dataset == dataset::EARNINGS_CALENDAR {
            return calendar(batch, request, body);
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Row {
            symbol: String,
            company_name: Option<String>,
            exchange: Option<String>,
            ipo_date: Option<String>,
            delisted_date: Option<String>,
        }
        let list: Vec<Row> = serde_json::from_slice(body).map_err(|e| e.to_string())?;
        let empty = list.is_empty();
        let mut rows = Vec::with_capacity(list.len());
        let mut days = Vec::with_capacity(list.len());
        for r in list {
            let Some(gone) = day(r.delisted_date.as_deref())?.filter(|_| !r.symbol.is_empty()) else {
                return Err(text!("a delisting of '{}' without a symbol or a date", r.symbol));
            };
            days.push(gone);
            if gone < batch.range.start {
                continue;
            }
            rows.push(Listing {
                symbol: r.symbol,
                name: r.company_name.unwrap_or_default(),
                exchange: r.exchange.unwrap_or_default(),
                asset_type: "Stock".into(),
                ipo_date: day(r.ipo_date.as_deref())?,
                delisting_date: Some(gone),
                status: "Delisted".into(),
                asof: batch.range.end.plus_days(-1),
                source_uri: request.question(),
            });
        }
        let here: usize = request.query_value("page").and_then(|p| p.parse().ok()).unwrap_or(0);
        if empty && here == 0 {
            return Err("a market without a single delisted company".into());
        }
        // A page out of order promises nothing about those after it.
        let beyond = days.is_sorted_by(|a, b| a >= b) && days.last().is_some_and(|oldest| *oldest < batch.range.start);
        let next = (!empty && !beyond).then(|| delisted(here + 1));
        Ok(Page { rows: Rows::Listings(rows), next, follow: Vec::new() })
    }

    fn may_be_empty(&self, name: &str) -> bool {
        // Nobody need have left within a window; a list without anybody is refused where it is read.
        name == dataset::DELISTINGS
    }
}

/// One page of the delisted companies, newest first; the first page is also the cheapest call that needs a key.
pub fn delisted(page: usize) -> Request {
    request("/stable/delisted-companies", vec![("page".into(), page.to_string()), ("limit".into(), PAGE_ROWS.to_string())])
}

fn request(path: &str, query: Vec<(String, String)>) -> Request {
    let auth = Auth::Query("apikey", "FMP_API_KEY");
    Request { vendor: Vendor::Fmp, base: Base::Fmp, path: path.into(), query, auth, api_version: "stable", weight: 1, unique: None }
}

/// The dates of a window. The vendor cuts an answer without a word when it is full.
fn calendar(batch: &Batch, request: &Request, body: &[u8]) -> std::result::Result<Page, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Row {
        symbol: String,
        date: TradingDay,
        eps_actual: Option<f64>,
        eps_estimated: Option<f64>,
        revenue_actual: Option<f64>,
        revenue_estimated: Option<f64>,
    }
    let list: Vec<Row> = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    if list.len() >= batch.page_rows {
        return Err(text!("{} dates: the answer may have been cut there", list.len()));
    }
    if let Some(out) = list.iter().find(|r| !batch.range.contains(r.date)) {
        return Err(text!("a report of {} on {}, outside {}", out.symbol, out.date, batch.range));
    }
    let row = |r: Row| Earnings {
        symbol: r.symbol,
        date: r.date,
        hour: String::new(),
        eps_estimate: r.eps_estimated,
        eps_actual: r.eps_actual,
        revenue_estimate: r.revenue_estimated,
        revenue_actual: r.revenue_actual,
        source_uri: request.question(),
    };
    Ok(Page::last(Rows::Earnings(list.into_iter().map(row).collect())))
}

fn day(text: Option<&str>) -> std::result::Result<Option<TradingDay>, String> {
    match text.map(str::trim) {
        None | Some("" | "null") => Ok(None),
        Some(t) => t.parse().map(Some).map_err(|_| text!("'{t}' is not a date")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::DateRange;

    #[test]
    fn pages_follow_until_one_is_empty_or_older_than_the_window() {
        let range = DateRange::new("2026-06-01".parse().unwrap(), "2026-06-02".parse().unwrap()).unwrap();
        let b = Batch { dataset: dataset::DELISTINGS.into(), symbols: Vec::new(), range, page_rows: 100, under: Default::default() };
        let first = Fmp.plan(&b).unwrap().remove(0);
        let row = r#"{"symbol":"EDAP","companyName":"Edap","exchange":"NASDAQ","ipoDate":"1997-08-01","delistedDate":"2026-06-01"}"#;
        let full = format!("[{}]", vec![row; PAGE_ROWS].join(","));
        let page = Fmp.decode(&b, &first, full.as_bytes()).unwrap();
        assert_eq!(page.next.as_ref().and_then(|r| r.query_value("page")), Some("1"));
        let short = Fmp.decode(&b, &page.next.unwrap(), format!("[{row}]").as_bytes()).unwrap();
        let last = Fmp.decode(&b, &short.next.unwrap(), b"[]").unwrap();
        assert!(last.next.is_none() && last.rows.is_empty() && short.rows.len() == 1);
        assert_eq!(short.rows.len(), 1);
        // Pages in order end with the window; one that is not in order promises nothing.
        let older = row.replace("2026-06-01", "2026-05-29");
        let read = |rows: &[&str]| Fmp.decode(&b, &first, format!("[{}]", rows.join(",")).as_bytes()).unwrap();
        let (over, odd) = (read(&[row, &older]), read(&[&older, row]));
        assert_eq!((over.rows.len(), over.next.is_none(), odd.rows.len(), odd.next.is_some()), (1, true, 1, true));
        let Rows::Listings(listed) = over.rows else { panic!("listings") };
        assert_eq!(listed[0].asof.to_string(), "2026-06-01", "the day on which it was said");
        assert!(Fmp.decode(&b, &first, b"[]").is_err(), "an empty first page is no answer");
        assert!(Fmp.decode(&b, &first, br#"[{"symbol":"X","delistedDate":null}]"#).is_err());
        assert!(Fmp.decode(&b, &first, br#"{"Error Message":"x"}"#).is_err());
    }
}
