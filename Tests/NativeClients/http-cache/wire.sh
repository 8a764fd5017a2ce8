# shellcheck shell=bash
# The requests of the dialects as their clients send them, and what is refused.
check "a key nobody put is a miss: 404, never 401, to the anonymous" status 404 "$cache/ac/$sum"
check "Bazel puts content under cas/" status 201 "${builder[@]}" -T object.bin "$cache/cas/$sum"
check "... and reads it back, anonymously" all status 200 "$cache/cas/$sum" -- body_is_file object.bin
check "... HEAD tells its length" all status 200 -I "$cache/cas/$sum" -- header_is Content-Length 3000000
check "... a range resumes it" all status 206 -r 2999000- "$cache/cas/$sum" -- header_is Content-Range "bytes 2999000-2999999/3000000"
check "... and puts it again" status 204 "${builder[@]}" -T object.bin "$cache/cas/$sum"
check "... with a prefix in between" all status 201 "${builder[@]}" -T object.bin "$cache/team/x/cas/$sum" -- status 200 "$cache/team/x/cas/$sum"
check "content that is not its name is 400" all status 400 "${builder[@]}" -T other.bin "$cache/cas/${sum:0:63}0" -- body_says 'not their name'
check "... and not kept" status 404 "$cache/cas/${sum:0:63}0"
check "the empty blob is always there" all status 200 "$cache/cas/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" -- \
    header_is Content-Length 0
check "an action result is a key: the last writer wins" all status 201 "${builder[@]}" -T object.bin "$cache/ac/$sum" -- \
    status 204 "${builder[@]}" -T other.bin "$cache/ac/$sum" -- status 200 "$cache/ac/$sum" -- body_is_file other.bin
check "Maven's build cache extension: a deep path" all status 201 "${builder[@]}" -T object.bin "$cache/v1.2/org.example/app/9f86d081/buildinfo.xml" -- \
    status 200 "$cache/v1.2/org.example/app/9f86d081/buildinfo.xml"
check "vcpkg: HEAD without its header, then GET" all status 201 "${builder[@]}" -T object.bin "$cache/zlib/1.3.1/$sum.zip" -- \
    status 200 -I "$cache/zlib/1.3.1/$sum.zip" -- status 200 "$cache/zlib/1.3.1/$sum.zip" -- body_is_file object.bin
check "sccache asks for a folder, and there is one" all status 207 "${builder[@]}" -X PROPFIND -H 'Depth: 0' "$cache/rust/a/b/c/" -- body_says 'D:collection'
check "... makes it anyway" status 201 "${builder[@]}" -X MKCOL "$cache/rust/a/b/c/"
check "DELETE removes an entry" all status 204 "${builder[@]}" -X DELETE "$cache/ac/$sum" -- status 404 "$cache/ac/$sum"
check "... and other bytes may come" all status 201 "${builder[@]}" -T object.bin "$cache/ac/$sum" -- status 200 "$cache/ac/$sum"
check "a chunked PUT is taken" all status 201 "${builder[@]}" -H 'Transfer-Encoding: chunked' -T object.bin "$cache/chunked" -- \
    status 200 "$cache/chunked" -- body_is_file object.bin
check "a coded body is refused rather than kept as it came" status 400 "${builder[@]}" -H 'Content-Encoding: gzip' -T object.bin "$cache/coded"

check "a wrong password is 401 with a challenge, also on a public read" all status 401 -u builder:wrong "$cache/cas/$sum" -- \
    header_matches WWW-Authenticate '^Basic '
check "writing without a credential is 401" status 401 -T object.bin "$cache/k"
check "... before the body was read" python3 "$here/../sockets.py" early "127.0.0.1:$port" PUT /cache/ci/k
check "a reader reads" status 200 "${reader[@]}" "$cache/cas/$sum"
check "... but may not write: 403" status 403 "${reader[@]}" -T object.bin "$cache/k"
check "... nor make folders" status 403 "${reader[@]}" -X MKCOL "$cache/k/"
make_read_only_token() {
    status '20[01]' "${admin[@]}" -H 'Content-Type: application/json' "$url/api/v1/auth/tokens" -d '{"name":"laptop","scopes":["read:artifacts"]}' &&
        token=$(json 'd["token"]')
}
with_token() { local code=$1; shift; status "$code" -H "Authorization: Bearer $token" "$@"; }
check "a read-only token of an administrator reads and does not write" all make_read_only_token -- with_token 200 "$cache/cas/$sum" -- \
    with_token 403 -T object.bin "$cache/k"
check "a truncated body is not kept" python3 "$here/../sockets.py" truncated "127.0.0.1:$port" PUT /cache/ci/cut "builder:$user_password" object.bin
check "... its key stays a miss" status 404 "$cache/cut"

make_repository narrow http-cache '"is_public":true,"cache_entry_bytes_max":100000'
check "an entry over the limit is 413" all status 413 "${admin[@]}" -T object.bin "$url/cache/narrow/k" -- body_says 'at most 100000 bytes'
check "... refused before its body, on a connection that stays usable" python3 "$here/refusal.py" "127.0.0.1:$port" "admin:$password" \
    /cache/narrow/k 200000 /cache/narrow/none
make_repository frozen http-cache '"is_public":true,"cache_overwrite":"never"'
check "where entries are never overwritten, the second writer is 409" all status 201 "${admin[@]}" -T object.bin "$url/cache/frozen/k" -- \
    status 409 "${admin[@]}" -T other.bin "$url/cache/frozen/k" -- status 200 "$url/cache/frozen/k" -- body_is_file object.bin

check "the cache is no package" all status 200 "${admin[@]}" "$url/api/v1/packages?repository_key=ci" -- json_is 'd["items"]' '[]'
check "... its entries are artifacts" all status 200 "${admin[@]}" "$url/api/v1/repositories/ci/artifacts?path_prefix=cas/" -- \
    json_is '[i["path"] for i in d["items"]]' "['cas/$sum']"
