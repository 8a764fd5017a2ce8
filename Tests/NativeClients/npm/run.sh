#!/usr/bin/env bash
# JavaScript packages by npm; the wire by curl; remotes of another registry, and virtual repositories over both.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

start_granary
make_repository js npm '"is_public":true'
make_repository closed npm
make_user reader
make_user writer

registry=$url/npm/js/
# npm's own state: a cache that remembers would hide what the server says.
export npm_config_cache=$scratch/npm-cache npm_config_fetch_retries=0 npm_config_audit=false npm_config_fund=false npm_config_loglevel=http
unset npm_config_registry NPM_CONFIG_REGISTRY NPM_TOKEN

# npmrc FILE REGISTRY [NAME PASSWORD]: a configuration file of its own.
npmrc() {
    echo "registry=$2" >"$1"
    [[ -z ${3:-} ]] || echo "//${2#*//}:_auth=$(printf '%s:%s' "$3" "$4" | base64 -w 0)" >>"$1"
}
# as FILE COMMAND...: npm with that configuration.
as() { npm_config_userconfig=$scratch/$1 npm "${@:2}"; }
# make_package DIR NAME VERSION SAYS [MORE-JSON]: a package whose module says something.
make_package() {
    mkdir -p "$1"
    echo "{\"name\":\"$2\",\"version\":\"$3\",\"description\":\"Says $4\",\"keywords\":[\"granary\",\"talk\"],\"license\":\"MIT\"${5:+,$5}}" >"$1/package.json"
    echo "module.exports = '$4'" >"$1/index.js"
    echo "# $2, which says $4" >"$1/README.md"
}
publish() { (cd "$2" && as "$1" publish "${@:3}"); }
# install RC FOLDER SPEC...: into a project of its own, with a cache of its own.
install() {
    mkdir -p "$2" && (cd "$2" && { [[ -f package.json ]] || echo '{"name":"project","version":"1.0.0"}' >package.json; } &&
        npm_config_cache=$scratch/$2/.cache as "$1" install "${@:3}")
}
says() { same "$3" "$(cd "$1" && node -p "require('$2')")"; }
npmrc admin.rc "$registry" admin "$password"
npmrc anonymous.rc "$registry"
npmrc reader.rc "$registry" reader "$user_password"

if needs npm "npm"; then
    source "$here/clients.sh"
    source "$here/rights.sh"
    source "$here/remote.sh"
    source "$here/virtual.sh"
fi
source "$here/wire.sh"
conclude
