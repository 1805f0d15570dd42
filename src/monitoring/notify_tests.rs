use super::*;
use crate::execution::broker::fake::{evening, scratch};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use data_layer::control::Which;
use data_layer::host::FakeHost;
use data_layer::root::{DataRoot, FsFacts};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

pub type Got = (String, Option<String>, String);

/// A receiver that refuses the first `refuse` messages.
#[derive(Default)]
pub struct Receiver {
    pub got: Mutex<Vec<Got>>,
    refuse: Mutex<usize>,
}

async fn take(State(r): State<Arc<Receiver>>, uri: Uri, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut refuse = r.refuse.lock().unwrap();
    if *refuse > 0 {
        *refuse -= 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let signature = headers.get("X-TradeML-Signature").map(|v| v.to_str().unwrap().to_string());
    r.got.lock().unwrap().push((uri.path().to_string(), signature, String::from_utf8(body.to_vec()).unwrap()));
    StatusCode::OK
}

pub struct Kit {
    _dir: tempfile::TempDir,
    _server: Host,
    pub db: Db,
    pub receiver: Arc<Receiver>,
    channels: Vec<Channel>,
}

pub fn kit() -> Kit {
    let server = Host::fake(FakeHost::default());
    let receiver = Arc::new(Receiver::default());
    let app = axum::Router::new().fallback(take).with_state(Arc::clone(&receiver));
    let base = server
        .block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let base = format!("http://{}", listener.local_addr().unwrap());
            tokio::spawn(async move { axum::serve(listener, app).await });
            base
        })
        .unwrap();
    let env = [
        ("TRADEML_NOTIFY_SLACK_URL", format!("{base}/services/slack")),
        ("TRADEML_NOTIFY_DISCORD_URL", format!("{base}/api/webhooks/discord")),
        ("TRADEML_NOTIFY_WEBHOOK_URL", format!("{base}/hook")),
        ("TRADEML_NOTIFY_WEBHOOK_SECRET", "between us".to_string()),
    ];
    let env: BTreeMap<String, String> = env.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
    let host = Host::fake(FakeHost { env, now: evening(), ..FakeHost::default() });
    let dir = scratch();
    let root = DataRoot::create(&host, dir.path(), "replay@1", FsFacts::default(), None).unwrap();
    let db = Db::open(&root, Which::Journal).unwrap();
    let channels = Channel::configured(&host).unwrap();
    Kit { _dir: dir, _server: server, db, receiver, channels }
}

fn message(id: &str) -> Message {
    Message { id: id.into(), level: Level::Alarm, title: "circuit breaker".into(), text: "MAX_DRAWDOWN: 11 %".into(), at: evening() }
}

#[test]
fn a_message_reaches_every_channel_once_in_its_own_form_and_signed() {
    let k = kit();
    let outbox = Outbox::new(&k.db);
    assert_eq!(outbox.put(&k.channels, &message("trip-1")).unwrap(), 3);
    assert_eq!(outbox.put(&k.channels, &message("trip-1")).unwrap(), 0, "the same event is said once");
    assert_eq!(outbox.deliver(&k.channels).unwrap(), Delivered { sent: 3, ..Delivered::default() });
    assert_eq!(outbox.deliver(&k.channels).unwrap(), Delivered::default());
    let got = k.receiver.got.lock().unwrap().clone();
    let of = |path: &str| got.iter().find(|g| g.0 == path).unwrap();
    assert!(of("/services/slack").2.contains("[ALARM] circuit breaker"));
    assert!(of("/api/webhooks/discord").2.contains("\"content\""));
    let (_, signature, body) = of("/hook");
    let secret = SecretString::from("between us".to_string());
    let now = evening().micros() / 1_000_000;
    assert!(verify(&[&secret], signature.as_ref().unwrap(), body.as_bytes(), now));
    assert!(!verify(&[&secret], signature.as_ref().unwrap(), b"{}", now), "another body");
    assert!(!verify(&[&secret], signature.as_ref().unwrap(), body.as_bytes(), now + 301), "too old");
    assert!(!verify(&[&"other".to_string().into()], signature.as_ref().unwrap(), body.as_bytes(), now));
    assert!(verify(&[&"new".to_string().into(), &secret], signature.as_ref().unwrap(), body.as_bytes(), now), "two secrets during a rotation");
    assert!(!verify(&[&secret], "t=x,v1=zz", body.as_bytes(), now));
    let back: Message = serde_json::from_str(body).unwrap();
    assert_eq!(back, message("trip-1"));
}

#[test]
fn a_refused_message_waits_and_arrives_later_and_a_hopeless_one_is_given_up() {
    let k = kit();
    let (outbox, host) = (Outbox::new(&k.db), k.db.root().host().clone());
    outbox.put(&k.channels[..1], &message("night")).unwrap();
    *k.receiver.refuse.lock().unwrap() = 2;
    assert_eq!(outbox.deliver(&k.channels).unwrap().waiting, 1);
    assert_eq!(outbox.deliver(&k.channels).unwrap().waiting, 1, "not due yet");
    assert_eq!(*k.receiver.refuse.lock().unwrap(), 1);
    host.block_on(host.sleep(Duration::from_secs(61))).unwrap();
    assert_eq!(outbox.deliver(&k.channels).unwrap().waiting, 1);
    host.block_on(host.sleep(Duration::from_secs(121))).unwrap();
    assert_eq!(outbox.deliver(&k.channels).unwrap().sent, 1);
    outbox.put(&k.channels[..1], &message("never")).unwrap();
    *k.receiver.refuse.lock().unwrap() = usize::MAX;
    let mut last = Delivered::default();
    for _ in 0..MAX_TRIES {
        last = outbox.deliver(&k.channels).unwrap();
        host.block_on(host.sleep(Duration::from_secs(5 * 3600))).unwrap();
    }
    assert_eq!(last, Delivered { given_up: 1, ..Delivered::default() });
}

#[test]
fn a_channel_that_is_gone_holds_nothing_up_and_old_messages_are_forgotten() {
    let k = kit();
    let (outbox, host) = (Outbox::new(&k.db), k.db.root().host().clone());
    outbox.put(&k.channels, &message("night")).unwrap();
    assert_eq!(outbox.deliver(&k.channels[..1]).unwrap(), Delivered { sent: 1, ..Delivered::default() }, "two channels are configured no more");
    let stored = || k.db.lock().unwrap().query_row("SELECT count(*) FROM meta WHERE key LIKE 'notify|%'", [], |r| r.get::<_, i64>(0)).unwrap();
    assert_eq!(stored(), 3);
    host.block_on(host.sleep(Duration::from_secs(31 * 86_400))).unwrap();
    assert_eq!(outbox.deliver(&k.channels).unwrap().sent, 2, "what waits goes out when its channel is back");
    assert_eq!(stored(), 2, "what was sent a month ago is forgotten");
}

#[test]
fn an_unsigned_webhook_and_plain_http_to_anywhere_are_configuration_errors_and_addresses_stay_secret() {
    let with = |list: &[(&str, &str)]| {
        let env = list.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect();
        Channel::configured(&Host::fake(FakeHost { env, ..FakeHost::default() }))
    };
    assert!(with(&[]).unwrap().is_empty());
    assert!(with(&[("TRADEML_NOTIFY_WEBHOOK_URL", "https://example.org/x")]).err().unwrap().is(code::CFG_VALUE));
    for bad in ["http://example.org/x", "https://user:pw@example.org/x", "ftp://127.0.0.1/x", "example.org", "http://127.0.0.1.example.org/"] {
        let error = with(&[("TRADEML_NOTIFY_SLACK_URL", bad)]).err().unwrap();
        assert!(error.is(code::NET_FORBIDDEN_HOST), "{bad}");
        assert!(!error.to_string().contains("example.org"));
    }
    let k = kit();
    let dead = vec![Channel::Slack("http://127.0.0.1:9/secret-path".to_string().into())];
    Outbox::new(&k.db).put(&dead, &message("m")).unwrap();
    Outbox::new(&k.db).deliver(&dead).unwrap();
    let stored: String = k.db.lock().unwrap().query_row("SELECT group_concat(value) FROM meta WHERE key LIKE 'notify|%'", [], |r| r.get(0)).unwrap();
    assert!(!stored.contains("secret-path") && stored.contains("no answer"));
}
