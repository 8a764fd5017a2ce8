# shellcheck shell=bash
# The distribution specification, in its order: upload, pull, tags, referrers, delete.
v2=$url/v2/images/hand
location() {
    local at
    at=$(header Location)
    [[ $at == http* ]] && echo "$at" || echo "$url$at"
}
# with_query URL NAME=VALUE: a Location may carry a query already.
with_query() { [[ $1 == *\?* ]] && echo "$1&$2" || echo "$1?$2"; }
begin() { status 202 "${admin[@]}" -X POST "$v2/blobs/uploads/" && upload=$(location); }
# What stands between `--` is expanded before the first command runs: whatever needs the fresh $upload is a function.
cancel() { status "$1" "${admin[@]}" -X DELETE "$upload"; }
stream() { status "$1" "${admin[@]}" -X PATCH "${octets[@]}" --data-binary "@$2" "$upload"; }
unknown=sha256:$(printf '0%.0s' {1..64})
octets=(-H 'Content-Type: application/octet-stream')
patch() { status "$1" "${admin[@]}" -X PATCH "${octets[@]}" -H "Content-Range: $2" --data-binary "@$3" "$upload" && [[ $1 != 202 ]] || upload=$(location); }
close() { status "$1" "${admin[@]}" -X PUT "${octets[@]}" "${@:3}" "$(with_query "$upload" "digest=$2")"; }
# push_blob FILE DIGEST, the usual way: POST, then PUT.
push_blob() { begin && close 201 "$2" --data-binary "@$1"; }
push_manifest() { status 201 "${admin[@]}" -X PUT -H "Content-Type: $manifest_type" --data-binary "@$1" "$v2/manifests/$2"; }

check "/v2/ answers who has a credential" all status 200 "${admin[@]}" "$url/v2/" -- header_is Docker-Distribution-API-Version registry/2.0
check "a blob: POST, then PUT" push_blob made/config "$config"
check "... tells its place and digest" header_matches Location "/v2/images/hand/blobs/$config$"
check "... and is there" all status 200 "${admin[@]}" "$v2/blobs/$config" -- body_is_file made/config -- header_is Docker-Content-Digest "$config"
check "a manifest whose layer is missing is 400 or 404" status '40[04]' "${admin[@]}" -X PUT -H "Content-Type: $manifest_type" --data-binary @made/manifest "$v2/manifests/early"
one_post() {
    status '20[12]' "${admin[@]}" -X POST "${octets[@]}" --data-binary @made/layer "$v2/blobs/uploads/?digest=$layer" || return 1
    [[ -n $(header Docker-Content-Digest) ]] || push_blob made/layer "$layer"
}
check "a blob in one POST, or the 202 that the specification allows instead" one_post
check "HEAD of a blob tells its length" all status 200 "${admin[@]}" -I "$v2/blobs/$layer" -- header_is Content-Length "$(stat -c %s made/layer)"
check "a range of a blob" all status 206 "${admin[@]}" -r 0-9 "$v2/blobs/$layer" -- header_is Content-Range "bytes 0-9/$(stat -c %s made/layer)"
check "a blob that is not there is 404 BLOB_UNKNOWN" all status 404 "${admin[@]}" "$v2/blobs/$unknown" -- json_is 'd["errors"][0]["code"]' BLOB_UNKNOWN
check "a blob whose bytes are not its digest is 400 DIGEST_INVALID" all begin -- close 400 "$layer" --data-binary @made/config -- json_is 'd["errors"][0]["code"]' DIGEST_INVALID

head -c 300000 /dev/urandom >large
split -b 100000 -d large chunk.
large=sha256:$(sha256 large)
check "a chunked upload begins" begin
check "... and takes its first chunk" all patch 202 0-99999 chunk.00 -- header_is Range 0-99999
check "... refuses a chunk out of order: 416" patch 416 200000-299999 chunk.02
check "... tells how far it came" all status 204 "${admin[@]}" "$upload" -- header_is Range 0-99999
check "... takes the rest" all patch 202 100000-199999 chunk.01 -- patch 202 200000-299999 chunk.02
check "... closes with its digest" close 201 "$large"
check "... and is whole" all status 200 "${admin[@]}" "$v2/blobs/$large" -- body_is_file large
check "the last chunk may come with the closing PUT" all begin -- patch 202 0-99999 chunk.00 -- patch 202 100000-199999 chunk.01 -- close 201 "$large" --data-binary @chunk.02
check "an upload can be cancelled" all begin -- cancel 204 -- cancel 404
check "a stream without Content-Range is taken" all begin -- stream 202 large -- header_is Range 0-299999

check "a manifest is stored under a tag" all push_manifest made/manifest v1 -- header_is Docker-Content-Digest "$manifest"
check "... read by its tag" all status 200 "${admin[@]}" -H "Accept: $manifest_type" "$v2/manifests/v1" -- body_is_file made/manifest -- header_is Content-Type "$manifest_type" -- \
    header_is Docker-Content-Digest "$manifest"
check "... and by its digest" all status 200 "${admin[@]}" -H "Accept: $manifest_type" "$v2/manifests/$manifest" -- body_is_file made/manifest
check "... HEAD tells length and digest" all status 200 "${admin[@]}" -I -H "Accept: $manifest_type" "$v2/manifests/v1" -- header_is Content-Length "$(stat -c %s made/manifest)" -- \
    header_is Docker-Content-Digest "$manifest"
check "a manifest that is not there is 404 MANIFEST_UNKNOWN" all status 404 "${admin[@]}" "$v2/manifests/none" -- json_is 'd["errors"][0]["code"]' MANIFEST_UNKNOWN
check "a manifest under another's digest is refused" status 400 "${admin[@]}" -X PUT -H "Content-Type: $manifest_type" --data-binary @made/manifest "$v2/manifests/$config"
check "a manifest that is no JSON is 400 MANIFEST_INVALID" all status 400 "${admin[@]}" -X PUT -H "Content-Type: $manifest_type" -d '{' "$v2/manifests/bad" -- \
    json_is 'd["errors"][0]["code"]' MANIFEST_INVALID

set_up all push_manifest made/manifest b -- push_manifest made/manifest B -- push_manifest made/manifest a10 -- push_manifest made/manifest a9 -- push_manifest made/manifest _z
check "tags are listed in ASCII order" all status 200 "${admin[@]}" "$v2/tags/list" -- json_is 'd["tags"]' "['B', '_z', 'a10', 'a9', 'b', 'v1']"
check "... in pages" all status 200 "${admin[@]}" "$v2/tags/list?n=2" -- json_is 'd["tags"]' "['B', '_z']" -- header_matches Link 'rel="?next"?'
next_page() { local link; link=$(header Link) link=${link#*<} link=${link%%>*}; [[ $link == http* ]] || link=$url$link; status 200 "${admin[@]}" "$link"; }
check "... that link to the next" all next_page -- json_is 'd["tags"]' "['a10', 'a9']"
check "... after a tag" all status 200 "${admin[@]}" "$v2/tags/list?n=10&last=a9" -- json_is 'd["tags"]' "['b', 'v1']"
check "tags of an unknown name are 404 NAME_UNKNOWN" all status 404 "${admin[@]}" "$url/v2/images/never/tags/list" -- json_is 'd["errors"][0]["code"]' NAME_UNKNOWN

v2_other=$url/v2/images/other
check "a blob is mounted from another name" all status '20[12]' "${admin[@]}" -X POST "$v2_other/blobs/uploads/?mount=$large&from=images/hand" -- \
    status 200 "${admin[@]}" -I "$v2_other/blobs/$large"
check "a mount of what is not there begins an upload" status 202 "${admin[@]}" -X POST "$v2_other/blobs/uploads/?mount=$unknown&from=images/hand"
