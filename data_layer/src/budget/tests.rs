use super::*;
use crate::control::{Db, Which};
use crate::host::{FakeHost, Host};
use crate::root::{DataRoot, FsFacts};

fn at(text: &str) -> UtcTime {
    UtcTime::parse(text).unwrap()
}

fn limits(reset: Reset, windows: &[(Per, u64)]) -> Limits {
    Limits {
        vendor: "v".into(),
        windows: windows.iter().map(|(per, calls)| WindowSpec { per: *per, calls: *calls }).collect(),
        reset,
        slices: Slices::default(),
    }
}

fn with_db(f: impl FnOnce(&Db, &DataRoot)) {
    let dir = tempfile::tempdir().unwrap();
    let root = DataRoot::create(&Host::fake(FakeHost::default()), dir.path(), "real", FsFacts::default(), None).unwrap();
    f(&Db::open(&root, Which::Node).unwrap(), &root);
}

fn take(db: &Db, now: &str, l: &Limits, kind: Kind) -> Grant {
    db.write(|tx| spend(tx, at(now), l, kind, 1)).unwrap()
}

fn take_all(db: &Db, now: &str, l: &Limits, kind: Kind) -> u64 {
    (0..1_000).take_while(|_| take(db, now, l, kind) == Grant::Granted).count() as u64
}

#[test]
fn lesson_001_spend_is_exact_and_the_window_reopens() {
    with_db(|db, _| {
        let l = limits(Reset::UtcMidnight, &[(Per::Day, 25)]);
        assert_eq!(take_all(db, "2026-11-20T10:00:00Z", &l, Kind::Bootstrap), 21, "85 % of 25");
        assert_eq!(take_all(db, "2026-11-20T10:00:00Z", &l, Kind::QcProbe), 1, "up to 90 %");
        assert_eq!(take_all(db, "2026-11-20T10:00:00Z", &l, Kind::Forward), 3, "the rest");
        let blocked = take(db, "2026-11-20T10:00:01Z", &l, Kind::Forward);
        assert_eq!(blocked, Grant::Blocked { per: Per::Day, until: at("2026-11-21T00:00:00Z") });
        assert_eq!(take_all(db, "2026-11-21T00:00:00Z", &l, Kind::Bootstrap), 21);
        let rows = ledger(&db.lock().unwrap()).unwrap();
        assert_eq!(rows[&("v".into(), "day".into(), "2026-11-20T00:00:00.000000Z".into())].0, 25);
        assert!(rows[&("v".into(), "day".into(), String::new())].1 >= 4, "our own refusals are counted apart");
        assert_eq!(rows[&("v".into(), "day".into(), String::new())].2, 0);
    });
}

#[test]
fn lesson_001_two_workers_race_for_the_last_unit_and_one_wins() {
    with_db(|db, root| {
        let l = limits(Reset::UtcMidnight, &[(Per::Day, 1)]);
        let other = Db::open(root, Which::Node).unwrap();
        let wins: u64 = std::thread::scope(|s| {
            let threads = [db, &other].map(|d| s.spawn(|| u64::from(take(d, "2026-11-20T10:00:00Z", &l, Kind::Forward) == Grant::Granted)));
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(wins, 1);
    });
}

#[test]
fn the_reserve_is_released_in_the_last_hour_before_a_known_reset() {
    with_db(|db, _| {
        let l = limits(Reset::UtcMidnight, &[(Per::Day, 100)]);
        assert_eq!(take_all(db, "2026-11-20T10:00:00Z", &l, Kind::Bootstrap), 85);
        assert_eq!(take(db, "2026-11-20T10:00:00Z", &l, Kind::Gap), Grant::Blocked { per: Per::Day, until: at("2026-11-20T23:00:00Z") });
        assert_eq!(take_all(db, "2026-11-20T23:00:00Z", &l, Kind::Gap), 15);
    });
}

#[test]
fn lesson_011_each_reset_kind_across_both_clock_changes() {
    // (reset, last moment of the old window, first of the new one): 8 March and 1 November 2026 change the clocks.
    let cases = [
        (Reset::EasternMidnight, "2026-03-08T04:59:59Z", "2026-03-08T05:00:00Z"),
        (Reset::EasternMidnight, "2026-03-09T03:59:59Z", "2026-03-09T04:00:00Z"),
        (Reset::EasternMidnight, "2026-11-01T03:59:59Z", "2026-11-01T04:00:00Z"),
        (Reset::EasternMidnight, "2026-11-02T04:59:59Z", "2026-11-02T05:00:00Z"),
        (Reset::UtcMidnight, "2026-03-08T23:59:59Z", "2026-03-09T00:00:00Z"),
    ];
    for (reset, before, after) in cases {
        with_db(|db, _| {
            let l = limits(reset, &[(Per::Day, 2)]);
            assert_eq!(take_all(db, before, &l, Kind::Forward), 2, "{reset:?} {before}");
            assert_eq!(take_all(db, after, &l, Kind::Forward), 2, "{reset:?} {after}");
        });
    }
    with_db(|db, _| {
        let l = limits(Reset::Unknown, &[(Per::Day, 2)]);
        assert_eq!(take(db, "2026-11-01T03:30:00Z", &l, Kind::Forward), Grant::Granted);
        assert_eq!(take(db, "2026-11-01T23:00:00Z", &l, Kind::Forward), Grant::Granted);
        let until = at("2026-11-02T03:45:00Z");
        assert_eq!(take(db, "2026-11-02T03:44:59Z", &l, Kind::Forward), Grant::Blocked { per: Per::Day, until }, "a day, and what is counted together");
        assert_eq!(take(db, "2026-11-02T03:45:00Z", &l, Kind::Forward), Grant::Granted);
        assert!(matches!(take(db, "2026-11-02T03:46:00Z", &l, Kind::Forward), Grant::Blocked { .. }), "the call of 23:00 is in these 24 hours too");
    });
}

#[test]
fn a_month_begins_on_its_first_day_and_an_hour_slides() {
    with_db(|db, _| {
        let l = limits(Reset::FirstOfMonth, &[(Per::Month, 2)]);
        assert_eq!(take_all(db, "2026-12-31T23:59:59Z", &l, Kind::Forward), 2);
        assert_eq!(take_all(db, "2027-01-01T00:00:00Z", &l, Kind::Forward), 2);
        let l = Limits { vendor: "w".into(), ..limits(Reset::EasternMidnight, &[(Per::Hour, 3)]) };
        assert_eq!(take_all(db, "2026-11-20T10:30:00Z", &l, Kind::Bootstrap), 3, "no slices below a day");
        assert_eq!(take_all(db, "2026-11-20T11:30:59Z", &l, Kind::Bootstrap), 0);
        assert_eq!(take_all(db, "2026-11-20T11:31:00Z", &l, Kind::Bootstrap), 3);
    });
}

#[test]
fn lesson_024_a_learned_cap_only_lowers_and_recovers_slowly() {
    with_db(|db, _| {
        let l = limits(Reset::UtcMidnight, &[(Per::Day, 100)]);
        assert_eq!(take_all(db, "2026-11-01T10:00:00Z", &l, Kind::Bootstrap), 85);
        db.write(|tx| learn(tx, at("2026-11-01T10:00:00Z"), &l, Per::Day, None, None)).unwrap();
        let cap = |now: &str| db.write(|tx| effective_cap(tx, at(now), "v", l.windows[0])).unwrap();
        assert_eq!(cap("2026-11-02T00:00:00Z"), 84);
        assert_eq!(cap("2026-11-08T10:00:00Z"), 92);
        assert_eq!(cap("2027-11-08T10:00:00Z"), 100, "never above the configured value");
        db.write(|tx| learn(tx, at("2026-11-03T10:00:00Z"), &l, Per::Day, None, Some(500))).unwrap();
        assert_eq!(cap("2026-11-03T10:00:00Z"), 100);
        db.write(|tx| learn(tx, at("2026-11-03T10:00:00Z"), &l, Per::Day, None, Some(7))).unwrap();
        assert_eq!(cap("2026-11-03T10:00:00Z"), 7);
    });
}

#[test]
fn a_freeze_ends_by_itself_and_one_from_a_wrong_clock_is_void() {
    with_db(|db, _| {
        let now = at("2026-11-20T10:00:00Z");
        db.write(|tx| freeze(tx, now, "v", now.plus_seconds(60), "429")).unwrap();
        db.write(|tx| freeze(tx, now, "v", now.plus_seconds(5), "429")).unwrap();
        let until = |t: UtcTime| frozen(&db.lock().unwrap(), t, "v").unwrap().map(|(u, _)| u);
        assert_eq!(until(now), Some(now.plus_seconds(60)), "the longer silence holds");
        assert_eq!(until(now.plus_seconds(60)), None);
        db.write(|tx| freeze(tx, at("2099-01-01T00:00:00Z"), "v", at("2099-01-02T00:00:00Z"), "429")).unwrap();
        assert_eq!(until(now), None);
    });
}

const SHORT: [WindowSpec; 2] = [WindowSpec { per: Per::Second, calls: 2 }, WindowSpec { per: Per::Minute, calls: 5 }];

fn assert_within(sent: &[UtcTime]) {
    for (i, first) in sent.iter().enumerate() {
        for spec in SHORT {
            let inside = sent[i..].iter().filter(|t| t.seconds_since(*first) < spec.per.seconds() as f64).count();
            assert!(inside <= spec.calls as usize, "{inside} in one {}", spec.per.as_str());
        }
    }
}

#[tokio::test]
async fn the_pacer_never_lets_a_window_hold_more_than_its_cap() {
    let host = Host::fake(FakeHost::default());
    let pacer = Pacer::default();
    let mut sent = Vec::new();
    for _ in 0..12 {
        let ticket = pacer.admit(&host, "v", &SHORT, 1).await.unwrap();
        pacer.leaves(&host, "v", &SHORT, ticket, None).await.unwrap();
        sent.push(host.now());
    }
    assert_within(&sent);
    assert!(sent[11].seconds_since(sent[0]) < 125.0, "and it does not wait longer than it must");
}

#[tokio::test]
async fn a_place_that_no_call_uses_is_given_back_and_one_that_waits_is_kept() {
    let host = Host::fake(FakeHost::default());
    let (pacer, began) = (Pacer::default(), host.now());
    for _ in 0..20 {
        // Refused by the budget: nothing leaves.
        drop(pacer.admit(&host, "v", &SHORT, 1).await.unwrap());
    }
    assert_eq!(host.now(), began, "nobody waits for calls that were never made");
    let waiting = pacer.admit(&host, "v", &SHORT, 1).await.unwrap();
    host.sleep(std::time::Duration::from_secs(120)).await;
    let mut sent = Vec::new();
    for _ in 0..4 {
        let ticket = pacer.admit(&host, "v", &SHORT, 1).await.unwrap();
        pacer.leaves(&host, "v", &SHORT, ticket, None).await.unwrap();
        sent.push(host.now());
    }
    // Two minutes after it was admitted, the first one leaves; the windows have kept its place.
    pacer.leaves(&host, "v", &SHORT, waiting, None).await.unwrap();
    sent.push(host.now());
    assert_within(&sent);
}

#[tokio::test]
async fn workers_on_one_drive_stay_within_the_windows_together() {
    let kit = crate::testkit::Kit::new();
    let host = kit.root.host().clone();
    // Two processes know nothing of each other but the drive. A third starts over in the middle.
    let mut pacers = [Pacer::default(), Pacer::default()];
    let mut sent = Vec::new();
    for n in 0..24 {
        if n == 11 {
            pacers[1] = Pacer::default();
        }
        let pacer = &pacers[n % 3 % 2];
        let ticket = pacer.admit(&host, "v", &SHORT, 1).await.unwrap();
        pacer.leaves(&host, "v", &SHORT, ticket, Some(&kit.root)).await.unwrap();
        sent.push(host.now());
    }
    assert_within(&sent);
    assert!(sent[23].seconds_since(sent[0]) < 245.0, "and together they use what there is");
    // A file of nonsense holds nobody up for longer than the longest window.
    std::fs::write(kit.root.locate(&turnstile_of("v")), [0x7f; 99]).unwrap();
    let (before, other) = (host.now(), Pacer::default());
    let ticket = other.admit(&host, "v", &SHORT, 1).await.unwrap();
    other.leaves(&host, "v", &SHORT, ticket, Some(&kit.root)).await.unwrap();
    assert!(host.now().seconds_since(before) <= 60.1);
}

fn turnstile_of(vendor: &str) -> crate::root::DataPath {
    crate::root::DataPath::new(format!("control/locks/calls-{vendor}")).unwrap()
}

#[tokio::test]
async fn a_clock_that_is_set_back_empties_no_window() {
    let kit = crate::testkit::Kit::new();
    let began = kit.root.host().now();
    let host = kit.root.host().in_world(&Default::default(), began);
    let send = async |pacer: &Pacer| {
        let ticket = pacer.admit(&host, "v", &SHORT, 1).await.unwrap();
        pacer.leaves(&host, "v", &SHORT, ticket, Some(&kit.root)).await.unwrap();
    };
    let pacer = Pacer::default();
    for _ in 0..5 {
        send(&pacer).await;
    }
    // The minute is used up. By a clock that is an hour behind, another process waits for its end, which may be a minute away; the
    // same one waits for what it remembers and for what is stored.
    for (other, most) in [(pacer, 120.2), (Pacer::default(), 60.1)] {
        host.set_world_time(host.now().plus_seconds(-3_600));
        let before = host.now();
        send(&other).await;
        let waited = host.now().seconds_since(before);
        assert!((50.0..=most).contains(&waited), "{waited}");
        for _ in 0..4 {
            send(&other).await;
        }
    }
}

#[tokio::test]
async fn a_held_turnstile_stops_nothing_else_and_is_not_waited_for_without_end() {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;
    let kit = crate::testkit::Kit::new();
    let host = kit.root.host().clone();
    let place = kit.root.locate(&turnstile_of("v"));
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    let hold = || {
        let file = std::fs::OpenOptions::new().create(true).write(true).truncate(false).open(&place).unwrap();
        file.lock().unwrap();
        file
    };
    let (file, released) = (hold(), std::sync::Arc::new(AtomicBool::new(false)));
    let other = std::thread::spawn({
        let released = released.clone();
        move || {
            std::thread::sleep(Duration::from_millis(150));
            released.store(true, Ordering::SeqCst);
            drop(file);
        }
    });
    // On the one thread of this test: what waits for the file leaves it to others.
    let waits = turnstile::pass(&host, &kit.root, "v", &SHORT, 1, turnstile::PATIENCE);
    let (passed, held) = tokio::join!(waits, async { !released.load(Ordering::SeqCst) });
    passed.unwrap();
    assert!(held && released.load(Ordering::SeqCst));
    other.join().unwrap();
    // A process that was stopped may never let go.
    let _file = hold();
    let error = turnstile::pass(&host, &kit.root, "v", &SHORT, 1, Duration::from_millis(60)).await.unwrap_err();
    assert!(error.is(crate::error::code::SSD_HELD) && error.to_string().contains("control/locks/calls-v"), "{error}");
}

#[test]
fn a_window_that_began_after_a_booking_does_not_hold_it() {
    with_db(|db, _| {
        let began = |limits: &Limits, booked: &str, now: &str| began_since(&db.lock().unwrap(), at(now), limits, at(booked)).unwrap();
        let l = limits(Reset::EasternMidnight, &[(Per::Hour, 3), (Per::Day, 25)]);
        take(db, "2026-11-20T04:20:00Z", &l, Kind::Forward);
        assert!(!began(&l, "2026-11-20T04:20:00Z", "2026-11-20T04:59:59Z"));
        assert!(began(&l, "2026-11-20T04:20:00Z", "2026-11-20T05:00:00Z"), "midnight in New York");
        let sliding = Limits { vendor: "w".into(), ..limits(Reset::Sliding, &[(Per::Hour, 3)]) };
        take(db, "2026-11-20T10:00:00Z", &sliding, Kind::Forward);
        assert!(!began(&sliding, "2026-11-20T10:00:00Z", "2026-11-20T10:59:59Z"));
        assert!(began(&sliding, "2026-11-20T10:00:00Z", "2026-11-20T11:00:01Z"));
        assert!(!began(&sliding, "2026-11-20T10:00:00Z", "2026-11-20T09:00:00Z"), "a clock that was set back");
    });
}

#[test]
fn distinct_symbols_of_a_month_are_counted_once_and_some_are_kept_for_repairs() {
    with_db(|db, _| {
        let l = limits(Reset::EasternMidnight, &[(Per::UniqueSymbolsMonth, 60)]);
        let ask = |now: &str, kind: Kind, symbol: &str| db.write(|tx| admit_symbol(tx, at(now), &l, kind, symbol)).unwrap();
        for i in 0..40 {
            assert_eq!(ask("2026-11-03T10:00:00Z", Kind::Bootstrap, &format!("S{i}")), Grant::Granted);
        }
        let closed = Grant::Blocked { per: Per::UniqueSymbolsMonth, until: at("2026-12-01T05:00:00Z") };
        assert_eq!(ask("2026-11-04T10:00:00Z", Kind::Bootstrap, "NEW"), closed, "twenty are kept");
        assert_eq!(ask("2026-11-04T10:00:00Z", Kind::Bootstrap, "S7"), Grant::Granted, "a symbol of this month costs nothing");
        for i in 0..20 {
            assert_eq!(ask("2026-11-05T10:00:00Z", Kind::Gap, &format!("R{i}")), Grant::Granted);
        }
        assert_eq!(ask("2026-11-05T10:00:00Z", Kind::Gap, "LAST"), closed);
        assert_eq!(ask("2026-12-01T05:00:00Z", Kind::Bootstrap, "NEW"), Grant::Granted);
    });
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]
    /// Wherever a vendor's hour or day begins, it never holds more calls than allowed, and a call that is told to wait may leave then.
    #[test]
    fn no_hour_and_no_day_of_a_window_that_slides_holds_more_than_its_cap(gaps in proptest::collection::vec(0_i64..5_000, 1..120)) {
        with_db(|db, _| {
            let l = limits(Reset::Unknown, &[(Per::Hour, 5), (Per::Day, 25)]);
            let (mut now, mut sent) = (at("2026-11-20T10:00:00Z"), Vec::<UtcTime>::new());
            for gap in gaps {
                now = now.plus_seconds(gap);
                match db.write(|tx| spend(tx, now, &l, Kind::Forward, 1)).unwrap() {
                    Grant::Granted => sent.push(now),
                    Grant::Blocked { per, until } => {
                        assert!(until > now && until.seconds_since(now) <= (per.seconds() + per.bucket_seconds()) as f64);
                        now = until;
                        // The other window may still be full; the one that said so is not.
                        let again = db.write(|tx| spend(tx, now, &l, Kind::Forward, 1)).unwrap();
                        assert!(!matches!(again, Grant::Blocked { per: p, .. } if p == per), "{again:?}");
                        sent.extend((again == Grant::Granted).then_some(now));
                    }
                    other => panic!("{other:?}"),
                }
            }
            for (n, first) in sent.iter().enumerate() {
                for (span, cap) in [(3_600.0, 5), (86_400.0, 25)] {
                    assert!(sent[n..].iter().filter(|t| t.seconds_since(*first) < span).count() <= cap);
                }
            }
        });
    }
}

#[test]
fn rows_of_windows_that_slide_are_bounded_and_outlive_a_clock_that_jumped() {
    with_db(|db, _| {
        let l = limits(Reset::Sliding, &[(Per::Hour, 1_000)]);
        db.write(|tx| {
            for n in 0..4_000 {
                assert_eq!(spend(tx, at("2026-11-20T10:00:00Z").plus_seconds(60 * n), &l, Kind::Forward, 1).unwrap(), Grant::Granted);
            }
            Ok(())
        })
        .unwrap();
        assert!(ledger(&db.lock().unwrap()).unwrap().len() < 3_600);
        let last = at("2026-11-20T10:00:00Z").plus_seconds(60 * 3_999);
        take(db, "2029-01-01T00:00:00Z", &l, Kind::Forward);
        assert_eq!(active(&db.lock().unwrap(), last, &l, Per::Hour).unwrap().spent, 61, "an hour, and the minute that is counted together");
    });
}
