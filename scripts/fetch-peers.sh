#!/usr/bin/env bash
# Puts the programs that `make bench` compares with into .cache/peers, each in a place of its own: nothing of
# them gets into .venv or the system. What cannot be had is named; the benchmarks then name it as missing.
#   scripts/fetch-peers.sh [debian] [chameleon] [dlt] [plain]
#
#   debian      pgloader, mydumper, myloader, mysqldump: packages of this Debian, unpacked
#   chameleon   pg_chameleon            dlt   dlt with its ConnectorX backend
#   plain       python-mysql-replication and psycopg, for a baseline as one writes it
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
peers=$PWD/.cache/peers
mkdir -p "$peers"

declare -A wanted=(
  [chameleon]="pg_chameleon==2.0.21"
  [dlt]="dlt[postgres]==1.31.0 connectorx==0.4.6 pymysql==1.1.3 sqlalchemy pyarrow pandas"
  [plain]="mysql-replication==1.0.17 pymysql==1.1.3 psycopg[binary]==3.3.9"
)

environment() {
  local place=$peers/$1
  [ -f "$place/done" ] && return
  rm -rf "$place"
  python3 -m venv "$place" && "$place/bin/python" -m pip install -q --disable-pip-version-check ${wanted[$1]} && touch "$place/done"
}

# Names what this system lacks of the closure, and unpacks exactly that.
debian() {
  local place=$peers/debian names
  [ -f "$place/done" ] && return
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return
  rm -rf "$place" && mkdir -p "$place/archives/partial"
  names=$(apt-get install -s -qq --no-install-recommends pgloader mydumper mariadb-client 2>/dev/null | awk '/^Inst/ { print $2 }')
  # Those that are installed are not in the way: whatever is missing above comes from here.
  [ -n "$names" ] || { touch "$place/done"; return; }
  (cd "$place/archives" && apt-get download -qq $names) || return
  for file in "$place"/archives/*.deb; do dpkg-deb -x "$file" "$place" || return; done
  rm -rf "$place/archives"
  touch "$place/done"
}

status=0
for name in "${@:-debian chameleon dlt plain}"; do
  for one in $name; do
    if [ "$one" = debian ]; then debian; else environment "$one"; fi || { echo "fetch-peers: $one cannot be had here" >&2; status=1; }
  done
done
exit $status
