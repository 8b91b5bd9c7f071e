#!/bin/sh
# npm ci, but only when package-lock.json or Node has changed since the last time. node-rdkafka is compiled by it, which
# takes some three minutes on two cores; where CI is set, or the folder is there already, the result is kept for the next
# clone in the user's cache folder.
set -eu
cd "$(dirname "$0")/.."

stamp=node_modules/.package-lock.sha256
# A compiled addon fits one Node version and one kind of machine; .taprc decides what tap build makes.
key=$({ cat package-lock.json .npmrc .taprc && node -p 'process.version + process.platform + process.arch'; } | sha256sum | cut -c1-64)
[ "$(cat "$stamp" 2>/dev/null || true)" != "$key" ] || exit 0

say() {
  printf '%s\n' "$*"
}

cache=${XDG_CACHE_HOME:-$HOME/.cache}/cdrhouse
kept=$cache/node_modules-$key

if [ -f "$kept/.package-lock.sha256" ]; then
  say 'packages: copying those of an earlier clone'
  # A copy that is broken off may have the stamp already.
  rm -rf node_modules node_modules.partial
  cp -a --reflink=auto "$kept" node_modules.partial
  mv node_modules.partial node_modules
  exit 0
fi

say 'packages: npm ci (compiles node-rdkafka, about three minutes)'
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The build of node-rdkafka breaks when it runs in parallel, and when it inherits the jobserver of make.
if ! env -u JOBS -u MAKEFLAGS -u MFLAGS -u MAKELEVEL npm ci >"$log" 2>&1 </dev/null; then
  tail -n 40 "$log" >&2
  say 'npm ci failed; the end of what it said is above' >&2
  exit 1
fi
# tap loads its plugins out of a module that it generates for the list in .taprc; once here, not in the first test run.
node_modules/.bin/tap build >"$log" 2>&1 </dev/null || {
  tail -n 20 "$log" >&2
  exit 1
}
printf '%s' "$key" >"$stamp"

if [ "${CI:-}" = true ]; then
  mkdir -p "$cache"
  partial=$(mktemp -d "$cache/partial-XXXXXX")
  if cp -a --reflink=auto node_modules/. "$partial"; then
    # Older ones are of no use any more.
    rm -rf "$cache"/node_modules-*
    mv "$partial" "$kept"
  else
    rm -rf "$partial"
  fi
fi
