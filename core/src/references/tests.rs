use serde_json::json;

use super::*;

fn graph(text: &str) -> Graph {
    let mut graph = Graph::default();
    let read = |path: &str| (path == "a.env").then(|| b"FROM_FILE=1\n".to_vec().into());
    graph.add(find(text, 0, &read));
    graph
}

fn missing(text: &str) -> Vec<String> {
    graph(text)
        .missing()
        .iter()
        .map(|missing| format!("{}: {}", missing.needed.place.line, missing.message()))
        .collect()
}

const POD: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: app, namespace: shop}\nspec:\n  template:\n    spec:\n";

fn pod(spec: &str) -> String {
    let mut text = POD.to_owned();
    for line in spec.lines() {
        text += &format!("      {line}\n");
    }
    text
}

#[test]
fn every_kind_of_reference_is_seen() {
    let text = pod(
        "containers:\n- env: [{name: P, valueFrom: {secretKeyRef: {name: a, key: k}}}]\n  envFrom: [{secretRef: {name: b}}]\n\
         initContainers:\n- env: [{name: Q, valueFrom: {secretKeyRef: {name: c, key: k}}}]\n\
         volumes:\n- {name: v, secret: {secretName: d, items: [{key: x, path: x}]}}\n- {name: w, projected: {sources: [{secret: {name: e}}]}}\n\
         imagePullSecrets: [{name: f}]\n",
    ) + "---\nkind: ServiceAccount\nmetadata: {name: sa}\nimagePullSecrets: [{name: g}]\nsecrets: [{name: h}]\n---\n\
         kind: Ingress\nmetadata: {name: i}\nspec: {tls: [{secretName: i}]}\n---\n\
         kind: Gateway\nmetadata: {name: j}\nspec: {listeners: [{tls: {certificateRefs: [{name: j}, {kind: Other, name: no}]}}]}\n---\n\
         kind: CronJob\nmetadata: {name: c}\nspec: {jobTemplate: {spec: {template: {spec: {containers: [{envFrom: [{secretRef: {name: k}}]}]}}}}}\n";
    let names: Vec<String> = graph(&text)
        .uses
        .iter()
        .map(|used| {
            format!(
                "{}:{}:{}",
                used.name,
                used.key.as_deref().unwrap_or("-"),
                used.how
            )
        })
        .collect();
    assert_eq!(
        names,
        [
            "c:k:env Q",
            "a:k:env P",
            "b:-:envFrom",
            "d:x:volume v",
            "e:-:volume w",
            "f:.dockerconfigjson:imagePullSecrets",
            "g:.dockerconfigjson:imagePullSecrets",
            "h:-:secrets",
            "i:tls.crt:tls",
            "i:tls.key:tls",
            "j:tls.crt:tls",
            "j:tls.key:tls",
            "k:-:envFrom",
        ]
    );
    assert_eq!(graph(&text).missing().len(), names.len());
}

#[test]
fn every_provider_is_known_with_its_keys() {
    let needs = |name: &str, key: &str| {
        pod(&format!(
            "containers: [{{env: [{{name: P, valueFrom: {{secretKeyRef: {{name: {name}, key: {key}}}}}}}]}}]\n"
        ))
    };
    for (provider, name, good, bad) in [
        (
            "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {k: eA==}\nstringData: {l: x}\n",
            "a",
            "l",
            "m",
        ),
        (
            "apiVersion: sealkit.dev/v1beta1\nkind: SealedSecret\nmetadata: {name: a, namespace: shop}\nspec: {encryptedData: {k: sk1}, template: {data: {t: x}}}\n",
            "a",
            "t",
            "m",
        ),
        (
            "apiVersion: sealkit.dev/v1beta1\nkind: SealedSecret\nmetadata: {name: a}\nspec: {encryptedData: {k: sk1}, template: {data: {t: x}, includeRaw: false}}\n",
            "a",
            "t",
            "k",
        ),
        (
            "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: a}\nspec: {encryptedData: {k: Ag}}\n",
            "a",
            "k",
            "m",
        ),
        (
            "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: es}\nspec: {target: {name: a}, data: [{secretKey: k}]}\n",
            "a",
            "k",
            "m",
        ),
        (
            "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: a}\nspec: {target: {template: {data: {url: x}}}, data: [{secretKey: k}]}\n",
            "a",
            "url",
            "k",
        ),
        (
            "secretGenerator: [{name: a, literals: [k=v], files: [x/f, g=y], envs: [a.env]}]\n",
            "a",
            "FROM_FILE",
            "m",
        ),
    ] {
        let text = |key: &str| format!("{provider}---\n{}", needs(name, key));
        assert_eq!(missing(&text(good)), [""; 0], "{provider}");
        assert_eq!(missing(&text(bad)).len(), 1, "{provider}");
        assert_eq!(missing(&needs(name, good)).len(), 1);
    }
    for open in [
        "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: a}\nspec: {dataFrom: [{extract: {key: x}}]}\n",
        "apiVersion: secrets.hashicorp.com/v1beta1\nkind: VaultStaticSecret\nmetadata: {name: v}\nspec: {destination: {name: a}}\n",
        "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: c}\nspec: {secretName: a}\n",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {{ toYaml .x }}\n",
        "secretGenerator: [{name: a, envs: [gone.env]}]\n",
        "kind: Database\nspec: {writeConnectionSecretToRef: {name: a, namespace: shop}}\n",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: '{{ .Release.Name }}a'}\nstringData: {k: v}\n",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: prod-a}\nstringData: {k: v}\n---\nnamePrefix: prod-\n",
    ] {
        assert_eq!(
            missing(&format!("{open}---\n{}", needs("a", "k"))),
            [""; 0],
            "{open}"
        );
    }
}

#[test]
fn what_was_meant_is_said_and_what_is_hidden_is_not_guessed() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: database, namespace: shop}\nstringData: {password: x}\n---\n";
    let spec = |name: &str, key: &str, more: &str| {
        pod(&format!(
            "containers:\n- env:\n  - name: P\n    valueFrom:\n      secretKeyRef: {{name: {name}, key: {key}{more}}}\n"
        ))
    };
    assert_eq!(
        missing(&format!("{secret}{}", spec("databsae", "password", ""))),
        [
            "16: Deployment app (env P) needs Secret databsae, which nothing here makes (did you mean database?)"
        ]
    );
    assert_eq!(
        missing(&format!("{secret}{}", spec("database", "pasword", ""))),
        [
            "16: Deployment app (env P) needs key pasword of Secret database, which does not have it (did you mean password?)"
        ]
    );
    assert_eq!(missing(&spec("x", "k", ", optional: true")), [""; 0]);
    assert_eq!(missing(&spec("'{{ .Values.secret }}'", "k", "")), [""; 0]);
    assert_eq!(missing(&spec("'${NAME}'", "k", "")), [""; 0]);
    let other = secret.replace("namespace: shop", "namespace: other");
    assert_eq!(
        missing(&format!("{other}{}", spec("database", "password", ""))).len(),
        1
    );
    for external in ["x", "shop/x", "*/x", "shop/*"] {
        let mut graph = graph(&spec("x", "k", ""));
        graph.add_external(external);
        assert_eq!(graph.missing(), [], "{external}");
    }
    let mut graph = graph(&spec("x", "k", ""));
    graph.add_external("other/x");
    assert_eq!(graph.missing().len(), 1);
}

/// A small generator of numbers: the same ones in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

/// An object of a row of the table whose reference names this Secret, and the line of the name.
fn of_row(row: &table::Row, number: usize, secret: &str) -> (String, usize) {
    let (group, kind) = row.example();
    let mut text = format!(
        "apiVersion: {group}/v1\nkind: {kind}\nmetadata: {{name: o{number}, namespace: shop}}\n"
    );
    let mut indent = String::new();
    for part in row.path.split('.') {
        let (field, is_list) = part
            .strip_suffix("[]")
            .map_or((part, false), |it| (it, true));
        let field = if field == "*" { "any" } else { field };
        text += &format!("{indent}{field}:\n");
        indent = indent.replace('-', " ") + if is_list { "  - " } else { "  " };
        if is_list {
            text += &format!("{indent}x: y\n");
            indent = indent.replace('-', " ");
        }
    }
    // Flux asks for the kind, since it may be a ConfigMap.
    if group.ends_with("toolkit.fluxcd.io") {
        text += &format!("{indent}kind: Secret\n");
    }
    text += &format!("{indent}{}: {secret}\n", row.name);
    let line = text.lines().count();
    if let table::Key::Field(field, _) = row.key {
        text += &format!("{indent}{field}: k\n");
    }
    (text, line)
}

/// A pod that names this Secret in one of the ways of Kubernetes, and the line of the name.
fn of_pod(way: usize, number: usize, secret: &str) -> (String, usize) {
    let start = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: o{number}, namespace: shop}}\nspec:\n  template:\n    spec:\n"
    );
    let account = format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: o{number}, namespace: shop}}\n"
    );
    let plain = |kind: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: o{number}, namespace: shop}}\nspec:\n"
        )
    };
    let container = "      containers:\n      - name: c\n";
    let text = match way {
        0 => format!(
            "{start}{container}        env:\n        - name: P\n          valueFrom: {{secretKeyRef: {{name: {secret}, key: k}}}}\n"
        ),
        1 => {
            format!("{start}{container}        envFrom:\n        - secretRef: {{name: {secret}}}\n")
        }
        2 => format!(
            "{start}{container}      volumes:\n      - {{name: v, secret: {{secretName: {secret}}}}}\n"
        ),
        3 => format!(
            "{start}{container}      volumes:\n      - {{name: v, projected: {{sources: [{{secret: {{name: {secret}}}}}]}}}}\n"
        ),
        4 => format!("{account}secrets:\n- name: {secret}\n"),
        5 => format!(
            "{}  credentials:\n    containers: [{{envFrom: [{{secretRef: {{name: {secret}}}}}]}}]\n",
            plain("Other")
        ),
        _ => format!(
            "{}  containers:\n  - envFrom: [{{secretRef: {{name: {secret}}}}}]\n",
            plain("Pod")
        ),
    };
    let line = text.lines().position(|line| line.contains(secret)).unwrap() + 1;
    (text, line)
}

/// 1,000 names that nothing makes, of every kind of reference, among as many good ones.
#[test]
fn each_dangling_reference_is_found_at_its_line_and_nothing_else() {
    const WAYS: usize = 7;
    let rows: Vec<&table::Row> = table::ROWS.iter().filter(|row| !row.is_outside).collect();
    let mut dice = Dice(0x5ea1_c0de);
    let (mut graph, mut planted) = (Graph::default(), Vec::new());
    for number in 0..2_000 {
        let is_dangling = number % 2 == 0;
        // Each kind several times, and then whatever comes.
        let kind = number / 2;
        let kind = if kind < 5 * (WAYS + rows.len()) {
            kind
        } else {
            dice.roll(1_000)
        };
        let kind = kind % (WAYS + rows.len());
        let secret = if is_dangling {
            format!("gone-{number}-{}", dice.roll(1_000_000))
        } else {
            format!("made-{}", dice.roll(50))
        };
        let (object, line) = match kind.checked_sub(WAYS) {
            None => of_pod(kind, number, &secret),
            Some(row) => of_row(rows[row], number, &secret),
        };
        let filler: String = (0..dice.roll(9)).map(|_| "# words\n").collect();
        let before = filler.lines().count();
        graph.add(find(&format!("{filler}{object}"), number, &|_| None));
        if is_dangling {
            planted.push((number, before + line, secret));
        }
    }
    for number in 0..50 {
        let secret = format!(
            "apiVersion: sealkit.dev/v1beta1\nkind: SealedSecret\nmetadata: {{name: made-{number}, namespace: shop}}\nspec: {{encryptedData: {{k: sk1}}}}\n"
        );
        graph.add(find(&secret, 2_000 + number, &|_| None));
    }
    let missing = graph.missing();
    let found: Vec<_> = missing
        .iter()
        .map(|it| (it.needed.file, it.needed.place.line, it.needed.name.clone()))
        .collect();
    assert_eq!(planted.len(), 1_000);
    assert_eq!(found, planted);
}

#[test]
fn what_is_made_outside_of_git_is_used_and_not_missing() {
    let text = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: apps, namespace: flux-system}\n\
        spec: {decryption: {provider: sops, secretRef: {name: sops-age}}, postBuild: {substituteFrom: [{kind: ConfigMap, name: c}, {kind: Secret, name: s, optional: true}]}}\n---\n\
        apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {name: flux-system, namespace: flux-system}\nspec: {secretRef: {name: flux-system}}\n---\n\
        apiVersion: sealkit.dev/v1beta1\nkind: SealedSecret\nmetadata: {name: repo, namespace: argocd}\n\
        spec: {encryptedData: {k: sk1}, template: {metadata: {labels: {argocd.argoproj.io/secret-type: repository}}}}\n";
    let graph = graph(text);
    let used: Vec<String> = graph
        .uses
        .iter()
        .map(|used| {
            format!(
                "{} {} uses {}",
                used.object.kind, used.object.name, used.name
            )
        })
        .collect();
    assert_eq!(
        used,
        [
            "Kustomization apps uses sops-age",
            "Kustomization apps uses s",
            "GitRepository flux-system uses flux-system",
            "ArgoCD repository uses repo",
        ]
    );
    assert_eq!(graph.missing(), []);
}

#[test]
fn pods_read_secrets_in_variables_and_volumes() {
    let reference = |name: &str| json!({"name": name});
    let template = json!({"metadata": {"labels": {"<<": "x"}}, "spec": {
        "imagePullSecrets": [{"name": "registry"}],
        "initContainers": [{"envFrom": [{"secretRef": reference("from")}]}],
        "containers": [{"args": ["{{", "a}}", "\u{7f}"], "env": [
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "variable", "key": "a"}}},
            {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "map", "key": "a"}}}]}],
        "volumes": [
            {"name": "v", "secret": {"secretName": "volume", "optional": true}},
            {"name": "p", "projected": {"sources": [{"secret": reference("projected")}]}}],
    }});
    let names = ["from", "projected", "variable", "volume"].map(str::to_owned);
    assert_eq!(read_by_pods(&template), names.into());
    assert!(read_by_pods(&json!(null)).is_empty());
}

#[test]
fn a_value_reaches_its_key_templates_and_whole_secrets() {
    let env = |name: &str, key: &str| {
        format!("{{name: {name}, valueFrom: {{secretKeyRef: {{name: a, key: {key}}}}}}}")
    };
    let text = pod(&format!(
        "containers:\n- env: [{}, {}, {}]\n  envFrom: [{{secretRef: {{name: a}}}}, {{secretRef: {{name: b}}}}]\n",
        env("ITSELF", "k"),
        env("OTHER", "other"),
        env("TEMPLATE", "t")
    )) + "---\napiVersion: sealkit.dev/v1beta1\nkind: SealedSecret\nmetadata: {name: a, namespace: shop}\n\
         spec: {encryptedData: {k: sk1, other: sk1}, template: {data: {t: x}}}\n";
    let graph = graph(&text);
    let users = |value: &str| -> Vec<String> {
        let users = graph.users(&graph.providers[0], value);
        users.iter().map(|used| used.how.clone()).collect()
    };
    assert_eq!(users("k"), ["env ITSELF", "env TEMPLATE", "envFrom"]);
    assert_eq!(users("other"), ["env OTHER", "env TEMPLATE", "envFrom"]);
}
