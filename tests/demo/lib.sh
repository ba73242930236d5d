# Shared by `run` and `record`, which source it: a control plane, the controller beside it, and an
# end that leaves nothing running. `task` names the script in its error message.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin=${SEALKIT_BIN_DIR:-$root/target/debug}
work=$(mktemp -d)
chmod 700 "$work"
controller=
rig=
cleanup() {
  status=$?
  set +e
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
