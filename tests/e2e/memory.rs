//! The controller lives within the memory of `deploy/base`, and serves others meanwhile, whatever a
//! tenant writes.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use sealkit_rig::OpenBao;
use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::{Controller, Flags};
use sealkit_tests::external::{Team, property};
use sealkit_tests::namespace::{Namespace, condition, ready_condition, says};
use sealkit_tests::plane::Own;
use sealkit_tests::wait::{wait_for, wait_until, wait_within};
use serde_json::{Value, json};

/// How soon an object of another namespace opens, whatever else is under way. On a quiet machine it
/// takes a tenth of a second; here, other tests run beside.
const SOON: Duration = Duration::from_secs(3);

/// Another namespace's object opens soon.
fn is_served(shop: &Namespace, name: &str) {
    let start = Instant::now();
    shop.seal(name, &unique_value());
    let opened = || says(&shop.sealed(name), "True", "Opened").then_some(());
    wait_within(SOON, "another namespace's object", opened);
    println!("{name}: {:?}", start.elapsed());
}

/// A gigabyte from one call, and 25 seconds and 1.6 GB for one pattern: both ended the controller,
/// again at each start.
#[test]
fn templates_that_explode_end_no_controller() {
    const REPLACED: &str = r#"{{ $r := "$0" }}{{ range 15 }}{{ $r = print $r $r }}{{ end }}{{ $t := "x" }}{{ range 15 }}{{ $t = print $t $t }}{{ end }}{{ regexReplaceAll "(?s).*" $t $r }}"#;
    const COMPILED: &str = r#"{{ $p := "\\pL" }}{{ range 15 }}{{ $p = print $p $p }}{{ end }}{{ regexMatch (print "(?i)" $p) "a" }}"#;
    let plane = Own::take();
    let mut controller = plane.leading_controller();
    let (evil, shop) = (plane.namespace("evil"), plane.namespace("shop"));
    for number in 0..20 {
        let text = [REPLACED, COMPILED][number % 2];
        let draft = evil.draft(&format!("evil-{number}")).value("unread", "v");
        evil.apply(&draft.template(json!({"data": {"out": text}})).manifest());
        if number % 5 == 0 {
            is_served(&shop, &format!("good-{number}"));
        }
    }
    wait_for("all are looked at", || {
        let objects = evil.api.list(&evil.sealed_secrets_path());
        let done = |object: &Value| condition(object, "Ready").is_some();
        objects.iter().all(done).then_some(())
    });
    for object in evil.api.list(&evil.sealed_secrets_path()) {
        assert_eq!(ready_condition(&object)["reason"], "TemplateFailed");
    }
    controller.assert_lives_within_its_memory();
}

/// Secrets with our label and a megabyte of metadata each, which any tenant may make.
#[test]
fn labelled_secrets_of_strangers_fit_into_memory() {
    let plane = Own::take();
    let mut controller = plane.leading_controller();
    let (evil, shop) = (plane.namespace("evil"), plane.namespace("shop"));
    for number in 0..300 {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {
                "name": format!("large-{number}"), "labels": {"sealkit.dev/managed": "true"},
                "ownerReferences": [{
                    "apiVersion": "example.com/v1", "kind": "X", "name": "n".repeat(1_000_000),
                    "uid": format!("00000000-0000-0000-0000-{number:012}"),
                }],
            },
        });
        evil.api.create(&evil.secrets_path(), &secret).unwrap();
        if number % 100 == 0 {
            is_served(&shop, &format!("good-{number}"));
        }
    }
    controller.assert_lives_within_its_memory();
    // All of them at once.
    drop(controller);
    let mut controller = plane.leading_controller();
    is_served(&shop, "good-again");
    controller.assert_lives_within_its_memory();
}

/// An object that the controller had in hand when it died is not opened first again.
#[test]
fn what_was_in_hand_at_death_waits_until_others_are_served() {
    let plane = Own::take();
    let state = tempfile::tempdir().unwrap();
    let flags = Flags {
        more: vec![format!("--state-dir={}", state.path().display())],
        ..Flags::default()
    };
    let mut controller = plane.controller(&flags);
    controller.wait_leading();
    let (evil, shop) = (plane.namespace("evil"), plane.namespace("shop"));
    let in_hand = |controller: &mut Controller| {
        let file = state.path().join("in-hand");
        for number in 0..200 {
            evil.seal("suspect", &format!("{number}"));
            let is_taken = || {
                let text = fs::read_to_string(&file).unwrap();
                text.starts_with("now 0 SealedSecret").then_some(())
            };
            let start = Instant::now();
            while is_taken().is_none() && start.elapsed() < Duration::from_millis(200) {}
            controller.process.kill().unwrap();
            if is_taken().is_some() {
                return;
            }
            *controller = plane.controller(&flags);
            controller.wait_leading();
        }
        panic!("never in hand");
    };
    in_hand(&mut controller);
    let before = evil.sealed("suspect")["status"].clone();
    let mut controller = plane.controller(&flags);
    let start = Instant::now();
    controller.wait_leading();
    is_served(&shop, "good");
    assert_eq!(evil.sealed("suspect")["status"], before, "it waits");
    evil.wait_ready("suspect");
    assert!(start.elapsed() >= Duration::from_secs(9));
    // Other objects may have been in hand at that moment too.
    let file = state.path().join("in-hand");
    wait_until("nothing is suspected any more", || {
        fs::read_to_string(&file).unwrap().starts_with("end\n")
    });
}

/// A server that a tenant runs as his Vault: the last part of the path says what it answers.
fn hostile_vault() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer_as_vault(stream));
        }
    });
    format!("http://{address}")
}

/// The names in a folder: as many as a search may read, or as make less than a search may give.
fn names_in(folder: &str) -> String {
    let (kind, count) = if folder.contains("arrays") {
        ("arrays", 1_000)
    } else {
        ("texts", 130)
    };
    let names: Vec<String> = (0..count)
        .map(|number| format!("{kind}-{number}"))
        .collect();
    json!({"data": {"keys": names}}).to_string()
}

/// Answers calls on one connection until it ends.
fn answer_as_vault(mut stream: TcpStream) {
    const MIB: usize = 1024 * 1024;
    let Ok(reading) = stream.try_clone() else {
        return;
    };
    let mut lines = BufReader::new(reading).lines().map_while(Result::ok);
    while let Some(request) = lines.next() {
        while lines.next().is_some_and(|line| !line.is_empty()) {}
        let data = if request.contains("/zeros-") {
            format!("[0{}]", ",0".repeat(3 * MIB))
        } else if request.contains("/nested-") {
            format!("{}{}", "[".repeat(2 * MIB), "]".repeat(2 * MIB))
        } else if request.contains("/long-") {
            format!("\"{}\"", "x".repeat(7 * MIB))
        } else if request.contains("/arrays-") {
            format!("[[]{}]", ",[]".repeat(20_000))
        } else if request.contains("/texts-") {
            format!("\"{}\"", "x".repeat(60_000))
        } else if request.contains("/whole-") {
            format!("\"{}\"", "x".repeat(MIB - 1000))
        } else {
            "\"small\"".to_owned()
        };
        if request.contains("/slow-") {
            std::thread::sleep(Duration::from_secs(15));
        }
        let body = match request.split_once("list=true") {
            Some((folder, _)) => names_in(folder),
            None => format!(r#"{{"data": {{"data": {{"a": {data}}}}}}}"#),
        };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        let sent = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body.as_bytes()));
        if sent.is_err() {
            return;
        }
    }
}

/// Answers of 8 MiB to many objects at once, some of which take a hundred times as much once they
/// are read; others come so late that all workers would wait for them.
#[test]
fn stores_that_answer_much_or_late_end_no_controller_and_hold_up_no_others() {
    let plane = Own::take();
    let bao = OpenBao::shared().unwrap();
    let mut controller = plane.leading_controller();
    let (evil, shop) = (Team::new(&plane, bao), Team::new(&plane, bao));
    let server = hostile_vault();
    for name in ["evil", "late"] {
        evil.make("secretstores", &evil.store(name, &server));
    }
    let value = unique_value();
    let secret = json!({"a": value});
    shop.vault.put(&shop.mount, "db", &secret).unwrap();
    let one = |store: &str, key: &str| json!({"secretStoreRef": {"name": store}, "data": [property("a", key, "a")]});
    let is_synced = |name: &str| {
        shop.external(name, "1h", &one("vault", "db"));
        let start = Instant::now();
        let made = || shop.namespace.secret(name).map(|_| ());
        // The server takes its part of the processors too.
        wait_within(4 * SOON, "another namespace's Secret", made);
        println!("{name}: {:?}", start.elapsed());
    };
    let kinds = ["zeros", "nested", "long", "whole", "slow"];
    for number in 0..16 {
        for kind in kinds {
            let name = format!("{kind}-{number}");
            let store = if kind == "slow" { "late" } else { "evil" };
            evil.external(&name, "5s", &one(store, &name));
        }
        if number % 5 == 0 {
            is_synced(&format!("good-{number}"));
        }
    }
    // One that wants them all.
    let all: Vec<_> = (0..16)
        .map(|number| property(&format!("a{number}"), &format!("whole-{number}"), "a"))
        .collect();
    evil.external(
        "all",
        "5s",
        &json!({"secretStoreRef": {"name": "evil"}, "data": all}),
    );
    wait_within(Duration::from_secs(120), "what wants all is told", || {
        let told = ready_condition(&evil.look("all"))["message"].to_string();
        told.contains("more than 2 MiB together").then_some(())
    });
    for name in ["zeros-0", "nested-0", "long-0"] {
        let told = wait_within(Duration::from_secs(60), name, || {
            let ready = ready_condition(&evil.look(name)).clone();
            (ready["reason"] == "SecretSyncedError").then_some(ready)
        });
        println!("{told}");
    }
    wait_within(Duration::from_secs(120), "the large ones are made", || {
        let made = |number: u32| evil.namespace.secret(&format!("whole-{number}")).is_some();
        (0..16).all(made).then_some(())
    });
    is_synced("good-last");
    controller.assert_lives_within_its_memory();
}

/// A search gathers up to a thousand secrets, none of which is large: empty lists of two bytes take
/// fifty times as much once they are read, and every store of a tenant may search at once.
#[test]
fn stores_that_find_much_end_no_controller() {
    let plane = Own::take();
    let bao = OpenBao::shared().unwrap();
    let mut controller = plane.leading_controller();
    let teams = [(); 2].map(|()| Team::new(&plane, bao));
    let server = hostile_vault();
    let search = |team: &Team, name: &str, path: &str| {
        team.make("secretstores", &team.store(name, &server));
        let find = json!({"path": path, "name": {"regexp": "."}});
        let spec = json!({"secretStoreRef": {"name": name}, "dataFrom": [{"find": find}]});
        team.external(name, "5s", &spec);
    };
    for team in &teams {
        for number in 0..24 {
            search(team, &format!("texts-{number}"), "texts");
        }
        search(team, "arrays", "arrays");
    }
    for team in &teams {
        for (name, says) in [
            ("arrays", "more than 8 MiB"),
            ("texts-23", "more than 2 MiB together"),
        ] {
            // Fifty searches of eight mebibytes share four places.
            wait_within(Duration::from_secs(300), name, || {
                let told = ready_condition(&team.look(name))["message"].to_string();
                told.contains(says).then_some(())
            });
        }
    }
    controller.assert_lives_within_its_memory();
}
