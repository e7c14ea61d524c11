# What run and stop of the demo share: where it lives, and how to end it.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

DEMO=${DEMO_DIR:-/tmp/profenrich-demo-$(id -u)}

# A directory in /tmp that somebody else made is not ours to use, or to empty.
check_directory() {
	if [ -e "$DEMO" ] && { [ -L "$DEMO" ] || [ ! -O "$DEMO" ] && [ "$(id -u)" != 0 ]; }; then
		echo "$DEMO is not yours: set DEMO_DIR to another place" >&2
		exit 1
	fi
	if [ -e "$DEMO" ] && [ ! -e "$DEMO/.profenrich-demo" ] && [ -n "$(ls -A "$DEMO")" ]; then
		echo "$DEMO holds something else: set DEMO_DIR to another place" >&2
		exit 1
	fi
}

# Ends the demo's cluster and its stand-in platform, whichever of them run. No process is found by its name:
# only those whose pid files lie in the demo's own directory are asked to stop.
stop_demo() {
	local pid
	if [ -e "$DEMO/data/postmaster.pid" ]; then
		as_server_user "$DEMO$PG_HOME/bin/pg_ctl" -D "$DEMO/data" -m fast -w -t 30 stop >/dev/null 2>&1 ||
			as_server_user "$DEMO$PG_HOME/bin/pg_ctl" -D "$DEMO/data" -m immediate -w -t 10 stop >/dev/null 2>&1 || true
	fi
	if [ -s "$DEMO/platform/pid" ]; then
		pid=$(cat "$DEMO/platform/pid")
		if grep -qaF "$DEMO/platform" "/proc/$pid/cmdline" 2>/dev/null; then
			as_server_user kill "$pid" 2>/dev/null || true
			for _ in $(seq 50); do
				[ -e "/proc/$pid" ] || break
				sleep 0.1
			done
		fi
	fi
}
