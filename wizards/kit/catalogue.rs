//! Every question of a wizard as one JSON Schema (draft 2020-12) of its answers file, made from the table of steps.
//!
//! An editor completes and checks an answers file with it; a script reads under `x-trademl` what a person would be told:
//! step, help, evidence of the default (or why there is none), variable, flag, and whether an answer is secret or a gate.

use super::question::{Kind, Question, SecretSpec};
use super::step::{Asks, Step, Wizard};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The draft that the schemas are written in.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schema of the answers file of one wizard; a file for several wizards passes it with its section for this one.
pub fn schema(wizard: &Wizard) -> Value {
    let section = section(wizard);
    let mut single = json!({
        "type": "object", "required": ["version", "wizard"], "additionalProperties": false,
        "properties": {"version": {"const": 1}, "wizard": {"const": wizard.name}},
    });
    for key in ["answers", "confirm"] {
        single["properties"][key] = json!({"$ref": format!("#/$defs/section/properties/{key}")});
    }
    let several = json!({
        "type": "object", "required": ["version", "wizards"], "additionalProperties": false,
        "properties": {
            "version": {"const": 1},
            "wizards": {"type": "object", "properties": {wizard.name: {"$ref": "#/$defs/section"}}, "additionalProperties": {"type": "object"}},
        },
    });
    json!({
        "$schema": DRAFT, "title": text!("Answers of trademl {}", wizard.name), "description": wizard.purpose,
        "oneOf": [single, several], "$defs": {"section": section},
    })
}

/// The ids of every answer that a wizard can be given.
pub fn ids(wizard: &Wizard) -> BTreeSet<String> {
    let answers = &section(wizard)["properties"]["answers"]["properties"];
    answers.as_object().into_iter().flatten().map(|(id, _)| id.clone()).collect()
}

fn section(wizard: &Wizard) -> Value {
    let mut answers = Map::new();
    let mut gates = vec![json!({
        "step": "take-over", "token": crate::steps::preamble::TAKE_OVER, "gate": true, "default": "no default: typed words, only with --take-over",
        "help": "Needed only where another machine seems to be using the drive.", "flag": "--confirm TOKEN",
    })];
    for step in wizard.steps {
        let n = wizard.position(step.id);
        match step.asks {
            Asks::Nothing => {}
            Asks::Question(make) => drop(answers.insert(make().id.to_string(), asked(step, n, &make()))),
            Asks::Secrets(keys) => answers.extend(keys.iter().map(|key| (key.id(), secret(step, n, key)))),
            Asks::Token(form) => gates.push(json!({
                "step": step.id, "n": n, "token": form, "gate": true, "default": "no default: a gate is passed by typed words, never by --yes",
                "help": step.why, "flag": "--confirm TOKEN",
            })),
        }
    }
    for question in unasked(wizard) {
        let mut property = described(&question);
        property["x-trademl"]["asked"] = Value::from(false);
        answers.insert(question.id.to_string(), property);
    }
    json!({
        "type": "object", "additionalProperties": false,
        "properties": {
            "answers": {"type": "object", "additionalProperties": false, "properties": answers},
            "confirm": {"type": "array", "items": {"type": "string"}, "description": "Tokens of gates; each is used once.", "x-trademl": {"gates": gates}},
        },
    })
}

/// Answers that are only ever given, never asked for.
fn unasked(wizard: &Wizard) -> Vec<Question> {
    #[cfg(feature = "research")]
    if wizard.name == crate::serve::WIZARD.name {
        return vec![crate::steps::service::stop_after_question()];
    }
    let finds_the_drive = wizard.steps.iter().any(|s| s.id == crate::steps::preamble::STORAGE.id);
    if finds_the_drive { vec![crate::steps::preamble::override_question()] } else { Vec::new() }
}

fn asked(step: &Step, n: usize, question: &Question) -> Value {
    let mut property = described(question);
    let more = &mut property["x-trademl"];
    more["step"] = Value::from(step.id);
    more["n"] = Value::from(n);
    more["why"] = Value::from(step.why);
    more["scope"] = Value::from(step.scope.as_str());
    property
}

fn described(question: &Question) -> Value {
    let mut property = question.schema();
    let kind = match &question.kind {
        Kind::Text => "text",
        Kind::Path => "path",
        Kind::Confirm => "confirm",
        Kind::Number { .. } => "number",
        Kind::Select(_) => "select",
        Kind::Several(_) => "several",
    };
    property["title"] = Value::from(question.prompt.as_str());
    property["description"] = Value::from(question.help.as_str());
    property["x-trademl"] = json!({
        "kind": kind, "secret": false, "gate": false, "env": question.env, "flag": format!("--set {}=VALUE", question.id),
        "default": match (&question.default, question.no_default) {
            (Some((_, evidence)), _) => evidence.clone(),
            (None, reason) => text!("no default: {}", reason.unwrap_or_default()),
        },
    });
    property
}

fn secret(step: &Step, n: usize, key: &SecretSpec) -> Value {
    json!({
        "title": key.label,
        "description": text!("Without it: {}. A key is never written into an answers file; the file says where it is.", key.without),
        "oneOf": [
            {"const": "skip"},
            {"type": "object", "required": ["from"], "additionalProperties": false, "properties": {"from": {"type": "string", "pattern": "^(env|file):.+$"}}},
        ],
        "x-trademl": {
            "kind": "secret", "secret": true, "gate": false, "required": key.required, "env": key.var, "flag": format!("--set {}=skip", key.id()),
            "default": "no default: the key that this machine already holds is kept", "step": step.id, "n": n, "why": step.why, "scope": step.scope.as_str(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn yaml(text: &str) -> Value {
        serde_yaml::from_str(text).unwrap()
    }

    #[test]
    fn no_prompt_exists_without_an_id_help_and_a_default_or_the_reason_for_none() {
        for wizard in crate::wizards() {
            let mut ids = BTreeSet::new();
            for step in wizard.steps {
                assert!(!step.title.is_empty() && step.why.ends_with('.'), "{} {}", wizard.name, step.id);
                assert_eq!(matches!(step.asks, Asks::Question(_) | Asks::Secrets(_)), step.verb == super::super::Verb::Ask, "{}", step.id);
                assert_eq!(matches!(step.asks, Asks::Token(_)), step.verb == super::super::Verb::Gate, "{}", step.id);
                for key in step.keys() {
                    assert!(!key.label.is_empty() && !key.without.is_empty() && ids.insert(key.id()), "{}", key.var);
                }
                let Asks::Question(make) = step.asks else { continue };
                let q = make();
                assert!(q.id.contains('.') && ids.insert(q.id.to_string()), "{} of {}", q.id, wizard.name);
                assert!(q.prompt.contains('?') && q.help.len() > 20, "{} has no help", q.id);
                assert!(q.default.is_some() ^ q.no_default.is_some(), "{} says nothing about its default", q.id);
                if let Some((value, evidence)) = &q.default {
                    assert!(q.validate(value).is_ok() && !evidence.is_empty(), "{}: the default is not acceptable", q.id);
                }
            }
        }
    }

    #[test]
    fn the_schemas_are_valid_and_accept_the_answers_files_that_ship() {
        let demo = yaml(include_str!("../../templates/demo/answers.yml"));
        for wizard in crate::wizards() {
            let schema = schema(wizard);
            jsonschema::meta::validate(&schema).unwrap_or_else(|e| panic!("{}: {e}", wizard.name));
            let checker = jsonschema::validator_for(&schema).unwrap();
            let errors: Vec<String> = checker.iter_errors(&demo).map(|e| format!("{} {e}", e.instance_path())).collect();
            assert!(errors.is_empty(), "{}: {errors:?}", wizard.name);
            let alone = json!({"version": 1, "wizard": wizard.name, "answers": demo["wizards"][wizard.name]["answers"]});
            assert!(checker.is_valid(&alone), "{}", wizard.name);
        }
    }

    #[test]
    fn every_answers_file_of_the_documentation_passes_its_schema() {
        let page = include_str!("../../docs/answers.md");
        let mut seen = 0;
        for block in page.split("```yaml").skip(1).filter_map(|b| b.split("```").next()) {
            let mut file = yaml(block);
            if file.get("version").is_none() {
                file = json!({"version": 1, "wizard": "pi-data-node", "answers": file["answers"]});
            }
            let several = file["wizards"].as_object().map(|o| o.keys().cloned().collect()).unwrap_or_default();
            let mut names: Vec<String> = several;
            names.extend(file["wizard"].as_str().map(str::to_string));
            for wizard in crate::wizards().iter().filter(|w| names.iter().any(|n| n == w.name)) {
                assert!(jsonschema::validator_for(&schema(wizard)).unwrap().is_valid(&file), "{file}");
                seen += 1;
            }
        }
        assert!(seen >= 4, "{seen}");
    }

    #[test]
    fn wrong_answers_do_not_pass() {
        let checker = jsonschema::validator_for(&schema(&crate::pi_data_node::WIZARD)).unwrap();
        let file = |answers: Value| json!({"version": 1, "wizard": "pi-data-node", "answers": answers});
        assert!(checker.is_valid(&file(json!({"node.id": "pi-1", "keys.alpaca_api_key": {"from": "env:K"}}))));
        for wrong in [
            json!({"node.idd": "x"}),
            json!({"node.id": "two words"}),
            json!({"node.start": "soon"}),
            json!({"keys.alpaca_api_key": "PKSECRET"}),
            json!({"maintenance.time": 2}),
        ] {
            assert!(!checker.is_valid(&file(wrong.clone())), "{wrong}");
        }
        assert!(!checker.is_valid(&json!({"version": 2, "wizard": "pi-data-node"})));
    }

    #[test]
    fn secrets_and_gates_are_marked() {
        let text = schema(&crate::pi_data_node::WIZARD);
        let keys = &text["$defs"]["section"]["properties"]["answers"]["properties"]["keys.alpaca_api_secret"];
        assert_eq!(keys["x-trademl"]["secret"], true);
        #[cfg(feature = "research")]
        {
            let gates = &schema(&crate::paper_trade::WIZARD)["$defs"]["section"]["properties"]["confirm"]["x-trademl"]["gates"];
            assert!(gates.as_array().unwrap().iter().any(|g| g["step"] == "confirm" && g["token"] == "PAPER <account> <trading day>"));
        }
    }
}
