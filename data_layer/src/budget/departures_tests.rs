use super::*;
use crate::budget::{Reset, Slices, freeze, spend};
use crate::testkit::Kit;
use proptest::prelude::*;

const NOW: &str = "2026-11-20T10:00:00Z";

fn t(text: &str) -> UtcTime {
    UtcTime::parse(text).unwrap()
}

fn limits(windows: &[(Per, u64)]) -> Limits {
    let windows = windows.iter().map(|(per, calls)| WindowSpec { per: *per, calls: *calls }).collect();
    Limits { vendor: "v".into(), windows, reset: Reset::UtcMidnight, slices: Slices::default() }
}

/// The turnstile's file with calls that left so many seconds before now.
fn left_before(kit: &Kit, ago: &[f64]) {
    let at = |ago: &f64| t(NOW).micros() - (ago * 1e6) as i64;
    let bytes: Vec<u8> = ago.iter().flat_map(|ago| [at(ago).to_le_bytes(), 1_i64.to_le_bytes()].concat()).collect();
    write_turnstile(kit, &bytes);
}

fn write_turnstile(kit: &Kit, bytes: &[u8]) {
    let place = kit.root.locate(&crate::root::DataPath::new("control/locks/calls-v").unwrap());
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::write(place, bytes).unwrap();
}

fn departures(kit: &Kit, limits: &Limits, inflight: usize) -> Departures {
    Departures::of(&kit.db.lock().unwrap(), &kit.root, limits, inflight, t(NOW)).unwrap()
}

/// Seconds from now to the last answer, to a tenth, and what held it up.
fn seconds(d: &Departures, calls: u64) -> (f64, &'static str) {
    let (at, by) = d.answered(calls);
    ((at.seconds_since(t(NOW)) * 10.0).round() / 10.0, by)
}

#[test]
fn calls_leave_in_bursts_and_not_evenly() {
    let kit = Kit::new();
    let minute = limits(&[(Per::Minute, 200)]);
    let both = limits(&[(Per::Second, 2), (Per::Minute, 5)]);
    // Four in flight, so 13.3 a second; a place is held 50 ms longer than the window.
    let table: [(&Limits, u64, f64, &str); 9] = [
        (&minute, 0, 0.0, "minute"),
        (&minute, 4, 0.3, "minute"),
        (&minute, 200, 15.0, "latency"),
        (&minute, 201, 60.4, "minute"),
        (&minute, 400, 75.1, "minute"),
        (&both, 2, 0.3, "minute"),
        (&both, 3, 1.4, "second"),
        (&both, 5, 2.4, "second"),
        (&both, 6, 60.4, "minute"),
    ];
    for (limits, calls, after, by) in table {
        let said = seconds(&departures(&kit, limits, 4), calls);
        assert_eq!(said.0, after, "{calls} of {limits:?}");
        assert!(said.1 == by || after < 1.0, "{calls} of {limits:?}: {said:?}");
    }
}

#[test]
fn what_left_in_the_last_minute_keeps_its_place() {
    let kit = Kit::new();
    // The turnstile says when each place is free again: 30 s from now three, 50 s from now two.
    left_before(&kit, &[30.0, 29.9, 29.8, 10.0, 9.9]);
    let d = departures(&kit, &limits(&[(Per::Minute, 5)]), 4);
    assert_eq!([1, 3, 4, 5, 6].map(|n| seconds(&d, n).0), [30.4, 30.6, 50.4, 50.5, 90.4]);
    // A call younger than an answer takes is under way, and only that.
    left_before(&kit, &[59.0, 0.2, 0.1]);
    assert_eq!(departures(&kit, &limits(&[(Per::Minute, 5)]), 4).under_way(), 2);
}

#[test]
fn no_file_a_torn_one_and_nonsense_say_nothing() {
    let kit = Kit::new();
    let minute = limits(&[(Per::Minute, 5)]);
    let clean = seconds(&departures(&kit, &minute, 4), 7);
    let late = (t(NOW).micros() + 5_000_000).to_le_bytes();
    let early = i64::MIN.to_le_bytes();
    for junk in [&b""[..], &b"short"[..], &[0x7f; 99][..], &[0xff; 64][..], &[late, 9_i64.to_le_bytes(), early, early].concat()[..]] {
        write_turnstile(&kit, junk);
        assert_eq!(seconds(&departures(&kit, &minute, 4), 7), clean, "{junk:?}");
    }
    // A weight that no window has fills it, and no more.
    write_turnstile(&kit, &[(t(NOW).micros() - 20_000_000).to_le_bytes(), u64::MAX.to_le_bytes()].concat());
    assert_eq!(seconds(&departures(&kit, &minute, 4), 5).0, 40.7);
}

#[test]
fn answers_that_take_longer_slow_a_burst_down() {
    let kit = Kit::new();
    // Ninety calls, two a second, with four in flight: an answer takes two seconds. The pause before them changes nothing.
    let ago: Vec<f64> = (0..90).map(|n| if n < 10 { 59.5 - f64::from(n) * 0.01 } else { 40.0 - f64::from(n - 10) * 0.5 }).collect();
    left_before(&kit, &ago);
    let d = departures(&kit, &limits(&[(Per::Minute, 200)]), 4);
    assert_eq!((d.turnaround, d.under_way()), (Duration::from_secs(2), 3));
    assert_eq!(seconds(&d, 100), (51.5, "latency"));
    // A handful of calls tells nothing of the pace.
    left_before(&kit, &[50.0, 3.0, 2.0, 1.0]);
    assert_eq!(departures(&kit, &limits(&[(Per::Minute, 200)]), 4).turnaround, TURNAROUND);
}

#[test]
fn a_freeze_an_hour_and_a_day_hold_calls_up() {
    let kit = Kit::new();
    let hour = limits(&[(Per::Hour, 50)]);
    let spent = |l: &Limits, n: u64| kit.db.write(|tx| spend(tx, t("2026-11-20T09:30:00Z"), l, Kind::Forward, n)).unwrap();
    // An hour slides from its first call, counted by the minute; fifty calls take 3.9 s, the last of them 0.3 to be answered.
    assert_eq!([1, 50, 51, 120].map(|n| seconds(&departures(&kit, &hour, 4), n).0), [0.3, 3.9, 3_660.3, 7_321.5]);
    spent(&hour, 40);
    let d = departures(&kit, &hour, 4);
    assert_eq!([10, 11, 50].map(|n| seconds(&d, n)), [(0.9, "latency"), (1_860.3, "hour"), (1_863.0, "hour")]);
    // A day that begins at midnight, of which bootstrap work has 85 %: ten are left today.
    let day = Limits { vendor: "w".into(), ..limits(&[(Per::Day, 100)]) };
    spent(&day, 75);
    let d = departures(&kit, &day, 4);
    assert_eq!([10, 11, 96].map(|n| seconds(&d, n).0), [0.9, 50_400.3, 136_800.3]);
    assert_eq!(d.answered(85_000_000).1, "day");
    kit.db.write(|tx| freeze(tx, t(NOW), "v", t(NOW).plus_seconds(600), "429")).unwrap();
    assert_eq!(seconds(&departures(&kit, &hour, 4), 10).0, 600.9);
}

#[test]
fn a_million_calls_are_foretold_at_once_and_to_the_round() {
    let kit = Kit::new();
    let d = departures(&kit, &limits(&[(Per::Second, 30), (Per::Minute, 60)]), 4);
    let (began, (at, by)) = (std::time::Instant::now(), d.answered(1_000_000));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    // 16,666 minutes of 60 calls and 50 ms, then forty calls, four at a time.
    assert_eq!((at.micros() - t(NOW).micros(), by), (16_666 * 60_050_000 + 10 * 300_000, "minute"));
    let day = departures(&kit, &limits(&[(Per::Hour, 50), (Per::Day, 1_000)]), 4);
    let days = day.answered(850 * 1_000 + 1).0.seconds_since(t("2026-11-20T00:00:00Z")) / 86_400.0;
    assert!((1_000.0..1_001.0).contains(&days), "{days}");
    // Windows beyond measure neither take long nor overflow.
    for windows in [[(Per::Minute, u64::MAX)], [(Per::Day, 1_000_000)], [(Per::Hour, 1)]] {
        let (began, far) = (std::time::Instant::now(), departures(&kit, &limits(&windows), 1));
        assert!(far.answered(u64::MAX - 1).0 > far.answered(10_000_000).0 && far.answered(10_000_000).0 > far.answered(10_000).0, "{windows:?}");
        assert!(began.elapsed() < Duration::from_secs(2), "{windows:?}: {:?}", began.elapsed());
    }
}

/// The moments at which calls leave, each found by looking at all places that are held at each moment that could be.
fn naively(d: &Departures, calls: usize) -> Vec<i64> {
    let mut sent: Vec<i64> = Vec::new();
    for _ in 0..calls {
        let start = sent.last().copied().unwrap_or(d.from.micros());
        let until = |w: &Sliding| w.held.iter().copied().chain(sent.iter().map(|at| (at + w.length, 1))).collect::<Vec<_>>();
        let held: Vec<(u64, Vec<(i64, u64)>)> = d.windows.iter().map(|w| (w.cap, until(w))).collect();
        let fits = |at: i64| held.iter().all(|(cap, places)| places.iter().filter(|(until, _)| *until > at).map(|(_, n)| n).sum::<u64>() < *cap);
        let ends = held.iter().flat_map(|(_, places)| places.iter().map(|(until, _)| *until)).filter(|until| *until > start);
        sent.push(std::iter::once(start).chain(ends).filter(|at| fits(*at)).min().unwrap());
    }
    sent
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Call by call, whatever left before and whatever the windows are.
    #[test]
    fn every_call_leaves_at_the_first_moment_with_room(
        ago in prop::collection::vec(0.0..61.0_f64, 0..40),
        caps in (1_u64..8, 1_u64..30, 1_usize..9),
        hour in prop::option::of(20_u64..60),
    ) {
        let kit = Kit::new();
        left_before(&kit, &ago);
        let (second, minute, inflight) = caps;
        let mut windows = vec![(Per::Second, second), (Per::Minute, minute)];
        windows.extend(hour.map(|n| (Per::Hour, n)));
        let d = departures(&kit, &limits(&windows), inflight);
        for (n, at) in naively(&d, 60).into_iter().enumerate() {
            prop_assert_eq!(d.clone().follow(n as u64 + 1), at, "call {}", n);
        }
    }

    /// Rounds that are skipped end where they would have ended.
    #[test]
    fn what_is_not_followed_call_by_call_ends_as_if_it_were(
        ago in prop::collection::vec(0.0..61.0_f64, 0..40),
        caps in (1_u64..8, 1_u64..200, 1_usize..20),
        more in 1_u64..6_000,
    ) {
        let kit = Kit::new();
        left_before(&kit, &ago);
        let d = departures(&kit, &limits(&[(Per::Second, caps.0), (Per::Minute, caps.1)]), caps.2);
        let (calls, from) = (FOLLOWED + more, d.from.micros());
        let followed = d.clone().each(from, calls);
        prop_assert!((d.clone().follow(calls) - followed).abs() <= 1_000_000, "{calls}: {} and {followed}", d.clone().follow(calls));
    }
}
