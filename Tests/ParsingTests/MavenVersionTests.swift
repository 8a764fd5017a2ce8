import Parsing
import Testing

@Suite struct MavenVersionTests {
    private func sign(_ a: String, _ b: String) -> Character {
        let result = MavenVersion(a).compare(to: MavenVersion(b))
        return result < 0 ? "<" : result > 0 ? ">" : "="
    }

    @Test("versions stand in the order of the documentation, each before all that follow")
    func chain() {
        let chain = [
            "1.0-alpha-1", "1.0-alpha-2", "1.0-beta", "1.0-milestone-3", "1.0-rc1", "1.0-SNAPSHOT", "1.0", "1.0-sp", "1.0-whatever", "1.0-1", "1.0.1",
            "1.2", "1.10", "2", "999999999999999999999", "1000000000000000000000",
        ]
        for (index, a) in chain.enumerated() {
            for b in chain[(index + 1)...] {
                #expect(sign(a, b) == "<", "\(a) < \(b)")
                #expect(sign(b, a) == ">", "\(b) > \(a)")
            }
        }
    }

    @Test(
        "spellings of one version are equal",
        arguments: [["1", "1.0", "1.0.0", "1-ga", "1.0-final", "1-RELEASE"], ["1-rc1", "1cr1", "1.0-RC-1"], ["1a1", "1-alpha-1"]])
    func equals(spellings: [String]) {
        for a in spellings { for b in spellings { #expect(sign(a, b) == "=", "\(a) = \(b)") } }
    }

    @Test("odd versions stand as Maven's own comparison has them, asked both ways")
    func oracle() {
        for row in Self.compared.split(whereSeparator: { $0 == ";" || $0 == "\n" }) {
            let words = row.split(separator: " ").map(String.init)
            #expect(sign(words[0], words[2]) == Character(words[1]), "\(row)")
            #expect(sign(words[2], words[0]) == ["<": ">", ">": "<", "=": "="][words[1]], "\(row)")
        }
    }

    /// What maven-artifact 3.8.7 answered for texts made at random out of the words it knows.
    private static let compared = """
        2 > 1balpha10 ; 1---.10 > 1---.final10 ; 0 > 0beta ; 1.- < 1.-a ; SNAPSHOT.release-release-0 < SNAPSHOT_.release-release-0 ; 0 = --0
        0--.releaserelease-0 > 0alpha ; 0.29999999999 < 1-final-SNAPSHOT.b ; 0..m < 0.+.m ; 0._-alpha-_ > 0milestonegarcjre
        1.- = 1.-release ; .2.milestoneSNAPSHOTcr > 0.aalphasnapshot-SNAPSHOT ; 2..alpha.sp_ > finalcrxRC ; x < 2.jrebeta
        jre-beta.final.x < jre-beta.final.xm ; 2-007.alphax > 2-007.alp01hax ; 0 > 0rc ; 1.9999999999 > 1.spRC ; snapshot-spga-b < 2.jre
        2 < 2m ; 2-bfinal < 1007rc.01 ; 0release < 0.b ; 2m.- < 2xm.- ; 1.0007-jre < 9999999999snapshot.123456789012345678901.007-
        10 > 1..releaserc-9999999999 ; 0.x.release.snapshot < 201 ; .cr9999999999.rc0 < --.10-beta.RC ; 0.m_milestone < 0sp+rc
        0-snapshot99999999992 > 0cr-snapshot99999999992 ; 1..10--01 > 1 ; ..b < 0-milestonefinalSNAPSHOTRC ; alpha < 2.9999999999.sp
        1m < 2.-RC.1RC ; 0-b+-sprelease > 0-b+-salphaprelease ; 2 > 1-0 ; 0beta.9999999999.0final < 0RC.alpha ; 2 = 2
        b.b.milestonesnapshot < 1-9999999999--- ; rc.sp.01.releasemilestone > RC ; 2.final..rcmilestone > 2
        0cr9999999999SNAPSHOT < 01cr9999999999SNAPSHOT ; .. < 1...0-- ; 2.1._ > 2.b. ; 01-finalga < 01jre-finalga ; 0-RC.snapshot.final < 11
        1 < 1sp ; 2 > 0 ; 0rc...rc-m < 2RC ; 1007 > 0.007sp ; 1 > 0.rc ; 001 > 00m1 ; 1 < 2.01007.---.
        1.mSNAPSHOTSNAPSHOT > 1.mSNAPSHOTSNA.PSHOT ; 0.123456789012345678901.+-. < 1.RC ; 1.-2 > 1.-2milestone ; 2 < 22
        1alpha.milestone < 1alpha.milestone1 ; 0---9999999999 > _ ; alphaRC.1_ < 2.-- ; 0x-rc = 0x.-rc ; 11ga > 0m.ga
        1milestone.milestone < 2 ; 1 < 110 ; 2ga.a.snapshot--- > 1-x01.rc ; 0.mrc.snapshot > 0.--.beta.007 ; 2 > 1snapshot.10beta.
        0-12345678901234567890101._a < 0.+-m.-a ; 1 = 1.release ; 2 > .2 ; 0.RC-a < 1-.2RC ; 10.alpha+- < 10.aRClpha+- ; 0alpha < 0..xjre
        -final.snapshota > -final.snapshogata ; 2-x-. > 2 ; 2RC > 1- ; beta--123456789012345678901007 < - ; 1.ga2cr < 99999999991.ga2cr
        0 < 02 ; 0 > b0 ; release9999999999123456789012345678901.release.milestone < 0.007-release.a ; SNAPSHOT.10 < SNAPSHspOT.10
        final9999999999 > final99999999RC99 ; 12.. > 2x.alpha ; _.x_.011 < _.xmilestone_.011 ; 1.+cr > 0.rc-SNAPSHOT-beta-snapshot
        11.release > 1 ; RC-x.rc < 1123456789012345678901milestone-ga01 ; - < 2.SNAPSHOT. ; 2SNAPSHOT < 2rcSNAPSHOT ; 0alpha < 0
        1_-x > sp-rc-beta ; 1snapshot10.alpha. < 1snabpshot10.alpha. ; 21.- > 1..snapshot ; 2 > 0
        milestone-01123456789012345678901. < 1.milestone_1cr ; 2 > 1 ; alpha.m007 < 0.01m ; .0 < 0-10.- ; 1cr < 2.rc007-01.alpha ; 10 < 12.
        1.+finalsp < 2jre.-- ; 1.final_.sp < 1.final_.sSNAPSHOTp ; 1 > 1-..cr2 ; 1sp < 29999999999 ; sp2cr.. < 1.-
        1001-release < 1001-relea+se ; 01.007--123456789012345678901-10 > 01.007--final123456789012345678901-10
        007x..milestonerelease < 007x..milestonereleas..e ; 1SNAPSHOT < 2finalsnapshot-jre ; 1 < 1.sp ; 0-rc9999999999.beta < 0._
        0.rcrccr-RC < 1- ; 1.ga201007 > snapshotxsp---. ; 1RC > 0 ; 0-10... > +0-10... ; 2rca10 > 2garca10 ; 0110 > 0.b
        0-..releasecr.a < 2 ; 0 < 1final-b-0 ; 0asnapshot < 1alpha.+- ; 2milestonemilestone.10 > 2milesreleasetonemilestone.10
        0--RC9999999999 < 1.RCrc0_ ; 0 < 1 ; -9999999999jre- < 11234567890123456789019999999999 ; 00--- < 2_a ; 1 > milestone..
        1betamilestone.x > 0-ga....cr ; 0.-- < 0.2.9999999999...x ; 1-cr > 0.milestone-0.0. ; 10 > 1-beta-rc
        123456789012345678901.007123456789012345678901 > 123456rc789012345678901.007123456789012345678901 ; 1 < 2.-
        2.rcjre.cr.SNAPSHOT > 0.-.+.2 ; 1.0snapshot.123456789012345678901milestone > m2.10. ; -ga. < 2RCbetaRC
        sp123456789012345678901x > sp12final3456789012345678901x ; 0.alpha. < 0.alp+ha. ; 1 = 1-- ; 2..final..007 > 2rcRC-2
        01..rcfinal < 2rc-10 ; 1-x-+007 < 2.2.2-. ; 2.9999999999--- > 2-milestone. ; 1-_.123456789012345678901-RC > milestone-007
        1.1234567890123456789012ga > 1beta-__SNAPSHOT ; 1.jre > 0 ; 2ga > 1jre9999999999 ; x123456789012345678901 > 0
        1.a-m007-9999999999 > 1.a-m007-9alpha999999999 ; 1-mSNAPSHOT > _1-mSNAPSHOT ; 2 > 2...alpha.snapshotrc ; m-SNAPSHOT > 0
        1.milestone. < 2final ; 01..-final > mspalpham ; snapshotmilestone.snapshot > s123456789012345678901napshotmilestone.snapshot
        1-+1ga < 2.007.x.RC. ; 1.2123456789012345678901 > 1.212345678901m2345678901 ; 1.20 > 1.sp1 ; 1rc = 1.rc ; ..m < 007bRCga
        1-. > _-RC
        """
}
