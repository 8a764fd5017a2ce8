# shellcheck shell=bash
# Virtual repositories: what the clients do with a local repository they do with a virtual one; then what only a virtual one has.
make_repository deploy docker '"is_public":true'
make_repository hoard docker
make_virtual all docker "images deploy vault" '"is_public":true,"deploy_member_key":"deploy"'
make_virtual inner docker hoard '"deploy_member_key":"hoard"'
make_virtual mute docker images '"is_public":true'

mkdir virtual-clients
cd virtual-clients || exit
# Names that no other member has: a tag shows the first member's image.
make_virtual own docker deploy '"is_public":true,"deploy_member_key":"deploy"'
images=own vault=inner
source "$here/clients.sh"

if [[ -d layout ]] && have skopeo; then
    # The layers are those of images/app, which the client sees at the virtual and does not send.
    check "skopeo pushes through a virtual what a sibling member has" copy --dest-creds "$credentials" oci:layout:app "docker://$registry/all/app:through"
    check "... and pulls it back, from the virtual and from the deploy member" all copy --src-no-creds "docker://$registry/all/app:through" oci:again:app -- \
        copy --src-no-creds "docker://$registry/deploy/app:through" oci:direct:app
    check "skopeo pulls a member's image through the virtual" copy --src-no-creds "docker://$registry/all/from-docker:1.0" oci:member:app
    tags_of() { skopeo list-tags --tls-verify=false "${@:2}" "docker://$registry/$1" | tr -d ' \n' | sed 's/.*"Tags":\[\(.*\)\].*/\1/'; }
    check "tags are the union" same '"1.0","through"' "$(tags_of all/app --no-creds)"
    set_up copy --dest-creds "$credentials" oci:layout:app "docker://$registry/vault/secret:1.0"
    refused "a private member's image is unknown to the anonymous" 'manifest unknown|not found|unauthorized|denied' \
        copy --src-no-creds "docker://$registry/all/secret:1.0" oci:never:app
    check "... its tags are 404" status 404 "$url/v2/all/secret/tags/list" -H "Authorization: Bearer $(curl -s "$url/v2/token?scope=repository:all/secret:pull" | python3 -c 'import json, sys; print(json.load(sys.stdin)["token"])')"
    check "... it is in no search, no total and no catalogue" all nowhere_listed all secret -- \
        status 200 "$url/v2/_catalog?n=1000" -H "Authorization: Bearer $(curl -s -u "reader:$user_password" "$url/v2/token?scope=registry:catalog:*" | python3 -c 'import json, sys; print(json.load(sys.stdin)["token"])')" -- \
        json_is '[r for r in d["repositories"] if "secret" in r]' '[]'
    check "... and pulled by who may" copy --src-creds "$credentials" "docker://$registry/all/secret:1.0" oci:secret:app
    refused "skopeo is told that a virtual without a deploy member takes no push" '405|unsupported|deploy member' \
        copy --dest-creds "$credentials" oci:layout:app "docker://$registry/mute/app:new"
fi
cd "$scratch" || exit
