//! The newest trade of a symbol, from Alpaca's market data: what an order is checked against once the last close has aged.

use super::wire::{number, stamp};
use super::{AlpacaBroker, Verb, check_base, malformed, status_error, unreachable_error};
use data_layer::error::{Error, Result, code};
use data_layer::time::UtcTime;
use serde_json::Value;

const DATA_HOST: &str = "https://data.alpaca.markets";
const BASE_VARIABLE: &str = "TRADEML_BASE_URL_ALPACA_DATA";

impl AlpacaBroker {
    /// Price and moment; none where nothing was ever traded. A paper account at a double on loopback reads no prices elsewhere.
    pub(super) fn latest_trade(&self, symbol: &str) -> Result<Option<(f64, UtcTime)>> {
        let base = self.host.env(BASE_VARIABLE).map_or_else(|| DATA_HOST.to_string(), |b| b.trim_end_matches('/').to_string());
        let loopback = |b: &str| check_base(b, None).unwrap_or(false);
        if loopback(&self.base) != loopback(&base) {
            return Ok(None);
        }
        if !loopback(&base) && base != DATA_HOST {
            return Err(Error::new(code::NET_FORBIDDEN_HOST, "prices are read from Alpaca or from loopback only").found(format!("{BASE_VARIABLE}={base}")));
        }
        let path = format!("/v2/stocks/{symbol}/trades/latest");
        let answer = self.call_at(&base, &Verb::Get, &path, &[("feed", "iex".to_string())]).map_err(|t| unreachable_error(&t.0))?;
        match answer.status {
            200 => {}
            404 => return Ok(None),
            _ => return Err(status_error(&path, &answer)),
        }
        let body: Value = serde_json::from_str(&answer.body).map_err(|_| malformed(&path))?;
        let trade = body.get("trade").ok_or_else(|| malformed(&path))?;
        match (number(trade.get("p")).filter(|p| *p > 0.0), stamp(trade, "t")) {
            (Some(price), Some(at)) => Ok(Some((price, at))),
            _ => Err(malformed(&path)),
        }
    }
}
