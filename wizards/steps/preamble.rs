//! Before a run: what this machine is, which drive it is, and whether somebody else is writing on it.

use super::keys;
use super::unfinished;
use super::world::{self, World};
use crate::kit::prompter::{GateReply, Place, Reply};
use crate::kit::session::Session;
use crate::kit::{Choice, Question, Scope, Step, Wizard, notify};
use data_layer::attach;
use data_layer::control::{Which, seal};
use data_layer::detect::{self, Detected};
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::rebuild;
use data_layer::root::{DataRoot, SENTINEL, refuse_checkout};
use data_layer::time::UtcTime;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// A drive that is held, and the world it lives in.
pub struct Found {
    pub root: DataRoot,
    pub world: World,
    pub hold: Hold,
}

/// The first two steps of the first wizard. They are not journalled: the journal lives on the drive that they choose.
pub const STORAGE: Step =
    Step::ask("storage-root", Scope::Host, "Data root", "Everything that must survive lives on one drive that can move to another machine.", storage_question);
pub const MARKET: Step =
    Step::ask("market-world", Scope::Drive, "Market", "A practice drive needs no key and no network; practice and real data never mix.", market_question);

/// The form of the words that `--take-over` asks for.
pub const TAKE_OVER: &str = "TAKE OVER <first 8 characters of the drive's id>";

/// Find or make the data root. Its answers are not journalled: the journal lives on the drive, and a mount path
/// belongs to a machine.
pub fn find_drive(session: &mut Session) -> Result<Found> {
    let host = session.host.clone();
    // A drive that is known needs no search: what was found once is not told again on every resume.
    if let Some(place) = named_place(session)?.filter(|p| p.join(SENTINEL).exists()) {
        return existing(session, &place);
    }
    let detected = detect::detect(&host);
    show(session, &detected);
    let left = session.place.take().map(|place| (place, term!("as answered before").to_string()));
    let mut last = left.or_else(|| unfinished::place(&host));
    loop {
        match settle(session, &detected, &mut last) {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) if was_typed(session)? && a_slip(&error) => not_accepted(session, &error),
            Err(error) => return Err(error),
        }
    }
}

/// Whether the place was typed (or accepted) at its question: then another one can be.
fn was_typed(session: &Session) -> Result<bool> {
    let given = session.given.look_up(&session.host, &storage_question()).is_some();
    Ok(session.prompter.interactive() && !session.flags.yes && !given && named_place(session)?.is_none())
}

/// Whether another place may do. Leaving, a held drive and a refused take-over are decisions, not places.
fn a_slip(error: &Error) -> bool {
    let places = [code::HOST_SYSTEM, code::SSD_FILESYSTEM, code::SSD_NOT_MOUNTED, code::SSD_READ_ONLY, code::SSD_IS_CHECKOUT];
    places.iter().any(|code| error.is(*code))
}

fn not_accepted(session: &Session, error: &Error) {
    let body = error.body();
    session.report.note(&text!("  not accepted: {}", body.what));
    for line in body.cause.iter().chain(&body.found).chain(&body.fix) {
        session.report.note(&format!("    {line}"));
    }
}

/// A drive that holds a root: attach it, enter its world.
fn existing(session: &mut Session, place: &Path) -> Result<Found> {
    refuse_checkout(place)?;
    session.place = Some(place.to_path_buf());
    let host = session.host.clone();
    // Held first: a second wizard on this drive must hear about the first one, not about its sandbox.
    let root = DataRoot::open(&host, place)?;
    let hold = hold_for(session, &root)?;
    let (root, world) = world::of_root(&host, &root)?;
    agree(session, &root)?;
    settled(session, &STORAGE, &place.display().to_string(), true);
    settled(session, &MARKET, &market_words(&root.drive().dataset), true);
    Ok(Found { root, world, hold })
}

/// The place that the flags, the environment, or this machine's memory name.
fn named_place(session: &Session) -> Result<Option<PathBuf>> {
    let host = &session.host;
    let remembered = keys::remembered_root(host)?;
    let named = session
        .flags
        .root
        .clone()
        .or_else(|| host.env("TRADEML_ROOT").map(PathBuf::from))
        .or_else(|| remembered.map(PathBuf::from).filter(|p| p.join(SENTINEL).exists()));
    Ok(named.map(|place| host.cwd().join(place)))
}

/// One pass over the two questions; `None` when the second was answered with "back".
fn settle(session: &mut Session, detected: &Detected, last: &mut Option<(PathBuf, String)>) -> Result<Option<Found>> {
    let host = session.host.clone();
    let place = choose_place(session, detected, last.as_ref())?;
    refuse_checkout(&place)?;
    let meant = place.clone();
    let place = if session.flags.dry_run && !place.join(SENTINEL).exists() { scratch(&host, &place)? } else { place };
    if place.join(SENTINEL).exists() {
        return existing(session, &place).map(Some);
    }
    let words = session.given.look_up(&host, &override_question()).and_then(|(v, _)| v.as_str().map(str::to_string));
    let accepted = detect::accept(&host, &meant, words.as_deref())?;
    for warning in &accepted.warnings {
        session.report.note(&text!("  note: {warning}"));
    }
    // Only an answer that was accepted is offered again.
    *last = Some((meant.clone(), term!("as answered before").to_string()));
    settled(session, &STORAGE, &meant.display().to_string(), false);
    let Some(dataset) = choose_market(session)? else { return Ok(None) };
    settled(session, &MARKET, &market_words(&dataset), false);
    let market_typed = session.prompter.interactive() && !session.flags.yes && session.given.look_up(&host, &market_question()).is_none();
    let asked = was_typed(session)? || market_typed;
    let nothing_there = std::fs::read_dir(&place).map_or(true, |mut inside| inside.next().is_none());
    let world = world::enter(&host, &dataset, &place.join("sandbox"), None)?;
    if let Some(why) = accepted.practice.as_ref().filter(|_| dataset == "real") {
        session.report.note(&text!("  note: a drive for the real market, and {why}"));
    }
    let root = DataRoot::create(&world.host, &place, &dataset, accepted.fs, accepted.accepted_without)?;
    if !session.flags.dry_run {
        unfinished::note(&host, &place)?;
        session.place = Some(place.clone());
        session.made = (nothing_there && asked).then(|| place.clone());
    }
    let hold = hold_for(session, &DataRoot::open(&host, &place)?)?;
    Ok(Some(Found { root, world, hold }))
}

/// Going back from the first question of the run: the drive that this very call made in an empty place, and that holds nothing but
/// its skeleton, is removed again.
pub fn take_back(session: &mut Session, place: &Path) -> Result<()> {
    for entry in std::fs::read_dir(place)? {
        let inside = entry?.path();
        if inside.is_dir() { std::fs::remove_dir_all(&inside)? } else { std::fs::remove_file(&inside)? }
    }
    // Another's folder, or a mount point, stays.
    drop(std::fs::remove_dir(place));
    session.report.note(&text!("  the empty drive at {} is removed again", place.display()));
    session.place = Some(place.to_path_buf());
    Ok(())
}

/// The command that made a drive continues it too: what it says of the place and the market is not a stray answer. Another
/// market than the drive's is.
fn agree(session: &Session, root: &DataRoot) -> Result<()> {
    for id in ["storage.root", "storage.without_guarantees", "market.world"] {
        session.given.mark_used(id);
    }
    let wanted = session.given.look_up(&session.host, &market_question()).map(|(value, _)| value == "real");
    match wanted {
        Some(real) if real == root.is_world() => {
            Err(Error::new(code::CFG_DATASET_MIXED, text!("this drive holds '{}' data, and its market can never change", root.drive().dataset))
                .fix("choose another place for the other market: --root DIR"))
        }
        _ => Ok(()),
    }
}

/// The first two steps have no journal, but they are steps all the same.
fn settled(session: &Session, step: &Step, evidence: &str, before: bool) {
    let place = session.wizard.place(step);
    let mark = if before { term!("kept  ") } else { term!("done  ") };
    session.report.event(
        "step.done",
        &text!("  {mark} [{}/{}] {}: {evidence}", place.n, place.of, place.title),
        json!({"step": step.id, "n": place.n, "of": place.of, "replayed": before, "evidence": evidence}),
    );
}

fn market_words(dataset: &str) -> String {
    if dataset == "real" { "the real market".into() } else { text!("practice ({dataset})") }
}

/// A dry run of a drive that does not exist yet happens in a scratch folder of this machine; the chosen place stays empty.
fn scratch(host: &Host, meant: &Path) -> Result<PathBuf> {
    let place = unfinished::scratch(host);
    unfinished::rehearse(host, meant)?;
    match std::fs::remove_dir_all(&place) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
        _ => {}
    }
    data_layer::store::create_folder(&place)?;
    Ok(place)
}

/// Seconds between two signs of life on the drive.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Hold the drive and a lock while the value lives; a background thread keeps the heartbeat.
pub struct Hold {
    stop: Option<mpsc::Sender<()>>,
    beating: Option<thread::JoinHandle<()>>,
    lock: Option<attach::Guard>,
    root: DataRoot,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // The thread owns the attachment: when it ends, the drive is released in order.
        self.stop = None;
        if let Some(beating) = self.beating.take() {
            drop(beating.join());
        }
        self.lock = None;
        // The last one to leave seals the databases; where that is not possible nothing is lost but the comparison.
        if attach::busy(&self.root).is_ok_and(|others| others.is_empty()) {
            for which in [Which::Node, Which::Journal, Which::Registry] {
                if let Err(error) = seal::lay(&self.root, which) {
                    tracing::warn!(%error, database = which.path(), "not sealed");
                }
            }
        }
    }
}

/// Attach the drive (refused while another machine's heart beats on it, unless `take_over`) and take a lock.
pub fn hold(root: &DataRoot, lock: &str, take_over: bool) -> Result<Hold> {
    let node = keys::node_id(root.host())?;
    // What cannot be made again is refused before it is written to; what can is made again.
    seal::check(root, Which::Registry)?;
    seal::check(root, Which::Journal)?;
    let attached = if take_over { attach::take_over(root, &node)? } else { attach::attach(root, &node, true)? };
    let guard = attach::lock(root, lock)?;
    if seal::check(root, Which::Node).is_err() {
        let made = rebuild::node_db(root)?;
        tracing::warn!(aside = ?made.set_aside, "control/node.sqlite was not as it was left: made again from the files");
    }
    let (stop, stopped) = mpsc::channel::<()>();
    notify::ready(root.host());
    let watched = root.host().clone();
    let beating = thread::spawn(move || {
        while stopped.recv_timeout(HEARTBEAT) == Err(mpsc::RecvTimeoutError::Timeout) {
            if let Err(error) = attached.heartbeat() {
                // The next journal append meets the same trouble and stops the run with its reason.
                tracing::error!(%error, "no heartbeat");
                return;
            }
            // A drive that hangs lets no heartbeat through, and a supervisor hears nothing more.
            notify::alive(&watched);
        }
    });
    Ok(Hold { stop: Some(stop), beating: Some(beating), lock: Some(guard), root: root.clone() })
}

/// [`hold`] for a wizard; `--take-over` needs the typed words `TAKE OVER` and the beginning of the drive's id.
pub fn hold_for(session: &mut Session, root: &DataRoot) -> Result<Hold> {
    let lock = format!("wizard-{}", session.wizard.name);
    if !session.flags.take_over {
        return hold(root, &lock, false);
    }
    let wanted = text!("TAKE OVER {}", &root.drive().drive_id[..8]);
    let shown = "Another machine seems to be using this drive. Its next write will be refused.";
    let place = Place { step: "take-over", title: "Take over", n: 1, of: 1, why: "Two machines writing to one drive would damage it.", ..Place::default() };
    let refused = |cause: &str| {
        Error::new(code::GATE_REFUSED, "the drive was not taken over").cause(cause.to_string()).fix(format!("--take-over --confirm \"{wanted}\""))
    };
    if session.given.take_token(&wanted).is_some() {
        return hold(root, &lock, true);
    }
    // A slip of the finger is not a decision: only an empty line, going back or the end of the input refuses.
    loop {
        match session.prompter.gate(&place, shown, &wanted)? {
            GateReply::Typed(words) if words == wanted => break,
            GateReply::Typed(words) if words.is_empty() => return Err(refused("nothing was typed")),
            GateReply::Typed(_) => session.report.note("  these are not the words; try again, or press Enter alone to leave the drive where it is"),
            GateReply::Back => return Err(refused("you went back")),
            GateReply::Pause => return Err(Error::new(code::USE_PAUSED, "paused; nothing was written")),
            GateReply::Nobody => return Err(refused("there was nobody to confirm")),
        }
    }
    hold(root, &lock, true)
}

fn show(session: &Session, detected: &Detected) {
    session.report.event("host.detected", "What I found", serde_json::to_value(detected).unwrap_or_default());
    for fact in detected.facts() {
        session.report.note(&text!("  {:<13}{}   ({})", fact.name, fact.value, fact.evidence));
    }
}

fn choose_place(session: &mut Session, detected: &Detected, last: Option<&(PathBuf, String)>) -> Result<PathBuf> {
    let host = session.host.clone();
    if let Some(place) = named_place(session)? {
        return Ok(place);
    }
    let recommended = &detected.recommendation;
    let question = match last {
        Some((place, why)) => storage_question().default(place.display().to_string(), why.clone()),
        None => storage_question().default(recommended.path.clone(), recommended.reason.clone()),
    };
    loop {
        match preamble_answer(session, &STORAGE, &question)? {
            Some(value) => return Ok(host.cwd().join(at_home(&host, value.as_str().unwrap_or_default()))),
            None => session.report.note("  this is the first question"),
        }
    }
}

/// `~/drive` as shells and every page write it.
fn at_home(host: &Host, typed: &str) -> PathBuf {
    match (typed.strip_prefix("~/"), host.env("HOME")) {
        (Some(rest), Some(home)) => Path::new(home).join(rest),
        _ => PathBuf::from(typed),
    }
}

fn storage_question() -> Question {
    Question::path("storage.root", "Where shall the data live?")
        .no_default("the drive that is found on this machine is offered")
        .pattern("^~?/")
        .help("A folder on an SSD with ext4, xfs, btrfs or APFS. A plain folder is fine for practice. Nothing is ever formatted.")
        .check(absolute)
}

fn market_question() -> Question {
    let choices = vec![
        Choice::new("practice", "practice: 100 companies, real prices of 2013-2018, no keys, no network"),
        Choice::new("real", "the real market: free vendor keys are asked for next"),
    ];
    Question::select("market.world", "Which market?", choices)
        .default("practice", "nothing can go wrong here; a real drive can be made at any time")
        .help("A drive belongs to one market for ever. Practice prices are served by this program; nothing leaves the machine.")
}

fn absolute(value: &Value) -> std::result::Result<(), String> {
    let good = value.as_str().is_some_and(|p| Path::new(p).is_absolute() || p.starts_with("~/"));
    if good { Ok(()) } else { Err("an absolute path is needed, such as /mnt/ssd/data_layer or ~/trademl-practice".into()) }
}

/// `real`, the embedded practice world, or whatever a sandbox named in the environment serves.
fn choose_market(session: &mut Session) -> Result<Option<String>> {
    let host = session.host.clone();
    if let Some(base) = world::outside_base(&host) {
        let face = host.block_on(data_layer::sandbox::client::world(&host, &base))??;
        session.report.note(&text!("  market       {}   (the sandbox that the environment names)", face.dataset));
        return Ok(Some(face.dataset));
    }
    let value = preamble_answer(session, &MARKET, &market_question())?;
    Ok(value.map(|v| if v == "real" { "real".to_string() } else { world::PRACTICE.to_string() }))
}

/// Given by flag or file, never asked: the words that the refusal of a filesystem prints.
pub fn override_question() -> Question {
    Question::text("storage.without_guarantees", "Accept a filesystem without guarantees?")
        .no_default("a guarantee is only given up in so many words")
        .help("The words that the refusal of a filesystem prints. What is lost is recorded on the drive.")
}

/// A question before there is a journal: flags and answers first, then the person. `None` = back.
fn preamble_answer(session: &mut Session, step: &'static Step, question: &Question) -> Result<Option<Value>> {
    let checked = |value: Value| {
        question.validate(&value).map(|()| value).map_err(|why| Error::new(code::USE_ANSWER_INVALID, text!("'{}' is not acceptable: {why}", question.id)))
    };
    if let Some((value, _)) = session.given.look_up(&session.host, question) {
        return checked(value).map(Some);
    }
    if let Some((value, _)) = question.default.as_ref().filter(|_| session.flags.yes) {
        return Ok(Some(value.clone()));
    }
    if !session.prompter.interactive() {
        return Err(question.missing());
    }
    let place = Place { outline: outline(session.wizard, step), ..session.wizard.place(step) };
    let nothing_kept = |error: Error| match error.code() {
        c if c == code::USE_INTERRUPTED || c == code::USE_TERMINATED => Error::new(c, "stopped before a drive was made; nothing was written"),
        _ => error,
    };
    match session.prompter.ask(&place, question).map_err(nothing_kept)? {
        Reply::Value(value) => Ok(Some(value)),
        Reply::Back => Ok(None),
        Reply::Pause => Err(Error::new(code::USE_PAUSED, "left before a drive was chosen; nothing was written")),
    }
}

/// All steps, for `:steps` before there is a run.
fn outline(wizard: &Wizard, here: &Step) -> String {
    let row = |(i, step): (usize, &Step)| text!("\n  {:<4} {:>2} {}", if step.id == here.id { term!("here") } else { "    " }, i + 1, step.title);
    wizard.steps.iter().enumerate().map(row).fold(text!("  {}: {} steps", wizard.name, wizard.steps.len()), |all, row| all + &row)
}

/// Whether the machine's clock can be believed: not before this program was made (a Pi has no battery clock). A world's
/// clock is not compared with it. Whoever asks vendors looks closer (`Node::believe_clock`).
pub fn believe_clock(host: &Host, root: &DataRoot) -> Result<()> {
    if root.is_world() || host.clock_is_simulated() { Ok(()) } else { believable(host.now(), host.built()) }
}

fn believable(now: UtcTime, built: UtcTime) -> Result<()> {
    if now >= built {
        return Ok(());
    }
    Err(Error::new(code::HOST_CLOCK, "this machine's clock is wrong")
        .found(text!("it says {now}, before {built}, when this program was made"))
        .fix("sudo timedatectl set-ntp true, wait a minute, then run the same command"))
}

#[cfg(test)]
#[path = "preamble_tests.rs"]
mod conversation;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_from_before_the_program_is_not_believed() {
        // What a Pi without a battery clock says after a power cut.
        let built = UtcTime::parse("2026-01-01T00:00:00Z").unwrap();
        let early = believable(UtcTime::parse("2024-11-19T14:22:07Z").unwrap(), built).unwrap_err();
        assert!(early.is(code::HOST_CLOCK) && early.body().fix[0].contains("set-ntp"), "{:?}", early.body());
        assert!(believable(UtcTime::parse("2026-11-21T00:00:00Z").unwrap(), built).is_ok());
        assert!(Host::fake(data_layer::host::FakeHost::default()).built() >= built, "also where the source has no history");
    }
}
