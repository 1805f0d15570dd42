use super::*;
use proptest::prelude::*;

fn day(n: i32) -> TradingDay {
    TradingDay(16_800 + n)
}

/// A history of one observation: values and the first days on which they stood.
fn truth(steps: &[(i32, u8)]) -> Vec<Vintage> {
    let mut out: Vec<Vintage> = Vec::new();
    for (i, (from, value)) in steps.iter().enumerate() {
        let until = steps.get(i + 1).map(|next| day(next.0 - 1));
        out.push(Vintage { value: Some(f64::from(*value)), from: day(*from), until });
    }
    joined(out.into_iter().map(|v| (0, v)).collect())
}

/// What the vendor answers for the publication window `[a, b]`: clipped.
fn clipped(all: &[Vintage], a: TradingDay, b: Option<TradingDay>) -> Vec<Vintage> {
    let meets = |v: &&Vintage| v.until.is_none_or(|u| u >= a) && b.is_none_or(|b| v.from <= b);
    let end = |v: &Vintage| match (v.until, b) {
        (Some(u), Some(b)) => Some(u.min(b)),
        (u, b) => u.or(b),
    };
    all.iter().filter(meets).map(|v| Vintage { value: v.value, from: v.from.max(a), until: end(v) }).collect()
}

proptest! {
    #[test]
    fn lesson_014_any_cutting_of_the_question_gives_the_same_intervals(
        starts in prop::collection::btree_set(0i32..300, 1..25), values in prop::collection::vec(0u8..4, 25), cuts in prop::collection::btree_set(1usize..25, 0..6)
    ) {
        let steps: Vec<(i32, u8)> = starts.iter().copied().zip(values).collect();
        let want = truth(&steps);
        // Windows begin on vintage dates and end the day before the next one begins.
        let begins: Vec<TradingDay> = std::iter::once(0).chain(cuts).filter_map(|i| steps.get(i)).map(|s| day(s.0)).collect();
        let mut said = Vec::new();
        for (i, a) in begins.iter().enumerate() {
            let b = begins.get(i + 1).map(|n| n.plus_days(-1));
            said.extend(clipped(&want, *a, b).into_iter().map(|v| (0, v)));
        }
        prop_assert_eq!(joined(said), want);
    }

    #[test]
    fn what_is_said_again_and_again_is_kept_once_and_means_the_same(said in prop::collection::vec((0usize..6, 0i32..8, 0u8..3, prop::option::of(0i32..12)), 0..40)) {
        let mut said: Vec<(usize, Vintage)> = said
            .into_iter()
            .map(|(order, from, value, days)| (order, Vintage { value: Some(f64::from(value)), from: day(from), until: days.map(|n| day(from + n)) }))
            .collect();
        said.sort_by_key(|(order, _)| *order);
        let mut heard = Vec::new();
        said.iter().for_each(|(order, v)| hear(&mut heard, *order, *v));
        prop_assert!(heard.len() <= said.len());
        prop_assert_eq!(joined(heard), joined(said));
    }

    #[test]
    fn asking_again_later_replaces_open_ends_and_changes_nothing_before(
        starts in prop::collection::btree_set(0i32..300, 1..20), values in prop::collection::vec(0u8..4, 20), asked in 0i32..320
    ) {
        let steps: Vec<(i32, u8)> = starts.iter().copied().zip(values).collect();
        let want = truth(&steps);
        let early: Vec<(i32, u8)> = steps.iter().copied().filter(|s| s.0 <= asked).collect();
        let mut said: Vec<(usize, Vintage)> = truth(&early).into_iter().map(|v| (0, v)).collect();
        said.extend(want.iter().map(|v| (1, *v)));
        prop_assert_eq!(joined(said), want.clone());
        let have = Macros(BTreeMap::from([("S".to_string(), BTreeMap::from([(day(0), truth(&early))]))]));
        let all = Macros(BTreeMap::from([("S".to_string(), BTreeMap::from([(day(0), want)]))]));
        for d in 0..=asked {
            prop_assert_eq!(have.value_as_of("S", day(0), day(d)), all.value_as_of("S", day(0), day(d)));
        }
    }
}

#[test]
fn a_value_is_usable_from_the_open_of_the_session_after_its_publication() {
    let of = |t: &str| t.parse::<TradingDay>().unwrap();
    let vintage = |from: &str| vec![Vintage { value: Some(1.5), from: of(from), until: None }];
    let rows = BTreeMap::from([(of("2017-11-22"), vintage("2017-11-24")), (of("2017-11-24"), vintage("2017-11-27"))]);
    let macros = Macros(BTreeMap::from([("VIXCLS".to_string(), rows)]));
    assert_eq!(macros.latest_as_of("VIXCLS", of("2017-11-23")), None);
    assert_eq!(macros.usable_at_open("VIXCLS", of("2017-11-24")), None, "published that morning, perhaps after the open");
    assert_eq!(macros.usable_at_open("VIXCLS", of("2017-11-27")).map(|v| v.0), Some(of("2017-11-22")));
    assert_eq!(macros.usable_at_open("VIXCLS", of("2017-11-28")).map(|v| v.0), Some(of("2017-11-24")));
}
