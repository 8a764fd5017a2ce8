# shellcheck shell=bash
# What npm's own output does not show: negotiation, validators, ranges, and uploads that no client would send.
short=application/vnd.npm.install-v1+json
packument=${registry}wired
make_package wired wired 1.0.0 "by curl"
if have npm; then (cd wired && npm pack --silent >/dev/null); fi
[[ -f wired/wired-1.0.0.tgz ]] || { mkdir -p wired/package && cp wired/package.json wired/index.js wired/package/ && tar -C wired -czf wired/wired-1.0.0.tgz package; }
tarball=wired/wired-1.0.0.tgz
python3 "$here/document.py" wired wired-1.0.0.tgz >document.json
put() { # STATUS FILE [CURL-ARGUMENTS]
    status "$1" "${admin[@]}" -X PUT -H 'Content-Type: application/json' --data-binary "@$2" "${@:3}" "${packument}"
}
# change EXPRESSION: the document with one thing wrong, in wrong.json. `v` is the version's document, `a` the attachment.
change() {
    python3 -c 'import json, sys
d = json.load(open("document.json")); v = d["versions"]["1.0.0"]; a = d["_attachments"]["wired-1.0.0.tgz"]
exec(sys.argv[1]); json.dump(d, open("wrong.json", "w"))' "$1"
}
wrong() { change "$2" && put "$1" wrong.json && body_says "$3"; }
check "an integrity that is not the bytes' is 400, with a reason" wrong 400 'v["dist"]["integrity"] = "sha512-" + "A" * 86 + "=="' 'dist.integrity says'
check "a shasum that is not is 400" wrong 400 'v["dist"]["shasum"] = "0" * 40' 'dist.shasum says'
check "a length that lies is 400" wrong 400 'a["length"] += 1' 'length'
check "base64 that is none is 400" wrong 400 'a["data"] = a["data"][:-9] + "!" + a["data"][-8:]' 'base64'
check "a script the tarball does not have is 400" wrong 400 'v["scripts"] = {"postinstall": "rm -rf /"}' 'postinstall'
check "a dependency the tarball does not have is 400" wrong 400 'v["dependencies"] = {"evil": "1"}' 'evil'
check "two tarballs are 400" wrong 400 'd["_attachments"]["wired-1.0.1.tgz"] = a' 'one version'
check "a name that is another package's is 400" wrong 400 'd["name"] = "other"' 'other'
head -c 900 document.json >cut.json
check "half a document is 400" put 400 cut.json
check "none of them is there" status 404 "$packument"
reasons() { for word in dist.integrity dist.shasum postinstall base64 'one version'; do grep -qE "\"request failed\".*$word" "$server_log" || { echo "the log does not say: $word"; return 1; }; done; }
check "... and the log says why, each time" reasons
check "the honest document is accepted, in a body without a length" put 200 document.json -H 'Transfer-Encoding: chunked'

check "a packument in full has times, readme and keywords" all status 200 "$packument" -- header_matches Content-Type '^application/json' -- header_matches Vary '[Aa]ccept' -- \
    json_is '"1.0.0" in d["time"]' True -- json_is 'd["keywords"]' "['granary', 'talk']"
check "... abbreviated it has not" all status 200 -H "Accept: $short; q=1.0, application/json; q=0.8, */*" "$packument" -- header_is Content-Type "$short" -- \
    json_is '"time" in d or "keywords" in d["versions"]["1.0.0"]' False
not_modified() { status 304 -H "If-None-Match: $(header ETag)" "$@"; }
check "... each with an ETag, and 304 for it" all status 200 -I "$packument" -- not_modified "$packument" -- status 200 -I -H "Accept: $short" "$packument" -- not_modified -H "Accept: $short" "$packument"
check "... one is not the other's" all status 200 -I -H "Accept: $short" "$packument" -- status 200 -H "If-None-Match: $(header ETag)" "$packument"
file=$(curl -s "$packument" | python3 -c 'import json,sys; print(json.load(sys.stdin)["versions"]["1.0.0"]["dist"]["tarball"])')
check "a tarball is the very bytes" all status 200 "$file" -- body_is_file "$tarball"
head -c 10 "$tarball" >ten
check "... its first ten" all status 206 -r 0-9 "$file" -- body_is_file ten
check "... HEAD, its length" all status 200 -I "$file" -- header_is Content-Length "$(stat -c %s "$tarball")"
check "a version and a tag have documents of their own" all status 200 "$packument/1.0.0" -- json_is 'd["_id"]' wired@1.0.0 -- status 200 "$packument/latest" -- json_is 'd["version"]' 1.0.0
! have npm || check "a scoped package in both spellings" all status 200 "$registry@granary%2fbranch" -- status 200 "$registry@granary/branch" -- status 200 "$registry@granary%2Fbranch/-/branch-1.0.0.tgz"
check "an unknown repository is 404 to who may ask" status 404 "${admin[@]}" "$url/npm/nowhere/wired"
check "... and 401 to the anonymous, as a private one is" all status 401 "$url/npm/nowhere/wired" -- status 401 "$url/npm/closed/wired"
check "the generic API puts a tarball where npm finds it" all status 201 "${admin[@]}" -T "$tarball" "$url/api/v1/repositories/closed/artifacts/anywhere.tgz" -- \
    status 200 "${admin[@]}" "$url/npm/closed/wired" -- json_is 'd["versions"]["1.0.0"]["dist"]["shasum"]' "$(sha1sum "$tarball" | cut -d ' ' -f 1)"
check "npm's question for its own updates is answered" status 404 "${registry}npm"
