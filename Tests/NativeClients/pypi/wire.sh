# shellcheck shell=bash
# What the clients' own output does not show: negotiation, sidecars, ranges, and uploads that no client would send.
# form FILE NAME VERSION [MORE -F ...]: the legacy upload as twine sends it.
form() {
    local file=$1 name=$2 version=$3 type=bdist_wheel
    [[ $file == *.whl ]] || type=sdist
    printf '%s\n' -F :action=file_upload -F protocol_version=1 -F metadata_version=2.1 -F "name=$name" -F "version=$version" -F "filetype=$type" \
        -F pyversion=py3 -F "content=@$file" "${@:4}"
}
post() {
    local wanted=$1 arguments
    mapfile -t arguments < <(form "${@:2}")
    status "$wanted" "${admin[@]}" "${arguments[@]}" "$url/pypi/py/"
}
# Half of a real form, by a client that hangs up.
truncated_form() {
    {
        printf -- '--cut\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' :action file_upload
        printf -- '--cut\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' name wired version 2.1
        printf -- '--cut\r\nContent-Disposition: form-data; name="content"; filename="wired-2.1-py3-none-any.whl"\r\n\r\n'
        cat wire/wired-2.1-py3-none-any.whl
        head -c 100000 /dev/zero
        printf -- '\r\n--cut--\r\n'
    } >form
    python3 "$here/../sockets.py" truncated "127.0.0.1:$port" POST /pypi/py/ "admin:$password" form 'multipart/form-data; boundary=cut'
}
not_modified() { status 304 -H "Accept: $v1+json" -H "If-None-Match: $(header ETag)" "$1"; }
package wheel wire wired 2.0 "by curl" >/dev/null
wired=wire/wired-2.0-py3-none-any.whl
v1=application/vnd.pypi.simple.v1

check "a form with every digest right is accepted" post 200 "$wired" wired 2.0 -F "sha256_digest=$(sha256 "$wired")" -F "md5_digest=$(md5sum "$wired" | cut -d ' ' -f 1)"
package wheel wire wired 2.1 >/dev/null
check "a SHA-256 that does not match is 400" all post 400 wire/wired-2.1-py3-none-any.whl wired 2.1 -F "sha256_digest=$(sha256 "$wired")" -- body_says .
check "a name that is not the file's is 400" post 400 wire/wired-2.1-py3-none-any.whl other 2.1
check "a version that is not the file's is 400" post 400 wire/wired-2.1-py3-none-any.whl wired 2.2
package broken wire shards 1.0 >/dev/null
check "a wheel that is half a zip is 400, with a reason" all post 400 wire/shards-1.0-py3-none-any.whl shards 1.0 -- body_says .
check "... and its project does not exist" status 404 "$index/shards/"
check "another action is 400" status 400 "${admin[@]}" -F :action=doc_upload -F name=wired "$url/pypi/py/"
check "a form without a file is 400" status 400 "${admin[@]}" -F :action=file_upload -F name=wired -F version=9 "$url/pypi/py/"
check "an unknown repository is 404 to who may ask" status 404 "${admin[@]}" "$url/pypi/nowhere/simple/"
check "... and 401 to the anonymous, as a private one is" all status 401 "$url/pypi/nowhere/simple/" -- status 401 "$url/pypi/closed/simple/" -- \
    header_matches WWW-Authenticate 'Basic realm='
check "a truncated upload is not stored" truncated_form
check "... and its version does not exist" all status 200 -H "Accept: $v1+json" "$index/wired/" -- json_is 'd["versions"]' "['2.0']"
check "an upload to a private repository without a credential is 401" status 401 -F :action=file_upload -F name=x -F version=1 -F "content=@$wired" "$url/pypi/closed/"

check "a browser gets HTML" all status 200 -H 'Accept: text/html' "$index/wired/" -- header_matches Content-Type '^text/html' -- body_says '<a [^>]*href='
check "an unnamed wish gets HTML, as PEP 691 asks" all status 200 -H 'Accept: */*' "$index/wired/" -- header_matches Content-Type '^text/html'
check "JSON is given to who prefers it by q-value" all status 200 -H "Accept: text/html;q=0.1, $v1+json;q=0.9" "$index/wired/" -- header_matches Content-Type "^${v1}.json"
check "HTML is given to who prefers it by q-value" all status 200 -H "Accept: $v1+json;q=0.2, $v1+html;q=0.8" "$index/wired/" -- header_matches Content-Type "^${v1}.html"
check "... and Vary says that it depends" header_matches Vary '[Aa]ccept'
check "JSON has the file, its digest, size and time of upload (PEP 700)" all status 200 -H "Accept: $v1+json" "$index/wired/" -- \
    json_is 'd["files"][0]["filename"]' wired-2.0-py3-none-any.whl -- json_is 'd["files"][0]["hashes"]["sha256"]' "$(sha256 "$wired")" -- \
    json_is 'd["files"][0]["size"]' "$(stat -c %s "$wired")" -- json_is 'd["files"][0]["requires-python"]' '>=3.8' -- json_is '"upload-time" in d["files"][0]' True
file=$(python3 -c 'import json,sys,urllib.parse; print(urllib.parse.urljoin(sys.argv[2], json.load(open(sys.argv[1]))["files"][0]["url"]))' "$scratch/body" "$index/wired/")
unzip_metadata() { python3 -c 'import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read("wired-2.0.dist-info/METADATA"))' "$wired" >METADATA; }
check "the sidecar is the METADATA of the wheel (PEP 658)" all unzip_metadata -- status 200 "${file%%#*}.metadata" -- body_is_file METADATA
check "... and its digest is listed (PEP 714)" all status 200 -H "Accept: $v1+json" "$index/wired/" -- json_is 'd["files"][0]["core-metadata"]["sha256"]' "$(sha256 METADATA)"
check "the list of projects has it, normalised" all status 200 -H "Accept: $v1+json" "$index/" -- json_is '"wired" in [p["name"] for p in d["projects"]]' True
check "a name that is not normalised finds the project" status '200|30[1278]' "$index/WiReD/"
check "a page without its slash finds the project" status '200|30[1278]' "$index/wired"
check "an unknown project is 404" status 404 "$index/granary-test-none/"

check "a page has an ETag, and 304 for it" all status 200 -I -H "Accept: $v1+json" "$index/wired/" -- header_matches ETag '.' -- not_modified "$index/wired/"
check "a file: HEAD, its length and that ranges are welcome" all status 200 -I "$file" -- header_is Content-Length "$(stat -c %s "$wired")" -- header_is Accept-Ranges bytes
head -c 10 "$wired" >ten
check "a file: its first ten bytes" all status 206 -r 0-9 "$file" -- body_is_file ten
check "a file: 304 for its ETag" all status 200 -I "$file" -- not_modified "$file"
check "the sidecar answers HEAD" status 200 -I "${file%%#*}.metadata"

page() { status 200 -H "Accept: $v1+json" "$index/wired/"; }
check "a release is yanked, with a reason (PEP 592)" all status 200 "${admin[@]}" -X PUT -d 'it eats files' "$url/pypi/py/wired/2.0/yank" -- page -- \
    json_is 'd["files"][0]["yanked"]' 'it eats files' -- status 200 -H 'Accept: text/html' "$index/wired/" -- body_says 'data-yanked="it eats files"'
check "... still served to who names it" status 200 "$file"
check "... and can be brought back" all status 200 "${admin[@]}" -X DELETE "$url/pypi/py/wired/2.0/yank" -- page -- json_is 'd["files"][0].get("yanked", False)' False
check "... by who may write" status 403 -u "reader:$user_password" -X PUT -d no "$url/pypi/py/wired/2.0/yank"

# An attestation as PEP 740 wants it; who signs is not judged here, that it speaks of this very file is.
attest() { # FILE DIGEST
    python3 -c 'import base64, json, sys
statement = {"_type": "https://in-toto.io/Statement/v1", "subject": [{"name": sys.argv[1], "digest": {"sha256": sys.argv[2]}}],
             "predicateType": "https://docs.pypi" + ".org/attestations/publish/v1", "predicate": None}
text = base64.b64encode(json.dumps(statement).encode()).decode()
print(json.dumps([{"version": 1, "verification_material": {"certificate": "eA==", "transparency_entries": [{}]},
                   "envelope": {"statement": text, "signature": "eA=="}}]))' "$1" "$2"
}
package wheel wire attested 1.0 >/dev/null
attested=wire/attested-1.0-py3-none-any.whl
attest attested-1.0-py3-none-any.whl "$(sha256 "$wired")" >wrong.json
attest attested-1.0-py3-none-any.whl "$(sha256 "$attested")" >right.json
check "an attestation about other bytes is 400" post 400 "$attested" attested 1.0 -F "attestations=<wrong.json"
check "a file is uploaded with its attestation (PEP 740)" post 200 "$attested" attested 1.0 -F "attestations=<right.json"
check "... and the page says where its provenance is" all status 200 -H "Accept: $v1+json" "$index/attested/" -- body_says '"provenance": ?"[^"]+"'
provenance=$(python3 -c 'import json, sys, urllib.parse; print(urllib.parse.urljoin(sys.argv[2], json.load(open(sys.argv[1]))["files"][0].get("provenance") or "none"))' \
    "$scratch/body" "$index/attested/" || true)
check "... which can be read" all status 200 "$provenance" -- json_is 'len(d["attestation_bundles"][0]["attestations"])' 1
