#!/usr/bin/env bash
# A crowd before a remote repository: 1,000 clients on one file of 4 MiB and 50 on one of 256 MiB, nobody having asked for them before.
# One GET reaches the upstream, everybody has the right bytes, and memory stays where it is. CROWD_SHARE=N asks for an N-th of both sizes.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

share=${CROWD_SHARE:-1}
crowd() { python3 "$here/crowd.py" "$@"; }
ulimit -n 8192 2>/dev/null || ulimit -n "$(ulimit -H -n)"
only_alone "the one server's memory is measured"
start_granary
# The program itself: of a function the shell that runs it would be stopped at the end, and not the program.
start upstream.err python3 "$here/crowd.py" upstream upstream.port upstream.log \
    small=$(((4 << 20) / share)) large=$(((256 << 20) / share)) wide=$(((64 << 20) / share))
wait_until 60 test -s upstream.port || fail "the upstream did not come up"
make_remote mirror generic "http://127.0.0.1:$(head -n 1 upstream.port)/"
digest() { sed -n "s/^$1=//p" upstream.port; }
asked() { grep -c "GET /$1\$" upstream.log || true; }
memory() { awk -v field="$1:" '$1 == field { print $2 }' "/proc/$granary_pid/status"; }

# meets NAME CLIENTS SLOW MIB: the crowd, what reached the upstream, and how much the server's memory grew at its peak.
meets() {
    local name=$1 clients=$2 slow=$3 limit=$4 before grown
    echo 5 >"/proc/$granary_pid/clear_refs" 2>/dev/null || true # the peak begins anew
    before=$(memory VmRSS)
    check "$clients clients get $name, $slow of them slowly, the others without waiting for these" \
        crowd clients "$url/general/mirror/$name" "$clients" "$(digest "$name")" "go-$name" "$slow"
    tail -n 1 "$scratch/out"
    check "... of one GET" same 1 "$(asked "$name")"
    grown=$((($(memory VmHWM) - before) / 1024))
    echo "      memory: $((before / 1024)) MiB before, $grown MiB more at the peak"
    check "... within $limit MiB" test "$grown" -le "$limit"
}

meets small 1000 20 384
meets large 50 5 128
# Each of them holds a slice at most, however many they are.
meets wide 200 10 128
conclude
