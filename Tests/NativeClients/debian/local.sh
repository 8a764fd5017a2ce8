# shellcheck shell=bash
# A local repository: packages put by path and by name, read by apt.

hello=$(make_deb hello-granary 1.0-1 amd64)
everywhere=$(make_deb everywhere-granary 2.0 all)
zst=$(compression=-Zzstd make_deb squeezed-granary 1:3.0 amd64)
plain=$(compression=-Zgzip make_deb gzipped-granary 0.1~rc1 amd64)
pool=$debian/deb/pool/main

put() { status "$1" "${admin[@]}" -T "$2" "$3"; }
check "a package is put by its path into a distribution" put 201 "$hello" "$pool/h/hello-granary/hello-granary_1.0-1_amd64.deb?distribution=stable"
check "the same bytes again are fine" put 201 "$hello" "$pool/h/hello-granary/hello-granary_1.0-1_amd64.deb?distribution=stable"
check "other bytes under its name are a conflict" put 409 "$(make_deb hello-granary 1.0-1 amd64 other)" "$pool/h/hello-granary/hello-granary_1.0-1_amd64.deb?distribution=stable"
hello=$(make_deb hello-granary 1.0-1 amd64)
check "what is no package is refused with the reason" all put 400 "$here/run.sh" "$pool/x/x/x_1_amd64.deb" -- body_says 'no ar archive'
check "a package under another's name is refused with the reason" all put 400 "$hello" "$pool/h/x/other_1.0-1_amd64.deb" -- body_says 'Package: hello-granary'
head -c 600 "$hello" >"$scratch/cut.deb"
check "a cut package is refused" put 400 "$scratch/cut.deb" "$pool/h/h/cut_1_amd64.deb"
check "a package for all architectures, a zstd one and a gzip one" all put 201 "$everywhere" "$pool/e/everywhere-granary/everywhere-granary_2.0_all.deb" \
    -- put 201 "$zst" "$pool/s/squeezed-granary/squeezed-granary_3.0_amd64.deb?distribution=stable&distribution=testing" \
    -- put 201 "$plain" "$pool/g/gzipped-granary/gzipped-granary_0.1~rc1_amd64.deb"
lib=$(make_deb liblib-granary 1.0 amd64)
check "a package is uploaded by its name alone" all status 201 "${admin[@]}" --data-binary "@$lib" -H "X-Filename: $(basename "$lib")" "$debian/deb/upload?distribution=stable" \
    -- json_is "d['path']" pool/main/libl/liblib-granary/liblib-granary_1.0_amd64.deb -- json_is "d['sha256']" "$(sha256 "$lib")"
check "REST puts one too" status 201 "${admin[@]}" -T "$(make_deb rest-granary 1.0 amd64)" "$url/api/v1/repositories/deb/artifacts/anywhere/rest-granary_1.0_amd64.deb"
check "without a password nothing is put" status 401 -T "$hello" "$pool/h/hello-granary/hello-granary_1.0-1_amd64.deb"
check "a user without the right is refused" status 403 -u "reader:$user_password" -T "$hello" "$pool/h/hello-granary/hello-granary_1.0-1_amd64.deb"

check "the key is handed out" fetch_key "$scratch/deb.asc" "$debian/deb/gpg-key.asc"
make_apt local "deb [signed-by=$scratch/deb.asc] $debian/deb stable main"
check "apt updates, trusting that key alone" apt local update
expands_to() { curl -sSf "$1" | python3 -c "import sys, $2; sys.stdout.buffer.write($2.decompress(sys.stdin.buffer.read()))" | cmp - <(curl -sSf "$3"); }
packages=$debian/deb/dists/stable/main/binary-amd64/Packages
check "indexes are there as gzip and as xz" all expands_to "$packages.gz" gzip "$packages" -- expands_to "$packages.xz" lzma "$packages"
check "apt takes indexes by hash" grep -q '"GET".*"status":"200".*by-hash/SHA256' "$server_log"
check "apt installs packages of every compression, and one for all architectures" apt local install hello-granary everywhere-granary squeezed-granary gzipped-granary liblib-granary rest-granary
check "what it installed is what was put" all holds local hello-granary 1.0-1 -- holds local squeezed-granary 1:3.0 -- holds local everywhere-granary 2.0
refused "a missing package is told in apt's words" 'Unable to locate package nowhere-granary' apt local install nowhere-granary
check "a missing file of the pool is 404" status 404 "$pool/n/nowhere/nowhere_1_amd64.deb"
check "a distribution that is not there is 404" status 404 "$debian/deb/dists/nowhere/InRelease"
check "the other distribution has what was put there" all status 200 "$debian/deb/dists/testing/main/binary-amd64/Packages" -- body_says 'Package: squeezed-granary' -- refuses_body hello-granary

# A key as good as ours, which has signed nothing here.
fetch_key "$scratch/closed.asc" "${admin[@]}" "$debian/closed/gpg-key.asc"
make_apt mistrusting "deb [signed-by=$scratch/closed.asc] $debian/deb stable main"
refused "apt refuses another key" 'NO_PUBKEY|not signed|public key is not available' apt mistrusting update

# A private repository.
check "a private repository takes packages too" put 201 "$hello" "$debian/closed/pool/main/h/hello-granary/hello-granary_1.0-1_amd64.deb"
make_apt closed "deb [signed-by=$scratch/closed.asc] $debian/closed stable main"
refused "without a password apt is refused" '401' apt closed update
echo "machine http://127.0.0.1:$port login admin password wrong" >"$scratch/apt-closed/auth"
refused "with a wrong one too" '401' apt closed update
echo "machine http://127.0.0.1:$port login admin password $password" >"$scratch/apt-closed/auth"
check "with the right one it installs" all apt closed update -- apt closed install hello-granary

# What is published after an update is seen by the next.
check "a new version is seen by the next update" all put 201 "$(make_deb hello-granary 1.0-2 amd64)" "$pool/h/hello-granary/hello-granary_1.0-2_amd64.deb" \
    -- apt local update -- apt local install hello-granary
check "apt has upgraded" holds local hello-granary 1.0-2

# Rotation: who has the old key goes on, who fetches the new one needs nothing else.
repository_id=$(http "${admin[@]}" "$url/api/v1/repositories/deb" >/dev/null; json "d['id']")
key_id=$(http "${admin[@]}" "$url/api/v1/signing/keys?repository_id=$repository_id" >/dev/null; json "d['keys'][0]['id']")
check "the key is rotated" status 200 "${admin[@]}" -X POST "$url/api/v1/signing/keys/$key_id/rotate"
check "apt with the old key goes on" apt local update
fetch_key "$scratch/both.asc" "$debian/deb/gpg-key.asc"
check "the old key is revoked" status 200 "${admin[@]}" -X POST "$url/api/v1/signing/keys/$key_id/revoke"
make_apt rotated "deb [signed-by=$scratch/both.asc] $debian/deb stable main"
check "apt with the keys handed out during the overlap goes on" apt rotated update
make_apt outdated "deb [signed-by=$scratch/deb.asc] $debian/deb stable main"
refused "apt that never fetched the new key is refused" 'NO_PUBKEY|not signed|public key is not available' apt outdated update
