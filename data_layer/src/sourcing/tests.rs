use super::*;
use crate::host::{FakeHost, Host};
use crate::root::FsFacts;

fn day(text: &str) -> TradingDay {
    text.parse().unwrap()
}

#[test]
fn lesson_003_a_misspelt_vendor_dataset_or_key_refuses_to_start() {
    assert!(Endpoints::built_in().is_ok());
    for (from, to) in [
        ("vendor: alpha_vantage", "vendor: av"),
        ("dataset: listings", "dataset: listing"),
        ("reset: unknown", "resets: unknown"),
        ("{per: day, calls: 25}", "{per: fortnight, calls: 25}"),
        ("version: 1", "version: 2"),
        ("lane: bars_1m", "lane: bars_1m, colour: red"),
    ] {
        assert!(BUILT_IN.contains(from));
        assert!(Endpoints::parse(&BUILT_IN.replacen(from, to, 1), "endpoints.yml").is_err(), "{to}");
    }
    assert!(Vendor::parse("av").is_err());
    let edge = "version: 1\ninflight: {alpacca: 3}";
    assert!(EdgeConfig::parse(edge, "edge.yml").unwrap_err().is(code::CFG_UNKNOWN_KEY));
    assert!(BackfillConfig::parse("version: 1\nslices: {all_work: 0.9, probe_and_forward: 0.8}", "backfill.yml").is_err());
    assert!(BackfillConfig::parse("version: 1\nqcc: {}", "backfill.yml").is_err());
    assert!(BackfillConfig::built_in().is_ok() && EdgeConfig::built_in().is_ok());
}

#[test]
fn lesson_024_the_defaults_are_the_free_plans() {
    let e = Endpoints::built_in().unwrap();
    let windows = |v: Vendor| e.limits(v, Slices::default()).unwrap().windows.iter().map(|w| (w.per, w.calls)).collect::<Vec<_>>();
    assert_eq!(windows(Vendor::Alpaca), [(Per::Minute, 200)]);
    assert_eq!(windows(Vendor::AlphaVantage), [(Per::Second, 1), (Per::Day, 25)]);
    assert_eq!(windows(Vendor::Tiingo), [(Per::Hour, 50), (Per::Day, 1000), (Per::UniqueSymbolsMonth, 500)]);
    assert_eq!(windows(Vendor::Massive), [(Per::Minute, 5)]);
    assert_eq!(windows(Vendor::Fred), [(Per::Second, 2), (Per::Minute, 120)]);
    assert_eq!(windows(Vendor::Fmp), [(Per::Second, 1), (Per::Day, 250)]);
    assert!(e.entries().iter().all(|x| !x.source_note.is_empty()), "no number without a source");
}

#[test]
fn a_route_reaches_back_as_far_as_the_plan_and_not_beyond() {
    let e = Endpoints::built_in().unwrap();
    assert_eq!(e.route("equities_eod", day("2016-01-04")).unwrap().vendor, Vendor::Alpaca);
    assert!(e.route("equities_eod", day("2015-12-31")).unwrap_err().is(code::DATA_MISSING), "the deep source has no connector yet");
    let dir = tempfile::tempdir().unwrap();
    let root = DataRoot::create(&Host::fake(FakeHost::default()), dir.path(), "replay@1", FsFacts::default(), None).unwrap();
    let world = Endpoints::load(&root).unwrap();
    assert_eq!(world.route("equities_eod", day("2013-02-08")).unwrap().vendor, Vendor::Alpaca, "a world says itself how far it reaches");
}

#[test]
fn the_drives_own_registry_replaces_the_built_in_one() {
    let dir = tempfile::tempdir().unwrap();
    let root = DataRoot::create(&Host::fake(FakeHost::default()), dir.path(), "real", FsFacts::default(), None).unwrap();
    let path = DataPath::new("control/configs/endpoints.yml").unwrap();
    crate::store::write_atomic(&root, &path, BUILT_IN.replace("batch_symbols: 100", "batch_symbols: 7").as_bytes()).unwrap();
    assert_eq!(Endpoints::load(&root).unwrap().route("equities_eod", day("2020-01-02")).unwrap().batch_symbols, 7);
}

#[test]
fn plain_http_goes_to_loopback_only_and_the_live_host_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::fake(FakeHost::default());
    let root = DataRoot::create(&host, dir.path(), "real", FsFacts::default(), None).unwrap();
    let with = |name: &str, url: &str| vendors_from(&host, &root, &BTreeMap::from([(name.to_string(), url.to_string())]));
    for bad in ["http://data.alpaca.markets", "https://api.alpaca.markets", "ftp://127.0.0.1", "http://127.0.0.1.example.com", "nonsense"] {
        assert!(with("TRADEML_BASE_URL_ALPACA_TRADING", bad).unwrap_err().is(code::NET_FORBIDDEN_HOST), "{bad}");
    }
    for good in ["http://127.0.0.1:4000/alpaca_trading", "http://[::1]:1", "http://localhost:1", "https://paper-api.alpaca.markets"] {
        assert!(with("TRADEML_BASE_URL_ALPACA_TRADING", good).is_ok(), "{good}");
    }
}

#[test]
fn keys_are_redacted_plain_and_encoded() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::fake(FakeHost::default());
    let root = DataRoot::create(&host, dir.path(), "real", FsFacts::default(), None).unwrap();
    let env = BTreeMap::from([("ALPACA_API_KEY".to_string(), "CANARY+KEY/1".to_string())]);
    let v = vendors_from(&host, &root, &env).unwrap();
    assert_eq!(v.redact("key CANARY+KEY/1 and CANARY%2BKEY/1"), "key *** and ***");
    assert_eq!(v.redact("CANARY%2BKEY%2F1 CANARY%2bKEY%2f1 CANARY+KEY\\/1"), "*** *** ***");
    assert_eq!(v.redact_bytes(b"<p>\xe9 http://x/?apikey=CANARY%2BKEY/1&a=b\xff CANARY+KEY/1"), b"<p>\xe9 http://x/?apikey=***&a=b\xff ***");
    assert!(!format!("{v:?}").contains("CANARY"));
    assert_eq!(v.missing_keys(Vendor::Alpaca), ["ALPACA_API_SECRET"]);
}

#[test]
fn lesson_023_a_number_without_evidence_date_or_source_is_refused() {
    let text = include_str!("../../../configs/endpoints.yml");
    let line =
        "doc_status: documented, enable_status: core, evidence: S, observed_on: \"2026-06-01\", source_note: \"market-data OpenAPI; depth from user reports\",";
    assert!(text.contains(line));
    for (what, broken) in [
        ("evidence", line.replace("evidence: S, ", "")),
        ("date", line.replace("observed_on: \"2026-06-01\", ", "")),
        ("source", line.replace("market-data OpenAPI; depth from user reports", "")),
        ("documentation", line.replace("doc_status: documented, ", "")),
    ] {
        assert!(Endpoints::parse(&text.replace(line, &broken), "endpoints.yml").is_err(), "{what}");
    }
    let undocumented = Endpoints::parse(&text.replace(line, &line.replace("documented, enable", "undocumented, enable")), "endpoints.yml").unwrap();
    assert!(undocumented.routes("equities_eod", "2020-01-02".parse().unwrap()).iter().all(|e| e.vendor != Vendor::Alpaca), "undocumented lanes are off");
}

#[test]
fn this_machines_limits_come_from_its_file_and_its_variables() {
    let dir = tempfile::tempdir().unwrap();
    let configs = dir.path().join("trademl/configs");
    std::fs::create_dir_all(&configs).unwrap();
    std::fs::write(configs.join("edge.yml"), "loops: {forward_minutes: 30}\ninflight: {tiingo: 7}\n").unwrap();
    std::fs::write(dir.path().join("trademl/.env"), "NODE_MAX_INFLIGHT_DEFAULT=3\n").unwrap();
    let env = [("XDG_CONFIG_HOME", dir.path().to_str().unwrap()), ("NODE_MAX_INFLIGHT_ALPACA", "2")].map(|(k, v)| (k.to_string(), v.to_string()));
    let host = Host::fake(FakeHost { env: env.into(), ..FakeHost::default() });
    let edge = EdgeConfig::load(&host).unwrap();
    assert_eq!((edge.loops.forward_minutes, edge.loops.planner_hours), (30, 4), "one key of a file leaves the others as they were");
    assert_eq!([Vendor::Tiingo, Vendor::Alpaca, Vendor::Massive].map(|v| edge.inflight(v)), [7, 2, 3]);
}
