//! From a report's JSON to its Markdown and HTML: templates, number formats, and what a view may not do.

use crate::reports::svg::Format;
use crate::validation::hurdles;
use data_layer::error::{Error, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value as Shown;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::Value;
use std::collections::BTreeMap;

/// What a page may weigh.
pub const MOST_BYTES: usize = 2 * 1024 * 1024;

/// A report in its three forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    pub json: String,
    pub md: String,
    pub html: String,
}

const STYLE: &str = include_str!("../../templates/report.css");
const TEMPLATES: [(&str, &str); 4] = [
    ("tear_sheet.html", include_str!("../../templates/tear_sheet.html.j2")),
    ("tear_sheet.md", include_str!("../../templates/tear_sheet.md.j2")),
    ("daily.html", include_str!("../../templates/daily.html.j2")),
    ("daily.md", include_str!("../../templates/daily.md.j2")),
];

/// Render `<name>.md` and `<name>.html` from the report `data` and its charts.
pub(crate) fn render(name: &str, data: &Value, charts: &BTreeMap<&'static str, String>) -> Result<Rendered> {
    let env = environment()?;
    let safe: BTreeMap<&str, Shown> = charts.iter().map(|(k, v)| (*k, Shown::from_safe_string(v.clone()))).collect();
    let context = minijinja::context! { r => Shown::from(minijinja::value::Serde(data)), chart => safe, style => Shown::from_safe_string(STYLE.to_string()) };
    let page = |file: String| env.get_template(&file).and_then(|t| t.render(&context)).map_err(|e| Error::bug(format!("rendering {file}: {e:#}")));
    let html = page(format!("{name}.html"))?;
    if html.len() > MOST_BYTES {
        return Err(Error::bug(format!("the page {name} has {} bytes", html.len())));
    }
    let json = serde_json::to_string_pretty(data)? + "\n";
    Ok(Rendered { json, md: page(format!("{name}.md"))?, html })
}

/// What a switch's stored word means for orders: `ACTIVE` and `OPEN` alone are read the other way round.
pub(crate) fn switch_words(state: &str) -> String {
    if ["ACTIVE", "OPEN"].contains(&state) { "increases pass".into() } else { format!("STOPPED ({state})") }
}

fn environment() -> Result<Environment<'static>> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build();
    env.set_syntax(syntax.map_err(|e| Error::bug(format!("template syntax: {e:#}")))?);
    env.set_auto_escape_callback(|name| if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None });
    env.add_filter("num", |v: Shown, decimals: usize| number(&v, Format::Number(decimals)));
    env.add_filter("pct", |v: Shown, decimals: usize| number(&v, Format::Percent(decimals)));
    env.add_filter("money", |v: Shown| f64::try_from(v).map_or_else(|_| MISSING.to_string(), money));
    env.add_filter("unit", |v: Shown, unit: String| by_unit(&v, &unit));
    env.add_filter("shown", |name: String, v: Shown| f64::try_from(v).map_or_else(|_| MISSING.to_string(), |v| hurdles::shown(&name, v)));
    env.add_filter("words", |v: String| v.replace('_', " "));
    env.add_filter("switch", |v: String| switch_words(&v));
    for (name, source) in TEMPLATES {
        env.add_template(name, source).map_err(|e| Error::bug(format!("template {name}: {e:#}")))?;
    }
    Ok(env)
}

/// What stands where a number is undefined.
pub(crate) const MISSING: &str = "n/a";

fn number(v: &Shown, format: Format) -> String {
    f64::try_from(v.clone()).map_or_else(|_| MISSING.to_string(), |v| format.write(v))
}

fn by_unit(v: &Shown, unit: &str) -> String {
    match unit {
        "count" => number(v, Format::Number(0)),
        "account currency" => f64::try_from(v.clone()).map_or_else(|_| MISSING.to_string(), money),
        u if u.starts_with("fraction") => number(v, Format::Percent(2)),
        _ => number(v, Format::Number(2)),
    }
}

/// `-12,345.67`
pub(crate) fn money(v: f64) -> String {
    let text = format!("{:.2}", v.abs());
    let (whole, cents) = text.split_once('.').unwrap_or((&text, "00"));
    let groups: Vec<&str> = whole.as_bytes().rchunks(3).rev().map(|c| std::str::from_utf8(c).unwrap_or("")).collect();
    let sign = if v < 0.0 && text != "0.00" { "-" } else { "" };
    format!("{sign}{}.{cents}", groups.join(","))
}

/// Paths of the nulls in `value`, dotted; those below a name in `optional` are not numbers and are left out.
pub(crate) fn nulls(value: &Value, path: &str, optional: &[&str], out: &mut Vec<String>) {
    let join = |k: &str| if path.is_empty() { k.to_string() } else { format!("{path}.{k}") };
    match value {
        Value::Null => out.push(path.to_string()),
        Value::Object(map) => map.iter().filter(|(k, _)| !optional.contains(&k.as_str())).for_each(|(k, v)| nulls(v, &join(k), optional, out)),
        Value::Array(items) => items.iter().enumerate().for_each(|(i, v)| nulls(v, &join(&i.to_string()), optional, out)),
        _ => {}
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Every number that a view may show: the report's own, in any of the formats, and those inside its words.
    fn allowed(v: &Value, out: &mut BTreeSet<String>) {
        match v {
            Value::Number(n) => {
                let x = n.as_f64().unwrap();
                (0..5).for_each(|d| out.extend(tokens(&Format::Number(d).write(x))));
                (0..4).for_each(|d| out.extend(tokens(&Format::Percent(d).write(x))));
                out.extend(tokens(&money(x)));
            }
            Value::String(s) => out.extend(tokens(s)),
            Value::Array(a) => a.iter().for_each(|v| allowed(v, out)),
            Value::Object(m) => m.iter().for_each(|(k, v)| {
                out.extend(tokens(k));
                allowed(v, out);
            }),
            _ => {}
        }
    }

    fn tokens(text: &str) -> Vec<String> {
        let digits = |c: char| c.is_ascii_digit() || c == '.' || c == ',';
        text.split(|c: char| !digits(c)).map(|t| t.trim_matches(['.', ',']).to_string()).filter(|t| !t.is_empty()).collect()
    }

    /// A page that fetches nothing, is small, and a Markdown view without a number that is not in the JSON.
    pub(crate) fn check_views(r: &Rendered) {
        let lower = r.html.to_lowercase();
        for banned in ["http", "<script", "url(", "@import", "src=", "NaN"] {
            assert!(!lower.contains(&banned.to_lowercase()), "the page holds {banned}");
        }
        assert!(r.html.len() < MOST_BYTES, "{} bytes", r.html.len());
        let mut known = BTreeSet::new();
        allowed(&serde_json::from_str(&r.json).unwrap(), &mut known);
        for line in r.md.lines() {
            for t in tokens(line) {
                assert!(known.contains(&t), "the Markdown shows {t}, which the JSON does not hold: {line}");
            }
        }
    }

    #[test]
    fn money_is_grouped() {
        assert_eq!([money(1234567.891), money(-0.001), money(-999.5), money(12.0)], ["1,234,567.89", "0.00", "-999.50", "12.00"]);
    }

    #[test]
    fn a_number_that_is_not_in_the_json_is_caught() {
        let json = serde_json::json!({"a": 0.1234}).to_string();
        let ok = Rendered { json: json.clone(), md: "12.3 %".into(), html: String::new() };
        check_views(&ok);
        assert!(std::panic::catch_unwind(|| check_views(&Rendered { json, md: "12.4 %".into(), html: String::new() })).is_err());
    }
}
