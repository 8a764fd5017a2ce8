# shellcheck shell=bash
# A remote of plain files: nginx's own kind of upstream, here Python's file server, with a checksum beside one of them.
mkdir -p upstream
cp file.bin upstream/tool.bin
cp file.bin upstream/checked.bin
cp file.bin upstream/wrong.bin
cp file.bin upstream/moving.txt
touch -d '1 hour ago' upstream/moving.txt # its time counts seconds, and it changes soon
sha256sum upstream/checked.bin >upstream/checked.bin.sha256
sha256sum other.bin >upstream/wrong.bin.sha256
plain_port=$(free_port)
start plain.log python3 -m http.server --bind 127.0.0.1 --directory upstream "$plain_port"
plain_pid=$started_pid
set_up wait_for_port "$plain_port"
make_remote plain generic "http://127.0.0.1:$plain_port/" '"upstream_checksums":"sha256"'
make_remote moving generic "http://127.0.0.1:$plain_port/" '"upstream_immutable":false'
set_up status 200 "${admin[@]}" -X PUT -H 'Content-Type: application/json' "$url/api/v1/repositories/moving/cache-ttl" -d '{"cache_ttl_seconds":1}'
gets() { status 200 "$1" && body_is_file "$2"; }
breaks_off() { ! curl -sSf --max-time 60 -o broken.bin "$1"; }
fetches() { same "$2" "$(grep -c "GET /$1 " plain.log)"; }
check "a remote has the files of its upstream" gets "$url/general/plain/tool.bin" upstream/tool.bin
check "... fetched once" all gets "$url/general/plain/tool.bin" upstream/tool.bin -- fetches tool.bin 1
check "a file is kept that has the checksum beside it" gets "$url/general/plain/checked.bin" upstream/checked.bin
# The bytes may be on their way already when the digest turns out wrong: then the connection is cut, which curl reports as a failure.
check "one that has not is refused" breaks_off "$url/general/plain/wrong.bin"
check "... and not kept" all status 200 "${admin[@]}" "$url/api/v1/repositories/plain/artifacts?path_prefix=wrong" -- json_is 'd["items"]' '[]'
check "what upstream lacks is 404" status 404 "$url/general/plain/none.bin"
check "a remote takes no file: 405" status 405 "${admin[@]}" -T file.bin "$url/general/plain/new.bin"
check "a file that changes is followed where the repository says so" gets "$url/general/moving/moving.txt" upstream/moving.txt
echo changed >upstream/moving.txt
check "... after the cache TTL" wait_until 20 gets "$url/general/moving/moving.txt" upstream/moving.txt
stop "$plain_pid" KILL
sleep 1.1 # past the TTL: what comes now is stale, or nothing
check "with the upstream dead, what was fetched is served" all gets "$url/general/plain/tool.bin" file.bin -- gets "$url/general/moving/moving.txt" upstream/moving.txt
check "... and what was not is 503" status 503 "$url/general/plain/later.bin"
