//! The catalogue of texts is complete and up to date, and another language reaches every line that a person reads.

use data_layer::words::{Language, key_of, marked};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const CATALOGUE: &str = "templates/text/en.yml";

const PREAMBLE: &str = "\
# Every text that people read, by its English template. A translation is a copy of this file with another language and other
# values: docs/translating.md. Written from the sources: TRADEML_REGENERATE_DOCS=1 cargo test --workspace up_to_date
version: 1
language: en
texts:
";

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(repository().join(folder)).unwrap().flatten().map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        let relative = path.strip_prefix(repository()).unwrap().display().to_string();
        if path.is_dir() {
            sources(&relative, out);
        } else if relative.ends_with(".rs") && !SILENT.iter().any(|part| relative.contains(part)) {
            out.push(path);
        }
    }
}

/// Sources that speak to programs, to developers or to files only.
const SILENT: [&str; 19] = [
    "tests",
    "_test",
    "/bench",
    "commands/docs.rs",
    "kit/logs.rs",
    "kit/paths.rs",
    "data_layer/src/docs",
    "data_layer/src/words.rs",
    "data_layer/src/schema",
    "data_layer/src/testkit",
    "/sandbox",
    "src/reports",
    "src/service",
    "env_vars",
    "/golden",
    "onnx",
    "commands/language",
    "wizards/cli",
    "features/",
];

/// String literals of a source with what stands before them, up to its tests.
fn literals(source: &str) -> Vec<(String, String)> {
    let source = source.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let (mut out, mut before) = (Vec::new(), String::new());
    let chars: Vec<char> = source.chars().collect();
    let mut i = 0;
    while i < chars.len() {
        let rest: String = chars[i..(i + 3).min(chars.len())].iter().collect();
        if rest.starts_with("//") {
            while i < chars.len() && chars[i] != '\n' {
                i += 1;
            }
        } else if rest.starts_with("r#\"") {
            i += 3;
            while !(chars[i] == '"' && chars[i + 1] == '#') {
                i += 1;
            }
            i += 2;
        } else if rest.starts_with("'\"'") {
            i += 3;
        } else if chars[i] == '"' {
            let begin = i + 1;
            i += 1;
            while chars[i] != '"' {
                i += if chars[i] == '\\' { 2 } else { 1 };
            }
            out.push((before.trim_end().to_string(), unescaped(&chars[begin..i])));
            i += 1;
            before.push_str("\"\"");
        } else {
            before.push(chars[i]);
            i += 1;
        }
    }
    out
}

fn unescaped(raw: &[char]) -> String {
    let (mut out, mut i) = (String::new(), 0);
    while i < raw.len() {
        if raw[i] != '\\' {
            out.push(raw[i]);
            i += 1;
            continue;
        }
        i += 2;
        match raw[i - 1] {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            '\n' => {
                while i < raw.len() && raw[i].is_whitespace() {
                    i += 1;
                }
            }
            'u' => {
                let end = i + raw[i..].iter().position(|c| *c == '}').unwrap();
                let code: String = raw[i + 1..end].iter().collect();
                out.push(char::from_u32(u32::from_str_radix(&code, 16).unwrap()).unwrap());
                i = end + 1;
            }
            other => out.push(other),
        }
    }
    out
}

/// Whether a literal is a sentence, and not a name, a query, a command or a pattern.
fn is_prose(text: &str) -> bool {
    let words = text.split_whitespace().filter(|w| w.chars().filter(|c| c.is_ascii_lowercase()).count() >= 2).count();
    let foreign =
        ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "CREATE ", "PRAGMA ", "ALTER ", "FROM ", "WHERE ", "AND ", "trademl ", "<", "#", "http", "VALUES"];
    let flag = text.starts_with("--") && words < 4;
    words >= 2 && !flag && !foreign.iter().any(|f| text.trim_start().starts_with(f)) && !text.contains(" = ?") && !text.contains("</")
}

fn is_spoken(before: &str, text: &str) -> bool {
    if before.ends_with("text!(") || before.ends_with("term!(") {
        return text.chars().any(char::is_alphabetic);
    }
    // Logs and bugs are English: they are for those who mend the program.
    let tail = before.rsplit([';', '{', '}']).next().unwrap_or_default();
    let aside = ["tracing::", "Error::bug(", "expect(", "#[", "query", "prepare(", "execute("].iter().any(|a| tail.contains(a));
    is_prose(text) && !aside
}

/// Keys by the source that they are in, each where it is met first.
fn collected() -> Vec<(String, Vec<String>)> {
    let mut files = Vec::new();
    for folder in ["wizards", "data_layer/src", "src"] {
        sources(folder, &mut files);
    }
    let (mut seen, mut out) = (BTreeSet::new(), Vec::new());
    let mut section = |name: String, texts: &mut dyn Iterator<Item = String>| {
        let mut keys = Vec::new();
        for text in texts {
            let key = key_of(&text);
            if key.chars().any(char::is_alphabetic) && seen.insert(key.clone()) {
                keys.push(key);
            }
        }
        if !keys.is_empty() {
            out.push((name, keys));
        }
    };
    for wizard in trademl::wizards() {
        section(format!("steps of {}", wizard.name), &mut steps_of(wizard).into_iter());
    }
    for file in files {
        let name = file.strip_prefix(repository()).unwrap().display().to_string();
        let found = literals(&std::fs::read_to_string(&file).unwrap());
        section(name, &mut found.into_iter().filter(|(before, text)| is_spoken(before, text)).map(|(_, text)| text));
    }
    section("headlines of error codes".into(), &mut data_layer::error::code::ALL.iter().map(|c| c.title.to_string()));
    out
}

fn steps_of(wizard: &trademl::kit::Wizard) -> Vec<String> {
    let mut out = vec![wizard.purpose.to_string()];
    for step in wizard.steps {
        out.extend([step.title.to_string(), step.why.to_string()]);
        out.extend(step.keys().iter().flat_map(|key| [key.label.to_string(), key.without.to_string()]));
        let Ok(q) = step.question() else { continue };
        out.extend([q.prompt.clone(), q.help.clone()]);
        out.extend(q.default.iter().map(|(_, why)| why.clone()));
        out.extend(q.no_default.map(str::to_string));
        if let trademl::kit::question::Kind::Select(choices) | trademl::kit::question::Kind::Several(choices) = &q.kind {
            out.extend(choices.iter().map(|c| c.label.clone()));
        }
    }
    out
}

fn catalogue(value: &dyn Fn(&str) -> String) -> String {
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    let mut out = PREAMBLE.to_string();
    for (source, keys) in collected() {
        out.push_str(&format!("  # {source}\n"));
        keys.iter().for_each(|key| out.push_str(&format!("  {}: {}\n", quoted(key), quoted(&value(key)))));
    }
    out
}

#[test]
fn the_catalogue_of_texts_is_complete_and_up_to_date() {
    let now = catalogue(&str::to_string);
    let path = repository().join(CATALOGUE);
    if std::env::var_os("TRADEML_REGENERATE_DOCS").is_some() {
        std::fs::write(&path, &now).unwrap();
        return;
    }
    assert!(std::fs::read_to_string(&path).unwrap() == now, "{CATALOGUE}: run TRADEML_REGENERATE_DOCS=1 cargo test --workspace up_to_date");
    assert!(Language::parse(&now).unwrap().unusable.is_empty());
}

#[test]
fn every_translation_that_ships_has_the_same_places_and_no_stale_text() {
    let known: BTreeSet<String> = collected().into_iter().flat_map(|(_, keys)| keys).collect();
    for file in std::fs::read_dir(repository().join("templates/text")).unwrap().flatten() {
        let yaml = std::fs::read_to_string(file.path()).unwrap();
        assert!(Language::parse(&yaml).unwrap().unusable.is_empty(), "{}", file.path().display());
        let texts: BTreeMap<String, serde_json::Value> = serde_yaml::from_str(&yaml).unwrap();
        let stale: Vec<&String> = texts["texts"].as_object().unwrap().keys().filter(|key| !known.contains(*key)).collect();
        assert!(stale.is_empty(), "{}: {stale:?}", file.path().display());
    }
}

/// A home whose configuration holds a language in which every word of ours is marked.
fn home_with_marks() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".config/trademl/text");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("xx.yml"), catalogue(&marked).replace("language: en", "language: xx")).unwrap();
    home
}

/// What is left of a screen when marked words are taken away: words of at least three small letters that are no data.
fn unmarked(screen: &str, data: &[&str]) -> Vec<String> {
    let (mut left, mut inside) = (String::new(), false);
    for c in screen.chars() {
        match c {
            '\u{27e6}' => inside = true,
            '\u{27e7}' => inside = false,
            c if !inside => left.push(c),
            _ => {}
        }
    }
    let mut out = Vec::new();
    for line in left.lines() {
        // A command is typed as it is.
        let line = line.split("trademl ").next().unwrap_or_default();
        // Lines of a file, as they are written.
        if line.starts_with("    + ") || line.starts_with("    - ") {
            continue;
        }
        for word in line.split(|c: char| c.is_whitespace() || "()[],;:'\"".contains(c)) {
            let word = word.trim_end_matches('.');
            let small = word.chars().filter(char::is_ascii_lowercase).count();
            let data = word.chars().any(|c| c.is_ascii_digit() || "/_=.-@".contains(c)) || data.contains(&word);
            if small >= 3 && !data {
                out.push(format!("{word} in: {line}"));
            }
        }
    }
    out
}

/// The real program with this language, typed to on plain lines; its screen.
fn spoken(home: &Path, args: &str, typed: &str) -> String {
    use std::io::Write;
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_trademl"));
    command.args(args.split(' ')).env_clear().env("HOME", home).env("TRADEML_LANG", "xx").current_dir(home);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

#[test]
fn no_word_of_a_wizard_is_left_untranslated() {
    let wizards = [
        ("pi-data-node", "?\n:steps\nbad name\n:bakc\nnode-9\n?\n\n25:00\n\n\n3\n?\n2\n?\n:back\n9\n1\n"),
        ("train", "?\n9\n\n?\n1\n"),
        ("evaluate", "?\n\n?\n\n"),
        ("shadow", "?\n\n"),
        ("paper-trade", "?\n2\n0\n\n?\n\n?\nno\n"),
        ("serve --set serve.stop_after=1", "?\n\n127.0.0.1:0\n"),
    ];
    let mut wrong = Vec::new();
    for (n, (wizard, typed)) in wizards.iter().enumerate() {
        let home = home_with_marks();
        let place = home.path().join("drive");
        if n == 0 {
            crate::journey::fresh(&place)
        } else {
            crate::journey::copy(&crate::journey::before(n), &place)
        }
        let screen = spoken(home.path(), &format!("{wizard} --plain --root {}", place.display()), typed);
        assert!(screen.contains('\u{27e6}'), "{screen}");
        let left = unmarked(&screen, DATA);
        if !left.is_empty() {
            wrong.push(format!("--- {wizard}\n{}\n", left.join("\n")));
            if std::env::var_os("TRADEML_SHOW").is_some() {
                wrong.push(screen);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Names: of wizards, vendors, strategies, files.
#[rustfmt::skip]
const DATA: &[&str] = &[
    "train",
    "evaluate",
    "shadow",
    "serve",
    "alpaca",
    "trademl",
    "simulated",
    "listings",
    "now",
    "watch",
    "later",
    "bakc",
    "bars",
    "sharpe",
    "dsr",
    "pbo",
    "Momentum",
    "Lightgbm",
    "answers",
    "vendors",
    "keys",
    "practice",
    "consistent",
];

#[test]
fn a_terminal_speaks_the_language_too_and_programs_hear_english() {
    let home = home_with_marks();
    let place = home.path().join("drive");
    crate::journey::fresh(&place);
    let args = format!("pi-data-node --root {}", place.display());
    let mut screen = crate::terminal::wrapped(home.path(), &args, (100, 60), &[("TRADEML_LANG", "xx")]);
    for text in ["What is this node called?", "Which symbols shall the drive hold?", "When is the daily maintenance", "Shall the node start with the machine?"]
    {
        screen.reply(text, "\r");
    }
    screen.reply("Fill the drive?", "?");
    screen.reply("In a script: --set", crate::terminal::CTRL_C);
    screen.reply("Paused.", "1");
    screen.reply("Fill the drive?", "3\r");
    screen.wait_for("Save and leave");
    // From the last heading on: what is above it has scrolled half away.
    let text = screen.text();
    let left = unmarked(&text[text.rfind("[10/23]").unwrap()..], DATA);
    assert!(left.is_empty() && screen.text().contains("\u{27e6}Go ahead\u{27e7}"), "{left:?}\n{}", screen.text());
    screen.send(crate::terminal::CTRL_C);
    screen.reply("Paused.", "3");
    crate::terminal::ended_well(&mut screen, home.path(), "5");
    // The same events, whatever the language is.
    let events = |language: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_trademl"));
        command.args(["pi-data-node", "--json", "--yes", "--dry-run", "--root"]).arg(&place);
        let out = command.env_clear().env("HOME", home.path()).env("TRADEML_LANG", language).output().unwrap();
        let lines = String::from_utf8(out.stdout).unwrap();
        let plain = |line: &str| {
            let mut event: serde_json::Value = serde_json::from_str(line).unwrap();
            for changing in ["ts", "run"] {
                event.as_object_mut().unwrap().remove(changing);
            }
            // How much room is free is another number a moment later.
            if let Some(notes) = event.get_mut("notes").and_then(|n| n.as_array_mut()) {
                notes.retain(|note| !note.as_str().is_some_and(|n| n.starts_with("space:")));
            }
            event.to_string()
        };
        lines.lines().map(plain).collect::<Vec<_>>()
    };
    assert!(!events("en").is_empty());
    assert_eq!(events("xx"), events("en"));
}

#[test]
fn errors_checks_and_lists_are_told_too() {
    let home = home_with_marks();
    let place = home.path().join("drive");
    crate::journey::copy(&crate::journey::before(5), &place);
    let at = place.display();
    let ids = trademl::commands::doctor::families().into_iter().flat_map(|family| family.checks).map(|check| check.id);
    let vendors = data_layer::sourcing::Vendor::ALL.iter().map(|v| v.as_str());
    // Datasets are ids: most of them are told from words by their underscore.
    let datasets = data_layer::sourcing::DATASETS.iter().copied();
    let data: Vec<&str> = DATA.iter().copied().chain(ids).chain(vendors).chain(datasets).collect();
    for line in [
        "train --plain --root /nowhere/at/all".to_string(),
        format!("doctor --offline --root {at}"),
        format!("status --root {at}"),
        format!("report list --root {at}"),
    ] {
        let screen = spoken(home.path(), &line, "");
        // The words of a vendor are shown as they came.
        let screen = screen.replace("subscription does not permit querying 1Min bars (the world replay@1 holds no minutes)", "");
        let left = unmarked(&screen, &data);
        assert!(left.is_empty(), "{line}\n{}\n{screen}", left.join("\n"));
    }
    // A language that was asked for and is not there is said, not passed over.
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_trademl"));
    let out = command.args(["status"]).env_clear().env("HOME", home.path()).env("TRADEML_LANG", "tlh").output().unwrap();
    assert!(String::from_utf8_lossy(&out.stderr).contains("no texts in the language 'tlh'"));
    // A file that cannot be read stops neither what mends it nor, when only the locale asks for it, anything else.
    let folder = home.path().join(".config/trademl/text");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("fr.yml"), "version: [").unwrap();
    for (line, var, status) in [("status", "LANG", 0), ("status", "TRADEML_LANG", 2), ("text", "TRADEML_LANG", 0), ("explain", "TRADEML_LANG", 0)] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_trademl"));
        command.arg(line).env_clear().env("HOME", home.path()).env(var, "fr");
        if line == "status" {
            command.arg("--root").arg(&place);
        }
        let out = command.output().unwrap();
        assert_eq!(out.status.code(), Some(status), "{line} {var}: {}", String::from_utf8_lossy(&out.stderr));
    }
}
