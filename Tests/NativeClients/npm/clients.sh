# shellcheck shell=bash
make_package leaf granary-leaf 1.0.0 leaf
make_package scoped @granary/branch 1.0.0 branch '"dependencies":{"granary-leaf":"^1.0.0"}'
make_package tree granary-tree 2.1.0-rc.1 tree '"dependencies":{"@granary/branch":"~1.0.0","granary-leaf":"*"},"bin":{"granary-tree":"index.js"}'
check "npm ping" as anonymous.rc ping
check "npm publishes a package" publish admin.rc leaf
check "npm publishes a scoped one" publish admin.rc scoped --access public
check "npm publishes one under a tag of its own" publish admin.rc tree --tag next
check "npm installs packages that need each other" install anonymous.rc a granary-tree@next
check "... what they say is what was published" all says a granary-tree tree -- says a @granary/branch branch -- says a granary-leaf leaf
check "... the lockfile has their integrity and our addresses" all grep -q '"integrity": "sha512-' a/package-lock.json -- grep -qF "${registry}@granary/branch/-/branch-1.0.0.tgz" a/package-lock.json
ci() { rm -rf a/node_modules && (cd a && npm_config_cache=$scratch/a/.other as anonymous.rc ci) && says a @granary/branch branch; }
check "npm ci installs the same again" ci
lie() { sed 's/"integrity": "sha512-[^"]*"/"integrity": "sha512-'"$(printf 'x%.0s' {1..64} | base64 -w 0)"'"/' a/package-lock.json >a/lies && cp a/lies a/package-lock.json; }
check "npm ci with another integrity in the lockfile" lie
refused "... refuses what we serve" 'EINTEGRITY' ci
check "npm install of a package without latest takes its newest version" all install anonymous.rc b granary-tree -- says b granary-tree tree

check "npm view shows the newest" same 1.0.0 "$(as anonymous.rc view granary-leaf version 2>/dev/null)"
check "... a scoped one, its dependencies" same '^1.0.0' "$(as anonymous.rc view @granary/branch dependencies.granary-leaf 2>/dev/null)"
check "... the readme of the latest version" same '# granary-leaf, which says leaf' "$(as anonymous.rc view granary-leaf readme 2>/dev/null | head -n 1)"
refused "npm view of a package that is not there" 'E404' as anonymous.rc view granary-none
refused "npm install of a version that is not there" 'ETARGET' install anonymous.rc c granary-leaf@9

make_package leaf granary-leaf 1.0.0 "another leaf"
refused "npm is told that a version is taken" '409.*previously published' publish admin.rc leaf
make_package leaf granary-leaf 1.0.0 leaf
check "... unless the bytes are the same: a retry" publish admin.rc leaf
make_package leaf granary-leaf 1.1.0 "newer leaf"
check "npm publishes a newer version" publish admin.rc leaf
check "... which is installed" all install anonymous.rc d granary-leaf -- says d granary-leaf "newer leaf"

check "npm dist-tag add" as admin.rc dist-tag add granary-leaf@1.0.0 stable
check "... ls" same $'latest: 1.1.0\nstable: 1.0.0' "$(as anonymous.rc dist-tag ls granary-leaf 2>/dev/null)"
check "... is installed by" all install anonymous.rc e granary-leaf@stable -- says e granary-leaf leaf
check "... rm" as admin.rc dist-tag rm granary-leaf stable
check "... and is gone" same 'latest: 1.1.0' "$(as anonymous.rc dist-tag ls granary-leaf 2>/dev/null)"
check "npm dist-tag of a scoped package" all as admin.rc dist-tag add @granary/branch@1.0.0 old -- as admin.rc dist-tag rm @granary/branch old

check "npm deprecate" as admin.rc deprecate 'granary-leaf@<1.1' "use 1.1"
check "... warns who installs it" sh -c "cd '$scratch' && mkdir -p f && cd f && echo '{}' >package.json && npm_config_loglevel=warn npm_config_userconfig='$scratch/anonymous.rc' npm install granary-leaf@1.0.0 2>&1 | grep 'deprecated granary-leaf@1.0.0: use 1.1'"
check "npm undeprecate" as admin.rc deprecate granary-leaf@1.0.0 ""
check "... is quiet" same "" "$(as anonymous.rc view granary-leaf@1.0.0 deprecated 2>/dev/null)"

check "npm search finds by name" grep -q '^granary-leaf' <(as anonymous.rc search granary-leaf --parseable 2>/dev/null)
check "... by description and keyword" same '@granary/branch granary-leaf granary-tree' \
    "$(as anonymous.rc search talk says --json 2>/dev/null | python3 -c 'import json,sys; print(*sorted(p["name"] for p in json.load(sys.stdin)))')"
check "npm audit finds nothing, and says so" sh -c "cd '$scratch/d' && npm_config_userconfig='$scratch/anonymous.rc' npm audit | grep 'found 0 vulnerabilities'"
check "npm whoami" same admin "$(as admin.rc whoami 2>/dev/null)"

make_package gone granary-gone 1.0.0 gone
check "npm unpublish: two versions are published" all publish admin.rc gone -- make_package gone granary-gone 1.1.0 gone -- publish admin.rc gone
check "... one goes" as admin.rc unpublish granary-gone@1.1.0
check "... the other is the latest then" same 1.0.0 "$(as anonymous.rc view granary-gone dist-tags.latest --prefer-online 2>/dev/null)"
check "... its tarball is gone" status 404 "${registry}granary-gone/-/granary-gone-1.1.0.tgz"
make_package gone granary-gone 1.1.0 "other bytes"
refused "... and its version is not given to other bytes" '409' publish admin.rc gone
check "npm unpublish of the whole package" as admin.rc unpublish granary-gone --force
refused "... then it is not there" 'E404' as anonymous.rc view granary-gone --prefer-online
check "... nor found by search" same '[]' "$(as anonymous.rc search granary-gone --json 2>/dev/null | tr -d '[:space:]')"

# Who may.
npmrc wrong.rc "$registry" reader "not the password"
make_package more granary-more 1.0.0 more
refused "npm is told of a wrong password" 'E401|ncorrect' publish wrong.rc more
refused "npm is told of a missing right" 'E403' publish reader.rc more
refused "npm without a credential is told to log in" 'ENEEDAUTH|E401' publish anonymous.rc more
refused "a reader unpublishes nothing" 'E403' as reader.rc unpublish granary-leaf@1.0.0 --force
npmrc closed.rc "$url/npm/closed/" admin "$password"
npmrc peek.rc "$url/npm/closed/"
check "npm publishes to a private repository" publish closed.rc more
check "... and installs from it" all install closed.rc g granary-more -- says g granary-more more
refused "... who has no credential is refused" 'E401' install peek.rc h granary-more
refused "... nor does a tarball come" '401' curl -sSf "$url/npm/closed/granary-more/-/granary-more-1.0.0.tgz"

# npm login asks on a terminal; what it sends is sent by its own library.
log_in() { # USER PASSWORD REGISTRY
    node -e 'const profile = require(process.argv[1] + "/npm-profile")
profile.loginCouch(process.argv[2], process.argv[3], { registry: process.argv[4] }).then(r => console.log(r.token), e => { console.error(e.code, e.message); process.exit(1) })' \
        "$(dirname "$(readlink -f "$(command -v npm)")")/../node_modules" "$@"
}
refused "npm login with a wrong password" 'E401' log_in admin wrong "$url/npm/closed/"
check "npm login gives a token, of a private repository too" sh -c 'test -n "$1"' sh "$(log_in admin "$password" "$url/npm/closed/")"
token=$(log_in admin "$password" "$url/npm/closed/")
printf 'registry=%s\n//%s:_authToken=%s\n' "$url/npm/closed/" "${url#*//}/npm/closed/" "$token" >token.rc
check "... with which npm is somebody" same admin "$(as token.rc whoami 2>/dev/null)"
make_package more granary-more 1.0.1 "even more"
check "... publishes and installs" all publish token.rc more -- install token.rc i granary-more -- says i granary-more "even more"
check "npm logout revokes it" as token.rc logout
printf 'registry=%s\n//%s:_authToken=%s\n' "$url/npm/closed/" "${url#*//}/npm/closed/" "$token" >token.rc
refused "... then it is nobody's" 'E401' as token.rc whoami

# Provenance: a bundle of the form Sigstore gives, about this very tarball. npm would ask Sigstore's public log before it sends one.
make_package proven granary-proven 1.0.0 proven
(cd proven && npm pack --silent >/dev/null)
bundle() { # SHA512
    python3 -c 'import base64, json, sys
statement = {"_type": "https://in-toto.io/Statement/v1", "subject": [{"name": "pkg:npm/granary-proven@1.0.0", "digest": {"sha512": sys.argv[1]}}],
             "predicateType": "https://slsa.dev/provenance/v1", "predicate": {}}
print(json.dumps({"mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.2", "verificationMaterial": {"tlogEntries": []}, "dsseEnvelope": {
    "payload": base64.b64encode(json.dumps(statement).encode()).decode(), "payloadType": "application/vnd.in-toto+json", "signatures": [{"sig": "eA==", "keyid": ""}]}}))' "$1"
}
put_proven() { # STATUS SHA512
    bundle "$2" >bundle.json
    python3 "$here/document.py" proven granary-proven-1.0.0.tgz bundle.json >document.json
    status "$1" "${admin[@]}" -X PUT -H 'Content-Type: application/json' --data-binary @document.json "${registry}granary-proven"
}
check "provenance about other bytes is 400" put_proven 400 "$(printf 'ab%.0s' {1..64})"
check "a version is published with its provenance" put_proven 200 "$(sha512sum proven/granary-proven-1.0.0.tgz | cut -d ' ' -f 1)"
check "... npm view shows what it attests" same https://slsa.dev/provenance/v1 "$(as anonymous.rc view granary-proven dist.attestations.provenance.predicateType 2>/dev/null)"
check "... and the bundle can be had" all status 200 "$(as anonymous.rc view granary-proven dist.attestations.url 2>/dev/null)" -- \
    json_is 'd["attestations"][0]["bundle"]["dsseEnvelope"]["payloadType"]' application/vnd.in-toto+json

if wants yarnpkg "yarn installs"; then
    mkdir -p y && echo '{"name":"y","version":"1.0.0"}' >y/package.json
    check "yarn installs" sh -c "cd '$scratch/y' && YARN_NPM_REGISTRY_SERVER='${registry%/}' YARN_UNSAFE_HTTP_WHITELIST=127.0.0.1 YARN_NODE_LINKER=node-modules yarnpkg add @granary/branch"
fi
