# shellcheck shell=bash
# Virtual repositories: what mvn does with a local repository it does with a virtual one; then what only a virtual one has.
make_repository ours maven '"is_public":true'
make_repository hoard maven
make_virtual all maven "far ours releases hoard" '"is_public":true,"deploy_member_key":"ours"'
make_virtual mute maven ours '"is_public":true'
all=$url/maven/all

check "mvn deploys through a virtual repository" deploy_file "$all" files/lib.jar org.example:through:1.0
check "... into the member it names" status 200 "$url/maven/ours/org/example/through/1.0/through-1.0.jar"
check "mvn resolves it" all resolve va "$all" org.example:through:1.0 -- resolved files/lib.jar va/org/example/through/1.0/through-1.0.jar
refused "a virtual without a deploy member takes nothing" '400' deploy_file "$url/maven/mute" files/lib.jar org.example:through:2.0
check "mvn deploys a snapshot through it, twice" all deploy_file "$all" files/lib.jar org.example:snap:1-SNAPSHOT -- \
    deploy_file "$all" files/lib11.jar org.example:snap:1-SNAPSHOT
check "... and resolves the second build" all resolve vb "$all" org.example:snap:1-SNAPSHOT -- \
    resolved files/lib11.jar vb/org/example/snap/1-SNAPSHOT/snap-1-SNAPSHOT.jar
check "a release of another member resolves" all resolve vc "$all" org.example:lib:RELEASE -- resolved files/lib11.jar "vc/$lib/1.1/lib-1.1.jar"
check "... a snapshot too" all resolve vd "$all" org.example:app:1.0-SNAPSHOT -- says "vd/org/example/app/1.0-SNAPSHOT/app-1.0-SNAPSHOT.jar" "second build"
check "... what a remote has fetched or can" all resolve ve "$all" org.example:far:1.0 -- cmp "$far/1.0/far-1.0.jar" ve/org/example/far/1.0/far-1.0.jar

# One artifact in two members.
set_up deploy_file "$url/maven/ours" files/lib.jar org.example:both:1.0
set_up deploy_file "$url/maven/releases" files/lib11.jar org.example:both:2.0
check "metadata is of all members together" same "1.0 2.0" "$(versions "$all" both)"
check "... its checksum is of what is served" metadata_sum "$all/org/example/both" sha1
check "... prefixes of plugins too" all status 200 "$all/org/example/maven-metadata.xml" -- body_says '<prefix>demo</prefix>'
check "mvn resolves the release of the second" all resolve vf "$all" org.example:both:RELEASE -- resolved files/lib11.jar vf/org/example/both/2.0/both-2.0.jar

# A private member behind the public virtual: whoever may not read it sees what they would see without it.
set_up deploy_file "$url/maven/hoard" files/lib.jar org.example:hidden:1.0
set_up deploy_file "$url/maven/hoard" files/lib.jar org.example:both:3.0
hidden=$all/org/example/hidden
check "the hidden artifact has no metadata" all status 404 "$hidden/maven-metadata.xml" -- status 404 "$hidden/maven-metadata.xml.sha1"
check "... its file, its checksum and its POM are 404" all status 404 "$hidden/1.0/hidden-1.0.jar" -- status 404 "$hidden/1.0/hidden-1.0.jar.sha1" -- \
    status 404 "$hidden/1.0/hidden-1.0.pom"
check "... its version is not in metadata that has others" same "1.0 2.0" "$(versions "$all" both)"
check "... it is not in search, nor in totals" nowhere_listed all hidden
check "who may read it sees it in the same metadata" all status 200 "${admin[@]}" "$all/org/example/both/maven-metadata.xml" -- body_says '<release>3.0</release>'
check "... and the next stranger does not" same "1.0 2.0" "$(versions "$all" both)"

# Dependency confusion: a name of ours, newer upstream.
mkdir -p www/far/org/example/both/9.0
printf 'a stranger' >www/far/org/example/both/9.0/both-9.0.jar
printf '<metadata><versioning><release>9.0</release><versions><version>9.0</version></versions></versioning></metadata>' >www/far/org/example/both/maven-metadata.xml
check "a name of ours is ours, however new upstream's is" all status 404 "$all/org/example/both/9.0/both-9.0.jar" -- same "1.0 2.0" "$(versions "$all" both)"
check "... upstream was not even asked" same '' "$(grep 'org/example/both' nginx/access.log || true)"
stop "$far_pid" KILL
check "with the upstream dead, local members and what was fetched still resolve" all resolve vg "$all" org.example:both:1.0 -- resolve vh "$all" org.example:far:1.0
