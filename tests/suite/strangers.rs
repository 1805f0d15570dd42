//! What others do in the account that this program trades.

use super::paper_days::{ACCOUNT, Street};
use engine::execution::quarantine::quarantined;
use engine::execution::state::name;
use engine::pipelines::paper_day::confirmation_token;
use std::collections::BTreeMap;

#[test]
fn an_order_of_somebody_else_of_an_unread_kind_sets_its_symbol_aside_and_stops_nothing_else() {
    let mut street = Street::open(13);
    street.faults("version: 1\nfaults: [{vendor: alpaca_trading, method: GET, path: /v2/orders, do: foreign_order, as_symbol: MSFT}]");
    let report = street.process(None, |day| day.reconcile(ACCOUNT)).unwrap();
    assert!(report.complete && report.quarantined == ["MSFT"], "{report:?}");
    assert!(report.differences.iter().any(|d| d.kind == "orphan_order"), "{report:?}");
    let account = street.process(None, |day| day.account_check()).unwrap();
    let input = street.input(account.asof, &BTreeMap::from([("AAPL".to_string(), 0.01), ("MSFT".to_string(), 0.01)]));
    let sent = street
        .process(None, |day| {
            let set = day.plan(&account, &input)?;
            day.consent(&set.run_key, &confirmation_token(ACCOUNT, set.trading_day))?;
            day.submit_all(&set.run_key)
        })
        .unwrap();
    let states: BTreeMap<_, _> = sent.lines.iter().map(|l| (l.symbol.as_str(), l.state.as_str())).collect();
    assert_eq!(states["MSFT"], name::DROPPED, "{sent:?}");
    assert!(sent.sent == 1 && states["AAPL"] != name::DROPPED, "{sent:?}");
    assert!(street.process(None, |day| quarantined(day.db)).unwrap().contains_key("MSFT"));
}
