#!/bin/sh
# Installs the Debian packages that some tests drive, when this is Debian and we are root.
# Never fails: a test whose program is missing is skipped and prints why.
need=""
command -v curl >/dev/null 2>&1 || need="$need curl"
command -v chromium >/dev/null 2>&1 || need="$need chromium"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || need="$need postgresql"
command -v psql >/dev/null 2>&1 || need="$need postgresql-client"
# Unless an engine works already. runc also runs where the kernel has both kinds of control groups.
docker info >/dev/null 2>&1 || command -v podman >/dev/null 2>&1 || need="$need podman runc"
command -v docker-registry >/dev/null 2>&1 || need="$need docker-registry"
command -v mariadbd >/dev/null 2>&1 || need="$need mariadb-server"
[ -z "$need" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  echo "not installed here:$need (tests that need them are skipped)"
  exit 0
fi
echo "installing:$need"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >/dev/null 2>&1
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $need >/dev/null 2>&1 ||
  echo "could not install:$need (tests that need them are skipped)"
exit 0
