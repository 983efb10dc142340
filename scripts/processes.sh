# shellcheck shell=bash
# Sourced by scripts that run servers: starts processes, waits for what they do, and stops every one of them
# however the script ends. Sets traps; expects `set -euo pipefail` and a directory in $logs.

: "${logs:?a directory for logs}"
declare -A service_pid=()
service_names=()
foreground_pid=
# Where messages go, also from inside a command whose own errors go to a log.
exec 8>&2
# The servers are here, and no proxy leads to them.
export no_proxy=127.0.0.1,localhost NO_PROXY=127.0.0.1,localhost

# phase WHAT: says it, with the seconds since the script began.
phase() { printf '%5d s  %s\n' "$SECONDS" "$1"; }

# skipped WHY WHAT: says what this machine cannot do. That is no failure, and nobody shall take it for a success.
skipped() { printf '\n!! SKIPPED: %s\n!! %s\n\n' "$1" "$2"; }

# skip WHY WHAT: ends the script with that.
skip() {
    skipped "$@"
    exit 0
}

# Ends the script with a message, and with the end of a log where one is named.
fail() {
    {
        echo "${0##*/}: $1"
        if [[ -n ${2:-} && -s $logs/$2.log ]]; then
            echo "--- the end of $logs/$2.log"
            tail -n 25 "$logs/$2.log"
        fi
    } >&8
    exit 1
}

# start NAME COMMAND…: a server in the background, with $logs/NAME.log. Own session: Ctrl-C at the terminal must reach
# this script alone, which then stops servers in order. If the script itself is killed, the kernel ends them.
start() {
    local name=$1
    shift
    setsid setpriv --pdeathsig TERM -- "$@" >"$logs/$name.log" 2>&1 </dev/null 8>&- 9>&- &
    service_pid[$name]=$!
    service_names+=("$name")
}

# attend COMMAND…: runs it to its end and gives its status; fails at once if a server ends meanwhile. In the background,
# because bash runs no trap while it waits for a command in the foreground.
attend() {
    local status=0
    setsid setpriv --pdeathsig TERM -- "$@" </dev/null 8>&- 9>&- &
    foreground_pid=$!
    wait -n "$foreground_pid" "${service_pid[@]}" || status=$?
    if kill -0 "$foreground_pid" 2>/dev/null; then
        check_services
        wait "$foreground_pid" || status=$?
    fi
    foreground_pid=
    return "$status"
}

check_services() {
    local name
    for name in "${service_names[@]}"; do
        kill -0 "${service_pid[$name]}" 2>/dev/null || fail "$name stopped by itself" "$name"
    done
}

# How long tests wait for anything before that is a failure. A machine that is busy with other things may need most of it.
# shellcheck disable=SC2034  # for those who source this
readonly patience=240

# wait_until SECONDS LOG WHAT COMMAND…: polls until the command succeeds; fails naming WHAT after SECONDS.
wait_until() {
    local deadline=$((SECONDS + $1)) log=$2 what=$3
    shift 3
    until "$@" >/dev/null 2>&1; do
        check_services
        [[ $SECONDS -lt $deadline ]] || fail "gave up waiting: $what" "$log"
        sleep 0.2
    done
}

# Asks one process to end, waits up to 20 s, and then takes all of its session.
end_session() {
    local pid=$1 signal=${2:-TERM} waited=0
    kill "-$signal" "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null && [[ $waited -lt 200 ]]; do
        sleep 0.1
        waited=$((waited + 1))
    done
    kill -KILL -- "-$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
}

# stop NAME [SIGNAL]
stop() {
    end_session "${service_pid[$1]}" "${2:-TERM}"
    unset "service_pid[$1]"
    local name left=()
    for name in "${service_names[@]}"; do
        [[ $name == "$1" ]] || left+=("$name")
    done
    service_names=("${left[@]}")
}

# Last started, first stopped: an agent says goodbye while its registry still listens.
stop_all() {
    trap '' INT TERM HUP
    [[ -z $foreground_pid ]] || end_session "$foreground_pid"
    while [[ ${#service_names[@]} -gt 0 ]]; do
        stop "${service_names[-1]}"
    done
}

# free_ports N: N different free ports of 127.0.0.1, on one line.
free_ports() {
    python3 - "$1" <<'PYTHON'
import socket, sys
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(s.getsockname()[1] for s in held))
PYTHON
}

trap stop_all EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
