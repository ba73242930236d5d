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
