//! `control/stage.yml`: which symbols, how many years, which lanes. Written by us, closed by a digest of itself.

use crate::error::{Error, Result, code};
use crate::root::{DataPath, DataRoot};
use crate::schema::dataset;
use crate::sourcing::Endpoints;
use crate::store;
use crate::time::TradingDay;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The file and the previous version of it.
pub const PATH: &str = "control/stage.yml";
pub const BACKUP: &str = "control/stage.yml.bak";

/// What a stage aims at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    pub symbols: u32,
    pub eod_years: u16,
    pub minute_years: u16,
}

/// When the next stage may begin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promote {
    /// GREEN fraction that every dataset must reach.
    pub green: f64,
    pub datasets: Vec<String>,
}

/// Whether a dataset is collected. An inactive lane is neither seeded nor counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Lane {
    Plain(LaneState),
    Explained(ExplainedLane),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneState {
    Active,
    NotEntitled,
    Off,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainedLane {
    pub state: LaneState,
    pub reason: String,
    pub on: TradingDay,
    /// The first day that the lane serves, where it says so itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<TradingDay>,
}

impl Lane {
    pub fn state(&self) -> LaneState {
        match self {
            Self::Plain(state) => *state,
            Self::Explained(lane) => lane.state,
        }
    }
}

/// The symbols of the stage, in the order of their source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Universe {
    pub source: String,
    /// SHA-256 of the symbols, one a line.
    pub sha256: String,
    pub symbols: Vec<String>,
}

impl Universe {
    /// A universe with its digest.
    pub fn new(source: impl Into<String>, symbols: Vec<String>) -> Self {
        Self { source: source.into(), sha256: Self::digest(&symbols), symbols }
    }
    fn digest(symbols: &[String]) -> String {
        store::sha256_hex(symbols.iter().fold(String::new(), |all, s| all + s + "\n").as_bytes())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryEntry {
    pub stage: u8,
    pub on: TradingDay,
    pub why: String,
}

/// The contents of `stage.yml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    pub version: u32,
    pub stage: u8,
    pub since: TradingDay,
    pub targets: BTreeMap<u8, Target>,
    pub promote: Promote,
    pub lanes: BTreeMap<String, Lane>,
    pub universe: Universe,
    pub history: Vec<HistoryEntry>,
}

impl Stage {
    /// A fresh stage 0 with the standard targets.
    pub fn initial(on: TradingDay, universe: Universe, lanes: BTreeMap<String, Lane>) -> Self {
        let targets =
            BTreeMap::from([(0, Target { symbols: 100, eod_years: 5, minute_years: 1 }), (1, Target { symbols: 500, eod_years: 15, minute_years: 5 })]);
        let datasets = vec![crate::schema::dataset::EQUITIES_EOD.to_string(), crate::schema::dataset::EQUITIES_MINUTE.to_string()];
        let history = vec![HistoryEntry { stage: 0, on, why: "initialised".into() }];
        Self { version: 1, stage: 0, since: on, targets, promote: Promote { green: 0.98, datasets }, lanes, universe, history }
    }
    /// The target of the current stage.
    pub fn target(&self) -> Result<&Target> {
        self.targets.get(&self.stage).ok_or_else(|| Error::new(code::CFG_VALUE, text!("{PATH} has no targets for stage {}", self.stage)))
    }
    /// Whether a dataset is collected; one that the file does not name is.
    pub fn is_active(&self, dataset: &str) -> bool {
        self.lanes.get(dataset).is_none_or(|l| l.state() == LaneState::Active)
    }

    /// The first day whose minutes are expected: the stage's years back from its beginning, as far as some lane reaches.
    /// `None` where no minutes are collected.
    pub fn minutes_from(&self, endpoints: &Endpoints) -> Result<Option<TradingDay>> {
        let name = dataset::EQUITIES_MINUTE;
        let Some(lane) = self.lanes.get(name).filter(|lane| lane.state() == LaneState::Active) else { return Ok(None) };
        let wanted = self.since.plus_days(1).minus_years(i16::try_from(self.target()?.minute_years).unwrap_or(i16::MAX));
        let depths: Option<Vec<TradingDay>> = endpoints.routes(name, self.since).iter().map(|e| endpoints.depth_on(e, self.since)).collect();
        let reach = depths.and_then(|all| all.into_iter().min());
        let said = if let Lane::Explained(lane) = lane { lane.from } else { None };
        Ok(Some(wanted.max(reach.unwrap_or(wanted)).max(said.unwrap_or(wanted))))
    }

    /// The file's text, digest line included.
    pub fn render(&self) -> String {
        let mut out = text!("version: {}\nstage: {}\nsince: {}\ntargets:\n", self.version, self.stage, quoted(&self.since.to_string()));
        for (n, t) in &self.targets {
            let _ = writeln!(out, "  {n}: {{symbols: {}, eod_years: {}, minute_years: {}}}", t.symbols, t.eod_years, t.minute_years);
        }
        let lanes: Vec<String> = self.lanes.iter().map(|(name, lane)| format!("{name}: {}", lane_text(lane))).collect();
        let history: Vec<String> =
            self.history.iter().map(|h| text!("{{stage: {}, on: {}, why: {}}}", h.stage, quoted(&h.on.to_string()), quoted(&h.why))).collect();
        let _ = writeln!(out, "promote: {{green: {}, datasets: [{}]}}", self.promote.green, self.promote.datasets.join(", "));
        let _ = writeln!(out, "lanes: {{{}}}", lanes.join(", "));
        let symbols: Vec<String> = self.universe.symbols.iter().map(|s| quoted(s)).collect();
        let (source, sha256) = (quoted(&self.universe.source), quoted(&self.universe.sha256));
        let _ = writeln!(out, "universe: {{source: {source}, sha256: {sha256}, symbols: [{}]}}", symbols.join(", "));
        let _ = writeln!(out, "history: [{}]", history.join(", "));
        let digest = store::sha256_hex(out.as_bytes());
        let _ = writeln!(out, "# sha256: {digest}");
        out
    }

    /// Parse and verify the file's text.
    pub fn parse(text: &str) -> Result<Self> {
        let damaged = |why: &str| Error::new(code::CFG_STAGE_DAMAGED, text!("{PATH} does not match its own digest")).cause(why.to_string());
        let body_end = text.trim_end_matches('\n').rfind('\n').map_or(0, |at| at + 1);
        let (body, last) = text.split_at(body_end);
        let recorded = last.trim_end().strip_prefix("# sha256: ").ok_or_else(|| damaged("its last line is not a digest"))?;
        if recorded != store::sha256_hex(body.as_bytes()) {
            return Err(damaged("its contents were changed after it was written"));
        }
        let stage: Self = serde_yaml::from_str(body).map_err(|e| {
            let text = e.to_string();
            let code = if text.contains("unknown field") { code::CFG_UNKNOWN_KEY } else { code::CFG_PARSE };
            Error::new(code, text!("{PATH} cannot be understood")).cause(text)
        })?;
        if stage.version != 1 {
            return Err(Error::new(code::SSD_NEWER, text!("{PATH} has version {}, this binary knows 1", stage.version)).fix("install the newer version"));
        }
        if stage.universe.sha256 != Universe::digest(&stage.universe.symbols) {
            return Err(damaged("its list of symbols does not match the digest beside it"));
        }
        Ok(stage)
    }
}

fn lane_text(lane: &Lane) -> String {
    let word = |s: LaneState| match s {
        LaneState::Active => "active",
        LaneState::NotEntitled => "not_entitled",
        LaneState::Off => "off",
    };
    match lane {
        // `off` would be read as false by YAML 1.1 readers.
        Lane::Plain(LaneState::Off) => quoted("off"),
        Lane::Plain(state) => word(*state).to_string(),
        Lane::Explained(l) => {
            let from = l.from.map_or(String::new(), |d| text!(", from: {}", quoted(&d.to_string())));
            text!("{{state: {}, reason: {}, on: {}{from}}}", quoted(word(l.state)), quoted(&l.reason), quoted(&l.on.to_string()))
        }
    }
}

/// A YAML double-quoted scalar. JSON's escapes are a subset of YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_string()).to_string()
}

/// Read and verify the stage file. A damaged one is refused with the name of the backup, if that one is good.
pub fn load(root: &DataRoot) -> Result<Stage> {
    load_optional(root)?
        .ok_or_else(|| Error::new(code::DATA_MISSING, "this drive has no stage yet").cause(text!("{PATH} is not there")).fix("trademl pi-data-node"))
}

/// As [`load`], with `None` where a drive has not been given a stage yet.
pub fn load_optional(root: &DataRoot) -> Result<Option<Stage>> {
    let Some(bytes) = store::read(root, &DataPath::new(PATH)?)? else { return Ok(None) };
    let parsed = String::from_utf8(bytes).map_err(|_| Error::new(code::CFG_STAGE_DAMAGED, text!("{PATH} is not text"))).and_then(|t| Stage::parse(&t));
    match parsed {
        Err(error) if error.is(code::CFG_STAGE_DAMAGED) => {
            let good = store::read(root, &DataPath::new(BACKUP)?)?.and_then(|b| String::from_utf8(b).ok()).is_some_and(|t| Stage::parse(&t).is_ok());
            let fix = if good {
                text!("cp {BACKUP} {PATH} (inside the data root): the previous version is good")
            } else {
                text!("rm {PATH} (inside the data root), then: trademl pi-data-node; it is written again")
            };
            Err(error.fix(fix))
        }
        other => other.map(Some),
    }
}

/// Write the stage file; a good previous version is kept beside it. Equal contents write nothing.
pub fn write(root: &DataRoot, stage: &Stage) -> Result<()> {
    for symbol in &stage.universe.symbols {
        crate::root::encode_symbol(symbol)?;
    }
    let (path, text) = (DataPath::new(PATH)?, stage.render());
    if Stage::parse(&text)? != *stage {
        return Err(Error::bug("stage.yml does not read back as it was written"));
    }
    if let Some(old) = store::read(root, &path)? {
        if old == text.as_bytes() {
            return Ok(());
        }
        if std::str::from_utf8(&old).is_ok_and(|t| Stage::parse(t).is_ok()) {
            store::write_atomic(root, &DataPath::new(BACKUP)?, &old)?;
        }
    }
    store::write_atomic(root, &path, text.as_bytes()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::Kit;

    fn stage(symbols: &[&str]) -> Stage {
        let on: TradingDay = "2026-11-20".parse().unwrap();
        let explained = ExplainedLane { state: LaneState::NotEntitled, reason: "world replay holds no minutes".into(), on, from: None };
        let lanes = BTreeMap::from([("equities_eod".to_string(), Lane::Plain(LaneState::Active)), ("equities_minute".to_string(), Lane::Explained(explained))]);
        Stage::initial(on, Universe::new("builtin:stage0-100", symbols.iter().map(ToString::to_string).collect()), lanes)
    }

    #[test]
    fn awkward_symbols_survive_a_round_trip() {
        let kit = Kit::new();
        let want = stage(&["AAPL", "ON", "TRUE", "NO", "Y", "BRK/B", "1E5", "NULL"]);
        write(&kit.root, &want).unwrap();
        assert_eq!(load(&kit.root).unwrap(), want);
        assert!(!want.is_active("equities_minute") && want.is_active("equities_eod"));
    }

    #[test]
    fn damage_is_refused_and_names_the_good_backup() {
        let kit = Kit::new();
        write(&kit.root, &stage(&["AAPL"])).unwrap();
        write(&kit.root, &stage(&["AAPL", "MSFT"])).unwrap();
        let place = kit.root.locate(&DataPath::new(PATH).unwrap());
        let text = std::fs::read_to_string(&place).unwrap();
        std::fs::write(&place, text.replace("MSFT", "MSFX")).unwrap();
        let error = load(&kit.root).unwrap_err();
        assert!(error.is(code::CFG_STAGE_DAMAGED));
        assert!(error.body().fix[0].contains(BACKUP));
        std::fs::write(&place, &text[..text.len() - 30]).unwrap();
        assert!(load(&kit.root).unwrap_err().is(code::CFG_STAGE_DAMAGED));
    }

    #[test]
    fn unknown_keys_are_errors() {
        let text = stage(&["AAPL"]).render();
        let body: String = text.lines().filter(|l| !l.starts_with('#')).map(|l| format!("{l}\n")).collect::<String>() + "surprise: 1\n";
        let closed = format!("{body}# sha256: {}\n", store::sha256_hex(body.as_bytes()));
        assert!(Stage::parse(&closed).unwrap_err().is(code::CFG_UNKNOWN_KEY));
    }
}
