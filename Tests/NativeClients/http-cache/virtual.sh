# shellcheck shell=bash
# Several caches read as one, one of them written to.
make_virtual all http-cache "ci mirror hidden" '"is_public":true,"deploy_member_key":"ci"'
both=$url/cache/all
grant builder all '["read","write"]'
set_up status 201 "${admin[@]}" -T other.bin "$url/cache/hidden/secret"
check "a virtual writes to its deploy member" all status 201 "${builder[@]}" -T object.bin "$both/written" -- status 200 "$cache/written" -- body_is_file object.bin
check "... reads it, and what its remote member has" all status 200 "$both/written" -- status 200 "$both/cas/$sum" -- status 200 "$both/ac/far"
check "a reader may not write through it" status 403 "${reader[@]}" -T object.bin "$both/k"
check "a private member is not read through a public virtual" status 404 "$both/secret"
check "... but is by who may read it" all status 200 "${admin[@]}" "$both/secret" -- body_is_file other.bin
check "... nor listed, nor in totals" nowhere_listed all secret
