# shellcheck shell=bash
# Killed in the middle of puts: every key that was answered is right or missing, and none is wrong.
put_until_killed() { # WRITER; a key is put once, so that an answered one has one right value
    local number=0
    while true; do
        number=$((number + 1))
        head -c $((1000 + RANDOM * 8)) /dev/urandom >"crash/$round-$1-$number"
        curl -sf --max-time 20 -o /dev/null "${admin[@]}" -T "crash/$round-$1-$number" "$cache/crash/$round-$1-$number" || return 0
        echo "$round-$1-$number" >>"crash/acked-$1"
    done
}
kill_during_puts() {
    local writer writers=()
    mkdir -p crash
    rm -f crash/*
    for writer in a b c d; do
        put_until_killed "$writer" &
        writers+=($!)
    done
    wait_until 30 acked_at_least 40
    stop "$granary_pid" KILL
    wait "${writers[@]}"
    start_granary
}
acked_at_least() { (($(cat crash/acked-* 2>/dev/null | wc -l) >= $1)); }
all_right_or_missing() {
    local file name right=0 missing=0
    for file in crash/[12]-*; do
        name=${file#crash/}
        case $(http "$cache/crash/$name") in
            200) cmp "$file" "$scratch/body" || return 1; right=$((right + 1)) ;;
            404) missing=$((missing + 1)) ;;
            *) echo "$name is neither a hit nor a miss"; cat "$scratch/headers"; return 1 ;;
        esac
    done
    echo "$right right, $missing missing"
    ((right >= 40))
}
for round in 1 2; do
    check "killed during puts ($round), it comes back" kill_during_puts
    check "... and every entry is what was put, or a miss" all_right_or_missing
done
