//! `template.data`: what is rendered, who may read what, and templates that mean harm.

use std::time::{Duration, Instant};

use sealkit_tests::canary::unique_value;
use sealkit_tests::namespace::{condition, data, message, ready_condition, says, uid};
use sealkit_tests::plane::{Own, Shared};
use sealkit_tests::wait::{wait_until, wait_within};
use serde_json::{Value, json};

#[test]
fn files_are_made_of_several_values() {
    let plane = Shared::get();
    let shop = plane.namespace("template");
    let value = unique_value();
    let template = json!({
        "type": "example.com/config",
        "metadata": {"labels": {"app": "shop"}},
        "data": {
            "config.ini": "user={{ .user }}\npassword={{ .password | quote }}\n",
            "user": "a sealed value wins over this {{ .user }}",
        },
    });
    let draft = shop
        .draft("db")
        .value("user", "admin")
        .value("password", &value)
        .render();
    shop.apply(&draft.clone().template(template.clone()).manifest());
    shop.wait_ready("db");
    let file = format!("user=admin\npassword=\"{value}\"\n");
    let secret = shop.secret("db").unwrap();
    let all = data(&[
        ("user", "admin"),
        ("password", &value),
        ("config.ini", &file),
    ]);
    assert_eq!(secret["data"], all);
    assert_eq!(secret["type"], "example.com/config");
    assert_eq!(secret["metadata"]["labels"]["app"], "shop");

    let mut only = template;
    only["includeRaw"] = json!(false);
    shop.apply(&draft.template(only).manifest());
    shop.wait_ready("db");
    let user = "a sealed value wins over this admin";
    assert_eq!(
        shop.secret("db").unwrap()["data"],
        data(&[("config.ini", &file), ("user", user)])
    );
}

/// A template is an oracle for whoever may write the SealedSecret: `{{ if eq … }}` tells a bit
/// through Ready. So values that were not sealed for templates do not exist for them.
#[test]
fn values_sealed_without_render_do_not_exist_for_templates() {
    let plane = Shared::get();
    let shop = plane.namespace("template");
    let value = unique_value();
    shop.seal("db", &value);
    shop.wait_ready("db");
    let good = shop.wait_value("db", &value);
    let sealed = shop.sealed("db");
    let mut told = Vec::new();
    for oracle in [
        "{{ .password }}".to_owned(),
        format!("{{{{ if eq .password {value:?} }}}}{{{{ end }}}}"),
        "{{ if hasPrefix \"cAnArY\" .password }}{{ index . \"nothing\" }}{{ end }}".to_owned(),
        "{{ len .password }}".to_owned(),
        "{{ range . }}{{ index . 1000 }}{{ end }}{{ .none }}".to_owned(),
        "{{ index . \"password\" }}".to_owned(),
    ] {
        // As an attacker does who may write the object but has no key.
        let patch = json!({"spec": {"template": {"data": {"out": oracle}}}});
        shop.api.merge(&shop.sealed_path("db"), &patch).unwrap();
        let object = shop.wait_stalled("db", "TemplateFailed");
        told.push(message(&object).to_owned());
        assert_eq!(
            shop.secret("db").as_ref(),
            Some(&good),
            "the last good Secret stays"
        );
    }
    told.dedup();
    assert_eq!(told.len(), 1, "one answer to every question: {told:?}");
    assert!(
        told[0].contains("template.data[out]") && told[0].contains("--render"),
        "{told:?}"
    );
    let spec = json!({"spec": {"template": null}});
    shop.api.merge(&shop.sealed_path("db"), &spec).unwrap();
    shop.wait_ready("db");
    assert_eq!(uid(&sealed), uid(&shop.sealed("db")));
}

#[test]
fn one_object_may_hold_values_of_both_kinds() {
    let plane = Shared::get();
    let shop = plane.namespace("template");
    let (open, closed) = (unique_value(), unique_value());
    let readable = shop.draft("db").value("open", &open).render().manifest();
    let mut whole = shop.draft("db").value("closed", &closed).manifest();
    for field in ["envelopes", "encryptedData"] {
        let part = readable["spec"][field].as_object().unwrap().clone();
        whole["spec"][field].as_object_mut().unwrap().extend(part);
    }
    whole["spec"]["template"] = json!({"data": {"out": "<{{ .open }}>"}});
    shop.apply(&whole);
    shop.wait_ready("db");
    let out = format!("<{open}>");
    let all = data(&[("open", &open), ("closed", &closed), ("out", &out)]);
    assert_eq!(shop.secret("db").unwrap()["data"], all);
    whole["spec"]["template"] = json!({"data": {"out": "<{{ .closed }}>"}});
    shop.apply(&whole);
    shop.wait_stalled("db", "TemplateFailed");
    assert_eq!(shop.secret("db").unwrap()["data"], all);
}

#[test]
fn templates_that_do_not_parse_tell_the_place() {
    let plane = Shared::get();
    let shop = plane.namespace("template");
    let table = [
        ("ok\n{{ if }}", "line 2"),
        ("{{ env \"PATH\" }}", "line 1"),
        ("{{ template \"x\" }}", "not available"),
    ];
    for (text, place) in table {
        let draft = shop.draft("db").value("password", unique_value()).render();
        shop.apply(&draft.template(json!({"data": {"out": text}})).manifest());
        let object = shop.wait_stalled("db", "TemplateFailed");
        assert!(message(&object).contains(place), "{}", message(&object));
        assert!(shop.secret("db").is_none());
    }
}

/// Bounded time and memory, and nobody else waits for it.
#[test]
fn hostile_templates_cost_little_and_delay_nobody() {
    let plane = Own::take();
    let controller = plane.leading_controller();
    let (evil, shop) = (plane.namespace("evil"), plane.namespace("shop"));
    shop.seal("before", &unique_value());
    shop.wait_ready("before");
    let before = controller.peak_memory();
    let big = "x".repeat(60_000);
    let texts = [
        "{{ printf \"%2000000000d\" 1 }}".to_owned(),
        "{{ $s := .V }}{{ range 40 }}{{ $s = print $s $s }}{{ end }}".to_owned(),
        "{{ $l := list 1 }}{{ range 5000 }}{{ $l = list $l $l }}{{ end }}".to_owned(),
        "{{ range 9000 }}{{ $x := replace \"x\" \"y\" $.V }}{{ end }}".to_owned(),
        "{{ range 9000 }}{{ range 9000 }}{{ end }}{{ end }}".to_owned(),
        "{{ regexReplaceAll \"x\" .V .V }}".to_owned(),
        "{{ indent 1000000000 .V }}".to_owned(),
        "{{ regexReplaceAll \".*[^x]|x\" (trunc 32000 .V) \"\" }}".to_owned(),
        format!("{{{{ html {} }}}}", ".V ".repeat(160)),
        format!("{}x{}", "{{range 10}}".repeat(60), "{{end}}".repeat(60)),
        format!("{{{{ {}1{} }}}}", "(".repeat(250), ")".repeat(250)),
    ];
    let hostile = 200;
    for index in 0..hostile {
        let text = &texts[index % texts.len()];
        let draft = evil
            .draft(&format!("evil-{index}"))
            .value("V", &big)
            .render();
        evil.apply(&draft.template(json!({"data": {"out": text}})).manifest());
    }
    let value = unique_value();
    let start = Instant::now();
    shop.seal("good", &value);
    let rendered = shop.draft("rendered").value("V", "v").render();
    let template = json!({"data": {"out": "{{ .V }}"}});
    shop.apply(&rendered.template(template).manifest());
    for name in ["good", "rendered"] {
        wait_within(
            Duration::from_secs(2),
            "a good object amid hostile ones",
            || says(&shop.sealed(name), "True", "Opened").then_some(()),
        );
    }
    println!(
        "a good object amid {hostile} hostile ones: {:?}",
        start.elapsed()
    );
    shop.wait_value("good", &value);
    wait_within(Duration::from_secs(180), "all are looked at", || {
        let objects = evil.api.list(&evil.sealed_secrets_path());
        let done = |object: &Value| condition(object, "Ready").is_some();
        objects.iter().all(done).then_some(())
    });
    for object in evil.api.list(&evil.sealed_secrets_path()) {
        let deep = object["spec"]["template"]["data"]["out"]
            .as_str()
            .unwrap()
            .starts_with("{{ (((");
        let reason = &ready_condition(&object)["reason"];
        assert!(deep || reason == "TemplateFailed", "{object:#}");
    }
    let grown = controller.peak_memory().saturating_sub(before) / 1024;
    assert!(grown < 300, "{grown} MiB more");
    wait_until("it lives", || controller.is_leading());
}

/// Whoever waits for a place to render holds up nobody who does not.
#[test]
fn slow_templates_of_two_namespaces_delay_no_object_without_one() {
    let plane = Own::take();
    let _controller = plane.leading_controller();
    let shop = plane.namespace("shop");
    let slow =
        "{{ range 900 }}{{ $x := regexMatch \"(?:x?){60}(?:.*){5}z\" (trunc 32000 $.V) }}{{ end }}";
    let big = "x".repeat(60_000);
    for label in ["evil", "bad"] {
        let evil = plane.namespace(label);
        for number in 0..100 {
            let draft = evil
                .draft(&format!("slow-{number}"))
                .value("V", &big)
                .render();
            evil.apply(&draft.template(json!({"data": {"out": slow}})).manifest());
        }
    }
    let start = Instant::now();
    for number in 0..40 {
        shop.seal(&format!("good-{number}"), &unique_value());
    }
    let opened = |number: u32| says(&shop.sealed(&format!("good-{number}")), "True", "Opened");
    wait_within(
        Duration::from_secs(5),
        "forty objects without a template",
        || (0..40).all(opened).then_some(()),
    );
    println!("forty objects amid slow templates: {:?}", start.elapsed());
}
