#!/usr/bin/env bash
# Three nodes behind a load balancer: what one acknowledged all have, one of them is killed every few seconds, and all are restarted one by one.
# NODES_SECONDS says how long each of the two lasts.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
source "$root/scripts/tools.sh"
source "$root/scripts/cluster.sh"

ensure_cluster >/dev/null 2>&1 || { echo "PostgreSQL, an S3 server or nginx cannot be had here"; [[ $in_ci != true ]]; exit; }
server_log=$scratch/server.log seconds=${NODES_SECONDS:-20}
start_cluster "$scratch/cluster" 3 --set graceful_seconds=20
admin=(-u "admin:$password")
make_repository files generic '"is_public":true'
node_url() { echo "http://127.0.0.1:${node_port[$1]}"; }

# --- Equal nodes ---

head -c 3000000 /dev/urandom >large.bin
check "what one node stored" status 201 "${admin[@]}" -T large.bin "$(node_url 1)/general/files/a/1/large.bin"
for node in 2 3; do check "... node $node gives" all status 200 "$(node_url $node)/general/files/a/1/large.bin" -- body_is_file large.bin; done
set_up status 200 "${admin[@]}" -H 'Content-Type: application/json' "$(node_url 1)/api/v1/auth/tokens" -d '{"name":"ci","scopes":["read:artifacts"]}'
token=$(json 'd["token"]') token_id=$(json 'd["id"]')
for node in 1 2 3; do check "a token is good at node $node" status 200 -H "Authorization: Bearer $token" "$(node_url $node)/api/v1/repositories"; done
check "revoked at one" status '20[04]' "${admin[@]}" -X DELETE "$(node_url 2)/api/v1/auth/tokens/$token_id"
for node in 1 2 3; do check "... it is refused at node $node" status 401 -H "Authorization: Bearer $token" "$(node_url $node)/api/v1/repositories"; done

source "$here/shared.sh"

# --- Who may not join ---

# alone FLAGS: a node that is expected to give up at once.
alone() {
    GRANARY_DATABASE_URL=$database_url S3_BUCKET=granary S3_ENDPOINT=http://127.0.0.1:$s3_port S3_ACCESS_KEY_ID=$s3_key S3_SECRET_ACCESS_KEY=$s3_secret \
        timeout 60 "$SERVER_BINARY" serve --data "$scratch/alone" --listen 127.0.0.1:0 --set s3_allow_private=true "$@"
}
refused "a node with keys of its own does not start" 'keys_directory: .* all nodes need the same keys' alone
refused "nor one that signs with another secret" 'keys_directory: what signs sessions' \
    alone --set keys_directory="$cluster/keys" --set jwt_secret="$(openssl rand -hex 32)"
refused "nor one that nobody can reach" 'node_url: other nodes must know' alone --set listen=0.0.0.0:0
check "the audit log of the database is whole, while nodes write it" env GRANARY_DATABASE_URL="$database_url" "$SERVER_BINARY" audit verify \
    --set tier_directory="$scratch/none"

# --- Killed, again and again ---

load() { python3 "$here/load.py" "$url" "$password" "$seconds" "$1" "$(node_url 1)" "$(node_url 2)" "$(node_url 3)"; }
load killed.txt >killed.json 2>killed.err &
loading=$!
number=0 kills=0 deadline=$((SECONDS + seconds - 5))
while ((SECONDS < deadline)); do
    number=$((number % 3 + 1)) kills=$((kills + 1))
    stop "${node_pid[$number]}" KILL
    start_node "$number"
    wait_for_node "$number"
    sleep 2
done
check "killed $kills times in $seconds seconds, nodes lose nothing acknowledged, give no wrong byte, and clients that try again get through" wait "$loading"
cat killed.json killed.err

# --- Restarted, one by one ---

load rolled.txt >rolled.json 2>rolled.err &
loading=$!
sleep 2
for number in 1 2 3; do
    stop "${node_pid[$number]}"
    start_node "$number"
    wait_for_node "$number"
done
check "restarted one by one, nodes fail no client that tries again" wait "$loading"
cat rolled.json rolled.err
check "the audit log is whole after all that" env GRANARY_DATABASE_URL="$database_url" "$SERVER_BINARY" audit verify --set tier_directory="$scratch/none"
conclude
