#!/usr/bin/env bash
# The upgrade drill: three nodes of the program of the last release (OLD_BINARY) become nodes of this one, one by one, under a mixed load.
# UPGRADE_SECONDS says for how long they are loaded. docs/internals/upgrade-drill.md
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
source "$root/scripts/tools.sh"
source "$root/scripts/cluster.sh"

[[ -x ${OLD_BINARY:-} ]] || fail "OLD_BINARY names the program of the last release"
ensure_cluster >/dev/null 2>&1 || fail "PostgreSQL, an S3 server or nginx cannot be had here"
server_log=$scratch/server.log new_binary=$SERVER_BINARY seconds=${UPGRADE_SECONDS:-60}
SERVER_BINARY=$OLD_BINARY
start_cluster "$scratch/cluster" 3 --set graceful_seconds=20
admin=(-u "admin:$password")
node_url() { echo "http://127.0.0.1:${node_port[$1]}"; }
load() { python3 "$here/../nodes/load.py" "$url" "$password" "$seconds" "$1" "$(node_url 1)" "$(node_url 2)" "$(node_url 3)"; }
set_up status 200 "${admin[@]}" -H 'Content-Type: application/json' "$url/api/v1/auth/tokens" -d '{"name":"ci","scopes":["read:artifacts"]}'
token=$(json 'd["token"]')

schema() { psql -XAt "$database_url" -c 'SELECT max(number) FROM schema_migrations'; }
needs psql "the schema before and after" || conclude
before=$(schema)

load upgraded.txt >upgraded.json 2>upgraded.err &
loading=$!
sleep $((seconds / 8))
SERVER_BINARY=$new_binary
for number in 1 2 3; do
    stop "${node_pid[$number]}"
    start_node "$number"
    wait_for_node "$number"
    check "node $number is of this release, beside $((3 - number)) of the last one" \
        status 200 -H "Authorization: Bearer $token" "$(node_url "$number")/api/v1/repositories"
    sleep $((seconds / 8))
done
check "nothing acknowledged is lost on the way, no byte is wrong, and clients that try again get through" wait "$loading"
cat upgraded.json upgraded.err

# --- The way back ---

old() {
    GRANARY_DATABASE_URL=$database_url S3_BUCKET=granary S3_ENDPOINT=http://127.0.0.1:$s3_port S3_ACCESS_KEY_ID=$s3_key S3_SECRET_ACCESS_KEY=$s3_secret \
        timeout 60 "$OLD_BINARY" serve --data "$scratch/old" --listen 127.0.0.1:0 --set s3_allow_private=true --set keys_directory="$cluster/keys"
}
if [[ $(schema) != "$before" ]]; then
    refused "of a database whose schema went from $before to $(schema) the last release's program says so, and does not start" \
        'the database has schema .* start a newer one' old
else
    note "this release has the schema of the last one: the way back is the way there, with the programs exchanged"
fi
check "the audit log is whole after all that" env GRANARY_DATABASE_URL="$database_url" "$new_binary" audit verify --set tier_directory="$scratch/none"
conclude
