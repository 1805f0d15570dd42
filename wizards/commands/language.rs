//! Which language people are spoken to in: `TRADEML_LANG`, else the locale of the environment.

use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::words::{self, Language};

/// The English texts, in the shape of a translation: what a translator begins with.
pub const ENGLISH: &str = include_str!("../../templates/text/en.yml");

/// Read the catalogue of the wanted language, if it is not English and there is one in this machine's configuration folder
/// (`text/<language>.yml`). A language that was asked for by `TRADEML_LANG` must be there and readable; a locale need not: what is
/// wrong with its file is logged, and English is spoken.
pub fn choose(host: &Host) -> Result<()> {
    let asked = host.env("TRADEML_LANG").filter(|v| !v.is_empty());
    let locale = || ["LC_ALL", "LC_MESSAGES", "LANG"].iter().find_map(|name| host.env(name).filter(|v| !v.is_empty()));
    let Some(wanted) = asked.or_else(locale) else { return Ok(()) };
    let folder = host.config_dir().join("text");
    for name in candidates(wanted) {
        if name == "en" {
            return Ok(());
        }
        let Ok(yaml) = std::fs::read_to_string(folder.join(format!("{name}.yml"))) else { continue };
        let language = match Language::parse(&yaml) {
            Ok(language) => language,
            Err(error) if asked.is_none() => {
                tracing::warn!(%error, %name, "the texts of the locale cannot be read: English is spoken");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for template in &language.unusable {
            tracing::warn!(language = %language.name, %template, "a translation has other places than its text, and is not used");
        }
        words::speak(language);
        return Ok(());
    }
    if asked.is_none() {
        return Ok(());
    }
    Err(Error::new(code::CFG_VALUE, text!("there are no texts in the language '{wanted}'"))
        .cause(text!("TRADEML_LANG names it, and {} has no file for it", folder.display()))
        .fix("trademl text > FILE, translate it, and put it there; or: unset TRADEML_LANG"))
}

/// `de_AT.UTF-8` = `de_AT`, then `de`. The locales of programs are English.
fn candidates(wanted: &str) -> Vec<String> {
    let name: String = wanted.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == '-').collect();
    let short = name.split(['_', '-']).next().unwrap_or_default().to_string();
    let english = |n: &String| matches!(n.as_str(), "C" | "POSIX" | "en" | "");
    if english(&name) || english(&short) { vec!["en".into()] } else { vec![name, short] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_is_tried_with_and_without_its_country() {
        assert_eq!(candidates("de_AT.UTF-8"), ["de_AT", "de"]);
        assert_eq!(candidates("pt-BR"), ["pt-BR", "pt"]);
        for english in ["C.UTF-8", "POSIX", "en_GB.UTF-8", "en", ""] {
            assert_eq!(candidates(english), ["en"], "{english}");
        }
    }
}
