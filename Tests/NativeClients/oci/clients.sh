# shellcheck shell=bash
credentials=admin:$password
plain=(--insecure-policy)
if needs umoci "an image by umoci"; then
    check "umoci makes an image" all umoci init --layout layout -- umoci new --image layout:app -- umoci insert --image layout:app "$here/run.sh" /run.sh
    umoci config --image layout:app --config.cmd /run.sh >/dev/null 2>&1 || true
fi
copy() { skopeo "${plain[@]}" copy --src-tls-verify=false --dest-tls-verify=false "$@"; }
if [[ -d layout ]] && needs skopeo "skopeo"; then
    check "skopeo pushes it" copy --dest-creds "$credentials" oci:layout:app "docker://$registry/$images/app:1.0"
    check "skopeo pulls it back" copy --src-creds "$credentials" "docker://$registry/$images/app:1.0" oci:back:app
    check "... the same manifest" diff <(umoci stat --image layout:app --json) <(umoci stat --image back:app --json)
    check "... anonymously, from a public repository" copy --src-no-creds "docker://$registry/$images/app:1.0" oci:anonymous:app
    check "skopeo pulls it as a docker archive, and pushes that" all copy --src-creds "$credentials" "docker://$registry/$images/app:1.0" docker-archive:app.tar:app:1.0 -- \
        copy --dest-creds "$credentials" docker-archive:app.tar "docker://$registry/$images/from-docker:1.0"
    check "skopeo copies inside the registry" copy --src-creds "$credentials" --dest-creds "$credentials" "docker://$registry/$images/app:1.0" "docker://$registry/$images/app-copy:2.0"
    check "skopeo inspects it" skopeo inspect --tls-verify=false --creds "$credentials" "docker://$registry/$images/app:1.0"
    list_tags() { [[ $(skopeo list-tags --tls-verify=false --creds "$credentials" "docker://$registry/$images/app" | tr -d ' \n') == *'"Tags":["1.0"]'* ]]; }
    check "skopeo lists its tags" list_tags
    refused "skopeo is told of a wrong password" 'unauthorized|authentication required|invalid username' \
        copy --dest-creds reader:wrong oci:layout:app "docker://$registry/$images/app:bad"
    refused "skopeo is told of a missing right" 'denied|unauthorized|forbidden|authentication required' \
        copy --dest-creds "reader:$user_password" oci:layout:app "docker://$registry/$images/app:bad"
    refused "skopeo is told of a missing manifest" 'manifest unknown|not found' copy --src-creds "$credentials" "docker://$registry/$images/app:none" oci:never:app
    check "skopeo pushes to a private repository" copy --dest-creds "$credentials" oci:layout:app "docker://$registry/$vault/app:1.0"
    refused "... which the anonymous cannot pull" 'unauthorized|authentication required|denied' copy --src-no-creds "docker://$registry/$vault/app:1.0" oci:never:app
    refused "... nor who has no right" 'unauthorized|denied|not found|unknown|authentication required' \
        copy --src-creds "reader:$user_password" "docker://$registry/$vault/app:1.0" oci:never:app
    check "skopeo deletes" skopeo delete --tls-verify=false --creds "$credentials" "docker://$registry/$images/app-copy:2.0"
    refused "... and it is gone" 'manifest unknown|not found' copy --src-creds "$credentials" "docker://$registry/$images/app-copy:2.0" oci:never:app
fi

head -c 2000000 /dev/urandom >any.bin
echo '{"sbom": true}' >sbom.json
oras_=(--plain-http -u admin -p "$password")
if needs oras "oras"; then
    check "oras pushes an arbitrary file" oras push "${oras_[@]}" "$registry/$images/artifact:1.0" --artifact-type application/x.granary any.bin:application/octet-stream
    check "oras pulls it" all oras pull "${oras_[@]}" -o pulled "$registry/$images/artifact:1.0" -- cmp any.bin pulled/any.bin
    check "oras attaches another to it" oras attach "${oras_[@]}" --artifact-type application/x.sbom "$registry/$images/artifact:1.0" sbom.json:application/json
    discovers() { oras discover "${oras_[@]}" --format json "$registry/$images/artifact:1.0" | tee discovered | grep -q application/x.sbom || { cat discovered; return 1; }; }
    check "oras discovers what is attached" discovers
    check "oras tags, and lists the tags" all oras tag "${oras_[@]}" "$registry/$images/artifact:1.0" latest -- oras repo tags "${oras_[@]}" "$registry/$images/artifact"
    check "oras copies with what is attached" oras copy -r --from-plain-http --to-plain-http --from-username admin --from-password "$password" --to-username admin --to-password "$password" \
        "$registry/$images/artifact:1.0" "$registry/$vault/artifact:1.0"
    refused "oras is told of a wrong password" '401|unauthorized|denied' oras push --plain-http -u reader -p wrong "$registry/$images/artifact:2.0" any.bin
fi

if wants crane "crane"; then
    set_up crane auth login "$registry" -u admin -p "$password" --insecure
    check "crane tells the digest" same "$(crane digest --insecure "$registry/$images/artifact:1.0" 2>/dev/null)" "$(oras resolve "${oras_[@]}" "$registry/$images/artifact:1.0")"
    check "crane lists tags and names" all crane ls --insecure "$registry/$images/artifact" -- crane catalog --insecure "$registry"
    check "crane copies and validates" all crane copy --insecure "$registry/$images/app:1.0" "$registry/$vault/crane:1.0" -- crane validate --insecure --remote "$registry/$vault/crane:1.0"
fi
