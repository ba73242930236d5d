//! Tables of templates: what they render, and what stops them.

use super::*;

fn render_with(text: &str, values: &[(&str, &[u8])]) -> Result<String, TemplateErrorKind> {
    let texts = BTreeMap::from([("out".to_owned(), text.to_owned())]);
    let mut templates = Templates::parse(&texts).map_err(|error| error.cause)?;
    let mut output = templates
        .render(values.iter().copied())
        .map_err(|error| error.cause)?;
    Ok(String::from_utf8(output.remove("out").unwrap().to_vec()).unwrap())
}

fn render(text: &str) -> Result<String, TemplateErrorKind> {
    let values: [(&str, &[u8]); 4] = [
        ("USER", b"admin"),
        ("a-b", b"dash"),
        (
            "JSON",
            br#"{"n": 1000000, "list": [1, "two", null], "m": {"k": "<v>"}}"#,
        ),
        ("BIN", &[0xff, 0xfe]),
    ];
    render_with(text, &values)
}

#[test]
fn what_people_write_renders() {
    let table = [
        ("user={{ .USER }}", "user=admin"),
        ("{{ index . \"a-b\" }}", "dash"),
        ("{{ .USER | toString | upper | quote }}", "\"ADMIN\""),
        (
            "{{- if eq .USER \"admin\" }}yes{{ else }}no{{ end -}}",
            "yes",
        ),
        (
            "{{ with fromJson .JSON }}{{ .n }} {{ index .list 1 }}{{ end }}",
            "1000000 two",
        ),
        (
            "{{ range $i, $v := splitList \"m\" .USER }}{{ $i }}={{ $v }};{{ end }}",
            "0=ad;1=in;",
        ),
        (
            "{{ printf \"%s:%05d\" .USER 42 | b64enc }}",
            "YWRtaW46MDAwNDI=",
        ),
        ("{{ b64dec \"aGk=\" }}", "hi"),
        (
            "{{ (fromJson .JSON).m | toJson }}",
            r#"{"k":"\u003cv\u003e"}"#,
        ),
        (
            "{{ dict \"a\" 1 \"b\" (list 1 2) | toYaml }}",
            "a: 1\nb:\n- 1\n- 2",
        ),
        ("{{ (fromYaml \"a: [1, 2]\").a | last }}", "2"),
        ("a:{{ nindent 2 \"x\\ny\" }}", "a:\n  x\n  y"),
        ("{{ .USER | trunc 3 }}{{ .USER | trunc -2 }}", "admin"),
        (
            "{{ default \"d\" \"\" }}{{ coalesce \"\" \"c\" }}{{ ternary \"y\" \"n\" true }}",
            "dcy",
        ),
        (
            "{{ add 1 2 3 }} {{ sub 5 7 }} {{ mul 2 3 }} {{ div 7 2 }} {{ mod 7 2 }}",
            "6 -2 6 3 1",
        ),
        ("{{ regexReplaceAll \"a(d)\" .USER \"${1}x\" }}", "dxmin"),
        ("{{ regexMatch \"^ad\" .USER }}", "true"),
        ("{{ regexReplaceAll `[\\d\\s]+|\\w` `é1 a_` `-` }}", "é---"),
        ("{{ regexReplaceAll `\\b` `éa` `|` }}", "é|a|"),
        ("{{ keys (dict \"b\" 1 \"a\" 2) | join \",\" }}", "a,b"),
        ("{{ dig \"m\" \"k\" \"none\" (fromJson .JSON) }}", "<v>"),
        ("{{ dig \"m\" \"z\" \"none\" (fromJson .JSON) }}", "none"),
        (
            "{{ get (dict \"a\" \"b\") \"z\" }}|{{ has 1 (list 1 2) }}",
            "|true",
        ),
        ("{{ title \"hello big-world\" }}", "Hello Big-World"),
        ("{{ urlquery \"a b&c\" }}", "a+b%26c"),
        (
            "{{ squote \"a\" \"b\" }} {{ trimAll \"$\" \"$5$\" }}",
            "'a' 'b' 5",
        ),
        (
            "{{ $x := .USER }}{{ $x }}{{/* said }} nothing */}}",
            "admin",
        ),
        ("{{ \"}}\" }}{{ `a}}b` }}", "}}a}}b"),
        (
            "{{ sha256sum \"\" }}",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(render(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_not_there_fails_and_tells_nothing() {
    let failing = [
        "{{ .MISSING }}",
        "{{ .BIN }}",
        "{{ index . \"MISSING\" }}",
        "{{ .USER.x }}",
        "{{ (fromJson .JSON).missing }}",
        "{{ fromJson .USER }}",
        "{{ b64dec \"?\" }}",
        "{{ div 1 0 }}",
        "{{ int .USER }}",
        "{{ add 9223372036854775807 1 }}",
        "{{ trunc 1 \"é\" }}",
        "{{ first 1 }}",
        "{{ get . 1 }}",
        "{{ regexMatch \"(\" \"\" }}",
        "{{ filterPEM \"X\" 1 }}",
        "{{ filterCertChain \"leaf\" .USER }}",
        "{{ index .JSON 1000 }}",
        "{{ slice .USER 9 }}",
    ];
    for text in failing {
        let texts = BTreeMap::from([("out".to_owned(), text.to_owned())]);
        let mut templates = Templates::parse(&texts).unwrap();
        let values: [(&str, &[u8]); 2] = [("USER", b"hunter2"), ("JSON", b"{\"hunter2\": 2}")];
        let error = templates.render(values).unwrap_err();
        assert_eq!(error.cause, TemplateErrorKind::Render, "{text}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{text}");
        assert!(!error.may_pass());
    }
}

#[test]
fn dangerous_functions_do_not_exist() {
    for name in [
        "env",
        "expandenv",
        "getHostByName",
        "now",
        "date",
        "randAlpha",
        "uuidv4",
        "genCA",
        "fail",
        "required",
        "repeat",
        "until",
        "untilStep",
        "seq",
        "call",
        "htpasswd",
        "bcrypt",
        "tpl",
        "include",
        "lookup",
        "derivePassword",
        "shuffle",
    ] {
        let error = render(&format!("{{{{ {name} }}}}")).unwrap_err();
        assert!(
            matches!(error, TemplateErrorKind::Syntax { .. }),
            "{name}: {error}"
        );
    }
    for text in [
        "\n{{ define \"a\" }}{{ end }}",
        "\n{{- template \"out\" . -}}",
        "\n{{block \"b\" .}}{{end}}",
        "{{/* x */}}\n{{\ttemplate \"\" }}",
    ] {
        assert_eq!(
            render(text),
            Err(TemplateErrorKind::Unavailable { line: 2 }),
            "{text}"
        );
    }
}

#[test]
fn syntax_errors_tell_the_place() {
    let error = render("line one\n{{ if }}").unwrap_err();
    let TemplateErrorKind::Syntax { line, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(line, 2);
    for text in [
        "{{ .A",
        "{{ end }}",
        "{{ if .A }}",
        "{{ nosuch }}",
        "{{ \"a }}",
        "{{ $x }}",
    ] {
        assert!(
            matches!(render(text), Err(TemplateErrorKind::Syntax { .. })),
            "{text}"
        );
    }
    let texts = BTreeMap::from([("a/b".to_owned(), String::new())]);
    let error = Templates::parse(&texts).err().unwrap();
    assert_eq!(
        error.to_string(),
        "template.data[a/b]: not a key that Kubernetes allows"
    );
}

/// Each would exhaust memory or time without a bound; the sum of all stays small.
#[test]
fn hostile_templates_end_quickly() {
    let big = "x".repeat(60_000);
    let values: [(&str, &[u8]); 1] = [("V", big.as_bytes())];
    let deep =
        |open: &str, close: &str, count| format!("{}1{}", open.repeat(count), close.repeat(count));
    let texts = [
        "{{ printf \"%2000000000d\" 1 }}".to_owned(),
        format!("{{{{ printf \"{}\" .V }}}}", "%[1]s".repeat(90)),
        format!("{{{{ printf \"{}\" 999999 1 }}}}", "%[1]*[2]d".repeat(40)),
        format!("{{{{ print {} }}}}", ".V ".repeat(160)),
        format!("{{{{ html {} }}}}", ".V ".repeat(160)),
        "{{ $s := .V }}{{ range 40 }}{{ $s = print $s $s }}{{ end }}".to_owned(),
        "{{ $l := list 1 }}{{ range 40 }}{{ $l = list $l $l }}{{ end }}".to_owned(),
        "{{ $l := list 1 }}{{ range 5000 }}{{ $l = list $l }}{{ end }}".to_owned(),
        "{{ range 100000 }}{{ end }}".to_owned(),
        "{{ range 9000 }}{{ range 9000 }}{{ end }}{{ end }}".to_owned(),
        "{{ range 9000 }}{{ $.V }}{{ end }}".to_owned(),
        "{{ range 9000 }}{{ $x := replace \"x\" \"y\" $.V }}{{ end }}".to_owned(),
        "{{ replace \"x\" .V .V }}".to_owned(),
        "{{ indent 1000000000 .V }}".to_owned(),
        "{{ indent 9223372036854775807 \"a\\nb\" }}".to_owned(),
        "{{ join .V (splitList \"\" .V) }}".to_owned(),
        "{{ splitList \"x\" .V | len }}".to_owned(),
        "{{ regexReplaceAll \"x\" .V .V }}".to_owned(),
        "{{ regexReplaceAll \".*[^x]|x\" (trunc 32000 .V) \"\" }}".to_owned(),
        "{{ regexReplaceAll \"[xy]*?x[xy]{60}z|x\" (trunc 32000 .V) \"\" }}".to_owned(),
        "{{ range 900 }}{{ $x := regexMatch \"(?:x?){60}(?:.*){5}z\" (trunc 32000 $.V) }}{{ end }}".to_owned(),
        "{{ regexMatch \"a\" .V }}".to_owned(),
        // A gigabyte from one match; 25 seconds and 1.6 GB for one pattern.
        "{{ $r := \"$0\" }}{{ range 14 }}{{ $r = print $r $r }}{{ end }}{{ regexReplaceAll \"(?s).*\" (trunc 32000 .V) $r }}".to_owned(),
        "{{ $r := \"${a}\" }}{{ range 14 }}{{ $r = print $r $r }}{{ end }}{{ regexReplaceAll \"(?P<a>x)\" (trunc 32000 .V) $r }}".to_owned(),
        "{{ $p := \"\\\\pL\" }}{{ range 15 }}{{ $p = print $p $p }}{{ end }}{{ regexMatch (print \"(?i)\" $p) \"a\" }}".to_owned(),
        "{{ $p := \"\\\\pL\" }}{{ range 8 }}{{ $p = print $p $p }}{{ end }}{{ regexMatch (print \"(?i)\" $p) \"a\" }}".to_owned(),
        "{{ $p := \"[\\\\x{80}-\\\\x{10FFFF}]\" }}{{ range 5 }}{{ $p = print $p $p }}{{ end }}{{ regexMatch (print \"(?i)\" $p) \"a\" }}".to_owned(),
        "{{ trimAll (printf \"%sy\" .V) .V }}{{ .MISSING }}".to_owned(),
        "{{ regexMatch \"((x{1,1000}){1,1000}){1,1000}\" .V }}".to_owned(),
        "{{ regexMatch \"(((((((((((((((((((((((((((((((((((((((((((((((((((((((x)))))))))))))))))))))))))))))))))))))))))))))))))))))))\" .V }}".to_owned(),
        "{{ fromYaml \"a: &a [1,1,1,1,1,1,1,1,1]\\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c]\" }}".to_owned(),
        "{{ fromJson (printf \"%s\" .V) }}".to_owned(),
        format!("{{{{ {} }}}}", deep("(", ")", 250)),
        format!("{{{{ {} }}}}", deep("(not ", ")", 80)),
        format!("{}x{}", "{{if true}}".repeat(300), "{{end}}".repeat(300)),
        format!("{}x{}", "{{range 10}}".repeat(60), "{{end}}".repeat(60)),
        "{{ fromJson \"".to_owned() + &"[".repeat(400) + "\" }}",
        "{{ . }}".repeat(1_001),
        "{{ $x := .V }}".repeat(129),
        format!("{{{{ \"{}\" }}}}", "a".repeat(600)),
        "a".repeat(limits::TEXT_BYTES + 1),
    ];
    let start = std::time::Instant::now();
    for text in &texts {
        let head: String = text.chars().take(60).collect();
        let result = render_with(text, &values);
        // Deep nesting may work; what matters is that it ends.
        let deep = ["range 10}", "((((", "(not"]
            .iter()
            .any(|word| head.contains(word));
        assert!(result.is_err() || deep, "{head}");
    }
    // A debug build on a busy machine: the bound is the limit of each, not a benchmark.
    let longest = limits::TIME * u32::try_from(texts.len()).unwrap() * 2;
    assert!(start.elapsed() < longest, "{:?}", start.elapsed());
}

#[test]
fn all_texts_together_write_no_more_than_a_secret_holds() {
    let value = vec![b'x'; 60_000];
    let text = "{{ range 9 }}{{ $.V }}{{ end }}".to_owned();
    let texts = |count: usize| {
        (0..count)
            .map(|index| (format!("k{index}"), text.clone()))
            .collect()
    };
    let render = |count| {
        let mut templates = Templates::parse(&texts(count)).unwrap();
        templates
            .render([("V", value.as_slice())])
            .map(|output| output.len())
    };
    assert_eq!(render(1), Ok(1));
    let error = render(2).unwrap_err();
    assert_eq!(
        (error.key.as_str(), error.cause),
        ("k1", TemplateErrorKind::Render)
    );
}

/// The engine's lexer does not come back from some of these: found by fuzzing.
#[test]
fn broken_texts_are_refused_at_once() {
    let texts = [
        "{{ if eq .A \"ref\\x \"c\" .A }}b{hd",
        "{{ if eq .A \"ref\\x\" }}b",
        "{{ \"\\x\" }}",
        "{{ \"\\",
        "{{ 'a",
        "{{ `a",
        "{{ \"a\nb\" }}",
        "{{",
        "{{-",
        "{{/*",
        "{{/* a */",
        "{{ .A }",
        "{{ .A b{hd",
        "{{ \" \\\" }}",
    ];
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for text in texts {
            let refused = render(text).is_err();
            let _ = done.send((text, refused));
        }
    });
    for text in texts {
        let answer = ended.recv_timeout(std::time::Duration::from_secs(5));
        assert_eq!(answer, Ok((text, true)));
    }
}

#[test]
fn bounds_on_entries_and_values_are_told() {
    let many = (0..=limits::ENTRIES).map(|index| (format!("k{index}"), String::new()));
    let error = Templates::parse(&many.collect()).err().unwrap();
    assert!(
        error.to_string().contains("more than 100 entries"),
        "{error}"
    );
    let large = vec![b'x'; limits::VALUES_BYTES + 1];
    assert_eq!(
        render_with("a", &[("V", &large)]),
        Err(TemplateErrorKind::ValuesTooLarge)
    );
    // Output beyond one allocation.
    let long = render_with("{{ .V }}{{ .V }}{{ .V }}", &[("V", &large[..60_000])]).unwrap();
    assert_eq!(long.len(), 180_000);
}

#[test]
fn a_text_is_rendered_once_for_each_word() {
    let texts = |text: &str| BTreeMap::from([("key".to_owned(), text.to_owned())]);
    let each = |text: &str, values: &[(&str, &str)], words: &[&str]| {
        let value = |(key, value): &(&str, &str)| {
            ((*key).to_owned(), Zeroizing::new(value.as_bytes().to_vec()))
        };
        let values = values.iter().map(value).collect();
        let rendered =
            Templates::parse(&texts(text))?.render_each(&values, words.iter().copied())?;
        let text = |(word, rendered): (String, Zeroizing<Vec<u8>>)| {
            (word, String::from_utf8(rendered.to_vec()).unwrap())
        };
        Ok::<Vec<_>, TemplateError>(rendered.into_iter().map(text).collect())
    };
    let pair = |word: &str, became: &str| (word.to_owned(), became.to_owned());
    assert_eq!(
        each("x-{{ .value | upper }}", &[], &["a", "b"]).unwrap(),
        [pair("a", "x-A"), pair("b", "x-B")]
    );
    // Go reads as many word characters as follow a dollar: `$1x` is a group of that name.
    let regexp = "{{ regexReplaceAll .source .value .target }}";
    for (source, target, became) in [
        ("^team-(.*)$", "$1", "db"),
        ("^team-(.*)$", "${1}x", "dbx"),
        ("^team-(.*)$", "$1x", ""),
        ("^team-(?P<rest>.*)$", "${rest}_$rest", "db_db"),
        ("-", "$$", "team$db"),
        ("none", "$1", "team-db"),
        ("", "_", "_t_e_a_m_-_d_b_"),
    ] {
        let values = [("source", source), ("target", target)];
        let rendered = each(regexp, &values, &["team-db"]).unwrap();
        assert_eq!(rendered, [pair("team-db", became)], "{source} {target}");
    }
    let error = each("{{ .other }}", &[], &["a"]).unwrap_err();
    assert_eq!(error.cause, TemplateErrorKind::Render);
    assert!(each("{{ .other }}", &[], &[]).unwrap().is_empty());
}

#[test]
fn expressions_that_go_does_not_know_are_none() {
    assert!(is_regex("^a(b|c)+$") && is_regex(r"\d{1,3}") && is_regex(""));
    for pattern in ["(", "(?=a)", "a{9999}", "[a&&b]", &"x".repeat(2_000)] {
        assert!(!is_regex(pattern), "{pattern}");
    }
}

/// What docs/templates.md promises to users of External Secrets.
#[test]
fn every_promised_function_exists_and_another_is_named() {
    let promised = "toString index b64enc b64dec toJson fromJson toYaml fromYaml printf print quote \
        squote upper lower title trim trimAll trimPrefix trimSuffix trunc replace contains hasPrefix \
        hasSuffix default empty coalesce ternary urlquery join split splitList first last list dict \
        get keys values has dig indent nindent int int64 float64 add sub mul div mod sha256sum \
        regexMatch regexReplaceAll filterPEM filterCertChain and or not len slice html js println eq \
        ne lt le gt ge";
    for name in promised.split_whitespace() {
        // Whatever its arguments are: an unknown name does not parse.
        let texts = BTreeMap::from([("k".to_owned(), format!("{{{{ {name} .V }}}}"))]);
        assert!(Templates::parse(&texts).is_ok(), "{name}");
    }
    for name in ["snakecase", "genPrivateKey", "now", "env", "pkcs12key"] {
        let texts = BTreeMap::from([("k".to_owned(), format!("{{{{ {name} .V }}}}"))]);
        let error = Templates::parse(&texts).err().unwrap().to_string();
        assert!(error.contains(name), "{error}");
    }
}
