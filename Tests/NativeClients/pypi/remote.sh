# shellcheck shell=bash
# A remote repository in front of another index: learned once, fetched once, verified, and served when the index is gone.
mkdir -p foreign
package wheel foreign far-away 1.0 "from afar" >/dev/null
package sdist foreign far-sdist 1.0 "from afar, in source" >/dev/null

# A real foreign index, as pip would install it.
far_port=$(free_port)
start far.log pypi-server run -p "$far_port" -i 127.0.0.1 --hash-algo sha256 -P . -a . --disable-fallback foreign
set_up wait_for_port "$far_port"
make_remote mirror pypi "http://127.0.0.1:$far_port/"
mirror=$url/pypi/mirror/simple
check "pip installs through a remote of pypiserver" pip_install ra "$mirror/" far-away
check "... what it says is what the upstream has" same "from afar" "$(said ra far_away)"
check "uv installs an sdist through it" uv_install rb "$mirror/" far-sdist
check "the remote serves the very bytes" all pip download --quiet --no-deps --no-input --index-url "$mirror/" -d rfetched far-away -- \
    cmp foreign/far_away-1.0-py3-none-any.whl rfetched/far_away-1.0-py3-none-any.whl
check "a project the upstream does not have is 404" status 404 "$mirror/never-heard-of/"
refused "pip is told of a wrong password for a remote" '401|[Uu]nauthorized' pip_install rw "http://reader:wrong@${url#http://}/pypi/mirror/simple/" far-away
refused "... of a project nobody has" 'No matching distribution' pip_install rw "$mirror/" never-heard-of
refused "a remote takes no upload" '405|400|403' upload "$url/pypi/mirror/" admin "$password" "$wheel"

# One that counts what it is asked, and can lie.
start_upstream() { # NAME [--wrong-bytes]
    rm -f "$1.port"
    start "$1.err" python3 "$here/upstream.py" "$1.port" "$1.log" foreign "${@:2}"
    upstream_pid=$started_pid
    wait_until 20 test -s "$1.port" || fail "the upstream did not come up"
}
start_upstream counting
counting_pid=$upstream_pid
make_remote counted pypi "http://127.0.0.1:$(<counting.port)/"
counted=$url/pypi/counted/simple
asked() { grep -c "$1" counting.log || true; }
check "a first install asks the upstream" pip_install rc "$counted/" far-away
check "... once for the file" same 1 "$(asked 'GET /files/far_away')"
pages=$(asked 'GET /simple/far-away')
check "a second install is served from the cache" pip_install rd "$counted/" far-away
check "... the file was not fetched again" same 1 "$(asked 'GET /files/far_away')"
check "... nor the page" same "$pages" "$(asked 'GET /simple/far-away')"

check "the time a page stays fresh can be set" status 200 "${admin[@]}" -X PUT -H 'Content-Type: application/json' \
    "$url/api/v1/repositories/counted/cache-ttl" -d '{"cache_ttl_seconds":1}'
package wheel foreign far-away 2.0 "from afar, newer" >/dev/null
check "a stale page is asked for again, and the newer version seen" wait_until 20 pip_install re "$counted/" far-away==2.0
stop "$counting_pid" KILL
sleep 1.1 # past the page's freshness: what comes now is stale, or nothing
check "with the upstream dead, what was fetched still installs" pip_install rf "$counted/" far-away==2.0
check "... and what it says is right" same "from afar, newer" "$(said rf far_away)"

listed_file() { # where the remote says the file is
    status 200 -H 'Accept: application/vnd.pypi.simple.v1+json' "$url/pypi/liar/simple/far-away/" &&
        file=$(python3 -c 'import sys, urllib.parse; print(urllib.parse.urljoin(*sys.argv[1:]))' "$url/pypi/liar/simple/far-away/" "$(json 'd["files"][0]["url"]')")
}
# The bytes may be on their way already when the digest turns out wrong: then the connection is cut, which curl reports as a failure.
breaks_off() { listed_file && ! curl -sSf -o lies.bin "$file"; }
asks_again() {
    local before
    before=$(grep -c 'GET /files' lying.log)
    breaks_off && (($(grep -c 'GET /files' lying.log) > before))
}
check "what was never asked for is 503, to be tried again" all status 503 "$counted/far-sdist/" -- header_is Retry-After 1
start_upstream lying --wrong-bytes
make_remote liar pypi "http://127.0.0.1:$(<lying.port)/"
check "a file whose bytes are not what the index lists is refused" breaks_off
check "... and not kept: the next asker reaches the upstream again" asks_again
refused "... nor does pip install it" '.' pip_install rg "$url/pypi/liar/simple/" far-away

# Another Granary, which speaks JSON; its URL as a client has it.
make_remote echo pypi "$url/pypi/py/simple/"
check "pip installs through a remote of another Granary" all pip_install rh "$url/pypi/echo/simple/" granary-test-wheel -- imported rh granary_test_wheel "from a wheel"
check "... a sidecar passes through it" from_sidecar ri "$url/pypi/echo/simple/" granary-test-wheel==1.0
check "... what is yanked there is yanked here" all status 200 "$url/pypi/echo/simple/granary-test-wheel/" -- body_says 'data-yanked="not good"'
