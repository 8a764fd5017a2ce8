#!/usr/bin/env bash
# The HTTP build cache with the tools that use it: ccache, sccache and Gradle themselves, Bazel's requests by curl; local, remote and virtual.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

start_granary
make_repository ci http-cache '"is_public":true'
make_repository hidden http-cache
make_user builder
make_user reader
grant() { # NAME KEY ACTIONS-AS-JSON
    set_up status 200 "${admin[@]}" "$url/api/v1/users?search=$1"
    local user target
    user=$(json "[u['id'] for u in d['items'] if u['username'] == '$1'][0]")
    set_up status 200 "${admin[@]}" "$url/api/v1/repositories/$2"
    target=$(json 'd["id"]')
    set_up status '20[01]' "${admin[@]}" -H 'Content-Type: application/json' "$url/api/v1/permissions" \
        -d "{\"principal_type\":\"user\",\"principal_id\":\"$user\",\"target_type\":\"repository\",\"target_id\":\"$target\",\"actions\":$3}"
}
grant builder ci '["read","write","delete"]'
builder=(-u "builder:$user_password")
reader=(-u "reader:$user_password")
cache=$url/cache/ci
head -c 3000000 /dev/urandom >object.bin
head -c 3000000 /dev/urandom >other.bin
sum=$(sha256 object.bin)

source "$here/wire.sh"
source "$here/kinds.sh"
source "$here/eviction.sh"
source "$here/clients.sh"
if alone "killed during puts, it comes back" "the one server is killed"; then source "$here/crash.sh"; fi
conclude
