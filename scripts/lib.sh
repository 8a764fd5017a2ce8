# shellcheck shell=bash
# What every script here shares: where things are, how to talk, how to start a process and be sure it ends.
# Source it; it sets strict mode and one EXIT trap (add to it with `at_exit`).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Clients and daemons under test, unpacked: nothing of them is installed on the machine.
tools=$root/.tools
in_ci=${CI:-false}
# One configuration for tests, clients, torture and benchmarks, so that one build serves them all.
build_flags=(-c release -Xswiftc -enable-testing)
# All tests at once starve each other on a small machine until deadlines meant for hung tests strike; a few at a time take no longer.
export SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH=6

note() { printf '== %s\n' "$*" >&2; }
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# --- The end: whatever was started is stopped by its recorded pid, however the script ends. ---

started=()
exit_commands=()
at_exit() { exit_commands+=("$*"); }

# start LOG COMMAND...: runs it in the background; its pid is in $started_pid.
start() {
    local log=$1
    shift
    "$@" >>"$log" 2>&1 </dev/null &
    started_pid=$!
    started+=("$started_pid")
    # Not a job of this shell: it would announce each kill.
    disown "$started_pid"
}

# stop PID [SIGNAL]: asks it to end, waits ten seconds, then insists.
stop() {
    local pid=$1 signal=${2:-TERM} hundredths
    kill "-$signal" "$pid" 2>/dev/null || return 0
    for ((hundredths = 0; hundredths < 1000; hundredths++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.01
    done
    kill -KILL "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
    local rest=() other
    for other in "${started[@]}"; do [[ $other == "$pid" ]] || rest+=("$other"); done
    started=("${rest[@]}")
}

finish() {
    local code=$? pid command
    trap - EXIT
    for pid in "${started[@]}"; do stop "$pid"; done
    for command in "${exit_commands[@]}"; do eval "$command" || true; done
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# A folder of this run's own, gone afterwards; KEEP=1 leaves it for a look.
make_scratch() {
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/granary-$1.XXXXXX")
    # shellcheck disable=SC2016  # expanded when the trap runs
    at_exit '[[ -n ${KEEP:-} ]] && note "kept $scratch" || rm -rf "$scratch"'
}

# --- Waiting and ports ---

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# wait_until SECONDS COMMAND...: polls until the command succeeds.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
wait_for_port() { wait_until "${2:-30}" port_open "$1"; }

# --- A throw-away certificate authority, for clients that insist on TLS ---

# make_certificate DIR: DIR/ca.pem signs DIR/server.pem (key DIR/server.key) for localhost and 127.0.0.1.
make_certificate() {
    local dir=$1
    mkdir -p "$dir"
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=throw-away CA' -keyout "$dir/ca.key" -out "$dir/ca.pem" 2>/dev/null
    openssl req -newkey rsa:2048 -nodes -subj '/CN=localhost' -keyout "$dir/server.key" -out "$dir/server.csr" 2>/dev/null
    openssl x509 -req -days 2 -in "$dir/server.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial -out "$dir/server.pem" \
        -extfile <(printf 'subjectAltName=DNS:localhost,IP:127.0.0.1') 2>/dev/null
}

# --- Stages: what took how long ---

stage_times=()
stage() {
    local name=$1 from=$SECONDS code=0
    shift
    note "$name"
    "$@" || code=$?
    stage_times+=("$(printf '%6d s  %s' $((SECONDS - from)) "$name")")
    return "$code"
}
print_stage_times() { printf '%s\n' "${stage_times[@]}" >&2; }
