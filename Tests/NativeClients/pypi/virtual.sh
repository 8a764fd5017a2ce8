# shellcheck shell=bash
# Virtual repositories: what the clients do with a local repository they do with a virtual one; then what only a virtual one has.
make_repository deploy pypi '"is_public":true'
make_repository hoard pypi
make_repository second pypi '"is_public":true'
make_virtual all pypi "mirror second deploy hoard" '"is_public":true,"deploy_member_key":"deploy"'
make_virtual mute pypi deploy '"is_public":true'
make_virtual inner pypi hoard '"deploy_member_key":"hoard"'

mkdir virtual-clients
cd virtual-clients || exit
package wheel dist Granary-Test.Wheel 1.0 "from a wheel" >/dev/null
package sdist dist granary-test-sdist 1.0 "from an sdist" >/dev/null
py=all closed=inner index=$url/pypi/all/simple
source "$here/clients.sh"
cd "$scratch" || exit

# Dependencies spread over the members: one in each of two locals, one upstream.
package wheel spread granary-app 1.0 "the whole" granary-part 'far-away>=1.0' >/dev/null
package wheel spread granary-part 1.0 "a part" >/dev/null
package wheel spread granary-hidden 1.0 "a secret" >/dev/null
check "twine uploads through the virtual" upload "$url/pypi/all/" admin "$password" spread/granary_app-1.0-py3-none-any.whl
set_up upload "$url/pypi/second/" admin "$password" spread/granary_part-1.0-py3-none-any.whl
set_up upload "$url/pypi/hoard/" admin "$password" spread/granary_hidden-1.0-py3-none-any.whl
# The remote member may have learned its page before the newest version came out.
set_up status 200 "${admin[@]}" -X POST "$url/api/v1/repositories/mirror/cache/invalidate?path=simple/far-away/"
whole_install() { pip install --quiet --no-input --retries 0 --target "$1" --index-url "$2" "${@:3}"; }
check "pip installs a package whose dependencies are spread over local and remote members" whole_install va "$url/pypi/all/simple/" granary-app
check "... each from where it is" all same "the whole" "$(said va granary_app)" -- same "a part" "$(said va granary_part)" -- imported va far_away "from afar, newer"
check "uv installs it as well" uv pip install --target vb --default-index "$url/pypi/all/simple/" granary-app
refused "an upload through a virtual without a deploy member is refused" '400' upload "$url/pypi/mute/" admin "$password" spread/granary_part-1.0-py3-none-any.whl
refused "... and through one whose deploy member the user may not write" '403' upload "$url/pypi/all/" reader "$user_password" spread/granary_part-1.0-py3-none-any.whl

# A private member behind the public virtual: whoever may not read it sees what they would see without it.
hidden=granary_hidden-1.0-py3-none-any.whl
check "the hidden project is 404 in the index" status 404 "$url/pypi/all/simple/granary-hidden/"
check "... its file and its sidecar too" all status 404 "$url/pypi/all/simple/granary-hidden/$hidden" -- status 404 "$url/pypi/all/simple/granary-hidden/$hidden.metadata"
check "... it is in no list of projects" all status 200 -H 'Accept: application/vnd.pypi.simple.v1+json' "$url/pypi/all/simple/" -- \
    json_is '"granary-hidden" in [p["name"] for p in d["projects"]]' False
check "... nor in search, nor in totals" nowhere_listed all hidden
refused "pip without a credential does not find it" 'No matching distribution' pip_install vc "$url/pypi/all/simple/" granary-hidden
check "pip with one installs it, from the same URL" all pip_install vd "http://admin:$password@127.0.0.1:$port/pypi/all/simple/" granary-hidden -- imported vd granary_hidden "a secret"
refused "... and the next without one still does not" 'No matching distribution' pip_install ve "$url/pypi/all/simple/" granary-hidden

# Dependency confusion: a name of ours, newer upstream.
package wheel foreign granary-part 9.0 "a stranger" >/dev/null
package wheel foreign granary-hidden 9.0 "a stranger" >/dev/null
start_upstream confused
make_remote stranger pypi "http://127.0.0.1:$(<confused.port)/"
make_virtual guarded pypi "stranger second hoard" '"is_public":true'
check "a name of ours is ours, however new upstream's is" all pip_install vf "$url/pypi/guarded/simple/" granary-part -- imported vf granary_part "a part"
refused "... a hidden one too" 'No matching distribution' pip_install vg "$url/pypi/guarded/simple/" granary-hidden
check "... upstream was not even asked" same '' "$(grep -E 'granary.(part|hidden)' confused.log 2>/dev/null || true)"
check "what is not ours comes from there" pip_install vh "$url/pypi/guarded/simple/" far-away
check "a shared name is both" all status 200 "${admin[@]}" -X PATCH -H 'Content-Type: application/json' "$url/api/v1/repositories/guarded" \
    -d '{"shared_names":["granary-part"]}' -- pip_install vi "$url/pypi/guarded/simple/" granary-part -- imported vi granary_part "a stranger"

stop "$upstream_pid" KILL
check "with the upstream dead, local members and what was fetched still install" all pip_install vj "$url/pypi/guarded/simple/" granary-part==1.0 -- \
    pip_install vk "$url/pypi/guarded/simple/" far-away
check "... and what only upstream could know is its failure, not a 404" status '50[23]' "$url/pypi/guarded/simple/never-seen/"
start_upstream lying-again --wrong-bytes
make_remote liar-again pypi "http://127.0.0.1:$(<lying-again.port)/"
make_virtual misled pypi "second liar-again" '"is_public":true'
refused "a corrupted upstream body is refused through a virtual" '.' pip_install vl "$url/pypi/misled/simple/" far-away
check "... and not kept" all status 200 "$url/api/v1/repositories/misled/artifacts?q=far" -- json_is 'd["items"]' '[]'
