# Shared by `run` and `record`, which source it: a control plane, the controller beside it, and an
# end that leaves nothing running. `task` names the script in its error message.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin=${SEALKIT_BIN_DIR:-$root/target/debug}
work=$(mktemp -d)
chmod 700 "$work"
controller=
vault=
aws=
flux=
rig=
cleanup() {
  status=$?
  set +e
  for process in $flux; do kill "$process" 2> /dev/null; wait "$process" 2> /dev/null; done
  for process in $vault $aws; do kill "$process" 2> /dev/null; wait "$process" 2> /dev/null; done
  if [ -n "$controller" ]; then kill "$controller" 2> /dev/null; wait "$controller" 2> /dev/null; fi
  if [ -n "${DEMO_KUBECONFIG:-}" ]; then kubectl delete namespace demo-shop --wait=false > /dev/null 2>&1; fi
  if [ -n "$rig" ]; then "$bin/sealkit-rig" down --dir "$rig" > /dev/null 2>&1; fi
  if [ "$status" = 0 ]; then rm -rf "$work"; else
    echo "$task failed; the controller's log: $work/controller.log" >&2
    tail -n 20 "$work/controller.log" >&2
  fi
  exit "$status"
}
trap cleanup EXIT

within() { # SECONDS COMMAND…
  local end=$((SECONDS + $1)); shift
  until "$@" > /dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || { echo "timed out: $*" >&2; return 1; }
    sleep 0.2
  done
}

# Sets `context`, and puts kubectl and our binaries on the PATH.
start_control_plane() {
  if [ -n "${DEMO_KUBECONFIG:-}" ]; then
    export KUBECONFIG=$DEMO_KUBECONFIG
    command -v kubectl > /dev/null || { echo "DEMO_KUBECONFIG needs kubectl on the PATH" >&2; exit 1; }
  else
    rig=$work/rig
    eval "$("$bin/sealkit-rig" up --dir "$rig")"
    mkdir "$work/bin"
    ln -s "$("$bin/sealkit-rig" kubectl-path)" "$work/bin/kubectl"
    export PATH=$work/bin:$PATH
  fi
  export PATH=$bin:$PATH
  context=$(kubectl config current-context)
}

# Waits for the first key, after `deploy/base` was applied. The rig has no kubelet: there the
# controller runs as a local process, with the token of the ServiceAccount that the manifests made
# and no other right.
start_controller() {
  if [ -z "${DEMO_KUBECONFIG:-}" ]; then
    token=$(kubectl -n sealkit-system create token seal-controller)
    kubectl config view --raw --minify --flatten > "$work/controller.kubeconfig"
    kubectl --kubeconfig "$work/controller.kubeconfig" config unset users > /dev/null
    user=$(kubectl config view --minify -o jsonpath='{.contexts[0].context.user}')
    kubectl --kubeconfig "$work/controller.kubeconfig" config set-credentials "$user" --token="$token" > /dev/null
    KUBECONFIG=$work/controller.kubeconfig "$bin/seal-controller" --listen 127.0.0.1:0 \
      > "$work/controller.log" 2>&1 &
    controller=$!
  fi
  within 60 kubectl wait --for=condition=Ready sealingkey --all --timeout=1s
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# A vault in memory, at a free port: sets BAO_ADDR and BAO_TOKEN, and puts `bao` on the PATH.
start_vault() {
  ln -s "$("$bin/sealkit-rig" bao-path)" "$work/bin/bao"
  BAO_ADDR=http://127.0.0.1:$(free_port)
  BAO_TOKEN=$(python3 -c 'import secrets; print(secrets.token_hex(16))')
  export BAO_ADDR BAO_TOKEN
  BAO_DEV_ROOT_TOKEN_ID=$BAO_TOKEN bao server -dev -dev-no-store-token \
    -dev-listen-address="${BAO_ADDR#http://}" > "$work/vault.log" 2>&1 &
  vault=$!
  within 30 bao status
}

# Starts a server that answers as AWS does, at a free port, and does not wait for it. Sets `python`,
# which has the SDK of AWS, and tells this SDK and the controller where AWS is.
start_aws() {
  local server
  server=$("$bin/sealkit-rig" moto-path)
  python=$(dirname "$server")/python
  AWS_ENDPOINT_URL=http://127.0.0.1:$(free_port)
  export AWS_ENDPOINT_URL AWS_DEFAULT_REGION=eu-west-1 AWS_ACCESS_KEY_ID=demo AWS_SECRET_ACCESS_KEY=demo
  "$server" -H 127.0.0.1 -p "${AWS_ENDPOINT_URL##*:}" > "$work/aws.log" 2>&1 &
  aws=$!
}

# Flux's controllers, and a server of the Git repositories below $work: sets git_url.
start_flux() {
  local folder address name more
  folder=$("$bin/sealkit-rig" flux-path)
  kubectl apply --server-side --recursive -f "$folder/crds" > /dev/null
  kubectl create namespace flux-system > /dev/null
  within 30 kubectl wait --for=condition=Established --recursive -f "$folder/crds"
  git_url=http://127.0.0.1:$(free_port)
  "$("$bin/sealkit-rig" git-server-path)" "${git_url#http://}" "$work" > "$work/git-server.log" 2>&1 &
  flux="$flux $!"
  mkdir "$work/artifacts"
  address=127.0.0.1:$(free_port)
  for name in source-controller kustomize-controller; do
    case $name in
      source-controller) more="--storage-path=$work/artifacts --storage-addr=$address --storage-adv-addr=$address" ;;
      *) more=--feature-gates=CancelHealthCheckOnNewRevision=true ;;
    esac
    # shellcheck disable=SC2086 # several flags
    RUNTIME_NAMESPACE=flux-system TMPDIR=$work "$folder/$name" $more --requeue-dependency=1s \
      --health-addr="127.0.0.1:$(free_port)" --metrics-addr="127.0.0.1:$(free_port)" > "$work/$name.log" 2>&1 &
    flux="$flux $!"
  done
}
