use super::*;
use crate::audit::{AuditScope, audit_scan};
use crate::reference::refresh_reference;
use crate::testkit::{Kit, day, good_bars, range};
use crate::words::thousands;
use std::io::Read as _;

/// Two names over two months; one day of one of them was never asked for.
fn drive() -> Kit {
    let kit = Kit::new();
    kit.stage(&["AAA", "BBB"]);
    kit.listings("2018-01-02", &[("AAA", Some("2010-01-04"), None), ("BBB", Some("2010-01-04"), None)]);
    refresh_reference(&kit.root, &kit.db).unwrap();
    let window = range("2016-12-01", "2017-02-01");
    kit.commit("alpaca", &["AAA"], window, &good_bars(&["AAA"], window));
    let (before, after) = (range("2016-12-01", "2017-01-18"), range("2017-01-19", "2017-02-01"));
    kit.commit("alpaca", &["BBB"], before, &good_bars(&["BBB"], before));
    kit.commit("alpaca", &["BBB"], after, &good_bars(&["BBB"], after));
    audit_scan(&kit.root, &kit.db, &Default::default(), AuditScope::Incremental, day("2017-01-31"), window).unwrap();
    kit
}

fn text(kit: &Kit, path: &DataPath) -> String {
    std::fs::read_to_string(kit.place(path)).unwrap()
}

#[test]
fn the_page_names_the_day_the_dataset_and_the_reason() {
    let kit = drive();
    let [page, svg, png] = write(&kit.root, &kit.db, day("2017-01-31")).unwrap();
    let html = text(&kit, &page);
    for wanted in
        ["daily bars, raw", "<code>MISSING</code>", "2017-01-18: 1 of 2 GREEN; 1 MISSING", "<td class=\"day\">2017-01-18</td>", "market replay@1, stage 0"]
    {
        assert!(html.contains(wanted), "{wanted}");
    }
    assert!(!html.contains("<script") && !html.contains("http:") && !html.contains("https:"), "one file, nothing fetched");
    assert!(html.contains("prefers-color-scheme:dark") && html.contains("width=device-width"));
    let drawn = text(&kit, &svg);
    assert!(drawn.contains("class=\"missing\"") && drawn.contains("class=\"complete\"") && drawn.contains("98.") && drawn.ends_with("</svg>\n"));
    let bytes = std::fs::read(kit.place(&png)).unwrap();
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    // Equal ledgers, equal bytes; and nothing is written twice.
    let first = [html, drawn].concat();
    assert_eq!([text(&kit, &page), text(&kit, &svg)].concat(), first);
    write(&kit.root, &kit.db, day("2017-01-31")).unwrap();
    assert_eq!((std::fs::read(kit.place(&png)).unwrap() == bytes, [text(&kit, &page), text(&kit, &svg)].concat() == first), (true, true));
}

#[test]
fn a_png_unpacks_to_as_many_pixels_as_it_says() {
    let kit = drive();
    let picture = look(&kit.root, &kit.db, day("2017-01-31")).unwrap();
    let bytes = png::bytes(&picture).unwrap();
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let (width, height) = (number(16), number(20));
    let mut at = 8;
    let mut packed = Vec::new();
    while at < bytes.len() {
        let (n, kind) = (number(at), &bytes[at + 4..at + 8]);
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[at + 4..at + 8 + n]);
        assert_eq!(crc.sum() as usize, number(at + 8 + n));
        if kind == b"IDAT" {
            packed.extend(&bytes[at + 8..at + 8 + n]);
        }
        at += 12 + n;
    }
    let mut rows = Vec::new();
    flate2::read::ZlibDecoder::new(packed.as_slice()).read_to_end(&mut rows).unwrap();
    assert_eq!(rows.len(), (width + 1) * height);
    // The missing day's colour is there, and only inside the palette.
    assert!(rows.contains(&6) && rows.iter().all(|p| *p < 7));
}

#[test]
fn only_the_newest_days_are_kept_and_an_empty_ledger_is_drawn_too() {
    let kit = Kit::new();
    for n in 0..33 {
        write(&kit.root, &kit.db, day("2017-01-02").plus_days(n)).unwrap();
    }
    let kept = store::list(&kit.root, &DataPath::new(FOLDER).unwrap()).unwrap();
    assert_eq!(kept.len(), 3 * DAYS_KEPT);
    assert!(kept[0].as_str().contains("2017-01-05"), "{}", kept[0]);
    assert!(text(&kit, &kept[0]).contains("Nothing has been audited yet"));
}

#[test]
fn levels_and_shares_never_flatter() {
    let c = |green: u64, amber: u64, red: u64| Coverage { expected: green + amber + red, green, amber, red, ..Coverage::default() };
    assert_eq!(Level::of(&c(0, 0, 0)), None);
    assert_eq!(Level::of(&c(100, 0, 0)), Some(Level::Complete));
    assert_eq!(Level::of(&c(0, 100, 0)), Some(Level::Doubtful));
    assert_eq!(Level::of(&c(99, 0, 1)), Some(Level::Gaps));
    assert_eq!(Level::of(&c(97, 2, 1)), Some(Level::Missing));
    assert_eq!(layout::share(&c(119_725, 4, 0)), "99.99 % GREEN of 119,729");
    assert_eq!((thousands(7), thousands(1_234), thousands(1_234_567)), ("7".into(), "1,234".into(), "1,234,567".into()));
}
