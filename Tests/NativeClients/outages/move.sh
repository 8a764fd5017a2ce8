# shellcheck shell=bash
# The bucket goes away in the middle of a move of the catalog: its server is killed, it answers errors, it is not there any more.

mkdir -p buckets/registry
: >kept
s3_key=granary-outages s3_secret=$(openssl rand -hex 20) gate_port=$(free_port) rclone_port=$(free_port)

# Two processes in a row: the one that may hold requests is killed together with the store behind it, and nothing listens there then.
start_objects() {
    start_rclone "$scratch/buckets" "$rclone_port" "$s3_key" "$s3_secret"
    rclone_pid=$started_pid
}
start_bucket() {
    gate pass
    start_objects
    start gate.err python3 "$here/gate.py" "$gate_port" "$rclone_port" gate.mode gate.held
    gate_pid=$started_pid
    wait_for_port "$gate_port"
}
gate() { echo "$*" >gate.new && mv gate.new gate.mode; }
hold() {
    : >gate.held
    gate hold "$@"
}
killed() {
    stop "$gate_pid" KILL
    stop "$rclone_pid" KILL
}
failing() { gate fail 503; }
# The store remembers its folders, and would make one anew that is not there any more: it is started again.
gone() {
    stop "$rclone_pid" KILL
    mv buckets/registry buckets/hidden
    start_objects
    gate pass
}
# Another one in its place takes whatever comes.
swapped() {
    stop "$rclone_pid" KILL
    mv buckets/registry buckets/hidden
    mkdir buckets/registry
    start_objects
    gate pass
}
back() {
    killed
    if [[ -d buckets/hidden ]]; then
        rm -rf buckets/registry
        mv buckets/hidden buckets/registry
    fi
    start_bucket
}

start_postgres || fail "no PostgreSQL"
start_bucket
home=(--set database_url="$database_url" --set s3_bucket=registry --set s3_endpoint="http://127.0.0.1:$gate_port" --set s3_access_key_id="$s3_key"
    --set s3_secret_access_key="$s3_secret" --set s3_allow_private=true)
one=(--set chunking=false --set own_file_bytes_min=1048576)
data=$scratch/first
start_granary "${one[@]}"
make_repository files generic '"is_public":true'
set_up status 200 "${admin[@]}" -H 'Content-Type: application/json' "$url/api/v1/auth/tokens" -d '{"name":"move","scopes":["admin"]}'
token=$(json 'd["token"]')
for number in $(seq 40); do make_file "$number" $((2000 + number)) && set_up put "$number"; done
for number in 41 42; do make_file "$number" 1500000 && set_up put "$number"; done

# --- A running server's ---

move=$url/api/v1/admin/catalog-move
begin() {
    status 202 "${admin[@]}" -H 'Content-Type: application/json' "$move" -d "{\"database_url\":\"$database_url\",\"s3_bucket\":\"registry\",
        \"s3_endpoint\":\"http://127.0.0.1:$gate_port\",\"s3_access_key_id\":\"$s3_key\",\"s3_secret_access_key\":\"$s3_secret\",\"s3_allow_private\":true}"
}
# stands EXPRESSION VALUE: what GET says of it.
stands() { status 200 "${admin[@]}" "$move" && json_is "$1" "$2"; }
middle() { test -s gate.held && stands 'd["state"], d["is_running"], d["copied_blobs"] > 0' "('bytes', True, True)"; }

# interrupted NUMBER HOW WHAT CODE WORDS: a move in the middle of whose bytes that becomes of the bucket; files NUMBER and NUMBER+1 are uploaded.
interrupted() {
    local number=$1
    make_file "$number" 5000
    make_file $((number + 1)) 5001
    hold PUT 3
    check "a running server's move" begin
    check "... in the middle of the bytes" wait_until 60 middle
    "$2"
    check "... $3: uploads go on" put "$number"
    check "... it ends, and GET says so" wait_until 60 stands 'd["state"], d["is_running"], d["code"]' "('failed', False, '$4')"
    check "... and why" stands "'$5' in d['reason']" True
    check "... no secret is in that" bash -c "! grep -E '$s3_secret|granary:' '$scratch/body'"
    # What was decided while nothing could be written goes first.
    check "... uploads and reads go on" all wait_until 10 put $((number + 1)) -- all_there
    back
}
interrupted 50 failing "the bucket answers 503" SERVICE_UNAVAILABLE 'the bucket does not take bytes now'
interrupted 55 gone "the bucket is not there any more" SERVICE_UNAVAILABLE 'there is no such bucket'
interrupted 60 swapped "another bucket is in its place" NOT_FOUND 'not the bucket any more'

to_postgres() { GRANARY_TOKEN=$token "$SERVER_BINARY" migrate-catalog to-postgres --server "$url" "${home[@]}"; }
hold PUT 3
to_postgres >asked.txt 2>&1 &
asking=$!
check "the command that asks a running server" wait_until 60 middle
killed
check "... while the bucket's server is killed ends with 75" ends 75 "$asking"
check "... and says why" grep -q '^granary: the bucket does not take' asked.txt
make_file 70 5000
check "... uploads and reads go on" all put 70 -- all_there
back
check "the bucket is back: the next move ends" to_postgres
check "... the old home takes no changes" status 503 "${admin[@]}" -T files/1 "$url/general/files/late/1/f"
check "... and is read" all_there
stop "$granary_pid"

# start_alone: a node on the database.
start_alone() { start_granary "${home[@]}" --set keys_directory="$scratch/first/keys"; }
data=$scratch/node
start_alone
make_file 71 5000
check "a node on the database has everything, and takes changes" all all_there -- put 71
stop "$granary_pid"

# --- A stopped server's, there and back ---

# stopped METHOD DIRECTION DATA: a command that opens the data directory itself, in the middle of whose bytes the bucket's server is killed.
stopped() {
    hold "$1" 3
    "$SERVER_BINARY" migrate-catalog "$2" --data "$3" "${home[@]}" >stopped.txt 2>&1 &
    moving=$!
    check "$2 with a stopped server" wait_until 60 test -s gate.held
    killed
    check "... while the bucket's server is killed ends with 75" ends 75 "$moving"
}
stopped GET from-postgres "$scratch/second"
check "... and says why" grep -q '^granary: the bytes are in a bucket that does not give them now' stopped.txt
back
start_alone
make_file 72 5000
check "... nodes go on" all all_there -- put 72
stop "$granary_pid"
check "the second from-postgres ends" "$SERVER_BINARY" migrate-catalog from-postgres --data "$scratch/second" "${home[@]}"
cp -a "$scratch/first/keys" "$scratch/second/"
data=$scratch/second
start_granary "${one[@]}"
make_file 73 5000
check "... and the data directory has everything, and takes changes" all all_there -- put 73
stop "$granary_pid"

start_postgres || fail "no PostgreSQL"
home+=(--set database_url="$database_url" --set s3_prefix=second)
stopped PUT to-postgres "$scratch/second"
check "... and says why" grep -q '^granary: the bucket does not take' stopped.txt
back
start_granary "${one[@]}"
make_file 74 5000
check "... the data directory goes on" all all_there -- put 74
stop "$granary_pid"
check "the second to-postgres ends" "$SERVER_BINARY" migrate-catalog to-postgres --data "$scratch/second" "${home[@]}"
data=$scratch/third
start_alone
make_file 75 5000
check "... and a node has everything, and takes changes" all all_there -- put 75
stop "$granary_pid"
killed
unset data port
