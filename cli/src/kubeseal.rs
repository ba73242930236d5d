//! The flags of kubeseal that `seal` does not have, and what does the same here.

/// What to do instead of using this flag, as in `--cert` or `--cert=FILE`.
pub(crate) fn hint(flag: &str) -> Option<&'static str> {
    let name = flag.trim_start_matches('-');
    let name = name.split(['=', ' ']).next().unwrap_or_default();
    Some(match name {
        "encrypt" => {
            "to encrypt: `seal -f FILE -w NEW.sealed.yaml` seals a manifest, `seal create NAME --key KEY` makes a Secret"
        }
        "decrypt" | "view" | "show" | "cat" => {
            "to decrypt: `seal open -i KEYFILE FILE` prints the Secret; `seal edit -i KEYFILE FILE` changes it"
        }
        "updatekeys" | "rekey" => {
            "to seal to other keys: `seal reseal PATH…`, after the recipient files have changed"
        }
        "cert" => {
            "kubeseal's --cert: pass a file of public keys with -R FILE; `seal keys fetch` writes one"
        }
        "fetch-cert" => {
            "kubeseal's --fetch-cert: `seal keys fetch` prints the public key of the cluster"
        }
        "re-encrypt" | "rotate" => {
            "kubeseal's --re-encrypt: `seal reseal PATH…` seals files to the newest keys"
        }
        "recovery-unseal" => {
            "kubeseal's --recovery-unseal: `seal open -i KEYFILE FILE` prints the Secret"
        }
        "recovery-private-key" => {
            "kubeseal's --recovery-private-key: pass a private key with -i FILE"
        }
        "merge-into" => "kubeseal's --merge-into: -w FILE updates an existing file key by key",
        "sealed-secret-file" => "kubeseal's --sealed-secret-file: write to a file with -w FILE",
        "secret-file" => "kubeseal's --secret-file: read a file with -f FILE",
        "raw" | "from-file" => {
            "kubeseal's --raw: `seal set FILE KEY` puts one value into a file; KEY=@FILE reads it from another"
        }
        "validate" => {
            "kubeseal's --validate: `seal verify FILE` checks a file; with -i KEYFILE it opens it"
        }
        "allow-empty-data" => {
            "kubeseal's --allow-empty-data: `seal --allow-empty` seals a Secret without values"
        }
        "controller-name" | "controller-namespace" => {
            "kubeseal's --controller-name and --controller-namespace: not needed, the keys are objects of the cluster (`seal keys list`)"
        }
        "server"
        | "token"
        | "user"
        | "username"
        | "password"
        | "as"
        | "as-group"
        | "as-uid"
        | "client-certificate"
        | "client-key"
        | "certificate-authority"
        | "insecure-skip-tls-verify"
        | "tls-server-name"
        | "request-timeout" => {
            "kubeseal's flags for connections: write them into a context of the kubeconfig, and choose it with --context"
        }
        "log-dir" | "log-file" | "logtostderr" | "alsologtostderr" | "stderrthreshold"
        | "vmodule" | "add-dir-header" | "skip-headers" | "one-output" => {
            "kubeseal's flags for logs: `seal` writes none; -v prints details"
        }
        _ => return None,
    })
}
