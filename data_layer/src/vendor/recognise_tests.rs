use super::super::classify::{Answer, Class, classify};
use super::*;
use crate::sourcing::Vendor;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[test]
fn bodies_are_named_by_structure_and_strangers_are_not() {
    for (body, name) in [
        (&br#"{"bars":{"AAPL":[]},"next_page_token":null}"#[..], "bars"),
        (br#"{"realtime_start":"2020-01-01","output_type":1,"observations":[]}"#, "observations"),
        (br#"{"AAPL":{"latestTrade":{}},"MSFT":{"latestTrade":{}}}"#, "snapshots"),
        (br#"{"results":[{"ticker":"NVDA","split_to":10}],"status":"OK"}"#, "splits"),
        (b"symbol,name,exchange,assetType,ipoDate\nA,B,C,D,E\n", "a listing"),
        (b"<?xml version=\"1.0\"?><observations></observations>", "observations in XML"),
    ] {
        assert_eq!(shape(body), Some(name));
    }
    for body in [&b"<!DOCTYPE html>"[..], b"", br#"{"never":"seen"}"#, b"42", b"a,b,c\n1,2,3\n"] {
        assert_eq!(shape(body), None, "{}", String::from_utf8_lossy(body));
    }
}

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() { files(&entry.path(), out) } else { out.push(entry.path()) }
    }
}

/// The HTTP status that a captured file's name tells: `403_...` or `..._400.json`.
fn status(name: &str) -> u16 {
    let digits = |part: &str| part.get(..3).and_then(|d| d.parse::<u16>().ok()).filter(|s| (200..600).contains(s));
    digits(name).or_else(|| name.strip_suffix(".json").and_then(|n| n.rsplit('_').next()).filter(|p| p.len() == 3).and_then(digits)).unwrap_or(200)
}

/// With `TRADEML_VENDOR_PAYLOADS` naming a folder of captured bodies (`<vendor>/...`), every one of them is a refusal of a
/// known class, a body of a known shape, or malformed; none is a riddle. Captures of vendors may not be redistributed, so
/// they are not part of this repository.
#[test]
fn lesson_125_every_captured_body_is_what_it_is() {
    let Ok(folder) = std::env::var("TRADEML_VENDOR_PAYLOADS") else { return };
    let vendors = [
        ("alpaca", Vendor::Alpaca),
        ("alpha_vantage", Vendor::AlphaVantage),
        ("finnhub", Vendor::Finnhub),
        ("fmp", Vendor::Fmp),
        ("fred_alfred", Vendor::Fred),
        ("massive_polygon", Vendor::Massive),
        ("sec_edgar", Vendor::SecEdgar),
        ("tiingo", Vendor::Tiingo),
        ("treasury", Vendor::Treasury),
    ];
    let mut everything = Vec::new();
    files(Path::new(&folder), &mut everything);
    // A broker's message definitions are text for a compiler; nobody answers with them.
    everything.retain(|f| f.extension().is_none_or(|e| e != "proto"));
    let (mut seen, mut riddles) = (0, Vec::new());
    for (name, vendor) in vendors {
        let mut all = Vec::new();
        if Path::new(&folder).join(name).is_dir() {
            files(&Path::new(&folder).join(name), &mut all);
        }
        for file in all {
            seen += 1;
            let body = std::fs::read(&file).unwrap();
            let http = status(&file.file_name().unwrap().to_string_lossy());
            let class = classify(&Answer { vendor, status: http, headers: &BTreeMap::new(), body: &body }).class;
            let json = serde_json::from_slice::<Value>(&body).is_ok();
            let text = String::from_utf8_lossy(&body);
            let structured = json || text.trim_start().starts_with("<?xml") || TABLES.iter().any(|(head, _)| text.starts_with(head));
            let known = match class {
                Class::Ok => shape(&body).is_some() || !structured,
                // An address of ours that the vendor retired: named in words, and a bug of ours, not a plan.
                Class::Unclassified => text.contains("Legacy Endpoint"),
                _ => true,
            };
            if !known {
                riddles.push(format!("{} ({http}): {class:?}, {:?}", file.display(), shape(&body)));
            }
        }
    }
    assert_eq!(seen, everything.len(), "every file in the folder was looked at");
    assert!(riddles.is_empty(), "{} of {seen}:\n{}", riddles.len(), riddles.join("\n"));
}
