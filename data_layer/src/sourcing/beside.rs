//! Lanes that are collected beside prices only where `backfill.yml` asks for them: which, of whom, how much of them a day.

use super::settings::{BackfillConfig, DatasetWish};
use crate::error::{Error, Result, code};
use crate::schema::dataset;

/// Datasets with a switch of their own (`collect`), in the order in which they are told.
pub const BESIDE: [&str; 4] = [dataset::TREASURY, dataset::DELISTINGS, dataset::FUNDAMENTALS, dataset::OPTIONS_CHAINS];

/// Underlyings whose chains may be asked for after a session: at four pages each a minute of the vendor's 200 calls (our assumption).
pub const MOST_UNDERLYINGS: usize = 50;
/// Days between two looks at the list of delisted companies where nothing else is said.
const EVERY_DAYS: u16 = 7;
/// Companies of which all numbers are asked for in a day where nothing else is said: a few megabytes each.
const COMPANIES_A_DAY: u16 = 20;

impl BackfillConfig {
    /// Whether a dataset is wanted: a lane beside the prices only where its switch is on, and chains only of somebody.
    pub fn wants(&self, name: &str) -> bool {
        let on = self.datasets.get(name).and_then(|wish| wish.collect) == Some(true);
        !BESIDE.contains(&name) || on && (name != dataset::OPTIONS_CHAINS || !self.underlyings().is_empty())
    }
    /// The names whose option chains are wanted.
    pub fn underlyings(&self) -> &[String] {
        self.datasets.get(dataset::OPTIONS_CHAINS).map_or(&[], |wish| wish.symbols.as_slice())
    }
    /// Days between two looks at the list of delisted companies.
    pub fn delistings_every(&self) -> u16 {
        self.datasets.get(dataset::DELISTINGS).and_then(|wish| wish.every_days).unwrap_or(EVERY_DAYS)
    }
    /// Companies of which all numbers are asked for in a day, at most.
    pub fn companies_a_day(&self) -> u16 {
        self.datasets.get(dataset::FUNDAMENTALS).and_then(|wish| wish.companies_a_day).unwrap_or(COMPANIES_A_DAY)
    }

    /// A key where it means nothing is an error, not a wish that nobody grants.
    pub(super) fn check_beside(&self, file: &str) -> Result<()> {
        for (name, wish) in &self.datasets {
            check(name, wish).map_err(|why| Error::new(code::CFG_VALUE, text!("{file}: datasets.{name}: {why}")))?;
        }
        Ok(())
    }
}

fn check(name: &str, wish: &DatasetWish) -> std::result::Result<(), String> {
    let only = |given: bool, key: &str, of: &[&str]| match given && !of.contains(&name) {
        true => Err(text!("{key} belongs to {}", of.join(", "))),
        false => Ok(()),
    };
    only(wish.collect.is_some(), "collect", &BESIDE)?;
    only(!wish.symbols.is_empty(), "symbols", &[dataset::OPTIONS_CHAINS])?;
    only(wish.every_days.is_some(), "every_days", &[dataset::DELISTINGS])?;
    only(wish.companies_a_day.is_some(), "companies_a_day", &[dataset::FUNDAMENTALS])?;
    if wish.every_days == Some(0) || wish.companies_a_day == Some(0) {
        return Err(text!("0 is not a number of days or companies; collect: false switches it off"));
    }
    if wish.symbols.len() > MOST_UNDERLYINGS {
        return Err(text!("{} underlyings are more than the {MOST_UNDERLYINGS} that fit into a minute", wish.symbols.len()));
    }
    let odd = |s: &&String| s.is_empty() || s.len() > 8 || !s.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'.');
    wish.symbols.iter().find(odd).map_or(Ok(()), |bad| Err(text!("'{bad}' is not an underlying such as \"SPY\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(datasets: &str) -> Result<BackfillConfig> {
        BackfillConfig::parse(&format!("version: 1\ndatasets: {datasets}\n"), "backfill.yml")
    }

    #[test]
    fn what_costs_little_is_on_and_what_costs_much_waits_for_a_word() {
        let built_in = BackfillConfig::built_in().unwrap();
        assert_eq!(BESIDE.map(|name| built_in.wants(name)), [true, true, false, false]);
        assert!(built_in.wants(dataset::EQUITIES_EOD) && built_in.wants(dataset::MACROS_FRED), "these have no switch");
        assert_eq!((built_in.delistings_every(), built_in.companies_a_day()), (7, 20));
        let asked = of(r#"{options_chains: {collect: true, symbols: ["SPY", "BRK.B"]}}"#).unwrap();
        assert!(asked.wants(dataset::OPTIONS_CHAINS) && !asked.wants(dataset::TREASURY), "a file without the switch does not collect");
        assert!(!of("{options_chains: {collect: true}}").unwrap().wants(dataset::OPTIONS_CHAINS), "chains of nobody");
    }

    #[test]
    fn a_wish_that_nobody_could_grant_is_refused() {
        let many = format!("{{options_chains: {{symbols: [{}]}}}}", vec!["A"; MOST_UNDERLYINGS + 1].join(", "));
        for bad in [
            "{equities_eod: {collect: true}}",
            "{treasury: {symbols: [\"A\"]}}",
            "{treasury: {every_days: 3}}",
            "{delistings: {companies_a_day: 3}}",
            "{delistings: {every_days: 0}}",
            "{fundamentals: {companies_a_day: 0}}",
            "{options_chains: {symbols: [\"spy\"]}}",
            "{options_chains: {symbols: [\"SPY,QQQ\"]}}",
            "{options_chains: {symbols: [\"\"]}}",
            many.as_str(),
        ] {
            assert!(of(bad).unwrap_err().is(code::CFG_VALUE), "{bad}");
        }
    }
}
