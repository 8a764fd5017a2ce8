#!/usr/bin/env bash
# Artifacts by mvn: deployed and resolved, releases and snapshots; the wire by curl; remotes and virtual repositories.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

start_granary
make_repository releases maven '"is_public":true'
make_repository closed maven
make_user reader

repository=$url/maven/releases
# settings USER PASSWORD [FILE]: credentials for any repository called granary; plugins come from the machine.
settings() {
    cat >"${3:-settings.xml}" <<XML
<settings>
  <mirrors><mirror><id>machine</id><mirrorOf>central</mirrorOf><url>file://${MAVEN_REPOSITORY:-}</url></mirror></mirrors>
  <servers><server><id>granary</id><username>$1</username><password>$2</password></server></servers>
</settings>
XML
}
settings admin "$password"
# maven LOCAL-REPOSITORY ARGUMENTS...
maven() { mvn -B -e -s "${settings:-settings.xml}" -Dmaven.repo.local="$scratch/$1" -Dorg.slf4j.simpleLogger.showDateTime=false "${@:2}"; }
plugins=org.apache.maven.plugins
# deploy_file URL FILE GROUP:ARTIFACT:VERSION [MORE]
deploy_file() {
    local gav
    IFS=: read -ra gav <<<"$3"
    maven plugins "$plugins:maven-deploy-plugin:3.0.0:deploy-file" -DrepositoryId=granary -Durl="$1" -Dfile="$2" \
        -DgroupId="${gav[0]}" -DartifactId="${gav[1]}" -Dversion="${gav[2]}" -Dpackaging="${2##*.}" "${@:4}"
}
# resolve FOLDER URL GROUP:ARTIFACT:VERSION[:PACKAGING]: into a local repository of its own, emptied of everything but Maven's plugins.
resolve() {
    rm -rf "${scratch:?}/$1"
    cp -r "$scratch/plugins" "$scratch/$1"
    rm -rf "$scratch/$1/org/example"
    maven "$1" "$plugins:maven-dependency-plugin:3.5.0:get" -DremoteRepositories="granary::default::$2" -Dartifact="$3" -Dtransitive=false
}
# resolved FILE PATH: what was resolved there is the file.
resolved() { cmp "$1" "$scratch/$2"; }

mkdir files
make_jar() { python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1], "w").writestr("said", sys.argv[2])' "$@"; }
make_jar files/lib.jar "lib 1.0"
make_jar files/lib11.jar "lib 1.1"

source "$here/wire.sh"
if needs mvn "mvn deploys and resolves" && [[ -n ${MAVEN_REPOSITORY:-} ]]; then
    source "$here/clients.sh"
    source "$here/remote.sh"
    source "$here/virtual.sh"
    source "$here/gradle.sh"
fi
conclude
