//! A question as data: the terminal, an answers file and a test script are three ways of answering the same value.

use data_layer::error::{Error, code};
use data_layer::words::tell;
use serde_json::{Value, json};

const YES: &str = term!("yes");
const NO: &str = term!("no");
const ALL: &str = term!("all");

/// What kind of answer is wanted.
pub enum Kind {
    Text,
    Path,
    Confirm,
    Number {
        min: i64,
        max: i64,
    },
    Select(Vec<Choice>),
    /// One or more, in the order of the choices.
    Several(Vec<Choice>),
}

/// One choice of a select.
#[derive(Clone, Debug)]
pub struct Choice {
    pub value: String,
    pub label: String,
}

impl Choice {
    pub fn new(value: impl Into<String>, label: impl Into<String>) -> Self {
        Self { value: value.into(), label: label.into() }
    }
}

type Check = Box<dyn Fn(&Value) -> std::result::Result<(), String>>;

/// A question. Its `id` is `<topic>.<name>`; the step that asks it has the same words with `-`.
pub struct Question {
    pub id: &'static str,
    pub prompt: String,
    pub help: String,
    pub kind: Kind,
    /// The default and the evidence for it ("USB SSD at /mnt/ssd, 931 GB free").
    pub default: Option<(Value, String)>,
    /// Why there is no default. A question has the one or the other.
    pub no_default: Option<&'static str>,
    /// The form of a text answer as a regular expression, for editors; `check` is what decides.
    pub pattern: Option<&'static str>,
    /// An environment variable that answers it.
    pub env: Option<&'static str>,
    check: Option<Check>,
}

impl Question {
    fn of(id: &'static str, prompt: impl Into<String>, kind: Kind) -> Self {
        Self { id, prompt: prompt.into(), help: String::new(), kind, default: None, no_default: None, pattern: None, env: None, check: None }
    }
    pub fn text(id: &'static str, prompt: impl Into<String>) -> Self {
        Self::of(id, prompt, Kind::Text)
    }
    pub fn path(id: &'static str, prompt: impl Into<String>) -> Self {
        Self::of(id, prompt, Kind::Path)
    }
    pub fn confirm(id: &'static str, prompt: impl Into<String>) -> Self {
        Self::of(id, prompt, Kind::Confirm)
    }
    pub fn number(id: &'static str, prompt: impl Into<String>, min: i64, max: i64) -> Self {
        Self::of(id, prompt, Kind::Number { min, max })
    }
    pub fn select(id: &'static str, prompt: impl Into<String>, choices: Vec<Choice>) -> Self {
        Self::of(id, prompt, Kind::Select(choices))
    }
    pub fn several(id: &'static str, prompt: impl Into<String>, choices: Vec<Choice>) -> Self {
        Self::of(id, prompt, Kind::Several(choices))
    }
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }
    /// A default with the evidence that speaks for it.
    #[must_use]
    pub fn default(mut self, value: impl Into<Value>, evidence: impl Into<String>) -> Self {
        self.default = Some((value.into(), evidence.into()));
        self
    }
    /// There is no default, for a reason that is said.
    #[must_use]
    pub fn no_default(mut self, reason: &'static str) -> Self {
        self.no_default = Some(reason);
        self
    }
    #[must_use]
    pub fn pattern(mut self, regex: &'static str) -> Self {
        self.pattern = Some(regex);
        self
    }
    #[must_use]
    pub fn env(mut self, name: &'static str) -> Self {
        self.env = Some(name);
        self
    }
    /// A validator; its `Err` is shown beside the kept text.
    #[must_use]
    pub fn check(mut self, check: impl Fn(&Value) -> std::result::Result<(), String> + 'static) -> Self {
        self.check = Some(Box::new(check));
        self
    }

    /// Turn typed text into a value of this question's kind.
    pub fn parse(&self, text: &str) -> std::result::Result<Value, String> {
        let text = text.trim();
        // A path may hold any letter; everything else is typed in plain ones.
        let plain =
            if matches!(self.kind, Kind::Path) || (matches!(self.kind, Kind::Text) && self.pattern.is_none()) { text.to_string() } else { half_width(text) };
        let text = plain.as_str();
        match &self.kind {
            Kind::Text | Kind::Path => Ok(Value::from(text)),
            Kind::Confirm => match text.to_ascii_lowercase().as_str() {
                "y" | "yes" | "true" => Ok(Value::from(true)),
                "n" | "no" | "false" => Ok(Value::from(false)),
                // As the person's language says it.
                said if said == tell(YES) => Ok(Value::from(true)),
                said if said == tell(NO) => Ok(Value::from(false)),
                _ => Err("answer yes or no".into()),
            },
            Kind::Number { .. } => text.parse::<i64>().map(Value::from).map_err(|_| text!("'{text}' is not a whole number")),
            Kind::Select(choices) => chosen(choices, text)
                .map(|c| Value::from(c.value.as_str()))
                .ok_or_else(|| text!("choose 1 to {} or one of: {}", choices.len(), self.choice_names())),
            Kind::Several(choices) => {
                let words: Vec<&str> = text.split([',', ' ']).filter(|w| !w.is_empty()).collect();
                if words == ["all"] || words == [tell(ALL)] {
                    return Ok(choices.iter().map(|c| Value::from(c.value.as_str())).collect());
                }
                let found: Option<Vec<&Choice>> = words.iter().map(|w| chosen(choices, w)).collect();
                let found = found.filter(|f| !f.is_empty()).ok_or_else(|| self.how_several(choices.len()))?;
                Ok(choices.iter().filter(|c| found.iter().any(|f| f.value == c.value)).map(|c| Value::from(c.value.as_str())).collect())
            }
        }
    }

    /// A value as a file or a flag gives it: one choice of several may stand without a list, and several without brackets.
    pub fn said(&self, value: &Value) -> Value {
        match (&self.kind, value) {
            (Kind::Several(_), Value::String(text)) => self.parse(text).unwrap_or_else(|_| value.clone()),
            (Kind::Several(_), Value::Number(n)) => self.parse(&n.to_string()).unwrap_or_else(|_| value.clone()),
            _ => value.clone(),
        }
    }

    /// Whether a value (from a file, a flag, the journal or a person) is acceptable.
    pub fn validate(&self, value: &Value) -> std::result::Result<(), String> {
        match (&self.kind, value) {
            (Kind::Text | Kind::Path, Value::String(s)) if s.is_empty() => return Err("an answer is needed".into()),
            (Kind::Text | Kind::Path, Value::String(_)) | (Kind::Confirm, Value::Bool(_)) => {}
            (Kind::Number { min, max }, v) => match v.as_i64() {
                Some(n) if (*min..=*max).contains(&n) => {}
                _ => return Err(text!("a whole number from {min} to {max} is needed")),
            },
            (Kind::Select(choices), Value::String(s)) if choices.iter().any(|c| c.value == *s) => {}
            (Kind::Several(choices), Value::Array(picked))
                if !picked.is_empty() && picked.iter().enumerate().all(|(i, v)| choices.iter().any(|c| v == c.value.as_str()) && !picked[..i].contains(v)) => {}
            (Kind::Several(choices), _) => return Err(self.how_several(choices.len())),
            (Kind::Select(_), _) => return Err(text!("choose one of: {}", self.choice_names())),
            _ => return Err(text!("{} cannot be an answer here", value)),
        }
        self.check.as_ref().map_or(Ok(()), |check| check(value))
    }

    fn how_several(&self, of: usize) -> String {
        text!("choose one or more of 1 to {of}, or of: {}; or all", self.choice_names())
    }

    fn choice_names(&self) -> String {
        match &self.kind {
            Kind::Select(choices) | Kind::Several(choices) => choices.iter().map(|c| c.value.as_str()).collect::<Vec<_>>().join(", "),
            _ => String::new(),
        }
    }

    /// The flag, the variable and the answers key that would have answered it.
    pub fn missing(&self) -> Error {
        let mut error = Error::new(code::USE_ANSWER_MISSING, text!("'{}' has no answer: {}", self.id, self.prompt))
            .cause("there is nobody to ask (no terminal, --no-input, or an answers file without it)")
            .fix(format!("--set {}=VALUE", self.id))
            .fix(text!("in the answers file: answers: {{{}: VALUE}}", self.id));
        if let Some(env) = self.env {
            error = error.fix(text!("{env}=VALUE in the environment"));
        }
        error
    }

    /// This question as a property of a JSON Schema (draft 2020-12).
    pub fn schema(&self) -> Value {
        let mut out = match &self.kind {
            Kind::Text | Kind::Path => json!({"type": "string", "minLength": 1}),
            Kind::Confirm => json!({"type": "boolean"}),
            Kind::Number { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
            Kind::Select(choices) => {
                let each: Vec<Value> = choices.iter().map(|c| json!({"const": c.value, "title": c.label})).collect();
                json!({"type": "string", "oneOf": each})
            }
            Kind::Several(choices) => {
                let each: Vec<Value> = choices.iter().map(|c| json!({"const": c.value, "title": c.label})).collect();
                json!({"type": "array", "items": {"oneOf": each}, "minItems": 1, "uniqueItems": true})
            }
        };
        if let Some(pattern) = self.pattern {
            out["pattern"] = Value::from(pattern);
        }
        if let Some((value, _)) = &self.default {
            out["default"] = value.clone();
        }
        out
    }

    /// The value as a person reads it.
    pub fn display(&self, value: &Value) -> String {
        match (&self.kind, value) {
            (Kind::Confirm, Value::Bool(b)) => if *b { YES } else { NO }.to_string(),
            (Kind::Select(choices), Value::String(s)) => choices.iter().find(|c| c.value == *s).map_or_else(|| s.clone(), |c| c.label.clone()),
            (_, Value::String(s)) => s.clone(),
            (Kind::Several(_), Value::Array(picked)) => picked.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
            (_, other) => other.to_string(),
        }
    }
}

/// Full-width letters, digits and signs, as an input method for Chinese or Japanese leaves them, as plain ones.
fn half_width(text: &str) -> String {
    let plain = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        '\u{3000}' => ' ',
        other => other,
    };
    text.chars().map(plain).collect()
}

/// The choice of that number (from 1), or of that name.
fn chosen<'c>(choices: &'c [Choice], text: &str) -> Option<&'c Choice> {
    let by_number = text.parse::<usize>().ok().and_then(|n| n.checked_sub(1)).and_then(|i| choices.get(i));
    by_number.or_else(|| choices.iter().find(|c| c.value == text))
}

/// A key that is asked for once a machine and kept in its `.env`.
#[derive(Clone, Debug)]
pub struct SecretSpec {
    /// The variable, e.g. `ALPACA_API_KEY`.
    pub var: &'static str,
    pub label: &'static str,
    /// What is lost without it.
    pub without: &'static str,
    pub required: bool,
}

impl SecretSpec {
    /// The answers key: `keys.alpaca_api_key`.
    pub fn id(&self) -> String {
        format!("keys.{}", self.var.to_ascii_lowercase())
    }
    /// The vendor's own page where it is given out.
    pub fn obtained_at(&self) -> Option<&'static str> {
        Some(match self.var {
            "ALPACA_API_KEY" | "ALPACA_API_SECRET" => "https://app.alpaca.markets (a paper account, then API keys)",
            "ALPHA_VANTAGE_API_KEY" => "https://www.alphavantage.co/support/#api-key",
            "TIINGO_API_KEY" => "https://www.tiingo.com/account/api/token",
            "FRED_API_KEY" => "https://fredaccount.stlouisfed.org/apikeys",
            "FINNHUB_API_KEY" => "https://finnhub.io/register",
            "MASSIVE_API_KEY" => "https://massive.com/dashboard/keys",
            "CTRADER_CLIENT_ID" | "CTRADER_CLIENT_SECRET" => "https://openapi.ctrader.com",
            _ => return None,
        })
    }
    /// Asked for, and the input ended.
    pub fn missing(&self) -> Error {
        Error::new(code::USE_ANSWER_MISSING, text!("'{}' has no answer: {}", self.id(), self.label)).cause("the input ended before it was given").fix(text!(
            "set {} in the environment, or {}: {{from: \"file:PATH\"}} in an answers file",
            self.var,
            self.id()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_select_takes_numbers_and_names_and_nothing_else() {
        let q = Question::select("a.b", "Which?", vec![Choice::new("one", "One"), Choice::new("two", "Two")]);
        assert_eq!(q.parse("2").unwrap(), Value::from("two"));
        assert_eq!(q.parse("one").unwrap(), Value::from("one"));
        assert!(q.parse("3").is_err() && q.parse("0").is_err() && q.parse("").is_err());
        assert!(q.validate(&Value::from("three")).is_err());
    }

    #[test]
    fn one_or_more_are_taken_by_number_or_name_in_the_order_of_the_choices() {
        let q = Question::several("a.b", "Which?", ["one", "two", "three"].map(|v| Choice::new(v, v)).to_vec());
        assert_eq!(q.parse("3, one").unwrap(), json!(["one", "three"]));
        assert_eq!(q.parse("all").unwrap(), json!(["one", "two", "three"]));
        assert!(["", "4", "one four", ","].iter().all(|text| q.parse(text).is_err()));
        for given in [json!("2"), json!(2), json!(["two"])] {
            assert_eq!(q.said(&given), json!(["two"]));
        }
        assert!([json!([]), json!("two"), json!(["two", "two"]), json!(["four"])].iter().all(|v| q.validate(v).is_err()));
        assert_eq!(q.display(&json!(["one", "two"])), "one, two");
    }

    #[test]
    fn numbers_and_confirmations_are_checked() {
        let q = Question::number("a.n", "How many?", 1, 9);
        assert!(q.validate(&q.parse("9").unwrap()).is_ok());
        assert!(q.validate(&q.parse("10").unwrap()).is_err());
        assert!(q.parse("x").is_err());
        let c = Question::confirm("a.c", "Sure?");
        assert_eq!(c.parse("YES").unwrap(), Value::from(true));
        assert!(c.parse("maybe").is_err());
        assert!(c.validate(&Value::from("yes")).is_err());
    }
}
