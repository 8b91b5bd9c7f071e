#!/bin/sh
# Compiles the addon beside node-rdkafka when it is missing or older than its source. npm ci does it too, but a
# node_modules folder that was copied from an earlier clone comes without it.
set -eu
cd "$(dirname "$0")/.."
[ -f ingest/native/binding.gyp ] || exit 0

addon=ingest/native/build/Release/cdrhouse_native.node
if [ -f "$addon" ] && [ -z "$(find ingest/native -maxdepth 1 \( -name '*.cc' -o -name '*.h' -o -name '*.gyp' \) -newer "$addon")" ]; then
  exit 0
fi

printf 'build: ingest/native\n'
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Through npm, which hands its own settings (where Node's headers are) to node-gyp.
if ! env -u JOBS -u MAKEFLAGS -u MFLAGS -u MAKELEVEL npm run install >"$log" 2>&1 </dev/null; then
  tail -n 40 "$log" >&2
  printf 'the addon in ingest/native cannot be compiled; the end of what was said is above\n' >&2
  exit 1
fi
