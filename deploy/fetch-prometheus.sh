#!/bin/sh
# Gets Prometheus and promtool for the tests of the alert rules, where they are not there already: the package of Debian
# or Ubuntu, unpacked into the user's cache folder and not installed, so that no service is started. Needs no root. Looks
# first in the folder that PROMETHEUS names, then on the PATH, then in the cache; test/prometheus.ts looks there too.
set -eu

has() {
  command -v "$1" >/dev/null 2>&1
}

say() {
  printf '%s\n' "$*" >&2
}

if [ -n "${PROMETHEUS:-}" ]; then
  if [ -x "$PROMETHEUS/prometheus" ] && [ -x "$PROMETHEUS/promtool" ]; then exit 0; fi
  say "PROMETHEUS names $PROMETHEUS, where prometheus and promtool are not: mend it or unset it."
  exit 1
fi
if has prometheus && has promtool; then exit 0; fi
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cdrhouse
if [ -x "$cache/prometheus/usr/bin/prometheus" ] && [ -x "$cache/prometheus/usr/bin/promtool" ]; then exit 0; fi

cannot() {
  say "The tests of the alert rules need Prometheus (2.40 or newer) with promtool, $1."
  say "On Debian or Ubuntu: sudo apt-get update && sudo apt-get install -y prometheus"
  say "Elsewhere unpack a release of prometheus.io and set PROMETHEUS to its folder."
  exit 1
}

if ! has apt-get || ! has dpkg-deb; then cannot 'which this system has no package for'; fi

say 'prometheus: fetching the package (20 MB)'
mkdir -p "$cache"
work=$(mktemp -d "$cache/prometheus-XXXXXX")
trap 'rm -rf "$work"' EXIT
# apt keeps its lists in a folder of ours, so that no root is needed; root's download user may not write there.
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/tree"
apt() {
  (cd "$work" && apt-get -qq -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work" -o Dir::Cache::Archives="$work/archives" \
    -o Debug::NoLocking=1 -o APT::Sandbox::User=root "$@") >"$work/log" 2>&1 </dev/null
}
# The system's lists as they are, if they are there and recent; else lists of our own.
if ! (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download prometheus) >"$work/log" 2>&1 </dev/null; then
  if ! { apt update && apt download prometheus; }; then
    tail -n 5 "$work/log" >&2
    cannot 'and apt-get cannot download it'
  fi
fi
dpkg-deb -x "$work"/prometheus_*.deb "$work/tree"
if ! "$work/tree/usr/bin/prometheus" --version >"$work/log" 2>&1; then
  tail -n 5 "$work/log" >&2
  cannot 'and the one of the package does not run'
fi
rm -rf "$cache/prometheus"
mv "$work/tree" "$cache/prometheus"
