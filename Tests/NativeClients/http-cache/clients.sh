# shellcheck shell=bash
# ccache, sccache and Gradle themselves: built once into the cache, and taken from it by somebody who has built nothing.
cat >hello.c <<'C'
#include <stdio.h>
int main(void) { puts("hello from a cache"); return 0; }
C
# compile_with FOLDER STORAGE: with nothing of its own but what the storage has.
compile_with() {
    mkdir -p "$1"
    CCACHE_DIR=$scratch/$1/ccache CCACHE_REMOTE_ONLY=1 CCACHE_REMOTE_STORAGE=$2 CCACHE_LOGFILE=$scratch/$1/log \
        ccache gcc -c hello.c -o "$1/hello.o"
}
counted() { CCACHE_DIR=$scratch/$1/ccache ccache --print-stats | awk -v name="$2" '$1 == name { print $2 }'; }
hits() { same "${2:-1}" "$(counted "$1" direct_cache_hit)"; }
misses() { same 1 "$(counted "$1" cache_miss)"; }
storage=http://builder:$user_password@127.0.0.1:$port/cache
make_remote near http-cache "$url/cache/ci/"
if needs ccache "ccache and a compiler" && needs gcc "ccache and a compiler"; then
    for layout in subdirs flat bazel; do
        check "ccache ($layout) misses, and stores what it compiled" all compile_with "cold-$layout" "$storage/ci/$layout|layout=$layout" -- misses "cold-$layout"
        check "... somebody else has a hit" all compile_with "warm-$layout" "$storage/ci/$layout|layout=$layout" -- hits "warm-$layout" -- \
            cmp "cold-$layout/hello.o" "warm-$layout/hello.o"
    done
    check "ccache has a hit through a remote of this cache" all compile_with through-remote "http://127.0.0.1:$port/cache/near/subdirs|read-only" -- hits through-remote
    if [[ -n ${both:-} ]]; then
        check "... and through a virtual" all compile_with through-virtual "$storage/all/subdirs" -- hits through-virtual
        sed -i 's/hello/hello again/' hello.c
        check "through a virtual ccache stores too, though its remote member's upstream is dead" all compile_with cold-virtual "$storage/all/subdirs" -- misses cold-virtual
        check "... in its deploy member" all compile_with warm-deploy "$storage/ci/subdirs" -- hits warm-deploy
    fi
    echo '/* once more */ int more;' >>hello.c
    check "with a wrong password ccache compiles by itself" all compile_with wrong-password "${storage/$user_password/wrong}/ci/subdirs" -- misses wrong-password
    check "... and its log says the status" grep -E '401' wrong-password/log
    check "with a reader's password too" all compile_with reader-only "${storage/builder/reader}/ci/subdirs" -- misses reader-only -- grep -E '403' reader-only/log
fi

# The server of sccache is ours alone: its own port and folder, stopped at the end.
sccache_port=$(free_port)
with_sccache() { # FOLDER COMMAND...
    local folder=$1
    shift
    mkdir -p "$folder"
    SCCACHE_SERVER_PORT=$sccache_port SCCACHE_DIR=$scratch/$folder SCCACHE_WEBDAV_ENDPOINT=http://127.0.0.1:$port SCCACHE_WEBDAV_KEY_PREFIX=cache/ci/rust \
        SCCACHE_WEBDAV_USERNAME=builder SCCACHE_WEBDAV_PASSWORD=$user_password SCCACHE_IDLE_TIMEOUT=60 "$@"
}
sccache_compiles() { # FOLDER
    with_sccache "$1" sccache gcc -c hello.c -o "$1.o" && with_sccache "$1" sccache --show-stats >"$1.stats" && cat "$1.stats" &&
        with_sccache "$1" sccache --stop-server >/dev/null
}
stats_say() { grep -E "$2" "$1.stats"; }
if needs sccache "sccache over WebDAV"; then
    at_exit "with_sccache end sccache --stop-server >/dev/null 2>&1"
    check "sccache misses, and stores what it compiled over WebDAV" all sccache_compiles sccache-cold -- stats_say sccache-cold 'Cache misses +1'
    check "... and has a hit afterwards" all sccache_compiles sccache-warm -- stats_say sccache-warm 'Cache hits +1' -- cmp sccache-cold.o sccache-warm.o
fi

gradle_project() { # FOLDER URL PUSH
    mkdir -p "$1/src/main/java"
    cat >"$1/settings.gradle" <<GRADLE
rootProject.name = 'cached'
buildCache {
    local { enabled = false }
    remote(HttpBuildCache) {
        url = '$2'
        push = $3
        credentials { username = 'builder'; password = '$user_password' }
    }
}
GRADLE
    echo "apply plugin: 'java'" >"$1/build.gradle"
    echo 'public class Hello { public static void main(String[] a) { System.out.println("hello from a cache"); } }' >"$1/src/main/java/Hello.java"
}
gradle_builds() { # FOLDER
    (cd "$1" && GRADLE_USER_HOME=$scratch/gradle-home gradle --no-daemon --console=plain --build-cache compileJava) | tee "$1.out"
}
builds_from_cache() { gradle_builds "$1" && grep -q ':compileJava FROM-CACHE' "$1.out"; }
if needs gradle "Gradle's build cache"; then
    gradle_project gradle-push "$cache/gradle/" true
    check "Gradle builds and pushes" gradle_builds gradle-push
    check "... its entry is there, with its type" all status 200 "${admin[@]}" "$url/api/v1/repositories/ci/artifacts?path_prefix=gradle/" -- \
        json_is '[i["content_type"] for i in d["items"]]' "['application/vnd.gradle.build-cache-artifact.v1']"
    gradle_project gradle-remote "$url/cache/near/gradle/" false
    check "Gradle takes it FROM-CACHE through a remote" builds_from_cache gradle-remote
    if [[ -n ${both:-} ]]; then
        gradle_project gradle-virtual "$both/gradle/" false
        check "... and through a virtual" builds_from_cache gradle-virtual
    fi
fi
