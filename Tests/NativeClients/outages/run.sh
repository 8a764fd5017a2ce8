#!/usr/bin/env bash
# The bucket goes away, or the disk fills up, where several nodes are, or one is about to become them: PostgreSQL, rclone's S3 server and nginx, with
# real processes that are killed. move.sh: while a catalog is moved to the nodes' home and back. behind.sh: under nodes that bring their uploads into the
# bucket afterwards. full.sh: the same with a full disk. ONLY names some of these parts.
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

# --- Of a cluster's parts ---

node_url() { echo "http://127.0.0.1:${node_port[$1]}"; }
start_store() {
    start_rclone "$cluster/buckets" "$s3_port" "$s3_key" "$s3_secret"
    s3_pid=$started_pid
}
# held NODE NAME VALUE: what its metrics say of what waits there.
held() { same "$3" "$(curl -sf "${admin[@]}" "$(node_url "$1")/metrics" | sed -n "s/^granary_shared_held_$2 //p")"; }
# waiting URL EXPRESSION VALUE: of what the database knows of all nodes.
waiting() { status 200 "${admin[@]}" "$1/api/v1/admin/held" && json_is "$2" "$3"; }
nothing_waits() { waiting "$1" d '[]'; }
end_cluster() {
    local pid
    for pid in "${started[@]}"; do stop "$pid" KILL; done
}

for part in move behind full; do
    [[ -z ${ONLY:-} || " $ONLY " == *" $part "* ]] || continue
    source "$here/$part.sh"
done
conclude
