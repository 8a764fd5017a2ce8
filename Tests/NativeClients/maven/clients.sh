# shellcheck shell=bash
# mvn against a local repository.
lib=org/example/lib
check "mvn deploys a jar with a POM it makes" deploy_file "$repository" files/lib.jar org.example:lib:1.0
check "mvn resolves it into an empty local repository" resolve ra "$repository" org.example:lib:1.0
check "... the very bytes" resolved files/lib.jar "ra/$lib/1.0/lib-1.0.jar"
check "mvn deploys the next version" deploy_file "$repository" files/lib11.jar org.example:lib:1.1
check "mvn finds the newest release by the metadata" resolve rb "$repository" org.example:lib:RELEASE
check "... which is 1.1" resolved files/lib11.jar "rb/$lib/1.1/lib-1.1.jar"
check "the same deployment again succeeds" deploy_file "$repository" files/lib11.jar org.example:lib:1.1
refused "other bytes of a release are refused, and mvn says why" '409.*release is never replaced' \
    deploy_file "$repository" files/lib.jar org.example:lib:1.1
settings admin wrong-password wrong.xml
settings=wrong.xml refused "a wrong password is refused" '401|Unauthorized' deploy_file "$repository" files/lib.jar org.example:lib:3.0
settings=wrong.xml refused "... for reading too" '401|Unauthorized|authentication failed' resolve rc "$url/maven/closed" org.example:lib:1.0
refused "an artifact that is not there is not found" 'Could not find artifact org.example:nothing' resolve rd "$repository" org.example:nothing:1.0
check "a private repository serves who may read it" all deploy_file "$url/maven/closed" files/lib.jar org.example:secret:1.0 -- \
    resolve re "$url/maven/closed" org.example:secret:1.0

# A whole project, deployed as a snapshot twice, then as a release.
mkdir -p project/src/main/java/org/example
project() { # VERSION WHAT-IT-SAYS
    cat >project/src/main/java/org/example/App.java <<JAVA
package org.example;
public class App { public static final String SAID = "$2"; }
JAVA
    cat >project/pom.xml <<XML
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>org.example</groupId>
  <artifactId>app</artifactId>
  <version>$1</version>
  <properties>
    <maven.compiler.source>1.8</maven.compiler.source><maven.compiler.target>1.8</maven.compiler.target>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>
  </properties>
  <dependencies><dependency><groupId>org.example</groupId><artifactId>lib</artifactId><version>1.1</version></dependency></dependencies>
  <repositories><repository><id>granary</id><url>$repository</url></repository></repositories>
  <distributionManagement>
    <repository><id>granary</id><url>$repository</url></repository>
    <snapshotRepository><id>granary</id><url>$repository</url></snapshotRepository>
  </distributionManagement>
</project>
XML
}
deploy_project() {
    project "$@"
    rm -rf project/target
    maven plugins -f project/pom.xml -Dmaven.test.skip=true deploy
}
builds() { curl -sS "$repository/org/example/app/1.0-SNAPSHOT/maven-metadata.xml" | sed -n 's:.*<buildNumber>\(.*\)</buildNumber>:\1:p'; }
says() { unzip -p "$1" org/example/App.class | grep -q "$2"; }
check "mvn deploys a project as a snapshot" deploy_project 1.0-SNAPSHOT "first build"
check "... its metadata tells build 1" same 1 "$(builds)"
check "... and again" deploy_project 1.0-SNAPSHOT "second build"
check "... its metadata tells build 2" same 2 "$(builds)"
check "mvn resolves the snapshot, which is the second build" all resolve rf "$repository" org.example:app:1.0-SNAPSHOT -- \
    says "rf/org/example/app/1.0-SNAPSHOT/app-1.0-SNAPSHOT.jar" "second build"
check "mvn deploys the project's release" deploy_project 1.0 "the release"
check "mvn resolves the release" all resolve rg "$repository" org.example:app:1.0 -- says "rg/org/example/app/1.0/app-1.0.jar" "the release"
versions() { curl -sS "$1/org/example/$2/maven-metadata.xml" | sed -n 's:.*<version>\(.*\)</version>:\1:p' | paste -sd ' '; }
check "the artifact's metadata has both" same "1.0-SNAPSHOT 1.0" "$(versions "$repository" app)"

# Two publishers at once: each reads the metadata, adds its own version and writes it back.
race() {
    local pids=() version pid
    for version in 1 2 3; do
        cp -r plugins "race$version"
        maven "race$version" "$plugins:maven-deploy-plugin:3.0.0:deploy-file" -DrepositoryId=granary -Durl="$repository" -Dfile=files/lib.jar \
            -DgroupId=org.example -DartifactId=raced -Dversion="$version" -Dpackaging=jar >"race$version.log" 2>&1 &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || { tail -n 20 race?.log; return 1; }; done
    same "1 2 3" "$(versions "$repository" raced)"
}
check "three publishers of one artifact at once lose no version" race
