//! Calendars, sample weights and splits.

use super::case::{Case, Checked, list, number, object, size, text};
use data_layer::calendar::Calendar;
use data_layer::time::{DateRange, TradingDay, UtcTime};
use engine::labels::weights;
use engine::validation::cpcv::{self, CpcvConfig, PurgeScope, Row};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

pub fn day(v: &Value) -> TradingDay {
    text(v).parse().unwrap()
}

fn sessions(from: TradingDay, to_included: TradingDay) -> Vec<TradingDay> {
    Calendar::xnys().sessions(DateRange::new(from, to_included.plus_days(1)).unwrap()).to_vec()
}

fn year(v: &Value) -> (TradingDay, TradingDay) {
    let year = i16::try_from(v.as_i64().unwrap()).unwrap();
    (TradingDay::ymd(year, 1, 1).unwrap(), TradingDay::ymd(year, 12, 31).unwrap())
}

fn each<'a>(items: &'a Value, of: impl Fn(&'a Value) -> (String, Value)) -> Value {
    Value::Object(list(items).iter().map(of).collect::<Map<_, _>>())
}

pub fn calendar(case: &Case) -> Checked {
    let c = Calendar::xnys();
    let years = case.input("years");
    let closed = |y: &Value| {
        let (first, last) = year(y);
        let days = (first.0..=last.0).map(TradingDay).filter(|d| d.weekday() < 5 && !c.is_session(*d));
        days.map(|d| d.to_string()).collect::<Vec<_>>()
    };
    let of_years: Vec<TradingDay> = list(years).iter().flat_map(|y| sessions(year(y).0, year(y).1)).collect();
    let early: Vec<String> = of_years.iter().filter(|d| c.minutes(**d) < 390).map(ToString::to_string).collect();
    let probes = case.input("probe_dates");
    let after = |d: TradingDay| if c.is_session(d) { d } else { c.next(d).unwrap() };
    let minute = |t: &Value| (text(t).to_string(), json!(c.session_at(UtcTime::parse(text(t)).unwrap()).map(|d| d.to_string())));
    let offset = |o: &Value| {
        let n = i32::try_from(o[1].as_i64().unwrap()).unwrap();
        json!({"from": o[0], "n": n, "to": c.offset(day(&o[0]), n).unwrap().to_string()})
    };
    let ranges = list(case.input("ranges"));
    let within = |r: &Value| sessions(day(&r[0]), day(&r[1]));
    let got = json!({
        "n_sessions_per_year": each(years, |y| (y.to_string(), json!(sessions(year(y).0, year(y).1).len()))),
        "weekday_closures": each(years, |y| (y.to_string(), json!(closed(y)))),
        "early_close_sessions": early,
        "is_session": each(probes, |p| (text(p).into(), json!(c.is_session(day(p))))),
        "prev_session_on_or_before": each(probes, |p| (text(p).into(), json!(c.on_or_before(day(p)).unwrap().to_string()))),
        "next_session_on_or_after": each(probes, |p| (text(p).into(), json!(after(day(p)).to_string()))),
        "session_offset": list(case.input("offsets")).iter().map(offset).collect::<Vec<_>>(),
        "session_of_utc_minute": each(case.input("probe_utc"), minute),
        "session_count": ranges.iter().map(|r| json!({"start": r[0], "end": r[1], "n": within(r).len()})).collect::<Vec<_>>(),
        "trading_minutes": ranges.iter().map(|r| json!({"start": r[0], "end": r[1], "minutes": within(r).iter().map(|d| c.minutes(*d)).sum::<u32>()})).collect::<Vec<_>>(),
        // Days that ran otherwise than scheduled are information for readers; hours here are the scheduled ones.
        "actual_unscheduled_deviations": case.expected()["actual_unscheduled_deviations"],
    });
    Checked { got, failures: hours(case, &of_years) }
}

/// Opening, close and length of every session in the case's table; and that there is no other.
fn hours(case: &Case, of_years: &[TradingDay]) -> Vec<String> {
    let (c, table) = (Calendar::xnys(), case.table(case.input("sessions_csv")));
    let column = |name: &str| table.texts(name);
    let known: Vec<TradingDay> = column("session").iter().map(|d| d.parse().unwrap()).collect();
    let mut out = Vec::new();
    if known != of_years {
        out.push(format!("{} sessions in the table, {} here", known.len(), of_years.len()));
    }
    let (opens, closes, early, minutes) = (column("open_utc"), column("close_utc"), column("early_close"), column("minutes"));
    for (i, d) in known.iter().enumerate() {
        let same = UtcTime::parse(opens[i]).unwrap() == c.open(*d) && UtcTime::parse(closes[i]).unwrap() == c.close(*d);
        if !same || minutes[i] != c.minutes(*d).to_string() || (early[i] == "1") != (c.minutes(*d) < 390) {
            out.push(format!("{d}: other hours than {} to {}", opens[i], closes[i]));
        }
    }
    out
}

pub fn time_decay(case: &Case) -> Checked {
    let asof = day(case.input("asof"));
    let days: Vec<TradingDay> = list(case.input("dates")).iter().map(day).collect();
    let months = case.number("half_life_months");
    let w = weights::time_decay_checked(&days, asof, months).unwrap();
    json!({
        "half_life_days": months * 365.25 / 12.0, "age_days": days.iter().map(|d| asof.0 - d.0).collect::<Vec<_>>(),
        "weights": w, "effective_n_kish": weights::effective_n(&w).ok(),
    })
    .into()
}

fn config(case: &Case, scope: PurgeScope) -> CpcvConfig {
    CpcvConfig { groups: case.size("n_folds"), test_groups: case.size("n_test_folds"), embargo_sessions: case.size("embargo_sessions"), scope }
}

/// First 16 hexadecimal digits of the SHA-256 of the comma-joined numbers.
fn digest(rows: &[usize]) -> String {
    let text: Vec<String> = rows.iter().map(ToString::to_string).collect();
    hex::encode(Sha256::digest(text.join(",")))[..16].to_owned()
}

/// Runs of consecutive numbers, ends included.
fn ranges(rows: &[usize]) -> Vec<[usize; 2]> {
    let mut out: Vec<[usize; 2]> = Vec::new();
    for r in rows {
        match out.last_mut() {
            Some(last) if last[1] + 1 == *r => last[1] = *r,
            _ => out.push([*r, *r]),
        }
    }
    out
}

fn split(id: usize, test_groups: &[usize], train: &[usize], test: &[usize], labelled: usize) -> Value {
    json!({
        "split": id, "test_folds": test_groups, "n_train": train.len(), "n_test": test.len(), "n_removed": labelled - train.len() - test.len(),
        "train_sha256_16": digest(train), "test_sha256_16": digest(test), "train_ranges": ranges(train), "test_ranges": ranges(test),
    })
}

/// For each split the paths that its test groups belong to.
fn path_ids(cfg: &CpcvConfig) -> Vec<Vec<usize>> {
    let mut by_split: Vec<BTreeMap<usize, usize>> = vec![BTreeMap::new(); cfg.n_splits()];
    for (path, parts) in cpcv::paths(cfg).iter().enumerate() {
        for (split, group) in parts {
            by_split[*split].insert(*group, path);
        }
    }
    by_split.into_iter().map(|groups| groups.into_values().collect()).collect()
}

/// With one symbol and one horizon both scopes of the purge agree, which is asserted.
pub fn splits_of_days(case: &Case) -> Checked {
    let n = case.inputs().get("n_sessions").map_or_else(|| list(case.input("sessions")).len(), size);
    let horizon = case.size("horizon_sessions");
    let of = |scope| -> Vec<Value> {
        let cfg = config(case, scope);
        let rows: Vec<Row> = (0..n).map(|t| Row { symbol: 0, t0: t, t1: Some((t + horizon).min(n - 1)) }).collect();
        cpcv::row_splits(&rows, n, &cfg).unwrap().iter().map(|s| split(s.id, &s.test_groups, &s.train, &s.test, n)).collect()
    };
    let cfg = config(case, PurgeScope::Symbol);
    let mut failures = Vec::new();
    if of(PurgeScope::Date) != of(PurgeScope::Symbol) {
        failures.push("the two scopes of the purge differ for one symbol".into());
    }
    let sizes: Vec<usize> = cpcv::folds(n, cfg.groups).iter().map(ExactSizeIterator::len).collect();
    let got = json!({"n_splits": cfg.n_splits(), "n_paths": cfg.n_paths(), "fold_sizes": sizes, "path_ids": path_ids(&cfg), "splits": of(PurgeScope::Symbol)});
    Checked { got, failures }
}

pub fn splits_of_rows(case: &Case) -> Checked {
    let days: Vec<TradingDay> = list(case.input("sessions")).iter().map(day).collect();
    let at = |text: &str| days.binary_search(&text.parse().unwrap()).unwrap();
    let table = case.table(case.input("rows_csv"));
    let symbols = table.texts("symbol");
    let mut names = symbols.clone();
    names.sort_unstable();
    names.dedup();
    let (dates, ends) = (table.texts("date"), table.texts("t1"));
    let row = |i: usize| Row { symbol: names.binary_search(&symbols[i]).unwrap(), t0: at(dates[i]), t1: (!ends[i].is_empty()).then(|| at(ends[i])) };
    let rows: Vec<Row> = (0..symbols.len()).map(row).collect();
    let labelled = rows.iter().filter(|r| r.t1.is_some()).count();
    let (cfg, wide_cfg) = (config(case, PurgeScope::Symbol), config(case, PurgeScope::Date));
    let narrow = cpcv::row_splits(&rows, days.len(), &cfg).unwrap();
    let wide = cpcv::row_splits(&rows, days.len(), &wide_cfg).unwrap();
    let mut failures = Vec::new();
    for (w, n) in wide.iter().zip(&narrow).filter(|(w, n)| !w.train.iter().all(|i| n.train.contains(i))) {
        failures.push(format!("split {}: {} rows by date are no subset of {} by symbol", w.id, w.train.len(), n.train.len()));
    }
    let folds = cpcv::folds(days.len(), cfg.groups);
    let got = json!({
        "n_splits": cfg.n_splits(), "n_paths": cfg.n_paths(), "path_ids": path_ids(&cfg),
        "fold_first_dates": folds.iter().map(|f| days[f.start].to_string()).collect::<Vec<_>>(),
        "fold_sizes_dates": folds.iter().map(ExactSizeIterator::len).collect::<Vec<_>>(),
        "splits": narrow.iter().map(|s| split(s.id, &s.test_groups, &s.train, &s.test, labelled)).collect::<Vec<_>>(),
        "splits_global_purge_variant": wide.iter().map(|s| split(s.id, &s.test_groups, &s.train, &s.test, labelled)).collect::<Vec<_>>(),
    });
    Checked { got, failures }
}

pub fn combinatorics(case: &Case) -> Checked {
    let one = |nk: &Value| {
        let cfg = CpcvConfig { groups: size(&nk[0]), test_groups: size(&nk[1]), ..CpcvConfig::default() };
        json!({"n": cfg.groups, "k": cfg.test_groups, "n_splits": cfg.n_splits(), "n_paths": cfg.n_paths(), "path_ids": path_ids(&cfg)})
    };
    Value::from(list(case.input("n_k")).iter().map(one).collect::<Vec<_>>()).into()
}

/// Announcements by symbol, as the point-in-time sources take them.
pub fn by_symbol<T>(v: &Value, of: impl Fn(&Value) -> T) -> BTreeMap<String, T> {
    if v.is_null() { BTreeMap::new() } else { object(v).iter().map(|(s, x)| (s.clone(), of(x))).collect() }
}

/// A share count, public since before any session.
pub fn since_ever(v: &Value) -> Vec<(TradingDay, f64)> {
    vec![(TradingDay(0), number(v))]
}
