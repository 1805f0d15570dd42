use super::*;
use crate::error::code;
use crate::host::{FakeHost, Host};
use proptest::prelude::*;

fn host(dir: &std::path::Path, env: &[(&str, &str)]) -> Host {
    let mut all: BTreeMap<String, String> = env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    all.insert("XDG_CONFIG_HOME".into(), dir.display().to_string());
    Host::fake(FakeHost { env: all, ..FakeHost::default() })
}

const MESSY: &str = "# keys\r\nexport A=1 # one\r\n\r\n#A=9\r\n  B = 'two words'  \r\nA=3\r\nC=\"x\\ny $A\"\r\nthis is not an assignment\r\nD=";

#[test]
fn a_messy_file_survives_and_only_the_edited_value_changes() {
    let mut file = EnvFile::parse(MESSY);
    assert_eq!(file.to_string(), MESSY);
    let values = file.values(&BTreeMap::new());
    let expect = [("A", "3"), ("B", "two words"), ("C", "x\ny 3"), ("D", "")];
    assert_eq!(values, expect.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect());
    file.set("A", "4");
    file.set("B", "it's $5 #really");
    file.set("E", "new");
    let expected = MESSY.replace("\nA=3", "\nA=4").replace("'two words'", "\"it's \\$5 #really\"") + "\r\nE=new\r\n";
    assert_eq!(file.to_string(), expected);
    assert_eq!(file.get("B").as_deref(), Some("it's $5 #really"));
    assert!(file.to_string().contains("#A=9"), "a commented key is not touched");
}

#[test]
fn setting_the_same_value_again_changes_nothing() {
    let mut file = EnvFile::parse("B = 'two words'  # why\n");
    file.set("B", "two words");
    assert_eq!(file.to_string(), "B = 'two words'  # why\n");
}

#[test]
fn values_that_dotenvy_and_shells_agree_on() {
    let text = "A=a#b\nB=a #b\nC='a #b'\nD=\"a \\\"q\\\" \\$X\"\nE=\"two\nlines\"\nF=a b c\nG=${A}-$B-$\nH='open\nI=1\n";
    let file = EnvFile::parse(text);
    assert_eq!(file.to_string(), text);
    let get = |k: &str| file.get(k).unwrap_or_default();
    assert_eq!([get("A"), get("B"), get("C"), get("D")], ["a#b", "a", "a #b", "a \"q\" $X"]);
    assert_eq!([get("E"), get("F"), get("G"), get("I")], ["two\nlines", "a b c", "a#b-a-$", "1"]);
    assert_eq!(file.get("H"), None, "an unclosed quote is not a value");
}

#[test]
fn lesson_025_changes_never_show_a_key() {
    let old = EnvFile::parse("ALPACA_API_KEY=CANARY1\nTRADEML_ENV=local\n");
    let mut new = old.clone();
    new.set("ALPACA_API_KEY", "CANARY2");
    new.set("ALPACA_API_SECRET", "CANARY3");
    new.set("TRADEML_ENV", "dev");
    new.set("HAND_MADE", "CANARY4");
    let text: Vec<String> = old.changes(&new).iter().map(ToString::to_string).collect();
    assert!(!text.join("\n").contains("CANARY"), "{text:?}");
    assert!(text.contains(&"~ TRADEML_ENV=dev   (was local)".to_string()), "{text:?}");
    assert!(text.contains(&"+ ALPACA_API_SECRET=(set)   (was unset)".to_string()), "{text:?}");
}

#[cfg(unix)]
#[test]
fn saved_privately_and_left_alone_when_nothing_changes() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let host = host(dir.path(), &[("TRADEML_ENV", "dev")]);
    let mut file = read(&host).unwrap();
    file.set("TRADEML_ENV", "local");
    file.set("FRED_API_KEY", "k");
    let report = save(&host, &file).unwrap();
    assert!(report.written && report.changes.len() == 2);
    let mode = std::fs::metadata(&report.path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    assert!(!save(&host, &file).unwrap().written);
    std::fs::set_permissions(&report.path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(save(&host, &file).unwrap().written, "a mode that was opened is closed again");
    let merged = load(&host).unwrap();
    assert_eq!((merged["TRADEML_ENV"].as_str(), merged["FRED_API_KEY"].as_str()), ("dev", "k"));
    assert_eq!(std::fs::read_dir(report.path.parent().unwrap()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn keys_are_never_written_to_a_data_drive() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(crate::root::SENTINEL), "{}").unwrap();
    let inside = dir.path().join("logs/.env");
    let host = host(dir.path(), &[("TRADEML_ENV_FILE", inside.to_str().unwrap())]);
    assert!(save(&host, &EnvFile::parse("A=1\n")).unwrap_err().is(code::KEY_FILE_MODE));
    assert!(!inside.exists());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_comes_back_unchanged(text in "[ -~\\r\\n\\t'\"#=$éA-C]{0,120}") {
        prop_assert_eq!(EnvFile::parse(&text).to_string(), text);
    }

    #[test]
    fn any_value_can_be_set_and_read_and_nothing_else_changes(
        lines in proptest::collection::vec("(#?[A-C]=[ -~]{0,12}|# [ -~]{0,12}||export D='[a-z ]{0,6}')", 0..8),
        crlf in any::<bool>(),
        value in "[ -~\\n\\té'\"$\\\\#]{0,24}",
    ) {
        let text = lines.join(if crlf { "\r\n" } else { "\n" });
        let before = EnvFile::parse(&text);
        let mut after = before.clone();
        after.set("KEY_X", &value);
        let again = EnvFile::parse(&after.to_string());
        prop_assert_eq!(again.get("KEY_X").unwrap(), value);
        let (mut new, old) = (again.values(&BTreeMap::new()), before.values(&BTreeMap::new()));
        new.remove("KEY_X");
        prop_assert_eq!(new, old);
    }
}
