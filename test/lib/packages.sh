# packages.sh: Debian packages that datamill needs, and how the missing ones are installed. Sourced by the scripts in test/.
#
# Only what dpkg does not know as installed is asked of apt-get, so a second run asks nothing. Installing the server package
# normally creates and starts a system cluster "main": that is switched off for the one installation this file causes, and
# a cluster that is there already is never touched.

DM_PACKAGES_BUILD="postgresql-15 postgresql-client-15 postgresql-server-dev-15 gcc make libc6-dev libcurl4-openssl-dev
  libssl-dev zlib1g-dev libzstd-dev libjansson-dev libexpat1-dev libxxhash-dev perl util-linux procps"
DM_PACKAGES_S3="radosgw ceph-mon ceph-osd ceph-common curl openssl python3"
DM_PACKAGES_TEST="$DM_PACKAGES_S3 libipc-run-perl cppcheck zstd python3-croniter python3-html5lib python3-prometheus-client
  postgresql-15-cron python3-aiosmtpd"

# Prints those of the given packages that are not installed.
packages_missing() {
  local p
  for p in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || printf '%s ' "$p"
  done
}

# Runs a command as root: as it is for root, else through sudo.
packages_as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Installs what is missing of the given packages; returns 1 with a message if that cannot be done.
packages_install() {
  local missing conf=/etc/postgresql-common/createcluster.d/datamill-no-main.conf rc=0
  missing=$(packages_missing "$@")
  [ -n "$missing" ] || return 0
  if ! command -v apt-get >/dev/null; then
    echo "missing packages (Debian names): $missing" >&2
    return 1
  fi
  if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
    echo "missing packages: $missing" >&2
    echo "install them as root: apt-get install --no-install-recommends $missing" >&2
    return 1
  fi
  echo "installing: $missing"
  case " $missing " in
    *" postgresql-15 "*)
      packages_as_root mkdir -p "${conf%/*}"
      echo "create_main_cluster = off" | packages_as_root tee "$conf" >/dev/null ;;
  esac
  # shellcheck disable=SC2086
  packages_apt $missing || rc=1
  if [ -e "$conf" ]; then packages_as_root rm -f "$conf"; fi
  [ $rc = 0 ] || echo "apt-get could not install: $missing" >&2
  return $rc
}

# Runs apt-get install, with the package lists refreshed first if they do not know all of the packages or are stale.
packages_apt() {
  local env="env DEBIAN_FRONTEND=noninteractive"
  local install="$env apt-get -y -q -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 install --no-install-recommends"
  packages_as_root $install "$@" </dev/null >/dev/null 2>&1 && return 0
  packages_as_root $env apt-get -q -o DPkg::Lock::Timeout=300 update </dev/null >/dev/null || return 1
  packages_as_root $install "$@" </dev/null >/dev/null
}
