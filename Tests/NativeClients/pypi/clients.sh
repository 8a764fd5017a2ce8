# shellcheck shell=bash
check "twine uploads a wheel and an sdist" upload "$url/pypi/$py/" admin "$password" "$wheel" "$sdist"
check "pip installs the wheel, whatever way its name is written" pip_install a "$index/" "granary_test.WHEEL==1.0"
check "... what it says is what was uploaded" same "from a wheel" "$(said a granary_test_wheel)"
check "pip installs the sdist" pip_install b "$index/" granary-test-sdist
check "... what it says is what was uploaded" same "from an sdist" "$(said b granary_test_sdist)"
check "uv installs the wheel" uv_install c "$index/" granary-test-wheel
check "... what it says is what was uploaded" same "from a wheel" "$(said c granary_test_wheel)"
check "uv installs the sdist" uv_install d "$index/" granary-test-sdist
check "... what it says is what was uploaded" same "from an sdist" "$(said d granary_test_sdist)"
check "pip installs with hashes required" all sh -c "echo 'granary-test-wheel==1.0 --hash=sha256:$(sha256 "$wheel")' >requirements.txt" -- \
    pip_install e "$index/" --require-hashes -r requirements.txt
check "pip download gives the very file" all pip download --quiet --no-deps --no-input --index-url "$index/" -d fetched granary-test-wheel -- cmp "$wheel" "fetched/${wheel##*/}"

check "twine uploads the same file again: a retry" upload "$url/pypi/$py/" admin "$password" "$wheel"
package wheel changed Granary-Test.Wheel 1.0 "other words" >/dev/null
refused "twine is told that the name is taken by other bytes" '409 .*other bytes' upload "$url/pypi/$py/" admin "$password" "changed/${wheel##*/}"
package liar lies granary-test-liar 1.0 >/dev/null
refused "twine is told that the wheel's metadata names another project" '400 .*Name: someone-else' upload "$url/pypi/$py/" admin "$password" lies/*.whl

refused "twine is told of a wrong password" '40[13]' upload "$url/pypi/$py/" reader wrong "$wheel"
refused "twine is told of a missing right" '403' upload "$url/pypi/$py/" reader "$user_password" "$wheel"
check "an API token uploads as __token__" all status 200 "${admin[@]}" -H 'Content-Type: application/json' "$url/api/v1/auth/tokens" \
    -d '{"name":"ci","scopes":["read:artifacts","write:artifacts"]}'
token=$(json 'd["token"]')
package wheel more granary-test-wheel 1.1 "newer" >/dev/null
check "... and pip sees the newer version" all upload "$url/pypi/$py/" __token__ "$token" more/granary_test_wheel-1.1-py3-none-any.whl -- pip_install f "$index/" granary-test-wheel
check "... it is 1.1" same newer "$(said f granary_test_wheel)"
check "a read-only token is made" status 200 "${admin[@]}" -H 'Content-Type: application/json' "$url/api/v1/auth/tokens" -d '{"name":"ro","scopes":["read:artifacts"]}'
refused "... and may not upload" '403' upload "$url/pypi/$py/" __token__ "$(json 'd["token"]')" more/granary_test_wheel-1.1-py3-none-any.whl

check "twine uploads to a private repository" upload "$url/pypi/$closed/" admin "$password" "$wheel"
refused "pip without a credential gets 401 there" '401' pip install -vv --no-input --no-deps --retries 0 --target g --index-url "$url/pypi/$closed/simple/" granary-test-wheel
refused "uv without a credential gets 401 there" '401|nauthorized' uv_install g "$url/pypi/$closed/simple/" granary-test-wheel
check "pip with one installs" pip_install h "http://admin:$password@127.0.0.1:$port/pypi/$closed/simple/" granary-test-wheel
check "uv with one installs" uv_install i "http://admin:$password@127.0.0.1:$port/pypi/$closed/simple/" granary-test-wheel
check "pip with a token installs" pip_install j "http://__token__:$token@127.0.0.1:$port/pypi/$closed/simple/" granary-test-wheel
refused "pip finds no package that is not there" 'No matching distribution|404' pip_install k "$index/" granary-test-none

check "a release is yanked" status 200 "${admin[@]}" -X PUT -d 'not good' "$url/pypi/$py/granary-test-wheel/1.1/yank"
check "... pip passes it over" all pip_install l "$index/" granary-test-wheel -- imported l granary_test_wheel "from a wheel"
check "... as uv does" all uv_install m "$index/" granary-test-wheel -- imported m granary_test_wheel "from a wheel"
check "... and installs it for who names it" all pip_install n "$index/" granary-test-wheel==1.1 -- imported n granary_test_wheel newer
from_sidecar() { pip_install "$@" -vvv | grep 'GET .*[.]metadata HTTP/1.1" 200'; }
check "pip reads a wheel's metadata from the sidecar (PEP 658)" from_sidecar o "$index/" granary-test-wheel==1.0
