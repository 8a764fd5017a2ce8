# shellcheck shell=bash
# Uploads behind on a node whose disk, a small tmpfs, fills up: beyond the room that is kept they wait for the bucket, beyond the reserve they are
# refused; what is there is read, goes to the bucket, and uploads go on when there is room again.

: >kept
disk=$scratch/full/node2
mkdir -p "$disk"
if [[ $(id -u) != 0 ]] || ! mount -t tmpfs -o "size=$((256 << 20))" tmpfs "$disk" 2>/dev/null; then
    skipped=$((skipped + 1))
    echo "skip  uploads behind on a full disk (mounting is not allowed here)"
    return
fi
# Before the folder around it goes.
exit_commands=("umount -l '$disk'" "${exit_commands[@]}")
start_cluster "$scratch/full" 1 --set graceful_seconds=5 --set shared_uploads=behind --set own_file_bytes_min=1048576 --set segment_bytes_max=4194304
url=$(node_url 1)
start_node 2
wait_for_node 2
full=$(node_url 2)
make_repository files generic '"is_public":true'

# fill MEBIBYTES: so much is left of the disk.
fill() {
    python3 - "$disk/filler" "$(($1 << 20))" <<'PYTHON'
import os, sys
with open(sys.argv[1], "ab") as file:
    space = os.statvfs(sys.argv[1])
    os.posix_fallocate(file.fileno(), file.tell(), space.f_bavail * space.f_frsize - int(sys.argv[2]))
PYTHON
}
empty() { rm "$disk/filler"; }
refuses() { status "$1" "${admin[@]}" -T "files/$2" "$full/general/files/o/1/$2"; }
reads() { all_there "$full" && all_there "$url"; }

for name in before low low1 low2 low3 late refused; do make_file "$name" 5000; done
for name in before-large low-large refused-large; do make_file "$name" 2500000; done

stop "$s3_pid" KILL
check "the bucket is away: a node with room takes uploads" all put before "$full" -- put before-large "$full"
check "... and holds them" held 2 blobs 2
set_up fill 160
check "less room than is kept beside the reserve: uploads wait for the bucket, and are refused while that is away" all refuses 503 low -- \
    header_matches Retry-After '^[0-9]+$' -- refuses 503 low-large -- header_matches Retry-After '^[0-9]+$'
check "... what is there is read" reads
start_store
check "... the bucket is back: what is held goes there" wait_until 60 nothing_waits "$url"
for name in low low1 low2 low3 low-large; do check "... and $name with its upload" all put $name "$full" -- nothing_waits "$url"; done

set_up empty
stop "$s3_pid" KILL
make_file held 6000
make_file held-large 2600000
make_file other 6000
make_file other-large 2600000
check "room again, and the bucket away: uploads are held" all put held "$full" -- put held-large "$full" -- held 2 blobs 2
check "... at the other node, too" all put other "$url" -- put other-large "$url"
for left in 32 0; do
    set_up fill $left
    check "$left MiB are left: uploads are refused" all refuses 507 refused -- refuses 507 refused-large
    check "... what it holds is read, here and at the other node" all get held "$full" -- get held-large "$full" -- get held "$url"
    check "... so is what only the other node has, in memory" get other "$full"
    check "... unless it is large: then the other node is to be asked" \
        all status 503 "$full/general/files/o/1/other-large" -- header_matches Retry-After '^[0-9]+$' -- body_says 'the disk of this node is full'
done
start_store
check "the bucket is back: what is held goes there, full as the disk is" wait_until 90 nothing_waits "$url"
check "... and is read, small blobs at the full node, too" all all_there "$url" -- get before "$full" -- get low "$full" -- get held "$full"
set_up empty
check "room again: uploads go on" wait_until 30 put late "$full"
check "... and metrics say that nothing waits" wait_until 60 all held 2 blobs 0 -- held 2 bytes 0 -- nothing_waits "$url"
make_file last 5000
stop "$s3_pid" KILL
check "... and uploads are held again" all put last "$full" -- held 2 blobs 1
start_store
check "... and brought" wait_until 60 nothing_waits "$url"
stop "${node_pid[2]}" KILL
stop "${node_pid[1]}" KILL
start_node 3
wait_for_node 3
check "a new node has everything that was acknowledged" all_there "$(node_url 3)"
end_cluster
