# shellcheck shell=bash
# Uploads behind: the bucket's server is killed under writers, then a node, which starts again while the bucket is away.

: >kept
start_cluster "$scratch/cluster" 2 --set graceful_seconds=5 --set shared_uploads=behind --set own_file_bytes_min=1048576
make_repository files generic '"is_public":true'
away() { all status 503 "$2/general/files/o/1/$1" -- header_matches Retry-After '^[0-9]+$' -- body_says 'on node [0-9]+ alone'; }

for name in small other; do make_file "$name" 5000; done
check "uploads to each of two nodes" all put small "$(node_url 1)" -- put other "$(node_url 2)"
check "... are soon in the bucket" wait_until 30 nothing_waits "$url"

# --- The bucket's server is killed ---

stop "$s3_pid" KILL
make_file one-small 5000
make_file one-large 2500000
make_file two-small 6000
make_file read 7000
check "the bucket's server is killed: uploads are taken" all put one-small "$(node_url 1)" -- put one-large "$(node_url 1)" -- put read "$(node_url 1)" -- \
    put two-small "$(node_url 2)"
check "... metrics say how much waits" all held 1 blobs 3 -- held 2 blobs 1 -- held 1 bytes 2512000
check "... so does the list of nodes" waiting "$(node_url 2)" 'sorted((n["blobs"], n["bytes"]) for n in d)' '[(1, 6000), (3, 2512000)]'
check "... either node gives what the other took" all get two-small "$(node_url 1)" -- get read "$(node_url 2)"
check "... and what is in the bucket, if it has it on its disk" all get small "$(node_url 1)" -- get other "$(node_url 2)"

# --- ... and then a node ---

stop "${node_pid[1]}" KILL
for name in one-small one-large; do
    check "its node is killed, too: $name is not to be had now, and the answer says where it is and when to ask" away "$name" "$(node_url 2)"
    check "... HEAD tells of it" status 200 -I "$(node_url 2)/general/files/o/1/$name"
done
make_file three 7001
check "... the other node goes on" all get read "$(node_url 2)" -- get two-small "$(node_url 2)" -- put three "$(node_url 2)"
start_node 1
wait_for_node 1
meanwhile() { all get one-small "$1" -- get one-large "$1" -- get read "$1" -- get two-small "$1" -- get three "$1"; }
check "started while the bucket is away, it has what it acknowledged, and gives what the other node has" meanwhile "$(node_url 1)"
check "... and is asked by that for the rest" meanwhile "$(node_url 2)"
check "... what only the bucket has is not to be had now, and may come" \
    all status 503 "$(node_url 1)/general/files/o/1/other" -- header_matches Retry-After '^[0-9]+$' -- body_says 'in a bucket that does not give them now'
check "... and it still waits" all held 1 blobs 3 -- held 2 blobs 2
start_store
check "the bucket is back: what waited goes there" wait_until 60 nothing_waits "$url"
check "... metrics say so" wait_until 10 all held 1 blobs 0 -- held 2 blobs 0 -- held 1 bytes 0 -- held 1 since_seconds 0

# --- The same under writers ---

python3 "$here/../nodes/load.py" "$url" "$password" 12 load.txt "$(node_url 1)" "$(node_url 2)" >load.json 2>load.err &
loading=$!
wait_until 30 waiting "$url" 'len(d) > 0' True || true
stop "$s3_pid" KILL
sleep 2
stop "${node_pid[2]}" KILL
sleep 1
start_node 2
wait_for_node 2
sleep 2
start_store
check "under writers, with bucket and node killed, nothing acknowledged is lost or wrong" wait "$loading"
cat load.json load.err
check "... and all of it comes into the bucket" wait_until 60 nothing_waits "$url"
for number in 1 2; do stop "${node_pid[$number]}" KILL; done
start_node 3
wait_for_node 3
check "a new node has everything when those that took it are gone" all_there "$(node_url 3)"
# in_bucket: what the load was acknowledged, read at the new node.
in_bucket() {
    python3 - load.txt "$(node_url 3)" "$password" <<'PYTHON'
import base64, hashlib, sys, urllib.error, urllib.request
names, url, password = sys.argv[1:]
wrong, count = [], 0
for line in open(names):
    path, digest = line.split()
    request = urllib.request.Request(url + path)
    request.add_header("Authorization", "Basic " + base64.b64encode(f"admin:{password}".encode()).decode())
    try:
        found = hashlib.sha256(urllib.request.urlopen(request, timeout=30).read()).hexdigest()
    except urllib.error.HTTPError as error:
        found = "gone" if error.code == 404 else str(error.code)
    count += 1
    if found != digest:
        wrong.append(f"{path}: {found}")
print(count, "looked at,", len(wrong), "lost or wrong", *wrong[:20], sep="\n")
sys.exit(1 if wrong or not count else 0)
PYTHON
}
check "... also what was acknowledged under load" in_bucket
end_cluster
