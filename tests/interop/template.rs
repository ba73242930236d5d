//! Our rendering against Go's text/template with sprig's functions.

mod corpus;

use std::collections::BTreeMap;

use sealkit_core::manifest;
use sealkit_core::template::Templates;
use serde_json::{Value, json};

use crate::peers::{go, text};
use corpus::{BOTH_FAIL, DIFFERENT, SAME, SAME_CONTENT, STRICTER};

const VALUES: [(&str, &str); 6] = [
    ("user", "admin"),
    ("password", "p\"a'ss wörd<&>"),
    ("a-b", "dash"),
    (
        "json",
        r#"{"s": "x", "n": 7, "t": true, "l": ["b", "a"], "m": {"k": "v"}, "z": null}"#,
    ),
    ("yaml", "a: 1\nl:\n- x\n- z\n"),
    ("lines", "one\ntwo\n\nthree"),
];

fn ours(template: &str) -> Option<String> {
    let texts = BTreeMap::from([("out".to_owned(), template.to_owned())]);
    let mut templates = Templates::parse(&texts).ok()?;
    let values = VALUES.map(|(key, value)| (key, value.as_bytes()));
    let output = templates.render(values).ok()?.remove("out")?;
    Some(String::from_utf8(output.to_vec()).unwrap())
}

fn theirs(templates: &[&str]) -> Vec<Option<String>> {
    let values: BTreeMap<_, _> = VALUES.into_iter().collect();
    let request = |text: &&str| format!("{}\n", json!({"text": text, "values": values}));
    let requests: String = templates.iter().map(request).collect();
    let answers = text(&mut go("template", "template"), requests.as_bytes());
    let read = |line: &str| {
        let answer: Value = serde_json::from_str(line).unwrap();
        let out = answer["out"].as_str().unwrap().to_owned();
        (answer["ok"] == true).then_some(out)
    };
    answers.lines().map(read).collect()
}

#[test]
fn templates_render_as_in_go() {
    let answers = SAME.iter().zip(theirs(SAME));
    let different: Vec<_> = answers
        .map(|(template, theirs)| (template, ours(template), theirs))
        .filter(|(_, ours, theirs)| ours != theirs || theirs.is_none())
        .collect();
    assert!(different.is_empty(), "{different:#?}");
}

#[test]
fn what_go_refuses_is_refused() {
    for (template, theirs) in BOTH_FAIL.iter().zip(theirs(BOTH_FAIL)) {
        assert_eq!((ours(template), theirs), (None, None), "{template}");
    }
}

#[test]
fn where_we_are_stricter_go_is_not() {
    for (template, theirs) in STRICTER.iter().zip(theirs(STRICTER)) {
        assert_eq!(ours(template), None, "{template}");
        assert!(theirs.is_some(), "no difference any more: {template}");
    }
}

#[test]
fn yaml_has_the_same_content() {
    let read = |text: Option<String>| manifest::read_value(&text.expect("a text"));
    for (template, theirs) in SAME_CONTENT.iter().zip(theirs(SAME_CONTENT)) {
        let ours = read(ours(template));
        assert!(ours.is_some(), "{template}");
        assert_eq!(ours, read(theirs), "{template}");
    }
}

#[test]
fn differences_are_those_that_are_documented() {
    let templates: Vec<_> = DIFFERENT.iter().map(|(template, ..)| *template).collect();
    for ((template, ours_is, theirs_is), theirs) in DIFFERENT.iter().zip(theirs(&templates)) {
        assert_eq!(ours(template).as_deref(), Some(*ours_is), "{template}");
        assert_eq!(theirs.as_deref(), Some(*theirs_is), "{template}");
    }
}
