#!/usr/bin/env bash
# The bucket goes away where several nodes are, or one is about to become them: PostgreSQL and rclone's S3 server, with real processes that are killed.
# move.sh: while a catalog is moved to the nodes' home and back. ONLY names some of these parts.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
only_alone "it starts the nodes that it is about"
source "$root/scripts/tools.sh"
source "$root/scripts/cluster.sh"

ensure_cluster >/dev/null 2>&1 || { echo "PostgreSQL, an S3 server or nginx cannot be had here"; [[ $in_ci != true ]]; exit; }
server_log=$scratch/server.log password=$(openssl rand -hex 16)
admin=(-u "admin:$password")
mkdir -p files

# make_file NAME BYTES: what is uploaded under this name.
make_file() { head -c "$2" /dev/urandom >"files/$1"; }
# put NAME [URL]: uploads it, and notes that it was acknowledged.
put() { status '20[01]' "${admin[@]}" -T "files/$1" "${2:-$url}/general/files/o/1/$1" && echo "$1" >>kept; }
get() { status 200 "${2:-$url}/general/files/o/1/$1" && body_is_file "files/$1"; }
# all_there [URL]: whatever was acknowledged, bit for bit.
all_there() {
    local name
    while read -r name; do get "$name" "${1:-$url}" || { echo "lost: $name"; return 1; }; done <kept
}
# ends CODE PID: the process ended with that exit code.
ends() {
    local code=0
    wait "$2" || code=$?
    same "$1" "$code"
}

for part in move; do
    [[ -z ${ONLY:-} || " $ONLY " == *" $part "* ]] || continue
    source "$here/$part.sh"
done
conclude
