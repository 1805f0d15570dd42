//! Who gets in: hosts, accounts, tokens; and how the connection is kept alive.

use super::*;
use crate::execution::broker::ctrader::session::Session;
use data_layer::ctrader::dialect::{Hear, Say};
use data_layer::ctrader::frame;
use secrecy::ExposeSecret;

/// Every way to name a host that somebody might try.
const BASES: &[(Option<&str>, Where)] = &[
    (None, Where::Demo),
    (Some("tls://demo.ctraderapi.com:5035"), Where::Demo),
    (Some("tls://demo.ctraderapi.com"), Where::Demo),
    (Some("tls://demo.ctraderapi.com:5035/"), Where::Demo),
    (Some("tls://127.0.0.1:5035"), Where::Loopback),
    (Some("tls://localhost:1"), Where::Loopback),
    (Some("tls://[::1]:5035"), Where::Loopback),
    (Some("tls://live.ctraderapi.com:5035"), Where::Live),
    (Some("tls://live.ctraderapi.com"), Where::Live),
    (Some("tcp://demo.ctraderapi.com:5035"), Where::Elsewhere),
    (Some("http://127.0.0.1:5035"), Where::Elsewhere),
    (Some("tcp://127.0.0.1:5035"), Where::Elsewhere),
    (Some("tls://LIVE.CTRADERAPI.COM:5035"), Where::Elsewhere),
    (Some("tls://live.ctraderapi.com.:5035"), Where::Elsewhere),
    (Some("tls://demo.ctraderapi.com.evil.example:5035"), Where::Elsewhere),
    (Some("tls://demo.ctraderapi.com@live.ctraderapi.com"), Where::Elsewhere),
    (Some("tls://live.ctraderapi.com?demo.ctraderapi.com"), Where::LiveWithTail),
    (Some("tls://127.evil.example:5035"), Where::Elsewhere),
    (Some("tls://demo.ctraderapi.com:notaport"), Where::Elsewhere),
    (Some("demo.ctraderapi.com:5035"), Where::Elsewhere),
    (Some("tls://"), Where::Elsewhere),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Where {
    Demo,
    Loopback,
    Live,
    /// The live host with something behind it that is no port.
    LiveWithTail,
    Elsewhere,
}

#[test]
fn no_combination_of_configuration_environment_and_consent_reaches_another_host() {
    for (base, place) in BASES {
        for dataset in ["real", "replay@1"] {
            let dir = scratch();
            DataRoot::create(&Host::fake(FakeHost { now: evening(), ..FakeHost::default() }), dir.path(), dataset, FsFacts::default(), None).unwrap();
            for more in [&[][..], &[("TRADEML_ENV", "production"), ("CTRADER_ACCOUNT", "9000002"), ("LIVE", "true")][..]] {
                for consent in [false, true] {
                    let env = more.iter().copied().chain(base.map(|b| (BASE_VARIABLE, b))).map(|(k, v)| (k.to_string(), v.to_string())).collect();
                    let root = DataRoot::open(&Host::fake(FakeHost { env, now: evening(), ..FakeHost::default() }), dir.path()).unwrap();
                    let made = CTraderBroker::new(&root, consent.then(LiveConsent::for_a_test));
                    let allowed = match place {
                        Where::Loopback => true,
                        Where::Demo => dataset == "real",
                        Where::Live => consent && dataset == "real",
                        Where::LiveWithTail | Where::Elsewhere => false,
                    };
                    assert_eq!(made.is_ok(), allowed, "{base:?} {dataset} {more:?} consent {consent}: {:?}", made.err());
                }
            }
        }
    }
}

#[test]
fn a_live_account_a_foreign_account_and_a_wrong_application_are_turned_away() {
    let street = Street::new();
    for (variable, value, expected) in [
        ("CTRADER_ACCOUNT", "9000002", code::ORD_LIVE),
        ("CTRADER_ACCOUNT", "5000002", code::ORD_LIVE),
        ("CTRADER_ACCOUNT", "12345", code::KEY_REJECTED),
        ("CTRADER_CLIENT_SECRET", "wrong", code::KEY_REJECTED),
        ("CTRADER_CLIENT_ID", "", code::KEY_MISSING),
        ("CTRADER_ACCESS_TOKEN", "wrong", code::KEY_REJECTED),
        ("CTRADER_ACCESS_TOKEN", "", code::KEY_MISSING),
    ] {
        let error = street.broker(&[(variable, value)]).account().unwrap_err();
        assert!(error.is(expected), "{variable}={value}: {error}");
        assert!(!format!("{error} {:?}", error.body()).contains("wrong"), "a key is shown: {error}");
    }
    for account in ["9000001", "5000001"] {
        assert_eq!(street.broker(&[("CTRADER_ACCOUNT", account)]).account().unwrap().account, "SIM9000001");
    }
    // Nobody listens there; and a certificate that nobody vouches for is no server.
    assert!(street.broker(&[(BASE_VARIABLE, "tls://127.0.0.1:9")]).account().unwrap_err().is(code::NET_UNREACHABLE));
    let unvouched = street.broker(&[("TRADEML_CTRADER_ROOT", "")]).account().unwrap_err();
    assert!(unvouched.is(code::NET_UNREACHABLE), "{unvouched}");
    assert!(matches!(street.broker(&[(BASE_VARIABLE, "tls://127.0.0.1:9")]).submit(&intent("AAPL", Side::Buy, 1.0)), Submitted::NotSent { .. }));
}

/// Tokens of this machine's file in place of the practice token of the environment.
fn by_file(street: &Street, access: &str, refresh: &str) -> CTraderBroker {
    let host = street.host(&[("CTRADER_ACCESS_TOKEN", "")], None);
    let mut file = env_file::read(&host).unwrap();
    file.set("CTRADER_ACCESS_TOKEN", access);
    file.set("CTRADER_REFRESH_TOKEN", refresh);
    env_file::save(&host, &file).unwrap();
    CTraderBroker::new(&street.root(&host), None).unwrap()
}

#[test]
fn an_expired_token_is_renewed_once_and_its_successor_kept_privately() {
    let street = Street::new();
    let broker = by_file(&street, "an-old-token", "sandbox-practice-refresh-token");
    assert_eq!(broker.account().unwrap().equity, 100_000.0);
    let kept = oauth::Tokens::of(&broker.host).unwrap();
    let (access, refresh) = (kept.access.expose_secret().to_string(), kept.refresh.unwrap().expose_secret().to_string());
    assert!(access != "an-old-token" && refresh != "sandbox-practice-refresh-token");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(env_file::path(&broker.host)).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // The next process uses the new token; the old refresh token is spent.
    let host = street.host(&[("CTRADER_ACCESS_TOKEN", "")], None);
    assert!(CTraderBroker::new(&street.root(&host), None).unwrap().account().is_ok());
    let spent = by_file(&street, "an-old-token", "sandbox-practice-refresh-token").account().unwrap_err();
    assert!(spent.is(code::KEY_REJECTED) && spent.body().fix.iter().any(|f| f.contains("paper authorize")), "{spent}");
    // A month later the access token has died of age.
    street.go("2018-01-05T21:30:00Z");
    let late = by_file(&street, &access, &refresh);
    follow(&late.host, "2018-01-05T21:30:00Z");
    assert!(late.account().is_ok());
    assert_ne!(oauth::Tokens::of(&late.host).unwrap().access.expose_secret(), access);
}

#[test]
fn a_code_buys_tokens_once_and_within_its_minute() {
    let street = Street::new();
    let host = street.host(&[("CTRADER_ACCESS_TOKEN", "")], None);
    let redirect = "http://localhost:8899/back";
    let url = oauth::Grant::ask(&host, redirect).unwrap().url;
    assert!(url.contains("redirect_uri=http%3A%2F%2Flocalhost%3A8899%2Fback") && !url.contains("secret"), "{url}");
    assert_ne!(url, oauth::Grant::ask(&host, redirect).unwrap().url, "each question has a mark of its own");
    let allowed = || {
        let answer = host.block_on(async { host.http().get(&url).send().await }).unwrap().unwrap();
        answer.headers()["location"].to_str().unwrap().to_string()
    };
    let back = allowed();
    oauth::exchange(&host, &back, redirect).unwrap();
    assert_eq!(CTraderBroker::new(&street.root(&host), None).unwrap().account().unwrap().equity, 100_000.0);
    let again = oauth::exchange(&host, &back, redirect).unwrap_err();
    assert!(again.is(code::KEY_REJECTED), "{again}");
    let late = allowed();
    street.go("2017-11-30T21:31:01Z");
    assert!(oauth::exchange(&host, &late, redirect).unwrap_err().is(code::KEY_REJECTED));
    for (given, code) in [("abc123", Some("abc123")), ("http://x/?code=a-b&state=1", Some("a-b")), ("http://x/?error=denied", None), ("", None), ("a b", None)]
    {
        assert_eq!(oauth::code_in(given), code, "{given}");
    }
    let forbidden = street.host(&[("TRADEML_BASE_URL_CTRADER_OAUTH", "https://evil.example")], None);
    assert!(oauth::exchange(&forbidden, "abc", redirect).is_err());
}

/// Our side of a pipe.
fn halves(ours: tokio::io::DuplexStream) -> (impl Hear + 'static, impl Say + 'static) {
    let (from, to) = tokio::io::split(ours);
    (frame::Reader(from), frame::Writer(to))
}

#[test]
fn a_quiet_connection_is_kept_alive_and_a_closed_one_is_noticed() {
    let host = Host::fake(FakeHost::default());
    host.block_on(async {
        let (ours, mut theirs) = tokio::io::duplex(4_096);
        let session = Session::start(halves(ours), Duration::from_millis(20));
        for _ in 0..3 {
            let heard = tokio::time::timeout(Duration::from_secs(5), frame::read(&mut theirs)).await.unwrap().unwrap().unwrap();
            assert_eq!(heard.payload_type, m::Heartbeat::PAYLOAD);
        }
        assert!(session.is_alive());
        let mut news = session.listen();
        // Who stops waiting is no longer kept.
        assert!(matches!(session.ask::<m::VersionRes, _>(&m::VersionReq {}, Duration::from_millis(5)).await, Err(Failure::Transport(_))));
        assert_eq!(session.waiting(), 0);
        let mut waiting = session.send(&m::VersionReq {}).unwrap();
        drop(theirs);
        assert!((&mut waiting.answer).await.is_err(), "who waits is told that no answer will come");
        assert!(matches!(news.recv().await, Ok(News::Lost(_))));
        assert!(!session.is_alive());
        assert!(matches!(session.send(&m::VersionReq {}), Err(Failure::Transport(_))));
    })
    .unwrap();
    assert!(session::HEARTBEAT < Duration::from_secs(10), "the server wants a sign of life every ten seconds");
}

#[test]
fn an_answer_about_another_account_is_no_answer_and_only_events_are_news() {
    let host = Host::fake(FakeHost::default());
    host.block_on(async {
        let (ours, mut theirs) = tokio::io::duplex(65_536);
        let session = Session::start(halves(ours), Duration::from_secs(8));
        let mut news = session.listen();
        for (answered, taken) in [(7, true), (8, false), (0, false)] {
            let server = async {
                let asked = frame::read(&mut theirs).await.unwrap().unwrap();
                // Nothing at all reads like "no positions, no orders".
                let bytes = frame::bytes(&m::ReconcileRes { account: answered, ..m::ReconcileRes::default() }.wrapped(asked.client_msg_id));
                tokio::io::AsyncWriteExt::write_all(&mut theirs, &bytes).await.unwrap();
            };
            let question = m::ReconcileReq { account: 7 };
            let (answer, ()) = tokio::join!(session.ask::<m::ReconcileRes, _>(&question, Duration::from_secs(5)), server);
            assert_eq!(answer.is_ok(), taken, "{answered}");
        }
        let event = m::ExecutionEvent { account: 7, ..m::ExecutionEvent::default() }.wrapped(None);
        tokio::io::AsyncWriteExt::write_all(&mut theirs, &frame::bytes(&event)).await.unwrap();
        let Ok(News::Message(heard)) = news.recv().await else { panic!("nothing was heard") };
        assert_eq!(heard.payload_type, m::ExecutionEvent::PAYLOAD, "the answers were nobody's news");
    })
    .unwrap();
}

/// What a browser gets for a request that comes in pieces.
fn visit(host: &Host, port: u16, pieces: &[String]) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    host.block_on(async {
        let mut stream = loop {
            match tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
                Ok(stream) => break stream,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        stream.set_nodelay(true).unwrap();
        for piece in pieces {
            stream.write_all(piece.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut page = String::new();
        drop(stream.read_to_string(&mut page).await);
        page
    })
    .unwrap()
}

#[test]
fn only_the_browser_that_brings_our_own_mark_back_is_believed() {
    let street = Street::new();
    let host = street.host(&[("CTRADER_ACCESS_TOKEN", "")], None);
    let port = host.block_on(async { tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port() }).unwrap();
    let redirect = format!("http://localhost:{port}/back");
    let grant = oauth::Grant::ask(&host, &redirect).unwrap();
    let answer = host.block_on(async { host.http().get(&grant.url).send().await }).unwrap().unwrap();
    let location = answer.headers()["location"].to_str().unwrap().to_string();
    let back = location.split_once(&format!(":{port}")).unwrap().1.to_string();
    let get = |target: &str| vec![format!("GET {target} HTTP/1.1\r\n"), "host: localhost\r\n\r\n".to_string()];
    let given = std::thread::scope(|s| {
        let waiting = s.spawn(|| oauth::wait_for_code(&host, &redirect, &grant).unwrap().unwrap());
        let visitor = Host::fake(FakeHost::default());
        assert!(visit(&visitor, port, &get("/favicon.ico")).starts_with("HTTP/1.1 404"));
        assert!(visit(&visitor, port, &get("/back?code=stolen&state=0000")).starts_with("HTTP/1.1 404"));
        let unmarked = visit(&visitor, port, &get("/back?code=stolen"));
        assert!(unmarked.starts_with("HTTP/1.1 403") && unmarked.contains("--code"), "{unmarked}");
        // The first line may come in pieces.
        let line = format!("GET {back} HTTP/1.1\r\n");
        let (a, b) = line.split_at(line.len() / 2);
        assert!(visit(&visitor, port, &[a.to_string(), b.to_string(), "\r\n".to_string()]).starts_with("HTTP/1.1 200"));
        waiting.join().unwrap()
    });
    oauth::exchange(&host, &given, &redirect).unwrap();
    assert!(CTraderBroker::new(&street.root(&host), None).unwrap().account().is_ok());
}

#[test]
fn tokens_are_stored_whole_and_another_process_s_are_used() {
    let street = Street::new();
    let host = street.host(&[("CTRADER_ACCESS_TOKEN", "")], None);
    let pair = |refresh: Option<&str>| oauth::Tokens { access: "a".to_string().into(), refresh: refresh.map(|r| r.to_string().into()) };
    pair(Some("r")).store(&host).unwrap();
    pair(None).store(&host).unwrap();
    assert!(oauth::Tokens::of(&host).unwrap().refresh.is_none(), "a spent refresh token is not kept beside another access token");
    // Nor does an answer without tokens overwrite any.
    street.faults("{vendor: ctrader, path: '/ProtoOARefreshTokenReq', do: page_short}");
    assert!(by_file(&street, "an-old-token", "sandbox-practice-refresh-token").account().unwrap_err().is(code::NET_MALFORMED));
    let kept = oauth::Tokens::of(&host).unwrap();
    assert_eq!((kept.access.expose_secret(), kept.refresh.unwrap().expose_secret()), ("an-old-token", "sandbox-practice-refresh-token"));
    // The refresh token was used by somebody else: what it bought is in the file.
    let broker = by_file(&street, "a-new-token", "its-refresh-token");
    let old = pair(Some("r"));
    let found = link::others(&broker, &old).unwrap().unwrap();
    assert_eq!((found.access.expose_secret(), found.refresh.unwrap().expose_secret()), ("a-new-token", "its-refresh-token"));
    let same = oauth::Tokens::of(&broker.host).unwrap();
    let before = broker.host.now();
    assert!(link::others(&broker, &same).unwrap().is_none());
    assert!(broker.host.now().seconds_since(before) >= 2.0, "it may still be about to store them");
}
