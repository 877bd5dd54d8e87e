#!/usr/bin/env bash
# Writes .env with a random value for every secret that docker-compose.yaml asks for and that is neither in the
# environment nor in that file yet. Docker Compose reads .env by itself; git does not.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 077
touch .env
chmod 600 .env
random() { head -c "$1" /dev/urandom | base64 | tr -d '\n' | tr '+/' '-_'; }
give() { # NAME BYTES
  if [ -z "${!1:-}" ] && ! grep -q "^$1=" .env; then printf '%s=%s\n' "$1" "$(random "$2")" >>.env; fi
}
give GODWIT_JWT_SECRET 48
give GODWIT_FERNET_KEY 32
give GODWIT_ADMIN_PASSWORD 15
give GODWIT_METADATA_PASSWORD 24
give GODWIT_REDIS_PASSWORD 24
give GODWIT_SHOP_PASSWORD 24
