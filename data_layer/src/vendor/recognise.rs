//! What a body is, by its structure alone: said beside a body that could not be decoded, so that "not bars" becomes "these
//! are quotes". It decides nothing; [`super::classify`] and the decoders do.

use serde_json::Value;

/// Where a shape's names are looked for.
#[derive(Clone, Copy)]
enum At {
    /// Keys of the object itself.
    Top,
    /// Keys of the first element of the list.
    Item,
    /// Keys of the first element of the list under this key.
    Under(&'static str),
    /// Keys of the first value of an object whose own keys are symbols.
    Keyed,
}

/// All of these names must be there; the first shape that fits names the body.
const SHAPES: &[(At, &[&str], &str)] = &[
    (At::Top, &["openapi", "paths"], "an interface description"),
    (At::Top, &["swagger", "paths"], "an interface description"),
    // Alpaca
    (At::Top, &["bars"], "bars"),
    (At::Item, &["trades", "quotes", "bars"], "a stream's subscription"),
    (At::Top, &["quotes"], "quotes"),
    (At::Top, &["trades"], "trades"),
    (At::Top, &["snapshots"], "snapshots"),
    (At::Top, &["corporate_actions"], "corporate actions"),
    (At::Item, &["ca_type", "corporate_action_id"], "corporate action announcements"),
    (At::Top, &["news"], "news"),
    (At::Top, &["headline", "author"], "news of a stream"),
    (At::Top, &["stream", "data"], "a stream's message"),
    (At::Top, &["action", "data"], "a stream's message"),
    (At::Item, &["T", "msg"], "a stream's message"),
    (At::Item, &["ev", "status"], "a stream's message"),
    (At::Top, &["trade_confirm_email"], "account settings"),
    (At::Top, &["option_contracts"], "option contracts"),
    (At::Top, &["root_symbol", "strike_price"], "an option contract"),
    (At::Item, &["client_order_id"], "orders"),
    (At::Top, &["client_order_id"], "an order"),
    (At::Item, &["symbol", "status", "body"], "closing orders"),
    (At::Item, &["asset_id", "qty"], "positions"),
    (At::Top, &["asset_id", "qty"], "a position"),
    (At::Top, &["cash", "currency", "status"], "an account"),
    (At::Top, &["buying_power", "account_number"], "an account"),
    (At::Top, &["gainers", "losers"], "market movers"),
    (At::Top, &["most_actives"], "most active names"),
    (At::Top, &["is_open", "next_open"], "a clock"),
    (At::Item, &["date", "open", "close"], "a calendar"),
    (At::Item, &["account_id", "name"], "watch lists"),
    (At::Top, &["account_id", "name"], "a watch list"),
    (At::Item, &["symbol", "exchange", "status"], "assets"),
    (At::Top, &["symbol", "exchange", "tradable"], "an asset"),
    (At::Item, &["id", "status"], "cancelled orders"),
    (At::Top, &["symbol", "trade"], "the latest trade"),
    (At::Top, &["trade"], "the latest trade"),
    (At::Top, &["symbol", "quote"], "the latest quote"),
    (At::Top, &["latestTrade"], "a snapshot"),
    (At::Keyed, &["latestTrade"], "snapshots"),
    // Alpha Vantage
    (At::Top, &["annualReports"], "statements"),
    (At::Top, &["annualEarnings"], "earnings"),
    (At::Top, &["Symbol", "AssetType"], "a company overview"),
    (At::Top, &["endpoint", "markets"], "market status"),
    (At::Top, &["bestMatches"], "a symbol search"),
    (At::Top, &["Meta Data"], "a time series"),
    (At::Top, &["Global Quote"], "a quote"),
    (At::Top, &["endpoint", "data"], "bulk quotes"),
    (At::Top, &["net_assets"], "a fund's profile"),
    (At::Top, &["Realtime Currency Exchange Rate"], "an exchange rate"),
    (At::Top, &["symbol", "dividends"], "dividends"),
    (At::Top, &["symbol", "splits"], "splits"),
    (At::Top, &["fiscalDateEnding"], "an earnings date"),
    (At::Top, &["symbol", "estimates"], "estimates"),
    (At::Top, &["symbol", "transactions"], "insider transactions"),
    (At::Top, &["feed"], "news"),
    (At::Top, &["sharesOutstanding"], "shares outstanding"),
    (At::Top, &["transcript"], "a transcript"),
    // Massive
    (At::Top, &["status", "open", "close", "symbol"], "a day's open and close"),
    (At::Top, &["adjusted", "resultsCount"], "aggregates"),
    (At::Under("results"), &["split_to"], "splits"),
    (At::Under("results"), &["ex_dividend_date"], "dividends"),
    (At::Under("results"), &["ticker", "locale"], "tickers"),
    (At::Top, &["converted"], "a conversion"),
    (At::Top, &["last", "status"], "a last trade or quote"),
    (At::Top, &["earlyHours"], "market status"),
    (At::Item, &["exchange", "name", "date", "status"], "market holidays"),
    (At::Top, &["results", "status"], "results of another lane"),
    (At::Top, &["results"], "results of another lane"),
    (At::Top, &["status", "tickers"], "snapshots"),
    (At::Top, &["status", "ticker"], "a snapshot"),
    (At::Top, &["status", "data"], "an order book"),
    // Finnhub
    (At::Top, &["historicalConstituents"], "an index's history"),
    (At::Top, &["constituents"], "an index's members"),
    (At::Top, &["earningsCalendar"], "an earnings calendar"),
    (At::Top, &["economicCalendar"], "an economic calendar"),
    (At::Top, &["ipoCalendar"], "a calendar of flotations"),
    (At::Item, &["headline"], "news"),
    (At::Top, &["sentiment", "buzz"], "news sentiment"),
    (At::Top, &["c", "h", "l", "o", "s"], "candles"),
    (At::Top, &["c", "h", "l", "o", "pc"], "a quote"),
    (At::Top, &["a", "b", "av", "bv"], "a quote"),
    (At::Top, &["p", "v", "t", "x"], "ticks"),
    (At::Item, &["description", "displaySymbol"], "symbols"),
    (At::Item, &["fromFactor", "toFactor"], "splits"),
    (At::Item, &["amount", "payDate"], "dividends"),
    (At::Item, &["actual", "estimate"], "earnings surprises"),
    (At::Item, &["buy", "hold"], "recommendations"),
    (At::Top, &["targetHigh"], "a price target"),
    (At::Top, &["stockAwards"], "executives' pay"),
    (At::Top, &["levels"], "support levels"),
    (At::Top, &["exchange", "isOpen"], "market status"),
    (At::Top, &["exchange", "data"], "market holidays"),
    (At::Top, &["financials"], "statements"),
    (At::Top, &["ipo", "marketCapitalization"], "a company profile"),
    (At::Top, &["cusip", "currency"], "a company profile"),
    (At::Top, &["event"], "an earnings call"),
    (At::Top, &["similarity"], "a similarity index"),
    (At::Top, &["count", "result"], "a search"),
    (At::Top, &["code", "data"], "an economic series"),
    (At::Item, &["code", "name"], "codes"),
    (At::Item, &["fromDate", "eventDescription"], "an agency's calendar"),
    (At::Top, &["from", "to", "data"], "a price index"),
    // FMP
    (At::Item, &["symbol", "delistedDate"], "delisted companies"),
    (At::Item, &["reportedCurrency", "filingDate"], "statements"),
    (At::Item, &["adjDividend"], "dividends"),
    (At::Item, &["symbol", "marketCap"], "a company profile"),
    // FRED
    (At::Top, &["observations", "output_type"], "observations"),
    (At::Top, &["vintage_dates"], "vintage dates"),
    (At::Top, &["seriess"], "series"),
    (At::Top, &["releases"], "releases"),
    (At::Top, &["release_dates"], "release dates"),
    (At::Top, &["sources"], "sources"),
    (At::Top, &["categories"], "categories"),
    (At::Top, &["elements", "release_id"], "a release table"),
    (At::Top, &["pager"], "a page for people"),
    // Anybody
    (At::Top, &["code", "message"], "an error"),
    (At::Top, &["Error Message"], "an error"),
    // SEC
    (At::Top, &["cik", "facts"], "company facts"),
    (At::Top, &["cik", "filings"], "a company's filings"),
];

/// First columns of the CSV bodies that are known.
const TABLES: &[(&str, &str)] = &[
    ("symbol,name,exchange,assetType", "a listing"),
    ("symbol,name,type,region", "a symbol search"),
    ("timestamp,open,high,low,close", "a time series"),
    ("time,open,high,low,close", "a time series"),
    ("symbol,open,high,low,price", "a quote"),
];

/// The name of what a body is, or `None` for something that was never seen.
pub fn shape(body: &[u8]) -> Option<&'static str> {
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        return json_shape(&value);
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(1_000)]);
    let text = text.trim_start();
    if text.starts_with("<?xml") || text.starts_with("<feed") {
        let roots = [("<observations", "observations in XML"), ("<seriess", "series in XML"), ("<error", "an error in XML"), ("<feed", "an Atom feed")];
        return roots.iter().find(|(tag, _)| text.contains(tag)).map(|(_, name)| *name);
    }
    TABLES.iter().find(|(head, _)| text.starts_with(head)).map(|(_, name)| *name)
}

fn json_shape(value: &Value) -> Option<&'static str> {
    match value {
        Value::Object(map) if map.is_empty() => return Some("an empty object"),
        Value::Array(list) if list.is_empty() => return Some("an empty list"),
        Value::Array(list) if list.iter().all(Value::is_string) => return Some("a list of names"),
        _ => {}
    }
    let has = |v: Option<&Value>, keys: &[&str]| v.and_then(Value::as_object).is_some_and(|map| keys.iter().all(|k| map.contains_key(*k)));
    let fits = |at: At, keys: &[&str]| match at {
        At::Top => has(Some(value), keys),
        At::Item => has(value.as_array().and_then(|l| l.first()), keys),
        At::Under(name) => has(value.get(name).and_then(Value::as_array).and_then(|l| l.first()), keys),
        At::Keyed => has(value.as_object().and_then(|m| m.values().next()), keys),
    };
    SHAPES.iter().find(|(at, keys, _)| fits(*at, keys)).map(|(.., name)| *name)
}

#[cfg(test)]
#[path = "recognise_tests.rs"]
mod tests;
