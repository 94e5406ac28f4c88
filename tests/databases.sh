#!/usr/bin/env bash
# The databases of the tests: a MariaDB and a PostgreSQL of their own, on private ports and data folders, never the system's.
#   tests/databases.sh up     starts what is not up yet and waits until it answers
#   tests/databases.sh down   stops both (the data folders stay; a later `up` takes them again)
#   tests/databases.sh env    prints the variables that the tests read
# FAIRLEAD_RUN_DIR       where the data folders are (default: .run in the repository)
# FAIRLEAD_MARIADB_PORT, FAIRLEAD_POSTGRES_PORT   default 23306 and 25432, on 127.0.0.1 only
set -euo pipefail
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
run=${FAIRLEAD_RUN_DIR:-$repo/.run}
maria_port=${FAIRLEAD_MARIADB_PORT:-23306}
pg_port=${FAIRLEAD_POSTGRES_PORT:-25432}
patience=60 # seconds that a server may take to answer

fail() { echo "databases.sh: $*" >&2; exit 1; }

# Debian keeps PostgreSQL's programs out of PATH, one folder for each version.
pg_bin() {
  local folder
  folder=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
  [ -n "$folder" ] || folder=$(dirname "$(command -v initdb || true)")
  [ -x "$folder/initdb" ] || fail "no PostgreSQL server is installed (Debian: apt-get install postgresql)"
  echo "$folder"
}
maria_bin() { command -v mariadbd || { [ -x /usr/sbin/mariadbd ] && echo /usr/sbin/mariadbd; } || fail "no MariaDB server is installed (Debian: apt-get install mariadb-server)"; }

# Neither server runs as root. Another user has to reach the data folder, so where a parent is closed to it, we use one below /tmp,
# named by the repository so that two checkouts do not share it.
as() { # as USER COMMAND...
  local user=$1; shift
  if [ "$(id -u)" = 0 ]; then setpriv --reuid "$user" --regid "$user" --init-groups "$@"; else "$@"; fi
}
folder_for() { # folder_for USER NAME
  local folder=$run/$2 owner=$1
  if [ "$(id -u)" = 0 ]; then
    mkdir -p "$run"
    if ! as "$owner" test -x "$run"; then
      folder=/tmp/fairlead-run-$(echo "$repo" | cksum | cut -d' ' -f1)/$2
    fi
    mkdir -p "$folder"; chown "$owner" "$folder"
  else
    mkdir -p "$folder"
  fi
  echo "$folder"
}

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
wait_for() { # wait_for NAME LOG COMMAND...
  local name=$1 log=$2 until=$((SECONDS + patience)); shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$until" ] || { tail -n 20 "$log" >&2 || true; fail "$name does not answer after $patience s"; }
    sleep 0.2
  done
}
maria_ok() { mariadb --no-defaults --protocol=tcp -h 127.0.0.1 -P "$maria_port" -u root -e 'select 1'; }
pg_ok() { "$(pg_bin)/psql" -h 127.0.0.1 -p "$pg_port" -U postgres -d postgres -tAc 'select 1'; }

up_maria() {
  maria_ok >/dev/null 2>&1 && return
  answers "$maria_port" && fail "port $maria_port is taken by something that is not our MariaDB"
  local server folder
  server=$(maria_bin)
  folder=$(folder_for mysql mariadb)
  if [ ! -d "$folder/data/mysql" ]; then
    rm -rf "$folder/data"
    as mysql mariadb-install-db --no-defaults --datadir="$folder/data" --auth-root-authentication-method=normal --skip-test-db >"$folder/install.log" 2>&1 \
      || { tail -n 20 "$folder/install.log" >&2; fail "mariadb-install-db failed"; }
  fi
  # No durability (the data is worth nothing), small buffers, names never resolved; the grant tables stay on, tests rely on them.
  as mysql setsid "$server" --no-defaults --datadir="$folder/data" --bind-address=127.0.0.1 --port="$maria_port" \
    --socket="$folder/s.sock" --pid-file="$folder/mariadbd.pid" --log-error="$folder/error.log" \
    --general-log=0 --general-log-file="$folder/general.log" --log-output=FILE \
    --skip-name-resolve --max-connections=400 --performance-schema=OFF --skip-log-bin \
    --innodb-flush-log-at-trx-commit=0 --innodb-doublewrite=0 --innodb-flush-method=nosync --innodb-buffer-pool-size=96M --innodb-log-file-size=48M \
    --character-set-server=utf8mb4 --collation-server=utf8mb4_unicode_ci </dev/null >"$folder/out.log" 2>&1 9>&- &
  wait_for MariaDB "$folder/error.log" maria_ok
}
up_pg() {
  pg_ok >/dev/null 2>&1 && return
  answers "$pg_port" && fail "port $pg_port is taken by something that is not our PostgreSQL"
  local bin folder
  bin=$(pg_bin)
  folder=$(folder_for postgres postgres)
  if [ ! -f "$folder/data/PG_VERSION" ]; then
    rm -rf "$folder/data"
    as postgres "$bin/initdb" -D "$folder/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync >"$folder/initdb.log" 2>&1 \
      || { tail -n 20 "$folder/initdb.log" >&2; fail "initdb failed"; }
  fi
  # One log file with JSON lines: tests read it through pg_read_file to see which statements a user sent.
  as postgres setsid "$bin/postgres" -D "$folder/data" -p "$pg_port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
    -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=400 -c shared_buffers=64MB -c timezone=UTC \
    -c max_wal_size=256MB -c logging_collector=on -c log_destination=jsonlog -c log_directory=log -c log_filename=server.log -c log_rotation_size=0 \
    -c log_min_messages=error </dev/null >>"$folder/server.log" 2>&1 9>&- &
  wait_for PostgreSQL "$folder/server.log" pg_ok
}
# A server's own pid, written by itself; `down` stops nothing else.
stop() { # stop NAME PIDFILE
  local pid until=$((SECONDS + patience))
  [ -s "$2" ] || return 0
  pid=$(head -n 1 "$2")
  # SIGINT is PostgreSQL's fast shutdown: it does not wait for clients.
  kill -s "$3" "$pid" 2>/dev/null || return 0
  while kill -0 "$pid" 2>/dev/null; do
    [ "$SECONDS" -lt "$until" ] || fail "$1 (pid $pid) does not stop"
    sleep 0.2
  done
}

case ${1:-} in
  up)
    mkdir -p "$run"
    exec 9>"$run/lock"
    flock -w $((patience * 3)) 9 || fail "another start holds $run/lock"
    up_maria
    up_pg
    ;;
  down)
    stop MariaDB "$(folder_for mysql mariadb)/mariadbd.pid" TERM
    stop PostgreSQL "$(folder_for postgres postgres)/data/postmaster.pid" INT
    ;;
  env)
    echo "export FAIRLEAD_TEST_MARIADB=mysql://root@127.0.0.1:$maria_port"
    echo "export FAIRLEAD_TEST_POSTGRES=postgres://postgres@127.0.0.1:$pg_port"
    ;;
  *)
    echo "usage: tests/databases.sh up|down|env" >&2
    exit 64
    ;;
esac
