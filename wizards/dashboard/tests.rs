use super::model::Panic;
use super::*;
use data_layer::time::UtcTime;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use std::path::Path;

fn at(seconds: i64) -> UtcTime {
    UtcTime::parse("2017-11-30T21:00:00Z").unwrap().plus_seconds(seconds)
}

fn events(n: i64) -> Vec<EventRow> {
    let severity = |i| [Severity::Info, Severity::Warning, Severity::Error][i as usize % 3];
    (0..n).map(|i| EventRow { at: at(i - n), severity: severity(i), text: format!("event {i}: equities_eod AAPL 2017 committed 251 rows") }).collect()
}

fn node() -> Snapshot {
    let coverage = |table: &str, expected, green, amber, red, note: &str| CoverageRow { table: table.into(), expected, green, amber, red, note: note.into() };
    let queue = |kind: &str, pending, leased, done, failed| QueueRow {
        dataset: "equities_eod".into(),
        kind: kind.into(),
        pending,
        leased,
        done,
        failed,
        oldest_seconds: (pending > 0).then_some(5_400.0),
    };
    let vendor = |name: &str, spent, cap, state: &str| VendorRow {
        vendor: name.into(),
        window: "minute".into(),
        spent,
        cap,
        state: state.into(),
        frozen_seconds: (name == "fred").then_some(40.0),
    };
    Snapshot::Node(NodeSnapshot {
        node_id: "pi-1".into(),
        dataset: "replay@1".into(),
        now: Some(at(0)),
        state: "draining".into(),
        at_work: true,
        heartbeat_at: Some(at(-12)),
        coverage: vec![
            coverage("raw/equities_bars", 121_100, 118_998, 27, 2_075, ""),
            coverage("curated/equities_ohlcv_adj", 121_100, 121_100, 0, 0, ""),
            coverage("reference/corp_actions", 1_211, 1_210, 0, 1, ""),
            coverage("raw/equities_minute", 0, 0, 0, 0, "not entitled: this world holds no minutes"),
        ],
        queue: vec![queue("BOOTSTRAP", 61, 4, 435, 0), queue("GAP", 3, 0, 0, 2), queue("FORWARD", 0, 0, 12, 0)],
        vendors: vec![vendor("alpaca", 170, Some(200), "ok"), vendor("alpha_vantage", 25, Some(25), "closed until 00:00"), vendor("fred", 3, None, "no key")],
        heat: vec![HeatRow {
            table: "raw/equities_bars".into(),
            from: "2013-02".into(),
            months: (0..58).map(|i| [Some(1.0), Some(1.0), Some(0.97), Some(1.0), None, Some(0.4)][i * i % 6]).collect(),
        }],
        loops: [("forward", 300.0, "nothing new is due"), ("planner_heavy", 50_000.0, "121100 partitions judged, 98.26 % GREEN, 40 gaps, 40 asked again")]
            .map(|(name, seconds_ago, said)| LoopRow { name: name.into(), seconds_ago, said: said.into() })
            .to_vec(),
        eta_seconds: Some(4_210.0),
        stage: 0,
        next_stage_seconds: Some(400_000.0),
        disk_free: 871_000_000_000,
        disk_total: 931_500_000_000,
        events: events(40),
    })
}

fn train() -> Snapshot {
    let configuration = |name: &str, fitted: usize| ConfigurationRow {
        name: name.into(),
        rank_ic: (0..28).map(|i| (i < fitted).then(|| Some(0.004 + 0.01 * (i as f64 * 1.7).sin()))).collect(),
    };
    Snapshot::Train(TrainSnapshot {
        dataset: "replay@1".into(),
        now: Some(at(0)),
        run: "equities_xs 2017-11-30-1a2b3c4d".into(),
        state: "step 8 of 10, Cross-validation: at work".into(),
        done: 43,
        total: 84,
        eta_seconds: Some(130.0),
        configurations: vec![configuration("15 leaves 0.05 x 300", 28), configuration("31 leaves 0.05 x 300", 15), configuration("63 leaves 0.05 x 300", 0)],
        events: events(20),
    })
}

fn paper() -> Snapshot {
    let position = |symbol: &str, qty, pnl_usd| PositionRow { symbol: symbol.into(), qty, price_usd: 171.85, weight: qty / 100.0, pnl_usd };
    let order = |symbol: &str, side: &str, state: &str| OrderRow {
        symbol: symbol.into(),
        side: side.into(),
        qty: 12.0,
        state: state.into(),
        reason: "delta to target".into(),
    };
    let switch = |name: &str, state: &str, permits, reason: &str| SwitchRow { name: name.into(), state: state.into(), permits, reason: reason.into() };
    Snapshot::Paper(PaperSnapshot {
        account: "SIM000001".into(),
        mode: "simulated".into(),
        dataset: "replay@1".into(),
        now: Some(at(0)),
        session: "2017-12-01".into(),
        champion: "equities_xs baseline-1".into(),
        equity_usd: 99_840.5,
        cash_usd: 12_003.2,
        pnl_day_usd: -159.5,
        pnl_total_usd: 1_234.0,
        equity_path: (0..60).map(|i| 98_606.5 + 40.0 * f64::from(i) - f64::from((i * i) % 97) * 12.0).collect(),
        gross_exposure: 0.88,
        net_exposure: 0.88,
        positions: (0..12).map(|i| position(&format!("SYM{i}"), f64::from(i) - 3.0, f64::from(i) * 10.5 - 40.0)).collect(),
        orders: vec![order("AAPL", "BUY", "filled"), order("MSFT", "SELL", "accepted")],
        switches: vec![switch("kill_switch", "ACTIVE", true, ""), switch("circuit_breaker", "TRIPPED", false, "DAILY_LOSS_EXCEEDED")],
        events: events(5),
    })
}

fn picture(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view(frame, model)).unwrap();
    let buffer = terminal.backend().buffer();
    let rows: Vec<String> = (0..height).map(|y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_string()).collect();
    rows.join("\n") + "\n"
}

/// Compare with `tests/golden/dashboard/`; `TRADEML_REGENERATE_DOCS=1` rewrites.
#[allow(clippy::disallowed_methods)] // a test may look at its own environment
fn golden(name: &str, picture: &str) {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dashboard").join(name);
    if std::env::var_os("TRADEML_REGENERATE_DOCS").is_some() {
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(&place, picture).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&place).unwrap_or_default(), picture, "{name} looks different");
}

#[test]
fn pictures_are_up_to_date() {
    for (width, height) in [(60, 20), (80, 24), (200, 50)] {
        golden(&format!("node_{width}x{height}.txt"), &picture(&Model::new(node()), width, height));
        golden(&format!("train_{width}x{height}.txt"), &picture(&Model::new(train()), width, height));
        golden(&format!("paper_{width}x{height}.txt"), &picture(&Model::new(paper()), width, height));
    }
}

#[test]
fn every_size_draws_and_the_state_is_told_in_letters() {
    let empty = [Snapshot::Node(NodeSnapshot::default()), Snapshot::Train(TrainSnapshot::default()), Snapshot::Paper(PaperSnapshot::default())];
    for snapshot in [node(), train(), paper()].into_iter().chain(empty) {
        let model = Model::new(snapshot);
        for width in (60..=300).step_by(7).chain([1, 10, 300]) {
            for height in [1, 5, 20, 24, 60] {
                let picture = picture(&model, width, height);
                assert!(picture.is_ascii(), "{width}x{height}");
            }
        }
    }
    let small = picture(&Model::new(node()), 60, 20);
    assert!(small.contains("G 118,998") && small.contains("A 27") && small.contains("R 2,075"), "{small}");
    assert!(small.contains("2 FAILED") && small.contains("Events"), "{small}");
}

#[test]
fn a_late_heartbeat_and_missing_switches_are_loud() {
    let Snapshot::Node(mut late) = node() else { unreachable!() };
    late.heartbeat_at = Some(at(-600));
    assert!(picture(&Model::new(Snapshot::Node(late)), 80, 24).contains("LATE"));
    let Snapshot::Paper(mut bare) = paper() else { unreachable!() };
    bare.switches.clear();
    assert!(picture(&Model::new(Snapshot::Paper(bare)), 80, 24).contains("everything is refused"));
}

#[test]
fn lesson_033_nothing_yet_is_pending_and_no_alarm() {
    let fresh = NodeSnapshot { coverage: vec![CoverageRow { table: "raw/equities_bars".into(), ..CoverageRow::default() }], ..NodeSnapshot::default() };
    let picture = picture(&Model::new(Snapshot::Node(fresh)), 80, 24);
    assert!(picture.contains("pending") && !picture.contains("LATE") && !picture.contains("FAILED"), "{picture}");
}

#[test]
fn a_percentage_is_never_rounded_up_to_everything() {
    assert_eq!(text::percent(99_999, 100_000), "99.9 %");
    assert_eq!(text::bar(0.9999, 10), "[#########-]");
    assert_eq!((text::percent(0, 0), text::money(-1234.5), text::duration(7_500.0)), ("-".into(), "-1,234.50".into(), "2 h 05 m".into()));
}

#[test]
fn events_scroll_within_bounds_and_leaving_is_remembered() {
    let mut model = Model::new(node());
    for _ in 0..100 {
        model = update(model, Event::Key(Key::Up));
    }
    assert_eq!(model.events().len(), 40);
    assert_eq!(model.scrolled, 39);
    assert!(picture(&model, 80, 24).contains("event 0:"));
    model = update(model, Event::Fresh(Box::new(Snapshot::Node(NodeSnapshot::default()))));
    assert_eq!(model.scrolled, 0);
    model = update(model, Event::Key(Key::Char('?')));
    assert!(picture(&model, 60, 20).contains("missing or wrong"));
    assert_eq!(update(model, Event::Key(Key::Interrupt)).leaving, Some(Leave::Interrupted));
}

fn pressed(model: Model, keys: &str) -> Model {
    keys.chars().fold(model, |model, c| update(model, Event::Key(if c == '\n' { Key::Enter } else { Key::Char(c) })))
}

#[test]
fn the_filter_leaves_out_what_is_less_grave() {
    let all = Model::new(node());
    let (grave, errors) = (pressed(all.clone(), "f"), pressed(all.clone(), "ff"));
    assert!(picture(&grave, 80, 24).contains("Warnings and errors") && picture(&errors, 80, 24).contains("Errors"));
    assert_eq!((all.events().len(), grave.events().len(), errors.events().len()), (40, 26, 13));
    assert_eq!(pressed(all, "fff").filter, Severity::Info);
}

#[test]
fn only_the_whole_word_stops_orders_and_only_on_the_paper_screen() {
    let open = pressed(Model::new(paper()), "!");
    assert!(picture(&open, 80, 24).contains("Type STOP and Enter to stop all increases"));
    for (keys, panic) in
        [("STOP\n", Panic::Asked), ("stop\n", Panic::Said("'stop' is not STOP: nothing was stopped".into())), ("STO", Panic::Typing("STO".into()))]
    {
        assert_eq!(pressed(open.clone(), keys).panic, panic, "{keys}");
    }
    // `q` is a letter while a word is typed; Esc closes the prompt, not the screen.
    assert_eq!(pressed(open.clone(), "q").leaving, None);
    let closed = update(open, Event::Key(Key::Esc));
    assert_eq!((closed.panic, closed.leaving), (Panic::Idle, None));
    assert_eq!(pressed(Model::new(node()), "!STOP\n").panic, Panic::Idle);
}
