# shellcheck shell=bash
# Virtual repositories: what npm does with a local repository it does with a virtual one; then what only a virtual one has.
make_repository ours npm '"is_public":true'
make_repository second npm '"is_public":true'
make_repository hoard npm
start_upstream reviving
reviving_pid=$upstream_pid
make_remote far npm "http://127.0.0.1:$(<reviving.port)/"
make_virtual all npm "far ours second hoard" '"is_public":true,"deploy_member_key":"ours"'
make_virtual mute npm ours '"is_public":true'
npmrc all.rc "$url/npm/all/" admin "$password"
npmrc public.rc "$url/npm/all/"
npmrc ours.rc "$url/npm/ours/" admin "$password"
npmrc second.rc "$url/npm/second/" admin "$password"
npmrc hoard.rc "$url/npm/hoard/" admin "$password"
npmrc mute.rc "$url/npm/mute/" admin "$password"
npmrc all-reader.rc "$url/npm/all/" reader "$user_password"

make_package whole @v/whole 1.0.0 whole '"dependencies":{"v-part":"^1.0.0","far-fruit":"^1.0.0"}'
make_package part v-part 1.0.0 part
make_package secret v-secret 1.0.0 secret
check "npm publishes through a virtual repository" publish all.rc whole --access public
check "... into the member it names" status 200 "$url/npm/ours/@v/whole"
set_up publish second.rc part
set_up publish hoard.rc secret
check "npm installs what is spread over local and remote members" install public.rc va @v/whole
check "... each from where it is" all says va @v/whole whole -- says va v-part part -- says va far-fruit "from afar, riper"
check "... the lockfile has the virtual's addresses only" sh -c "! grep '\"resolved\"' va/package-lock.json | grep -v '$url/npm/all/'"
check "npm ci installs the same again" all rm -rf va/node_modules -- sh -c "cd va && npm_config_cache='$scratch/va/.other' npm_config_userconfig='$scratch/public.rc' npm ci" -- says va v-part part
check "npm dist-tag and deprecate work through it" all as all.rc dist-tag add @v/whole@1.0.0 old -- as all.rc deprecate @v/whole@1.0.0 "no more"
check "... and reach the deploy member" same 'no more' "$(as ours.rc view @v/whole@old deprecated 2>/dev/null)"
refused "a virtual without a deploy member takes nothing" 'E400' publish mute.rc part
refused "... and one whose deploy member the user may not write" 'E403' publish all-reader.rc whole

# One name in two members: their versions together.
make_package both v-both 1.0.0 "of ours"
set_up publish ours.rc both
make_package both v-both 2.0.0 "of the second"
set_up publish second.rc both
check "the versions of a package are those of all members" same "['1.0.0','2.0.0']" "$(as public.rc view v-both versions --json 2>/dev/null | tr -d ' \n' | tr '"' "'")"
check "... each installs" all install public.rc vb v-both@2.0.0 -- says vb v-both "of the second" -- install public.rc vc v-both@1.0.0 -- says vc v-both "of ours"

# A private member behind the public virtual: whoever may not read it sees what they would see without it.
check "the hidden package is 404: packument, version, tags, tarball" all status 404 "$url/npm/all/v-secret" -- status 404 "$url/npm/all/v-secret/1.0.0" -- \
    status 404 "$url/npm/all/-/package/v-secret/dist-tags" -- status 404 "$url/npm/all/v-secret/-/v-secret-1.0.0.tgz"
check "... nor in npm's search, nor its total" all status 200 "$url/npm/all/-/v1/search?text=v-secret" -- json_is 'd["total"], d["objects"]' '(0, [])'
check "... nor in search and totals of the REST API" nowhere_listed all secret
refused "npm without a credential does not find it" 'E404' install public.rc vd v-secret
check "npm with one installs it, from the same URL" all install all.rc ve v-secret -- says ve v-secret secret
check "... and searches it" all status 200 "${admin[@]}" "$url/npm/all/-/v1/search?text=v-secret" -- json_is 'd["total"]' 1
refused "... and the next without one still does not" 'E404' install public.rc vf v-secret

# Dependency confusion: a name of ours, newer upstream.
make_package part v-part 9.0.0 "a stranger"
make_package secret v-secret 9.0.0 "a stranger"
set_up all pack part -- pack secret
check "a name of ours is ours, however new upstream's is" all install public.rc vg v-part -- says vg v-part part
check "... upstream was not even asked, nor for the hidden one" same '' "$(grep -E 'v-(part|secret)' reviving.log || true)"

set_up status 200 "${admin[@]}" -X PUT -H 'Content-Type: application/json' "$url/api/v1/repositories/far/cache-ttl" -d '{"cache_ttl_seconds":1}'
stop "$reviving_pid" KILL
sleep 1.1
check "with the upstream dead, local members and what was fetched still install" all install public.rc vh @v/whole -- says vh far-fruit "from afar, riper"
check "... and what only upstream could know is its failure, not a 404" status '50[23]' "$url/npm/all/never-seen"
make_virtual misled npm "second liar" '"is_public":true'
npmrc misled.rc "$url/npm/misled/"
refused "a corrupted upstream tarball is refused through a virtual" '.' install misled.rc vi far-fruit
check "... and not kept" all status 200 "$url/api/v1/repositories/liar/artifacts?q=far" -- json_is 'd["items"]' '[]'
