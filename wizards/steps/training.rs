//! `train`'s steps: from a configuration to a challenger in the registry.

use crate::kit::run::pace;
use crate::kit::{Act, Choice, Outcome, Plan, Question};
use data_layer::config::{self, Loaded};
use data_layer::control::{Db, Which};
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::ledger;
use data_layer::root::DataRoot;
use data_layer::schema::table;
use data_layer::snapshot;
use data_layer::store;
use data_layer::time::TradingDay;
use data_layer::words::{tell, thousands};
use engine::features;
use engine::models::baseline::{self, Momentum};
use engine::models::registry::Registry;
use engine::pipelines::config::{self as models, TrainingConfig};
use engine::pipelines::cv::{self, CvReport};
use engine::pipelines::fit::{self, Fit};
use engine::pipelines::prepare::{self, Prepared};
use engine::pipelines::retrain::{self, Evidence, Trigger};
use engine::pipelines::train::{self, Pinned, Windows};
use engine::pipelines::{recall, splits};
use engine::validation::gate::{self, GateReport};
use engine::validation::leak::LeakReport;
use std::cell::OnceCell;

mod lanes;
mod screen;
use lanes::LedgerSource;
pub use screen::Screen;

/// Whose champion is meant.
pub fn strategy_question() -> Question {
    Question::select("model.name", "Which strategy?", vec![Choice::new("equities_xs", "equities_xs: daily cross-section of US stocks")])
        .default("equities_xs", "the only sleeve with a lane that fills today")
        .help("Every model of a strategy is a challenger for one place: the champion's.")
}

/// What can be trained; each is a challenger for the same champion.
pub fn models_question() -> Question {
    let choices = vec![
        Choice::new("equities_xs", "equities_xs: boosted trees on the returns of the next five sessions"),
        Choice::new("equities_xs_rank", "equities_xs_rank: the same trees on the order of the names within a day"),
        Choice::new("equities_xs_alpha158", "equities_xs_alpha158: boosted trees on the 158 features of Alpha158"),
    ];
    Question::several("model.names", "Which models?", choices)
        .default(serde_json::json!(["equities_xs"]), "the model whose features are explained one by one")
        .help("One or more, as numbers or names (1,2), or all. Every configuration that any of them tries counts against all of them. A model's configuration is configs/training/NAME.yml; a file of that name under control/configs on the drive overrides it.")
}

/// A model and its configuration.
pub struct Chosen {
    pub model: String,
    pub config: Loaded<TrainingConfig>,
}

/// The configurations of the chosen models.
pub fn choose(host: &Host, root: &DataRoot, models: Vec<String>) -> Result<Vec<Chosen>> {
    models.into_iter().map(|model| Ok(Chosen { config: config(host, root, &model)?, model })).collect()
}

/// The merged training configuration: built-in, then the drive's, then this machine's.
pub fn config(host: &Host, root: &DataRoot, model: &str) -> Result<Loaded<TrainingConfig>> {
    let loaded: Loaded<TrainingConfig> = config::load(&format!("training/{model}"), models::built_in(model)?, host, Some(root))?;
    loaded.value.validate()?;
    Ok(loaded)
}

/// What the run will ask of the data and of the models; what holds for all of them is said once.
pub fn plan(act: &Act<'_>, chosen: &[Chosen]) -> Result<Plan> {
    let needs = chosen.iter().map(|c| need(act, &c.config.value)).collect::<Result<Vec<_>>>()?;
    let each = chosen.iter().map(|c| notes(act, &c.config)).collect::<Result<Vec<_>>>()?;
    let for_all = |note: &&String| each.iter().all(|notes| notes.contains(note));
    let mut said = vec![sentence(&needs)];
    said.extend(each.iter().take(1).flatten().filter(for_all).cloned());
    for (Chosen { model, .. }, own) in chosen.iter().zip(&each) {
        said.extend(own.iter().filter(|note| !for_all(note)).map(|note| format!("{model}: {}", tell(note))));
    }
    let fits: usize = needs.iter().map(|n| n.fits).sum();
    Ok(Plan { work: vec![("fits (configurations x splits)".into(), fits as u64)], notes: said, ..Plan::default() })
}

/// What must be known of one model before it is trained.
fn notes(act: &Act<'_>, config: &Loaded<TrainingConfig>) -> Result<Vec<String>> {
    let c = &config.value;
    let splits = c.cpcv().n_splits();
    let mut notes = vec![
        text!("window: {} years asked; what the drive holds of them is used and said", c.window.years),
        text!("cross-validation: {} groups, {} held out, {splits} splits, embargo {} sessions", c.cpcv.groups, c.cpcv.test_groups, c.cpcv.embargo_sessions),
        text!("bars: Sharpe >= {}, drawdown <= {:.0} %, DSR >= {}, PBO <= {:.0} %", c.bars.sharpe, c.bars.max_drawdown * 100.0, c.bars.dsr, c.bars.pbo * 100.0),
        text!("configuration {} on dataset {}", &config.sha256[..12], act.root.drive().dataset),
    ];
    notes.extend(c.loosened());
    for (dependency, threshold) in &c.dependencies {
        notes.push(text!("needs {dependency} at {:.0} % GREEN", threshold * 100.0));
    }
    Ok(notes)
}

/// Nanoseconds that LightGBM spends on a row of a feature in a round: measured on the practice drive (85 thousand rows).
const NS_PER_CELL_ROUND: f64 = 4.0;
/// What its objective adds for a row in a round, however many features: a ranking compares the names of a day with each other.
fn ns_per_row_round(objective: &str) -> f64 {
    match objective {
        "lambdarank" => 200.0,
        "binary" => 15.0,
        _ => 0.0,
    }
}
/// Bytes of a row of a feature: as read, standardised, in float32, and in bins.
const BYTES_PER_CELL: f64 = 24.0;

/// A plan is the same on every machine, so it speaks of a small one.
const CORES: f64 = 2.0;

/// What training one model takes, before it is begun: rows from the ledger, the rest by proportion.
struct Need {
    fits: usize,
    rows: u64,
    seconds: f64,
    memory_mb: f64,
}

fn need(act: &Act<'_>, c: &TrainingConfig) -> Result<Need> {
    let db = Db::open(act.root, Which::Node)?;
    let rows = match ledger::held(&db, table::CURATED_EQUITIES)? {
        Some(held) => ledger::coverage(&db, table::CURATED_EQUITIES, "", train::windows(c, held.end.plus_days(-1), held)?.used)?.expected,
        None => 0,
    };
    let fits = c.cells()?.len() * c.cpcv().n_splits();
    let cells = rows as f64 * features::width(&c.features.set)? as f64;
    let share = 1.0 - c.cpcv.test_groups as f64 / c.cpcv.groups as f64;
    let ns_a_round = cells * NS_PER_CELL_ROUND + rows as f64 * ns_per_row_round(&c.model.objective);
    let seconds = fits as f64 * share * ns_a_round * c.model.rounds as f64 * 1e-9 / CORES;
    Ok(Need { fits, rows, seconds, memory_mb: (cells * BYTES_PER_CELL / 1e6).max(50.0) })
}

/// The models follow each other: their times add up, their memory does not.
fn sentence(needs: &[Need]) -> String {
    let time = pace::words(needs.iter().map(|n| n.seconds).sum());
    let memory_mb = needs.iter().map(|n| n.memory_mb).fold(0.0, f64::max);
    let rows = thousands(needs.iter().map(|n| n.rows).max().unwrap_or_default());
    text!("needs about {time} on {CORES} cores and {memory_mb:.0} MB of memory, for {rows} rows of prices")
}

/// What makes a new challenger due tonight, by the configuration that the newest model was trained under; empty where nothing was ever
/// trained.
pub fn due(root: &DataRoot, session: TradingDay) -> Result<Vec<Trigger>> {
    const STRATEGY: &str = "equities_xs";
    let registry = Registry::open(root)?;
    let Some(learnt) = retrain::newest(root, &registry, STRATEGY)? else { return Ok(Vec::new()) };
    let db = Db::open(root, Which::Node)?;
    let held = ledger::held(&db, table::CURATED_EQUITIES)?.ok_or_else(nothing_curated)?;
    let window = train::windows(&learnt.config, held.end.plus_days(-1), held)?.used;
    let coverage = ledger::coverage(&db, table::CURATED_EQUITIES, "", window)?;
    let panel = super::market::Market::open(root)?.panel;
    retrain::triggers(&registry, &learnt, table::CURATED_EQUITIES, &Evidence { session, coverage: &coverage, panel: &panel })
}

/// What the night does about training.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tonight {
    /// Nothing is due, and why.
    Rest(String),
    /// Train, and why.
    Train(String),
}

/// A night's training that was cut off is gone on with at once: its models would be of other data each week that it waits. One that a
/// person began is left to them, unless another is due, which goes on from there.
pub fn tonight(open: Option<&str>, triggers: &[Trigger]) -> Tonight {
    let fired: Vec<String> = triggers.iter().filter(|t| t.fired).map(|t| format!("{}: {}", t.name, t.found)).collect();
    match (open.filter(|tag| tag.starts_with(NIGHTLY)), fired.is_empty(), triggers.first()) {
        (Some(tag), _, _) => Tonight::Train(text!("the training of {tag} was cut off")),
        (None, false, _) => Tonight::Train(fired.join("; ")),
        (None, true, Some(first)) => Tonight::Rest(text!("no new challenger is due ({})", first.found)),
        (None, true, None) => Tonight::Rest("no model was trained on this drive yet: trademl train".into()),
    }
}

/// How the night tags its runs, before the session.
pub const NIGHTLY: &str = "nightly ";

fn nothing_curated() -> Error {
    Error::new(code::DATA_MISSING, "the drive holds no curated prices yet").fix("trademl pi-data-node")
}

/// Pin the window: up to the newest session that the drive has audited.
pub fn pin_window(act: &Act<'_>, config: &Loaded<TrainingConfig>) -> Result<Windows> {
    let db = Db::open(act.root, Which::Node)?;
    let held = ledger::held(&db, table::CURATED_EQUITIES)?.ok_or_else(nothing_curated)?;
    let windows = train::windows(&config.value, held.end.plus_days(-1), held)?;
    if let Some(note) = &windows.cap_note {
        act.note(note);
    }
    Ok(windows)
}

fn judge(act: &Act<'_>, config: &TrainingConfig, window: data_layer::time::DateRange) -> Result<GateReport> {
    let db = Db::open(act.root, Which::Node)?;
    let bar = green_bar(act.host)?;
    let dependencies = config.dependencies.iter().map(|(name, wanted)| (name.clone(), wanted.max(bar))).collect();
    gate::judge(&dependencies, window, config.no_lane, &LedgerSource { db: &db, host: act.host, root: act.root })
}

/// `BACKFILL_MIN_GREEN_FRAC` raises what a configuration asks for and never lowers it.
fn green_bar(host: &Host) -> Result<f64> {
    const NAME: &str = "BACKFILL_MIN_GREEN_FRAC";
    let Some(text) = host.env(NAME) else { return Ok(0.0) };
    let value = text.parse::<f64>().ok().filter(|v| (0.0..=1.0).contains(v));
    value.ok_or_else(|| Error::new(code::CFG_VALUE, text!("{NAME} must be a fraction from 0 to 1")).found(text).fix(format!("{NAME}=0.98")))
}

/// Refuse unless every dependency is GREEN enough.
pub fn green(act: &Act<'_>, config: &Loaded<TrainingConfig>, windows: &Windows) -> Result<String> {
    let report = judge(act, &config.value, windows.used)?;
    report.require()?;
    Ok(report.minimum.map_or_else(
        || "every dependency stated".to_string(),
        // Cut, never rounded up: 100.00 % means all.
        |m| text!("{:.2} % GREEN at least, over {}", (m * 1e4).floor() / 1e2, windows.used),
    ))
}

/// Pin the files, and with them the version.
pub fn pin_snapshot(act: &Act<'_>, config: &Loaded<TrainingConfig>, windows: &Windows) -> Result<Pinned> {
    let snapshot = snapshot::pin(act.root, windows.used)?;
    snapshot::keep(act.root, &snapshot)?;
    let asof = windows.used.end.plus_days(-1);
    let pinned = train::pin(act.root, &config.value, asof, windows.used, &snapshot.to_string(), act.run)?;
    act.note(&text!("snapshot {}, version {}", pinned.snapshot, pinned.version));
    Ok(pinned)
}

/// Whether the snapshot's files are still there.
pub fn snapshot_is_whole(act: &Act<'_>, pinned: &Pinned) -> Result<bool> {
    snapshot::is_kept(act.root, &pinned.snapshot)
}

/// The panel, features and labels of one pass; made when first needed.
pub struct Workbench<'a> {
    root: DataRoot,
    pinned: &'a Pinned,
    prepared: OnceCell<Prepared>,
}

impl<'a> Workbench<'a> {
    pub fn new(root: &DataRoot, pinned: &'a Pinned) -> Self {
        Self { root: root.clone(), pinned, prepared: OnceCell::new() }
    }

    fn prepared(&self) -> Result<&Prepared> {
        if self.prepared.get().is_none() {
            let made = prepare::prepare(&self.root, self.pinned)?;
            drop(self.prepared.set(made));
        }
        self.prepared.get().ok_or_else(|| Error::bug("the workbench lost its panel"))
    }

    pub fn search_for_leaks(&self) -> Result<LeakReport> {
        train::leak_check(self.pinned, self.prepared()?)
    }

    pub fn cross_validate(&self, act: &Act<'_>) -> Result<CvReport> {
        // The scores of its splits are gone once a model is registered, and its report stands in its artifact.
        let report = match recall::report(&self.root, self.pinned)? {
            Some(known) => known,
            None => cv::cross_validate(&self.root, self.pinned, self.prepared()?, act)?,
        };
        for note in &report.notes {
            act.note(note);
        }
        Ok(report)
    }

    pub fn fit(&self, act: &Act<'_>, cv: &CvReport, leaks: &LeakReport) -> Result<Fit> {
        let gate = judge(act, &self.pinned.config, self.pinned.window)?;
        fit::fit_final(&self.root, self.pinned, self.prepared()?, cv, &gate, leaks)
    }
}

/// The gate over the leak detector's findings, in words.
pub fn require_no_leak(report: &LeakReport) -> Result<String> {
    train::require_no_leak(report)?;
    Ok(text!("{} checks, nothing found", report.checks.len()))
}

/// Whether the artifact is there under its digest; every file is verified when the model is loaded.
pub fn artifact_is_whole(act: &Act<'_>, fit: &Fit) -> Result<bool> {
    let manifest = fit.path.join("manifest.json")?;
    Ok(store::read(act.root, &manifest)?.is_some_and(|bytes| store::sha256_hex(&bytes) == fit.sha256))
}

/// Enter the model as a challenger, beside the honest baseline champion.
pub fn register(act: &Act<'_>, pinned: &Pinned, cv: &CvReport, fit: &Fit) -> Result<String> {
    baseline::ensure_baseline(act.root, &Registry::open(act.root)?, &pinned.strategy, &Momentum::default(), pinned.asof, act.run)?;
    let row = fit::register_challenger(act.root, pinned, cv, fit)?;
    splits::clear(act.root, pinned)?;
    Ok(row.version)
}

/// A model that was trained and registered, as the closing lines tell it.
pub struct Trained {
    strategy: String,
    version: String,
    sentence: String,
}

/// What became of one model.
pub fn trained(pinned: &Pinned, cv: &CvReport) -> Trained {
    let chosen = cv.chosen();
    let number = |v: Option<f64>, digits: usize| v.map_or(term!("undefined").to_string(), |v| format!("{v:.digits$}"));
    let sentence = text!(
        "challenger {} of {}: mean rank IC {}, net Sharpe {} out of sample, PBO {}, DSR {} over {} trials",
        pinned.version,
        pinned.strategy,
        number(chosen.ic.as_ref().map(|i| i.mean), 4),
        number(chosen.sharpe_annual, 2),
        number(cv.overfitting.pbo, 2),
        number(cv.overfitting.deflated.map(|d| d.dsr), 3),
        cv.overfitting.trials,
    );
    Trained { strategy: pinned.strategy.clone(), version: pinned.version.clone(), sentence }
}

/// What is said last.
pub fn outcome(trained: &[Trained]) -> Outcome {
    let summary = trained.iter().map(|t| t.sentence.as_str()).collect::<Vec<_>>().join("\n  ");
    let each = if trained.len() > 1 { "judge each of them against the champion" } else { "judge it against the champion" };
    let links = trained.iter().map(|t| (term!("model").to_string(), format!("models/{}/{}", t.strategy, t.version))).collect();
    Outcome { summary, next: vec![("trademl evaluate".to_string(), each.to_string())], links, ..Outcome::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::Scope;
    use crate::kit::journal::{Entry, Event, Journal};
    use data_layer::host::{FakeHost, Host};
    use data_layer::root::FsFacts;

    #[test]
    fn a_nights_training_that_was_cut_off_goes_on_the_next_night_though_nothing_is_due() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::fake(FakeHost::default());
        let root = DataRoot::create(&host, dir.path(), "replay@1", FsFacts::default(), None).unwrap();
        let journal = Journal::open(&root).unwrap();
        let say = |run: &str, kind: Event, tag: &str| {
            let payload = serde_json::json!({"tag": tag});
            journal.append(&host, run, "train", &Entry { step: "", visit: 0, kind, scope: Scope::Drive, inputs_sha256: "", payload: &payload }).unwrap();
            journal.open_tag("train").unwrap()
        };
        let calm = [Trigger { name: "age".into(), fired: false, found: "two days old".into() }];
        let night = |open: Option<String>| tonight(open.as_deref(), &calm);
        assert_eq!(night(None), Tonight::Rest("no new challenger is due (two days old)".into()));
        // Its first model is registered, and is why nothing is due; the second is not.
        let open = say("01RUN", Event::Opened, "nightly 2017-11-30");
        assert_eq!(night(open), Tonight::Train("the training of nightly 2017-11-30 was cut off".into()));
        assert_eq!(night(say("01RUN", Event::Closed, "")), Tonight::Rest("no new challenger is due (two days old)".into()));
        assert!(matches!(night(say("02RUN", Event::Opened, "my own")), Tonight::Rest(_)), "a person's is theirs");
        let fired = Trigger { fired: true, ..calm[0].clone() };
        assert_eq!(tonight(None, &[fired]), Tonight::Train("age: two days old".into()));
        assert!(matches!(tonight(None, &[]), Tonight::Rest(why) if why.contains("trademl train")));
    }
}
