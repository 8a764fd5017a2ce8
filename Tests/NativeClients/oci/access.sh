# shellcheck shell=bash
# Beyond the control: sha512, referrers, deletes, catalogue, tokens and rights, which the peer does not have or is not set up for.
sha512=sha512:$(sha512sum large | cut -d ' ' -f 1)
check "a blob may be named by SHA-512" all push_blob large "$sha512" -- status 200 "${admin[@]}" "$v2/blobs/$sha512" -- body_is_file large
check "... and a wrong SHA-512 is refused" all begin -- close 400 "${sha512%?}0" --data-binary @made/config
check "n must be a number" status 400 "${admin[@]}" "$v2/tags/list?n=x"

referrer() { # FILE TYPE: a manifest that says it belongs to the image
    python3 -c 'import json, os, sys
print(json.dumps({"schemaVersion": 2, "mediaType": sys.argv[1], "artifactType": sys.argv[2],
  "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": sys.argv[3], "size": os.path.getsize("made/config")}, "layers": [],
  "subject": {"mediaType": sys.argv[1], "digest": sys.argv[4], "size": os.path.getsize("made/manifest")}, "annotations": {"a": "b"}}))' \
        "$manifest_type" "$2" "$config" "$manifest" >"$1"
}
referrer sbom application/x.sbom
referrer signature application/x.signature
check "a manifest with a subject says whose it is" all push_manifest sbom "sha256:$(sha256 sbom)" -- header_is OCI-Subject "$manifest"
set_up push_manifest signature "sha256:$(sha256 signature)"
check "referrers are listed" all status 200 "${admin[@]}" "$v2/referrers/$manifest" -- header_is Content-Type application/vnd.oci.image.index.v1+json -- \
    json_is 'sorted(m["artifactType"] for m in d["manifests"])' "['application/x.sbom', 'application/x.signature']" -- json_is 'd["manifests"][0]["annotations"]' "{'a': 'b'}"
check "... of one type, saying so" all status 200 "${admin[@]}" "$v2/referrers/$manifest?artifactType=application/x.sbom" -- \
    json_is '[m["digest"] for m in d["manifests"]]' "['sha256:$(sha256 sbom)']" -- header_is OCI-Filters-Applied artifactType
check "... of what nobody refers to: none" all status 200 "${admin[@]}" "$v2/referrers/$config" -- json_is 'd["manifests"]' '[]'
check "... of no digest: 400" status 400 "${admin[@]}" "$v2/referrers/v1"

check "the catalogue lists names in ASCII order" all status 200 "${admin[@]}" "$url/v2/_catalog" -- json_is 'd["repositories"] == sorted(d["repositories"]) and "images/hand" in d["repositories"]' True
check "... in pages" all status 200 "${admin[@]}" "$url/v2/_catalog?n=1" -- json_is 'len(d["repositories"])' 1

token() { status 200 "${@:2}" "$url/v2/token?service=$service&scope=$1" && bearer=(-H "Authorization: Bearer $(json 'd["token"]')"); }
check "/v2/ challenges who has none" all status 401 "$url/v2/" -- header_matches WWW-Authenticate '^Bearer realm="[^"]+/v2/token",service="[^"]+"'
service=$(header WWW-Authenticate | sed -n 's/.*service="\([^"]*\)".*/\1/p')
check "an anonymous token reads a public image" all token repository:images/hand:pull -- status 200 "$url/v2/images/hand/manifests/v1" -H 'Authorization: Bearer anonymous'
bearer_reads() { token repository:images/hand:pull && status 200 "${bearer[@]}" "$v2/manifests/v1"; }
check "... as the token endpoint gave it" bearer_reads
bearer_writes() { token repository:images/hand:pull,push "${@:2}" && status "$1" "${bearer[@]}" -X POST "$v2/blobs/uploads/"; }
check "... and writes nothing" bearer_writes 401
check "a user's token writes what the user may" bearer_writes 202 "${admin[@]}"
check "... and nothing else" bearer_writes 403 -u "reader:$user_password"
check "a wrong password gets no token" status 401 -u reader:wrong "$url/v2/token?service=$service&scope=repository:images/hand:pull"
check "a private image is 401 to the anonymous" all status 401 "$url/v2/vault/x/manifests/v1" -- json_is 'd["errors"][0]["code"]' UNAUTHORIZED
check "... exactly as one in an unknown repository" status 401 "$url/v2/nowhere/x/manifests/v1"
check "... and like absent to who may not read it" status '40[34]' -u "reader:$user_password" "$url/v2/vault/x/manifests/v1"

private=$url/v2/vault/box
private_blob() {
    head -c 5000 /dev/urandom >hidden
    status 201 "${admin[@]}" -X PUT "${octets[@]}" --data-binary @hidden "$(with_query "$(location)" "digest=sha256:$(sha256 hidden)")"
}
check "a blob in a private repository" all status 202 "${admin[@]}" -X POST "$private/blobs/uploads/" -- private_blob
check "... is not mounted by who may not read it" status 403 -u "reader:$user_password" -X POST "$v2/blobs/uploads/?mount=sha256:$(sha256 hidden)&from=vault/box"

check "a tag is deleted alone" all status 202 "${admin[@]}" -X DELETE "$v2/manifests/b" -- status 404 "${admin[@]}" "$v2/manifests/b" -- status 200 "${admin[@]}" "$v2/manifests/$manifest"
check "a manifest is deleted with its tags" all status 202 "${admin[@]}" -X DELETE "$v2/manifests/$manifest" -- status 404 "${admin[@]}" "$v2/manifests/$manifest" -- \
    status 404 "${admin[@]}" "$v2/manifests/v1"
check "... and again is 404" status 404 "${admin[@]}" -X DELETE "$v2/manifests/$manifest"
check "who may not delete is told 403" status 403 -u "reader:$user_password" -X DELETE "$v2/manifests/sha256:$(sha256 sbom)"
check "a blob is deleted from its name" all status 202 "${admin[@]}" -X DELETE "$v2/blobs/$large" -- status 404 "${admin[@]}" "$v2/blobs/$large"
check "... and lives on under the name it was mounted to" all status 200 "${admin[@]}" "$v2_other/blobs/$large" -- body_is_file large
