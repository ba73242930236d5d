use super::*;

fn nothing(_: &str) -> Option<Zeroizing<Vec<u8>>> {
    None
}

/// Rule, line, column and keys of each finding.
fn found(text: &str) -> Vec<String> {
    found_as(text, FileKind::Manifest)
}

fn found_as(text: &str, kind: FileKind) -> Vec<String> {
    found_with(text, kind, &nothing)
}

fn found_with(text: &str, kind: FileKind, read: ReadFile<'_>) -> Vec<String> {
    let findings = lint(text.as_bytes(), kind, read).findings;
    let findings = findings.iter().map(|finding| {
        assert!(!finding.message.contains("hunter2"), "{finding:?}");
        let Place { line, column } = finding.place;
        let text = format!(
            "{}:{line}:{column} {}",
            finding.rule.name(),
            finding.keys.join(",")
        );
        text.trim_end().to_owned()
    });
    findings.collect()
}

#[test]
fn secrets_are_found_in_every_form() {
    for (text, expected) in [
        (
            "apiVersion: v1\nkind: Secret\nstringData:\n  a: hunter2\n",
            "PlaintextSecret:4:3 a",
        ),
        (
            "apiVersion: v1\nkind: Secret\ndata:\n  a: aHVudGVyMg==\n  b: aHVudGVyMw==\n",
            "PlaintextSecret:4:3 a,b",
        ),
        (
            "{\"apiVersion\": \"v1\", \"kind\": \"Secret\", \"stringData\": {\"a\": \"hunter2\"}}",
            "PlaintextSecret:1:55 a",
        ),
        (
            "a: 1\n---\n- x\n---\nkind: Secret\napiVersion: v1\nstringData: {a: hunter2}\n",
            "PlaintextSecret:7:14 a",
        ),
        (
            "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n  stringData: {a: hunter2}\n",
            "PlaintextSecret:6:16 a",
        ),
        (
            "apiVersion: v1\nkind: SecretList\nitems:\n- stringData: {a: hunter2}\n",
            "PlaintextSecret:4:16 a",
        ),
        (
            "stringData:\n  a: >-\n    hunter2\n    more\nkind: 'Secret'\n",
            "PlaintextSecret:2:3 a",
        ),
        (
            "x: &v hunter2\nkind: Secret\nstringData: {a: *v}\n",
            "PlaintextSecret:3:14 a",
        ),
        (
            "kind: ConfigMap\ndata:\n  m.yaml: |\n    kind: Secret\n    stringData:\n      a: hunter2\n",
            "PlaintextSecret:6:7 a",
        ),
        (
            "kind: Object\nspec:\n  manifest:\n    apiVersion: v1\n    kind: Secret\n    stringData: {a: hunter2}\n",
            "PlaintextSecret:6:18 a",
        ),
        (
            "kind: Secret\nstringData:\n  a: [hunter2]\n",
            "PlaintextSecret:3:3 a",
        ),
        (
            "kind: Secret\r\nstringData:\r\n  a: hunter2\r\n",
            "PlaintextSecret:3:3 a",
        ),
        (
            "\u{feff}kind: Secret\nstringData: {a: hunter2}\n",
            "PlaintextSecret:2:14 a",
        ),
        (
            "kind: Secret\nstringData: {a: hunter2}\n---\nb: [\n",
            "PlaintextSecret:2:14 a",
        ),
        ("kind: Secret\nstringData: {a: hunter2\n", "Unreadable:2:13"),
    ] {
        assert_eq!(found(text), [expected], "{text}");
    }
    let utf16: Vec<u8> = "\u{feff}kind: Secret\nstringData: {a: hunter2}\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_eq!(lint(&utf16, FileKind::Manifest, &nothing).findings.len(), 1);
}

#[test]
fn what_is_no_plain_secret_is_quiet() {
    for text in [
        "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\ntype: kubernetes.io/service-account-token\n",
        "apiVersion: v1\nkind: Secret\ndata: {}\nstringData:\n",
        "apiVersion: example.com/v1\nkind: Secret\nstringData: {a: hunter2}\n",
        "apiVersion: sealkit.dev/v1beta1\nkind: SealedSecret\nspec: {encryptedData: {a: sk1.x}}\n",
        "kind: HelmRelease\nspec: {valuesFrom: [{kind: Secret, name: x}]}\n",
        "apiVersion: v1\nkind: Secret\nstringData: {a: 'ENC[AES256_GCM,data:x,type:str]'}\nsops: {mac: x}\n",
        "apiVersion: v1\nkind: Secret\nstringData: {a: '${PASSWORD}', b: '{{ .Values.b }}'}\n",
        "# kind: Secret\na: [\n",
        "kind: Secret\ndata:\n{{ toYaml .x }}\n",
        "kind: Secret\ndata: {{ toYaml .x }}\n",
    ] {
        assert_eq!(found(text), [""; 0], "{text}");
    }
    assert_eq!(
        found_as("kind: Secret\nstringData: {a: hunter2}\n", FileKind::Text),
        [""; 0]
    );
    assert_eq!(
        lint(
            b"kind: Secret\0\nstringData: {a: hunter2}\n",
            FileKind::Manifest,
            &nothing
        )
        .findings,
        []
    );
}

#[test]
fn templates_are_tolerated_and_literals_in_them_found() {
    let text = "{{- if .Values.on }}\napiVersion: v1\nkind: Secret\nmetadata:\n  name: {{ include \"x\" . }}\ndata:\n  \
        {{- range $k, $v := .Values.all }}\n  {{ $k }}: {{ $v | b64enc | quote }}\n  {{- end }}\n  {{- if .x }}\n  a: {{ .x }}\n  {{- else }}\n  \
        a: aHVudGVyMg==\n  {{- end }}\n  empty:\n    {{ .Files.Get \"x\" | indent 4 }}\nstringData:\n  config: |\n    {{- with .y }}\n    p: {{ .p }}\n    {{- end }}\n    q: hunter2\n{{- end }}\n";
    assert_eq!(
        found_as(text, FileKind::ChartTemplate),
        ["PlaintextSecret:13:3 a"]
    );
    assert_eq!(found(text), ["PlaintextSecret:13:3 a"]);
}

#[test]
fn comments_allow_documents_and_keys() {
    let secret = "apiVersion: v1\nkind: Secret\nstringData:\n  a: hunter2\n  b: hunter2\n";
    assert_eq!(
        found(&format!("# seal:allow for a test\n{secret}---\n{secret}")),
        ["PlaintextSecret:11:3 a,b"]
    );
    let key = secret.replace("  a:", "  # seal:allow public\n  a:");
    assert_eq!(found(&key), ["PlaintextSecret:6:3 b"]);
    let without = secret.replace("  a:", "  # seal:allow\n  a:");
    assert_eq!(
        found(&without),
        ["AllowWithoutReason:4:3", "PlaintextSecret:5:3 a,b"]
    );
}

#[test]
fn generators_and_patches_are_read_with_their_files() {
    let read = |path: &str| -> Option<Zeroizing<Vec<u8>>> {
        let text = match path {
            "db.env" => "# comment\nUSER=admin\nFROM_ENV\nEMPTY=\n",
            "sops.env" => "USER=ENC[AES256_GCM,data:x]\nsops_version=3\n",
            "keys/tls.key" => "one\ntwo\n",
            "token" => "hunter2\n",
            "ops.yaml" => "- op: add\n  path: /data/a\n  value: aHVudGVyMg==\n",
            _ => return None,
        };
        Some(text.as_bytes().to_vec().into())
    };
    let text = "secretGenerator:\n- name: db\n  literals:\n  - password=hunter2\n  - 'empty='\n- name: env\n  envs: [db.env, sops.env, gone.env]\n\
        - name: files\n  files:\n  - keys/tls.key\n  - t=token\n- name: ok\n  envs: [sops.env]\n  # seal:allow public\n- name: allowed\n  literals: [a=hunter2]\n\
        patches:\n- target: {kind: Secret}\n  patch: |-\n    - op: replace\n      path: /stringData/p~1q\n      value: hunter2\n- target: {kind: Secret}\n  path: ops.yaml\n\
        - target: {kind: ConfigMap}\n  patch: |-\n    - {op: add, path: /data/a, value: x}\n- patch: |-\n    kind: Secret\n    stringData: {c: hunter2}\n";
    assert_eq!(
        found_with(text, FileKind::Manifest, &read),
        [
            "PlaintextSecret:4:5 password",
            "EmptyValue:5:5 empty",
            "PlaintextSecret:7:10 USER",
            "EmptyValue:7:10 EMPTY",
            "PlaintextSecret:10:5 tls.key,t",
            "TrailingNewline:11:5 t",
            "PlaintextSecret:22:14 p/q",
            "PlaintextSecret:24:9 a",
            "PlaintextSecret:30:18 c",
        ]
    );
    assert_eq!(
        found("- op: add\n  path: /stringData/a\n  value: hunter2\n"),
        ["PlaintextSecret:3:10 a"]
    );
}

#[test]
fn the_identity_changes_with_the_value_and_not_with_the_place() {
    let identity =
        |text: &str| lint(text.as_bytes(), FileKind::Manifest, &nothing).findings[0].identity;
    let secret = "kind: Secret\nstringData: {a: hunter2}\n";
    assert_eq!(identity(secret), identity(&format!("# moved\n\n{secret}")));
    assert_ne!(identity(secret), identity(&secret.replace('2', "3")));
}

/// The order in which files are read in a loop must not matter, and odd text must not panic.
#[test]
fn odd_text_is_survived() {
    for text in [
        "",
        "{{",
        "}}",
        "secretGenerator: x",
        "secretGenerator: [x, {literals: x}]",
        "patches: [{target: {kind: Secret}, patch: [1]}]",
        "kind: Secret\ndata: x",
        "kind: Secret\ndata: [1]",
        "kind: Secret\nmetadata: 1",
        "[Secret]",
        "kind: {Secret: Secret}",
        "? Secret\n: x",
        "kind: Secret\nstringData: {? [a] : b}",
    ] {
        for kind in [FileKind::Manifest, FileKind::ChartTemplate, FileKind::Text] {
            let _ = found_as(text, kind);
        }
    }
}

/// What somebody sends to be looked at must not keep a pipeline busy.
#[test]
fn hostile_text_ends_quickly() {
    let start = std::time::Instant::now();
    for text in [
        "# seal:allow x\n".repeat(60_000),
        "# seal:allow\n\n".repeat(60_000),
        "-----BEGIN PRIVATE KEY-----\n".repeat(40_000),
        "AGE-SECRET-KEY-1".repeat(60_000),
        "{{".repeat(300_000),
        "kind: Secret\n---\n".repeat(30_000),
        format!(
            "kind: Secret\nx: &x {{{}}}\ndata: {{<<: *x}}\n",
            (0..50_000)
                .map(|key| format!("k{key}: a,"))
                .collect::<Vec<_>>()
                .concat()
        ),
        format!("kind: Secret\nstringData: {{a: {}}}\n", "[".repeat(100_000)),
        format!("a: |\n  kind: Secret data\n{}", "  x: |\n".repeat(50_000)),
    ] {
        for kind in [FileKind::Manifest, FileKind::ChartTemplate] {
            let _ = lint(text.as_bytes(), kind, &nothing);
        }
    }
    let taken = start.elapsed();
    assert!(taken.as_secs() < 60, "{taken:?}");
}
