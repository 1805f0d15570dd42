//! Who the SEC's companies are: the list of tickers with their companies, and what a company filed when.
//!
//! The list is today's and has no past; it is kept with the day on which it was seen. A company's filings come as columns, the
//! newest thousand in one file and older ones in further files, of which those that reach into the window are asked for.

use super::sec_edgar::{Number, request};
use super::{Batch, Company, Filing, Page, Request, Rows};
use crate::sourcing::Base;
use crate::time::TradingDay;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Every ticker that the SEC knows today, with its company.
pub fn company_tickers() -> Request {
    request(Base::SecWww, "/files/company_tickers.json".into(), "company_tickers")
}

/// The filings of one company.
pub fn submissions(cik: &str) -> Request {
    request(Base::SecData, format!("/submissions/CIK{cik:0>10}.json"), "submissions")
}

#[derive(Deserialize)]
struct Listed {
    cik_str: Number,
    ticker: String,
    #[serde(default)]
    title: String,
}

/// `{"0": {"cik_str", "ticker", "title"}, ...}`.
pub(super) fn companies(batch: &Batch, request: &Request, body: &[u8]) -> std::result::Result<Page, String> {
    let parsed: BTreeMap<String, Listed> = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let row = |l: Listed| Company {
        cik: l.cik_str.0,
        symbol: canonical(&l.ticker),
        name: l.title,
        asof: batch.range.end.plus_days(-1),
        source_uri: request.question(),
    };
    let rows: Vec<Company> = parsed.into_values().map(row).collect();
    match rows.iter().find(|r| r.symbol.is_empty()) {
        Some(nameless) => Err(text!("company {} without a ticker", nameless.cik)),
        None => Ok(Page::last(Rows::Companies(rows))),
    }
}

/// The SEC writes a class of shares with a hyphen (`BRK-B`), prices and listings with a dot.
fn canonical(ticker: &str) -> String {
    let upper = ticker.trim().to_ascii_uppercase();
    match upper.rsplit_once('-') {
        Some((name, class)) if class.len() == 1 => format!("{name}.{class}"),
        _ => upper,
    }
}

/// Columns of equal length; the SEC adds others from time to time.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Columns {
    accession_number: Vec<String>,
    filing_date: Vec<TradingDay>,
    #[serde(default)]
    report_date: Vec<String>,
    acceptance_date_time: Vec<String>,
    form: Vec<String>,
    #[serde(default)]
    items: Vec<String>,
}

#[derive(Deserialize)]
struct Filings {
    recent: Columns,
    #[serde(default)]
    files: Vec<Older>,
}

/// A file of older filings.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Older {
    name: String,
    filing_from: TradingDay,
    filing_to: TradingDay,
}

#[derive(Deserialize)]
struct Submissions {
    cik: Number,
    filings: Filings,
}

pub(super) fn filings(batch: &Batch, request: &Request, body: &[u8]) -> std::result::Result<Page, String> {
    let name = request.path.trim_start_matches("/submissions/");
    let cik = name.get(3..13).unwrap_or_default();
    if name.contains("-submissions-") {
        let columns: Columns = serde_json::from_slice(body).map_err(|e| e.to_string())?;
        return Ok(Page::last(Rows::Filings(rows(batch, cik, columns, &request.question())?)));
    }
    let parsed: Submissions = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    if parsed.cik.0 != cik {
        return Err(text!("the filings of company {}, not of {cik}", parsed.cik.0));
    }
    let asked = |older: &Older| older.filing_from < batch.range.end && batch.range.start <= older.filing_to;
    let mut follow = Vec::new();
    for older in parsed.filings.files.iter().filter(|o| asked(o)) {
        if !older.name.starts_with(&format!("CIK{cik}-submissions-")) || older.name.contains('/') {
            return Err(text!("older filings in '{}'", older.name));
        }
        follow.push(Request { path: format!("/submissions/{}", older.name), ..request.clone() });
    }
    Ok(Page { rows: Rows::Filings(rows(batch, cik, parsed.filings.recent, &request.question())?), next: None, follow })
}

fn rows(batch: &Batch, cik: &str, c: Columns, uri: &str) -> std::result::Result<Vec<Filing>, String> {
    let n = c.accession_number.len();
    let short = |len: usize| len != n && len != 0;
    if c.filing_date.len() != n || c.acceptance_date_time.len() != n || c.form.len() != n || short(c.report_date.len()) || short(c.items.len()) {
        return Err(text!("columns of different lengths beside {n} filings"));
    }
    let at = |column: &[String], i: usize| column.get(i).cloned().unwrap_or_default();
    let mut out = Vec::new();
    for (i, filed) in c.filing_date.iter().copied().enumerate().filter(|(_, day)| batch.range.contains(*day)) {
        let report = at(&c.report_date, i);
        out.push(Filing {
            cik: cik.to_string(),
            filed,
            accession: at(&c.accession_number, i),
            form: at(&c.form, i),
            report_date: if report.is_empty() { None } else { Some(report.parse().map_err(|_| text!("'{report}' is not a date"))?) },
            accepted: at(&c.acceptance_date_time, i),
            items: at(&c.items, i),
            source_uri: uri.to_string(),
        });
    }
    Ok(out)
}

#[cfg(test)]
#[path = "sec_identity_tests.rs"]
mod tests;
