//! Names and numbers of symbols. The numbers differ from server to server, so they are asked for on every connection and kept nowhere.

use data_layer::ctrader::models::{LightSymbol, Symbol};
use data_layer::ctrader::words::TradingMode;
use data_layer::ctrader::{MAX_CLIENT_ORDER_ID, VOLUME_UNITS};
use std::collections::{BTreeMap, BTreeSet};

/// How brokers mark a share of the United States behind its ticker.
const SUFFIXES: [&str; 2] = ["", ".US"];

/// The symbols of one connection.
#[derive(Debug, Default)]
pub struct Symbols {
    /// What can be traded in the account's currency, by ticker.
    by_name: BTreeMap<String, Vec<i64>>,
    /// The ticker of a number, where it leads back to that number alone.
    by_id: BTreeMap<i64, String>,
    /// The server's own name of every number, for people.
    called: BTreeMap<i64, String>,
    /// Tickers of what can be traded in other currencies.
    foreign: BTreeSet<String>,
    /// Numbers that are quoted in the account's currency.
    home: BTreeSet<i64>,
}

/// A local no: code and words, as a broker's refusal has them.
pub type No = (&'static str, String);

impl Symbols {
    pub fn new(all: &[LightSymbol], currency: i64) -> Self {
        let mut out = Self::default();
        let mut bearers: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for symbol in all {
            let Some(name) = symbol.name.as_deref().filter(|n| !n.is_empty()) else { continue };
            let ours = name.strip_suffix(SUFFIXES[1]).unwrap_or(name).to_string();
            let (home, enabled) = (symbol.quote_asset == Some(currency), symbol.enabled != Some(false));
            out.called.insert(symbol.id, name.to_string());
            out.home.extend(home.then_some(symbol.id));
            bearers.entry(ours.clone()).or_default().push(symbol.id);
            if enabled && home {
                out.by_name.entry(ours).or_default().push(symbol.id);
            } else if enabled {
                out.foreign.insert(ours);
            }
        }
        // A symbol that is switched off may still be held, or be in an old order: alone under its ticker it keeps it.
        for (ticker, ids) in bearers {
            let one = out.id(&ticker).ok().or_else(|| ids.first().copied().filter(|id| ids.len() == 1 && out.home.contains(id)));
            out.by_id.extend(one.map(|id| (id, ticker)));
        }
        out
    }

    /// The number of a symbol by its ticker. Two that could be meant are none.
    pub fn id(&self, name: &str) -> Result<i64, No> {
        let doubt = || ("ambiguous_symbol", text!("the broker has several symbols that could be {name}"));
        match (self.by_name.get(name).map(Vec::as_slice), self.foreign.contains(name)) {
            (Some([one]), false) => Ok(*one),
            (Some(_), _) => Err(doubt()),
            (None, true) => Err(("currency", text!("{name} is not quoted in the account's currency"))),
            (None, false) => Err(("SYMBOL_NOT_FOUND", text!("the broker has no symbol {name}"))),
        }
    }

    /// The ticker of a number; one that no list has, or whose ticker could mean another, is shown as such and belongs to nobody.
    pub fn name(&self, id: i64) -> String {
        self.by_id.get(&id).cloned().unwrap_or_else(|| format!("#{id}"))
    }

    /// What the server calls a number.
    pub fn called(&self, id: i64) -> String {
        self.called.get(&id).cloned().unwrap_or_else(|| format!("#{id}"))
    }

    /// Whether a number is quoted in the account's currency.
    pub fn is_home(&self, id: i64) -> bool {
        self.home.contains(&id)
    }
}

/// The volume of so many shares, if the symbol's rules take it.
pub fn volume(rules: &Symbol, shares: f64, sells_short: bool) -> Result<i64, No> {
    let exact = shares * VOLUME_UNITS;
    let volume = exact.round() as i64;
    if (exact - volume as f64).abs() > 1e-6 || volume <= 0 {
        return Err(("TRADING_BAD_VOLUME", text!("{shares} shares are no whole number of hundredths")));
    }
    if rules.min_volume.is_some_and(|least| volume < least) || rules.max_volume.is_some_and(|most| volume > most) {
        let part = |v: Option<i64>| v.map_or(f64::NAN, |v| v as f64 / VOLUME_UNITS);
        return Err(("TRADING_BAD_VOLUME", text!("{shares} shares are outside of {} to {}", part(rules.min_volume), part(rules.max_volume))));
    }
    if rules.step_volume.is_some_and(|step| step > 0 && volume % step != 0) {
        return Err(("TRADING_BAD_VOLUME", text!("{shares} shares are no whole number of the broker's steps")));
    }
    match rules.trading_mode.map_or(Some(TradingMode::Enabled), TradingMode::of) {
        Some(TradingMode::Enabled) => {}
        Some(mode) => return Err(("TRADING_DISABLED", mode.as_str().to_string())),
        None => return Err(("TRADING_DISABLED", text!("the broker names a trading mode that is not known"))),
    }
    if sells_short && rules.short_selling == Some(false) {
        return Err(("SHORT_SELLING_NOT_ALLOWED", text!("the broker does not let this symbol be sold short")));
    }
    Ok(volume)
}

/// Whether the broker would cut the id off.
pub fn id_fits(id: &str) -> bool {
    !id.is_empty() && id.len() <= MAX_CLIENT_ORDER_ID
}

#[cfg(test)]
mod tests {
    use super::*;

    fn light(id: i64, name: &str, quote: i64, enabled: bool) -> LightSymbol {
        LightSymbol { id, name: Some(name.into()), enabled: Some(enabled), quote_asset: Some(quote), ..LightSymbol::default() }
    }

    #[test]
    fn names_are_mapped_with_and_without_a_suffix_and_doubt_is_a_no() {
        let all = [
            light(7, "AAPL.US", 1, true),
            light(8, "MSFT", 1, true),
            light(9, "XOM", 1, true),
            light(10, "XOM.US", 1, true),
            light(11, "SAP", 2, true),
            light(12, "OLD", 1, false),
        ];
        let symbols = Symbols::new(&all, 1);
        assert_eq!((symbols.id("AAPL"), symbols.id("MSFT")), (Ok(7), Ok(8)));
        assert_eq!(symbols.id("XOM").unwrap_err().0, "ambiguous_symbol");
        assert_eq!(symbols.id("SAP").unwrap_err().0, "currency");
        assert_eq!(symbols.id("OLD").unwrap_err().0, "SYMBOL_NOT_FOUND");
        assert_eq!((symbols.name(7), symbols.name(12), symbols.name(99)), ("AAPL".into(), "OLD".into(), "#99".into()));
    }

    #[test]
    fn a_number_has_a_ticker_only_where_the_ticker_means_that_number() {
        let all = [
            light(9, "XOM", 1, true),
            light(10, "XOM.US", 1, true),
            light(11, "SAP", 2, true),
            light(12, "SAP.US", 1, true),
            light(13, "AAPL", 1, false),
            light(14, "AAPL.US", 1, true),
            light(15, "BMW", 2, true),
            light(16, "GONE", 1, false),
            light(17, "GONE.US", 1, false),
        ];
        let symbols = Symbols::new(&all, 1);
        for (id, name) in [(9, "#9"), (10, "#10"), (11, "#11"), (12, "#12"), (13, "#13"), (14, "AAPL"), (15, "#15"), (16, "#16"), (17, "#17")] {
            assert_eq!(symbols.name(id), name, "{id}");
        }
        assert_eq!((symbols.id("SAP").unwrap_err().0, symbols.id("AAPL"), symbols.id("BMW").unwrap_err().0), ("ambiguous_symbol", Ok(14), "currency"));
        assert!(symbols.is_home(10) && !symbols.is_home(11) && !symbols.is_home(99));
        // No two numbers share a ticker: who counts by ticker counts everything once.
        let names: BTreeSet<String> = all.iter().map(|s| symbols.name(s.id)).collect();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn volumes_are_hundredths_within_the_broker_s_rules() {
        let rules = Symbol { min_volume: Some(100), max_volume: Some(10_000), step_volume: Some(100), short_selling: Some(false), ..Symbol::default() };
        assert_eq!(volume(&rules, 10.0, false), Ok(1_000));
        for (shares, short, code) in [
            (0.5, false, "TRADING_BAD_VOLUME"),
            (101.0, false, "TRADING_BAD_VOLUME"),
            (1.5, false, "TRADING_BAD_VOLUME"),
            (0.001, false, "TRADING_BAD_VOLUME"),
            (-1.0, false, "TRADING_BAD_VOLUME"),
            (f64::NAN, false, "TRADING_BAD_VOLUME"),
            (5.0, true, "SHORT_SELLING_NOT_ALLOWED"),
        ] {
            assert_eq!(volume(&rules, shares, short).unwrap_err().0, code, "{shares}");
        }
        let closed = Symbol { trading_mode: Some(3), ..rules.clone() };
        assert_eq!(volume(&closed, 5.0, false).unwrap_err().0, "TRADING_DISABLED");
        assert_eq!(volume(&Symbol { trading_mode: Some(9), ..rules }, 5.0, false).unwrap_err().0, "TRADING_DISABLED");
    }
}
