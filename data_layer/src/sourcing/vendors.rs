//! Keys and addresses: what a call needs beyond its path.

use super::{Endpoints, Vendor};
use crate::error::{Error, Result, code};
use crate::host::Host;
use crate::root::DataRoot;
use secrecy::ExposeSecret;
use std::collections::{BTreeMap, BTreeSet};

/// A key in memory; it has no `Display`, and `Debug` shows nothing of it.
pub type Secret = secrecy::SecretString;

/// An address that a request is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Base {
    AlpacaData,
    AlpacaTrading,
    Tiingo,
    Massive,
    Finnhub,
    AlphaVantage,
    Fmp,
    Fred,
    SecData,
    SecWww,
    Treasury,
}

impl Base {
    pub const ALL: &'static [Self] = &[
        Self::AlpacaData,
        Self::AlpacaTrading,
        Self::Tiingo,
        Self::Massive,
        Self::Finnhub,
        Self::AlphaVantage,
        Self::Fmp,
        Self::Fred,
        Self::SecData,
        Self::SecWww,
        Self::Treasury,
    ];
    /// The variable that replaces the address, and the address.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::AlpacaData => ("TRADEML_BASE_URL_ALPACA_DATA", "https://data.alpaca.markets"),
            Self::AlpacaTrading => ("TRADEML_BASE_URL_ALPACA_TRADING", "https://paper-api.alpaca.markets"),
            Self::Tiingo => ("TRADEML_BASE_URL_TIINGO", "https://api.tiingo.com"),
            Self::Massive => ("TRADEML_BASE_URL_MASSIVE", "https://api.massive.com"),
            Self::Finnhub => ("TRADEML_BASE_URL_FINNHUB", "https://finnhub.io/api/v1"),
            Self::AlphaVantage => ("TRADEML_BASE_URL_ALPHA_VANTAGE", "https://www.alphavantage.co"),
            Self::Fmp => ("TRADEML_BASE_URL_FMP", "https://financialmodelingprep.com"),
            Self::Fred => ("TRADEML_BASE_URL_FRED", "https://api.stlouisfed.org"),
            Self::SecData => ("TRADEML_BASE_URL_SEC_DATA", "https://data.sec.gov"),
            Self::SecWww => ("TRADEML_BASE_URL_SEC_WWW", "https://www.sec.gov"),
            Self::Treasury => ("TRADEML_BASE_URL_TREASURY", "https://home.treasury.gov"),
        }
    }
}

/// The variables that hold a vendor's key, all of which are needed.
pub fn key_variables(vendor: Vendor) -> &'static [&'static str] {
    match vendor {
        Vendor::Alpaca => &["ALPACA_API_KEY", "ALPACA_API_SECRET"],
        Vendor::Tiingo => &["TIINGO_API_KEY"],
        Vendor::Massive => &["MASSIVE_API_KEY"],
        Vendor::Finnhub => &["FINNHUB_API_KEY"],
        Vendor::AlphaVantage => &["ALPHA_VANTAGE_API_KEY"],
        Vendor::Fmp => &["FMP_API_KEY"],
        Vendor::Fred => &["FRED_API_KEY"],
        Vendor::SecEdgar => &["SEC_CONTACT"],
        Vendor::Treasury => &[],
    }
}

/// Where a vendor's data is asked for.
pub fn home(vendor: Vendor) -> Base {
    match vendor {
        Vendor::Alpaca => Base::AlpacaData,
        Vendor::Tiingo => Base::Tiingo,
        Vendor::Massive => Base::Massive,
        Vendor::Finnhub => Base::Finnhub,
        Vendor::AlphaVantage => Base::AlphaVantage,
        Vendor::Fmp => Base::Fmp,
        Vendor::Fred => Base::Fred,
        Vendor::SecEdgar => Base::SecData,
        Vendor::Treasury => Base::Treasury,
    }
}

/// The registry, the keys of this host and the addresses in force.
#[derive(Clone, Debug)]
pub struct Vendors {
    pub endpoints: Endpoints,
    /// By variable name.
    pub keys: BTreeMap<String, Secret>,
    pub base_urls: BTreeMap<Base, String>,
}

/// Assemble what vendor calls need: the registry (the drive's, if it has one), keys from the environment or from `env`
/// (the host's secrets file), and base addresses. The environment wins over the file.
pub fn vendors_from(host: &Host, root: &DataRoot, env: &BTreeMap<String, String>) -> Result<Vendors> {
    let value = |name: &str| host.env(name).map(str::to_string).or_else(|| env.get(name).cloned()).map(|v| v.trim().to_string()).filter(|v| !v.is_empty());
    let mut base_urls = BTreeMap::new();
    for base in Base::ALL {
        let (name, default) = base.names();
        let url = value(name).unwrap_or_else(|| default.to_string());
        check_base(name, &url)?;
        base_urls.insert(*base, url.trim_end_matches('/').to_string());
    }
    // A world's drive knows only the vendors that its world plays; a real key in the machine's file is none of its business.
    let played = |v: &&Vendor| !root.is_world() || base_urls.get(&home(**v)).is_some_and(|url| is_loopback(url));
    let (mut keys, mut keyed) = (BTreeMap::new(), BTreeSet::new());
    for vendor in Vendor::ALL.iter().filter(played) {
        let names = key_variables(*vendor);
        keys.extend(names.iter().filter_map(|name| Some(((*name).to_string(), Secret::from(value(name)?)))));
        if names.iter().all(|name| keys.contains_key(*name)) {
            keyed.insert(*vendor);
        }
    }
    let endpoints = Endpoints::load(root)?.with_keys(keyed);
    Ok(Vendors { endpoints, keys, base_urls })
}

impl Vendors {
    /// The variables a vendor needs and this host lacks.
    pub fn missing_keys(&self, vendor: Vendor) -> Vec<&'static str> {
        key_variables(vendor).iter().copied().filter(|k| !self.keys.contains_key(*k)).collect()
    }
    /// The address of a base.
    pub fn base(&self, base: Base) -> Result<&str> {
        self.base_urls.get(&base).map(String::as_str).ok_or_else(|| Error::bug(text!("no address for {base:?}")))
    }
    /// The key in a variable; a refusal names the variable, never a value.
    pub fn key(&self, variable: &str) -> Result<&Secret> {
        self.keys.get(variable).ok_or_else(|| Error::new(code::KEY_MISSING, text!("{variable} is not set")).fix("trademl pi-data-node"))
    }
    /// Replace every known key in a text by `***`: the last thing done to anything that a person or a file will see.
    pub fn redact(&self, text: &str) -> String {
        self.spellings().iter().fold(text.to_string(), |out, spelling| out.replace(spelling, "***"))
    }
    /// The same of bytes, whatever encoding they are in: keys are plain ASCII in all that a proxy's page may have.
    pub fn redact_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        self.spellings().iter().fold(bytes.to_vec(), |out, spelling| replace_bytes(&out, spelling.as_bytes()))
    }
    /// Every way in which a key may be written: as it is, in a URL, in JSON. The longest first.
    fn spellings(&self) -> Vec<String> {
        let mut out = BTreeSet::new();
        // SEC's contact is no secret; a very short "key" would blank out innocent text.
        for plain in self.keys.iter().filter(|(name, _)| *name != "SEC_CONTACT").map(|(_, key)| key.expose_secret()).filter(|key| key.len() >= 4) {
            let encoded = encode_query(plain);
            let strict = encoded.replace(',', "%2C").replace(':', "%3A").replace('/', "%2F");
            let quoted = serde_json::Value::from(plain).to_string();
            let json = quoted[1..quoted.len() - 1].to_string();
            let slashed = json.replace('/', "\\/");
            out.extend([plain.to_string(), lower_escapes(&encoded), lower_escapes(&strict), encoded, strict, json, slashed]);
        }
        let mut out: Vec<String> = out.into_iter().collect();
        out.sort_by_key(|spelling| std::cmp::Reverse(spelling.len()));
        out
    }
}

/// `%2f` for `%2F`.
fn lower_escapes(text: &str) -> String {
    let mut parts = text.split('%');
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |out, part| match part.split_at_checked(2) {
        Some((hex, rest)) => format!("{out}%{}{rest}", hex.to_ascii_lowercase()),
        None => format!("{out}%{part}"),
    })
}

fn replace_bytes(bytes: &[u8], what: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(what.len()).position(|window| window == what) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(b"***");
        rest = &rest[at + what.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// Plain HTTP to loopback only; never Alpaca's live trading host.
fn check_base(name: &str, url: &str) -> Result<()> {
    let refuse = |why: &str| Err(Error::new(code::NET_FORBIDDEN_HOST, text!("{name} is not acceptable")).cause(why.to_string()));
    let Ok(parsed) = reqwest::Url::parse(url) else { return refuse("it is not a URL") };
    if parsed.host_str() == Some("api.alpaca.markets") {
        return refuse("it is the host of live trading accounts, which nothing here may reach");
    }
    match parsed.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(url) => Ok(()),
        _ => refuse("plain http is allowed to this machine only"),
    }
}

/// Whether a URL points at this machine.
pub fn is_loopback(url: &str) -> bool {
    let Ok(parsed) = reqwest::Url::parse(url) else { return false };
    match parsed.host_str().map(|h| h.trim_matches(['[', ']'])) {
        Some("localhost") => true,
        Some(h) => h.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()),
        None => false,
    }
}

/// Percent-encode a query value; commas, colons and slashes stay readable.
pub fn encode_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b',' | b':' | b'/' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
