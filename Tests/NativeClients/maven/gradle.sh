# shellcheck shell=bash
# Gradle resolves; Debian's is too old to publish over http, and to read module metadata, which the wire checks keep an eye on.
gradle_got() { # FOLDER URL GROUP:ARTIFACT:VERSION [CREDENTIALS]
    mkdir -p "$1"
    : >"$1/settings.gradle"
    cat >"$1/build.gradle" <<GRADLE
repositories { maven { url '$2'; ${4:-} } }
configurations { got }
dependencies { got('$3') { transitive = false } }
task fetch(type: Copy) { from configurations.got; into 'got' }
GRADLE
    (cd "$1" && gradle --no-daemon -q -g "$scratch/${gradle_home:-gradle-home}" fetch)
}
if needs gradle "Gradle resolves"; then
    check "Gradle resolves a release" all gradle_got ga "$repository" org.example:lib:1.1 -- cmp files/lib11.jar ga/got/lib-1.1.jar
    check "... the newest one, by the metadata" all gradle_got gb "$repository" org.example:lib:latest.release -- cmp files/lib11.jar gb/got/lib-1.1.jar
    check "... a snapshot" all gradle_got gc "$repository" org.example:app:1.0-SNAPSHOT -- says gc/got/app-1.0-SNAPSHOT.jar "second build"
    check "... through a virtual repository" gradle_got gd "$url/maven/all" org.example:both:1.0
    login="credentials { username 'admin'; password '$password' }"
    check "... from a private repository, asked for its credentials" gradle_got ge "$url/maven/closed" org.example:secret:1.0 "$login"
    # With a home that has resolved nothing yet: what is cached is not asked for again.
    gradle_home=gradle-stranger refused "... and not with a wrong password" '401|Unauthorized' gradle_got gf "$url/maven/closed" org.example:secret:1.0 "${login/$password/wrong}"
fi
