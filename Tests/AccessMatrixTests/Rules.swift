// AccessMatrixTests: who may use which route, said a second time. The rules below are written by hand from the documents, not computed by the
// code they judge. A route gets a row in Rows.swift or RestRows.swift, a principal a line here and its credential in Stage.swift.

/// What a request asks for.
enum Need: Int, CaseIterable {
    // Of a repository: to know of it, its content, changes; its settings (with the scope write:repositories), its removal (delete:repositories),
    // what only its administrators do and no scope is named for.
    case list, read, write, delete, manage, remove, purge
    // Of the server: everybody gets the same answer; anyone whose credentials hold, or who has none; an account; an administrator; one with the
    // scope write:repositories, read:users, write:users.
    case open, anyone, account, admin, create, users, editUsers
    // Another account's things; a token that may read artifacts; what only the owner does; what belongs to nobody who asks here; the first request
    // of docker; the exchange of a credential for a docker token.
    case others, mint, owner, foreign, base, exchange
    // A group one is not in.
    case group
    // A thing in a repository that is named by its own id: who may not read it is told nothing, not even to log in.
    case package
    // A ticket: a token that may read artifacts, wherever.
    case ticket
    // To destroy content for good: the right to delete it as well as `purge`.
    case erase
    // What only somebody who logged in does: no token, however wide.
    case person
    // To make a repository: what `create` says, and whoever was given that right alone.
    case make
    // Whose credential it is.
    case whoAmI
}

/// What inside a repository a request is about, for rights that are limited to names (docs/access.md, "Permissions with patterns").
enum About {
    /// Everything, or nothing that has a name.
    case whole
    /// What its path names.
    case name
    /// What it will say in its body.
    case body
    /// A file that waits under a name of its own: a right to other names ends there, or before, as the kind of repository has it.
    case waiting
}

/// What the rules are asked.
struct Question {
    var need: Need
    var visibility: Visibility
    var surface: Surface
    /// The route wants somebody to be logged in, whatever it is about.
    var account = false
    var isRead = true
    var about = About.whole

    func about(_ need: Need) -> Question {
        var other = self
        other.need = need
        return other
    }
}

enum Verdict: Character {
    /// Past every check of access, whatever comes then.
    case served = "+"
    case unauthenticated = "1"
    case forbidden = "3"
    /// 404, in the words of what does not exist.
    case absent = "4"
}

enum Visibility: String, CaseIterable { case secret, open }

/// Where a request goes: tokens of the docker protocol are good for that protocol alone.
enum Surface { case tokens, other }

enum Rules {
    // l list, r read, w write, d delete, m manage, x remove, p purge;
    // o open, y anyone, c account, a admin, n create, u users, e editUsers, t others, k mint, w owner, f foreign, b base, x exchange; - not asked.
    private static let table = """
        principal                     private  public   server
                                      lrwdmxp  lrwdmxp  oycanuetkwfbx
        nobody                        1111111  ++11111  ++1111111111+
        bad credentials               1111111  1111111  +111111111111
        no rights                     4444444  ++33333  +++33334+34++
        reader                        ++33333  ++33333  +++33334+34++
        writer                        +++3333  +++3333  +++33334+34++
        deleter                       ++3+333  ++3+333  +++33334+34++
        keeper                        +++++++  +++++++  +++33334+34++
        administrator                 +++++++  +++++++  +++++++++34++

        names here                    ++++333  ++++333  +++33334+34++
        names elsewhere               +333333  ++33333  +++33334+34++
        project's writer              +++3333  ++33333  +++33334+34++
        project's keeper              +++++++  ++33333  +++33334+34++
        developer                     4444444  +++3333  +++33334+34++
        repository owner              4444444  ++33333  +++33334+34++
        ticket                        ++-3--3  ++-3--3  ++33-3-3--3--
        ticket of no rights           44-3--4  ++-3--3  ++33-3-3--3--

        admin's read:artifacts        ++33333  ++33333  +++33334+34++
        admin's write:artifacts       +3+3333  +3+3333  +++33334334++
        admin's delete:artifacts      +33+333  +33+333  +++33334334++
        admin's read:repositories     +333333  +333333  +++33334334++
        admin's write:repositories    +333+3+  +333+3+  +++3+334334++
        admin's delete:repositories   44443+4  44443+4  +++33334334++
        admin's read:users            4444334  4444334  +++33+34334++
        admin's write:users           4444334  4444334  +++333+4334++
        admin's trigger:sync          4444334  4444334  +++33334334++
        admin's bound elsewhere       4444444  4444444  +++33334334++
        admin's bound here            +++++-+  +++++-+  +++33334334++

        writer's read write           +++3333  +++3333  +++33334+34++
        reader's write                4444334  4444334  +++33334334++
        keeper's bound read write     +++3333  +++3333  +++33334334++
        stranger's read               4444334  ++33333  +++33334+34++

        docker nobody                 1111111  -+11---  -+1--------+3
        docker pull                   -+33---  -+33---  -++--------+3
        docker push                   -++3---  -++3---  -++--------+3
        docker delete                 -33+---  -33+---  -++--------+3
        docker another image          -333---  -333---  -++--------+3
        docker other names            -444---  -+33---  -++--------+3
        docker another repository     -444---  -444---  -++--------+3
        """

    private static let cells: [String: [Character]] = {
        var cells: [String: [Character]] = [:]
        for line in table.split(separator: "\n").dropFirst(2) {
            // Names have single spaces, columns are apart by two.
            let name = String(line.prefix(30)).trimmed
            cells[name] = line.dropFirst(30).filter { $0 != " " }.map { $0 }
        }
        return cells
    }()

    static let names = Set(cells.keys)

    /// What must come of it; nil where the table does not say.
    static func verdict(_ name: String, _ question: Question) -> Verdict? {
        let isTicket = name.hasPrefix("ticket")
        // A ticket is for one GET or HEAD, and the docker protocol takes none.
        if isTicket, !question.isRead || question.surface == .tokens { return verdict("nobody", question) }
        func mayDo(_ need: Need) -> Verdict? { verdict(name, question.about(need)) }
        switch question.need {
        case .group:
            let mayListUsers = mayDo(.users)
            return mayListUsers == .forbidden && !isTicket ? .absent : mayListUsers
        case .ticket: return name.contains(" bound ") ? .served : mayDo(.mint)
        case .person:
            let asAccount = mayDo(.account)
            return asAccount == .served && name.contains("'s ") && !name.hasPrefix("project's ") ? .forbidden : asAccount
        case .erase:
            let mayDelete = mayDo(.delete)
            return mayDelete == .served ? mayDo(.purge) : mayDelete
        case .package:
            return switch mayDo(.read) {
            case .served: .served
            case .unauthenticated where name != "nobody": .unauthenticated
            case .unauthenticated, .forbidden, .absent: .absent
            case nil: nil
            }
        case .make: return name == "repository owner" ? .served : mayDo(.create)
        case .whoAmI: return isTicket ? .served : mayDo(.account)
        default: return cell(name, question)
        }
    }

    /// As the table has it.
    private static func cell(_ name: String, _ question: Question) -> Verdict? {
        var name = name.hasPrefix("docker ") && question.surface == .other ? "bad credentials" : name
        if name.hasPrefix("names ") {
            switch question.about {
            case .name: break
            // What has no name needs a right without patterns; what says its name later may begin.
            case .whole: name = "names elsewhere"
            case .body: name = "names here"
            case .waiting: if name == "names elsewhere" { return nil }
            }
        }
        let repositoryNeeds = Need.open.rawValue
        let need = question.need.rawValue
        let column = need < repositoryNeeds ? need + (question.visibility == .open ? repositoryNeeds : 0) : need + repositoryNeeds
        guard let row = cells[name], column < row.count else { return nil }
        if question.account {
            if name == "nobody" { return .unauthenticated }
            if name.hasPrefix("ticket") { return .forbidden }
        }
        return Verdict(rawValue: row[column])
    }
}

extension String {
    var trimmed: String { String(drop { $0 == " " }.reversed().drop { $0 == " " }.reversed()) }
}
