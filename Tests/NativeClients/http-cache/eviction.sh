# shellcheck shell=bash
# A budget of bytes: what does not fit any more is a miss, and nothing is ever wrong bytes.
make_repository tight http-cache '"is_public":true,"cache_bytes_max":20000000'
tight=$url/cache/tight
mkdir -p entries
put_entries() { # FIRST LAST: each of a megabyte, other bytes in each
    local number
    for ((number = $1; number <= $2; number++)); do
        head -c 1000000 /dev/urandom >"entries/$number"
        status '201' "${admin[@]}" -T "entries/$number" "$tight/entry/$number" || return 1
    done
}
# Every entry is what was put, or a miss.
right_or_missing() {
    local number hits=0 misses=0
    for ((number = 1; number <= $1; number++)); do
        case $(http "$tight/entry/$number") in
            200) cmp "entries/$number" "$scratch/body" || return 1; hits=$((hits + 1)) ;;
            404) misses=$((misses + 1)) ;;
            *) echo "neither a hit nor a miss"; cat "$scratch/headers"; return 1 ;;
        esac
    done
    echo "$hits hits, $misses misses"
    ((hits >= $2 && misses >= $3))
}
used_bytes_at_most() { status 200 "${admin[@]}" "$url/api/v1/repositories/tight" && (($(json 'd["storage_used_bytes"]') <= $1)); }
check "sixty entries go into a budget of twenty" put_entries 1 60
check "... each is what was put, or a miss" right_or_missing 60 10 40
check "... the budget holds" used_bytes_at_most 20000000
check "... and what went is counted" all status 200 "${admin[@]}" "$url/metrics" -- body_says 'granary_evicted_entries_total [1-9]'
truncate -s 20000001 oversized.bin
check "an entry larger than the whole budget is 413" status 413 "${admin[@]}" -T oversized.bin "$tight/large"
