//! Each fault word changes the answer as it says, and nothing else.

use super::*;
use serde_json::json;

const BARS: &str = "/alpaca_data/v2/stocks/bars?timeframe=1Day&symbols=A,B&start=2017-11-21&end=2017-11-27T21:00:00Z&limit=3";

/// The small world after the close of the 27th, with one fault.
fn faulty(small: &Small, fault: &str) -> State {
    let state = small.open();
    state.go("2017-11-27T21:30:00Z");
    assert_eq!(state.post("/_world/faults", &format!("version: 1\nfaults: [{{{fault}}}]")).status, 200, "{fault}");
    state
}

fn closes(reply: &Reply, symbol: &str) -> Vec<f64> {
    reply.value()["bars"][symbol].as_array().map(|rows| rows.iter().filter_map(|r| r["c"].as_f64()).collect()).unwrap_or_default()
}

#[test]
fn prices_are_scaled_corrected_or_late() {
    let small = small();
    let plain = faulty(&small, "vendor: nobody, do: reset").get(BARS);
    assert_eq!(closes(&plain, "A"), [101.0, 102.0, 103.0]);
    assert_eq!(closes(&faulty(&small, "do: scale").get(BARS), "A"), [10_100.0, 10_200.0, 10_300.0]);
    assert_eq!(closes(&faulty(&small, "do: revise, session: '2017-11-22', factor: 2, symbol: A").get(BARS), "A"), [101.0, 204.0, 103.0]);
    assert_eq!(closes(&faulty(&small, "do: revise, factor: 2").get(BARS), "A"), [101.0, 102.0, 206.0], "without a session: the newest");
    // The 24th closed at 18:00 UTC on a half-day; four days of delay hide it and what follows.
    let late = faulty(&small, "do: late_bars, seconds: 345600").get(BARS);
    assert_eq!(closes(&late, "A"), [101.0, 102.0]);
}

#[test]
fn a_cursor_that_loops_leads_to_itself() {
    let small = small();
    let state = faulty(&small, "do: cursor_loop");
    let first = state.get(BARS).value()["next_page_token"].as_str().unwrap().to_string();
    let second = state.get(&format!("{BARS}&page_token={first}")).value();
    assert_eq!(second["next_page_token"], json!(first));
}

#[test]
fn a_clock_may_be_ahead() {
    let small = small();
    let state = faulty(&small, "path: '/v2/clock', do: clock_skew, seconds: 60");
    assert!(state.get("/alpaca_trading/v2/clock").value()["timestamp"].as_str().unwrap().contains("21:31:00"));
}

#[test]
fn a_bomb_is_small_and_says_how_large_it_unpacks() {
    let small = small();
    let reply = faulty(&small, "do: gzip_bomb, mib: 3").get(BARS);
    let mut out = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(reply.body.as_slice()), &mut out).unwrap();
    assert_eq!((out.len(), reply.headers[0].1.as_str()), (3 << 20, "gzip"));
    assert!(reply.body.len() < 20_000);
}
