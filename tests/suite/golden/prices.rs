//! Features and labels made from prices.

use super::case::{Case, Checked, Table, list, numbers, object, shown};
use super::dates::{by_symbol, day, since_ever};
use super::rules::tolerance;
use data_layer::calendar::Calendar;
use data_layer::time::{DateRange, TradingDay};
use engine::features::alpha158::{self, Bars};
use engine::features::equities_xs;
use engine::features::standardise;
use engine::labels::horizon::{self, Delisting};
use engine::labels::triple_barrier::{self, Barriers, TouchPath};
use engine::types::{Announcement, Delisted, Matrix, Panel, PointInTime};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Whether two cells agree under the case's tolerance for that column.
fn same(case: &Case, column: &str, want: f64, got: f64) -> bool {
    if want.is_nan() || got.is_nan() {
        return want.is_nan() == got.is_nan();
    }
    tolerance(&case.doc["tolerance"], &[column.to_string()]).accepts(want, got, None)
}

pub fn alpha158(case: &Case) -> Checked {
    let bars = case.table(case.input("ohlcv_csv"));
    let column = |name: &str| bars.numbers(name);
    let (open, high, low, close, volume, vwap) = (column("open"), column("high"), column("low"), column("close"), column("volume"), column("vwap"));
    let rows = alpha158::compute::<f64>(&Bars { open: &open, high: &high, low: &low, close: &close, volume: &volume, vwap: &vwap }).unwrap();
    let fields = alpha158::fields();
    let want = case.table(&case.expected()["features_csv"]);
    let mut failures = Vec::new();
    if want.texts("date") != bars.texts("date") {
        failures.push("the tables have other days".into());
    }
    for ((name, _), row) in fields.iter().zip(&rows) {
        for (t, w) in want.numbers(name).into_iter().enumerate() {
            if !same(case, name, w, row[t]) {
                failures.push(format!("{name} on {}: {} is not {w}", bars.rows[t][0], row[t]));
            }
        }
    }
    let names: Vec<&String> = fields.iter().map(|f| &f.0).collect();
    let e = case.expected();
    Checked {
        got: json!({"features_csv": e["features_csv"], "null_encoding": e["null_encoding"], "n_features": rows.len(), "names_in_order": names}),
        failures,
    }
}

pub fn alpha158_fields(_: &Case) -> Checked {
    Value::Object(alpha158::fields().into_iter().map(|(name, text)| (name, json!(text))).collect()).into()
}

/// Bars of a table on a grid of sessions; all names are members throughout.
fn panel(days: Vec<TradingDay>, table: &Table) -> Panel {
    let symbols: std::collections::BTreeSet<&str> = table.texts("symbol").into_iter().collect();
    let symbols: Vec<String> = symbols.into_iter().map(str::to_string).collect();
    let (n, d) = (symbols.len(), days.len());
    let (at_symbol, at_date) = (table.texts("symbol"), table.texts("date"));
    let fill = |name: &str| {
        let mut m = Matrix::missing(n, d);
        if table.place(name).is_some() {
            for (i, v) in table.numbers(name).into_iter().enumerate() {
                let s = symbols.binary_search_by(|s| s.as_str().cmp(at_symbol[i])).unwrap();
                m.set(s, days.binary_search(&at_date[i].parse().unwrap()).unwrap(), v);
            }
        }
        m
    };
    Panel {
        open: fill("open"),
        high: fill("high"),
        low: fill("low"),
        close: fill("close"),
        vwap: fill("vwap"),
        volume: fill("volume"),
        volume_raw: fill("volume"),
        close_raw: fill("close"),
        member: Matrix::from_vec(n, d, vec![1.0; n * d]).unwrap(),
        delisted: vec![None; n],
        known: PointInTime::default(),
        days,
        symbols,
    }
}

/// Compare every cell of a table of `date, symbol, ...` with what `got` makes of a column.
fn by_cell(case: &Case, panel: &Panel, want: &Table, got: &BTreeMap<String, Matrix>) -> Vec<String> {
    let mut out = Vec::new();
    let (dates, symbols) = (want.texts("date"), want.texts("symbol"));
    for name in want.header.iter().filter(|h| !["date", "symbol"].contains(&h.as_str()) && !h.starts_with("t1_")) {
        let Some(m) = got.get(name) else {
            out.push(format!("no column {name} is computed"));
            continue;
        };
        for (i, w) in want.numbers(name).into_iter().enumerate() {
            let (s, t) = (panel.symbol_index(symbols[i]).unwrap(), panel.day_index(dates[i].parse().unwrap()).unwrap());
            if !same(case, name, w, m.at(s, t)) {
                out.push(format!("{name} of {} on {}: {} is not {w}", symbols[i], dates[i], m.at(s, t)));
            }
        }
    }
    out
}

pub fn equity_features(case: &Case) -> Checked {
    let table = case.table(case.input("panel_csv"));
    let mut dates: Vec<TradingDay> = table.texts("date").iter().map(|d| d.parse().unwrap()).collect();
    dates.sort_unstable();
    let window = DateRange::new(dates[0], dates[dates.len() - 1].plus_days(1)).unwrap();
    let mut panel = panel(Calendar::xnys().sessions(window).to_vec(), &table);
    let announced = |v: &Value| list(v).iter().map(|a| Announcement { announced: day(&a["announced"]), date: day(&a["date"]), withdrawn: None }).collect();
    let (shares, earnings) = (by_symbol(&case.inputs()["shares_outstanding"], since_ever), by_symbol(&case.inputs()["earnings"], announced));
    panel.known = PointInTime { shares, earnings, ..PointInTime::default() };
    let block = equities_xs::build_raw(&panel).unwrap();
    let want = case.table(&case.expected()["features_csv"]);
    let mut got: BTreeMap<String, Matrix> = block.names.into_iter().zip(block.columns).collect();
    // What has no source is missing everywhere, which is what the table must then say.
    for excluded in block.excluded {
        got.entry(excluded.name).or_insert_with(|| Matrix::missing(panel.n_symbols(), panel.n_days()));
    }
    let failures = by_cell(case, &panel, &want, &got);
    let e = case.expected();
    Checked { got: json!({"features_csv": e["features_csv"], "null_encoding": e["null_encoding"], "rows": want.rows.len()}), failures }
}

pub fn cross_sections(case: &Case) -> Checked {
    let each = |f: &dyn Fn(&[f64]) -> Vec<f64>| {
        let one = |section: &Value| f(&numbers(section)).into_iter().map(shown).collect::<Vec<_>>();
        list(case.input("cross_sections")).iter().map(one).collect::<Vec<_>>()
    };
    let mut got = json!({"z": each(&standardise::zscore), "rank_centered": each(&standardise::rank_centred)});
    for name in object(case.expected()).keys() {
        if let Some(limit) = name.strip_prefix("z_clipped_").and_then(|l| l.parse::<f64>().ok()) {
            got[name] = json!(each(&|x| standardise::zscore_clipped(x, limit)));
        }
    }
    got.into()
}

/// `y5_lag1` and the like.
fn horizon_and_lag(column: &str) -> Option<(usize, usize)> {
    let (k, lag) = column.strip_prefix('y')?.split_once("_lag")?;
    Some((k.parse().ok()?, lag.parse().ok()?))
}

pub fn forward_labels(case: &Case) -> Checked {
    let days: Vec<TradingDay> = list(case.input("session_grid")).iter().map(day).collect();
    let mut panel = panel(days, &case.table(case.input("prices_csv")));
    let mut returns = BTreeMap::new();
    for gone in case.inputs()["delistings"].as_array().into_iter().flatten() {
        let symbol = gone["symbol"].as_str().unwrap();
        let s = panel.symbol_index(symbol).unwrap();
        panel.delisted[s] = Some(Delisted::on(day(&gone["last_session"])));
        returns.insert(symbol.to_string(), gone["delisting_return"].as_f64().unwrap_or(0.0));
    }
    let mut failures = Vec::new();
    for (key, rule) in [("strict_csv", Delisting::Strict), ("delist_aware_csv", Delisting::Aware(&returns))] {
        let want = case.table(&case.expected()[key]);
        let mut got = BTreeMap::new();
        for (name, (k, lag)) in want.header.iter().filter_map(|h| horizon_and_lag(h).map(|p| (h, p))) {
            let labels = horizon::forward_with(&panel, k, lag, rule).unwrap();
            let ends = want.texts(&format!("t1_{k}_lag{lag}"));
            for (i, end) in ends.iter().enumerate() {
                let (s, t) = (panel.symbol_index(want.texts("symbol")[i]).unwrap(), panel.day_index(want.texts("date")[i].parse().unwrap()).unwrap());
                let found = labels.ends[s][t].map_or(String::new(), |e| panel.days[e].to_string());
                if found != *end {
                    failures.push(format!("{key}: {name} of row {i} ends on '{found}', not '{end}'"));
                }
            }
            got.insert(name.clone(), labels.values);
        }
        failures.extend(by_cell(case, &panel, &want, &got));
    }
    let want = case.table(&case.expected()["xs_demeaned_csv"]);
    let mut got = BTreeMap::new();
    for name in want.header.iter().filter(|h| h.ends_with("_xs_demeaned")) {
        let k = name.trim_start_matches('y').split('_').next().and_then(|k| k.parse().ok()).unwrap();
        got.insert(name.clone(), horizon::demean(&horizon::forward_with(&panel, k, 0, Delisting::Strict).unwrap().values));
    }
    failures.extend(by_cell(case, &panel, &want, &got));
    Checked { got: case.expected().clone(), failures }
}

pub fn barrier_volatility(case: &Case) -> Checked {
    let history = list(case.input("close_history"));
    let close: Vec<f64> = history.iter().map(|row| row["close"].as_f64().unwrap_or(f64::NAN)).collect();
    let at: Vec<usize> = list(case.input("asof")).iter().map(|d| history.iter().position(|row| row["date"] == *d).unwrap()).collect();
    let mut got = json!({});
    for name in object(case.expected()).keys() {
        let n = |prefix: &str| name.strip_prefix(prefix).and_then(|n| n.parse::<usize>().ok());
        let series = match (n("rolling_std_"), n("ewm_std_span")) {
            (Some(n), _) => triple_barrier::daily_volatility(&close, n),
            (_, Some(span)) => triple_barrier::ewm_volatility(&close, span as f64),
            _ => panic!("no estimator is called '{name}'"),
        };
        got[name] = json!(at.iter().map(|t| shown(series[*t])).collect::<Vec<_>>());
    }
    got.into()
}

pub fn triple_barrier(case: &Case) -> Checked {
    let table = case.table(case.input("bars_csv"));
    let column = |name: &str| if table.place(name).is_some() { table.numbers(name) } else { vec![f64::NAN; table.rows.len()] };
    let (open, high, low, close, sigma) = (column("open"), column("high"), column("low"), column("close"), column("sigma"));
    let bars = triple_barrier::Bars { open: &open, high: &high, low: &low, close: &close };
    let dates = table.texts("date");
    let usual = (case.number("pt_mult"), case.number("sl_mult"));
    let mut got = json!({});
    for key in object(case.expected()).keys() {
        // `close_path_pt1_sl1` has multiples of its own.
        let named = key.split_once("_pt").and_then(|(_, rest)| rest.split_once("_sl")).and_then(|(pt, sl)| Some((pt.parse().ok()?, sl.parse().ok()?)));
        let (target_mult, stop_mult) = named.unwrap_or(usual);
        let path = if key.starts_with("close_path") { TouchPath::Close } else { TouchPath::Ohlc };
        let rule = Barriers { target_mult, stop_mult, max_holding_sessions: case.size("max_holding_sessions"), path };
        let one = |t0: &Value| {
            let entry = dates.iter().position(|d| *t0 == json!(d)).unwrap();
            let touch = triple_barrier::first_touch(bars, entry, sigma[entry], &rule);
            json!({"t0": t0, "label": touch.map(|t| t.label), "t1": touch.map(|t| dates[t.end]), "ret": touch.map(|t| t.ret)})
        };
        got[key] = json!(list(case.input("events_t0")).iter().map(one).collect::<Vec<_>>());
    }
    got.into()
}
