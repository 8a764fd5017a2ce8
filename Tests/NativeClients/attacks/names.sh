# shellcheck shell=bash
# A name server that changes its answers: what is connected to is what was checked. In a network of its own, where nobody else is asked.
separate() { unshare --user --map-root-user --mount --net "$@"; }
if ! separate true 2>/dev/null || ! have ip; then
    skipped=$((skipped + 1))
    echo "skip  a name server that lies (no network namespaces here)"
else
    tried() { separate env SERVER_BINARY="$server" bash "$here/apart.sh" "$1" "$scratch/apart" && cat "$scratch/apart/result"; }
    check "of a thousand names that turn to addresses inside, by change of answer, several answers or CNAME, none is connected to" tried 1000
    check "... and of names of private networks those are asked for that are allowed, at first and by a redirect" test -s apart/private
fi
