//! Tiingo: the deepest free history of daily prices, one call for a symbol's whole life.
//!
//! `close` is raw; the `adj*` columns are adjusted as of the day of the download and are never read. Splits and dividends
//! stand in the same rows (`splitFactor` 2.0 on the ex-date of a 2:1, `divCash` in dollars a share), so the answer serves
//! corporate actions as well. A JSON object with `detail` where a list is due is a refusal, never an empty list.

use super::{Action, Auth, Bar, Batch, Connector, Page, Request, Rows, Stamp, day_of_stamp, midnight};
use crate::error::{Error, Result};
use crate::schema::dataset;
use crate::sourcing::{Base, Vendor};
use crate::time::{DateRange, TradingDay};
use serde::Deserialize;

/// The connector.
pub struct Tiingo;

const AUTH: Auth = Auth::Headers(&[("Authorization", "Token ", "TIINGO_API_KEY")]);

impl Connector for Tiingo {
    fn plan(&self, batch: &Batch) -> Result<Vec<Request>> {
        match batch.dataset.as_str() {
            dataset::EQUITIES_EOD | dataset::CORP_ACTIONS => Ok(batch.symbols.iter().map(|s| prices(s, batch.range)).collect()),
            other => Err(Error::bug(text!("tiingo does not serve {other}"))),
        }
    }

    fn actions_beside(&self, batch: &Batch, request: &Request, body: &[u8]) -> Option<Rows> {
        let asked_for_actions = Batch { dataset: dataset::CORP_ACTIONS.into(), ..batch.clone() };
        let wanted = batch.dataset == dataset::EQUITIES_EOD;
        // What cannot be decoded here could not be decoded as bars either.
        wanted.then(|| self.decode(&asked_for_actions, request, body).ok()).flatten().map(|page| page.rows)
    }

    fn decode(&self, batch: &Batch, request: &Request, body: &[u8]) -> std::result::Result<Page, String> {
        let list: Vec<Row> = serde_json::from_slice(body).map_err(|e| e.to_string())?;
        let symbol = asked(batch, request).ok_or("an answer to a question that was not asked")?;
        let uri = request.question();
        let mut rows = Vec::with_capacity(list.len());
        for row in list {
            let date = day_of_stamp(&row.date)?;
            if !batch.range.contains(date) {
                return Err(text!("a row of {symbol} on {date}, outside {}", batch.range));
            }
            rows.push((date, row));
        }
        Ok(Page::last(if batch.dataset == dataset::CORP_ACTIONS {
            Rows::Actions(rows.iter().flat_map(|(date, row)| actions(symbol, *date, row, &uri)).collect())
        } else {
            Rows::Bars(rows.into_iter().map(|(date, row)| bar(symbol, date, row, &uri)).collect())
        }))
    }

    fn may_be_empty(&self, name: &str) -> bool {
        name == dataset::CORP_ACTIONS
    }
}

/// `GET /api/test`: a call that counts and tells whether the key is known.
pub fn test() -> Request {
    request("/api/test".into(), Vec::new(), None)
}

fn request(path: String, query: Vec<(&str, String)>, unique: Option<String>) -> Request {
    let query = query.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
    Request { vendor: Vendor::Tiingo, base: Base::Tiingo, path, query, auth: AUTH, api_version: "daily", weight: 1, unique }
}

fn prices(symbol: &str, range: DateRange) -> Request {
    let query = vec![
        ("startDate", range.start.to_string()),
        ("endDate", range.end.plus_days(-1).to_string()),
        ("format", "json".into()),
        ("resampleFreq", "daily".into()),
    ];
    request(path(symbol), query, Some(symbol.to_string()))
}

/// The vendor writes share classes with a hyphen: `BRK.B` is `BRK-B`.
fn path(symbol: &str) -> String {
    format!("/tiingo/daily/{}/prices", symbol.replace(['.', '/'], "-"))
}

fn asked<'a>(batch: &'a Batch, request: &Request) -> Option<&'a str> {
    batch.symbols.iter().find(|s| path(s) == request.path).map(String::as_str)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    date: String,
    open: Option<f64>,
    high: Option<f64>,
    low: Option<f64>,
    close: Option<f64>,
    volume: Option<f64>,
    div_cash: Option<f64>,
    split_factor: Option<f64>,
}

fn bar(symbol: &str, date: TradingDay, row: Row, uri: &str) -> Bar {
    Bar {
        date,
        ts: midnight(date),
        symbol: symbol.into(),
        ohlc: [row.open, row.high, row.low, row.close],
        vwap: None,
        volume: row.volume,
        trades: None,
        source_uri: uri.into(),
        vendor_ts: Stamp::Words(row.date.into()),
        feed: "composite".into(),
        asked_symbol: symbol.into(),
    }
}

/// What happened on an ex-date: a split where the factor is not 1, cash where some was paid.
fn actions(symbol: &str, date: TradingDay, row: &Row, uri: &str) -> Vec<Action> {
    let one = |kind: &str, ratio: Option<f64>, cash: Option<f64>| Action {
        symbol: symbol.into(),
        event_type: kind.into(),
        ex_date: Some(date),
        process_date: Some(date),
        ratio,
        cash,
        vendor_id: format!("{symbol}:{date}:{kind}"),
        source_uri: uri.into(),
        ..Action::default()
    };
    let factor = row.split_factor.filter(|f| *f > 0.0 && (*f - 1.0).abs() > 1e-9);
    let split = factor.map(|f| one(if f < 1.0 { "reverse_split" } else { "forward_split" }, Some(f), None));
    let cash = row.div_cash.filter(|c| *c > 0.0).map(|c| one("cash_dividend", None, Some(c)));
    split.into_iter().chain(cash).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(name: &str, symbol: &str) -> Batch {
        let range = DateRange::new("2020-08-28".parse().unwrap(), "2020-09-02".parse().unwrap()).unwrap();
        Batch { dataset: name.into(), symbols: vec![symbol.into()], range, page_rows: 100_000, under: Default::default() }
    }
    const BODY: &[u8] = br#"[{"date":"2020-08-28T00:00:00.000Z","open":504.05,"high":505.77,"low":498.31,"close":499.23,"volume":46907479,"adjClose":122.1,"adjVolume":187629916,"divCash":0.0,"splitFactor":1.0},
        {"date":"2020-08-31T00:00:00.000Z","open":127.58,"high":131.0,"low":126.0,"close":129.04,"volume":223505733,"adjClose":126.2,"adjVolume":223505733,"divCash":0.0,"splitFactor":4.0}]"#;

    #[test]
    fn lesson_049_raw_columns_are_read_and_the_adjusted_ones_are_not() {
        let b = batch(dataset::EQUITIES_EOD, "AAPL");
        let request = Tiingo.plan(&b).unwrap().remove(0);
        assert_eq!(
            (request.source_uri().as_str(), request.unique.as_deref()),
            ("tiingo:/tiingo/daily/AAPL/prices?startDate=2020-08-28&endDate=2020-09-01&format=json&resampleFreq=daily", Some("AAPL"))
        );
        let Rows::Bars(bars) = Tiingo.decode(&b, &request, BODY).unwrap().rows else { panic!("bars") };
        assert_eq!((bars[0].ohlc[3], bars[0].volume, bars[1].date.to_string()), (Some(499.23), Some(46_907_479.0), "2020-08-31".into()));
    }

    #[test]
    fn lesson_041_a_split_factor_is_new_over_old_already() {
        let b = batch(dataset::CORP_ACTIONS, "AAPL");
        let request = Tiingo.plan(&b).unwrap().remove(0);
        let Rows::Actions(rows) = Tiingo.decode(&b, &request, BODY).unwrap().rows else { panic!("actions") };
        assert_eq!(
            rows.iter().map(|a| (a.event_type.as_str(), a.ratio, a.ex_date.unwrap().to_string())).collect::<Vec<_>>(),
            [("forward_split", Some(4.0), "2020-08-31".into())]
        );
    }

    #[test]
    fn share_classes_are_spelled_the_vendors_way_and_a_detail_is_never_empty() {
        let b = batch(dataset::EQUITIES_EOD, "BRK.B");
        let request = Tiingo.plan(&b).unwrap().remove(0);
        assert_eq!(request.path, "/tiingo/daily/BRK-B/prices");
        assert!(Tiingo.decode(&b, &request, br#"{"detail":"Not found."}"#).is_err());
        assert!(Tiingo.decode(&b, &request, br#"[{"date":"2019-01-02T00:00:00.000Z","close":1.0}]"#).unwrap_err().contains("outside"));
    }
}
