//! The first two questions, answered as a person would: slips are corrected, and a drive that was chosen wrongly is left again.

use super::*;
use crate::commands::set_up;
use crate::kit::logs::Log;
use crate::kit::prompter::scripted::Scripted;
use crate::kit::report::{Reporter, Voice};
use crate::pi_data_node::WIZARD;
use data_layer::host::FakeHost;

struct Desk {
    dir: tempfile::TempDir,
    host: Host,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let env = [("HOME".to_string(), dir.path().display().to_string())].into();
        Self { host: Host::fake(FakeHost { env, ..FakeHost::default() }), dir }
    }
    fn place(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }
    fn session(&self, person: Scripted) -> Session {
        let report = Reporter::new(&self.host, Voice::Silent, WIZARD.name, None);
        let mut session = Session::headless(&self.host, &WIZARD, "version: 1\nwizard: pi-data-node\n", &[], "test", report).unwrap();
        session.flags.yes = false;
        session.prompter = Box::new(person);
        session
    }
}

fn said(session: &Session) -> String {
    session.report.heard().iter().map(|event| format!("{event}\n")).collect()
}

#[test]
fn a_place_that_does_not_work_is_asked_again_and_esc_keeps_a_good_one() {
    let desk = Desk::new();
    std::fs::write(desk.place("afile"), "x").unwrap();
    let person = Scripted::default()
        .answer("storage-root", desk.place("afile"))
        .answer("storage-root", "~/drives/one")
        .reply("market-world", Reply::Back)
        // The place is taken as it stands, by its default.
        .answer("market-world", "practice");
    let mut session = desk.session(person);
    let found = find_drive(&mut session).unwrap();
    assert_eq!(found.root.base(), Path::new(&desk.place("drives/one")));
    let said = said(&session);
    assert!(said.contains("not accepted") && said.contains("afile is a file, not a folder"), "{said}");
}

#[test]
fn the_wrong_market_is_left_by_going_back_and_a_paused_drive_is_named_and_offered_again() {
    let desk = Desk::new();
    let person = Scripted::default()
        .answer("storage-root", desk.place("one"))
        .answer("market-world", "real")
        .reply("node-id", Reply::Back)
        .answer("market-world", "practice")
        .reply("node-id", Reply::Pause);
    let mut session = desk.session(person);
    let log = Log::start(&desk.host, "test");
    assert_eq!(set_up(&desk.host, &log, &mut session).unwrap(), 5);
    let root = DataRoot::open(&desk.host, Path::new(&desk.place("one"))).unwrap();
    assert!(root.is_world(), "the real drive is gone, the place was offered again");
    let paused = session.after(&Error::new(code::USE_PAUSED, "paused"));
    assert_eq!(paused[0].0, format!("trademl pi-data-node --root {}", desk.place("one")));
    let mistaken = session.after(&Error::new(code::USE_ANSWER_UNUSED, "no such id").fix("trademl runs list"));
    assert_eq!(mistaken[0].0, "trademl runs list", "the same command would fail again");

    // The same command without a place goes on there.
    let mut again = desk.session(Scripted::default());
    let found = find_drive(&mut again).unwrap();
    assert_eq!(found.root.base(), root.base());
}

#[test]
fn what_stands_in_a_folder_is_never_removed_by_going_back() {
    let desk = Desk::new();
    std::fs::create_dir(desk.place("full")).unwrap();
    std::fs::write(desk.place("full/mine.txt"), "x").unwrap();
    let person = Scripted::default()
        .answer("storage-root", desk.place("full"))
        .answer("market-world", "practice")
        .reply("node-id", Reply::Back)
        .reply("node-id", Reply::Pause);
    let log = Log::start(&desk.host, "test");
    assert_eq!(set_up(&desk.host, &log, &mut desk.session(person)).unwrap(), 5);
    assert!(Path::new(&desk.place("full/mine.txt")).exists() && Path::new(&desk.place("full")).join(SENTINEL).exists());
}
