# shellcheck shell=bash
# Remote and virtual: a cache in front of another one, several read as one.
mkdir -p foreign
start_foreign() { # NAME [--wrong-bytes]
    rm -f "$1.port"
    start "$1.err" python3 "$here/foreign.py" "$1.port" "$1.log" foreign "${@:2}"
    foreign_pid=$started_pid
    wait_until 20 test -s "$1.port" || fail "the foreign cache did not come up"
    foreign_url=http://127.0.0.1:$(<"$1.port")
}
gets() { status 200 "$1" && body_is_file "$2"; }
fetched_once() { same 1 "$(grep -c "GET $2\$" "$1.log")"; }

start_foreign far
far_pid=$foreign_pid far_url=$foreign_url
set_up status 201 -T object.bin "$far_url/cas/$sum"
set_up status 201 -T object.bin "$far_url/ac/far"
make_remote mirror http-cache "$far_url/"
mirror=$url/cache/mirror
check "content comes through a remote" all status 200 "$mirror/cas/$sum" -- body_is_file object.bin
check "... once" all status 200 "$mirror/cas/$sum" -- fetched_once far "/cas/$sum"
check "a key comes through it" all status 200 "$mirror/ac/far" -- body_is_file object.bin
check "a miss there is a miss here" status 404 "$mirror/ac/none"
check "a remote takes no entry: 405" status 405 "${admin[@]}" -T object.bin "$mirror/k"
check "... and its keys follow the upstream after the cache TTL" all \
    status 200 "${admin[@]}" -X PUT -H 'Content-Type: application/json' "$url/api/v1/repositories/mirror/cache-ttl" -d '{"cache_ttl_seconds":1}' -- \
    status 201 -T other.bin "$far_url/ac/far" -- wait_until 20 gets "$mirror/ac/far" other.bin

start_foreign liar --wrong-bytes
make_remote lies http-cache "$foreign_url/"
# The bytes may be on their way already when the digest turns out wrong: then the connection is cut, which curl reports as a failure.
breaks_off() { ! curl -sSf --max-time 60 -o lies.bin "$1"; }
check "content that is not its name is refused" breaks_off "$url/cache/lies/cas/$sum"
check "... and not kept" all status 200 "${admin[@]}" "$url/api/v1/repositories/lies/artifacts" -- json_is 'd["items"]' '[]'

if declare -F make_virtual >/dev/null; then source "$here/virtual.sh"; fi

stop "$far_pid" KILL
sleep 1.1 # past the keys' cache TTL: what comes now is stale, or nothing
check "with the upstream dead, content that was fetched is served" all status 200 "$mirror/cas/$sum" -- body_is_file object.bin
check "... a key is served stale" all status 200 "$mirror/ac/far" -- body_is_file other.bin
[[ -z ${both:-} ]] || check "... through the virtual too" all status 200 "$both/ac/far" -- body_is_file other.bin
check "... and what was never fetched is a miss, so that tools go on asking" status 404 "$mirror/ac/unknown"
