#!/usr/bin/env bash
# A server whose blobs go to a bucket: rclone's S3 server, which checks signatures. Blobs leave the disk and come back, the disk is lost, the
# bucket is down, the credentials are wrong.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
only_alone "it looks at the one server's disk, and kills it"
source "$root/scripts/tools.sh"

needs rclone "an object store" || { conclude; exit; }
access=granary-access-key secret=$(openssl rand -hex 20)
bucket=$scratch/buckets/registry
mkdir -p "$bucket" "$scratch/buckets/backups"
s3_port=$(free_port)
start_s3() {
    start_rclone "$scratch/buckets" "$s3_port" "$access" "$secret"
    s3_pid=$started_pid
}
start_s3

export S3_BUCKET=registry S3_ENDPOINT=http://127.0.0.1:$s3_port S3_PREFIX=blobs/here S3_ACCESS_KEY_ID=$access S3_SECRET_ACCESS_KEY=$secret
tier=(--set s3_allow_private=true --set tier_delay_seconds=1 --set tier_interval_seconds=1 --set tier_disk_bytes_max=1
    --set own_file_bytes_min=1048576 --set chunking=false)

# --- What cannot work is said at the start ---

# serve FLAGS: one that is expected to give up at once.
serve() { timeout 60 "$SERVER_BINARY" serve --data "$scratch/refused" --listen 127.0.0.1:0 "$@"; }
refused "a wrong secret key is refused at the start, in words" 'signature does not match|credentials may not' \
    serve "${tier[@]}" --set s3_secret_access_key=wrong-secret-key
refused "so is an unknown access key" 'does not know this access key|credentials may not|signature does not match' \
    serve "${tier[@]}" --set s3_access_key_id=someone-else-entirely
refused "so is a bucket that is not there" 'there is no such bucket' \
    serve "${tier[@]}" --set s3_bucket=nowhere
refused "an endpoint on this machine has to be allowed" 'a range that requests to it may not reach' \
    serve "${tier[@]:2}"
"$SERVER_BINARY" config >settings.txt
check "the effective settings name the bucket" grep -qx 's3_bucket: registry' settings.txt
refused "... and hide the keys" 'no key' bash -c "grep -E '$secret|$access' settings.txt || { echo 'no key'; exit 1; }"

# --- To the bucket, off the disk, and back ---

start_granary "${tier[@]}"
make_repository files generic '"is_public":true'
make_repository images docker '"is_public":true'
put() { status '20[01]' "${admin[@]}" -T "$1" "$url/api/v1/repositories/files/artifacts/t/$1/1.0/$1"; }
get() { status 200 "$url/general/files/t/$1/1.0/$1" && body_is_file "$1"; }
head -c 40000000 /dev/urandom >large.bin
head -c 20000 /dev/urandom >small.bin
head -c 700000 /dev/urandom >middle.bin
echo last >last.bin
for file in large small middle; do check "$file blob: stored" put $file.bin; done

on_disk() { find "$data/store/segments" "$data/store/blobs" -type f | sed "s|$data/store/||" | sort; }
left_the_disk() { [[ $(on_disk | grep -c '^blobs/') == 0 && $(on_disk | grep -c '^segments/') -le 1 && -n $(find "$bucket" -name '*.segment') ]]; }
metric() { curl -s "$url/metrics" "${admin[@]}" | sed -n "s/^granary_tier_$1 //p"; }
check "last blob: stored, when the others' segment was sealed" wait_until 60 bash -c "find '$bucket' -name '*.segment' | grep -q ."
check "... in a segment of its own" put last.bin
check "what was stored leaves the disk, and is in the bucket" wait_until 60 left_the_disk
check "HEAD tells of a large blob" status 200 -I "$url/general/files/t/large.bin/1.0/large.bin"
check "... with its length" header_is Content-Length 40000000
check "... and does not bring it back" left_the_disk
check "a short blob comes by a range" get small.bin
check "... without its segment" test "$(on_disk | grep -c '^segments/')" -le 1
check "a large blob comes back whole" get large.bin
check "... in ranges, too: one of it" status 206 -H 'Range: bytes=30000000-30000099' "$url/general/files/t/large.bin/1.0/large.bin"
check "a middle one, too" get middle.bin
check "the disk stays within its bound" wait_until 60 left_the_disk
check "the bucket has large blobs as they are" same "$(sha256 large.bin)" "$(sha256 "$(find "$bucket" -path '*/blobs/*' -size +30M)")"

if needs skopeo "images through the tier"; then
    mkdir -p image && head -c 9000000 /dev/urandom >image/layer && tar -C image -cf layer.tar layer
    if needs umoci "images through the tier"; then
        set_up umoci init --layout oci && set_up umoci new --image oci:one
        set_up umoci insert --image oci:one image/layer /layer
        check "an image is pushed" skopeo --insecure-policy copy --dest-tls-verify=false --dest-creds "admin:$password" oci:oci:one "docker://127.0.0.1:$port/images/app:one"
        check "... leaves the disk" wait_until 60 left_the_disk
        check "... and is pulled" skopeo --insecure-policy copy --src-tls-verify=false "docker://127.0.0.1:$port/images/app:one" oci:pulled:one
    fi
fi

# --- Damage in the bucket ---

stop "$granary_pid"
look() { "$SERVER_BINARY" fsck "$data" --read 100 "${tier[@]}" "$@"; }
check "a check reads what only the bucket has" look --json
object=$(find "$bucket" -path '*/blobs/*' -size +30M)
printf X | dd of="$object" bs=1 seek=20000000 conv=notrunc status=none
refused "... and names what is damaged there" 'DAMAGE blob-bytes.*large.bin' look
start_granary "${tier[@]}"
scrub() { status 200 "${admin[@]}" -X POST "$url/api/v1/admin/scrub/tier" && body | grep -q "$1"; }
check "so does the scrub, by the object's name" scrub "\"damaged\":\\[\"blobs/../$(sha256 large.bin)\"\\]"
check "... a client gets none of it" status 500 "$url/general/files/t/large.bin/1.0/large.bin"
check "... and the other blobs as ever" get middle.bin
check "pushed again it is whole" all put large.bin -- get large.bin
check "... and in the bucket, too" wait_until 60 cmp large.bin "$object"
check "... where the scrub finds nothing more" scrub '"damaged":\[\].*"damaged":\[\]'

# --- Backed up to another bucket, at work ---

stop "$granary_pid"
backups=(--set backup_s3_bucket=backups --set backup_s3_prefix=of/this)
start_granary "${tier[@]}" "${backups[@]}"
set_up status 200 "${admin[@]}" -H 'Content-Type: application/json' "$url/api/v1/auth/tokens" -d '{"name":"backup","scopes":["admin"]}'
token=$(body | sed -n 's/.*"token":"\([^"]*\)".*/\1/p')
mkdir -p pushed
push_on() {
    local n=0
    while [[ ! -e pushed.stop ]]; do
        n=$((n + 1))
        head -c "$((n % 7 == 0 ? 1500000 : 3000 + n))" /dev/urandom >"pushed/$n.new"
        curl -sf -o /dev/null "${admin[@]}" -T "pushed/$n.new" "$url/api/v1/repositories/files/artifacts/p/$n/1.0/$n" && mv "pushed/$n.new" "pushed/$n"
    done
}
push_on &
pusher=$!
pushed() { (($(find pushed -type f ! -name '*.new' | wc -l) >= $1)); }
back_up() { GRANARY_TOKEN=$token "$SERVER_BINARY" backup --server "$url"; }
check "a server that takes uploads" wait_until 60 pushed 15
check "... backs itself up to a bucket" back_up
check "... and goes on" wait_until 60 pushed 40
find pushed -type f ! -name '*.new' >promised
check "again it puts what is new" bash -c "GRANARY_TOKEN=$token '$SERVER_BINARY' backup --server '$url' | grep -E '^skipped_files: [1-9]'"
touch pushed.stop
wait "$pusher" || true
check "the manifest is there" test -s "$scratch/buckets/backups/of/this/backup"
stop "$granary_pid"
restored=$scratch/restored
# Without the tier: a backup is for when that is lost.
key=$("$SERVER_BINARY" backup-key --data "$data" "${tier[@]}")
restore() {
    env -u S3_BUCKET -u S3_PREFIX "$SERVER_BINARY" restore s3://backups/of/this --data "$1" --set s3_allow_private=true --trust "$key" "${@:2}"
}
refused "there is none below another prefix" 'no complete backup' env -u S3_BUCKET -u S3_PREFIX \
    "$SERVER_BINARY" restore s3://backups/else --data "$scratch/none" --set s3_allow_private=true
refused "without a word about accounts and keys it is only looked at" 'say --credentials keep' restore "$restored"
refused "signed by another, it is refused" 'signed by ed25519:.*which you did not name' env -u S3_BUCKET -u S3_PREFIX \
    "$SERVER_BINARY" restore s3://backups/of/this --data "$restored" --set s3_allow_private=true --credentials keep
check "it is restored, every byte read" restore "$restored" --credentials keep
was_bucket=$S3_BUCKET was_data=$data data=$restored
unset S3_BUCKET
start_granary
got_all() {
    local file
    while read -r file; do status 200 "$url/general/files/p/${file#pushed/}/1.0/${file#pushed/}" && body_is_file "$file" || return 1; done <promised
}
check "what was acknowledged before it is there, bit for bit" got_all
check "... and what only the tier had" all get large.bin -- get small.bin -- get middle.bin
stop "$granary_pid"
export S3_BUCKET=$was_bucket
data=$was_data
spoiled=$(find "$scratch/buckets/backups" -path '*/blobs/*' -size +30M)
printf X | dd of="$spoiled" bs=1 seek=1000000 conv=notrunc status=none
refused "a backup that was changed in the bucket is not restored" 'blobs/.*missing, or not what it was' restore "$scratch/spoiled" --credentials keep
refused "... but for what is whole, where that is said" 'DAMAGE blob-bytes.*large.bin' restore "$scratch/spoiled" --credentials keep --salvage
rm -rf "$restored" "$scratch/spoiled" "$spoiled"
# What it remembers of the bucket is not so any more.
stop "$s3_pid"
start_s3
check "a stopped server is backed up, too, and what the bucket lost is put again" \
    bash -c "'$SERVER_BINARY' backup s3://backups/of/this --data '$data' ${tier[*]} | grep -E '^copied_files'"
check "... which makes it whole" restore "$restored" --credentials keep
rm -rf "$restored"
start_granary "${tier[@]}"

# --- Presigned ---

stop "$granary_pid"
start_granary "${tier[@]}" --set presigned_downloads=true
check "with presigned downloads, a blob that only the bucket has is a redirect" status 307 "$url/general/files/t/large.bin/1.0/large.bin"
elsewhere=$(header Location)
check "... with which the store itself gives it" all status 200 "$elsewhere" -- body_is_file large.bin
check "... and which is good for this object alone" status 403 "${elsewhere/here\/blobs/here\/ends}"
check "a client that follows gets the blob" all status 200 -L "$url/general/files/t/large.bin/1.0/large.bin" -- body_is_file large.bin
check "a small blob is no redirect" get small.bin

# --- The bucket is down ---

stop "$granary_pid"
start_granary --set s3_allow_private=true --set tier_delay_seconds=1 --set tier_interval_seconds=1 --set own_file_bytes_min=1048576 --set chunking=false
head -c 2000000 /dev/urandom >hot.bin
head -c 2000000 /dev/urandom >late.bin
check "a hot blob: stored" put hot.bin
stop "$s3_pid" KILL
check "the bucket is down: hot blobs are read" get hot.bin
check "... new ones are stored, and read" all put late.bin -- get late.bin
check "... what only the bucket has is not to be had now, and may come" status 503 "$url/general/files/t/large.bin/1.0/large.bin"
check "... and the client is told when to ask again" header_matches Retry-After '^[0-9]+$'
stop "$granary_pid" KILL
start_granary --set s3_allow_private=true --set tier_delay_seconds=1 --set tier_interval_seconds=1 --set own_file_bytes_min=1048576 --set chunking=false
check "a start while it is down serves what the disk has" get late.bin
start_s3
check "the bucket is back: cold blobs are read" get large.bin
check "... and what waited is copied" wait_until 60 bash -c "find '$bucket' -name '$(sha256 late.bin)' -size +1M | grep -q ."

# --- Written through ---

stop "$granary_pid"
through=("${tier[@]}" --set tier_policy=write-through --set tier_delay_seconds=3600)
start_granary "${through[@]}"
for n in 1 2 3 4 5; do head -c "$((n * 3000))" /dev/urandom >"through$n.bin"; done
head -c 3000000 /dev/urandom >through6.bin
check "written through: small blobs and a large one are stored" all put through1.bin -- put through2.bin -- put through3.bin -- put through6.bin
stop "$s3_pid" KILL
check "... while the bucket is down, an upload is refused, and may be tried again" status 503 "${admin[@]}" -T through4.bin "$url/api/v1/repositories/files/artifacts/t/through4.bin/1.0/through4.bin"
check "... what is stored is read" get through6.bin
start_s3
check "... when it is back, they are stored" wait_until 60 put through4.bin
put through5.bin
stop "$granary_pid" KILL
rm -rf "$data/store"
adopt() { "$SERVER_BINARY" tier adopt --data "$data" "${tier[@]}"; }
refused "killed, and the disk lost: an empty one does not take the bucket without being told" 'in use by another data directory' \
    timeout 60 "$SERVER_BINARY" serve --data "$data" --listen 127.0.0.1:0 "${through[@]}"
check "... and is told" adopt
start_granary "${through[@]}"
check "killed, and the disk lost, at once after the last answer" get through5.bin
for n in 1 2 3 4 6; do check "... and what came before it is there: $n" get "through$n.bin"; done

# --- The disk is lost ---

stop "$granary_pid"
refused "a store that has blobs in a tier does not start without it" 'has blobs in a tier' \
    env -u S3_BUCKET "$SERVER_BINARY" serve --data "$data" --listen 127.0.0.1:0
rm -rf "$data/store"
check "a lost disk's place is taken" adopt
start_granary "${tier[@]}"
check "the disk's blobs are lost: the bucket's take their place" get large.bin
for file in small middle hot late last; do check "... $file" get $file.bin; done
stop "$granary_pid"
unset S3_BUCKET
data=$scratch/other
start_granary
make_repository files generic
check "another store has a blob of its own" put large.bin
stop "$granary_pid"
refused "... and does not take a bucket that has an owner" 'belongs to another store' \
    timeout 60 "$SERVER_BINARY" serve --data "$data" --listen 127.0.0.1:0 "${tier[@]}" --set s3_bucket=registry
conclude
