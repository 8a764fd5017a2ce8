#!/usr/bin/env bash
# Large uploads that are cut: the client is killed, then the server is; both times the upload goes on where it was. Real clients succeed on retry.
# RESUME_MIB sets the size: 2048 by default, 256 in CI.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

mib=${RESUME_MIB:-$([[ $in_ci == true ]] && echo 256 || echo 2048)}
only_alone "the one server is killed"
start_granary
make_repository files generic
make_repository images docker
make_repository py pypi
set_up status 200 "${admin[@]}" -H 'Content-Type: application/json' "$url/api/v1/auth/tokens" \
    -d '{"name":"resume","scopes":["read:artifacts","write:artifacts"]}'
token=$(json 'd["token"]')

# Mostly holes, yet no two stretches alike: a piece written to the wrong place changes the digest.
truncate -s "${mib}M" large.bin
for ((i = 0; i < mib; i += 8)); do
    head -c 4096 /dev/urandom | dd of=large.bin bs=1M seek="$i" conv=notrunc status=none
done
sum=$(sha256 large.bin)

client() { python3 "$here/client.py" "$@"; }
# stall NAME FRACTION PROTOCOL URL: a client that hangs in the middle of a piece; its pid is in $client_pid.
stall() {
    rm -f "$1.stalled" "$1.log"
    start "$1.log" python3 "$here/client.py" "$3" "$4" "$token" large.bin "$1" --stall-at "$2"
    client_pid=$started_pid
    wait_until 120 test -e "$1.stalled"
}
kill_server() {
    stop "$granary_pid" KILL
    start_granary
}
# Its words are kept in the file that `stall` keeps them in.
finish_upload() { client "$2" "$3" "$token" large.bin "$1" >"$1.log" 2>&1 || { cat "$1.log"; return 1; }; }
resumed() { grep -qE 'going on at [1-9][0-9]* of' "$1" || { cat "$1"; return 1; }; }

for protocol in oci rest; do
    case $protocol in
        oci) target=$url/v2/images/large download=$url/v2/images/large/blobs/sha256:$sum ;;
        rest) target=$url/api/v1/repositories/files/artifacts/large/one/1.0/large.bin download=$url/general/files/large/one/1.0/large.bin ;;
    esac
    check "$protocol: an upload of $mib MiB is under way" stall "$protocol" 0.35 "$protocol" "$target"
    stop "$client_pid" KILL
    check "$protocol: the client was killed; the next one goes on" stall "$protocol" 0.7 "$protocol" "$target"
    check "$protocol: ... from where it was" resumed "$protocol.log"
    kill_server
    stop "$client_pid" KILL
    check "$protocol: the server was killed; the client goes on to the end" finish_upload "$protocol" "$protocol" "$target"
    check "$protocol: ... from where it was" resumed "$protocol.log"
    check "$protocol: what is there is what was sent" same "$sum" "$(client digest "$download" "$token")"
    kill_server
    check "$protocol: ... after another kill, too" same "$sum" "$(client digest "$download" "$token")"
done

# cut BYTES: a proxy at $cut_port that kills the server after so many bytes of one upload.
cut() {
    rm -f cutter.port
    start cutter.log python3 "$here/cutter.py" cutter.port "$port" "$granary_pid" "$1"
    wait_until 20 test -s cutter.port
    cut_port=$(<cutter.port)
}

if needs twine "twine tries again"; then
    here=$here python3 - <<'WHEEL'
import importlib.util, os, random, sys
spec = importlib.util.spec_from_file_location("packages", os.path.join(os.environ["here"], "../pypi/packages.py"))
packages = importlib.util.module_from_spec(spec)
spec.loader.exec_module(packages)
name, content = packages.wheel("granary-large", "1.0", random.Random(1).randbytes(12_000_000).hex())
open(name, "wb").write(content)
WHEEL
    wheel=granary_large-1.0-py3-none-any.whl
    upload() { twine upload --non-interactive --disable-progress-bar --repository-url "http://127.0.0.1:$1/pypi/py/" -u admin -p "$password" "$wheel"; }
    cut 3000000
    refused "twine fails when the server is killed in the middle" '.' upload "$cut_port"
    kill_server
    check "... nothing of it is listed" status 404 "${admin[@]}" "$url/pypi/py/simple/granary-large/"
    check "... and it succeeds when tried again" upload "$port"
fi

if needs skopeo "skopeo tries again" && needs umoci "skopeo tries again"; then
    head -c 20000000 /dev/urandom >payload
    set_up all umoci init --layout layout -- umoci new --image layout:app -- umoci insert --image layout:app payload /payload
    push() { skopeo --insecure-policy copy --dest-tls-verify=false --dest-creds "admin:$password" oci:layout:app "docker://127.0.0.1:$1/images/app:1.0"; }
    cut 5000000
    refused "skopeo fails when the server is killed in the middle" '.' push "$cut_port"
    kill_server
    check "... no tag is left of it" status 404 "${admin[@]}" "$url/v2/images/app/manifests/1.0"
    check "... and it succeeds when tried again" push "$port"
    check "... and the image is whole" skopeo --insecure-policy copy --src-tls-verify=false --src-creds "admin:$password" "docker://127.0.0.1:$port/images/app:1.0" oci:back:app
fi
conclude
