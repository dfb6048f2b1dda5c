# env.sh: the private installation that every script in test/ works in. Source it with the repository's root in DM_REPO.
#
# 1. All that is written lies in the repository and in ONE private folder, DM_PRIVATE: <repo>/.datamill, or, if the user the
#    server runs as cannot reach the repository, a folder in /var/tmp that .datamill then points to.
# 2. DM_PRIVATE/pgroot is a relocated Postgres: its programs are copies, all else of it links to the system's files, and
#    datamill is installed there. No system folder is written and no system cluster is touched.
# 3. Servers run as DM_SERVER_USER: as "postgres" when root calls (Postgres refuses root), else as the caller. They listen
#    on a socket in a folder that only this user (and root) can enter, and on nothing else.
# 4. Every wait has an end.

umask 022
for dm_name in $(compgen -e | grep -E '^(PG|AWS_|MAKE|MFLAGS|DESTDIR|BASH_ENV|CDPATH|TMPDIR)'); do unset "$dm_name"; done
export LC_ALL=C.UTF-8

DM_PG_MAJOR=15
DM_PG_LIB=/usr/lib/postgresql/$DM_PG_MAJOR
DM_PG_SHARE=/usr/share/postgresql/$DM_PG_MAJOR
DM_PG_CONFIG=$DM_PG_LIB/bin/pg_config
DM_PRIVATE=
DM_SERVER_USER=

. "$DM_REPO/test/lib/packages.sh"

# Prints a message and ends the script.
die() {
  echo "error: $*" >&2
  exit 1
}

# Says what is being done.
step() {
  echo "== $*"
}

# Runs a command as the server's user, in a clean environment. Arguments before the command may be NAME=value.
as_server() {
  local env=(env -i "HOME=$DM_PRIVATE" "PATH=$DM_BIN:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" LC_ALL=C.UTF-8 TZ=UTC)
  (
    cd / || exit 1
    exec 9>&-
    if [ "$(id -un)" = "$DM_SERVER_USER" ]; then
      "${env[@]}" "$@"
    else
      setpriv --reuid="$DM_SERVER_USER" --regid="$DM_SERVER_USER" --init-groups "${env[@]}" "$@"
    fi
  )
}

# Sets DM_SERVER_USER and DM_PRIVATE and makes the folder. The packages must be installed.
env_init() {
  [ -x "$DM_PG_CONFIG" ] || die "PostgreSQL $DM_PG_MAJOR is not installed (no $DM_PG_CONFIG)"
  DM_SERVER_USER=$(id -un)
  if [ "$(id -u)" = 0 ]; then
    DM_SERVER_USER=postgres
    id postgres >/dev/null 2>&1 || die "there is no user postgres to run the server as"
  fi
  DM_BIN=/usr/bin
  private_folder_find
  DM_PGROOT=$DM_PRIVATE/pgroot
  DM_BIN=$DM_PGROOT$DM_PG_LIB/bin
}

# Lets only one script at a time work in the private folder. The lock is file descriptor 9, which servers do not inherit.
# A script that runs another one sets DM_LOCKED for it.
env_lock() {
  [ -z "${DM_LOCKED:-}" ] || return 0
  exec 9>"$DM_PRIVATE/lock"
  flock -w 900 9 || die "another script has been working in $DM_PRIVATE for 15 minutes"
}

# True if the server's user can enter the folder $1.
server_can_enter() {
  as_server test -x "$1" -a -r "$1"
}

# Fails unless $1 is a real folder of the caller's that nobody else can write to.
private_folder_check() {
  [ -d "$1" ] && [ ! -L "$1" ] || die "$1 is not a folder"
  [ "$(stat -c %u "$1")" = "$(id -u)" ] || die "$1 belongs to another user: remove it, or run as $(stat -c %U "$1")"
  case $(stat -c %A "$1") in
    ?????-??-?) ;;
    *) die "$1 can be written by others: remove it" ;;
  esac
}

# Finds or makes the private folder and sets DM_PRIVATE.
private_folder_find() {
  local link=$DM_REPO/.datamill
  if [ ! -L "$link" ]; then
    mkdir -p "$link" || die "cannot make $link"
    private_folder_check "$link"
    case $link in
      *[[:space:]\'\"\\\$,]*) ;;
      *) if server_can_enter "$link"; then DM_PRIVATE=$link; return; fi ;;
    esac
    rmdir "$link" || die "user $DM_SERVER_USER cannot enter $link any more: remove it"
  fi
  DM_PRIVATE=/var/tmp/datamill-$(printf '%s' "$(id -u) $DM_REPO" | sha256sum | cut -c1-12)
  mkdir -m 755 "$DM_PRIVATE" 2>/dev/null || true
  private_folder_check "$DM_PRIVATE"
  chmod 711 "$DM_PRIVATE"
  ln -sfn "$DM_PRIVATE" "$link"
}

# Fails if the private folder's disk has less than $1 megabytes free.
need_space() {
  local free
  free=$(df -Pm "$DM_PRIVATE" | awk 'NR == 2 { print $4 }')
  [ "$free" -ge "$1" ] || die "$DM_PRIVATE has $free MB free, $1 MB are needed"
}

# Builds datamill; arguments go to make. The output is shown only if it fails.
build() {
  local log=$DM_PRIVATE/build.log
  if ! make -C "$DM_REPO" -s -j"$(nproc)" PG_CONFIG="$DM_PG_CONFIG" "$@" all >"$log" 2>&1; then
    tail -n 60 "$log" >&2
    die "the build failed; all of its output is in $log"
  fi
}

# Makes the private Postgres tree, if it is not there or the system's files are not those that it was made of, and installs
# datamill into it.
install_private() {
  local version lib=$DM_PGROOT$DM_PG_LIB share=$DM_PGROOT$DM_PG_SHARE f log=$DM_PRIVATE/install.log
  version="$("$DM_PG_CONFIG" --version) $(find "$DM_PG_LIB/lib" "$DM_PG_SHARE/extension" -maxdepth 1 ! -name 'datamill*' | sort | cksum)"
  if [ "$(cat "$DM_PGROOT/version" 2>/dev/null)" != "$version" ]; then
    for f in "$DM_PRIVATE"/*/data; do
      [ ! -d "$f" ] || { cluster_use "$(basename "${f%/data}")"; cluster_stop; }
    done
    rm -rf "$DM_PGROOT"
    mkdir -p "$lib" "$share/extension"
    cp -a "$DM_PG_LIB/bin" "$lib/"
    mkdir -p "$lib/lib"
    find "$DM_PG_LIB/lib" -mindepth 1 -maxdepth 1 ! -name 'datamill*' -exec ln -s -t "$lib/lib" {} +
    find "$DM_PG_SHARE" -mindepth 1 -maxdepth 1 ! -name extension -exec ln -s -t "$share" {} +
    find "$DM_PG_SHARE/extension" -mindepth 1 -maxdepth 1 ! -name 'datamill*' -exec ln -s -t "$share/extension" {} +
    echo "$version" >"$DM_PGROOT/version"
  fi
  rm -f "$lib"/lib/datamill* "$share"/extension/datamill*
  if ! make -C "$DM_REPO" -s install PG_CONFIG="$DM_PG_CONFIG" DESTDIR="$DM_PGROOT" "$@" >"$log" 2>&1; then
    cat "$log" >&2
    die "the installation into $DM_PGROOT failed"
  fi
}

# Prints $1 (1 if not given) TCP ports that nothing listens on, on one line.
free_ports() {
  perl -MSocket -e '
    for (1 .. shift) {
      socket(my $s, PF_INET, SOCK_STREAM, 0) or die; bind($s, sockaddr_in(0, INADDR_LOOPBACK)) or die;
      push @s, $s; push @p, (sockaddr_in(getsockname($s)))[0];
    }
    print "@p\n"' "${1:-1}"
}

# Prints the first of $1 consecutive TCP ports that nothing listens on.
free_port_range() {
  perl -MSocket -e '
    my $n = shift;
    TRY: for (1 .. 200) {
      my ($base, @s) = 21000 + int(rand(9000));
      for my $p ($base .. $base + $n - 1) {
        socket(my $s, PF_INET, SOCK_STREAM, 0) or die; bind($s, sockaddr_in($p, INADDR_LOOPBACK)) or next TRY; push @s, $s;
      }
      print "$base\n"; exit 0;
    }
    exit 1' "$1"
}

# Makes an empty folder that belongs to the server's user; $2 is its mode. Its parent must be the caller's, since root would
# else give away whatever that user had linked there.
server_folder() {
  rm -rf "$1"
  mkdir -p "$1"
  chmod "${2:-700}" "$1"
  [ "$(id -un)" = "$DM_SERVER_USER" ] || chown "$DM_SERVER_USER:" "$1"
}

# Names the cluster $1 the current one: sets DM_CLUSTER (its folder), DM_DATA, DM_LOG, and, if it has been made, DM_SOCKET
# and DM_PORT.
cluster_use() {
  DM_CLUSTER=$DM_PRIVATE/$1
  DM_DATA=$DM_CLUSTER/data
  DM_LOG=$DM_CLUSTER/log
  DM_SOCKET=$(cat "$DM_CLUSTER/socket" 2>/dev/null || true)
  DM_PORT=$(cat "$DM_CLUSTER/port" 2>/dev/null || true)
}

# True if the current cluster's server runs.
cluster_runs() {
  [ -e "$DM_DATA/postmaster.pid" ] && as_server pg_ctl -D "$DM_DATA" status >/dev/null 2>&1
}

# Stops the current cluster's server, if it runs. $1 is the mode, fast if not given.
cluster_stop() {
  cluster_runs || return 0
  as_server pg_ctl -D "$DM_DATA" -m "${1:-fast}" -w -t 60 stop >/dev/null 2>&1 ||
    as_server pg_ctl -D "$DM_DATA" -m immediate -w -t 30 stop >/dev/null 2>&1 ||
    die "the server in $DM_DATA does not stop"
}

# Makes the current cluster anew; each argument is a line for its postgresql.conf.
cluster_make() {
  local line
  cluster_stop immediate
  case $DM_SOCKET in /tmp/datamill-*) rm -rf "$DM_SOCKET" ;; esac
  rm -rf "$DM_CLUSTER"
  mkdir -p "$DM_CLUSTER"
  server_folder "$DM_DATA"
  server_folder "$DM_LOG"
  DM_SOCKET=$DM_CLUSTER/socket.d
  # A socket's whole path has to fit in 107 bytes.
  [ ${#DM_SOCKET} -le 90 ] || DM_SOCKET=$(mktemp -d /tmp/datamill-XXXXXXXX)
  server_folder "$DM_SOCKET"
  echo "$DM_SOCKET" >"$DM_CLUSTER/socket"
  DM_PORT=$(free_ports)
  echo "$DM_PORT" >"$DM_CLUSTER/port"
  as_server initdb -D "$DM_DATA" -U postgres -A trust -E UTF8 --locale=C.UTF-8 -N >"$DM_CLUSTER/initdb.log" 2>&1 ||
    { cat "$DM_CLUSTER/initdb.log" >&2; die "initdb failed"; }
  {
    echo "port = $DM_PORT"
    echo "listen_addresses = ''"
    echo "unix_socket_directories = '$DM_SOCKET'"
    echo "unix_socket_permissions = 0700"
    echo "log_destination = stderr"
    echo "logging_collector = off"
    echo "log_line_prefix = '%m [%p] %q%a '"
    echo "timezone = UTC"
    for line in "$@"; do echo "$line"; done
  } | as_server tee -a "$DM_DATA/postgresql.conf" >/dev/null
}

# Starts the current cluster's server, if it does not run.
cluster_start() {
  cluster_runs && return 0
  as_server pg_ctl -D "$DM_DATA" -l "$DM_LOG/server.log" -w -t 60 start >/dev/null 2>&1 && return 0
  tail -n 30 "$DM_LOG/server.log" >&2
  die "the server did not start"
}

# Runs psql on the current cluster as its superuser.
psql_private() {
  PGAPPNAME=datamill-test "$DM_BIN/psql" -X -P pager=off -h "$DM_SOCKET" -p "$DM_PORT" -U postgres "$@"
}

# Copies the folder $1 to $2, to belong to the server's user. The parent of $2 must be the caller's.
copy_for_server() {
  rm -rf "$2"
  mkdir -p "$2"
  if [ -d "$1" ]; then cp -R --preserve=mode,timestamps "$1/." "$2/"; fi
  chmod -R u+rwX,go+rX "$2"
  [ "$(id -un)" = "$DM_SERVER_USER" ] || chown -R "$DM_SERVER_USER:" "$2"
}
