//! `serve`'s steps: the champion behind HTTP.

use super::market::{self, Market, Ready};
use crate::kit::report::Reporter;
use crate::kit::{Act, Outcome, Question, SecretSpec};
use data_layer::calendar::Calendar;
use data_layer::control::{Db, Which};
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::ledger;
use data_layer::root::DataRoot;
use data_layer::schema::table;
use data_layer::time::{DateRange, TradingDay};
use engine::models::registry::Registry;
use engine::portfolio::{self, RuleConfig};
use engine::service::source::{Champion, ScoreDay, SignalSource, Universe, Weights};
use engine::service::{self, ServiceState};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// Where the service listens unless told otherwise.
const ADDRESS: &str = "127.0.0.1:8001";

pub fn address_question() -> Question {
    Question::text("serve.address", "Which address shall the service listen on?")
        .default(ADDRESS, "loopback: only this machine can ask")
        .help("An address that other machines can reach needs a token, which is asked for next. Over SSH: ssh -L 8001:127.0.0.1:8001 HOST.")
        .check(|v| v.as_str().unwrap_or_default().parse::<SocketAddr>().map(drop).map_err(|_| "an address such as 127.0.0.1:8001 is needed".into()))
}

pub fn stop_after_question() -> Question {
    Question::number("serve.stop_after", "Stop after how many seconds (0 = never)?", 0, 86_400)
        .default(0, "until it is stopped with Ctrl-C")
        .help("Never asked; given, it makes the service end by itself with exit 0: for smoke tests and demonstrations.")
}

pub fn is_loopback(address: &str) -> bool {
    address.parse::<SocketAddr>().is_ok_and(|a| a.ip().is_loopback())
}

/// The token that guards an address which other machines can reach.
pub const TOKEN: &[SecretSpec] = &[SecretSpec {
    var: "TRADEML_SERVICE_TOKEN",
    label: "Token that callers must send (16 characters or more)",
    without: "the service stays on loopback",
    required: true,
}];

/// Name the champion, or refuse.
pub fn champion(act: &Act<'_>, strategy: &str) -> Result<String> {
    let row = market::champion(act.root, strategy)?;
    let ready = Ready::load(act.root, &row)?;
    Ok(text!("{strategy} {} ({:?}), verified against its digests", row.version, ready.model.manifest.kind))
}

/// Serve until cancelled, or for `seconds`.
pub fn serve(act: &Act<'_>, strategy: &str, address: &str, seconds: i64) -> Result<()> {
    let address: SocketAddr = address.parse().map_err(|_| Error::new(code::SVC_BIND, text!("'{address}' is not an address")))?;
    let source = Arc::new(Source { root: act.root.clone(), strategy: strategy.to_string(), market: Mutex::new(None) });
    let state = ServiceState::new(act.host, strategy, source);
    let token = super::keys::stored(act.host, "TRADEML_SERVICE_TOKEN").map(Into::into);
    act.note(&text!("listening on http://{address}   (GET /, POST /api/v1/signals/generate, GET /api/v1/model/info)"));
    let limit = std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    act.host.block_on(async {
        let service = service::serve(act.host, address, token, state);
        if limit.is_zero() {
            return service.await;
        }
        tokio::select! {
            ended = service => ended,
            () = tokio::time::sleep(limit) => Ok(()),
        }
    })?
}

/// What is said last.
pub fn outcome(seconds: i64) -> Outcome {
    let summary = if seconds > 0 { text!("served for {seconds} seconds") } else { "the service was stopped".into() };
    Outcome { summary, ..Outcome::default() }
}

/// The drive behind the service.
struct Source {
    root: DataRoot,
    strategy: String,
    market: Mutex<Option<Arc<Market>>>,
}

impl Source {
    /// The newest panel; loaded again when a session was added.
    fn market(&self) -> Result<Arc<Market>> {
        let mut slot = self.market.lock().map_err(|_| Error::bug("a thread died while loading prices"))?;
        let newest = market::newest(&self.root)?;
        match slot.as_ref().filter(|m| m.asof == newest) {
            Some(market) => Ok(Arc::clone(market)),
            None => {
                let market = Arc::new(Market::open(&self.root)?);
                *slot = Some(Arc::clone(&market));
                Ok(market)
            }
        }
    }
    fn ready(&self, version: &str) -> Result<Ready> {
        let row = Registry::open(&self.root)?
            .model(&self.strategy, version)?
            .ok_or_else(|| Error::new(code::ML_ARTIFACT, text!("the registry has no model {version}")))?;
        Ready::load(&self.root, &row)
    }
}

impl SignalSource for Source {
    fn champion(&self) -> Result<Option<Champion>> {
        let row = match market::champion(&self.root, &self.strategy) {
            Ok(row) => row,
            Err(e) if e.is(code::ML_NO_CHAMPION) => return Ok(None),
            Err(e) => return Err(e),
        };
        let ready = Ready::load(&self.root, &row)?;
        Ok(Some(Champion {
            strategy: row.strategy,
            version: row.version,
            sha256: row.sha256,
            metrics: row.metrics,
            config: row.config,
            activated_at: row.activated_at.map(|t| t.to_string()),
            feature_set: ready.model.features.feature_set.clone(),
            top_n: ready.rule.top_n,
            bottom_n: ready.rule.bottom_n,
        }))
    }
    fn latest(&self) -> Result<TradingDay> {
        market::newest(&self.root)
    }
    fn not_green(&self, asof: TradingDay) -> Result<Option<String>> {
        if !Calendar::xnys().is_session(asof) {
            return Ok(Some(text!("{asof} is not a session")));
        }
        let db = Db::open(&self.root, Which::Node)?;
        let c = ledger::coverage(&db, table::CURATED_EQUITIES, "", DateRange::new(asof, asof.plus_days(1))?)?;
        Ok((c.fraction() < 0.98).then(|| text!("{:.1} % GREEN of {}", c.fraction() * 100.0, c.expected)))
    }
    fn stop_trading(&self, operator: &str, reason: &str) -> Result<()> {
        crate::commands::paper::engage(&self.root, operator, reason).map(drop)
    }
    fn data_snapshot(&self) -> Result<String> {
        Ok(self.market()?.snapshot.clone())
    }
    fn universe(&self, asof: TradingDay) -> Result<Universe> {
        let market = self.market()?;
        let at = market.at(asof)?;
        let symbols: Vec<String> =
            market.panel.symbols.iter().enumerate().filter(|(s, _)| market.panel.member.at(*s, at) == 1.0).map(|(_, name)| name.clone()).collect();
        Ok(Universe { id: format!("stage-{}", symbols.len()), symbols })
    }
    fn score_all(&self, champion: &Champion, asof: TradingDay) -> Result<ScoreDay> {
        let market = self.market()?;
        let at = market.at(asof)?;
        let universe = self.universe(asof)?;
        let routed = self.ready(&champion.version)?.signal_on(&market.panel, at)?;
        let scores = market::named(&market.panel, &routed.scores, at);
        let excluded = universe
            .symbols
            .iter()
            .filter(|s| !scores.iter().any(|(n, _)| n == *s))
            .map(|s| (s.clone(), "not enough history, or no bar that day".to_string()))
            .collect();
        Ok(ScoreDay { asof, universe, scores, excluded, exposure: routed.exposure[at], data_snapshot: market.snapshot.clone() })
    }
    fn verify(&self, champion: &Champion) -> Result<()> {
        self.ready(&champion.version).map(drop)
    }
    fn weights(&self, scores: &[(String, f64)], top_n: usize, bottom_n: usize) -> Result<Weights> {
        let rule = RuleConfig { top_n, bottom_n, ..if bottom_n == 0 { RuleConfig::long_only(top_n) } else { RuleConfig::default() } };
        let indexed: Vec<(usize, f64)> = scores.iter().enumerate().map(|(i, (_, v))| (i, *v)).collect();
        let chosen = portfolio::targets(&indexed, &rule)?;
        Ok(Weights {
            weights: chosen.weights.into_iter().map(|(i, w)| (scores[i].0.clone(), w)).collect(),
            notes: chosen.notes.iter().map(|n| format!("{n:?}")).collect(),
        })
    }
    fn record(&self, event: &str, operator: &str, reason: &str, detail: &Value) -> Result<()> {
        tracing::info!(event, operator, reason, %detail, "service");
        Ok(())
    }
}

/// A caller that asks a starting service three questions, as the demonstration's audience would.
pub struct Asking(std::thread::JoinHandle<Result<Vec<String>>>);

/// Ask in the background until the service answers (or ten seconds are over).
pub fn ask_in_background(host: &Host, address: &str) -> Asking {
    let (host, base) = (host.clone(), format!("http://{address}"));
    Asking(std::thread::spawn(move || {
        host.block_on(async {
            let client = host.http();
            let mut said = Vec::new();
            for _ in 0..100 {
                if client.get(format!("{base}/ready")).send().await.is_ok_and(|r| r.status().is_success()) {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            let unreachable = |e: reqwest::Error| Error::new(code::NET_UNREACHABLE, "the signal service did not answer").cause(e.without_url().to_string());
            let info: Value = client.get(format!("{base}/api/v1/model/info")).send().await.map_err(unreachable)?.json().await.map_err(unreachable)?;
            said.push(text!("model/info: {} {}", info["strategy"].as_str().unwrap_or("?"), info["version"].as_str().unwrap_or("?")));
            let body = json!({"symbols": ["AAPL", "MSFT", "XOM"]});
            let signals: Value =
                client.post(format!("{base}/api/v1/signals/generate")).json(&body).send().await.map_err(unreachable)?.json().await.map_err(unreachable)?;
            for signal in signals["signals"].as_array().into_iter().flatten() {
                said.push(text!(
                    "signal: {} rank {} of {}, weight {}",
                    signal["symbol"].as_str().unwrap_or("?"),
                    signal["rank"],
                    signals["metadata"]["n_scored"],
                    signal["target_weight"]
                ));
            }
            Ok(said)
        })?
    }))
}

impl Asking {
    /// What the service said.
    pub fn finish(self, report: &Reporter) -> Result<()> {
        let said = self.0.join().map_err(|_| Error::bug("the asking thread died"))??;
        said.iter().for_each(|line| report.note(&format!("  {line}")));
        Ok(())
    }
}
