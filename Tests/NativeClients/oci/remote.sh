# shellcheck shell=bash
# A remote repository in front of Debian's docker-registry, and of another Granary that wants a token.
far_port=$(free_port)
cat >registry.yml <<YML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $scratch/far}}
http: {addr: 127.0.0.1:$far_port}
YML
start far.log docker-registry serve registry.yml
far_pid=$started_pid
set_up wait_for_port "$far_port"
far=127.0.0.1:$far_port

start_between() { # NAME [--wrong-blobs]: the way to the registry, with a log
    rm -f "$1.port"
    start "$1.err" python3 "$here/between.py" "$1.port" "$1.log" "$far" "${@:2}"
    wait_until 20 test -s "$1.port" || fail "the way to the upstream did not open"
}
start_between way
make_remote hub docker "http://127.0.0.1:$(<way.port)/v2/"
passed_on() { grep -cE "$1" way.log || true; }

set_up copy oci:layout:app "docker://$far/team/app:1.0"
check "skopeo pulls through a remote of docker-registry" copy "docker://$registry/hub/team/app:1.0" oci:remoted:app
check "... the same manifest" diff <(umoci stat --image layout:app --json) <(umoci stat --image remoted:app --json)
blobs=$(passed_on 'GET .*/blobs/')
check "a second pull is served from the cache" copy "docker://$registry/hub/team/app:1.0" oci:again:app
check "... no blob was fetched again" same "$blobs" "$(passed_on 'GET .*/blobs/')"
check "... nor the manifest" same 1 "$(passed_on 'GET .*/manifests/')"
digest=$(sha256sum <(skopeo inspect --raw --tls-verify=false "docker://$far/team/app:1.0") | cut -d ' ' -f 1)
check "HEAD of the tag tells the digest" all status 200 -I "$url/v2/hub/team/app/manifests/1.0" -- header_is Docker-Content-Digest "sha256:$digest"
check "... and by digest it is there without the upstream" all status 200 "$url/v2/hub/team/app/manifests/sha256:$digest" -- same 1 "$(passed_on 'GET .*/manifests/')"
far_tags() { [[ $(skopeo list-tags --tls-verify=false "docker://$registry/hub/team/app" | tr -d ' \n') == *'"Tags":['"$1"']'* ]]; }
check "skopeo lists the upstream's tags" far_tags '"1.0"'
refused "skopeo is told of a missing manifest" 'manifest unknown|not found' copy "docker://$registry/hub/team/app:none" oci:never:app
refused "... of a missing image" 'unknown|not found' copy "docker://$registry/hub/team/none:1.0" oci:never:app
refused "... of a wrong password" 'unauthorized|authentication required|invalid username' copy --src-creds reader:wrong "docker://$registry/hub/team/app:1.0" oci:never:app
refused "a remote takes no push" 'unsupported|denied|405' copy --dest-creds "$credentials" oci:layout:app "docker://$registry/hub/team/app:2.0"

if needs oras "oras and a remote"; then
    set_up oras push --plain-http "$far/team/artifact:1.0" --artifact-type application/x.granary any.bin:application/octet-stream
    set_up oras attach --plain-http --artifact-type application/x.sbom "$far/team/artifact:1.0" sbom.json:application/json
    check "oras pulls through the remote" all oras pull --plain-http -o far-pulled "$registry/hub/team/artifact:1.0" -- cmp any.bin far-pulled/any.bin
    discovers_far() { oras discover --plain-http --format json "$registry/hub/team/artifact:1.0" | tee discovered | grep -q application/x.sbom || { cat discovered; return 1; }; }
    check "oras discovers what is attached at the upstream, which has no referrers API" discovers_far
fi
if wants crane "crane and a remote"; then
    check "crane validates what comes through it" crane validate --insecure --remote "$registry/hub/team/app:1.0"
fi

set_up status 200 "${admin[@]}" -X PUT -H 'Content-Type: application/json' "$url/api/v1/repositories/hub/cache-ttl" -d '{"cache_ttl_seconds":1}'
set_up umoci config --image layout:app --tag newer --config.cmd /other.sh
set_up copy oci:layout:newer "docker://$far/team/app:1.0"
moved() { [[ $(skopeo inspect --raw --tls-verify=false "docker://$registry/hub/team/app:1.0" | sha256sum) == "$(skopeo inspect --raw --tls-verify=false "docker://$far/team/app:1.0" | sha256sum)" ]]; }
check "a tag that moved there moves here once it is stale" wait_until 20 moved
check "... and pulls" copy "docker://$registry/hub/team/app:1.0" oci:moved:app

start_between lies --wrong-blobs
make_remote liar docker "http://127.0.0.1:$(<lies.port)/"
refused "blobs that are not what the manifest names are refused" '.' copy "docker://$registry/liar/team/app:1.0" oci:never:app
logged() { grep -q 'nothing was kept' "$server_log"; }
check "... the log says why" logged
lied=$(grep -c 'GET .*/blobs/' lies.log)
more_lies() { ! copy "docker://$registry/liar/team/app:1.0" oci:never:app && (($(grep -c 'GET .*/blobs/' lies.log) > lied)); }
check "... and nothing of them was kept" more_lies

# The upstream's own challenge: a token for the scope, by our credentials.
vault() { make_remote "$1" docker "$url/v2/" "$2"; }
vault allowed '"upstream_auth_type":"basic","upstream_username":"admin","upstream_password":"'"$password"'"'
vault stranger '"is_public":true'
check "a remote brings the token a private upstream asks for" copy "docker://$registry/allowed/vault/app:1.0" oci:private:app
refused "... and without credentials it has none to bring" '.' copy "docker://$registry/stranger/vault/app:1.0" oci:never:app

stop "$far_pid" KILL
sleep 1.1 # past the tag's freshness: what comes now is stale, or nothing
check "with the upstream dead, what was pulled still pulls" copy "docker://$registry/hub/team/app:1.0" oci:stale:app
check "... its tags are listed" far_tags '"1.0"'
check "what was never asked for is 503, to be tried again" all status '50[23]' "$url/v2/hub/team/other/manifests/1.0"
