//! Option chains as Alpaca's free feed tells them: the newest quote of every contract on an underlying.
//!
//! The feed is indicative: trades are delayed and quotes modified, so rows are for research, never for prices to trade on.
//! A snapshot has no past; the day of a row is the day on which it was asked for, and the quote's own stamp is kept.

use super::{Page, Quote, Request, Rows};
use crate::time::TradingDay;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Where a chain is asked for.
pub fn path(underlying: &str) -> String {
    format!("/v1beta1/options/snapshots/{underlying}")
}

/// A contract's symbol: underlying, `YYMMDD`, `C` or `P`, strike in thousandths of a dollar with eight digits.
pub fn contract(underlying: &str, expiry: TradingDay, right: &str, strike: f64) -> String {
    format!("{underlying}{}{right}{:08}", expiry.to_string()[2..].replace('-', ""), (strike * 1_000.0).round() as i64)
}

/// Underlying, expiry, right and strike of a contract's symbol.
pub fn parts(symbol: &str) -> Option<(&str, TradingDay, &str, f64)> {
    let at = symbol.len().checked_sub(15).filter(|at| symbol.is_char_boundary(*at) && symbol.is_ascii())?;
    let (underlying, rest) = symbol.split_at(at);
    let expiry = format!("20{}-{}-{}", &rest[..2], &rest[2..4], &rest[4..6]).parse().ok()?;
    let right = Some(&rest[6..7]).filter(|r| matches!(*r, "C" | "P"))?;
    let strike: i64 = rest[7..].parse().ok()?;
    Some((underlying, expiry, right, strike as f64 / 1_000.0))
}

#[derive(Deserialize)]
struct Body {
    snapshots: BTreeMap<String, Snapshot>,
    #[serde(default)]
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Snapshot {
    latest_quote: Option<Latest>,
    latest_trade: Option<Trade>,
}

#[derive(Deserialize)]
struct Latest {
    t: String,
    bp: Option<f64>,
    ap: Option<f64>,
}

#[derive(Deserialize)]
struct Trade {
    p: Option<f64>,
}

/// One page of a chain that was asked for on `day`.
pub fn decode(day: TradingDay, request: &Request, body: &[u8]) -> std::result::Result<Page, String> {
    let parsed: Body = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let uri = request.question();
    let mut rows = Vec::with_capacity(parsed.snapshots.len());
    for (symbol, s) in parsed.snapshots {
        let (underlying, expiry, right, strike) = parts(&symbol).ok_or_else(|| format!("'{symbol}' is not a contract"))?;
        if path(underlying) != request.path {
            return Err(format!("a contract on {underlying}, which was not asked for"));
        }
        let (bid, ask, quoted_at) = s.latest_quote.map_or((None, None, String::new()), |q| (q.bp, q.ap, q.t));
        rows.push(Quote {
            underlying: underlying.into(),
            date: day,
            expiry,
            right: right.into(),
            strike,
            bid,
            ask,
            last: s.latest_trade.and_then(|t| t.p),
            quoted_at,
            source_uri: uri.clone(),
            contract: symbol,
        });
    }
    let next = parsed.next_page_token.filter(|t| !t.is_empty()).map(|t| request.with("page_token", t));
    Ok(Page { rows: Rows::Quotes(rows), next, follow: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contracts_symbol_says_what_it_is() {
        let expiry: TradingDay = "2021-11-26".parse().unwrap();
        for (underlying, right, strike, text) in [("MSFT", "C", 342.5, "MSFT211126C00342500"), ("A", "P", 0.5, "A211126P00000500")] {
            assert_eq!(contract(underlying, expiry, right, strike), text);
            assert_eq!(parts(text), Some((underlying, expiry, right, strike)));
        }
        for bad in ["", "MSFT", "MSFT211326C00342500", "MSFT211126X00342500", "MSFT211126C0034250x", "ÄÄÄÄÄÄÄÄÄÄ"] {
            assert_eq!(parts(bad), None, "{bad}");
        }
    }
}
