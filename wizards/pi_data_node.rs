//! The first wizard: this machine and this SSD become a data node, and the node fills the drive.
//!
//! Finding the drive is a preamble ([`crate::steps::preamble`]), since the journal of this run lives on it. Questions come
//! first, then the review, then the writes. Everything below runs again from the top after a crash; what is done is kept.

use crate::kit::{Choice, Outcome, Question, Run, Scope, Step, Verb, Wizard};
use crate::steps::node_setup::{self, Setup};
use crate::steps::{keys, node};
use data_layer::error::Result;

const NODE_ID: Step = Step::new("node-id", Verb::Ask, Scope::Host, "Node id", "Leases and logs carry it, so that two machines can be told apart.");
const KEYS: Step = Step::new("keys", Verb::Ask, Scope::Host, "Vendor keys", "Free keys decide which data can be collected; they stay on this machine.");
const UNIVERSE: Step = Step::new("universe-source", Verb::Ask, Scope::Drive, "Universe", "What is expected on the drive is decided before anything arrives.");
const UNIVERSE_FILE: Step = Step::new("universe-file", Verb::Ask, Scope::Drive, "Universe file", "Your own list of symbols, one a line.");
const MAINTENANCE: Step =
    Step::new("maintenance-time", Verb::Ask, Scope::Host, "Maintenance time", "Curation, quality control and exports run when you are asleep.");
const SERVICE: Step = Step::new("node-service", Verb::Ask, Scope::Host, "Service", "A node that starts with the machine needs nobody.");
const START: Step = Step::new("node-start", Verb::Ask, Scope::Drive, "Start", "The drive can be filled now, or later by `trademl node run`.");
const REVIEW: Step = Step::new("review", Verb::Review, Scope::Drive, "Review", "Nothing but the journal has been written before this screen is accepted.");
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
};

/// The runbook.
pub fn run(run: &mut Run<'_>) -> Result<Outcome> {
    let node_id: String = run.ask(
        &NODE_ID,
        Question::text("node.id", "What is this node called?")
            .env("EDGE_NODE_ID")
            .default("node-1", "a plain name; no host name is stored")
            .check(node_setup::plain_name),
    )?;
    keys::ask_for_data(run, &KEYS)?;
    let source: String = run.ask(&UNIVERSE, universe_question())?;
    let file: Option<String> = match source.as_str() {
        "file" => Some(run.ask(&UNIVERSE_FILE, Question::path("universe.file", "Which file holds the symbols?").check(node_setup::readable_symbols))?),
        _ => None,
    };
    let maintenance: String = run.ask(
        &MAINTENANCE,
        Question::text("maintenance.time", "When is the daily maintenance (local time)?")
            .default("02:00", "after the vendors' last corrections")
            .check(node_setup::wall_time),
    )?;
    let service: String = run.ask(&SERVICE, service_question())?;
    let start: String = run.ask(&START, start_question())?;
    let setup = Setup::new(node_id, &source, file.as_deref(), maintenance, service)?;

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
    run.act(&BOOTSTRAP, &window, node::drain)?;
    run.act(&AUDIT, &window, |act| node::audit_and_heal(act, window))?;
    run.act(&CURATE, &window, node::curate)?;
    run.act(&EXPORT, &window, node::export)?;
    run.check(&COVERAGE, |act| node::coverage_line(act, window))?;
    Ok(node_setup::filled(run.root(), &setup))
}

fn universe_question() -> Question {
    let choices = vec![Choice::new("builtin", "100 large US companies (stage 0)"), Choice::new("file", "my own list of symbols")];
    Question::select("universe.source", "Which symbols shall the drive hold?", choices)
        .default("builtin", "stage 0 of the plan: 100 symbols, five years of days")
        .help("The list is written to stage.yml with its digest. Stage 1 (500 symbols) follows when stage 0 is GREEN.")
}

fn service_question() -> Question {
    let choices = vec![Choice::new("none", "no: I start it by hand"), Choice::new("systemd", "yes: print a systemd unit for me to install")];
    Question::select("node.service", "Shall the node start with the machine?", choices)
        .default("none", "no system file is ever touched by this wizard")
        .help("With systemd, the unit's text and the two commands that install it are printed at the end.")
}

fn start_question() -> Question {
    let choices = vec![Choice::new("now", "now, and show me the progress"), Choice::new("later", "later: trademl node run")];
    Question::select("node.start", "Fill the drive?", choices)
        .default("now", "the queue is worked off within the vendors' limits; it can be stopped at any moment")
}
