# shellcheck shell=bash
# Virtual repositories: what is written and read in a local repository is written and read in a virtual one; then what only a virtual one has.
make_repository deploy generic '"is_public":true'
make_repository hoard generic
make_virtual all generic "deploy files hoard" '"is_public":true,"deploy_member_key":"deploy"'
artifacts=$url/api/v1/repositories/all/artifacts
download=$url/general/all
source "$here/writing.sh"
source "$here/reading.sh"

set_up all status 201 "${admin[@]}" -T file.bin "$url/api/v1/repositories/files/artifacts/both/x/1/x.bin" -- \
    status 201 "${admin[@]}" -T other.bin "$url/api/v1/repositories/hoard/artifacts/both/x/1/x.bin" -- \
    status 201 "${admin[@]}" -T other.bin "$url/api/v1/repositories/hoard/artifacts/hidden/y/1/y.bin"
check "the first member that has a file serves it" all status 200 "$download/both/x/1/x.bin" -- body_is_file file.bin
check "a file of a private member is 404 for who may not read it" all status 404 "$download/hidden/y/1/y.bin" -- \
    status 404 -u "reader:$user_password" "$artifacts/hidden/y/1/y.bin" -- status 404 "${artifacts%artifacts}download/hidden/y/1/y.bin"
check "... and in no list or total" all status 200 "$artifacts?q=hidden" -- json_is 'd["pagination"]["total"], d["items"]' '(0, [])'
check "... and there for who may" all status 200 "${admin[@]}" "$download/hidden/y/1/y.bin" -- body_is_file other.bin -- header_matches Cache-Control private
check "PUT on the virtual's own route stores in the deploy member" all status 201 "${admin[@]}" -T file.bin "$download/put/z/1/z.bin" -- \
    status 200 "$url/general/deploy/put/z/1/z.bin" -- body_is_file file.bin
check "a wrong password is refused" status 401 -u admin:wrong -T file.bin "$download/put/z/1/w.bin"
check "who may not write to the deploy member is told so" status 403 -u "reader:$user_password" -T file.bin "$download/put/z/1/w.bin"
make_virtual mute generic files '"is_public":true'
check "a virtual without a deploy member takes no upload" all status 400 "${admin[@]}" -T file.bin "$url/general/mute/put/z/1/z.bin" -- body_says 'deploy member'
