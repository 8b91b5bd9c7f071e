#!/bin/sh
# Installs the programs that building and testing need and that npm cannot bring: a C++ toolchain for node-rdkafka, the
# libraries it is linked with, Java and Maven for the local Kafka. Quick when everything is there: nothing is called then.
# On Debian and Ubuntu, as root or with sudo that asks nothing, missing packages are installed; anywhere else, and
# always for Node, they are named.
set -eu

java_minimum=17

say() {
  printf '%s\n' "$*" >&2
}

has() {
  command -v "$1" >/dev/null 2>&1
}

node_fits() {
  has node && has npm && node -e '
    const [major, minor] = process.versions.node.split(".").map(Number);
    process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1);
  '
}

java_fits() {
  has java || return 1
  version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
  [ -n "$version" ] && [ "$version" -ge "$java_minimum" ]
}

# A header that the compiler finds: pkg-config may be missing and dpkg is not everywhere.
header() {
  has cc && printf '#include <%s>\n' "$1" | cc -E -x c - >/dev/null 2>&1
}

if ! node_fits; then
  found=$(node --version 2>/dev/null || echo none)
  say "Node 20.19 or newer with npm is needed, found: $found."
  say "Install it from your system (Debian 13: apt-get install -y nodejs npm) or from the Node project, then try again."
  exit 1
fi

missing=''
need() {
  missing="$missing $1"
}
has make || need make
has g++ || need g++
has cc || need gcc
has python3 || need python3
header openssl/ssl.h || need libssl-dev
header zlib.h || need zlib1g-dev
header zstd.h || need libzstd-dev
java_fits || need default-jre-headless
has mvn || need maven

[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
  as_root=''
elif has sudo && sudo -n true 2>/dev/null; then
  as_root='sudo -n'
else
  as_root='none'
fi

if ! has apt-get || [ "$as_root" = none ]; then
  say "Missing:$missing"
  say "On Debian or Ubuntu: sudo apt-get update && sudo apt-get install -y$missing"
  say "Elsewhere install the same programs and headers (Java $java_minimum or newer), then try again."
  exit 1
fi

say "installing:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # both are lists of words
if ! { $as_root apt-get update && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1 </dev/null; then
  tail -n 20 "$log" >&2
  say "apt-get could not install:$missing"
  exit 1
fi

if ! java_fits; then
  say "The Java of this system is older than $java_minimum: install a newer one (Debian 12: openjdk-17-jre-headless)."
  exit 1
fi
