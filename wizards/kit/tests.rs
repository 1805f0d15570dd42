//! A toy wizard driven in process: crash at every journal write, go back, change answers, move to another machine.

use super::journal::Journal;
use super::prompter::Reply;
use super::prompter::answers::Given;
use super::prompter::scripted::Scripted;
use super::prompter::{Prompter, ReviewReply, answers::Answers};
use super::report::{Reporter, Voice};
use super::run::{Gate, Manner, Outcome, Parts, Run};
use super::{Act, Plan, Question, Scope, Step, Verb, Wizard};
use data_layer::error::{Result, code};
use data_layer::host::{FakeHost, Host};
use data_layer::root::{DataPath, DataRoot, FsFacts};
use data_layer::store;
use std::path::Path;

const NAME: Step = Step::ask("toy-name", Scope::Drive, "Name", "A book needs a name.", || Question::text("toy.name", "Name?").default("book", "a usual name"));
const SIZE: Step =
    Step::ask("toy-size", Scope::Host, "Size", "This machine's limit.", || Question::number("toy.size", "Size?", 1, 9).default(3, "three is usual"));
const REVIEW: Step = Step::new("review", Verb::Review, Scope::Drive, "Review", "Nothing is written before it.");
const WRITE: Step = Step::new("write", Verb::Act, Scope::Drive, "Write", "The work itself.");
const CHECK: Step = Step::new("check", Verb::Check, Scope::Drive, "Check", "Facts are judged again.");
const GATE: Step = Step::gate("gate", "Confirm", "Money needs a person.", "PAPER <account> <trading day>");
const SEND: Step = Step::new("send", Verb::Send, Scope::Account, "Send", "Once and only once.");
const TOY: Wizard = Wizard { name: "toy", purpose: "a test", steps: &[NAME, SIZE, REVIEW, WRITE, CHECK, GATE, SEND], usually: &[] };

fn ledger(act: &Act<'_>) -> Result<String> {
    let bytes = store::read(act.root, &DataPath::new("broker.txt")?)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn body(run: &mut Run<'_>) -> Result<Outcome> {
    let name: String = run.ask(&NAME)?;
    let size: i64 = run.ask(&SIZE)?;
    run.review(&REVIEW, |_| Ok(Plan::default()))?;
    let path = run.act(&WRITE, &(&name, size), |act| {
        let path = DataPath::new(format!("reports/{name}.txt"))?;
        store::write_atomic(act.root, &path, format!("{name} {size}").as_bytes())?;
        Ok(path)
    })?;
    run.check(&CHECK, |act| Ok(format!("{} bytes", store::read(act.root, &path)?.unwrap_or_default().len())))?;
    run.gate(&GATE, &Gate { account: "SIM1", trading_day: "2017-12-01", shown: "two orders", token: "PAPER SIM1 2017-12-01" })?;
    run.send(
        &SEND,
        &name,
        |act| Ok(ledger(act)?.contains(&name).then(|| name.clone())),
        |act| {
            act.host.failpoint("order.send.before")?;
            let text = ledger(act)? + &name + "\n";
            store::write_atomic(act.root, &DataPath::new("broker.txt")?, text.as_bytes())?;
            act.host.failpoint("order.send.after")?;
            Ok(name.clone())
        },
    )?;
    Ok(Outcome { summary: format!("{name} {size}"), ..Outcome::default() })
}

struct Toy {
    dir: tempfile::TempDir,
}

impl Toy {
    fn new() -> Self {
        let toy = Self { dir: tempfile::tempdir().unwrap() };
        DataRoot::create(&Host::fake(FakeHost::default()), &toy.root(), "replay@1", FsFacts::default(), None).unwrap();
        toy
    }
    fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("root")
    }
    fn run(&self, fake: FakeHost, prompter: &mut dyn Prompter, given: &Given) -> (Result<Outcome>, Host) {
        run_at(&self.root(), fake, prompter, given)
    }
    fn file(&self, path: &str) -> String {
        std::fs::read_to_string(self.root().join(path)).unwrap_or_default()
    }
}

fn run_at(place: &Path, fake: FakeHost, prompter: &mut dyn Prompter, given: &Given) -> (Result<Outcome>, Host) {
    let host = Host::fake(fake);
    let report = Reporter::new(&host, Voice::Silent, "toy", None);
    let result = DataRoot::open(&host, place).and_then(|root| {
        let journal = Some(Journal::open(&root)?);
        Run::begin(Parts { host: host.clone(), root, journal, wizard: &TOY, given, prompter, report: &report, manner: Manner::default(), tag: None })?
            .drive(body)
    });
    (result, host)
}

fn person() -> Scripted {
    Scripted::default().answer("toy-name", "alpha").answer("toy-size", 5).gate_text("gate", "PAPER SIM1 2017-12-01")
}

#[test]
fn a_run_goes_through_and_closes() {
    let toy = Toy::new();
    let (result, host) = toy.run(FakeHost::default(), &mut person(), &Given::default());
    assert_eq!(result.unwrap().summary, "alpha 5");
    assert_eq!(toy.file("reports/alpha.txt"), "alpha 5");
    assert!(host.traced().iter().any(|l| l == "STEP 7 send"));
}

#[test]
fn crash_at_every_point_then_resume_elsewhere_gives_the_same_and_sends_once() {
    let count = {
        let toy = Toy::new();
        let fake = FakeHost { crash_at: Some((String::new(), u64::MAX)), ..FakeHost::default() };
        toy.run(fake, &mut person(), &Given::default()).1.failpoints_passed()
    };
    assert!(count > 20, "the sweep visits {count} points");
    for k in 1..=count {
        let toy = Toy::new();
        let fake = FakeHost { crash_at: Some((String::new(), k)), ..FakeHost::default() };
        let (crashed, _) = toy.run(fake, &mut person(), &Given::default());
        assert!(crashed.is_err(), "point {k}");
        // Another machine, another boot, a moved drive, a later clock.
        let moved = toy.dir.path().join("moved");
        std::fs::rename(toy.root(), &moved).unwrap();
        let elsewhere = FakeHost {
            machine_id: "00000000000000bb".into(),
            boot_id: "boot-9".into(),
            now: FakeHost::default().now.plus_seconds(86_400),
            ..FakeHost::default()
        };
        let mut second = person();
        let (result, _) = run_at(&moved, elsewhere, &mut second, &Given::default());
        let closed_before = result.as_ref().is_ok_and(|_| second.asked.len() == 4);
        assert_eq!(result.unwrap_or_else(|e| panic!("point {k}: {e}")).summary, "alpha 5");
        let sent = std::fs::read_to_string(moved.join("broker.txt")).unwrap();
        assert!(sent == "alpha\n" || (closed_before && sent == "alpha\nalpha\n"), "point {k}: sent {sent:?}");
        assert_eq!(std::fs::read_to_string(moved.join("reports/alpha.txt")).unwrap(), "alpha 5");
    }
}

#[test]
fn another_machine_is_asked_only_for_what_belongs_to_a_machine() {
    let toy = Toy::new();
    let fake = FakeHost { crash_at: Some(("order.send.before".into(), 1)), ..FakeHost::default() };
    toy.run(fake, &mut person(), &Given::default()).0.unwrap_err();
    let mut second = person();
    let elsewhere = FakeHost { machine_id: "00000000000000bb".into(), ..FakeHost::default() };
    toy.run(elsewhere, &mut second, &Given::default()).0.unwrap();
    assert_eq!(second.asked, ["toy-size"]);
}

#[test]
fn going_back_keeps_the_old_answer_as_the_default() {
    let toy = Toy::new();
    let mut person = Scripted::default()
        .answer("toy-name", "first")
        .reply("toy-size", Reply::Back)
        .answer("toy-name", "second")
        .answer("toy-size", 7)
        .gate_text("gate", "PAPER SIM1 2017-12-01");
    assert_eq!(toy.run(FakeHost::default(), &mut person, &Given::default()).0.unwrap().summary, "second 7");
    assert_eq!(person.asked[..4], ["toy-name", "toy-size", "toy-name", "toy-size"]);
}

#[test]
fn an_answer_changed_in_the_review_is_asked_again_and_reviewed_again() {
    let toy = Toy::new();
    let mut person = person().review_reply(ReviewReply::Change("toy-name".into())).answer("toy-name", "beta");
    assert_eq!(toy.run(FakeHost::default(), &mut person, &Given::default()).0.unwrap().summary, "beta 5");
    assert_eq!(person.asked.iter().filter(|s| *s == "review").count(), 2);
}

#[test]
fn a_gate_without_its_exact_token_refuses_and_can_be_passed_later() {
    let toy = Toy::new();
    for wrong in ["y", "", "paper sim1 2017-12-01", "PAPER SIM1 2017-11-30"] {
        let mut person = Scripted::default().answer("toy-name", "alpha").answer("toy-size", 5).gate_text("gate", wrong);
        assert!(toy.run(FakeHost::default(), &mut person, &Given::default()).0.unwrap_err().is(code::GATE_REFUSED), "{wrong:?}");
    }
    assert_eq!(toy.file("broker.txt"), "");
    let given = Given::new("toy", None, &[], &["PAPER SIM1 2017-12-01".into()]).unwrap();
    toy.run(FakeHost::default(), &mut Answers, &given).0.unwrap();
    assert_eq!(toy.file("broker.txt"), "alpha\n");
}

#[test]
fn every_missing_answer_is_named_at_once_and_nothing_is_written() {
    let toy = Toy::new();
    let error = toy.run(FakeHost::default(), &mut Answers, &Given::default()).0.unwrap_err();
    assert!(error.is(code::USE_ANSWER_MISSING));
    let fixes = error.body().fix.join("\n");
    assert!(fixes.contains("toy.name") && fixes.contains("toy.size") && fixes.contains("--yes"), "{fixes}");
    assert_eq!(toy.file("reports/book.txt"), "");
}

#[test]
fn a_broken_chain_is_noticed() {
    let toy = Toy::new();
    toy.run(FakeHost::default(), &mut person(), &Given::default()).0.unwrap();
    let conn = rusqlite::Connection::open(toy.root().join("control/journal.sqlite")).unwrap();
    conn.execute("UPDATE journal SET payload_json = '{}' WHERE seq = 3", []).unwrap();
    drop(conn);
    assert!(toy.run(FakeHost::default(), &mut person(), &Given::default()).0.unwrap_err().is(code::SSD_CHAIN));
}

/// Every gate of every wizard, alone: `--yes`, a person who presses Enter, a wrong or near-miss word and the end of the
/// input are refusals; only the exact token passes.
#[test]
fn yes_never_answers_a_gate_of_any_wizard() {
    let mut gates = 0;
    for wizard in crate::wizards() {
        for step in wizard.steps.iter().filter(|s| s.verb == Verb::Gate || matches!(s.asks, super::Asks::Token(_))) {
            gates += 1;
            let token = "PAPER SIM1 2017-12-01";
            let try_with = |prompter: &mut dyn Prompter, given: &Given, yes: bool| {
                let toy = Toy::new();
                let host = Host::fake(FakeHost::default());
                let report = Reporter::new(&host, Voice::Silent, wizard.name, None);
                let root = DataRoot::open(&host, &toy.root()).unwrap();
                let journal = Some(Journal::open(&root).unwrap());
                let manner = Manner { yes, ..Manner::default() };
                let run = Run::begin(Parts { host, root, journal, wizard, given, prompter, report: &report, manner, tag: None }).unwrap();
                run.drive(|run| {
                    run.gate(step, &Gate { account: "SIM1", trading_day: "2017-12-01", shown: "orders", token })?;
                    Ok(Outcome::default())
                })
            };
            let nothing = Given::default();
            for yes in [true, false] {
                assert!(try_with(&mut Answers, &nothing, yes).unwrap_err().is(code::GATE_REFUSED), "{} {}", wizard.name, step.id);
                for typed in
                    ["", "y", "yes", "Y", "true", "PAPER", "paper sim1 2017-12-01", "PAPER SIM1 2017-12-01 ", "PAPER SIM1 2017-11-30", "PAPER SIM2 2017-12-01"]
                {
                    let mut person = Scripted::default().gate_text(step.id, typed);
                    assert!(try_with(&mut person, &nothing, yes).unwrap_err().is(code::GATE_REFUSED), "{typed:?}");
                    let flag = Given::new(wizard.name, None, &[], &[typed.to_string()]).unwrap();
                    assert!(try_with(&mut Answers, &flag, yes).unwrap_err().is(code::GATE_REFUSED), "--confirm {typed:?}");
                }
                let set = Given::new(wizard.name, None, &[format!("{}={token}", step.id)], &[]).unwrap();
                assert!(try_with(&mut Answers, &set, yes).is_err(), "--set is no confirmation");
                let right = Given::new(wizard.name, None, &[], &[token.to_string()]).unwrap();
                try_with(&mut Answers, &right, yes).unwrap();
            }
        }
    }
    assert!(gates > 0 || !cfg!(feature = "research"));
}

#[test]
fn a_run_that_goes_on_says_what_is_done_in_doubt_and_next() {
    let toy = Toy::new();
    let fake = FakeHost { crash_at: Some(("order.send.before".into(), 1)), ..FakeHost::default() };
    toy.run(fake, &mut person(), &Given::default()).0.unwrap_err();
    let host = Host::fake(FakeHost::default());
    let report = Reporter::new(&host, Voice::Silent, "toy", None);
    let root = DataRoot::open(&host, &toy.root()).unwrap();
    let journal = Some(Journal::open(&root).unwrap());
    let mut again = person();
    let given = Given::default();
    let parts = Parts { host, root, journal, wizard: &TOY, given: &given, prompter: &mut again, report: &report, manner: Manner::default(), tag: None };
    Run::begin(parts).unwrap().drive(body).unwrap();
    let opened = report.heard().into_iter().find(|e| e["event"] == "run.opened").unwrap();
    assert_eq!((opened["resumed"].as_bool(), opened["done"].as_u64(), opened["in_doubt"].as_u64()), (Some(true), Some(6), Some(1)));
    assert_eq!(opened["next"], "send");
    assert_eq!(again.asked, ["run-continue"]);
}

#[test]
fn a_broken_journal_is_shown_kept_aside_and_mended_when_a_person_says_so() {
    let toy = Toy::new();
    toy.run(FakeHost::default(), &mut person(), &Given::default()).0.unwrap();
    let conn = rusqlite::Connection::open(toy.root().join("control/journal.sqlite")).unwrap();
    conn.execute("UPDATE journal SET payload_json = '{\"forged\":1}' WHERE seq = 5", []).unwrap();
    drop(conn);
    let host = Host::fake(FakeHost::default());
    let root = DataRoot::open(&host, &toy.root()).unwrap();
    let mended = super::recover::recover(&root).unwrap();
    assert_eq!(mended.kept, 4);
    assert!(mended.dropped > 3 && root.locate(mended.kept_aside.as_ref().unwrap()).exists(), "{mended:?}");
    assert_eq!(super::recover::recover(&root).unwrap().dropped, 0);
    // The same order is not sent twice: the broker is asked first, since the send is unknown to the journal.
    let mut again = person();
    toy.run(FakeHost::default(), &mut again, &Given::default()).0.unwrap();
    assert!(again.asked.len() < 4, "answers before the break are kept: {:?}", again.asked);
    assert_eq!(toy.file("broker.txt"), "alpha\n");
}
