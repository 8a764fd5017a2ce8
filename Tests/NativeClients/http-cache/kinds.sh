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
asked() { grep -c "$2" "$1.log" || true; }

start_foreign far
far_pid=$foreign_pid far_url=$foreign_url
set_up status 201 -T object.bin "$far_url/cas/$sum"
set_up status 201 -T object.bin "$far_url/ac/far"
make_remote mirror http-cache "$far_url/"
mirror=$url/cache/mirror
check "content comes through a remote" all status 200 "$mirror/cas/$sum" -- body_is_file object.bin
check "... once" all status 200 "$mirror/cas/$sum" -- same 1 "$(asked far "GET /cas/$sum")"
check "a key comes through it" all status 200 "$mirror/ac/far" -- body_is_file object.bin
check "a miss there is a miss here" status 404 "$mirror/ac/none"
check "a remote takes no entry: 405" status 405 "${admin[@]}" -T object.bin "$mirror/k"
check "... and its keys follow the upstream after the cache TTL" all \
    status 200 "${admin[@]}" -X PUT -H 'Content-Type: application/json' "$url/api/v1/repositories/mirror/cache-ttl" -d '{"cache_ttl_seconds":1}' -- \
    status 201 -T other.bin "$far_url/ac/far" -- wait_until 20 gets "$mirror/ac/far" other.bin

start_foreign liar --wrong-bytes
make_remote lies http-cache "$foreign_url/"
check "content that is not its name is refused: 502" all status 502 "$url/cache/lies/cas/$sum"
check "... and not kept" all status 200 "${admin[@]}" "$url/api/v1/repositories/lies/artifacts" -- json_is 'd["items"]' '[]'

make_virtual all http-cache '[{"repo_key":"ci","priority":1},{"repo_key":"mirror","priority":2},{"repo_key":"hidden","priority":3}]' \
    '"is_public":true,"deploy_member_key":"ci"'
both=$url/cache/all
set_up status 201 "${admin[@]}" -T other.bin "$url/cache/hidden/secret"
check "a virtual writes to its deploy member" all status 201 "${builder[@]}" -T object.bin "$both/written" -- status 200 "$cache/written" -- body_is_file object.bin
check "... reads it, and what its remote member has" all status 200 "$both/written" -- status 200 "$both/cas/$sum" -- status 200 "$both/ac/far"
check "a reader may not write through it" status 403 "${reader[@]}" -T object.bin "$both/k"
check "a private member is not read through a public virtual" status 404 "$both/secret"
check "... but is by who may read it" all status 200 "${admin[@]}" "$both/secret" -- body_is_file other.bin
check "... nor listed" all status 200 "$url/api/v1/repositories/all/artifacts?per_page=100" -- json_is 'any(i["path"] == "secret" for i in d["items"])' False

stop "$far_pid" KILL
sleep 1.1 # past the keys' cache TTL: what comes now is stale, or nothing
check "with the upstream dead, content that was fetched is served" all status 200 "$mirror/cas/$sum" -- body_is_file object.bin
check "... a key is served stale" all status 200 "$mirror/ac/far" -- body_is_file other.bin
check "... through the virtual too" all status 200 "$both/ac/far" -- body_is_file other.bin
check "... and what was never fetched is 503" status 503 "$mirror/ac/unknown"
