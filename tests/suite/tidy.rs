//! The laws of `docs/ARCHITECTURE.md` that a compiler does not keep.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut stack = vec![repository().join(folder)];
    while let Some(dir) = stack.pop() {
        for entry in std::fs::read_dir(&dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                stack.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push(path);
            }
        }
    }
    out.sort();
    out
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path.as_ref()).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()))
}

/// `pub mod x;` lines of a lib.rs, in order.
fn modules(lib: &str) -> Vec<String> {
    read(repository().join(lib)).lines().filter_map(|l| l.strip_prefix("pub mod ")?.strip_suffix(';').map(str::to_string)).collect()
}

/// A module may use only modules listed above it.
fn upward_uses(lib: &str, folder: &str) -> Vec<String> {
    let order = modules(lib);
    let rank: BTreeMap<&str, usize> = order.iter().enumerate().map(|(i, m)| (m.as_str(), i)).collect();
    let mut wrong = Vec::new();
    for file in sources(folder) {
        let inside = file.strip_prefix(repository().join(folder)).unwrap().to_string_lossy().replace(".rs", "");
        let own = inside.split('/').next().unwrap().to_string();
        // Tests may use what stands below: they are not part of the product.
        if inside.ends_with("tests") || inside.contains("/tests/") || inside.ends_with("_tests") {
            continue;
        }
        let Some(own_rank) = rank.get(own.as_str()) else { continue };
        let text = read(&file);
        let product = text.split("#[cfg(test)]\nmod ").next().unwrap_or(&text);
        // Links in comments point wherever they help.
        let product = product.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        for (i, _) in product.match_indices("crate::") {
            let used: String = product[i + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if rank.get(used.as_str()).is_some_and(|r| r > own_rank) {
                wrong.push(format!("{inside} uses {used}, which stands below it in {lib}"));
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    wrong
}

#[test]
fn modules_use_only_modules_above_them() {
    let mut wrong = upward_uses("data_layer/src/lib.rs", "data_layer/src");
    wrong.extend(upward_uses("src/lib.rs", "src"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_terminal_crate_below_the_top_layer() {
    for manifest in ["data_layer/Cargo.toml", "src/Cargo.toml"] {
        let text = read(repository().join(manifest));
        for banned in ["console", "dialoguer", "indicatif", "ratatui", "crossterm", "clap"] {
            assert!(!text.lines().any(|l| l.starts_with(banned)), "{manifest} depends on {banned}");
        }
    }
    assert!(!read(repository().join("data_layer/Cargo.toml")).contains("engine"), "data_layer may not know the engine");
}

#[test]
fn lesson_121_no_file_outgrows_its_reader() {
    let mut long = Vec::new();
    for folder in ["data_layer/src", "src", "wizards", "tests/suite"] {
        for file in sources(folder) {
            let lines = read(&file).lines().count();
            if lines > 450 {
                long.push(format!("{lines} {}", file.display()));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn step_ids_are_unique_and_equal_the_generated_runbooks() {
    for wizard in trademl::wizards() {
        let ids: BTreeSet<&str> = wizard.steps.iter().map(|s| s.id).collect();
        assert_eq!(ids.len(), wizard.steps.len(), "{} has a step twice", wizard.name);
        let page = repository().join(format!("docs/runbooks/{}.md", wizard.name));
        assert_eq!(read(&page), trademl::commands::docs::runbook(wizard), "run: trademl docs docs");
    }
}

#[test]
fn every_error_code_has_its_page() {
    for code in data_layer::error::code::ALL {
        let page = repository().join(format!("docs/errors/{}.md", code.id));
        assert!(read(&page).contains(code.title), "{}", code.id);
    }
}

#[test]
fn lesson_120_polars_brings_no_object_store() {
    let out = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--edges", "normal", "--prefix", "none"])
        .current_dir(repository())
        .output()
        .unwrap();
    let tree = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && tree.contains("polars"), "{}", String::from_utf8_lossy(&out.stderr));
    for banned in ["object_store ", "quick-xml ", "openssl-sys "] {
        assert!(!tree.lines().any(|l| l.starts_with(banned)), "{banned} is built");
    }
}

#[test]
fn unsafe_code_lives_in_one_audited_module() {
    for folder in ["data_layer/src", "src", "wizards"] {
        for file in sources(folder) {
            let allowed = file.ends_with("src/models/gbdt/ffi.rs");
            assert!(allowed || !read(&file).contains("allow(unsafe_code)"), "{}", file.display());
        }
    }
}
