# shellcheck shell=bash
# Checks with real clients: a fresh server, and claims that are counted. Sourced by every run.sh, which scripts/clients runs with its tools on PATH.
#
#   check "claim" COMMAND...              holds when the command succeeds
#   refused "claim" TEXT COMMAND...       holds when it fails and says TEXT (an extended regular expression)
#                                         what it said is in $scratch/refusal afterwards
#   check "claim" status 404 URL ...      holds when curl gets that status; `header NAME` and `body` then tell of that answer
#   if needs TOOL "claim"; then ...       a missing tool is skipped with its reason here, and a failure in CI
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

suite=$(basename "$(dirname "$(realpath "$0")")")
here=$root/Tests/NativeClients/$suite
passed=0 failed=0 skipped=0
make_scratch "$suite"
cd "$scratch" || exit

# Clients under test take nothing from the machine's configuration.
# TERM: what twine says to a dumb terminal is wrapped at 80 columns.
export TERM=xterm
export HOME=$scratch/home PIP_CONFIG_FILE=/dev/null PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 UV_NO_CONFIG=1
unset PIP_FIND_LINKS PIP_INDEX_URL PIP_EXTRA_INDEX_URL UV_INDEX_URL UV_DEFAULT_INDEX http_proxy https_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
mkdir -p "$HOME"

# --- Claims ---

passes() {
    passed=$((passed + 1))
    printf 'ok    %s\n' "$1"
}

fails() {
    failed=$((failed + 1))
    printf 'FAIL  %s\n' "$1"
    sed 's/^/      | /' "$scratch/out" | tail -n 25
    echo
}

check() {
    local claim=$1
    shift
    if "$@" >"$scratch/out" 2>&1; then passes "$claim"; else fails "$claim"; fi
}

refused() {
    local claim=$1 text=$2
    shift 2
    if "$@" >"$scratch/out" 2>&1; then
        echo "(it succeeded)" >>"$scratch/out"
        fails "$claim"
    elif grep -qE -e "$text" "$scratch/out"; then
        cp "$scratch/out" "$scratch/refusal"
        passes "$claim"
    else
        echo "(it does not say: $text)" >>"$scratch/out"
        fails "$claim"
    fi
}

# needs TOOL CLAIM: false when it is not there, which CI counts as a failure. `wants` is for tools from a suite that moves: absent, never a failure.
needs() {
    have "$1" && return
    if [[ $in_ci == true ]]; then
        echo "$1 is required in CI" >"$scratch/out"
        fails "$2"
        return 1
    fi
    wants "$@"
}

wants() {
    have "$1" && return
    skipped=$((skipped + 1))
    printf 'skip  %s (no %s here)\n' "$2" "$1"
    return 1
}

# alone CLAIM WHY: false where several nodes run, with the reason; for a part of a suite that needs the one server's process or directory.
alone() {
    [[ -n ${CLUSTER_NODES:-} ]] || return 0
    skipped=$((skipped + 1))
    printf 'skip  %s (not with CLUSTER_NODES: %s)\n' "$1" "$2"
    return 1
}

# only_alone WHY: the same for a whole suite, which refuses.
only_alone() { [[ -z ${CLUSTER_NODES:-} ]] || fail "the suite $suite is not for CLUSTER_NODES: $1"; }

# The last line of every run.sh: the sum, and whether it is good.
conclude() {
    [[ -z ${COUNTS_FILE:-} ]] || echo "$passed $failed $skipped" >>"$COUNTS_FILE"
    if [[ $failed != 0 && -s ${server_log:-} ]]; then
        echo "--- the server's last words"
        tail -n 12 "$server_log"
    fi
    printf '%s: %d passed, %d failed, %d skipped\n' "$suite" "$passed" "$failed" "$skipped"
    [[ $failed == 0 && $passed != 0 ]]
}

# --- HTTP by curl ---

http() { curl -sS --max-time 120 -o "$scratch/body" -D "$scratch/headers" -w '%{http_code}' "$@"; }

# status CODE CURL-ARGUMENTS...: CODE may be a pattern (20[01]). Whatever Granary refuses, its log must say why.
status() {
    local wanted=$1 got
    shift
    got=$(http "$@") || { echo "curl failed: $got"; return 1; }
    if [[ $got =~ ^($wanted)$ ]]; then
        [[ $got != [45]?? ]] || log_says_why
        return
    fi
    printf 'status %s, wanted %s, for %s\n' "$got" "$wanted" "${*: -1}"
    cat "$scratch/headers"
    head -c 1000 "$scratch/body"
    return 1
}

# The log has a line for the last answer, found by its request id, with a code and a reason. What is not Granary's answer has no such id.
log_says_why() {
    local id
    id=$(header X-Correlation-ID)
    [[ -n $id ]] || return 0
    # The line follows the answer.
    wait_until 5 logged "$id" && return
    echo "the log does not say why request $id failed"
    grep -F "$id" "$server_log"
    return 1
}
logged() { grep -F "\"request\":\"$1\"" "$server_log" | grep -F '"request failed"' | grep -E '"code":"[^"]+"' | grep -qE '"reason":"[^"]+"'; }

# The value of a header of the last answer; with several of one name, each on a line.
header() { tr -d '\r' <"$scratch/headers" | sed -n "s/^$1: *//Ip"; }
body() { cat "$scratch/body"; }

# same WANTED GOT
same() {
    [[ $1 == "$2" ]] && return
    printf 'wanted: %s\ngot:    %s\n' "$1" "$2"
    return 1
}

header_is() { same "$2" "$(header "$1")"; }
header_matches() { [[ $(header "$1") =~ $2 ]] || { printf '%s: "%s" does not match %s\n' "$1" "$(header "$1")" "$2"; return 1; }; }
body_is_file() { cmp "$1" "$scratch/body"; }
body_says() { grep -qE -e "$1" "$scratch/body" || { echo "the body does not say: $1"; head -c 1000 "$scratch/body"; return 1; }; }
# json EXPRESSION: a Python expression over `d`, the last body; prints its value.
json() { python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$scratch/body" "$1"; }
json_is() { same "$2" "$(json "$1")"; }
# all COMMAND [-- COMMAND]...: each must succeed; the words of one command stand between `--`.
all() {
    local words=() word
    for word in "$@" --; do
        if [[ $word == -- ]]; then
            "${words[@]}" || return 1
            words=()
        else
            words+=("$word")
        fi
    done
}
sha256() { sha256sum "$1" | cut -d ' ' -f 1; }

# --- The server ---

# start_granary [FLAGS]: on a free port; again on the same data after `stop "$granary_pid"`, then at the same address.
# CLUSTER_NODES=N takes N nodes behind a load balancer instead, whose pids are in $node_pid; their one log is $server_log.
start_granary() {
    if [[ -n ${CLUSTER_NODES:-} ]]; then
        source "$root/scripts/tools.sh"
        source "$root/scripts/cluster.sh"
        ensure_cluster || fail "PostgreSQL, an S3 server or nginx cannot be had here"
        : "${server_log:=$scratch/server.log}"
        start_cluster "$scratch/cluster" "$CLUSTER_NODES" --set lockout_failures=1000 "$@"
        admin=(-u "admin:$password")
        return
    fi
    local port_file=$scratch/port listen=127.0.0.1:${port:-0}
    : "${data:=$scratch/data}" "${server_log:=$scratch/server.log}" "${password:=$(openssl rand -hex 16)}"
    rm -f "$port_file"
    # All clients are one address, and many of them are to be told of a wrong password; some ask several times.
    ADMIN_PASSWORD=$password start "$server_log" "${SERVER_BINARY:?scripts/clients builds it}" serve \
        --data "$data" --listen "$listen" --port-file "$port_file" --set lockout_failures=1000 "$@"
    granary_pid=$started_pid
    wait_until 60 test -s "$port_file" -o ! -d "/proc/$granary_pid" || true
    if [[ ! -s $port_file ]] || ! kill -0 "$granary_pid" 2>/dev/null; then
        tail -n 30 "$server_log" >&2
        fail "the server did not come up"
    fi
    port=$(tr -d '[:space:]' <"$port_file")
    port=${port##*:}
    url=http://127.0.0.1:$port
    wait_until 30 curl -sf "$url/readyz" || fail "the server is up but not ready"
    admin=(-u "admin:$password")
}

# What an administrator sets up is no claim: it stops the run when it fails.
set_up() {
    "$@" >"$scratch/out" 2>&1 && return
    cat "$scratch/out" >&2
    [[ -z ${server_log:-} ]] || tail -n 20 "$server_log" >&2
    fail "set-up failed: $*"
}

# make_repository KEY FORMAT [MORE-JSON-FIELDS]
make_repository() {
    set_up status 200 "${admin[@]}" -H 'Content-Type: application/json' "$url/api/v1/repositories" \
        -d "{\"key\":\"$1\",\"name\":\"$1\",\"format\":\"$2\",\"repo_type\":\"local\"${3:+,$3}}"
}

# make_remote KEY FORMAT UPSTREAM [MORE-JSON-FIELDS]: public, and allowed to fetch from this machine.
make_remote() {
    set_up status 200 "${admin[@]}" -H 'Content-Type: application/json' "$url/api/v1/repositories" \
        -d "{\"key\":\"$1\",\"name\":\"$1\",\"format\":\"$2\",\"repo_type\":\"remote\",\"upstream_url\":\"$3\",\"is_public\":true,\"upstream_allow_private\":true${4:+,$4}}"
}

# make_virtual KEY FORMAT "MEMBER..." [MORE-JSON-FIELDS]: its members in this order of precedence.
make_virtual() {
    local members='' member priority=0
    for member in $3; do
        members+="${members:+,}{\"repo_key\":\"$member\",\"priority\":$priority}"
        priority=$((priority + 1))
    done
    set_up status 200 "${admin[@]}" -H 'Content-Type: application/json' "$url/api/v1/repositories" \
        -d "{\"key\":\"$1\",\"name\":\"$1\",\"format\":\"$2\",\"repo_type\":\"virtual\",\"member_repos\":[$members]${4:+,$4}}"
}

# nowhere_listed KEY WORD: who has no credential finds nothing by the word, and it counts in no total.
nowhere_listed() {
    status 200 "$url/api/v1/packages?repository_key=$1&search=$2" && json_is 'd["pagination"]["total"], d["items"]' '(0, [])' &&
        status 200 "$url/api/v1/repositories/$1/artifacts?q=$2" && json_is 'd["pagination"]["total"], d["items"]' '(0, [])'
}

# make_user NAME: a user without any right of its own; its password is in $user_password.
user_password=correct-horse-7-battery
make_user() {
    set_up status 200 "${admin[@]}" -H 'Content-Type: application/json' "$url/api/v1/users" \
        -d "{\"username\":\"$1\",\"email\":\"$1@example.org\",\"password\":\"$user_password\"}"
}

# make_permission NAME KEY ACTION PATTERN: what a user may do with the names in a repository that the pattern covers.
make_permission() {
    local user repository
    set_up status 200 "${admin[@]}" "$url/api/v1/users?search=$1"
    user=$(json "[u['id'] for u in d['items'] if u['username'] == '$1'][0]")
    set_up status 200 "${admin[@]}" "$url/api/v1/repositories/$2"
    repository=$(json 'd["id"]')
    set_up status 200 "${admin[@]}" -H 'Content-Type: application/json' "$url/api/v1/permissions" \
        -d "{\"principal_type\":\"user\",\"principal_id\":\"$user\",\"target_type\":\"repository\",\"target_id\":\"$repository\",\"actions\":[\"$3\"],\"patterns\":[\"$4\"]}"
}

# make_token NAME: an API token of that user, to read and write, in $user_token.
make_token() {
    set_up status 200 -u "$1:$user_password" -H 'Content-Type: application/json' "$url/api/v1/auth/tokens" \
        -d '{"name":"ci","scopes":["read:artifacts","write:artifacts"]}'
    user_token=$(json 'd["token"]')
}

# make_second_factor NAME: from now on the user's password alone opens nothing (RFC 6238).
make_second_factor() {
    local code
    set_up status 200 -u "$1:$user_password" -X POST "$url/api/v1/auth/totp/setup"
    code=$(python3 -c 'import base64, hashlib, hmac, struct, sys, time
key = base64.b32decode(sys.argv[1] + "=" * (-len(sys.argv[1]) % 8))
mac = hmac.new(key, struct.pack(">Q", int(time.time()) // 30), hashlib.sha1).digest()
print("%06d" % ((struct.unpack(">I", mac[mac[-1] & 15:][:4])[0] & 0x7FFFFFFF) % 1000000))' "$(json 'd["secret"]')")
    set_up status 200 -u "$1:$user_password" -H 'Content-Type: application/json' "$url/api/v1/auth/totp/enable" -d "{\"code\":\"$code\"}"
}
