# shellcheck shell=bash
# A remote repository in front of another registry: learned once, fetched once, verified, and served when the registry is gone.
mkdir -p foreign
pack() { (cd "$1" && npm pack --silent --pack-destination "$scratch/foreign"); }
make_package fruit far-fruit 1.0.0 "from afar"
make_package basket @far/basket 1.0.0 "with fruit from afar" '"dependencies":{"far-fruit":"^1.0.0"}'
set_up all pack fruit -- pack basket

start_upstream() { # NAME [--wrong-bytes]
    rm -f "$1.port"
    start "$1.err" python3 "$here/upstream.py" "$1.port" "$1.log" foreign "${@:2}"
    upstream_pid=$started_pid
    wait_until 20 test -s "$1.port" || fail "the upstream did not come up"
}
start_upstream counting
counting_pid=$upstream_pid
make_remote counted npm "http://127.0.0.1:$(<counting.port)/"
npmrc counted.rc "$url/npm/counted/"
asked() { grep -c "$1" counting.log || true; }
check "npm installs through a remote" install counted.rc ra @far/basket
check "... what it says is what the upstream has" all says ra @far/basket "with fruit from afar" -- says ra far-fruit "from afar"
check "... the lockfile has our addresses only" all grep -qF "$url/npm/counted/@far/basket/-/basket-1.0.0.tgz" ra/package-lock.json -- sh -c "! grep -q '/files/' ra/package-lock.json"
check "... each file was fetched once" same "1 1" "$(asked 'GET /files/far-fruit') $(asked 'GET /files/far-basket')"
pages=$(asked 'GET /far-fruit')
check "a second install is served from the cache" install counted.rc rb @far/basket
check "... no file was fetched again" same "1 1" "$(asked 'GET /files/far-fruit') $(asked 'GET /files/far-basket')"
check "... nor a packument" same "$pages" "$(asked 'GET /far-fruit')"
check "npm view shows what the upstream adds: signatures, its readme" all same 'SHA256:abc' "$(as counted.rc view far-fruit 'dist.signatures[0].keyid' 2>/dev/null)" -- \
    same '# From afar' "$(as counted.rc view far-fruit readme 2>/dev/null)"
refused "npm view of what the upstream lacks" 'E404' as counted.rc view far-none
refused "a remote takes nothing" 'E40[05]' sh -c "cd '$scratch/fruit' && npm_config_userconfig='$scratch/rw.rc' npm publish --registry '$url/npm/counted/' --'//127.0.0.1:$port/npm/counted/:_auth=$(printf 'admin:%s' "$password" | base64 -w 0)'"

check "the time a packument stays fresh can be set" status 200 "${admin[@]}" -X PUT -H 'Content-Type: application/json' \
    "$url/api/v1/repositories/counted/cache-ttl" -d '{"cache_ttl_seconds":1}'
make_package fruit far-fruit 1.1.0 "from afar, riper"
set_up pack fruit
check "a stale packument is asked for again, and the newer version seen" wait_until 20 install counted.rc rc far-fruit@1.1.0
check "... what it says is right" says rc far-fruit "from afar, riper"
stop "$counting_pid" KILL
sleep 1.1 # past the packument's freshness: what comes now is stale, or nothing
check "with the upstream dead, what was fetched still installs" install counted.rc rd far-fruit@1.1.0
check "... and says what it said" says rd far-fruit "from afar, riper"
refused "... what was never asked for is an upstream's failure" 'E50[23]' as counted.rc view far-other

start_upstream lying --wrong-bytes
make_remote liar npm "http://127.0.0.1:$(<lying.port)/"
npmrc liar.rc "$url/npm/liar/"
refused "a tarball whose bytes are not what the packument promises is not installed" '.' install liar.rc re far-fruit
lies() { ! curl -sSf -o lies.bin "$url/npm/liar/far-fruit/-/far-fruit-1.1.0.tgz" && ! cmp -s lies.bin <(curl -s "http://127.0.0.1:$(<lying.port)/files/far-fruit-1.1.0.tgz"); }
asks_again() {
    local before
    before=$(grep -c 'GET /files' lying.log)
    lies && (($(grep -c 'GET /files' lying.log) > before))
}
check "... nor kept: the next asker reaches the upstream again" asks_again
check "... and the log says why" grep -q 'not those its index promised\|promise' "$server_log"

# Another Granary.
make_remote echo npm "$url/npm/js/"
npmrc echo.rc "$url/npm/echo/"
check "npm installs through a remote of another Granary" all install echo.rc rf granary-tree@next -- says rf granary-tree tree -- says rf @granary/branch branch
check "... provenance passes through it" all status 200 "$(as echo.rc view granary-proven dist.attestations.url 2>/dev/null)" -- \
    json_is 'd["attestations"][0]["predicateType"]' https://slsa.dev/provenance/v1 -- grep -q "/npm/echo/" <(as echo.rc view granary-proven dist.attestations.url)

# Questions that only the upstream can answer.
start_upstream asking
make_remote asked npm "http://127.0.0.1:$(<asking.port)/"
npmrc asked.rc "$url/npm/asked/"
check "npm search through a remote finds what the upstream has" grep -q '^far-fruit' <(as asked.rc search anything --parseable 2>/dev/null)
check "npm audit through a remote hears of the upstream's advisories" all install asked.rc rg far-fruit -- \
    sh -c "cd rg && ! npm_config_cache='$scratch/rg/.cache' npm_config_userconfig='$scratch/asked.rc' npm audit >audit.txt 2>&1 && grep -q 'Falls from trees' audit.txt"
