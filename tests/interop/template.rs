//! Our rendering against Go's text/template with sprig's functions.

use std::collections::BTreeMap;

use sealkit_core::template::Templates;
use serde_json::{Value, json};

use crate::peers::{go, text};

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

/// Both render these, and to the same text.
const SAME: &[&str] = &[
    "plain",
    "{{ .user }}",
    "{{.user}}{{- \" \" -}} {{ .password }}",
    "{{ index . \"a-b\" }}",
    "{{ if .user }}yes{{ else }}no{{ end }}",
    "{{ if and .user (eq .user \"admin\") }}a{{ else if true }}b{{ end }}",
    "{{ with .user }}<{{ . }}>{{ end }}",
    "{{ range $i, $c := splitList \"\" .user }}{{ if $i }},{{ end }}{{ $c }}{{ end }}",
    "{{ range $k, $v := . }}{{ $k }};{{ end }}",
    "{{ $x := .user | upper }}{{ $x }}{{ $x = lower $x }}{{ $x }}",
    "{{ len .user }} {{ not true }} {{ or \"\" .user }}",
    "{{ ne 1 2 }} {{ lt 1 2 }} {{ ge 2 2 }} {{ eq .user \"x\" \"admin\" }}",
    "{{ html .password }} {{ js .password }} {{ urlquery .password }}",
    "{{ print 1 2 \"a\" \"b\" 3 }}|{{ println \"x\" 1 }}",
    "{{ printf \"%s|%q|%5s|%-5s|%05d|%x|%v|%t|%c|%%\" .user .user \"ab\" \"ab\" 42 \"hi\" 1 true 65 }}",
    "{{ printf \"%[2]s %[1]s %.2s\" \"a\" \"b\" \"cde\" }}",
    "{{ .user | toString | quote }} {{ squote .user \"b\" }} {{ quote \"a\\tb\" \"c\" }}",
    "{{ .password | b64enc }} {{ .user | b64enc | b64dec }}",
    "{{ upper .password }} {{ lower \"ABC\" }} {{ title \"hello big world\" }}",
    "{{ trim \"  a b \" }}|{{ trimAll \"-\" \"--a-b--\" }}|{{ trimPrefix \"ad\" .user }}|{{ trimSuffix \"in\" .user }}",
    "{{ trunc 3 .user }} {{ trunc -2 .user }} {{ trunc 99 .user }} {{ trunc 0 .user }}|",
    "{{ replace \"a\" \"b\" \"banana\" }} {{ replace \"\" \"-\" \"ab\" }}",
    "{{ contains \"dm\" .user }} {{ hasPrefix \"ad\" .user }} {{ hasSuffix \"x\" .user }}",
    "{{ default \"d\" \"\" }} {{ default \"d\" .user }} {{ default 1 0 }} {{ empty \"\" }} {{ empty (list) }}",
    "{{ coalesce \"\" 0 \"x\" \"y\" }} {{ ternary \"y\" \"n\" true }} {{ false | ternary \"y\" \"n\" }}",
    "{{ join \"-\" (list \"a\" 1 true) }} {{ join \",\" \"solo\" }}",
    "{{ $p := split \".\" \"a.b.c\" }}{{ $p._0 }}{{ $p._2 }} {{ splitList \",\" \"a,,b\" | len }}",
    "{{ first (list 1 2) }} {{ last (list 1 2) }} {{ list 1 \"a\" }} {{ has 2 (list 1 2) }} {{ has \"z\" (list \"a\") }}",
    "{{ $d := dict \"a\" 1 \"b\" \"x\" }}{{ get $d \"a\" }}{{ $d.b }}{{ get $d \"none\" }}|{{ len $d }}",
    "{{ keys (dict \"only\" 1) }} {{ values (dict \"only\" 1) }} {{ dict \"odd\" }}",
    "{{ dig \"m\" \"k\" \"none\" (fromJson .json) }} {{ dig \"m\" \"zz\" \"none\" (fromJson .json) }}",
    "{{ indent 2 .lines }}|{{ nindent 4 .lines }}",
    "{{ int \"12\" }} {{ int64 3 }} {{ float64 \"1.5\" }} {{ float64 3 }} {{ int 3.9 }}",
    "{{ add 1 2 3 }} {{ sub 5 7 }} {{ mul 2 3 4 }} {{ div 7 2 }} {{ mod 7 3 }} {{ div -7 2 }} {{ mod -7 3 }}",
    "{{ sha256sum .password }}",
    "{{ regexMatch \"^a.*n$\" .user }} {{ regexMatch \"\\\\d\" .user }}",
    "{{ regexReplaceAll `\\b\\w` `éa bç` `-` }} {{ regexMatch `^\\w$` `é` }} {{ regexMatch `[\\s]` `\u{a0}` }}",
    "{{ regexReplaceAll `[\\d\\W]+` `é1 a_` `-` }} {{ regexReplaceAll `\\D` `٣1` `-` }} {{ regexMatch `^\\S[^\\s]$` `é\u{2003}` }}",
    "{{ regexReplaceAll `\\B` `abç` `|` }} {{ regexReplaceAll `(?i)K` `kK\u{212a}` `-` }} {{ regexReplaceAll `\\pL` `é1` `-` }}",
    "{{ regexReplaceAll \"a(d|n)\" \"admin and\" \"<${1}>\" }} {{ regexReplaceAll \"x*\" \"abc\" \"-\" }}",
    "{{ (fromJson .json).s }} {{ (fromJson .json).n }} {{ index (fromJson .json).l 1 }} {{ (fromJson .json).t }}",
    "{{ fromJson .json | toJson }}",
    "{{ dict \"h\" \"<&>\" \"u\" \"ö\" | toJson }} {{ toJson .user }} {{ toJson 1.5 }} {{ toJson (list) }}",
    "{{ (fromYaml .yaml).a }} {{ join \"+\" (fromYaml .yaml).l }}",
    "{{ dict \"b\" (list 1 2) \"a\" (dict \"c\" \"x\") | toYaml }}",
    "{{/* nothing */ -}} x {{- /* y */ -}} z",
    "{{ `raw {{ }}` }} {{ \"a\\\"b\" }} {{ 'a' }} {{ 0x1F }} {{ 1e3 }}",
    "{{ range (list 1 2 3) }}{{ if eq . 2 }}{{ continue }}{{ end }}{{ . }}{{ end }}",
    "{{ range (list) }}x{{ else }}none{{ end }}",
    "{{ $.user }}{{ range (list 1) }}{{ $.user }}{{ end }}",
];

/// Both refuse these.
const BOTH_FAIL: &[&str] = &[
    "{{ .missing }}",
    "{{ if }}",
    "{{ .user",
    "{{ end }}",
    "{{ nosuch .user }}",
    "{{ $undeclared }}",
    "{{ index .user 99 }}",
    "{{ .user.field }}",
    "{{ div 1 0 }}",
    "{{ regexReplaceAll \"(\" .user \"\" }}",
    "{{ upper 1 }}",
    "{{ ternary 1 2 3 }}",
];

/// Where we are stricter on purpose: Go hides an error or writes something into the Secret.
const STRICTER: &[&str] = &[
    // sprig gives the text of the error as the value.
    "{{ b64dec \"?\" }}",
    // sprig gives nil, which is written as `<no value>`.
    "{{ fromJson \"no\" }}",
    // sprig gives 0.
    "{{ int \"no\" }}",
    // Not there at all: it would make the Secret depend on the clock, or on luck.
    "{{ now }}",
    "{{ randAlphaNum 8 }}",
    "{{ uuidv4 }}",
    "{{ repeat 3 \"x\" }}",
    "{{ define \"a\" }}x{{ end }}{{ template \"a\" }}",
    // Go's text would not be UTF-8.
    "{{ trunc 1 \"ö\" }}",
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
