//! The first wizard: this machine and this SSD become a data node, and the node fills the drive.
//!
//! Finding the drive is a preamble ([`crate::steps::preamble`]), since the journal of this run lives on it. Questions come
//! first, then the review, then the writes. Everything below runs again from the top after a crash; what is done is kept.

use crate::kit::{Outcome, Run, Scope, Step, Verb, Wizard};
use crate::steps::node_setup::{self, Setup, asked};
use crate::steps::{keys, node, preamble, screens};
use data_layer::error::Result;

const NODE_ID: Step = Step::ask("node-id", Scope::Host, "Node id", "Leases and logs carry it, so that two machines can be told apart.", asked::node_id);
const KEYS: Step = Step::secrets("keys", "Vendor keys", "Free keys decide which data can be collected; they stay on this machine.", keys::DATA_KEYS);
const UNIVERSE: Step =
    Step::ask("universe-source", Scope::Drive, "Universe", "What is expected on the drive is decided before anything arrives.", asked::universe);
const UNIVERSE_FILE: Step = Step::ask("universe-file", Scope::Host, "Universe file", "Your own list of symbols, one a line.", asked::universe_file);
const MAINTENANCE: Step =
    Step::ask("maintenance-time", Scope::Host, "Maintenance time", "Curation, quality control and exports run when you are asleep.", asked::maintenance);
const SERVICE: Step = Step::ask("node-service", Scope::Host, "Service", "A node that starts with the machine needs nobody.", asked::service);
const START: Step = Step::ask("node-start", Scope::Drive, "Start", "The drive can be filled now, or later by `trademl node run`.", asked::start);
const REVIEW: Step = Step::new(
    "review",
    Verb::Review,
    Scope::Drive,
    "Review",
    "Until this is accepted there is only the drive's own skeleton with journal and log, and the keys that you typed.",
);
const ENV_FILE: Step =
    Step::new("env-file", Verb::Act, Scope::Host, "Settings of this machine", "Limits and the node's name, in a private file that keeps your comments.");
const CONTROL: Step = Step::new("control-db", Verb::Act, Scope::Drive, "Control database", "Queue, ledger and budgets live on the drive and move with it.");
const MACHINE: Step =
    Step::new("machine-file", Verb::Act, Scope::Host, "Machine record", "What belongs to this machine is kept apart from what belongs to the drive.");
const KEY_CHECK: Step = Step::new("key-check", Verb::Check, Scope::Account, "Keys tried", "A key that was never tried is a key that does not work.");
const LANES: Step =
    Step::new("lanes", Verb::Act, Scope::Drive, "Entitlements probed", "A lane that the vendor refuses is shown with the reason, never seeded.");
const WINDOW: Step = Step::new("window", Verb::Act, Scope::Drive, "Window pinned", "The history that is asked for must not move while it is collected.");
const STAGE: Step =
    Step::new("stage-file", Verb::Act, Scope::Drive, "stage.yml", "Which symbols, how many years, which lanes: one file that a person can read.");
const SEED: Step = Step::new("seed", Verb::Act, Scope::Drive, "Tasks seeded", "Every piece of work is a row in the queue before it is done.");
const BOOTSTRAP: Step = Step::new("bootstrap", Verb::Act, Scope::Drive, "Bootstrap", "The vendors are asked, within their limits, until the queue is empty.");
const AUDIT: Step = Step::new("audit", Verb::Act, Scope::Drive, "Audit and healing", "GREEN means that the stored bytes were read and checked.");
const CURATE: Step = Step::new("curate", Verb::Act, Scope::Drive, "Curation", "Adjusted prices are computed here, reproducibly, from raw data.");
const EXPORT: Step = Step::new("export", Verb::Act, Scope::Drive, "Export", "A workstation reads the export, not the node's working files.");
const COVERAGE: Step = Step::new("coverage", Verb::Check, Scope::Drive, "Coverage", "What is missing is said, with the reason.");

pub const WIZARD: Wizard = Wizard {
    name: "pi-data-node",
    purpose: "set up this machine and the SSD as a data node, and fill it with market data",
    steps: &[
        preamble::STORAGE,
        preamble::MARKET,
        NODE_ID,
        KEYS,
        UNIVERSE,
        UNIVERSE_FILE,
        MAINTENANCE,
        SERVICE,
        START,
        REVIEW,
        ENV_FILE,
        CONTROL,
        MACHINE,
        KEY_CHECK,
        LANES,
        WINDOW,
        STAGE,
        SEED,
        BOOTSTRAP,
        AUDIT,
        CURATE,
        EXPORT,
        COVERAGE,
    ],
    usually: &[("bootstrap", 2), ("audit", 3), ("curate", 4), ("export", 3)],
};

/// The runbook.
pub fn run(run: &mut Run<'_>) -> Result<Outcome> {
    let node_id: String = run.ask(&NODE_ID)?;
    keys::ask(run, &KEYS)?;
    let source: String = run.ask(&UNIVERSE)?;
    let file: Option<String> = if source == "file" { Some(run.ask(&UNIVERSE_FILE)?) } else { None };
    let maintenance: String = run.ask(&MAINTENANCE)?;
    let service: String = run.ask(&SERVICE)?;
    let start: String = run.ask(&START)?;
    let universe = node_setup::universe(run.host(), run.root(), &source, file.as_deref())?;
    let setup = Setup { node_id, universe, maintenance, service };

    run.review(&REVIEW, |act| node_setup::plan(act, &setup))?;

    run.act(&ENV_FILE, &setup, |act| node_setup::write_env(act, &setup))?;
    run.act_verified(&CONTROL, &(), node_setup::control_is_there, node_setup::create_control)?;
    run.act(&MACHINE, &setup, |act| node_setup::write_machine(act, &setup))?;
    run.check(&KEY_CHECK, node::check_keys)?;
    let lanes = run.act(&LANES, &(), node::probe_lanes)?;
    let window = run.act(&WINDOW, &(), node::pin_window)?;
    run.act_verified(&STAGE, &(&setup.universe, &lanes), node_setup::stage_is_whole, |act| node_setup::write_stage(act, &setup, &lanes))?;
    run.act(&SEED, &(&setup.universe, window), |act| node::seed_bootstrap(act, window))?;
    if start == "later" {
        return Ok(node_setup::set_up_only(run.root()));
    }
    run.act(&BOOTSTRAP, &window, |act| if start == "watch" { screens::beside_work(act, node::drain) } else { node::drain(act) })?;
    run.act(&AUDIT, &window, |act| node::audit_and_heal(act, window))?;
    run.act(&CURATE, &window, node::curate)?;
    run.act(&EXPORT, &window, node::export)?;
    run.check(&COVERAGE, |act| node::coverage_line(act, window))?;
    let bare = node::without_bars(run.root(), &setup.universe.symbols, window)?;
    Ok(node_setup::filled(run.root(), &setup, &bare))
}
