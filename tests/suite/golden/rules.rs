//! When a number counts as equal: `|got - want| <= abs + rel x |want|`, each leaf by the tolerance that names it best.
//!
//! A tolerance key may be a dotted path, a suffix of it, the leaf's name or an ancestor's, with `*` and `?`; else `default`
//! holds. Null matches null only; words and truth values match exactly. A key with `op` is one-sided. A bare `rule` is
//! left to the function that knows the topic.

use serde_json::{Map, Value, json};

/// How one leaf is compared.
pub struct Tolerance<'a>(Option<&'a Map<String, Value>>);

/// The tolerance of a leaf, by the names on the way to it.
pub fn tolerance<'a>(table: &'a Value, path: &[String]) -> Tolerance<'a> {
    let Some(table) = table.as_object() else { return Tolerance(None) };
    let n = path.len();
    let mut names: Vec<String> = vec![path.join(".")];
    names.extend((1..n).map(|i| path[i..].join(".")));
    names.extend((1..n).rev().map(|i| path[..i].join(".")));
    names.extend(path.iter().rev().cloned());
    for name in names {
        let fitting = table.keys().filter(|k| *k != "default" && fits(k.as_bytes(), name.as_bytes()));
        // Of equally long keys the first one.
        let best = fitting.fold(None::<&String>, |best, k| if best.is_none_or(|b| k.len() > b.len()) { Some(k) } else { best });
        if let Some(key) = best {
            return Tolerance(table[key].as_object());
        }
    }
    Tolerance(table.get("default").and_then(Value::as_object))
}

/// Shell wildcards: `*` and `?`.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.first(), name.first()) {
        (None, None) => true,
        (Some(b'*'), _) => fits(&pattern[1..], name) || (!name.is_empty() && fits(pattern, &name[1..])),
        (Some(b'?'), Some(_)) => fits(&pattern[1..], &name[1..]),
        (Some(p), Some(n)) if p == n => fits(&pattern[1..], &name[1..]),
        _ => false,
    }
}

impl Tolerance<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.0.and_then(|t| t.get(key))
    }
    /// Whether only a person, or the topic's own function, can judge.
    fn is_rule(&self) -> bool {
        self.get("rule").is_some() && self.get("op").is_none()
    }
    fn absolute(&self, parent: Option<&Map<String, Value>>) -> f64 {
        let of = |key: &str| parent.and_then(|p| p.get(key)).and_then(Value::as_f64).unwrap_or(0.0);
        match self.get("abs") {
            Some(Value::String(named)) => match named.strip_prefix("row.") {
                Some(key) => of(key),
                None => 2.0 * of("rmse_total_variance_best") + 2e-6,
            },
            other => other.and_then(Value::as_f64).unwrap_or(0.0),
        }
    }
    pub fn accepts(&self, want: f64, got: f64, parent: Option<&Map<String, Value>>) -> bool {
        let number = |key: &str, default: f64| self.get(key).and_then(Value::as_f64).unwrap_or(default);
        match self.get("op").and_then(Value::as_str) {
            Some("ge") => got >= want - number("slack", 0.0),
            Some(_) => got <= number("factor", 1.0) * want + number("slack", 0.0),
            None => want == got || (got - want).abs() <= self.absolute(parent) + number("rel", 0.0) * want.abs(),
        }
    }
}

/// Every leaf of `expected` that `got` does not match.
pub fn compare(doc: &Value, got: &Value) -> Vec<String> {
    let mut out = Vec::new();
    walk(&doc["expected"], got, &doc["tolerance"], &mut Vec::new(), "", None, &mut out);
    out
}

fn infinite(v: &Value) -> Option<f64> {
    match v.as_str() {
        Some("inf") => Some(f64::INFINITY),
        Some("-inf") => Some(f64::NEG_INFINITY),
        _ => v.as_f64(),
    }
}

fn walk(want: &Value, got: &Value, table: &Value, names: &mut Vec<String>, shown: &str, parent: Option<&Map<String, Value>>, out: &mut Vec<String>) {
    match want {
        Value::Object(map) => {
            let Some(other) = got.as_object() else { return out.push(format!("{shown}: no object but {got}")) };
            for (key, value) in map {
                let path = format!("{shown}.{key}");
                match other.get(key) {
                    None => out.push(format!("{path}: missing")),
                    Some(found) => {
                        names.push(key.clone());
                        walk(value, found, table, names, &path, Some(map), out);
                        names.pop();
                    }
                }
            }
        }
        Value::Array(items) => {
            let Some(other) = got.as_array().filter(|o| o.len() == items.len()) else {
                return out.push(format!("{shown}: {} values wanted, found {}", items.len(), got.as_array().map_or("none".into(), |a| a.len().to_string())));
            };
            for (i, (value, found)) in items.iter().zip(other).enumerate() {
                walk(value, found, table, names, &format!("{shown}[{i}]"), parent, out);
            }
        }
        leaf => {
            let rule = tolerance(table, names);
            let fine = match (infinite(leaf), infinite(got)) {
                _ if rule.is_rule() => true,
                (Some(a), Some(b)) => rule.accepts(a, b, parent),
                _ => leaf == got,
            };
            if !fine {
                out.push(format!("{shown}: {got} is not {leaf}"));
            }
        }
    }
}

#[test]
fn golden_rules_find_a_difference_and_take_the_tolerance_that_names_a_leaf_best() {
    let doc = json!({
        "expected": {"a": {"x": 1.0, "n": null, "w": "OK"}, "RSQR5": [2.0, null]},
        "tolerance": {"default": {"abs": 0.1, "rel": 0}, "a.x": {"abs": 0.5, "rel": 0}, "RSQR*": {"abs": 1e-6, "rel": 0}},
    });
    let good = json!({"a": {"x": 1.4, "n": null, "w": "OK"}, "RSQR5": [2.0000005, null]});
    assert!(compare(&doc, &good).is_empty());
    let changes: [(&str, Value); 6] =
        [("/a/x", json!(1.6)), ("/a/n", json!(0.0)), ("/a/w", json!("NO")), ("/RSQR5/0", json!(2.01)), ("/RSQR5/1", json!(1)), ("/RSQR5", json!([2.0]))];
    for (place, value) in changes {
        let mut bad = good.clone();
        *bad.pointer_mut(place).unwrap() = value;
        assert_eq!(compare(&doc, &bad).len(), 1, "{place}");
    }
    let sided = json!({"expected": {"ll": -10.0}, "tolerance": {"ll": {"op": "ge", "slack": 0.5, "rule": "at least"}}});
    assert!(compare(&sided, &json!({"ll": -10.4})).is_empty() && compare(&sided, &json!({"ll": -10.6})).len() == 1);
}
