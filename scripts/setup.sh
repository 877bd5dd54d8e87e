#!/usr/bin/env bash
# Makes .venv: everything that demo, tests, checks and benchmarks need. Needs Python 3.11 or newer and the
# package registries, nothing else. Safe to run again; returns at once when nothing has changed.
#
#   PYTHON                the Python to use (default: the first of python3, python3.13, python3.12, python3.11)
#   GODWIT_MYSQLCLIENT    compiled | static: overrules the choice between the two builds of MySQLdb
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD venv=.venv cache=.cache
stamp=$venv/godwit-setup
static_lock=requirements-static.lock

# The packages are compiled to bytecode once instead of by each of Airflow's processes again and again.
unset PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME VIRTUAL_ENV
export UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1 UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-180} UV_LINK_MODE=${UV_LINK_MODE:-copy}
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# uv does not read pip's settings: a mirror that is set for pip is meant for uv too.
if [ -n "${PIP_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}; fi
[ -w "${HOME:-/nonexistent}" ] || export HOME=$root/$cache/home

say() { printf 'setup %3d s  %s\n' "$SECONDS" "$*"; }
fail() { printf '\nset-up failed: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
may_apt() { [ "$(id -u)" = 0 ] && have apt-get; }

apt_install() {
  say "installing $* (apt-get)"
  export DEBIAN_FRONTEND=noninteractive
  if ! apt-get install -y -qq --no-install-recommends "$@" >"$cache/apt.log" 2>&1; then
    apt-get update -qq >"$cache/apt.log" 2>&1 && apt-get install -y -qq --no-install-recommends "$@" >>"$cache/apt.log" 2>&1
  fi
}

# What the environment was made from: when none of it changed there is nothing to do. The folder counts
# because the programs of an environment carry its full path.
fingerprint() {
  "$venv/bin/python" - "$root" "$(id -u)" <<'PY'
import hashlib, pathlib, sys
digest = hashlib.sha256(repr((sys.version, sys.argv[1:])).encode())
for name in ("requirements.lock", "requirements-static.lock", "scripts/uv.lock", "scripts/setup.sh"):
    digest.update(pathlib.Path(name).read_bytes())
print(sys.argv[1], digest.hexdigest())
PY
}

find_python() {
  local name
  for name in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if have "$name" && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      "$name" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  fail "no Python 3.11 or newer found${PYTHON:+ at $PYTHON}; name one: make setup PYTHON=/path/to/python3"
}

# Debian splits venv and pip off its Python: whichever of the two is there will do.
make_venv() {
  local python log=$cache/venv.log
  python=$(find_python)
  say "creating $venv with $python"
  rm -rf "$venv"
  "$python" -m venv "$venv" >"$log" 2>&1 && return
  rm -rf "$venv"
  if have uv && uv venv -q --python "$python" "$venv" 2>>"$log"; then return; fi
  rm -rf "$venv"
  if "$python" -m pip install -q --target "$cache/uv" --require-hashes -r scripts/uv.lock >>"$log" 2>&1 &&
    "$cache/uv/bin/uv" venv -q --python "$python" "$venv" 2>>"$log"; then return; fi
  rm -rf "$venv"
  if may_apt && apt_install python3-venv && "$python" -m venv "$venv" >>"$log" 2>&1; then return; fi
  cat "$log" >&2
  fail "$python can make no virtual environment. On Debian and Ubuntu: apt-get install python3-venv"
}

find_uv() {
  local place
  for place in "$venv/bin/uv" "$cache/uv/bin/uv"; do
    if [ -x "$place" ] && "$place" --version >/dev/null 2>&1; then uv=$place; return; fi
  done
  if "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    say "installing uv"
    "$venv/bin/python" -m pip install -q --require-hashes -r scripts/uv.lock || fail "pip could not install uv: is the package index reachable?"
    uv=$venv/bin/uv
  elif have uv; then
    uv=uv
  else
    fail "$venv holds neither uv nor pip: remove that folder and run this again"
  fi
}

# provider-mysql needs the module MySQLdb, which Linux gets as source only.
can_compile_mysqlclient() {
  { have cc || have gcc || have clang; } && have pkg-config &&
    { pkg-config --exists mysqlclient || pkg-config --exists libmariadb || pkg-config --exists mariadb; } &&
    "$venv/bin/python" -c 'import pathlib, sysconfig as s; pathlib.Path(s.get_path("include"), "Python.h").stat()' 2>/dev/null
}

choose_mysqlclient() {
  if [ -n "${GODWIT_MYSQLCLIENT:-}" ]; then echo "$GODWIT_MYSQLCLIENT"; return; fi
  if [ "$(uname -s)" = Darwin ] || can_compile_mysqlclient; then echo compiled; return; fi
  if may_apt && apt_install default-libmysqlclient-dev pkg-config build-essential python3-dev >&2 && can_compile_mysqlclient; then
    echo compiled
  else
    echo static
  fi
}

sync() { "$uv" pip sync --quiet --python "$venv/bin/python" --compile-bytecode --require-hashes "$@"; }

sync_static() {
  awk '/^[^ ]/ { dropped = /^mysqlclient==/ } !dropped' requirements.lock >"$cache/requirements-static.txt"
  sync "$cache/requirements-static.txt" "$static_lock"
}

install_packages() {
  local choice
  choice=$(choose_mysqlclient)
  say "installing $(grep -c '^[a-z]' requirements.lock) locked packages (MySQLdb: $choice; half a minute or two at first)"
  if [ "$choice" = static ]; then
    sync_static || fail "the packages could not be installed. If mysqlclient-static is what is missing: there is no such wheel for this
system; ask an administrator for: apt-get install default-libmysqlclient-dev pkg-config build-essential python3-dev"
  elif ! sync requirements.lock; then
    [ "${GODWIT_MYSQLCLIENT:-}" != compiled ] || fail "the packages could not be installed: see above"
    say "that failed; once more with a ready-made MySQLdb"
    sync_static || fail "the packages could not be installed: see above. Is the package index reachable?"
  fi
}

# The package is found by a path file, not installed: with the entry points of an installed package
# Airflow would register the plugin a second time, besides plugins/godwit_plugin.py. The project's folder
# itself is in it too, so that `include` can be imported as in Astro's images.
link_project() {
  local packages
  packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  printf '%s\n' "$root/plugins" "$root" >"$packages/godwit.pth"
  printf '#!/bin/sh\nexec "%s" -P -c "import sys; from godwit.cli import main; sys.argv[0] = '\''godwit'\''; sys.exit(main())" "$@"\n' \
    "$root/$venv/bin/python" >"$venv/bin/godwit"
  chmod +x "$venv/bin/godwit"
}

# Optional: without a compiler the pure-Python code does the same, slower.
compile_extensions() {
  if [ -z "${CC:-}" ] && ! have cc && ! have gcc && ! have clang; then
    if "$venv/bin/python" -c 'import pathlib, sysconfig as s; pathlib.Path(s.get_path("include"), "Python.h").stat()' 2>/dev/null; then
      if [ ! -d "$cache/ziglang" ]; then
        say "no C compiler here: fetching one (PyPI package ziglang)"
        "$uv" pip sync --quiet --target "$cache/ziglang" --require-hashes --python "$venv/bin/python" scripts/ziglang.lock || rm -rf "$cache/ziglang"
      fi
      export PYTHONPATH=$root/$cache/ziglang
    fi
  fi
  "$venv/bin/python" scripts/compile_extensions.py | while read -r line; do say "$line"; done
}

mkdir -p "$cache" || fail "this folder is not writable for $(id -un)"
if have flock; then
  exec 9>"$cache/setup.lock"
  flock -n 9 || { say "waiting for another set-up in this folder"; flock 9; }
fi
if [ -e "$stamp" ] && [ "$(cut -d' ' -f1 "$stamp")" != "$root" ]; then
  say "this folder was moved: its environment is made anew"
  rm -rf "$venv"
fi
"$venv/bin/python" -c '' 2>/dev/null || make_venv
if [ "$(fingerprint)" != "$(cat "$stamp" 2>/dev/null)" ]; then
  rm -f "$stamp"
  find_uv
  install_packages
  link_project
  compile_extensions || true
  fingerprint >"$stamp"
  say "ready: $venv"
elif find plugins -name '*.pyx' -newer "$stamp" | grep -q .; then
  find_uv
  compile_extensions || true
  touch "$stamp"
fi
