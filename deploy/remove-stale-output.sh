#!/bin/sh
# Removes from dist/ what was compiled out of files that are gone: tsc leaves it there, and a deleted test would run on.
set -eu
cd "$(dirname "$0")/.."
[ -d dist ] || exit 0
find dist -type f \( -name '*.js' -o -name '*.wasm' \) | while IFS= read -r output; do
  source=${output#dist/}
  case $output in
    *.js) source=${source%.js}.ts ;;
    *.wasm) source=${source%.wasm}.wat ;;
  esac
  # Some files are copied rather than compiled.
  [ -f "$source" ] || [ -f "${output#dist/}" ] || rm -f "$output" "$output.map"
done
