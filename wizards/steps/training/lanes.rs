//! The ledger and the lanes of this host, as the gate sees them.

use data_layer::control::Db;
use data_layer::env_file;
use data_layer::error::Result;
use data_layer::host::Host;
use data_layer::ledger;
use data_layer::root::DataRoot;
use data_layer::schema::{dataset, table};
use data_layer::sourcing::{self, entitlement};
use data_layer::time::DateRange;
use engine::validation::gate::{Coverage, CoverageSource};

/// What the ledger knows of tables, and which lanes could fill them.
pub struct LedgerSource<'a> {
    pub db: &'a Db,
    pub host: &'a Host,
    pub root: &'a DataRoot,
}

impl CoverageSource for LedgerSource<'_> {
    fn coverage(&self, table: &str, window: DateRange) -> Result<Coverage> {
        ledger::coverage(self.db, table, "", window)
    }

    /// A lane is one that the registry of endpoints enables and that no live call showed to be closed to the key.
    fn no_lane(&self, table: &str) -> Result<Option<String>> {
        let Some(dataset) = dataset_of(table) else { return Ok(None) };
        let endpoints = sourcing::vendors_from(self.host, self.root, &env_file::load(self.host)?)?.endpoints;
        let found = entitlement::all(&*self.db.lock()?)?;
        let routes = endpoints.routes(dataset, self.host.now().utc_day());
        let closed = |e: &&sourcing::Entry| found.get(&(e.vendor.as_str().to_string(), e.dataset.clone())).filter(|f| f.blocked());
        if routes.iter().any(|e| closed(e).is_none()) {
            return Ok(None);
        }
        let words: Vec<String> = routes.iter().filter_map(closed).map(|f| format!("{}: {}", f.vendor, f.detail)).collect();
        Ok(Some(if words.is_empty() { text!("no vendor with a key here serves {dataset}") } else { words.join("; ") }))
    }
}

/// The dataset that fills a table; none for a table that no vendor fills.
fn dataset_of(of: &str) -> Option<&'static str> {
    Some(match of {
        table::CURATED_EQUITIES => dataset::EQUITIES_EOD,
        table::CURATED_MINUTES => dataset::EQUITIES_MINUTE,
        table::REF_CORP_ACTIONS => dataset::CORP_ACTIONS,
        table::REF_DELISTINGS | table::REF_UNIVERSE => dataset::LISTINGS,
        table::REF_MACROS => dataset::MACROS_FRED,
        table::REF_INDEX_MEMBERSHIP => dataset::INDEX_MEMBERSHIP,
        table::REF_FUNDAMENTALS => dataset::FUNDAMENTALS,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_layer::control::Which;
    use data_layer::host::FakeHost;
    use data_layer::root::FsFacts;
    use data_layer::sourcing::entitlement::LiveStatus;
    use engine::validation::gate::{self, NoLane};
    use std::collections::BTreeMap;

    #[test]
    fn a_table_whose_every_lane_is_closed_to_the_key_is_stated_and_one_with_an_open_lane_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::fake(FakeHost::default());
        let root = DataRoot::create(&host, dir.path(), "real", FsFacts::default(), None).unwrap();
        let db = Db::open(&root, Which::Node).unwrap();
        let source = LedgerSource { db: &db, host: &host, root: &root };
        assert_eq!(source.no_lane(table::REF_CORP_ACTIONS).unwrap(), None, "nobody has asked the vendor yet");
        assert_eq!(source.no_lane("features/of_ours").unwrap(), None);
        let endpoints = sourcing::Endpoints::built_in().unwrap();
        for entry in endpoints.routes(dataset::CORP_ACTIONS, host.now().utc_day()) {
            db.write(|tx| entitlement::record(tx, entry, LiveStatus::EntitlementBlocked, "your plan has no corporate actions", host.now())).unwrap();
        }
        assert!(source.no_lane(table::REF_CORP_ACTIONS).unwrap().unwrap().contains("your plan has no corporate actions"));
        let window = DateRange::new("2015-01-02".parse().unwrap(), "2016-01-04".parse().unwrap()).unwrap();
        let needs = BTreeMap::from([(table::REF_CORP_ACTIONS.to_string(), 0.99), (table::REF_DELISTINGS.to_string(), 0.99)]);
        let stated = |no_lane| gate::judge(&needs, window, no_lane, &source).unwrap().rows.iter().map(|r| r.stated.is_some()).collect::<Vec<_>>();
        assert_eq!((stated(NoLane::State), stated(NoLane::Refuse)), (vec![true, false], vec![false, false]));
    }
}
