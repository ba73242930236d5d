#!/bin/sh
# Installs seal, also as kubectl-seal, from a release: install.sh
# Nothing is installed unless its checksum is right. With cosign (2.4 or newer) in PATH, the signature of the
# checksums must be right too.
#   SEALKIT_VERSION   X.Y.Z; by default the latest release
#   SEALKIT_BASE_URL  where the files of the release are, for a mirror
#   PREFIX            the programs go to PREFIX/bin; by default ~/.local
set -eu

fail() {
  echo "install.sh: $1" >&2
  exit 1
}

platform() {
  case "$(uname -s)" in
    Linux) os=linux ;;
    Darwin) os=darwin ;;
    *) fail "no seal for $(uname -s): build it from source, see docs/install.md" ;;
  esac
  case "$(uname -m)" in
    x86_64 | amd64) echo "$os-amd64" ;;
    aarch64 | arm64) echo "$os-arm64" ;;
    *) fail "no seal for $(uname -m): build it from source, see docs/install.md" ;;
  esac
}

fetch() {
  curl --fail --silent --show-error --location --proto '=https,file' --proto-redir '=https' \
    --output "$scratch/$1" "$base/$1" || fail "cannot fetch $base/$1: nothing is installed"
}

sha256() {
  if command -v sha256sum > /dev/null; then
    sha256sum "$1"
  else
    shasum -a 256 "$1"
  fi | cut -d ' ' -f 1
}

# Signed by the release workflow of our repository, at the tag of this version.
check_signature() {
  if ! command -v cosign > /dev/null; then
    echo "install.sh: no cosign in PATH: the signature is not checked, only the checksum" >&2
    return
  fi
  fetch checksums.txt.sigstore.json
  cosign verify-blob --new-bundle-format --bundle "$scratch/checksums.txt.sigstore.json" \
    --certificate-oidc-issuer https://token.actions.githubusercontent.com \
    --certificate-identity "https://github.com/sealkit/sealkit/.github/workflows/release.yaml@refs/tags/v$1" \
    "$scratch/checksums.txt" || fail "the signature of checksums.txt is wrong: nothing is installed"
}

main() {
  command -v curl > /dev/null || fail "needs curl: install it and try again"
  releases=https://github.com/sealkit/sealkit/releases
  version=${SEALKIT_VERSION:-}
  version=${version#v}
  if [ -n "$version" ]; then
    base=$releases/download/v$version
  else
    base=$releases/latest/download
  fi
  base=${SEALKIT_BASE_URL:-$base}
  platform=$(platform)
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  fetch checksums.txt
  line=$(grep -E "^[0-9a-f]{64}  seal-${version:-[0-9][0-9a-z.-]*}-$platform\.tar\.gz\$" \
    "$scratch/checksums.txt") || fail "$base/checksums.txt names no seal for $platform: nothing is installed"
  [ "$(echo "$line" | wc -l)" -eq 1 ] || fail "$base/checksums.txt names several: nothing is installed"
  archive=${line#*  }
  version=${archive#seal-}
  version=${version%"-$platform.tar.gz"}
  check_signature "$version"
  fetch "$archive"
  [ "$(sha256 "$scratch/$archive")" = "${line%% *}" ] ||
    fail "the checksum of $archive is wrong: nothing is installed"
  tar -xzf "$scratch/$archive" -C "$scratch" seal
  "$scratch/seal" version > /dev/null || fail "this seal does not run here; Linux needs glibc: build it from source"
  bin=${PREFIX:-$HOME/.local}/bin
  mkdir -p "$bin"
  # Renamed, so that a seal that runs goes on.
  cp "$scratch/seal" "$bin/.seal.new"
  mv -f "$bin/.seal.new" "$bin/seal"
  ln -sf seal "$bin/kubectl-seal"
  echo "seal $version is in $bin"
  case ":$PATH:" in *":$bin:"*) ;; *) echo "Add it to your PATH: export PATH=\"$bin:\$PATH\"" ;; esac
}

# Called last: a download that was cut off does nothing.
main
