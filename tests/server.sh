#!/bin/sh
# One database server in the foreground, for a test that fills its disk or takes it away:
#   tests/server.sh mariadb|postgres FOLDER PORT [MIB]
# FOLDER has to exist; it is empty, or holds what this server left there. With MIB, a disk of that size is mounted there first: then start this by `unshare --mount`, so that it goes with
# the process. On 127.0.0.1, an administrator without a password, and what is
# committed is safe from the end of the process, not from that of the machine.
set -eu
kind=$1 folder=$2 port=$3 size=${4:-0}

[ "$size" = 0 ] || mount -t tmpfs -o "size=${size}m" tmpfs "$folder"
as() { # as USER COMMAND...: neither server runs as root
  user=$1; shift
  if [ "$(id -u)" = 0 ]; then exec setpriv --reuid "$user" --regid "$user" --init-groups "$@"; else exec "$@"; fi
}
case $kind in
  mariadb)
    server=$(command -v mariadbd || echo /usr/sbin/mariadbd)
    [ "$(id -u)" != 0 ] || chown mysql "$folder"
    # A temporary folder of its own, because each start of a MariaDB clears what others have under its names there.
    small="--innodb-data-file-path=ibdata1:10M:autoextend --innodb-temp-data-file-path=ibtmp1:5M:autoextend --innodb-autoextend-increment=1 --innodb-log-file-size=4M"
    # shellcheck disable=SC2086
    [ -d "$folder/data" ] || (as mysql mariadb-install-db --no-defaults $small --tmpdir="$folder" --datadir="$folder/data" --auth-root-authentication-method=normal --skip-test-db)
    # shellcheck disable=SC2086
    as mysql "$server" --no-defaults $small --tmpdir="$folder" --datadir="$folder/data" --bind-address=127.0.0.1 --port="$port" --socket="$folder/s.sock" \
      --pid-file="$folder/pid" --skip-name-resolve --performance-schema=OFF --skip-log-bin --innodb-flush-log-at-trx-commit=2 \
      --innodb-doublewrite=0 --innodb-flush-method=nosync --innodb-buffer-pool-size=16M --aria-pagecache-buffer-size=4M \
      --character-set-server=utf8mb4 --collation-server=utf8mb4_unicode_ci
    ;;
  postgres)
    bin=$(find /usr/lib/postgresql -maxdepth 2 -name bin | sort -V | tail -n 1)
    [ -x "$bin/initdb" ] || bin=$(dirname "$(command -v initdb)")
    [ "$(id -u)" != 0 ] || chown postgres "$folder"
    [ -d "$folder/data" ] || (as postgres "$bin/initdb" -D "$folder/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync --wal-segsize=4)
    as postgres "$bin/postgres" -D "$folder/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
      -c fsync=off -c full_page_writes=off -c shared_buffers=16MB -c timezone=UTC -c max_wal_size=16MB -c min_wal_size=8MB
    ;;
esac
