# test/lib.sh: what the test, demo and bench scripts share. Source it; it sets
# ROOT (the source tree), PG_VERSION and the functions below.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PG_VERSION=${PG_VERSION:-15}
PG_HOME=/usr/lib/postgresql/$PG_VERSION
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1

# The person's own privileges, or sudo's: only packages need it.
as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# A server refuses to run as root: switch to the postgres user there, away from a
# directory that user may not be able to enter.
as_server_user() {
	if [ "$(id -u)" != 0 ]; then
		"$@"
		return
	fi
	local directory=/
	[ -n "${STAGE:-}" ] && case $PWD in "$STAGE"*) directory=$PWD ;; esac
	(cd "$directory" && runuser -u postgres -- env HOME="${STAGE:-/tmp}" "$@")
}

# need_packages NAME...: install what is missing.
need_packages() {
	local missing=() name
	for name in "$@"; do
		dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'install ok installed' || missing+=("$name")
	done
	[ ${#missing[@]} = 0 ] && return 0
	echo "installing: ${missing[*]}" >&2
	# A package's own server must not start: every server here is a private one.
	if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
		as_root mkdir -p /etc/postgresql-common
		echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
	fi
	case " ${missing[*]} " in *' openssh-server '*)
		as_root mkdir -p /etc/ssh
		as_root touch /etc/ssh/sshd_not_to_be_run ;;
	esac
	quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
		quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			-o Dpkg::Options::=--force-confold "${missing[@]}"
}

# quietly COMMAND...: what it printed is shown only when it failed.
quietly() {
	local output status=0
	output=$("$@" 2>&1) || status=$?
	[ $status = 0 ] || printf '%s\n' "$output" >&2
	return $status
}

BUILD_PACKAGES="gcc make libc6-dev postgresql-$PG_VERSION postgresql-server-dev-$PG_VERSION
	libpq-dev libcurl4-openssl-dev libjson-c-dev libsnappy-dev libzstd-dev liblz4-dev zlib1g-dev"
RUN_PACKAGES="python3 openssl procps util-linux"
TEST_PACKAGES="clang clang-format libclang-rt-14-dev perl libipc-run-perl python3-sklearn python3-xgboost python3-numpy python3-pandas chromium python3-pil python3-yaml python3-jsonschema python3-prometheus-client postgresql-$PG_VERSION-cron libfaketime r-base-core r-cran-nnet openssh-server python3-asyncssh"

# need_duckdb DIR: DuckDB from npm under DIR/node_modules, unless it is there already.
need_duckdb() {
	command -v node >/dev/null 2>&1 || need_packages nodejs || return 1
	command -v npm >/dev/null 2>&1 || need_packages npm || return 1
	if [ ! -d "$1/node_modules/@duckdb/node-api" ] || ! cmp -s "$ROOT/test/package-lock.json" "$1/package-lock.json"; then
		mkdir -p "$1"
		cp "$ROOT/test/package.json" "$ROOT/test/package-lock.json" "$1/"
		(cd "$1" && quietly npm ci --loglevel=error --no-audit --no-fund)
	fi
}

# stage_server DIR: a private copy of the installed server under DIR, with the
# extension in it; sets PGBIN and PG_CONFIG to it. Nothing is installed system-wide.
stage_server() {
	local prefix=$1$PG_HOME share=$1/usr/share/postgresql/$PG_VERSION
	if [ ! -x "$prefix/bin/postgres" ]; then
		mkdir -p "$prefix" "$(dirname "$share")"
		cp -a "$PG_HOME/bin" "$prefix/bin"
		cp -as "$PG_HOME/lib" "$prefix/lib"
		cp -as "/usr/share/postgresql/$PG_VERSION" "$share"
		ln -s /usr/include "$1/usr/include"
	fi
	# Packages that came since the copy was made.
	cp -asn "$PG_HOME/lib/." "$prefix/lib/"
	cp -asn "/usr/share/postgresql/$PG_VERSION/." "$share/"
	PGBIN=$prefix/bin
	PG_CONFIG=$prefix/bin/pg_config
	export PGBIN PG_CONFIG
	make -C "$ROOT" -s -j"$(nproc)" PG_CONFIG="$PG_CONFIG" all >&2 &&
		make -C "$ROOT" -s PG_CONFIG="$PG_CONFIG" install >/dev/null
}

# new_stage NAME: a scratch directory that the server user can write; sets STAGE.
new_stage() {
	if [ -n "${STAGE_DIR:-}" ]; then
		STAGE=$STAGE_DIR
		mkdir -p "$STAGE"
	else
		STAGE=$(mktemp -d "/tmp/profenrich-$1.XXXXXX")
	fi
	chmod 755 "$STAGE"
	[ "$(id -u)" = 0 ] && chown postgres "$STAGE"
	export STAGE
}
