# shellcheck shell=bash
# A virtual repository of the local and the remote one, signed by us; a private member shows to nobody who may not see it.

set_up status 201 "${admin[@]}" -T "$(make_deb secret-granary 1.0 amd64)" "$debian/closed/pool/main/s/secret-granary/secret-granary_1.0_amd64.deb"
members='{"repo_key":"deb","priority":1},{"repo_key":"closed","priority":2}'
[[ -z ${archive_port:-} ]] || members+=',{"repo_key":"mirror","priority":3}'
set_up status 200 "${admin[@]}" -H 'Content-Type: application/json' "$url/api/v1/repositories" \
    -d "{\"key\":\"all\",\"name\":\"all\",\"format\":\"debian\",\"repo_type\":\"virtual\",\"is_public\":true,\"member_repos\":[$members]}"
check "the virtual repository signs with a key of its own" fetch_key "$scratch/all.asc" "$debian/all/gpg-key.asc"
make_apt virtual "deb [signed-by=$scratch/all.asc] $debian/all stable main"
check "apt updates from the union" apt virtual update
check "apt installs what a local member has" apt virtual install hello-granary
if [[ -n ${archive_port:-} ]]; then
    check "apt installs what a remote member has" apt virtual install foreign-first
fi
refused "a private member's package is unknown to apt" 'Unable to locate package secret-granary' apt virtual install secret-granary
check "and its file is not there" status 404 "$debian/all/pool/main/s/secret-granary/secret-granary_1.0_amd64.deb"
check "... nor is it in its index, its Contents, search or totals" all status 200 "$debian/all/dists/stable/main/binary-amd64/Packages" -- refuses_body secret-granary -- \
    status 200 "$debian/all/dists/stable/main/Contents-amd64" -- refuses_body secret-granary -- nowhere_listed all secret-granary
make_apt insider "deb [signed-by=$scratch/all.asc] $debian/all stable main"
echo "machine http://127.0.0.1:$port login admin password $password" >"$scratch/apt-insider/auth"
check "who may see it installs it" all apt insider update -- apt insider install secret-granary
