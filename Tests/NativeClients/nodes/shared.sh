# shellcheck shell=bash
# What nodes do once for all: fetches from an upstream, and the scrub of the bucket.

# --- Fetched once ---

start upstream.err python3 "$here/upstream.py" upstream.port upstream.log
wait_until 30 test -s upstream.port || fail "the upstream did not come up"
make_remote mirror generic "http://127.0.0.1:$(cat upstream.port)/"
asked() { same "$2" "$(grep -c "^GET $1\$" upstream.log)"; }
# crowd STATUS PATH: 20 clients at each of three nodes, all at once, are answered so, and alike.
crowd() {
    local number
    rm -rf crowd
    mkdir crowd
    for ((number = 0; number < 60; number++)); do echo "$(node_url $((number % 3 + 1)))/general/mirror/$2 crowd/$number"; done |
        xargs -P 60 -L 1 bash -c 'curl -sS --max-time 60 -o "$1" -w "%{http_code}\n" "$0"' >crowd.codes
    same "60 $1" "$(sort crowd.codes | uniq -c | sed 's/^ *//')" && same 1 "$(sha256sum crowd/* | cut -d ' ' -f 1 | sort -u | wc -l)"
}
check "a file that 60 clients of three nodes want at once" crowd 200 files/tool.bin
check "... is fetched once" asked /files/tool.bin 1
check "one that the upstream has not" crowd 404 none/tool.bin
check "... is asked for once" asked /none/tool.bin 1
check "one that takes longer than a node waits for the first byte" crowd 200 slow/tool.bin
check "... is fetched once, too" asked /slow/tool.bin 1

python3 -c 'import hashlib, sys; sys.stdout.buffer.write(hashlib.sha256(b"/slow/killed.bin").digest() * 196000)' >killed.bin
slowly() { curl -sSN --max-time 120 -o "$2" -w '%{http_code}' "$1/general/mirror/slow/killed.bin"; }
slowly "$(node_url 1)" killed.first >/dev/null 2>&1 &
abandoned=$!
check "while one node fetches such a file" wait_until 30 asked /slow/killed.bin 1
slowly "$(node_url 2)" killed.second >killed.code &
waiting=$!
check "... and another reads it along" wait_until 30 test -s killed.second
stop "${node_pid[1]}" KILL
wait "$waiting" || true
check "... the first is killed: who read along has the whole file" all same 200 "$(cat killed.code)" -- cmp killed.second killed.bin
check "... which was fetched once more" asked /slow/killed.bin 2
wait "$abandoned" || true
start_node 1
wait_for_node 1

gets() { curl -sS --max-time 60 -o "$2" -w '%{http_code}' "$1/general/mirror/never/tool.bin"; }
gets "$(node_url 1)" first >first.code 2>&1 &
abandoned=$!
check "while one node waits for an upstream that does not answer" wait_until 30 asked /never/tool.bin 1
gets "$(node_url 2)" second >second.code &
waiting=$!
sleep 1
stop "${node_pid[1]}" KILL
began=$SECONDS
wait "$waiting" || true
echo "a node that waited for one that was killed had the file $((SECONDS - began)) s later"
check "... and is killed, another that waited for it fetches" all same 200 "$(cat second.code)" -- asked /never/tool.bin 2
wait "$abandoned" || true
start_node 1
wait_for_node 1

# --- Read back ---

head -c 9000000 /dev/urandom >whole.bin
check "a file that one node has" status 201 "${admin[@]}" -T whole.bin "$(node_url 1)/general/files/a/1/whole.bin"
object=$(find "$cluster/buckets/granary/objects" -type f -size 9000000c | head -n 1)
set_up test -n "$object"
printf 'damage' | dd of="$object" bs=1 seek=4000000 conv=notrunc status=none
check "... is damaged in the bucket, where another node reads everything back" \
    all status 200 "${admin[@]}" -X POST "$(node_url 3)/api/v1/admin/scrub/tier" -- json_is 'd["tier"]["damaged_found"]' 1
check "... and names what it is" grep -qF 'the scrub found a blob missing or damaged in the bucket' "$server_log"
healed() { status 200 "${admin[@]}" "$(node_url 1)/api/v1/admin/scrub" && json_is 'd["tier"]["damaged"]' '[]' && json_is 'd["tier"]["healed"]' 1; }
check "the node that has it puts it there anew" wait_until 150 healed
check "... so that another node gives it" all status 200 "$(node_url 2)/general/files/a/1/whole.bin" -- body_is_file whole.bin
